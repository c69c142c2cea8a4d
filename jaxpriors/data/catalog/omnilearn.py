"""Files of your own in OmniLearn's layouts: jets, two jets, and both levels for OmniFold."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from jaxpriors.data.catalog.sets import DataSet
from jaxpriors.data.dijets import COLUMNS, FIRST
from jaxpriors.data.events import LEVELS, Events
from jaxpriors.data.formats import omnilearn, omnilearn_dijets
from jaxpriors.data.matched import PASS
from jaxpriors.data.parts import Part
from jaxpriors.data.prepared import EventsOrLevels
from jaxpriors.data.simulation.jetclass import LABELS

CITATION = "V. Mikuni, B. Nachman, arXiv:2404.16091"
SUBSTRUCTURE = 6  # observables of a jet, where there are any
HOMEPAGE = "https://github.com/ViniciusMikuni/OmniLearn"


def parts_of(kind: str, path: Path) -> list[Part]:
    """Count the events of a file of one of these kinds, and say what else it holds (`unread`).

    Kinds: jets, jetclass, omnifold, dijets.
    """
    return [
        Part(path.name, omnilearn.omnilearn_length(path), partial(partial, READERS[kind], path))
    ]


def _jets(path: Path, start: int, stop: int) -> EventsOrLevels:
    return _counted(omnilearn.read_range(path, start, stop))


def _jetclass(path: Path, start: int, stop: int) -> EventsOrLevels:
    return _counted(omnilearn.read_range(path, start, stop, signed_eta=True, at_least=2))


def _omnifold(path: Path, start: int, stop: int) -> EventsOrLevels:
    return {
        level: _counted(omnilearn.read_range(path, start, stop, level=level)) for level in LEVELS
    }


def _dijets(path: Path, start: int, stop: int) -> EventsOrLevels:
    return omnilearn_dijets.read_range(path, start, stop)


def _counted(events: Events) -> Events:
    """Add the column `multiplicity`, which a reader leaves out where it says nothing new."""
    columns = {"multiplicity": events.multiplicity.astype(np.float64), **events.columns}
    return dataclasses.replace(events, columns=columns)


READERS: dict[str, Callable[[Path, int, int], EventsOrLevels]] = {
    "jets": _jets,
    "jetclass": _jetclass,
    "omnifold": _omnifold,
    "dijets": _dijets,
}


def _set(kind: str, name: str, title: str, holds: str, **more: Any) -> DataSet:
    return DataSet(
        name=name,
        title=title,
        homepage=HOMEPAGE,
        licence="that of your files",
        citation=CITATION,
        holds=holds,
        parts=partial(parts_of, kind),
        suffixes=(".h5",),
        **more,
    )


_COLUMNS: dict[str, Any] = {
    "columns": {"multiplicity": "float64", "substructure": "float64"},
    "widths": {"substructure": SUBSTRUCTURE},
}
SETS = (
    _set(
        "jets",
        "omnilearn",
        "jets in OmniLearn's layout",
        "data (N, P, 7, 8 or 13), jet (N, 4), pid, weights; columns: multiplicity, substructure",
        **_COLUMNS,
    ),
    _set(
        "jetclass",
        "omnilearn-jetclass",
        "JetClass in OmniLearn's layout",
        "as omnilearn; the first feature has the sign of the jet's eta, and jets with fewer than "
        "two constituents are left out",
        labels=LABELS,
        **_COLUMNS,
    ),
    _set(
        "omnifold",
        "omnilearn-omnifold",
        "both levels in OmniLearn's layout",
        "reco and gen (N, P, 13), reco_jets and gen_jets (N, 4), reco_subs and gen_subs (N, 6), "
        "pass_reco and pass_gen (N,) where not all events have both levels",
        levels=LEVELS,
        columns={**_COLUMNS["columns"], **dict.fromkeys(PASS.values(), "bool")},
        widths=_COLUMNS["widths"],
    ),
    _set(
        "dijets",
        "omnilearn-dijets",
        "events of two jets in OmniLearn's layout",
        "data (N, 2, P, 7 or 3), jet (N, 2, 5); columns of two-jet events",
        columns={name: "int64" if name == FIRST else "float32" for name in COLUMNS},
    ),
)
