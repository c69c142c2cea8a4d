"""Ragged events to arrays of few fixed shapes: padding buckets, shuffling, prefetch.

Events are sorted into *buckets* by their number of constituents; each bucket is padded to its own
longest event. A training batch takes a fixed share of its rows from every bucket, so that every
batch has the same tuple of shapes (one compiled program), is a sample of the whole stratified by
length and by class, and carries little padding. Order is a function of (seed, epoch),
which makes a position within an epoch resumable by its batch number alone.
"""

import concurrent.futures
import dataclasses
import itertools
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from jax import Array

from jaxpriors.data.stored import Sample, StoredEvents
from jaxpriors.layers.core import module

T = TypeVar("T")
UNITS = 16  # a bucket's share of the batch is a multiple of 1/16
BLOCK = 4096  # events that are padded at once where many are looked at
THREADS = 8  # that make a training's batches: a disk is faster where several reads are under way


@module
class Batch:
    """Padded events as a model's inputs see them; rows with weight 0 may be padding.

    p4 (B, P, 4) GeV, pid (B, P), length (B,), jet_p4 (B, 4) GeV, columns (B, C) of the events, C
    mostly 0, label and weight (B,), or (B, k) where k networks are trained at once and label or
    weigh the events in their own ways.
    """

    p4: Array | np.ndarray
    pid: Array | np.ndarray
    length: Array | np.ndarray
    jet_p4: Array | np.ndarray
    columns: Array | np.ndarray
    label: Array | np.ndarray
    weight: Array | np.ndarray


@dataclass(frozen=True)
class Buckets:
    """How events are sorted: padded length and share (in 1/UNITS) of each bucket, short to long."""

    lengths: tuple[int, ...]
    shares: tuple[int, ...]


