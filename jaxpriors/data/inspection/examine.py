"""A user's file looked at as a whole: what it holds, and every problem that there is.

Values that cannot be used are all found and counted. Where a reader refuses a block of events, it
is asked for halves of it, and so on, until single events are found that it refuses; their number is
exact up to `REFUSALS` of them.
"""

from __future__ import annotations

import dataclasses
import re
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from jaxpriors.data import named_unread, unread
from jaxpriors.data.catalog import SETS
from jaxpriors.data.checks import Fault
from jaxpriors.data.events import LEVELS, Events
from jaxpriors.data.formats import trees
from jaxpriors.data.hdf5 import Source, open_source
from jaxpriors.data.inspection.layouts import OURS, PREPARED, TREE, files_in, recognise
from jaxpriors.data.inspection.summary import Summary
from jaxpriors.data.matched import check_matched
from jaxpriors.data.named import as_flags, find_sample
from jaxpriors.data.named_sample import NamedSample
from jaxpriors.data.parts import Part, Reader
from jaxpriors.data.prepared import EventsOrLevels, open_prepared
from jaxpriors.data.reading import Reading
from jaxpriors.data.sample_files import read_metadata
from jaxpriors.data.stored import BLOCK
from jaxpriors.data.weights import LEAST, MOST
from jaxpriors.errors import InputError
from jaxpriors.physics.units import Scale, unit_of

REFUSALS = 200  # events of one part that a reader is asked for one by one


@dataclass
class Examination:
    """What was found: the layout, a summary of each level ("" for a single one), the problems.

    unread: names in the file that were not read. notes: what is worth to know. undirected: of each
    level, as `Events.undirected`, which no network can be trained on.
    """

    path: Path
    layout: str = "unknown"
    summaries: dict[str, Summary] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    metadata: dict[str, Any] = field(default_factory=dict)
    unread: tuple[str, ...] = ()
    notes: list[str] = field(default_factory=list)
    undirected: dict[str, dict[str, int]] = field(default_factory=dict)


def examine(path: Path, layout: str | None = None, reading: Reading = Reading()) -> Examination:
    """Look at a file, or the folder of a prepared sample or of files of one kind.

    layout: one of `layouts.LAYOUTS`, default: the one that is recognised; ours where columns are
    named. reading: how a file in our layout, or a tree, is read.
    """
    found = Examination(path)
    try:
        tree = trees.is_tree(path)
        if layout is None and reading.columns:
            layout = TREE if tree else OURS
        found.layout = layout or recognise(path)
        if found.layout == OURS:
            _ours(found, reading)
        elif found.layout == PREPARED:
            _prepared(found)
        elif found.layout == TREE:
            found.unread = trees.unread(path, reading)
            _parts(found, trees.parts(path, reading), several=False)
        else:
            for file in files_in(path) if path.is_dir() else [path]:
                with warnings.catch_warnings(record=True) as told:
                    warnings.simplefilter("always", unread.Unread)
                    parts = SETS[found.layout].parts(file)
                names = (n for w in told if isinstance(w.message, unread.Unread)
                         for n in w.message.names)  # fmt: skip
                found.unread = tuple(dict.fromkeys((*found.unread, *names)))
                _parts(found, parts, several=path.is_dir())
    except InputError as error:
        found.problems.append(str(error))
    if not found.problems and not any(summary.events for summary in found.summaries.values()):
        found.problems.append("found no events")
    for level, summary in found.summaries.items():
        total, _, size = summary.weights
        if summary.events and not size:
            found.problems.append(f"{_prefix(level)}the weights of all events are zero")
        elif summary.events and not total > 0:
            found.problems.append(
                f"{_prefix(level)}the weights sum to {total:g}, expected a positive sum"
            )
        elif summary.events and not LEAST <= size <= MOST:
            found.problems.append(
                f"{_prefix(level)}the sizes of the weights sum to {size:g}, expected {LEAST:g} … "
                f"{MOST:g}"
            )
        for what, number in found.undirected.get(level, {}).items():
            if number:
                found.problems.append(
                    f"{_prefix(level)}found {number} {what} with pT or E of 0, expected none"
                )
    return found


