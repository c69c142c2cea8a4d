"""What makes a sample unusable: each fault is named with its column, its place and its number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from jaxpriors.data import identities
from jaxpriors.errors import InputError

# Relative to E^2: single-precision files, and files rounded to five digits, stay within it.
SPACELIKE_TOLERANCE = 1e-4


def check_offsets(offsets: np.ndarray, total: int, empty: bool = False) -> None:
    """Offsets (n+1,) rise from 0 to the number of constituents, by at least one an event.

    empty: whether events without constituents are fine.
    """
    check_integers("offsets", offsets)
    if offsets.ndim != 1:
        raise InputError(f"offsets have shape {offsets.shape}, expected (n+1,)")
    if not len(offsets) or offsets[0] != 0 or offsets[-1] != total:
        found = f"run from {offsets[0]} to {offsets[-1]}" if len(offsets) else "are empty"
        raise InputError(f"offsets {found}, expected 0 to {total}, the number of constituents")
    counts = np.diff(offsets)
    if counts.min(initial=1) < 0:
        raise InputError(f"offsets fall in event {int(np.argmax(counts < 0))}, expected to rise")
    if not empty and counts.min(initial=1) < 1:
        raise InputError(
            f"no constituents in event {int(np.argmax(counts < 1))} "
            f"({int((counts < 1).sum())} such events), expected at least one"
        )


def check_momenta(p4: np.ndarray, offsets: np.ndarray) -> None:
    """Constituents (total, 4) are finite, with positive energy, and not spacelike."""
    _constituents("p4 is not finite", ~np.isfinite(p4).all(axis=1), p4, offsets, "finite numbers")
    _constituents("E is not positive", p4[:, 0] <= 0, p4, offsets, "E > 0")
    square = p4.astype(np.float64) ** 2
    spacelike = square[:, 1:].sum(axis=1) > (1 + SPACELIKE_TOLERANCE) * square[:, 0]
    _constituents("p4 is spacelike", spacelike, p4, offsets, "E >= |p|")


def check_identities(pid: np.ndarray, offsets: np.ndarray) -> None:
    """PDG codes (total,) are in the table of `jaxpriors.data.identities`."""
    unknown = ~np.isfinite(pid) | (np.abs(pid) > 2**31) | (pid % 1 != 0)
    unknown[~unknown] = ~identities.known(pid[~unknown])
    if unknown.any():
        row = int(np.argmax(unknown))
        raise InputError(
            f"pid holds identities that are not known: {np.unique(pid[unknown])[:8].tolist()}, "
            f"first in event {event_of(row, offsets)}; expected PDG codes of long-lived particles "
            f"({', '.join(map(str, identities.MASSES))} and their antiparticles; 0: unknown)"
        )


def check_event_columns(columns: Mapping[str, np.ndarray]) -> None:
    """Event-level arrays (n, ...) are finite."""
    for name, array in columns.items():
        if array.dtype.kind not in "biuf":
            raise InputError(f"{name} has dtype {array.dtype}, expected numbers")
        bad = ~np.isfinite(array)
        if bad.any():
            events = np.flatnonzero(bad.reshape(len(array), -1).any(axis=1))
            raise InputError(
                f"{name} is not finite in event {events[0]} ({len(events)} such events): "
                f"found {array[events[0]].tolist()}"
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


def _constituents(
    fault: str, flags: np.ndarray, p4: np.ndarray, offsets: np.ndarray, expected: str
) -> None:
    """Raise for the first flagged constituent, if there is any."""
    if flags.any():
        row = int(np.argmax(flags))
        event = event_of(row, offsets)
        raise InputError(
            f"{fault} in event {event}, constituent {row - offsets[event]} "
            f"({int(flags.sum())} such constituents): found (E, px, py, pz) = "
            f"{tuple(p4[row].tolist())}, expected {expected}"
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
