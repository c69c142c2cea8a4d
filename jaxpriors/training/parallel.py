"""Work on the devices of one run: a mesh with the axis ``data``, gradients and predictions on it.

Where a run has several processes (`jaxpriors.run.processes`), a training's mesh holds the devices
of all of them, any other mesh those of this process alone.

A device works on its rows in *micro-batches*, one after the other inside of a compiled program:
what a micro-batch of few events needs stays in the caches of a CPU.
"""

import math
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from jaxpriors.data.batching import UNITS, gather, prediction_batches
from jaxpriors.data.stored import Sample
from jaxpriors.errors import InputError
from jaxpriors.run import processes

ROWS = 256  # of a batch of predictions
AHEAD = 2  # batches that are computed while an earlier one's results are fetched
Forward = Callable[[Any, Any], Any]
T = TypeVar("T")


def data_mesh(devices: Sequence[jax.Device] | None = None) -> Mesh:
    """Return a mesh of devices (this process's by default) whose axis spreads a batch's rows."""
    devices = jax.local_devices() if devices is None else devices
    return jax.make_mesh((len(devices),), ("data",), (AxisType.Auto,), devices=devices)


def devices_for(rows: Iterable[int], all_of_them: bool | None = None) -> list[jax.Device]:
    """Return as many of the devices as divide every one of these numbers of rows.

    Raises InputError where that is not ``all_of_them`` and it must be: by default, in a run of
    several processes, and where the number of devices was asked for (``JAXPRIORS_DEVICES``).
    """
    rows, devices = list(rows), jax.devices()
    most = math.gcd(len(devices), *rows)
    if all_of_them is None:
        all_of_them = jax.process_count() > 1 or "JAXPRIORS_DEVICES" in os.environ
    if all_of_them and most < len(devices):
        units = [n * UNITS // sum(rows) for n in rows]  # of each bucket, in sixteenths of them all
        least = UNITS * len(devices) // math.gcd(len(devices), *units)
        raise InputError(
            f"batch_size: found {sum(rows)}, whose buckets of {', '.join(map(str, rows))} events "
            f"cannot be divided among {len(devices)} devices; expected a multiple of {least}"
        )
    return devices[:most]


def replicate(tree: Any, mesh: Mesh) -> Any:
    """Return the tree with a copy of every array on each device.

    Over several processes, the arrays are those of the first one.
    """
    sharding = NamedSharding(mesh, PartitionSpec())
    if sharding.is_fully_addressable:
        return jax.device_put(tree, sharding)
    tree = multihost_utils.broadcast_one_to_all(jax.tree.map(np.asarray, tree))
    return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, x), tree)


def shard_rows(tree: Any, mesh: Mesh) -> Any:
    """Return the tree with the leading axis of every array spread over the devices.

    The number of rows must be divisible by the number of devices. Over several processes, each
    gives the rows of its own devices alone.
    """
    sharding = NamedSharding(mesh, PartitionSpec("data"))
    if sharding.is_fully_addressable:
        return jax.device_put(tree, sharding)
    return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, x), tree)


def local_replica(tree: Any) -> Any:
    """Return replicated arrays as this process's own, which it may compute with alone."""
    return jax.tree.map(lambda x: x if x.is_fully_addressable else x.addressable_data(0), tree)


def default_micro_batch() -> int | None:
    """Return how many rows a device works on at once: 8 on CPUs, for their caches; None is all."""
    return 8 if jax.default_backend() == "cpu" else None


