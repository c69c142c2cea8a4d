"""ROOT trees and parquet files as events, in blocks of entries (`jaxpriors.data.formats.records`).

A file is one of these by its first bytes. Of a tree with several jets an entry, and of one with a
cut, the events are counted first, which reads the branches that tell how many there are.
"""

from __future__ import annotations

import os
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

import numpy as np

from jaxpriors.data.events import Events
from jaxpriors.data.formats import parquet, root
from jaxpriors.data.formats.records import events_of
from jaxpriors.data.formats.tables import (
    Table,
    as_one,
    blocks_of,
    counts_of,
    jets_of,
    plan_of,
    unread_of,
)
from jaxpriors.data.parts import Part
from jaxpriors.data.reading import Reading
from jaxpriors.errors import InputError

_KINDS = {b"root": root.table, b"PAR1": parquet.table}


def is_tree(path: Path | str) -> bool:
    """Tell whether a path is that of a ROOT or parquet file, by its first bytes."""
    if not os.path.isfile(path):
        return False
    with open(path, "rb") as file:
        return file.read(4) in _KINDS


def parts(path: Path | str, reading: Reading = Reading()) -> list[Part]:
    """Find the blocks of a file whose events are read at once.

    Args:
        path: of a ROOT or parquet file.
        reading: which branches are what. Without momenta among its columns, trees like those of
            JetClass and PFNano are recognised by the names of their branches; others give events
            of columns alone.

    Raises:
        InputError: no such file, one that cannot be read, several trees of which none is chosen,
            branches that are not there, expressions that cannot be computed, branches that look
            like weights, flags or labels and are not read. The parts' readers raise it for values
            that cannot be used.

    Examples:
        >>> import os, tempfile, awkward
        >>> jets = awkward.Array({"pt": [[5.0, 3.0], [2.0]], "eta": [[0.1, 0.2], [0.3]],
        ...     "phi": [[0.0, 0.1], [0.2]], "w": [0.5, 1.5]})
        >>> columns = {"pt": "pt", "eta": "eta", "phi": "phi", "weight": "w"}
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = os.path.join(folder, "jets.parquet")
        ...     _ = awkward.to_parquet(jets, path)
        ...     [part] = parts(path, Reading(columns=columns))
        ...     events = part.open()(0, part.events)
        >>> events.multiplicity.tolist(), events.weight.tolist(), events.columns["entry"].tolist()
        ([2, 1], [0.5, 1.5], [0, 1])
    """
    path = Path(path)
    with _open(path, reading) as table:
        plan = plan_of(table, reading)
        unread_of(table, plan)
        return [
            Part(
                table.place,
                events,
                partial(partial, _read, path, plan.reading, start, stop),
                piece=events,
            )
            for start, stop, events in counts_of(table, plan)
        ]


def unread(path: Path | str, reading: Reading = Reading()) -> tuple[str, ...]:
    """Name the branches of a file that `parts` would not read; raises InputError as it does."""
    with _open(Path(path), reading) as table:
        return unread_of(table, plan_of(table, reading))


def read_tree(path: Path | str, reading: Reading = Reading()) -> Events:
    """Read all events of a file; arguments and errors are those of `parts`."""
    return as_one([_read_whole(part) for part in parts(path, reading)])


def _read_whole(part: Part) -> Events:
    events = part.open()(0, part.events)
    assert isinstance(events, Events)
    return events


def jets(path: Path | str, reading: Reading = Reading()) -> tuple[int, np.ndarray | None]:
    """Count the entries of a file, and the jets of each entry before cuts.

    Returns:
        The entries; their jets (entries,) int64, None where each is one jet.
    """
    with _open(Path(path), reading) as table:
        plan = plan_of(table, reading.replace(cut=None))
        found = [jets_of(table, plan, start, stop) for start, stop in blocks_of(table, plan)]
    if not any(block.several for block in found):
        return table.entries, None
    return table.entries, np.concatenate([block.counts for block in found])


def _open(path: Path, reading: Reading) -> AbstractContextManager[Table]:
    """Open a table of the kind that the first bytes tell."""
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    with open(path, "rb") as file:
        start = file.read(4)
    if start not in _KINDS:
        raise InputError(f"{path}: starts with {start!r}, expected a ROOT or parquet file")
    return _KINDS[start](path, reading)


def _read(path: Path, reading: Reading, first: int, last: int, start: int, stop: int) -> Events:
    """Read the events start to stop of those in a block of entries."""
    with _open(path, reading) as table:
        plan = plan_of(table, reading)
        events = events_of(plan, table.read(plan.branches, first, last), first)
    return events if (start, stop) == (0, len(events)) else events[start:stop]
