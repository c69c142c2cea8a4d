"""Momenta in the coordinates of a file made those of events, with all that is wrong with them."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import numpy as np

from jaxpriors.data import checks
from jaxpriors.errors import InputError
from jaxpriors.physics import coordinates as col

CARTESIAN = ("E", "px", "py", "pz")


class Momenta(NamedTuple):
    """Hold p4 (total, 4) as (E, px, py, pz) in GeV, pid (total,), jet_p4 (n, 4), and the faults."""

    p4: np.ndarray
    pid: np.ndarray
    jet_p4: np.ndarray
    faults: list[checks.Fault]


def momenta_of(
    p4: np.ndarray,
    offsets: np.ndarray,
    coordinates: str,
    pid: np.ndarray | None,
    jet_p4: np.ndarray | None,
    scale: float,
) -> Momenta:
    """Convert the momenta of events; arguments and errors are those of `Events.from_flat`.

    Cartesian single precision stays; everything else becomes double precision.
    """
    names, n = col.components(coordinates), len(offsets) - 1
    if p4.ndim != 2 or p4.shape[1] != len(names):
        raise InputError(f"p4 has shape {p4.shape}, expected (total, {len(names)}): {coordinates}")
    if offsets[-1] != len(p4) or np.diff(offsets).min(initial=0) < 0:
        raise InputError(
            f"the multiplicities sum to {offsets[-1]}, "
            f"expected {len(p4)}, the number of constituents, and none negative"
        )
    checks.check_numbers("p4", p4)
    if col.IDENTITY in names:
        if pid is not None:
            raise InputError(f"pid: found it given and in {coordinates}, expected one of both")
        pid = p4[:, names.index(col.IDENTITY)]
    found = list(checks.coordinate_faults(p4, coordinates, offsets))
    codes, unfit = _codes(pid, offsets, len(p4))
    found += unfit
    jets = None
    if jet_p4 is not None:
        jets, faults = _jets(np.asarray(jet_p4), n, col.jet_coordinates(coordinates), scale)
        found += faults
    single = p4.dtype.kind == "f" and p4.dtype.itemsize <= np.dtype(np.float32).itemsize
    if single and names == CARTESIAN and scale == 1:
        momenta = p4.astype(np.float32, copy=False)
    else:
        momenta = col.to_cartesian(p4, coordinates, codes, scale)
    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is found with its place
        jets = col.sums(momenta, offsets) if jets is None else jets
    return Momenta(momenta, codes, jets, found)


def _codes(
    pid: np.ndarray | None, offsets: np.ndarray, total: int
) -> tuple[np.ndarray, list[checks.Fault]]:
    """Give identities as integers, 0 where they fit in none, and those that are not known."""
    if pid is None:
        return np.zeros(total, np.int32), []
    pid = np.asarray(pid)
    if pid.shape != (total,):
        raise InputError(f"pid has shape {pid.shape}, expected ({total},)")
    checks.check_numbers("pid", pid)
    faults = list(checks.identity_faults(pid, offsets))
    if faults:
        known = np.isfinite(pid) & (np.abs(pid.astype(np.float64)) < 2**31) & (pid % 1 == 0)
        pid = np.where(known, pid, 0)
    return pid.astype(np.int32), faults


def _jets(
    jet_p4: np.ndarray, n: int, coordinates: str, scale: float
) -> tuple[np.ndarray, list[checks.Fault]]:
    """Give jets (n, 4), and what is wrong with them in their coordinates."""
    if jet_p4.shape != (n, 4):
        raise InputError(f"jet_p4 has shape {jet_p4.shape}, expected ({n}, 4)")
    checks.check_numbers("jet_p4", jet_p4)
    found = checks.coordinate_faults(jet_p4, coordinates, np.arange(n + 1), jets=True)
    faults = [
        dataclasses.replace(fault, what=f"jet_p4: {fault.what}", place="", unit="events")
        for fault in found
    ]
    return col.to_cartesian(jet_p4, coordinates, scale=scale), faults
