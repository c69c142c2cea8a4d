"""What makes a sample unusable: each fault is named with its column, its place and its number."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from jaxpriors.data import identities
from jaxpriors.errors import InputError

# Relative to E^2: single-precision files, and files rounded to five digits, stay within it.
SPACELIKE_TOLERANCE = 1e-4


@dataclasses.dataclass(frozen=True)
class Fault:
    """One kind of fault of a sample.

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
        """All of it in one line."""
        number = f"({self.count} such {self.unit})"
        return f"{self.what} in event {self.event}{self.place} {number}{self.rest}"


def refuse(faults: Iterable[Fault]) -> None:
    """InputError for the first fault, if there is any."""
    for fault in faults:
        raise InputError(fault.message)


def check_offsets(offsets: np.ndarray, total: int) -> None:
    """Offsets (n+1,) rise from 0 to the number of constituents; events may have none."""
    check_integers("offsets", offsets)
    if offsets.ndim != 1:
        raise InputError(f"offsets have shape {offsets.shape}, expected (n+1,)")
    if not len(offsets) or offsets[0] != 0 or offsets[-1] != total:
        found = f"run from {offsets[0]} to {offsets[-1]}" if len(offsets) else "are empty"
        raise InputError(f"offsets {found}, expected 0 to {total}, the number of constituents")
    counts = np.diff(offsets)
    if counts.min(initial=1) < 0:
        raise InputError(f"offsets fall in event {int(np.argmax(counts < 0))}, expected to rise")


def empty_events(offsets: np.ndarray) -> Iterator[Fault]:
    """Events (n,) without constituents, by their offsets (n+1,)."""
    empty = np.diff(offsets) < 1
    if empty.any():
        yield Fault(
            "no constituents",
            int(np.argmax(empty)),
            count=int(empty.sum()),
            rest=", expected at least one",
        )


def momenta_faults(p4: np.ndarray, offsets: np.ndarray) -> Iterator[Fault]:
    """Constituents (total, 4) that are not finite, without positive energy, or spacelike."""
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
    """PDG codes (total,) that are not in the table of `jaxpriors.data.identities`."""
    unknown = ~np.isfinite(pid) | (np.abs(pid) > 2**31) | (pid % 1 != 0)
    unknown[~unknown] = ~identities.known(pid[~unknown])
    if unknown.any():
        found = (
            f"found {np.unique(pid[unknown])[:8].tolist()}, expected PDG codes of long-lived "
            f"particles ({', '.join(map(str, identities.MASSES))} and their antiparticles; 0: "
            "unknown)"
        )
        yield _of_constituents("pid is not known", unknown, offsets, found)


def column_faults(columns: Mapping[str, np.ndarray]) -> Iterator[Fault]:
    """Event-level arrays (n, ...) that are not finite; InputError where one is not numeric."""
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
    """Identities, labels and offsets are integers, whatever their dtype."""
    if array.dtype.kind not in "biuf":
        raise InputError(f"{name} has dtype {array.dtype}, expected integers")
    if array.dtype.kind == "f" and not (np.isfinite(array) & (array % 1 == 0)).all():
        bad = array[~(np.isfinite(array) & (array % 1 == 0))]
        raise InputError(f"{name} holds {bad.flat[0]}, expected integers")


def check_weights(weight: np.ndarray) -> None:
    """Weights (n,) are not all zero."""
    if len(weight) and not weight.any():
        raise InputError("weight is zero for all events, expected at least one other weight")


def event_of(row: int, offsets: np.ndarray) -> int:
    """Index of the event that holds a constituent."""
    return int(np.searchsorted(offsets, row, side="right") - 1)


def _of_constituents(what: str, flags: np.ndarray, offsets: np.ndarray, rest: str) -> Fault:
    """The fault of the flagged constituents (total,)."""
    row = int(np.argmax(flags))
    event = event_of(row, offsets)
    return Fault(
        what,
        event,
        f", constituent {row - offsets[event]}",
        int(flags.sum()),
        "constituents",
        f": {rest}",
    )


def check_inputs(names: Sequence[str], columns: Sequence[np.ndarray]) -> None:
    """InputError unless every input of a network, ``columns`` by ``names``, is finite."""
    for name, column in zip(names, columns, strict=True):
        bad = int(np.sum(~np.isfinite(column)))
        if bad:
            raise InputError(
                f"input {name}: found {bad} values that are not finite, expected none; "
                "is there a constituent or jet along the beam axis?"
            )
