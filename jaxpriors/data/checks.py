"""What makes a sample unusable: each fault is named with its column, its place and its number."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from jaxpriors.errors import InputError
from jaxpriors.physics import coordinates as col
from jaxpriors.physics import particles

MASS_TOLERANCE = 1e-3  # masses this much below zero, relative to the momentum, are rounding
LARGEST = float(np.finfo(np.float32).max)  # GeV that networks can be given
LARGEST_ETA = 50.0  # cosh of which is still far from the end of double precision
SLOW = 0.5  # |p| / E that half of the constituents exceed, as they are relativistic
ENOUGH = 10  # constituents by which coordinates can be told
# Relative to E^2: single-precision files, and files rounded to five digits, stay within it.
SPACELIKE_TOLERANCE = 1e-4


@dataclasses.dataclass(frozen=True)
class Fault:
    """Hold one kind of fault of a sample.

    Args:
        what: the kind, as in "p4 is not finite".
        event: number of the first event that has it.
        place: where in that event.
        count: how many there are.
        unit: of what.
        rest: what was found there, and what is expected.
    """

    what: str
    event: int
    place: str = ""
    count: int = 1
    unit: str = "events"
    rest: str = ""

    @property
    def message(self) -> str:
        """Say all of it in one line."""
        number = f"({self.count} such {self.unit})"
        return f"{self.what} in event {self.event}{self.place} {number}{self.rest}"


@contextlib.contextmanager
def located(place: object) -> Iterator[None]:
    """Put a place, such as the path of a file, before the message of an InputError."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{place}: {error}") from None


def refuse(path: Path, event: np.ndarray, flags: np.ndarray, fault: str) -> None:
    """Raise InputError for the first flagged entry (k,); event (k,): of which event each one is."""
    if flags.any():
        events = np.unique(event[flags])
        raise InputError(f"{path}: event {events[0]} ({len(events)} such events) {fault}")


def check_offsets(offsets: np.ndarray, total: int) -> None:
    """Raise InputError unless offsets (n+1,) rise from 0 to `total`; events may have none."""
    check_integers("offsets", offsets)
    if offsets.ndim != 1:
        raise InputError(f"offsets have shape {offsets.shape}, expected (n+1,)")
    if not len(offsets) or offsets[0] != 0 or offsets[-1] != total:
        found = f"run from {offsets[0]} to {offsets[-1]}" if len(offsets) else "are empty"
        raise InputError(f"offsets {found}, expected 0 to {total}, the number of constituents")
    counts = np.diff(offsets)
    if counts.min(initial=1) < 0:
        raise InputError(f"offsets fall in event {int(np.argmax(counts < 0))}, expected to rise")


def coordinate_faults(
    values: np.ndarray, coordinates: str, offsets: np.ndarray, *, jets: bool = False
) -> Iterator[Fault]:
    """Find momenta (total, components) that cannot be right in the coordinates that they are in.

    Transverse momenta below zero, azimuths beyond 2π (degrees), masses below zero, pseudorapidities
    and rapidities that no detector sees; Cartesian ones that are (pT, η, φ, m), unless of jets.
    """
    names = col.components(coordinates)
    found = {name: values[:, i].astype(np.float64) for i, name in enumerate(names)}
    wrong: list[tuple[str, np.ndarray, str, str]] = []
    if "pt" in found:
        pt, phi = found["pt"], found["phi"]
        forward = found["eta"] if "eta" in found else found["y"]
        negative = pt < 0
        fill = (
            f"; if such rows are padding, say so (padding {pt[negative][0]:g})"
            if (negative.any())
            else ""
        )
        wrong += [
            ("pt is negative", negative, "pt", f"pt >= 0{fill}"),
            (
                "phi is no azimuth in radians",
                np.abs(phi) > col.MOST_AZIMUTH,
                "phi",
                "radians, |phi| <= 3 pi",
            ),
            (
                "eta is out of range",
                np.isfinite(forward) & (np.abs(forward) > LARGEST_ETA),
                "eta" if "eta" in found else "y",
                f"at most {LARGEST_ETA:g}",
            ),
        ]
    if "m" in found:
        with np.errstate(over="ignore", invalid="ignore"):
            momentum = (
                found["pt"] * np.cosh(np.clip(forward, -LARGEST_ETA, LARGEST_ETA))
                if "pt" in found
                else np.sqrt(found["px"] ** 2 + found["py"] ** 2 + found["pz"] ** 2)
            )
            below = found["m"] < -MASS_TOLERANCE * np.maximum(momentum, 0)
        wrong.append(("m is negative", below, "m", "m >= 0"))
    for what, flags, name, expected in wrong:
        if flags.any():
            rest = f"found {found[name][int(np.argmax(flags))]:g}, expected {expected}"
            yield _of_constituents(what, flags, offsets, rest)
    if {"px", "E"} <= found.keys() and not jets:
        yield from _slow(values, names, offsets)


