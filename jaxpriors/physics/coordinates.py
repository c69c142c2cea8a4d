"""Coordinates of momenta in files, padded arrays made flat, and the grid of compact files."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from jaxpriors.errors import InputError
from jaxpriors.physics import kinematics, particles

COORDINATES = (
    "E,px,py,pz",
    "px,py,pz,E",
    "px,py,pz,m",
    "px,py,pz",
    "pt,eta,phi,m",
    "pt,eta,phi,E",
    "pt,eta,phi",
    "pt,y,phi,m",
    "pt,y,phi",
    "pt,y,phi,pid",
)
"""The usual coordinates; `components` takes any order of them."""
BASES = (("px", "py", "pz"), ("pt", "eta", "phi"), ("pt", "y", "phi"))
ENERGIES = ("E", "m")
IDENTITY = "pid"
AXES = tuple(dict.fromkeys(name for base in BASES for name in (*base, *ENERGIES)))
PT_BITS, ANGLE_STEP = 11, 2.0**-12  # the grid of compact files
MOST_AZIMUTH = 3 * np.pi * (1 + 1e-6)  # radians: π about the axis of a jet at up to 2π


def components(coordinates: str) -> tuple[str, ...]:
    """Name the components of a coordinate system.

    It has three of space (px, py, pz or pt, eta, phi or pt, y, phi), in any order, and may have the
    energy E or the mass m, and the identity pid. Without E and m, the mass follows from the
    identity.

    Raises:
        InputError: for anything else.

    >>> components("pt,y,phi,pid")
    ('pt', 'y', 'phi', 'pid')
    """
    names = tuple(coordinates.replace(" ", "").split(","))
    base = {*names} - {*ENERGIES, IDENTITY}
    known = any(base == {*one} for one in BASES) and not {*ENERGIES} <= {*names}
    if not known or len({*names}) < len(names):
        raise InputError(
            f"coordinates {coordinates!r} are unknown; known: {'; '.join(COORDINATES)}, and the "
            "same in another order"
        )
    return names


def of_names(names: Collection[str]) -> str | None:
    """Spell the coordinates whose components are among some names; None for none, or for several.

    >>> of_names(["weight", "phi", "pt", "eta", "E"]), of_names(["pt", "phi"])
    ('pt,eta,phi,E', None)
    """
    found = [base for base in BASES if {*base} <= {*names}]
    energy = [name for name in ENERGIES if name in names]
    return ",".join([*found[0], *energy]) if len(found) == 1 and len(energy) <= 1 else None


def jet_coordinates(coordinates: str) -> str:
    """Return the coordinates of jets beside such constituents: with a mass, without an identity.

    >>> jet_coordinates("pt,y,phi,pid"), jet_coordinates("E,px,py,pz")
    ('pt,y,phi,m', 'E,px,py,pz')
    """
    names = [name for name in components(coordinates) if name != IDENTITY]
    return ",".join(names if {*ENERGIES} & {*names} else [*names, "m"])


def to_cartesian(
    values: np.ndarray, coordinates: str, pid: np.ndarray | None = None, scale: float = 1.0
) -> np.ndarray:
    """Convert momenta of another coordinate system into (E, px, py, pz).

    Args:
        values: (..., components), in GeV (or 1 / `scale` of it) and radians; `y` is the rapidity,
            `eta` the pseudorapidity. Masses below zero by rounding count as zero.
        coordinates: as `components` takes them; without `E` and `m`, the mass follows from the
            identity.
        pid: (...) PDG codes; absent: massless.
        scale: factor on energies, momenta and masses that makes them GeV.

    Returns:
        (..., 4) float64.
    """
    names = components(coordinates)
    if names == ("E", "px", "py", "pz") and scale == 1:
        return values.astype(np.float64)
    found = {name: values[..., i].astype(np.float64) for i, name in enumerate(names)}
    for name in {"px", "py", "pz", "pt", "E", "m"} & {*names}:
        found[name] = found[name] * scale
    if "m" in found:
        mass = np.maximum(found["m"], 0)
    else:
        mass = np.zeros(values.shape[:-1]) if pid is None else particles.mass_of(pid)
    with np.errstate(over="ignore", invalid="ignore"):  # found by the validation, with its place
        if "px" in found:
            px, py, pz = found["px"], found["py"], found["pz"]
            square = px**2 + py**2 + pz**2
        else:
            pt, phi = found["pt"], found["phi"]
            px, py = pt * np.cos(phi), pt * np.sin(phi)
            if "y" in found and "E" in found:
                pz = found["E"] * np.tanh(found["y"])
            elif "y" in found:
                pz = np.sqrt(pt**2 + mass**2) * np.sinh(found["y"])
            else:
                pz = pt * np.sinh(found["eta"])
            square = pt**2 + pz**2
        energy = found["E"] if "E" in found else np.sqrt(square + mass**2)
        return np.stack([energy, px, py, pz], axis=-1)


def pt_eta_phi(p4: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Compute transverse momentum (GeV), pseudorapidity and azimuth of (..., 4), float64."""
    p4 = p4.astype(np.float64)
    return kinematics.pt(p4), kinematics.eta(p4), kinematics.phi(p4)


