"""The devices of one run: a mesh with the axis ``data``, and where arrays live on it."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec


def data_mesh(devices: Sequence[jax.Device] | None = None) -> Mesh:
    """Devices (all of them by default) along the axis over which a batch's rows are spread."""
    devices = jax.devices() if devices is None else devices
    return jax.make_mesh((len(devices),), ("data",), (AxisType.Auto,), devices=devices)


def devices_for(rows: Iterable[int]) -> list[jax.Device]:
    """As many of the devices as divide every one of these numbers of rows."""
    devices = jax.devices()
    return devices[: math.gcd(len(devices), *rows)]


def replicate(tree: Any, mesh: Mesh) -> Any:
    """The tree with a copy of every array on each device."""
    return jax.device_put(tree, NamedSharding(mesh, PartitionSpec()))


def shard_rows(tree: Any, mesh: Mesh) -> Any:
    """The tree with the leading axis of every array spread over the devices.

    The number of rows must be divisible by the number of devices.
    """
    return jax.device_put(tree, NamedSharding(mesh, PartitionSpec("data")))
