"""Numbers of events, such as new weights, brought back to the entries of the tree they are from.

A friend is a tree (`weights` in a ROOT file, or a parquet file) with as many entries as that tree.
Where an entry is one jet, its branches are flat, NaN where the entry was cut away; where it can
hold several, they are jagged, with an element for each jet, NaN for those that were cut away.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxpriors.errors import InputError
from jaxpriors.physics.coordinates import offsets_of
from jaxpriors.run.storage import written_whole

TREE = "weights"
_NEEDS = {".root": "uproot", ".parquet": "pyarrow"}
_CHUNK = 100_000  # entries that are written at once


def check_friend(path: Path | str) -> None:
    """Raise InputError where a friend cannot be written there: before hours of training."""
    path = Path(path)
    if path.suffix not in _NEEDS:
        raise InputError(f"{path}: found the ending {path.suffix!r}, expected .root or .parquet")
    for package in ("awkward", _NEEDS[path.suffix]):
        if importlib.util.find_spec(package) is None:
            raise InputError(f"{path}: writing needs {package}: pip install 'jaxpriors[data]'")
    if path.exists():
        raise InputError(f"{path}: exists already; choose another name")


def write_friend(
    path: Path | str,
    columns: Mapping[str, np.ndarray],
    entry: np.ndarray,
    jet: np.ndarray | None = None,
    *,
    entries: int | None = None,
    jets: np.ndarray | None = None,
) -> None:
    """Write a friend; whole or not at all.

    Args:
        path: ends in .root or .parquet, and is not there.
        columns: name → numbers of n events (n,).
        entry: (n,) of which entry each event is, from 0.
        jet: (n,) its index there, where an entry can hold several.
        entries: of the tree; None for those up to the last event.
        jets: (entries,) jets of each entry, with ``jet``; None for those up to the last event.

    Raises:
        InputError: another ending, a file that exists, entries and jets beyond the tree's, two
            events of one place.

    Examples:
        >>> import os, tempfile, awkward
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = os.path.join(folder, "weights.parquet")
        ...     write_friend(path, {"weight": np.array([0.5, 1.5])}, np.array([2, 0]), entries=3)
        ...     awkward.from_parquet(path)["weight"].tolist()
        [1.5, nan, 0.5]
    """
    path = Path(path)
    check_friend(path)
    entry = np.asarray(entry)
    if entries is None:
        entries = int(entry.max(initial=-1)) + 1
    if jet is not None and jets is None:
        jets = np.zeros(entries, np.int64)
        np.maximum.at(jets, entry, np.asarray(jet) + 1)
    _check_places(path, "entry", entry, np.full(len(entry), entries))
    starts = np.arange(entries + 1)
    place = entry
    if jet is not None and jets is not None:
        if len(jets) != entries:
            raise InputError(f"{path}: jets: found {len(jets)} numbers, expected {entries}")
        _check_places(path, "jet", np.asarray(jet), jets[entry])
        starts = offsets_of(jets)
        place = starts[entry] + jet
    if len(np.unique(place)) < len(place):
        twice = int(entry[np.argsort(place, kind="stable")][_first_repeated(place)])
        raise InputError(
            f"{path}: found two events of entry {twice}, expected one each (the column `jet` tells "
            "several apart)"
        )
    whole = {}
    for name, values in columns.items():
        whole[name] = np.full(starts[-1], np.nan)
        whole[name][place] = values
    with written_whole(path) as scratch:
        write = _write_root if path.suffix == ".root" else _write_parquet
        write(scratch, whole, None if jet is None else starts, entries)


def _check_places(path: Path, what: str, found: np.ndarray, most: np.ndarray) -> None:
    """Raise InputError for a place that the tree does not have."""
    wrong = (found < 0) | (found >= most)
    if wrong.any():
        event = int(np.argmax(wrong))
        raise InputError(
            f"{path}: found {what} {found[event]} of event {event}, expected 0 to "
            f"{most[event] - 1}, those of the tree; is it another one?"
        )


def _first_repeated(place: np.ndarray) -> int:
    ordered = np.sort(place)
    return int(np.argmax(ordered[1:] == ordered[:-1]))


def _some(
    whole: Mapping[str, np.ndarray], starts: np.ndarray | None, first: int, last: int
) -> dict[str, Any]:
    """Give all branches of some entries: flat, or jagged."""
    import awkward

    if starts is None:
        return {name: values[first:last] for name, values in whole.items()}
    counts = np.diff(starts[first : last + 1])
    inner = slice(starts[first], starts[last])
    return {name: awkward.unflatten(values[inner], counts) for name, values in whole.items()}


def _write_root(
    path: Path, whole: Mapping[str, np.ndarray], starts: np.ndarray | None, entries: int
) -> None:
    import uproot

    kind = "float64" if starts is None else "var * float64"
    with uproot.recreate(path) as file:
        tree = file.mktree(TREE, dict.fromkeys(whole, kind))
        for first in range(0, entries, _CHUNK):
            tree.extend(_some(whole, starts, first, min(first + _CHUNK, entries)))


def _write_parquet(
    path: Path, whole: Mapping[str, np.ndarray], starts: np.ndarray | None, entries: int
) -> None:
    import awkward
    import pyarrow
    import pyarrow.parquet

    def rows(first: int, last: int) -> pyarrow.Table:
        found = _some(whole, starts, first, last)
        return pyarrow.table({
            name: awkward.to_arrow(awkward.Array(values), extensionarray=False)
            for name, values in found.items()
        })  # fmt: skip

    with pyarrow.parquet.ParquetWriter(path, rows(0, 0).schema) as file:
        for first in range(0, entries, _CHUNK):
            file.write_table(rows(first, min(first + _CHUNK, entries)))
