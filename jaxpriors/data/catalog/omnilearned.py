"""Files of your own in OmniLearned's layout, with and without the identities."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from jaxpriors.data.catalog.sets import DataSet
from jaxpriors.data.formats.omnilearn_blocks import SUFFIXES
from jaxpriors.data.formats.omnilearned import omnilearned_jets, read_omnilearned_events
from jaxpriors.data.parts import Part
from jaxpriors.data.prepared import EventsOrLevels

HOLDS = (
    "data (N, P, 4 or more), pid (N,) or (N, classes), global (N, J), of which only data must be "
    "there; jets at pseudorapidity 0 and azimuth 0, energies by the masses of the identities; "
    "column global"
)


def parts_of(identities: bool, path: Path) -> list[Part]:
    """Count the jets of a file, and say what else it holds; identities: whether they are read."""
    jets = omnilearned_jets(path, identities=identities)
    return [Part(path.name, jets, partial(partial, _read, path, identities))]


def _read(path: Path, identities: bool, start: int, stop: int) -> EventsOrLevels:
    return read_omnilearned_events(path, identities=identities, start=start, stop=stop)


def _set(name: str, title: str, identities: bool, holds: str) -> DataSet:
    return DataSet(
        name=name,
        title=title,
        homepage="https://github.com/ViniciusMikuni/OmniLearned",
        licence="that of your files",
        citation="V. Mikuni, B. Nachman, arXiv:2404.16091, and the authors of omnilearned",
        holds=holds,
        parts=partial(parts_of, identities),
        suffixes=SUFFIXES,
    )


SETS = (
    _set("omnilearned", "jets in OmniLearned's layout", True, HOLDS),
    _set(
        "omnilearned-momenta",
        "the same, without identities",
        False,
        f"as omnilearned, but column 4 of data is no identity: {HOLDS.split('; ', 1)[1]}",
    ),
)
