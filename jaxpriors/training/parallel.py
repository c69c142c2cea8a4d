"""The devices of one run: a mesh with the axis ``data``, and what each of them works on.

Where a run has several processes (`jaxpriors.processes`), a training's mesh holds the devices of
all of them, any other mesh those of this process alone.

On each device, rows are worked on in *chunks*, one after the other inside of a compiled program:
what a chunk of few events needs stays in the caches of a CPU.
"""

import math
import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from jaxpriors.data.batching import UNITS
from jaxpriors.errors import InputError


def data_mesh(devices: Sequence[jax.Device] | None = None) -> Mesh:
    """Devices (this process's by default) along the axis over which a batch's rows are spread."""
    devices = jax.local_devices() if devices is None else devices
    return jax.make_mesh((len(devices),), ("data",), (AxisType.Auto,), devices=devices)


def devices_for(rows: Iterable[int], all_of_them: bool | None = None) -> list[jax.Device]:
    """As many of the devices as divide every one of these numbers of rows.

    Raises InputError where that is not ``all_of_them`` and it must be: by default, in a run of
    several processes, and where the number of devices was asked for (``JAXPRIORS_DEVICES``).
    """
    rows, devices = list(rows), jax.devices()
    most = math.gcd(len(devices), *rows)
    if all_of_them is None:
        all_of_them = jax.process_count() > 1 or "JAXPRIORS_DEVICES" in os.environ
    if all_of_them and most < len(devices):
        least = UNITS * len(devices) // math.gcd(len(devices), *(_units(rows)))
        raise InputError(
            f"batch_size: found {sum(rows)}, whose buckets of {', '.join(map(str, rows))} events "
            f"cannot be divided among {len(devices)} devices; expected a multiple of {least}"
        )
    return devices[:most]


def _units(rows: Sequence[int]) -> list[int]:
    """The rows of each bucket in 1/UNITS of them all."""
    return [n * UNITS // sum(rows) for n in rows]


def replicate(tree: Any, mesh: Mesh) -> Any:
    """The tree with a copy of every array on each device.

    Over several processes, the arrays are those of the first one.
    """
    sharding = NamedSharding(mesh, PartitionSpec())
    if sharding.is_fully_addressable:
        return jax.device_put(tree, sharding)
    tree = multihost_utils.broadcast_one_to_all(jax.tree.map(np.asarray, tree))
    return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, x), tree)


def shard_rows(tree: Any, mesh: Mesh) -> Any:
    """The tree with the leading axis of every array spread over the devices.

    The number of rows must be divisible by the number of devices. Over several processes, each
    gives the rows of its own devices alone.
    """
    sharding = NamedSharding(mesh, PartitionSpec("data"))
    if sharding.is_fully_addressable:
        return jax.device_put(tree, sharding)
    return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, x), tree)


def own(tree: Any) -> Any:
    """Replicated arrays as this process's own, which it may compute with alone."""
    return jax.tree.map(lambda x: x if x.is_fully_addressable else x.addressable_data(0), tree)


def chunk_rows() -> int | None:
    """How many rows a device works on at once: 8 on CPUs, for their caches; None is all."""
    return 8 if jax.default_backend() == "cpu" else None


def chunk_count(rows: int, most: int | None) -> int:
    """The fewest equal chunks of at most ``most`` rows (None: all of them) that make so many."""
    most = rows if most is None else most
    return next(n for n in range(1, rows + 1) if rows % n == 0 and rows // n <= most)


def split_rows(tree: Any, most: int | None) -> tuple[Any, int]:
    """Rows (B, …) in ``chunk_count`` chunks (N, B / N, …), and N."""
    rows = jax.tree.leaves(tree)[0].shape[0]
    chunks = chunk_count(rows, most)
    return jax.tree.map(lambda x: x.reshape(chunks, rows // chunks, *x.shape[1:]), tree), chunks


def map_rows(
    function: Callable[[Any, Any], Any], mesh: Mesh | None = None, most: int | None = None
) -> Callable[[Any, Any], Any]:
    """``function(params, rows)``, compiled to run on all devices in chunks.

    rows is a tree of arrays (B, …), B divisible by the number of devices (all of this process's by
    default); so is the result. most: as ``chunk_rows``, which is its default.
    """
    mesh = data_mesh() if mesh is None else mesh
    most = chunk_rows() if most is None else most

    def on_device(params: Any, rows: Any) -> Any:
        chunks, _ = split_rows(rows, most)
        found = jax.lax.map(lambda chunk: function(params, chunk), chunks)
        return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), found)

    rows = PartitionSpec("data")
    specs = (PartitionSpec(), rows)
    return jax.jit(
        jax.shard_map(on_device, mesh=mesh, in_specs=specs, out_specs=rows, check_vma=False)
    )


def sum_gradients(
    loss: Callable[[Any, Any, Array], Array], mesh: Mesh, most: int | None
) -> Callable[[Any, tuple[Any, ...], Array], tuple[Array, Any]]:
    """(params, parts, key) to ``loss(params, rows, keys)``, summed over all rows, and its gradient.

    Each part is a tree of rows (B, …), B divisible by the number of devices. The devices add up
    (accumulate) the gradients of their chunks and then, once, each other's sums: the gradient of
    the whole batch in the memory of a chunk. Each row has a key of its own, folded from (key, part,
    row): neither chunks nor devices change what is drawn.
    """

    def on_device(params: Any, parts: tuple[Any, ...], key: Array) -> tuple[Array, Any]:
        total: Any = (jnp.zeros(()), jax.tree.map(jnp.zeros_like, params))
        for i, part in enumerate(parts):
            rows = len(jax.tree.leaves(part)[0])
            number = jax.lax.axis_index("data") * rows + jnp.arange(rows)
            keys = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.fold_in(key, i), number)
            chunks, _ = split_rows((part, keys), most)

            def add(total: Any, chunk: Any) -> tuple[Any, None]:
                one = jax.value_and_grad(loss)(params, *chunk)
                return jax.tree.map(jnp.add, total, one), None

            total, _ = jax.lax.scan(add, total, chunks)
        return jax.lax.psum(total, "data")

    rows = PartitionSpec("data")
    specs = (PartitionSpec(), rows, PartitionSpec())
    # unchecked: with the check, JAX would add the gradients of the devices up in every chunk
    return jax.shard_map(
        on_device, mesh=mesh, in_specs=specs, out_specs=PartitionSpec(), check_vma=False
    )
