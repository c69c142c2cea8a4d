"""Events on disk: as many as fit a disk, of which memory holds those that are being looked at.

The constituents stay in files (`jaxpriors.data.prepared`). What is kept of every event are its
index, multiplicity, weight and label: 21 bytes.
"""

from __future__ import annotations

import dataclasses
import math
import os
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from jaxpriors.data.events import PASS, Events
from jaxpriors.errors import InputError
from jaxpriors.physics import coordinates as col
from jaxpriors.run.storage import digest

BLOCK = 50_000  # events that are read at once where all are looked at


class Opened:
    """Hold a file open, by its descriptor, for as long as something refers to it."""

    def __init__(self, path: Path) -> None:
        self.path, self.descriptor = path, os.open(path, os.O_RDONLY)
        weakref.finalize(self, os.close, self.descriptor)


@dataclasses.dataclass(frozen=True)
class Rows:
    """The rows of an array in a file (.npy), which are read as they are asked for."""

    file: Opened
    begin: int
    dtype: np.dtype
    shape: tuple[int, ...]

    @classmethod
    def of(cls, path: Path, array: np.ndarray) -> Rows:
        """Open the file of an array that is mapped into memory.

        Raises InputError for a column-major array.
        """
        assert isinstance(array, np.memmap)
        if not array.flags.c_contiguous:
            raise InputError(
                f"{path}: found a column-major array (fortran_order), expected a row-major one: "
                "np.save(path, np.ascontiguousarray(array))"
            )
        return cls(Opened(path), array.offset, array.dtype, array.shape)

    def read(self, starts: np.ndarray, counts: np.ndarray) -> np.ndarray:
        """counts[i] rows from starts[i] on, for all i, one after another.

        Raises InputError where the file ends too early.
        """
        result = np.empty((int(counts.sum()), *self.shape[1:]), self.dtype)
        if not len(result):
            return result
        size = self.dtype.itemsize * math.prod(self.shape[1:])
        memory = memoryview(result).cast("B")  # type: ignore[arg-type]
        new = np.flatnonzero(starts[1:] != starts[:-1] + counts[:-1]) + 1  # a stretch begins there
        first = starts[np.concatenate([[0], new])]
        ends = np.cumsum(counts)[np.concatenate([new, [len(counts)]]) - 1]
        place = 0
        for start, end in zip((first * size).tolist(), (ends * size).tolist(), strict=True):
            begin = self.begin + start - place
            while place < end:  # a call reads 2 GiB at most
                found = os.pread(self.file.descriptor, end - place, begin + place)
                if not found:
                    raise InputError(
                        f"{self.file.path}: ends at byte {begin + place}; it was changed"
                    )
                memory[place : place + len(found)] = found
                place += len(found)
        return result


@dataclasses.dataclass(frozen=True)
class PreparedArrays:
    """Hold a set on disk: n events with `total` constituents, arrays as in `Events`.

    Offsets, jets and columns are memory-mapped. digest: a hash of all. undirected: how many
    constituents and jets have no direction (`Events.undirected`). identities: whether constituents
    have any.
    """

    p4: Rows
    pid: Rows
    offsets: np.ndarray
    jet_p4: np.ndarray
    weight: np.ndarray
    label: np.ndarray | None
    columns: dict[str, np.ndarray]
    digest: str
    undirected: dict[str, int]
    identities: bool

    def __len__(self) -> int:
        """Count the events."""
        return len(self.offsets) - 1

    def read(self, index: np.ndarray, names: Sequence[str]) -> Events:
        """Read some events into memory, without labels, with these of their columns."""
        starts = self.offsets[index]
        counts = self.offsets[index + 1] - starts
        return Events(
            p4=self.p4.read(starts, counts),
            pid=self.pid.read(starts, counts),
            offsets=col.offsets_of(counts),
            jet_p4=self.jet_p4[index],
            weight=self.weight[index],
            columns={name: self.columns[name][index] for name in names},
        )


