"""What makes a sample unusable: each fault is named with its column, its place and its number."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from jaxpriors.errors import InputError
from jaxpriors.physics import particles

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


def constituent_faults(p4: np.ndarray, offsets: np.ndarray) -> Iterator[Fault]:
    """Find events without constituents, and constituents whose momenta cannot be used.

    Of p4 (total, 4) those that are not finite, without positive energy, or spacelike.
    """
    empty = np.diff(offsets) < 1
    if empty.any():
        yield Fault(
            "no constituents",
            int(np.argmax(empty)),
            count=int(empty.sum()),
            rest=", expected at least one",
        )
    finite = np.isfinite(p4).all(axis=1)
    positive = p4[:, 0] > 0
    with np.errstate(invalid="ignore", over="ignore"):
        square = p4.astype(np.float64) ** 2
        spacelike = square[:, 1:].sum(axis=1) > (1 + SPACELIKE_TOLERANCE) * square[:, 0]
    for what, flags, expected in (
        ("p4 is not finite", ~finite, "finite numbers"),
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
            "unknown)"
        )
        yield _of_constituents("pid is not known", unknown, offsets, found)


def column_faults(columns: Mapping[str, np.ndarray]) -> Iterator[Fault]:
    """Find event-level arrays (n, ...) that are not finite; InputError where one is not numeric."""
    for name, array in columns.items():
        if array.dtype.kind not in "biuf":
            raise InputError(f"{name} has dtype {array.dtype}, expected numbers")
        bad = ~np.isfinite(array)
        if bad.any():
            events = np.flatnonzero(bad.reshape(len(array), -1).any(axis=1))
            yield Fault(
                f"{name} is not finite",
                int(events[0]),
                count=len(events),
                rest=f": found {array[events[0]].tolist()}",
            )


def check_integers(name: str, array: np.ndarray) -> None:
    """Raise InputError unless identities, labels or offsets are integers, whatever their dtype."""
    if array.dtype.kind not in "biuf":
        raise InputError(f"{name} has dtype {array.dtype}, expected integers")
    if array.dtype.kind == "f" and not (np.isfinite(array) & (array % 1 == 0)).all():
        bad = array[~(np.isfinite(array) & (array % 1 == 0))]
        raise InputError(f"{name} holds {bad.flat[0]}, expected integers")


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