def micro_batch_count(rows: int, micro_batch: int | None) -> int:
    """Return the fewest equal micro-batches of at most that size (None: any) that make the rows."""
    most = rows if micro_batch is None else micro_batch
    return next(n for n in range(1, rows + 1) if rows % n == 0 and rows // n <= most)


def split_rows(tree: Any, micro_batch: int | None) -> Any:
    """Split rows (B, …) into N micro-batches, (N, B / N, …), N being ``micro_batch_count``."""
    count = micro_batch_count(jax.tree.leaves(tree)[0].shape[0], micro_batch)
    return jax.tree.map(lambda x: x.reshape(count, len(x) // count, *x.shape[1:]), tree)


def map_rows(
    function: Callable[[Any, Any], Any], mesh: Mesh | None = None, micro_batch: int | None = None
) -> Callable[[Any, Any], Any]:
    """Return ``function(params, rows)``, compiled to run on all devices in micro-batches.

    rows is a tree of arrays (B, …), B divisible by the number of devices (all of this process's by
    default); so is the result. micro_batch: at most so many rows, ``default_micro_batch`` where it
    is None.
    """
    mesh = data_mesh() if mesh is None else mesh
    micro_batch = default_micro_batch() if micro_batch is None else micro_batch

    def on_device(params: Any, rows: Any) -> Any:
        batches = split_rows(rows, micro_batch)
        found = jax.lax.map(lambda batch: function(params, batch), batches)
        return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), found)

    rows = PartitionSpec("data")
    specs = (PartitionSpec(), rows)
    return jax.jit(
        jax.shard_map(on_device, mesh=mesh, in_specs=specs, out_specs=rows, check_vma=False)
    )


def sum_gradients(
    loss: Callable[[Any, Any, Array], Array], mesh: Mesh, micro_batch: int | None
) -> Callable[[Any, tuple[Any, ...], Array], tuple[Array, Any]]:
    """Return f(params, parts, key): the sum of ``loss(params, rows, keys)``, and its gradient.

    Each part is a tree of rows (B, …), B divisible by the number of devices. The devices add up
    (accumulate) the gradients of their micro-batches and then, once, each other's sums: the
    gradient of the whole batch in the memory of a micro-batch. Each row has a key of its own,
    folded from (key, part, row): neither micro-batches nor devices change what is drawn.
    """

    def on_device(params: Any, parts: tuple[Any, ...], key: Array) -> tuple[Array, Any]:
        total: Any = (jnp.zeros(()), jax.tree.map(jnp.zeros_like, params))
        for i, part in enumerate(parts):
            rows = len(jax.tree.leaves(part)[0])
            number = jax.lax.axis_index("data") * rows + jnp.arange(rows)
            keys = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.fold_in(key, i), number)

            def add(total: Any, batch: Any) -> tuple[Any, None]:
                one = jax.value_and_grad(loss)(params, *batch)
                return jax.tree.map(jnp.add, total, one), None

            total, _ = jax.lax.scan(add, total, split_rows((part, keys), micro_batch))
        return jax.lax.psum(total, "data")

    rows = PartitionSpec("data")
    specs = (PartitionSpec(), rows, PartitionSpec())
    # unchecked: with the check, JAX would add the gradients of the devices up in every micro-batch
    return jax.shard_map(
        on_device, mesh=mesh, in_specs=specs, out_specs=PartitionSpec(), check_vma=False
    )


def map_batches(
    forward: Forward, params: Any, batches: Iterable[tuple[T, Any]], mesh: Mesh
) -> Iterator[tuple[T, Any]]:
    """Yield ``forward(params, rows)`` as a tree of NumPy arrays for each (tag, rows), in order.

    The rows are spread over the devices of ``mesh``, which must divide their number.
    """
    params = replicate(params, mesh)
    pending: deque[tuple[T, Any]] = deque()
    for tag, rows in batches:
        pending.append((tag, forward(params, shard_rows(rows, mesh))))
        if len(pending) > AHEAD:
            tag, found = pending.popleft()
            yield tag, jax.tree.map(np.asarray, found)
    for tag, found in pending:
        yield tag, jax.tree.map(np.asarray, found)


def predict(
    forward: Forward,
    params: Any,
    events: Sample,
    lengths: Sequence[int],
    rows: int = ROWS,
    numbered: bool = False,
) -> Any:
    """Return ``forward(params, batch)`` of all n events as a tree of arrays (n, …) float64.

    ``forward`` is compiled (``map_rows``); with ``numbered`` it is given (batch, numbers of
    the events (B,) int32) instead of the batch. ``lengths`` are the padded lengths; an event with
    more constituents than all of them gets a length of its own, so that none is cut. Several
    processes share the events out and all get the whole result.

    Raises:
        FloatingPointError: a result that is not finite; the message names the first such event.
    """
    mesh = data_mesh()
    longest = int(events.multiplicity.max(initial=0))
    lengths = [*lengths, *([longest] if longest > lengths[-1] else [])]
    rows = max(rows // mesh.size, 1) * mesh.size
    share = processes.share(len(events))
    mine = events if len(share) == len(events) else events[share]
    batches: Any = prediction_batches(mine, lengths, rows)
    if not len(mine):  # padding alone, for the shapes
        batches = [(share, gather(mine, share, lengths[0], rows))]
    if numbered:
        batches = (
            (index, (batch, np.resize(share[index], rows).astype(np.int32)))
            for index, batch in batches
        )
    result = None
    for index, found in map_batches(forward, params, batches, mesh):
        if result is None:
            result = jax.tree.map(lambda x: np.full((len(mine), *x.shape[1:]), np.nan), found)
        for whole, part in zip(jax.tree.leaves(result), jax.tree.leaves(found), strict=True):
            whole[index] = part[: len(index)]
    result = jax.tree.map(lambda x: processes.merged(x, len(events)), result)
    for path, values in jax.tree_util.tree_leaves_with_path(result):
        bad = np.flatnonzero(~np.isfinite(values.reshape(len(values), -1)).all(1))
        if len(bad):
            name = jax.tree_util.keystr(path, simple=True, separator="/") or "the network's output"
            raise FloatingPointError(
                f"{name} is not finite for {len(bad)} of {len(events)} "
                f"events, first event {bad[0]}: found {values[bad[0]]}"
            )
    return result
