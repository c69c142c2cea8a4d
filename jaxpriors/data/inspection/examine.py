"""A user's file looked at as a whole: what it holds, and every problem that there is.

Values that cannot be used are all found and counted. Where a reader refuses a block of events, it
is asked for halves of it, and so on, until single events are found that it refuses; their number is
exact up to `REFUSALS` of them.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from jaxpriors.data.catalog import SETS
from jaxpriors.data.checks import Fault
from jaxpriors.data.events import LEVELS, Events
from jaxpriors.data.hdf5 import open_source, read_metadata
from jaxpriors.data.inspection.layouts import OURS, PREPARED, files_in, recognise
from jaxpriors.data.inspection.summary import Summary
from jaxpriors.data.matched import Simulation, as_flags, read_flags
from jaxpriors.data.parts import Reader
from jaxpriors.data.prepared import EventsOrLevels, open_prepared
from jaxpriors.data.sample_files import read_events
from jaxpriors.data.stored import BLOCK
from jaxpriors.errors import InputError

REFUSALS = 200  # events of one part that a reader is asked for one by one


@dataclass
class Examination:
    """What was found: the layout, a summary of each level ("" for a single one), the problems."""

    path: Path
    layout: str = "unknown"
    summaries: dict[str, Summary] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    metadata: dict[str, Any] = field(default_factory=dict)


def examine(path: Path, layout: str | None = None) -> Examination:
    """Look at a file, or the folder of a prepared sample or of files of one kind.

    layout: one of `layouts.LAYOUTS`, default: the one that is recognised.
    """
    found = Examination(path)
    try:
        found.layout = layout or recognise(path)
        if found.layout == OURS:
            _ours(found)
        elif found.layout == PREPARED:
            _prepared(found)
        else:
            _catalogued(found)
    except InputError as error:
        found.problems.append(str(error))
    if not found.problems and not any(summary.events for summary in found.summaries.values()):
        found.problems.append("found no events")
    for level, summary in found.summaries.items():
        if summary.events and not summary.weights[1]:
            found.problems.append(f"{_prefix(level)}the weights of all events are zero")
    return found


def _ours(found: Examination) -> None:
    """Examine a file in our own layout, level by level; events without a level are passed over."""
    samples: dict[str, Events] = {}
    flags: dict[str, np.ndarray] = {}
    with open_source(found.path) as source:
        found.metadata = read_metadata(source)
        for level in source.levels or (None,):
            try:
                passing = read_flags(source, level) if level else None
                events = read_events(source, level, chosen=passing, validated=False)
            except InputError as error:
                found.problems.append(str(error))
                continue
            name = level or ""
            samples[name] = events
            flags[name] = as_flags(name, passing, len(events) if passing is None else len(passing))
            faults = _Faults()
            _look(found, name, events, 0, faults)
            found.problems += faults.lines()
    if set(samples) == set(LEVELS) and not found.problems:
        try:
            Simulation(
                samples["particle"], samples["detector"], flags["particle"], flags["detector"]
            )
        except InputError as error:
            found.problems.append(str(error))


def _prepared(found: Examination) -> None:
    """Examine a prepared folder, block by block."""
    with open_source(found.path) as source:
        found.metadata, present = read_metadata(source), source.levels
    for level in present or (None,):
        events = open_prepared(found.path, level)
        faults = _Faults()
        for start in range(0, len(events), BLOCK):
            _look(found, level or "", events[start : start + BLOCK].read(), start, faults)
        found.problems += faults.lines()


def _catalogued(found: Examination) -> None:
    """Examine a file, or a folder of files, in a layout of the catalogue."""
    path = found.path
    for file in files_in(path) if path.is_dir() else [path]:
        for part in SETS[found.layout].parts(file):
            reader, faults = part.open(), _Faults()
            for start in range(0, part.events, part.piece):
                stop = min(start + part.piece, part.events)
                for begin, sample in _readable(reader, start, stop, faults):
                    given = {"": sample} if isinstance(sample, Events) else sample
                    for level, events in given.items():
                        _look(found, level, events, begin, faults)
            where = f"{part.name}: " if path.is_dir() or part.name != path.name else ""
            found.problems += [where + line for line in faults.lines()]


def _look(found: Examination, level: str, events: Events, first: int, faults: _Faults) -> None:
    """Add a block, whose first event has that number, to the summary and the faults."""
    found.summaries.setdefault(level, Summary()).add(events)
    try:
        for fault in events.faults():
            faults.add(fault, level, first)
    except InputError as error:
        faults.refused(str(error), first)


def _readable(
    reader: Reader, start: int, stop: int, faults: _Faults
) -> Iterator[tuple[int, EventsOrLevels]]:
    """Yield the events of a range that can be read, with the index of the first of each block."""
    waiting = [(start, stop)]
    while waiting:
        begin, end = waiting.pop()
        try:
            sample = reader(begin, end)
        except InputError as error:
            if end - begin == 1:
                faults.refused(str(error), begin)
            elif faults.single >= REFUSALS:
                faults.refused(str(error), begin, all_counted=False)
            else:
                middle = (begin + end) // 2
                waiting += [(middle, end), (begin, middle)]
            continue
        yield begin, sample


class _Faults:
    """Faults of one kind made one, with their number and the first of them."""

    def __init__(self) -> None:
        self.found: dict[tuple[str, str], Fault] = {}
        self.refusals: dict[str, tuple[str, int, int]] = {}  # kind → message, first event, number
        self.single = 0
        self.beyond = False

    def add(self, fault: Fault, level: str, first: int) -> None:
        """Count a fault of a block that begins with that event."""
        before = self.found.get((level, fault.what))
        if before is None:
            self.found[level, fault.what] = dataclasses.replace(fault, event=first + fault.event)
        else:
            count = before.count + fault.count
            self.found[level, fault.what] = dataclasses.replace(before, count=count)

    def refused(self, message: str, event: int, all_counted: bool = True) -> None:
        """Count an event that cannot be read; not all_counted: one of several, at least."""
        self.single += 1
        self.beyond |= not all_counted
        kind = re.sub(r"-?\d[\d.e+-]*|nan|inf", "#", message)
        first = self.refusals.get(kind, (message, event, 0))
        self.refusals[kind] = (*first[:2], first[2] + 1)

    def lines(self) -> list[str]:
        """Write one line for each kind."""
        lines = [_prefix(level) + fault.message for (level, _), fault in self.found.items()]
        least = "at least " if self.beyond else ""
        for message, event, number in self.refusals.values():
            lines.append(f"cannot be read: {least}{number} events, first event {event}: {message}")
        return lines


def _prefix(level: str) -> str:
    return f"{level} level: " if level else ""
