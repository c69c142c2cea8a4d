"""What a file holds beside the samples of named arrays that were read of it."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable

from jaxpriors.data import unread
from jaxpriors.data.events import PASS
from jaxpriors.data.hdf5 import Source
from jaxpriors.data.named_sample import NamedSample
from jaxpriors.errors import InputError


def unread_names(samples: Iterable[NamedSample]) -> tuple[str, ...]:
    """Return what a file holds beside what these samples of it read (all of them, of one file).

    Raises InputError for what looks like weights, flags or labels, as `unread.account`, and for
    flags or weights among the columns that are not in their place.
    """
    samples = list(samples)
    first = samples[0]
    source, reading = first.source, first.reading
    read = set().union(*(sample.names for sample in samples))
    taken = {sample.reading.level for sample in samples}
    others = {level for level in source.levels if level not in taken} if None not in taken else ()
    flags = {f"{level}/columns/{PASS[level]}" for level in source.levels}
    flags |= {
        sample.columns[name] for sample in samples for name in {sample.flag} & {*sample.columns}
    }
    same = set().union(*(names for names in source.aliases if names & flags)) | flags
    there = {name.split("/")[-1] for name in flags & {*source.arrays}}
    for name in source.arrays:
        last = name.split("/")[-1]
        if last in {*PASS.values()} - there and name not in same and not reading.ignores(name):
            place = next(f"{level}/columns/{last}" for level, n in PASS.items() if n == last)
            raise InputError(
                f"{source.path}: found {name!r}, which is not where such flags are read from; "
                f"expected {place if source.levels else 'columns/pass_reco'!r}, or its name among "
                "the columns or among those to ignore"
            )
    for sample in samples:
        _columns_in_place(sample)
    for name in {*source.arrays} - read:
        if not reading.ignores(name):
            _fields_in_place(source, name)
    theirs = {n for n in source.arrays if any(n.startswith(f"{level}/") for level in others)}
    places = (
        "event weights are read from 'weight', flags from 'columns/pass_…', labels from 'label'"
    )
    ignore = [p for p in reading.ignore if not fnmatch.filter(theirs, p)]
    chosen = set().union(*(sample.reading.columns for sample in samples))
    for level in taken:  # what stands where another was chosen
        read |= {f"{level}/{ours}" if level else ours for ours in chosen} & {*source.arrays}
    at_hand = chosen.union(*(sample.at for sample in samples))
    settled = {kind for kind, ours in unread.OURS.items() if ours in at_hand}
    settled |= {unread.FLAGS} if there else set()
    return source.unread(read | theirs, ignore, places, settled)


def _fields_in_place(source: Source, name: str) -> None:
    """Raise InputError for a table of records that has fields of weights, flags or labels."""
    try:
        fields = source.arrays[name].dtype.names or ()
    except InputError:  # it is told by its name
        return
    suspects = [field for field in fields if unread.suspected(field)]
    if suspects:
        raise InputError(
            f"{source.path}: {name!r} is a table whose field {suspects[0]!r} looks like "
            f"{unread.suspected(suspects[0])}; tables are not read: expected arrays of one value "
            "an event, or the table among the names to ignore"
        )


def _columns_in_place(sample: NamedSample) -> None:
    """Raise InputError for columns that look like the weights or labels that the sample lacks."""
    for what, ours in unread.OURS.items():
        suspects = [n for n in sample.columns if unread.suspected(n) == what]
        if suspects and ours not in sample.at:
            raise InputError(
                f"{sample.place}: found the column {suspects[0]!r} and no {ours!r}; expected "
                f"{ours} {sample.columns[suspects[0]]} among the columns, or it among the names "
                "to ignore"
            )