def _slow(values: np.ndarray, names: tuple[str, ...], offsets: np.ndarray) -> Iterator[Fault]:
    """Find momenta called Cartesian that must be (pT, η, φ, m): half of them are slow."""
    p4 = values[:, [names.index(name) for name in ("E", "px", "py", "pz")]].astype(np.float64)
    p4 = p4[np.isfinite(p4).all(axis=1) & (p4[:, 0] > 0)]
    if len(p4) < ENOUGH:
        return
    share = np.median(np.sqrt((p4[:, 1:] ** 2).sum(axis=1)) / p4[:, 0])
    angles = np.abs(p4[:, 1]).max() < LARGEST_ETA and np.abs(p4[:, 2]).max() <= col.MOST_AZIMUTH
    if share < SLOW and angles:
        yield Fault(
            f"p4 is not {','.join(names)}",
            0,
            count=len(values),
            unit="constituents",
            rest=f": found |p| / E of {share:.2g} in the middle; the second column looks like eta "
            "and the third like phi, expected to be told their coordinates, as in pt,eta,phi,m",
        )


def constituent_faults(
    p4: np.ndarray, offsets: np.ndarray, passing: np.ndarray | None = None
) -> Iterator[Fault]:
    """Find events without constituents, and constituents whose momenta cannot be used.

    Of p4 (total, 4) those that are not finite, without positive energy, or spacelike. passing:
    (n,), the events that need constituents; None for all.
    """
    empty = np.diff(offsets) < 1
    if passing is not None:
        empty &= passing
    if empty.any():
        yield Fault(
            "no constituents",
            int(np.argmax(empty)),
            count=int(empty.sum()),
            rest=", expected at least one (or a column pass_reco or pass_gen that is false where "
            "this level is not there)",
        )
    finite = (np.abs(p4) <= LARGEST).all(axis=1)  # false for NaN
    positive = p4[:, 0] > 0
    with np.errstate(invalid="ignore", over="ignore"):
        square = p4.astype(np.float64) ** 2
        spacelike = square[:, 1:].sum(axis=1) > (1 + SPACELIKE_TOLERANCE) * square[:, 0]
    for what, flags, expected in (
        ("p4 is not finite", ~finite, f"finite numbers up to {LARGEST:.3g}"),
        ("E is not positive", finite & ~positive, "E > 0"),
        ("p4 is spacelike", finite & positive & spacelike, "E >= |p|"),
    ):
        if flags.any():
            row = int(np.argmax(flags))
            found = f"found (E, px, py, pz) = {tuple(p4[row].tolist())}, expected {expected}"
            yield _of_constituents(what, flags, offsets, found)


def identity_faults(pid: np.ndarray, offsets: np.ndarray) -> Iterator[Fault]:
    """Find PDG codes (total,) that are not in the table of `jaxpriors.physics.particles`."""
    unknown = ~np.isfinite(pid) | (np.abs(pid) > 2**31) | (pid % 1 != 0)
    unknown[~unknown] = ~np.isin(np.abs(pid[~unknown].astype(np.int64)), [*particles.MASSES])
    if unknown.any():
        found = (
            f"found {np.unique(pid[unknown])[:8].tolist()}, expected PDG codes of long-lived "
            f"particles ({', '.join(map(str, particles.MASSES))} and their antiparticles; 0: "
            "unknown); `--identities 1=130 2=22` maps other codes, `--identities ignore` drops all"
        )
        yield _of_constituents("pid is not known", unknown, offsets, found)


def column_faults(columns: Mapping[str, np.ndarray], passing: np.ndarray | None) -> Iterator[Fault]:
    """Find event-level arrays (n, ...) that are not finite; InputError where one is not numeric.

    passing: (n,), the events that are looked at; None for all.
    """
    for name, array in columns.items():
        check_numbers(name, array)
        bad = ~np.isfinite(array).all(axis=tuple(range(1, array.ndim)))
        if passing is not None:
            bad &= passing
        if bad.any():
            events = np.flatnonzero(bad)
            yield Fault(
                f"{name} is not finite",
                int(events[0]),
                count=len(events),
                rest=f": found {array[events[0]].tolist()}",
            )


def check_numbers(name: str, array: np.ndarray, expected: str = "numbers") -> None:
    """Raise InputError for texts, objects and complex numbers."""
    if array.dtype.kind not in "biuf":
        raise InputError(f"{name} has dtype {array.dtype}, expected {expected}")


def check_integers(name: str, array: np.ndarray, dtype: type = np.int64) -> None:
    """Raise InputError unless identities, labels or offsets are integers, whatever their dtype.

    dtype: of integers, which they must fit.
    """
    check_numbers(name, array, "integers")
    if array.dtype.kind == "f" and not (np.isfinite(array) & (array % 1 == 0)).all():
        bad = array[~(np.isfinite(array) & (array % 1 == 0))]
        raise InputError(f"{name} holds {bad.flat[0]}, expected integers")
    limits = np.iinfo(dtype)
    if array.size and not (limits.min <= array.min() and array.max() <= limits.max):
        worst = array.max() if array.max() > limits.max else array.min()
        raise InputError(
            f"{name} holds {worst}, expected integers from {limits.min} to {limits.max}"
        )


def _of_constituents(what: str, flags: np.ndarray, offsets: np.ndarray, rest: str) -> Fault:
    """Describe the fault of the flagged constituents (total,)."""
    row = int(np.argmax(flags))
    event = int(np.searchsorted(offsets, row, side="right") - 1)
    return Fault(
        what,
        event,
        f", constituent {row - offsets[event]}",
        int(flags.sum()),
        "constituents",
        f": {rest}",
    )
