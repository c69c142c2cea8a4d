"""Which datasets a file in OmniLearn's layout (`formats.omnilearn`) has, and what is left over."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jaxpriors.data import unread
from jaxpriors.data.checks import located
from jaxpriors.data.events import LEVELS
from jaxpriors.data.hdf5 import Source
from jaxpriors.data.matched import PASS, as_flags
from jaxpriors.errors import InputError
from jaxpriors.physics.jet_features import JET_FEATURES

WIDTHS = (7, 8, 13)
PLACES = (
    "event weights are read from 'weights', labels from 'pid', and of files with both levels flags "
    "from 'pass_gen' and 'pass_reco'"
)
NAMES = {"particle": "gen", "detector": "reco"}


@dataclass(frozen=True)
class Sample:
    """Hold one level of an open file, its datasets not yet read; partner: the other's data.

    flag: name of the column of flags, "" where there is none. passing, partner_passing (N,) bool:
    which events have the level, and the other one.
    """

    path: Path
    data: Any
    partner: Any
    jet: Any
    subs: Any
    label: Any
    weight: Any
    flag: str
    passing: np.ndarray
    partner_passing: np.ndarray


def names_of(level: str) -> tuple[str, str, str]:
    """Name the constituents, the jets and the substructure of a level, or of the one sample."""
    name = NAMES.get(level, "")
    return (name, f"{name}_jets", f"{name}_subs") if name else ("data", "jet", "subs")


def unread_datasets(source: Source) -> tuple[str, ...]:
    """Name what an open file, also one of two jets an event, holds beside what is read of it.

    Raises InputError where that looks like weights, labels or flags.
    """
    arrays, places = source.arrays, PLACES
    if set(NAMES.values()) <= arrays.keys():
        read = [name for level in LEVELS for name in (*names_of(level), PASS[level])]
        read += ["pid", "weights"]
    elif "data" in arrays and len(arrays["data"].shape) == 4:
        read, places = ["data", "jet", "pid"], "files of two jets an event have none of these"
    else:
        read = [*names_of(""), "pid", "weights"]
    return unread.account(source.path, arrays, read, places=places)


def open_level(source: Source, level: str | None) -> Sample:
    """Find the datasets of a level and compare their shapes."""
    both = set(NAMES.values()) <= source.arrays.keys()
    if both and level is None:
        raise InputError(f"{source.path}: holds the levels {', '.join(LEVELS)}; choose one")
    if level is not None and (level not in LEVELS or not both):
        found = ", ".join(LEVELS) if both else "one sample, without levels"
        raise InputError(f"{source.path}: level {level!r} is absent; found: {found}")
    data, jet, subs = names_of(level or "")
    source.datasets(data, jet)
    arrays = source.arrays
    for name in arrays.keys() & {data, jet, subs, "pid", "weights"}:
        if arrays[name].dtype.kind not in "iuf":
            raise InputError(
                f"{source.path}: {name!r} has dtype {arrays[name].dtype}, expected numbers"
            )
    shape = arrays[data].shape
    if len(shape) == 4:
        raise InputError(
            f"{source.path}: {data!r} has shape {shape}: two jets an event, expected one; layout "
            "omnilearn-dijets reads them"
        )
    if len(shape) != 3 or shape[2] not in WIDTHS:
        raise InputError(
            f"{source.path}: {data!r} has shape {shape}, "
            f"expected (N, P, {' or '.join(map(str, WIDTHS))})"
        )
    expected: dict[str, tuple[int | None, ...]] = {jet: (shape[0], len(JET_FEATURES))}
    expected |= {subs: (shape[0], None), "weights": (shape[0],)}
    if both:
        expected |= {name: (shape[0], None, shape[2]) for name in NAMES.values()}
    for name, wanted in expected.items():
        if name in arrays and not _fits(arrays[name].shape, wanted):
            raise InputError(
                f"{source.path}: {name!r} has shape {arrays[name].shape}, "
                f"expected {str(wanted).replace('None', '...')} beside {data!r} {shape}"
            )
    if "pid" in arrays and (len(arrays["pid"].shape) > 2 or arrays["pid"].shape[:1] != shape[:1]):
        raise InputError(
            f"{source.path}: 'pid' has shape {arrays['pid'].shape}, "
            f"expected ({shape[0]},) or ({shape[0]}, classes)"
        )
    unread_datasets(source)
    flag, passing, partner, others = "", np.ones(shape[0], bool), None, np.ones(shape[0], bool)
    if level is not None:
        other = next(x for x in LEVELS if x != level)
        flag = PASS[level] if PASS[level] in arrays else ""
        passing, others = (_flags(source, PASS[x], shape[0]) for x in (level, other))
        partner = arrays[names_of(other)[0]]
    return Sample(
        path=source.path,
        data=arrays[data],
        partner=partner,
        jet=arrays[jet],
        subs=arrays.get(subs),
        label=arrays.get("pid"),
        weight=arrays.get("weights"),
        flag=flag,
        passing=passing,
        partner_passing=others,
    )


def _flags(source: Source, name: str, n: int) -> np.ndarray:
    """Read flags (n,) bool; all true where there are none."""
    with located(source.path):
        return as_flags(name, source.read(name) if name in source.arrays else None, n)


def _fits(shape: tuple[int, ...], wanted: tuple[int | None, ...]) -> bool:
    return len(shape) == len(wanted) and all(
        b in (None, a) for a, b in zip(shape, wanted, strict=True)
    )
