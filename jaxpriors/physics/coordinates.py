"""Coordinates of momenta in files, padded arrays made flat, and the grid of compact files."""

from __future__ import annotations

import numpy as np

from jaxpriors.errors import InputError
from jaxpriors.physics import kinematics, particles

COORDINATES: dict[str, tuple[str, ...]] = {
    "E,px,py,pz": ("E", "px", "py", "pz"),
    "pt,eta,phi,m": ("pt", "eta", "phi", "m"),
    "pt,eta,phi": ("pt", "eta", "phi"),
    "pt,y,phi,m": ("pt", "y", "phi", "m"),
    "pt,y,phi": ("pt", "y", "phi"),
}
PT_BITS, ANGLE_STEP = 11, 2.0**-12  # the grid of compact files
# A jet's mass is not a matter of its identity: jets of the three-component systems carry it.
JET_COORDINATES = {
    name: name if name.startswith("E") or name.endswith("m") else f"{name},m"
    for name in COORDINATES
}


def components(coordinates: str) -> tuple[str, ...]:
    """Name the components of a coordinate system.

    Raises:
        InputError: the system is not one of `COORDINATES`.
    """
    if coordinates not in COORDINATES:
        raise InputError(
            f"coordinates {coordinates!r} are unknown; known: {', '.join(map(repr, COORDINATES))}"
        )
    return COORDINATES[coordinates]


def to_cartesian(values: np.ndarray, coordinates: str, pid: np.ndarray | None = None) -> np.ndarray:
    """Convert momenta of another coordinate system into (E, px, py, pz).

    Args:
        values: (..., 3 or 4), GeV and radians; `y` is the rapidity, `eta` the pseudorapidity.
        coordinates: one of `COORDINATES`; without `m`, the mass follows from the identity.
        pid: (...) PDG codes; absent: massless.

    Returns:
        (..., 4) float64.
    """
    if coordinates == "E,px,py,pz":
        return values.astype(np.float64)
    values = values.astype(np.float64)
    pt, forward, phi = values[..., 0], values[..., 1], values[..., 2]
    if coordinates.endswith("m"):
        mass = values[..., 3]
    else:
        mass = np.zeros_like(pt) if pid is None else particles.mass_of(pid)
    with np.errstate(over="ignore", invalid="ignore"):  # found by the validation, with its place
        if ",y," in coordinates:
            transverse = np.sqrt(pt**2 + mass**2)
            pz, energy = transverse * np.sinh(forward), transverse * np.cosh(forward)
        else:
            pz = pt * np.sinh(forward)
            energy = np.sqrt((pt * np.cosh(forward)) ** 2 + mass**2)
        return np.stack([energy, pt * np.cos(phi), pt * np.sin(phi), pz], axis=-1)


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


def filled_rows(values: np.ndarray, coordinates: str, mask: np.ndarray | None) -> np.ndarray:
    """Tell which rows of a padded (N, P, 3 or 4) array are constituents; (N, P) bool.

    `mask` is (N, P) booleans or (N,) multiplicities. Without it, the rows with pt = 0 are padding,
    or those that hold four zeros where the coordinates are Cartesian.
    """
    n, width = values.shape[:2]
    if mask is None:
        return np.any(values != 0, axis=-1) if coordinates[0] == "E" else values[..., 0] != 0
    if mask.shape == (n, width):
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
    """Sum the four-momenta of each event's constituents: (total, 4) to (n, 4), float64."""
    n = len(offsets) - 1
    event = np.repeat(np.arange(n), np.diff(offsets))
    return np.stack([np.bincount(event, p4[:, i], minlength=n) for i in range(4)], axis=-1)


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