def plan_buckets(multiplicity: np.ndarray, count: int = 4) -> Buckets:
    """The buckets (at most ``count``) with the least padded rows, by dynamic programming.

    multiplicity (n,): constituents of each event. Bucket edges lie on quantiles in steps of
    1/UNITS, so that each bucket holds a fixed share of the events. Padded lengths are rounded up
    to a multiple of 4, except the last, which fits the longest event.
    """
    ordered = np.sort(multiplicity)
    tops = [ordered[(len(ordered) * (u + 1) - 1) // UNITS] for u in range(UNITS)]
    tops = [int(-(-t // 4) * 4) for t in tops]
    tops[-1] = int(ordered[-1])
    # best[k][u]: least cost of the first u units in k buckets, and where the last bucket starts
    best = [[(0.0, 0)] + [(np.inf, 0)] * UNITS]
    for _ in range(count):
        row = [(0.0, 0)]
        for u in range(1, UNITS + 1):
            row.append(min((best[-1][s][0] + (u - s) * tops[u - 1], s) for s in range(u)))
        best.append(row)
    buckets = min(range(1, count + 1), key=lambda k: (best[k][UNITS][0], k))
    lengths, shares, end = [], [], UNITS
    for k in range(buckets, 0, -1):
        start = best[k][end][1]
        lengths.append(tops[end - 1])
        shares.append(end - start)
        end = start
    return Buckets(tuple(lengths[::-1]), tuple(shares[::-1]))


def gather(
    events: Sample,
    index: np.ndarray,
    length: int,
    rows: int | None = None,
    weight: np.ndarray | None = None,
    label: np.ndarray | None = None,
) -> Batch:
    """Events ``index`` (B,) padded to ``length`` constituents, filled up to ``rows`` with weight 0.

    The columns are those of the events that are one number each (`Events.with_columns`). An event
    longer than ``length`` keeps its first ``length`` constituents. weight, label: (n,) or (n, k) of
    all events, None for their own.
    """
    real = len(index)
    if rows is not None:
        index = np.concatenate([index, np.zeros(rows - real, index.dtype)])
    weights = (events.weight if weight is None else weight)[index]
    weights[real:] = 0.0
    if label is None:
        label = events.label if events.label is not None else np.zeros(len(events), np.int32)
    label = label[index]
    if isinstance(events, StoredEvents):
        events, index = events[index].read(), np.arange(len(index))
    start = events.offsets[index]
    number = np.minimum(events.offsets[index + 1] - start, length)
    slots = np.arange(length)
    valid = slots < number[:, None]
    flat = np.where(valid, start[:, None] + slots, start[:, None])
    single = [column[index] for column in events.columns.values() if column.ndim == 1]
    columns = np.array(single, np.float32).reshape(-1, len(index)).T
    return Batch(
        p4=np.where(valid[..., None], events.p4[flat], 0.0).astype(np.float32),
        pid=np.where(valid, events.pid[flat], 0).astype(np.int32),
        length=number.astype(np.int32),
        jet_p4=events.jet_p4[index].astype(np.float32),
        columns=columns,
        label=label.astype(np.float32),
        weight=weights.astype(np.float32),
    )


def spread(events: Sample, most: int) -> Batch:
    """At most ``most`` events, evenly spread over the whole of them, none of them cut."""
    index = _spread_index(events, most)
    return gather(events, index, int(events.multiplicity[index].max()))


def spread_blocks(events: Sample, most: int) -> Iterator[Batch]:
    """The events of ``spread`` in their order, `BLOCK` at a time."""
    index = _spread_index(events, most)
    for start in range(0, len(index), BLOCK):
        block = index[start : start + BLOCK]
        yield gather(events, block, int(events.multiplicity[block].max()))


def _spread_index(events: Sample, most: int) -> np.ndarray:
    return np.linspace(0, len(events) - 1, min(len(events), most)).astype(np.int64)


@dataclass(frozen=True)
class TrainingBatches:
    """An epoch's batches as a sequence: ``batches(epoch)[step]`` is a tuple of ``Batch``.

    Each batch has ``batch_size`` rows, split over the buckets by their shares. weight, label: as in
    ``gather``. Of several processes, each makes its own rows of every batch alone: those with the
    numbers n · process / processes to n · (process + 1) / processes of the n rows of a bucket.
    """

    events: Sample
    buckets: Buckets
    batch_size: int
    seed: int
    weight: np.ndarray | None = None
    label: np.ndarray | None = None
    process: int = 0
    processes: int = 1

    def __post_init__(self) -> None:
        if self.batch_size % UNITS:
            raise ValueError(
                f"batch_size: found {self.batch_size}, expected a multiple of {UNITS}, "
                "which is what length buckets are made of"
            )

    def of_process(self, process: int, processes: int) -> "TrainingBatches":
        """The same batches, with the rows of one of so many processes alone.

        Raises ValueError where the rows of a bucket are not divisible by their number.
        """
        if any(self.batch_size * share // UNITS % processes for share in self.buckets.shares):
            raise ValueError(
                f"batch_size: {self.batch_size} events in shares of {self.buckets.shares} "
                f"sixteenths cannot be divided among {processes} processes"
            )
        return dataclasses.replace(self, process=process, processes=processes)

    @property
    def steps(self) -> int:
        """Batches in an epoch; the last may hold rows of weight 0."""
        return -(-len(self.events) // self.batch_size)

    @property
    def rows(self) -> float:
        """Mean number of events in a batch."""
        return len(self.events) / self.steps

    def epoch(self, epoch: int) -> Callable[[int], tuple[Batch, ...]]:
        """The function from a step's number to its batch, for one epoch's random order."""
        rng = np.random.default_rng([self.seed, epoch])
        label = self.events.label
        place = rng.random(len(self.events))
        place += self.events.multiplicity  # those of equal multiplicity in random order
        ranked = np.argsort(place).astype(np.min_scalar_type(len(place)))
        del place  # of large samples, memory counts
        orders, start = [], 0
        for share in np.cumsum(self.buckets.shares):
            end = len(ranked) * int(share) // UNITS
            orders.append(_spread(ranked[start:end], label, rng))
            start = end

        def batch(step: int) -> tuple[Batch, ...]:
            parts = []
            for order, length, share in zip(
                orders, self.buckets.lengths, self.buckets.shares, strict=True
            ):
                rows = self.batch_size * share // UNITS // self.processes
                # spread each bucket evenly: its share may be one event more or less a step
                low, high = (len(order) * s // self.steps for s in (step, step + 1))
                chosen = order[low:high][rows * self.process :][:rows]
                parts.append(gather(self.events, chosen, length, rows, self.weight, self.label))
            return tuple(parts)

        return batch


def _spread(index: np.ndarray, label: np.ndarray | None, rng: np.random.Generator) -> np.ndarray:
    """A random order in which every stretch holds the classes in their overall shares."""
    index = rng.permutation(index)
    place = rng.random(len(index))
    if label is not None:
        for value in np.unique(label[index]):
            members = np.flatnonzero(label[index] == value)
            place[members] = (np.arange(len(members)) + place[members]) / len(members)
    return index[np.argsort(place)]


def prediction_batches(
    events: Sample, lengths: Sequence[int], rows: int
) -> Iterator[tuple[np.ndarray, Batch]]:
    """Every event once, in chunks of ``rows`` padded to the smallest fitting of ``lengths``.

    Yields the events' numbers and the batch; rows past the numbers' length are padding.
    """
    multiplicity = events.multiplicity
    bucket = np.searchsorted(lengths, np.minimum(multiplicity, lengths[-1]))
    for b, length in enumerate(lengths):
        members = np.flatnonzero(bucket == b)
        for start in range(0, len(members), rows):
            index = members[start : start + rows]
            yield index, gather(events, index, length, rows)


def prefetch(make: Callable[[int], T], first: int, last: int, threads: int = 1) -> Iterator[T]:
    """``make(first) … make(last - 1)`` in order, each thread making one while another is used.

    The first ones are begun at once, before they are asked for.
    """
    pool = concurrent.futures.ThreadPoolExecutor(threads)
    numbers = iter(range(first, last))
    pending = deque(pool.submit(make, number) for number in itertools.islice(numbers, threads))

    def results() -> Iterator[T]:
        with pool:
            while pending:
                ready = pending.popleft().result()
                pending.extend(pool.submit(make, number) for number in itertools.islice(numbers, 1))
                yield ready

    return results()