def _ours(found: Examination, reading: Reading) -> None:
    """Examine a file in our own layout, level by level; events without a level are passed over."""
    with open_source(found.path) as source:
        found.metadata = read_metadata(source)
        samples: list[NamedSample] = []
        levels: tuple[str | None, ...] = source.levels or (None,)
        for level in (reading.level,) if reading.columns else levels:
            try:
                samples.append(find_sample(source, reading.replace(level=level)))
            except InputError as error:
                found.problems.append(str(error))
        if not samples:
            return
        try:
            found.unread = named_unread.unread_names(samples)
        except InputError as error:
            found.problems.append(str(error))
        for sample in samples:
            faults = _Faults()
            _in_blocks(found, sample, faults)
            found.problems += faults.lines()
        if {sample.reading.level for sample in samples} == {*LEVELS} and not found.problems:
            _matched(found, source, samples)


def _in_blocks(found: Examination, sample: NamedSample, faults: _Faults) -> None:
    level = sample.reading.level or ""
    for start, stop in sample.blocks():
        own: list[Fault] = []
        try:
            events = sample.read(start, stop, faults=own, whole=True)
        except InputError as error:
            faults.refused(str(error), start)
            continue
        _look(found, level, events, start, faults, own)


def _matched(found: Examination, source: Source, samples: list[NamedSample]) -> None:
    """Compare the levels of a file as a simulation does."""
    by_level = {sample.reading.level: sample for sample in samples}
    weights, flags = [], []
    for sample in (by_level[level] for level in LEVELS):
        weight = sample.at.get("weight")
        weights.append(np.ones(sample.size) if weight is None else source.read(weight))
        flags.append(as_flags("flags", sample.flags, sample.size))
    try:
        if len(weights[0]) != len(weights[1]):
            sizes = [len(weight) for weight in weights]
            raise InputError(f"found levels of {sizes} events, expected as many at both")
        check_matched(*(w[f] for w, f in zip(weights, flags, strict=True)), *flags)
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
            block = events[start : start + BLOCK].read()
            _look(found, level or "", block, start, faults, _own_faults(block, start, faults))
        found.problems += faults.lines()


def _parts(found: Examination, parts: Iterable[Part], several: bool) -> None:
    """Examine the parts of a file; several: whether it is one of many."""
    for part in parts:
        reader, faults = part.open(), _Faults()
        for start in range(0, part.events, part.piece):
            if faults.beyond:  # nothing is gained from millions of them
                break
            stop = min(start + part.piece, part.events)
            for begin, sample in _readable(reader, start, stop, faults):
                given = {"": sample} if isinstance(sample, Events) else sample
                for level, events in given.items():
                    own = _own_faults(events, begin, faults)
                    _look(found, level, events, begin, faults, own)
        where = f"{part.name}: " if several or part.name != found.path.name else ""
        found.problems += [where + line for line in faults.lines()]


def _own_faults(events: Events, first: int, faults: _Faults) -> list[Fault]:
    try:
        return list(events.faults())
    except InputError as error:
        faults.refused(str(error), first)
        return []


def _look(
    found: Examination, level: str, events: Events, first: int, faults: _Faults, own: list[Fault]
) -> None:
    """Add a block, whose first event has that number, to the summary, and its faults."""
    for fault in own:
        faults.add(fault, level, first)
    if events.passing is not None:
        events = events[events.passing]
    if level not in found.summaries and unit_of(Scale.of(events.jet_p4, events.p4)):
        found.notes.append(f"{_prefix(level)}energies are probably in MeV (--unit MeV)")
    found.summaries.setdefault(level, Summary()).add(events)
    if not own:
        count = found.undirected.setdefault(level, {})
        for what, number in events.undirected().items():
            count[what] = count.get(what, 0) + number


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