def offsets_of(multiplicity: np.ndarray) -> np.ndarray:
    """Sum multiplicities (n,) up to the offsets (n+1,) int64 of a flat array.

    >>> offsets_of(np.array([2, 1])).tolist()
    [0, 2, 3]
    """
    offsets = np.zeros(len(multiplicity) + 1, dtype=np.int64)
    np.cumsum(multiplicity, out=offsets[1:])
    return offsets


def filled_rows(
    values: np.ndarray, coordinates: str, mask: np.ndarray | None, padding: float | None = None
) -> np.ndarray:
    """Tell which rows of a padded (N, P, components) array are constituents; (N, P) bool.

    `mask` is (N, P) booleans or (N,) multiplicities. Without it, padding are the rows whose first
    component is `padding` (which may be NaN); without that too, the rows with pt = 0, or those
    that hold only zeros where the coordinates are Cartesian.
    """
    n, width = values.shape[:2]
    if mask is None:
        if padding is not None:
            first = values[..., 0]
            return ~np.isnan(first) if np.isnan(padding) else first != first.dtype.type(padding)
        names = components(coordinates)
        if "pt" in names:
            return values[..., names.index("pt")] != 0
        return np.any(values[..., [n != IDENTITY for n in names]] != 0, axis=-1)
    if mask.shape == (n, width):
        if not np.isin(mask, (0, 1)).all():
            found = np.unique(mask[~np.isin(mask, (0, 1))])[:4].tolist()
            raise InputError(f"mask holds {found}, expected true and false")
        return mask.astype(bool)
    if mask.shape == (n,):
        if mask.size and (mask.min() < 0 or mask.max() > width):
            raise InputError(
                f"multiplicities lie in [{mask.min()}, {mask.max()}], "
                f"expected [0, {width}], the width of the padded array"
            )
        return np.arange(width) < mask[:, None]
    raise InputError(f"mask has shape {mask.shape}, expected ({n}, {width}) or ({n},)")


def sums(p4: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Sum the four-momenta of each event's constituents: (total, 4) to (n, 4), float64.

    >>> sums(np.ones((3, 4)), np.array([0, 2, 2, 3]))[:, 0].tolist()
    [2.0, 0.0, 1.0]
    """
    result = np.zeros((len(offsets) - 1, 4))
    filled = np.flatnonzero(offsets[1:] > offsets[:-1])
    if len(filled):
        result[filled] = np.add.reduceat(p4, offsets[:-1][filled], axis=0, dtype=np.float64)
    return result


def to_grid(p4: np.ndarray, pid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Round momenta to the grid of compact files, and make the four-momenta that a reader makes.

    Transverse momenta keep `PT_BITS` significant bits (a change of half a per mille at most),
    angles are multiples of `ANGLE_STEP`; the energy follows from the mass of the identity.

    Returns:
        (total, 3) float32 (pt, eta, phi), and (total, 4) float64.
    """
    pt, eta, phi = pt_eta_phi(p4)
    mantissa, exponent = np.frexp(pt)
    pt = np.ldexp(np.round(mantissa * 2.0**PT_BITS) / 2.0**PT_BITS, exponent)
    eta, phi = np.round(eta / ANGLE_STEP), np.round(phi / ANGLE_STEP)
    within = np.floor(np.pi / ANGLE_STEP)  # beyond, the azimuth would change its sign when read
    eta, phi = eta * ANGLE_STEP, np.clip(phi, -within, within) * ANGLE_STEP
    grid = np.stack([pt, eta, phi], axis=-1)
    return grid.astype(np.float32), to_cartesian(grid, "pt,eta,phi", pid)
