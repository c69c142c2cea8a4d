"""A sample of named arrays in an open file, which is read in ranges of events."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from jaxpriors.data import checks
from jaxpriors.data.events import PASS, Events
from jaxpriors.data.hdf5 import Source
from jaxpriors.data.reading import Reading
from jaxpriors.errors import InputError
from jaxpriors.physics import coordinates as col

NAMES = ("p4", "pid", "offsets", "multiplicity", "mask", "jet_p4", "weight", "label")
BLOCK = 2**19  # constituents, or rows of padding, that are read at once


@dataclass(frozen=True)
class NamedSample:
    """Hold where the arrays of one sample (or level) stand in an open file of n events.

    Args:
        source: the file.
        reading: how it is read; its level is the one that was found, None for a single sample.
        coordinates: of the momenta.
        at: our names (`NAMES` and components) → the file's.
        columns: names of event-level columns → the file's.
        offsets: (n+1,) where the momenta are flat, None where they are padded.
        flags: (n,) bool, the events that have this level; None for all.
        size: n.
    """

    source: Source
    reading: Reading
    coordinates: str
    at: dict[str, str]
    columns: dict[str, str]
    offsets: np.ndarray | None
    flags: np.ndarray | None
    size: int

    @property
    def place(self) -> str:
        """Name the file and the level, for messages."""
        level = self.reading.level
        return f"{self.source.path}{f' ({level} level)' if level else ''}"

    @property
    def flag(self) -> str:
        """Name the column of flags that tell which events have this level."""
        return PASS[self.reading.level or "detector"]

    @property
    def names(self) -> set[str]:
        """Name the arrays of the file that are read."""
        return {*self.at.values(), *self.columns.values()}

    def blocks(self) -> Iterator[tuple[int, int]]:
        """Yield ranges of events (start, stop) that hold about `BLOCK` constituents each."""
        if self.offsets is None:
            width = self.source.arrays[self.at[self.momenta[0]]].shape[1]
            rows = max(1, BLOCK // max(1, width))
            edges = np.append(np.arange(0, self.size, rows), self.size)
        else:
            wanted = np.arange(0, self.offsets[-1], BLOCK)
            edges = np.unique([*np.searchsorted(self.offsets, wanted, "left"), 0, self.size])
        yield from zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True)

    @property
    def momenta(self) -> tuple[str, ...]:
        """Name the arrays of momenta, by our names."""
        return ("p4",) if "p4" in self.at else col.components(self.coordinates)

    def read(
        self,
        start: int = 0,
        stop: int | None = None,
        *,
        faults: list[checks.Fault] | None = None,
        whole: bool = False,
    ) -> Events:
        """Read the events of a range that have this level.

        whole: keep the others, without constituents. faults: as in `Events.from_flat`. Raises
        InputError as `Events.from_flat` does, with the file and level.
        """
        stop = self.size if stop is None else stop
        events = slice(start, stop)
        passing = None if self.flags is None else self.flags[events]
        found = {
            n: self.source.read(self.at[n], events)
            for n in ("jet_p4", "weight", "label")
            if n in self.at
        }
        columns = {n: self.source.read(at, events) for n, at in self.columns.items()}
        p4, pid, counts = self._constituents(start, stop)
        if passing is not None and not passing.all():
            rows = np.repeat(passing, counts)
            p4, pid = p4[rows], None if pid is None else pid[rows]
            counts = np.where(passing, counts, 0) if whole else counts[passing]
            if not whole:
                found = {name: array[passing] for name, array in found.items()}
                columns = {name: array[passing] for name, array in columns.items()}
            elif "jet_p4" in found:
                found["jet_p4"] = np.where(passing[:, None], found["jet_p4"], 0)
        with checks.located(self.place):
            return Events.from_flat(
                p4,
                counts,
                coordinates=self.coordinates,
                pid=self._codes(pid),
                columns=columns,
                scale=self.reading.scale,
                faults=faults,
                **found,
            )

    def _codes(self, pid: np.ndarray | None) -> np.ndarray | None:
        return None if pid is None else self.reading.pdg_codes(pid)

    def _constituents(
        self, start: int, stop: int
    ) -> tuple[np.ndarray, np.ndarray | None, np.ndarray]:
        """Read momenta (total, …), identities (total,) and multiplicities of a range."""
        rows = slice(start, stop)
        counts = None
        if self.offsets is not None:
            rows = slice(int(self.offsets[start]), int(self.offsets[stop]))
            counts = np.diff(self.offsets[start : stop + 1])
        else:
            own = {n: self.source.read(self.at[n], rows) for n in ("mask", "multiplicity")
                   if n in self.at}  # fmt: skip
            counts = own.get("mask", own.get("multiplicity"))
            if len(own) == 2 and not np.array_equal(own["mask"].sum(1), own["multiplicity"]):
                raise InputError(
                    f"{self.place}: mask and multiplicity: found other numbers of constituents"
                )
        parts = [self.source.read(self.at[n], rows) for n in self.momenta]
        p4 = parts[0] if self.momenta == ("p4",) else np.stack(parts, axis=-1)
        pid = self.source.read(self.at["pid"], rows) if "pid" in self.at else None
        names = col.components(self.coordinates)
        if col.IDENTITY in names and self.reading.identities != "pdg":
            place = names.index(col.IDENTITY)
            p4[..., place] = self.reading.pdg_codes(p4[..., place])
        if self.offsets is None:
            with checks.located(self.place):
                filled = col.filled_rows(p4, self.coordinates, counts, self.reading.padding)
            p4, pid = p4[filled], None if pid is None else pid[filled]
            counts = filled.sum(axis=1)
        assert counts is not None
        return p4, pid, counts
