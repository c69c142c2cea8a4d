"""Rows of numbers that stand for particles: which columns they are, and whether the values fit."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from jaxpriors.data.checks import refuse
from jaxpriors.data.formats.pandas_tables import Name, Table
from jaxpriors.data.unread import listed, suspected
from jaxpriors.errors import InputError

TRIPLE = ("pt", "eta", "phi")
ETA_MAX = 10.0
PHI_TOLERANCE = 1e-3  # radians
SAMPLE = 100  # rows that are looked at in the beginning, the middle and at the end
MANY, FULL = 1000, 0.97  # so many azimuths cover at least this share of the circle
EXPECTED = (
    "(pT in GeV, eta, phi) of each particle and perhaps a label, in columns that are numbered or "
    "named pt_0, eta_0, phi_0, …, label"
)
FIT = f"pT >= 0, |eta| < {ETA_MAX:g}, phi from -pi to pi or 0 to 2 pi, and zeros where pT is 0"


def particle_columns(table: Table) -> tuple[list[Name], Name | None]:
    """Find the columns of (pT, eta, phi), particle by particle, and that of the label if any.

    They go by their names: numbers in a row, of which one beyond the triples is the label; or
    pt_0, eta_0, phi_0, … in any order. The label may also be named so, wherever it stands. The
    values are compared with what momenta can be, in some rows.

    Raises InputError for columns that are not understood, and values that are something else.
    """
    place = f"{table.path}: {table.name!r}"
    labels = [name for name in table.columns if _is_label(name)]
    if len(labels) > 1:
        raise InputError(
            f"{place}: found the labels {listed(map(str, labels))}, expected at most one"
        )
    label: Name | None = labels[0] if labels else None
    rest = [name for name in table.columns if name != label]
    if numbered := [name for name in rest if str(name).isdecimal()]:
        if other := [name for name in rest if name not in numbered]:
            raise InputError(f"{place}: {_not_understood(other)}; expected {EXPECTED}")
        if label is None and len(rest) % 3 == 1:
            *rest, label = rest
        whole = len(rest) % 3 == 0 and _consecutive(rest)
        _check_fit(table, rest, label, whole)
        return rest, label
    return _named_triples(place, rest), label


def check_triples(path: Path, index: np.ndarray, particles: np.ndarray) -> None:
    """Raise InputError unless (pT, eta, phi) of particles (n, P, 3) can be momenta.

    index: (n,) of the events, for the message.
    """
    for column, flags, expected in _misfits(particles):
        if flags.any():
            row, particle = (int(i) for i in np.argwhere(flags)[0])
            found = particles[row, particle].tolist()
            refuse(
                path,
                index,
                np.asarray(flags.any(axis=1)),
                f"has (pT, eta, phi) = {found} as particle {particle}: {column} is no such number, "
                f"expected {expected}",
            )


def _is_label(name: Name) -> bool:
    return isinstance(name, str) and (suspected(name) == "labels" or name.lower() == "signal")


def _consecutive(names: Sequence[Name]) -> bool:
    numbers = [int(name) for name in names]
    return all(b == a + 1 for a, b in itertools.pairwise(numbers))


def _named_triples(place: str, names: list[Name]) -> list[Name]:
    """Order columns that are named pt_0, eta_0, phi_0, …; InputError for others."""
    found: dict[tuple[int, str], Name] = {}
    for name in names:
        match = re.fullmatch(r"(pt|eta|phi)_?(\d+)", str(name), re.IGNORECASE)
        if match:
            found[int(match[2]), match[1].lower()] = name
    other = [name for name in names if name not in found.values()]
    numbers = sorted({number for number, _ in found})
    lacking = [f"{x}_{i}" for i in numbers for x in TRIPLE if (i, x) not in found]
    if other or lacking or not numbers:
        what = _not_understood(other) if other else f"there is no column {listed(lacking)}"
        raise InputError(f"{place}: {what}{_by_their_names(names)}; expected {EXPECTED}")
    return [found[number, x] for number in numbers for x in TRIPLE]


def _not_understood(names: Sequence[Name]) -> str:
    return f"the columns {listed(map(str, names))} are not understood"


def _by_their_names(names: Sequence[Name]) -> str:
    """Say what a table looks like by the names of its columns."""
    plain = {re.sub(r"_?\d+$", "", str(name)).lower() for name in names}
    if {"e", "px", "py", "pz"} <= plain:
        return "; the rows look like (E, px, py, pz)"
    if {*TRIPLE, "m"} <= plain or {*TRIPLE, "mass"} <= plain:
        return "; the rows look like (pT, eta, phi, m)"
    if any(
        re.fullmatch(r"(px|py|pz|pt|eta|phi|m|tau\d*)_?j(et)?_?\d+", str(n), re.I) for n in names
    ):
        return "; the table looks like high-level features of jets"
    return ""


def _check_fit(table: Table, names: list[Name], label: Name | None, whole: bool) -> None:
    """Compare some rows of numbered columns with (pT, eta, phi); whole: whether the number fits."""
    order = list(table.columns)
    n = len(table)
    starts = sorted({0, max(0, (n - SAMPLE) // 2), max(0, n - SAMPLE)})
    rows = np.concatenate([table.read(order, i, min(i + SAMPLE, n)) for i in starts])
    rows = rows.astype(np.float64)
    rows = rows[np.isfinite(rows).all(axis=1)]  # others are refused where they are read
    seen = []
    if whole:
        particles = rows[:, [order.index(name) for name in names]].reshape(len(rows), -1, 3)
        misfits = np.any([flags for _, flags, _ in _misfits(particles)], axis=0)
        few = 10 * misfits.any(axis=1).sum() <= len(rows)  # they are refused where they are read
        hidden = label is None and behind_padding(particles).any()
        if few and not hidden and not _exchanged(particles):
            return
        if not few:
            found = particles[misfits][0].tolist()
            seen = [f"one of these would be {tuple(found)}"]
    binary = [name for name, x in zip(order, rows.T, strict=True) if _is_binary(x)]
    seen += [f"column {name} holds 0 and 1 alone, as a label does" for name in binary[:2]]
    seen += [f"the rows look like {form}" for form, fits in FORMS.items() if fits(rows)][:1]
    raise InputError(
        f"{table.path}: {table.name!r} has the columns {order[0]} to {order[-1]} ({len(order)}), "
        f"whose values are not (pT, eta, phi) of particles; {'; '.join((*seen, ''))}expected "
        f"{EXPECTED}: {FIT}"
    )


def behind_padding(particles: np.ndarray) -> np.ndarray:
    """Flag rows (n,) of particles (n, P, 3) whose last one, behind padding, may be a label.

    >>> behind_padding(np.array([[[5.0, 0, 0], [0, 0, 0], [1, 0, 0]]])).tolist()
    [True]
    """
    if particles.shape[1] < 2:
        return np.zeros(len(particles), bool)
    return (particles[:, -1, 0] != 0) & (particles[:, -2, 0] == 0)


def _exchanged(particles: np.ndarray) -> bool:
    """Tell whether the third column of many particles is no azimuth, and the second may be."""
    filled = particles[particles[..., 0] > 0]
    if len(filled) < MANY:
        return False
    eta, phi = np.abs(filled[:, 1]).max(), np.abs(filled[:, 2]).max()
    beyond = np.mean(filled[:, 2] > np.pi + PHI_TOLERANCE)
    if min(beyond, np.mean(filled[:, 2] < -PHI_TOLERANCE)) > 1 - FULL:
        return True
    return bool(FULL * np.pi < eta <= np.pi + PHI_TOLERANCE and phi < FULL * np.pi)


def _is_binary(column: np.ndarray) -> bool:
    return bool(np.isin(column, (0, 1)).all() and column.any() and not column.all())


def _misfits(particles: np.ndarray) -> list[tuple[str, np.ndarray, str]]:
    """Flag (n, P) those of particles (n, P, 3) that are none, column by column."""
    pt, eta, phi = np.moveaxis(particles, -1, 0)
    azimuth = (phi >= -np.pi - PHI_TOLERANCE) & (phi <= 2 * np.pi + PHI_TOLERANCE)
    return [
        ("pT", pt < 0, "pT >= 0"),
        ("eta or phi", (pt == 0) & ((eta != 0) | (phi != 0)), "zeros where pT is 0"),
        ("eta", np.abs(eta) >= ETA_MAX, f"|eta| < {ETA_MAX:g}"),
        ("phi", ~azimuth, "-pi to pi, or 0 to 2 pi"),
    ]


def _four(values: np.ndarray) -> np.ndarray:
    """Take the rows as four numbers each, those that are not zero, (k, 4)."""
    found = values[:, : values.shape[1] // 4 * 4].reshape(-1, 4)
    return found[found.any(axis=1)]


def _angles(four: np.ndarray) -> bool:
    """Tell whether the first three of four numbers are (pT, eta, phi)."""
    fits = (four[:, 0] > 0) & (np.abs(four[:, 1]) < ETA_MAX) & (np.abs(four[:, 2]) <= 2 * np.pi)
    return _most(fits)


def _most(flags: np.ndarray) -> bool:
    return bool(len(flags)) and 20 * np.sum(~flags) <= len(flags)


def _with_energy(values: np.ndarray) -> bool:
    four = _four(values)
    if not _angles(four):
        return False
    return _most(four[:, 3] >= four[:, 0] * np.cosh(np.clip(four[:, 1], -ETA_MAX, ETA_MAX)) * 0.999)


def _energy_first(values: np.ndarray) -> bool:
    four = _four(values)
    return _most(four[:, 0] >= np.linalg.norm(four[:, 1:], axis=1) * 0.999)


def _energy_last(values: np.ndarray) -> bool:
    four = _four(values)
    return _most(four[:, 3] >= np.linalg.norm(four[:, :3], axis=1) * 0.999)


def _azimuth_second(values: np.ndarray) -> bool:
    three = values[:, : values.shape[1] // 3 * 3].reshape(-1, 3)
    three = three[three.any(axis=1)]
    if not _exchanged(three) and np.abs(three[:, 2]).max(initial=0) <= np.pi + PHI_TOLERANCE:
        return False  # the third may be the azimuth as well
    pt, phi, eta = three[:, 0], np.abs(three[:, 1]), np.abs(three[:, 2])
    return _most((pt > 0) & (phi <= np.pi + PHI_TOLERANCE) & (eta < ETA_MAX))


# what rows may look like instead, the narrower first
FORMS: dict[str, Callable[[np.ndarray], bool]] = {
    "(pT, eta, phi, E)": _with_energy,
    "(pT, eta, phi, m)": lambda rows: _angles(_four(rows)) and bool(np.all(_four(rows)[:, 3] > -1)),
    "(E, px, py, pz)": _energy_first,
    "(px, py, pz, E)": _energy_last,
    "(pT, phi, eta)": _azimuth_second,
}
