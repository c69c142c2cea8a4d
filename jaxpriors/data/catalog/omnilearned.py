"""Files in OmniLearned's layout: your own, with and without the identities, and H1's simulation."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from jaxpriors.data.catalog.sets import DataSet
from jaxpriors.data.formats.omnilearned import omnilearned_jets, read_omnilearned_events
from jaxpriors.data.formats.splits import SUFFIXES
from jaxpriors.data.parts import Part
from jaxpriors.data.prepared import EventsOrLevels

CITATION = "W. Bhimji, C. Harris, V. Mikuni, B. Nachman, arXiv:2510.24066"
HOLDS = (
    "data (N, P, 4 or more), pid (N,) or (N, classes), global (N, J), of which only data must be "
    "there; jets at pseudorapidity 0 and azimuth 0, energies by the masses of the identities; "
    "column global"
)


def parts_of(identities: bool, path: Path, at_least: int | None = None) -> list[Part]:
    """Count the jets of a file, and say what else it holds; identities: whether they are read."""
    jets = omnilearned_jets(path, identities=identities)
    return [Part(path.name, jets, partial(partial, _read, path, identities, at_least))]


def _read(
    path: Path, identities: bool, at_least: int | None, start: int, stop: int
) -> EventsOrLevels:
    return read_omnilearned_events(
        path, identities=identities, at_least=at_least, start=start, stop=stop
    )


def _set(name: str, title: str, identities: bool, holds: str) -> DataSet:
    return DataSet(
        name=name,
        title=title,
        homepage="https://github.com/ViniciusMikuni/OmniLearned",
        licence="that of your files",
        citation=CITATION,
        holds=holds,
        parts=partial(parts_of, identities),
        suffixes=SUFFIXES,
    )


# Labels: 0 and 1 in the files, by public readers of them. Which is which was not published; these
# are those of OmniLearn's own files of H1 (its script preprocess_h1.py).
_H1 = DataSet(
    name="h1",
    title="deep-inelastic scattering at H1, simulated",
    homepage="https://portal.nersc.gov/cfs/dasrepo/omnilearned/h1/",
    licence="see its page",
    citation=f"{CITATION}; H1 Collaboration, D. Britzger et al., arXiv:2106.11058",
    holds=(
        "leading jets of e p scattering by Djangoh and Rapgap, at detector level, as OmniLearned "
        "distributes them: train, val and test; jets at pseudorapidity 0 and azimuth 0, energies "
        "by the masses of the identities; jets without constituents are left out"
    ),
    parts=partial(parts_of, True, at_least=1),
    suffixes=SUFFIXES,
    labels=("Djangoh", "Rapgap"),
    get=(
        "pip install omnilearned; omnilearned dataloader -d h1 -f PATH; then --files PATH/h1 (no "
        "checksums are published)"
    ),
)
SETS = (
    _set("omnilearned", "jets in OmniLearned's layout", True, HOLDS),
    _set(
        "omnilearned-momenta",
        "the same, without identities",
        False,
        f"as omnilearned, but column 4 of data is no identity: {HOLDS.split('; ', 1)[1]}",
    ),
    _H1,
)
