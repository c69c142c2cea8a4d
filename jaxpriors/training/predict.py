"""Logits of many events: padded to few lengths, one compiled program each."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jax import Array

from jaxpriors import processes
from jaxpriors.data.batching import Batch, prediction_batches
from jaxpriors.data.stored import Sample
from jaxpriors.training.parallel import data_mesh, replicate, shard_rows

ROWS = 256  # of a batch
Forward = Callable[[Any, Batch], Array]


def predict(
    forward: Forward,
    params: Any,
    events: Sample,
    lengths: Sequence[int],
    numbers: int = 1,
    rows: int = ROWS,
) -> np.ndarray:
    """``forward(params, batch)`` of every event, (n, numbers) float64, in the events' order.

    ``forward`` is compiled (`parallel.map_rows`) and gives so many numbers a row. ``lengths`` are
    the padded lengths; an event with more constituents than all of them gets a length of its own,
    so that none is cut. Several processes share the events out and all get the whole result.

    Raises:
        FloatingPointError: a result that is not finite; the message names the first such event.
    """
    mesh = data_mesh()
    params = replicate(params, mesh)
    longest = int(events.multiplicity.max(initial=0))
    lengths = [*lengths, *([longest] if longest > lengths[-1] else [])]
    rows = max(rows // mesh.size, 1) * mesh.size
    share = processes.share(len(events))
    mine = events if len(share) == len(events) else events[share]
    result = np.full((len(mine), numbers), np.nan)
    pending: list[tuple[np.ndarray, Array]] = []
    for index, batch in prediction_batches(mine, lengths, rows):
        pending.append((index, forward(params, shard_rows(batch, mesh))))
        if len(pending) > 2:  # a few batches ahead of what is fetched
            done, values = pending.pop(0)
            result[done] = np.asarray(values)[: len(done)]
    for done, values in pending:
        result[done] = np.asarray(values)[: len(done)]
    result = processes.merged(result, len(events))
    bad = np.flatnonzero(~np.isfinite(result).all(1))
    if len(bad):
        raise FloatingPointError(
            f"the network's output is not finite for {len(bad)} of {len(events)} events, first "
            f"event {bad[0]}: found {result[bad[0]]}"
        )
    return result