@dataclasses.dataclass(frozen=True)
class StoredEvents:
    """Hold n events of sets on disk, in an order of their own; `prepared.open_prepared` makes them.

    They are used as `Events` are: ``[index]`` chooses without reading, ``read`` reads.

    Args:
        sources: the sets.
        which: (n,) unsigned, the index of each event's set among the sources; one byte as a rule.
        index: (n,) uint32 or int64, the index of each event within its set.
        multiplicity: (n,) int32.
        weight: (n,) float64, of either sign.
        label: (n,) int32 or None.
        names: of the event-level columns that are read.
    """

    sources: tuple[PreparedArrays, ...]
    which: np.ndarray
    index: np.ndarray
    multiplicity: np.ndarray
    weight: np.ndarray
    label: np.ndarray | None
    names: tuple[str, ...]

    @classmethod
    def of(cls, source: PreparedArrays) -> StoredEvents:
        """Take all events of a set, in its order."""
        return cls(
            (source,),
            np.zeros(len(source), np.uint8),
            np.arange(len(source), dtype=np.uint32 if len(source) < 2**32 else np.int64),
            np.diff(source.offsets).astype(np.int32),
            source.weight,
            source.label,
            tuple(source.columns),
        )

    def __len__(self) -> int:
        """Count the events."""
        return len(self.index)

    def __getitem__(self, index: slice | np.ndarray | Sequence[int]) -> StoredEvents:
        """Choose events: a slice, booleans (n,) or integers in any order; nothing is read."""
        if not isinstance(index, slice):
            index = np.asarray(index)
            if index.dtype == bool and index.shape != (len(self),):
                raise InputError(f"selection has shape {index.shape}, expected ({len(self)},)")
            index = index if index.size else index.astype(np.int64)
        return dataclasses.replace(
            self,
            which=self.which[index],
            index=self.index[index],
            multiplicity=self.multiplicity[index],
            weight=self.weight[index],
            label=None if self.label is None else self.label[index],
        )

    def read(self) -> Events:
        """Read these events into memory."""
        pieces, places = [], []
        for number, source in enumerate(self.sources):
            mine = np.flatnonzero(self.which == number)
            if len(mine):
                pieces.append(source.read(self.index[mine], self.names))
                places.append(mine)
        if not pieces:
            pieces, places = [self.sources[0].read(self.index, self.names)], [self.index]
        read = pieces[0] if len(pieces) == 1 else Events.concatenate(pieces)
        if len(pieces) > 1:
            read = read[np.argsort(np.concatenate(places))]
        return dataclasses.replace(read, weight=self.weight, label=self.label)

    def blocks(self, size: int = BLOCK) -> Iterator[Events]:
        """Read all of them, so many at a time."""
        for start in range(0, len(self), size):
            yield self[start : start + size].read()

    def digest(self) -> str:
        """Hash all that a network can see; not that of the same events in memory."""
        known = " ".join([*(source.digest for source in self.sources), *self.names])
        return digest(known, self.which, self.index, self.weight, self.label)

    @property
    def passing(self) -> np.ndarray | None:
        """Tell which events have their level, as `Events.passing`."""
        found = np.ones(len(self), bool)
        for number, source in enumerate(self.sources):
            mine = np.flatnonzero(self.which == number)
            for name in PASS.values():
                if name in source.columns and name in self.names:
                    found[mine] &= source.columns[name][self.index[mine]] != 0
        return None if found.all() else found

    @property
    def identities(self) -> bool:
        """Tell whether constituents of these sets have identities."""
        return any(source.identities for source in self.sources)

    def undirected(self) -> dict[str, int]:
        """Count as `Events.undirected`, of all events of their sets."""
        found = [source.undirected for source in self.sources]
        return {what: sum(each[what] for each in found) for what in found[0]}

    def with_columns(self, names: Sequence[str]) -> StoredEvents:
        """Keep columns as `Events.with_columns`."""
        for source in self.sources:
            for name in names:
                if name not in self.names or source.columns[name].ndim != 1:
                    found = {k: source.columns[k].shape for k in self.names}
                    raise InputError(
                        f"column {name!r}: found the columns {found}, expected it among them with "
                        "one number an event"
                    )
        return dataclasses.replace(self, names=tuple(names))

    def with_weight(self, weight: np.ndarray) -> StoredEvents:
        """Replace the weights by others (n,)."""
        return dataclasses.replace(self, weight=np.asarray(weight, np.float64))

    def with_label(self, label: np.ndarray | int) -> StoredEvents:
        """Replace the labels by others (n,), or one label for all."""
        label = np.broadcast_to(label, (len(self),)).astype(np.int32)
        return dataclasses.replace(self, label=label)

    @classmethod
    def concatenate(cls, samples: Sequence[StoredEvents]) -> StoredEvents:
        """Join the events of all samples, one sample after another; nothing is read.

        Raises InputError where labels or columns differ in kind, as `Events.concatenate`.
        """
        if len({(sample.names, sample.label is None) for sample in samples}) != 1:
            kinds = [(sample.names, sample.label is not None) for sample in samples]
            raise InputError(
                f"found samples with these columns and labels: {kinds}, expected all alike"
            )
        first = np.cumsum([0, *(len(sample.sources) for sample in samples)])
        which = np.min_scalar_type(max(int(first[-1]) - 1, 0))
        labels = [sample.label for sample in samples if sample.label is not None]
        return cls(
            tuple(source for sample in samples for source in sample.sources),
            np.concatenate(
                [
                    s.which.astype(which) + which.type(k)
                    for s, k in zip(samples, first, strict=False)
                ]
            ),
            np.concatenate([sample.index for sample in samples]),
            np.concatenate([sample.multiplicity for sample in samples]),
            np.concatenate([sample.weight for sample in samples]),
            np.concatenate(labels) if labels else None,
            samples[0].names,
        )


Sample = Events | StoredEvents
