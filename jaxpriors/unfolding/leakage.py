"""Does the truth leak into an unfolding? Poisoned copies of the files must change nothing.

Pseudo-data have a particle level, which an unfolding must not see; simulated events that lack a
level have something else in its place, which nobody should see. Both are overwritten in copies of
the files, floating numbers by NaN, integers by their largest, flags by their opposite, and numbers
of constituents so that the last event has all. All that is read and found of the copies must be
what it was, bit by bit. Events that are in both samples are
another leak: the data then follow the fluctuations of the simulation.
"""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np

from jaxpriors.data.events import LEVELS, PASS, Events
from jaxpriors.errors import InputError

Found = dict[str, np.ndarray]
STRUCTURE = ("offsets", "multiplicity")  # datasets that say what belongs to which event
OF_EVENTS = ("jet_p4", "weight", "label")  # one row an event


class Check(NamedTuple):
    """Hold a check: what it looked at, and what leaked; None where nothing could be looked at."""

    what: str
    leaks: tuple[str, ...] | None


def leakage(
    refit: Callable[[Path, Path], Found],
    simulation: Path,
    data: Path,
    folder: Path,
    truth: Sequence[str] = (),
) -> list[Check]:
    """Compare what an unfolding of two files finds with what it finds of poisoned copies.

    refit: a function of the files of simulation and data to all that it reads and finds, by name;
    it must give the same for the same files. truth: datasets or groups of the data's file that hold
    its truth; by default the group `particle`, where there are two levels. folder: for the copies.

    Raises InputError for files that are not self-contained HDF5 files, names that the data's file
    lacks, and an unfolding that does not give the same twice.
    """
    first, again = (refit(simulation, data) for _ in range(2))
    if other := _differences(first, again):
        raise InputError(
            f"leakage: found other values of {', '.join(other)} in a second unfolding of the same "
            "files, expected the same"
        )

    def changed(copies: tuple[Path, Path]) -> tuple[str, ...]:
        try:
            return _differences(first, refit(*copies))
        except Exception as error:  # of whatever met the poison
            return (f"an error: {error}",)

    checks = []
    copy = folder / "data.h5"
    names = poison_truth(data, copy, truth)
    what = f"data: {len(names)} datasets of the truth poisoned"
    checks.append(Check(what, changed((simulation, copy)) if names else None))
    copy = folder / "simulation.h5"
    counts = poison_absent(simulation, copy)
    what = ", ".join(f"{count} at {level} level" for level, count in counts.items())
    what = f"simulation: absent events poisoned, {what}"
    checks.append(Check(what, changed((copy, data)) if sum(counts.values()) else None))
    return checks


def shared_events(one: Events, other: Events) -> Check:
    """Find the events of a sample that are events of another, constituent by constituent."""
    known = set(_events(other))
    if not known:
        return Check("data: events that are simulated events", None)
    count = sum(event in known for event in _events(one))
    what = f"data: events that are simulated events, {count} of {len(one)}"
    return Check(what, ("the same events",) if count else ())


def _events(events: Events) -> list[bytes]:
    """Give the bytes of the momenta of each event that has constituents."""
    rows = np.ascontiguousarray(events.p4, np.float32)
    ends = events.offsets
    return [rows[a:b].tobytes() for a, b in itertools.pairwise(ends) if b > a]


def poison_truth(path: Path, copy: Path, truth: Sequence[str] = ()) -> list[str]:
    """Copy a file of data with its truth overwritten; give the names of what was overwritten."""
    _copied(path, copy)
    with h5py.File(copy, "r+") as file:
        found = _datasets(file)
        levels = all(any(n.startswith(f"{level}/") for n in found) for level in LEVELS)
        places = list(truth) or (["particle"] if levels else [])
        chosen = []
        for place in places:
            names = [n for n in found if n == place or n.startswith(f"{place}/")]
            if not names:
                raise InputError(f"{path}: truth: found no dataset or group {place!r}")
            chosen += names
        for name in chosen:
            dataset, own = file[name], name.rpartition("/")[2]
            dataset[...] = (
                _one_event(own, dataset[...]) if own in STRUCTURE else _poison(dataset[...])
            )
    return chosen


def poison_absent(path: Path, copy: Path) -> dict[str, int]:
    """Copy a file of a simulation with what stands for absent levels overwritten.

    Gives how many events each level lacks, by the flags of `jaxpriors.data.sample_files`.
    """
    _copied(path, copy)
    counts = {}
    with h5py.File(copy, "r+") as file:
        found = _datasets(file)
        for level in LEVELS:
            flag = f"{level}/columns/{PASS[level]}"
            if flag not in found:
                counts[level] = 0
                continue
            absent = ~np.asarray(file[flag][...], bool)
            counts[level] = int(absent.sum())
            offsets, each = (f"{level}/{name}" for name in STRUCTURE)
            number = np.ones(len(absent), np.int64)
            if offsets in found:
                number = np.diff(file[offsets][...])
            elif each in found:
                number = file[each][...]
            for name in found:
                own = name.removeprefix(f"{level}/")
                if own == name or own in STRUCTURE or name == flag:
                    continue
                dataset = file[name]
                array = dataset[...]
                event = own in OF_EVENTS or own.startswith("columns/") or array.ndim > 2
                rows = absent if event or offsets not in found else np.repeat(absent, number)
                if len(array) == len(rows):
                    array[rows] = _poison(array[rows])
                    dataset[...] = array
    return counts


def _one_event(name: str, array: np.ndarray) -> np.ndarray:
    """Give all constituents to the last event, by its offsets or multiplicities."""
    found = np.zeros_like(array)
    found[-1] = array[-1] if name == "offsets" else array.sum()
    return found


def _poison(array: np.ndarray) -> np.ndarray:
    """Give something else in place of numbers; other arrays as they are."""
    kind = array.dtype.kind
    if kind == "f":
        return np.full_like(array, np.nan)
    if kind in "iu":
        return np.full_like(array, np.iinfo(array.dtype).max)
    return ~array if kind == "b" else array


def _copied(path: Path, copy: Path) -> None:
    """Copy an HDF5 file; raise InputError for another, and for one that other files belong to."""
    if not path.is_file() or not h5py.is_hdf5(path):
        raise InputError(
            f"{path}: found no HDF5 file, expected one, which can be poisoned: "
            "`jaxpriors data convert` makes it"
        )
    with h5py.File(path) as file:
        outside = []

        def look(name: str, link: object) -> None:
            found = None if isinstance(link, h5py.ExternalLink) else file.get(name)
            stored = not isinstance(found, h5py.Dataset) or not (found.is_virtual or found.external)
            if isinstance(link, h5py.ExternalLink) or not stored:
                outside.append(name)

        file.visititems_links(look)
    if outside:
        raise InputError(f"{path}: {outside[0]!r} is in another file, expected one file of its own")
    shutil.copyfile(path, copy)


def _datasets(file: h5py.File) -> list[str]:
    names: list[str] = []
    file.visititems(lambda name, x: names.append(name) if isinstance(x, h5py.Dataset) else None)
    return names


def _differences(one: Found, other: Found) -> tuple[str, ...]:
    """Name what is not the same bit by bit in two findings."""
    return tuple(
        name
        for name in sorted(one | other)
        if name not in one
        or name not in other
        or one[name].dtype != other[name].dtype
        or one[name].shape != other[name].shape
        or one[name].tobytes() != other[name].tobytes()
    )
