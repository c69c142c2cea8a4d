"""The one door to a file of events, whatever its format: read whole, or block by block."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from jaxpriors.data import named_unread, unread
from jaxpriors.data.events import LEVELS, Events
from jaxpriors.data.formats import trees
from jaxpriors.data.hdf5 import open_source
from jaxpriors.data.matched import Simulation
from jaxpriors.data.named import find_sample
from jaxpriors.data.reading import Reading
from jaxpriors.data.sample_files import read_named
from jaxpriors.errors import InputError


def read_sample(path: Path, reading: Reading) -> Events:
    """Read the validated events of a file that pass the flag of their level.

    The file is HDF5, npz, the folder of a prepared sample, a ROOT or a parquet file. The level
    counts for files that hold several.

    Raises:
        InputError: as `sample_files.read_events` and `formats.trees.read_tree`.
    """
    if trees.is_tree(path):
        unread.tell(path, trees.unread(path, reading))
        events = trees.read_tree(path, reading)
        return events if events.passing is None else events[events.passing]
    with open_source(path) as source:
        one = not source.levels and not reading.columns
        return read_named(source, reading.replace(level=None) if one else reading)


def blocks(
    path: Path, readings: Mapping[str, Reading], most: int | None = None
) -> Iterator[tuple[dict[str, Events], int]]:
    """Read samples (or levels) of one file, block by block, matched event by event.

    Yields the events of each, and how many there are in all. Events that lack a level stay, without
    constituents there. readings: name of the level, "" for a single sample → how it is read. most:
    only so many events.

    Raises:
        InputError: as `read_sample`, and for levels of different lengths.
    """
    if trees.is_tree(path):
        yield from _of_tree(path, readings, most)
        return
    with open_source(path) as source:
        samples = {name: find_sample(source, reading) for name, reading in readings.items()}
        unread.tell(path, named_unread.unread_names(samples.values()))
        _as_many(path, {name: sample.size for name, sample in samples.items()})
        last = min(sample.size for sample in samples.values())
        last = last if most is None else min(last, most)
        longest = max(samples.values(), key=lambda sample: len(list(sample.blocks())))
        for start, stop in longest.blocks():
            if start < last:
                stop = min(stop, last)
                yield {name: x.read(start, stop, whole=True) for name, x in samples.items()}, last


def read_levels(path: Path, particle: Reading, detector: Reading) -> Simulation:
    """Read both levels of a file in which they go by names of their own, matched event by event.

    The columns `pass_gen` and `pass_reco`, if named, tell which events have each level.

    Raises:
        InputError: as `blocks` and `matched.Simulation`.
    """
    both = [block for block, _ in blocks(path, {"particle": particle, "detector": detector})]
    gen, reco = (Events.concatenate([block[level] for block in both]) for level in LEVELS)
    return Simulation.of(gen, reco, gen.passing, reco.passing)


def _of_tree(
    path: Path, readings: Mapping[str, Reading], most: int | None
) -> Iterator[tuple[dict[str, Events], int]]:
    """Read a tree; two levels at once, as their blocks may differ."""
    if len(readings) == 1:
        [(name, reading)] = readings.items()
        unread.tell(path, trees.unread(path, reading))
        found = trees.parts(path, reading)
        total = sum(part.events for part in found)
        left = total = total if most is None else min(total, most)
        for part in found:
            stop = min(part.events, left)
            if stop:
                events = part.open()(0, stop)
                assert isinstance(events, Events)
                yield {name: events}, total
            left -= stop
        return
    levels = {name: trees.read_tree(path, reading)[:most] for name, reading in readings.items()}
    _as_many(path, {name: len(events) for name, events in levels.items()})
    yield levels, len(next(iter(levels.values())))


def _as_many(path: Path, sizes: Mapping[str, int]) -> None:
    if len(set(sizes.values())) > 1:
        raise InputError(f"{path}: found levels of {dict(sizes)} events, expected as many at both")
