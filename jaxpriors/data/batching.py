"""Ragged events to arrays of few fixed shapes: splits, padding buckets, shuffling, prefetch.

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
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
from jax import Array

from jaxpriors.data.stored import Sample, StoredEvents
from jaxpriors.errors import InputError
from jaxpriors.layers.core import module
from jaxpriors.physics import kinematics

T = TypeVar("T")
UNITS = 16  # a bucket's share of the batch is a multiple of 1/16
BLOCK = 4096  # events that are padded at once where many are read
THREADS = 8  # that make a training's batches: a disk is faster where several reads are under way


@module
class Batch:
    """Padded events as a model's inputs see them; rows with weight 0 may be padding.

    p4 (B, P, 4) GeV, pid (B, P), length (B,), jet_p4 (B, 4) GeV, jet_mass (B,) GeV, columns (B, C)
    of the events, C mostly 0, label and weight (B,), or (B, k) where k networks are trained at once
    and label or weigh the events in their own ways. The mass of a forward jet cannot be had from
    its four-momentum in single precision.
    """

    p4: Array | np.ndarray
    pid: Array | np.ndarray
    length: Array | np.ndarray
    jet_p4: Array | np.ndarray
    jet_mass: Array | np.ndarray
    columns: Array | np.ndarray
    label: Array | np.ndarray
    weight: Array | np.ndarray


@dataclass(frozen=True)
class Buckets:
    """How events are sorted: padded length and share (in 1/UNITS) of each bucket, short to long."""

    lengths: tuple[int, ...]
    shares: tuple[int, ...]


def split(n: int, fractions: tuple[float, ...], seed: int) -> list[np.ndarray]:
    """Share n events out at random: disjoint, sorted indices (…,) int64, one array a fraction.

    Raises InputError unless the fractions sum to 1.
    """
    if min(fractions) < 0 or abs(sum(fractions) - 1) > 1e-9:
        raise InputError(f"fractions: found {fractions}, expected shares that sum to 1")
    order = np.random.default_rng([seed, n]).permutation(n)
    edges = np.round(np.cumsum((0.0, *fractions)) * n).astype(int)
    return [np.sort(order[a:b]) for a, b in itertools.pairwise(edges)]


def plan_buckets(multiplicity: np.ndarray, count: int = 4) -> Buckets:
    """Find the buckets (at most ``count``) with the least padded rows, by dynamic programming.

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
    """Pad events ``index`` (B,) to ``length`` constituents, filled up to ``rows`` with weight 0.

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
    counts = np.minimum(events.offsets[index + 1] - start, length)
    slots = np.arange(length)
    valid = slots < counts[:, None]
    flat = np.where(valid, start[:, None] + slots, start[:, None])
    single = [column[index] for column in events.columns.values() if column.ndim == 1]
    columns = np.array(single, np.float32).reshape(-1, len(index)).T
    return Batch(
        p4=np.where(valid[..., None], events.p4[flat], 0.0).astype(np.float32),
        pid=np.where(valid, events.pid[flat], 0).astype(np.int32),
        length=counts.astype(np.int32),
        jet_p4=events.jet_p4[index].astype(np.float32),
        jet_mass=kinematics.mass(events.jet_p4[index]).astype(np.float32),
        columns=columns,
        label=label.astype(np.float32),
        weight=weights.astype(np.float32),
    )


def spread(events: Sample, most: int) -> Batch:
    """Gather at most ``most`` events, evenly spread over the whole of them, none of them cut."""
    return next(spread_blocks(events, most, block=most))


def spread_blocks(events: Sample, most: int, block: int = BLOCK) -> Iterator[Batch]:
    """Gather the events of ``spread`` in their order, ``block`` at a time."""
    index = np.linspace(0, len(events) - 1, min(len(events), most)).astype(np.int64)
    for start in range(0, len(index), block):
        chosen = index[start : start + block]
        yield gather(events, chosen, int(events.multiplicity[chosen].max()))


@dataclass(frozen=True)
class TrainingBatches:
    """Make a training's batches: ``epoch(epoch)(step)`` is a tuple of ``Batch``, one a bucket.

    Each batch has ``batch_size`` rows, split over the buckets by their shares. weight, label: as in
    ``gather``. Of several processes, each makes its own rows of every batch alone: those with the
    indices n · process / processes to n · (process + 1) / processes of the n rows of a bucket.
    """

    events: Sample
    buckets: Buckets
    batch_size: int
    seed: int
    weight: np.ndarray | None = None
    label: np.ndarray | None = None
    process: int = 0
    processes: int = 1
    steps: int = field(init=False)  # batches in an epoch; the last may hold rows of weight 0
    rows: float = field(init=False)  # events in a batch, on average

    def __post_init__(self) -> None:
        if self.batch_size % UNITS:
            raise ValueError(
                f"batch_size: found {self.batch_size}, expected a multiple of {UNITS}, "
                "which is what length buckets are made of"
            )
        steps = -(-len(self.events) // self.batch_size)
        object.__setattr__(self, "steps", steps)
        object.__setattr__(self, "rows", len(self.events) / steps)

    def of_process(self, process: int, processes: int) -> "TrainingBatches":
        """Keep the rows of one of so many processes alone.

        Raises ValueError where the rows of a bucket are not divisible by their number.
        """
        if any(self.batch_size * share // UNITS % processes for share in self.buckets.shares):
            raise ValueError(
                f"batch_size: {self.batch_size} events in shares of {self.buckets.shares} "
                f"sixteenths cannot be divided among {processes} processes"
            )
        return dataclasses.replace(self, process=process, processes=processes)

    def epoch(self, epoch: int) -> Callable[[int], tuple[Batch, ...]]:
        """Order the events of an epoch at random; returns the function from step to batch."""
        rng = np.random.default_rng([self.seed, epoch])
        label = self.events.label
        place = rng.random(len(self.events))
        place += self.events.multiplicity  # those of equal multiplicity in random order
        ranked = np.argsort(place).astype(np.min_scalar_type(len(place)))
        del place  # of large samples, memory counts
        orders, start = [], 0
        for share in np.cumsum(self.buckets.shares):
            end = len(ranked) * int(share) // UNITS
            order = rng.permutation(ranked[start:end])
            place = rng.random(len(order))
            if label is not None:  # every stretch holds the classes in their overall shares
                for value in np.unique(label[order]):
                    members = np.flatnonzero(label[order] == value)
                    place[members] = (np.arange(len(members)) + place[members]) / len(members)
            orders.append(order[np.argsort(place)])
            start = end

        def batch(step: int) -> tuple[Batch, ...]:
            padded = []
            for order, length, share in zip(
                orders, self.buckets.lengths, self.buckets.shares, strict=True
            ):
                rows = self.batch_size * share // UNITS // self.processes
                # spread each bucket evenly: its share may be one event more or less a step
                low, high = (len(order) * s // self.steps for s in (step, step + 1))
                chosen = order[low:high][rows * self.process :][:rows]
                padded.append(gather(self.events, chosen, length, rows, self.weight, self.label))
            return tuple(padded)

        return batch


def prediction_batches(
    events: Sample, lengths: Sequence[int], rows: int
) -> Iterator[tuple[np.ndarray, Batch]]:
    """Batch every event once, ``rows`` at a time, padded to the smallest fitting of ``lengths``.

    Yields the events' indices and the batch; rows past the indices' length are padding.
    """
    multiplicity = events.multiplicity
    bucket = np.searchsorted(lengths, np.minimum(multiplicity, lengths[-1]))
    for b, length in enumerate(lengths):
        members = np.flatnonzero(bucket == b)
        for start in range(0, len(members), rows):
            index = members[start : start + rows]
            yield index, gather(events, index, length, rows)


def prefetch(make: Callable[[int], T], first: int, last: int, threads: int = 1) -> Iterator[T]:
    """Yield ``make(first) … make(last - 1)`` in order; threads make some while one is used.

    The first ones are begun at once, before they are asked for.
    """
    pool = concurrent.futures.ThreadPoolExecutor(threads)
    steps = iter(range(first, last))
    pending = deque(pool.submit(make, step) for step in itertools.islice(steps, threads))

    def results() -> Iterator[T]:
        with pool:
            while pending:
                ready = pending.popleft().result()
                pending.extend(pool.submit(make, step) for step in itertools.islice(steps, 1))
                yield ready

    return results()
