"""Kinematics of four-momenta (E, px, py, pz) in GeV, for numpy (host) and jax.numpy (device).

Every function takes the array namespace as ``xp`` and keeps the dtype of its argument: call
``pt(p4)`` on the host and ``pt(p4, xp=jnp)`` under ``jax.jit``. Arrays have the four components
on the last axis; results lose it. The values on the beam axis, where a pseudorapidity diverges,
are stated below and finite for the null vector, so that padded constituents (E = px = py = pz = 0)
never yield NaN. Gradients are not defined there: mask padding before differentiating.

>>> p4 = np.array([[13.0, 3.0, 4.0, 0.0], [5.0, 0.0, 3.0, -4.0]])
>>> pt(p4).tolist(), mass(p4).tolist()
([5.0, 3.0], [12.0, 0.0])
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np

Array = Any


def pt(p4: Array, xp: ModuleType = np) -> Array:
    """Compute the transverse momentum in GeV, (..., 4) → (...).

    >>> pt(np.array([13.0, 3.0, 4.0, 0.0])).item()
    5.0
    """
    return xp.hypot(p4[..., 1], p4[..., 2])


def momentum(p4: Array, xp: ModuleType = np) -> Array:
    """Compute the magnitude of the three-momentum in GeV, (..., 4) → (...).

    >>> momentum(np.array([13.0, 3.0, 0.0, 4.0])).item()
    5.0
    """
    return xp.hypot(pt(p4, xp), p4[..., 3])


def phi(p4: Array, xp: ModuleType = np) -> Array:
    """Compute the azimuthal angle in [-π, π], (..., 4) → (...); 0 for the null vector.

    >>> round(phi(np.array([5.0, 0.0, 3.0, 4.0])).item(), 4)
    1.5708
    """
    return xp.arctan2(p4[..., 2], p4[..., 1])


def eta(p4: Array, xp: ModuleType = np) -> Array:
    """Compute the pseudorapidity arsinh(pz / pT), (..., 4) → (...).

    0 for the null vector and ±inf for a vector exactly along the beam: no value is made up.

    >>> eta(np.array([[5.0, 3.0, 0.0, 4.0], [5.0, 0.0, 0.0, 5.0]])).round(4).tolist()
    [1.0986, inf]
    """
    transverse, pz = pt(p4, xp), p4[..., 3]
    on_axis = transverse == 0
    along = xp.where(pz > 0, xp.inf, xp.where(pz < 0, -xp.inf, 0.0)).astype(p4.dtype)
    return xp.where(on_axis, along, xp.arcsinh(pz / xp.where(on_axis, 1, transverse)))


def mass_squared(p4: Array, xp: ModuleType = np) -> Array:
    """Compute E² − |p|² in GeV², (..., 4) → (...), as (E − |p|)(E + |p|); may round below zero.

    >>> mass_squared(np.array([13.0, 3.0, 4.0, 0.0])).item()
    144.0
    """
    p = xp.hypot(pt(p4, xp), p4[..., 3])
    return (p4[..., 0] - p) * (p4[..., 0] + p)


def mass(p4: Array, xp: ModuleType = np) -> Array:
    """Compute the invariant mass in GeV, (..., 4) → (...); 0 where its square rounds below zero.

    >>> mass(np.array([13.0, 3.0, 4.0, 0.0])).item()
    12.0
    """
    return xp.sqrt(xp.maximum(mass_squared(p4, xp), 0))


def rapidity(p4: Array, xp: ModuleType = np) -> Array:
    """Compute the rapidity artanh(pz / E), (..., 4) → (...), as sign(pz) ln((E + |pz|) / mT).

    The transverse mass takes m² ≥ 0, as jet algorithms do. 0 for the null vector, ±inf for a
    massless vector exactly along the beam.

    >>> round(rapidity(np.array([5.0, 1.0, 0.0, 3.0])).item(), 4)
    0.6931
    """
    energy, pz = p4[..., 0], p4[..., 3]
    transverse_mass = xp.sqrt(pt(p4, xp) ** 2 + xp.maximum(mass_squared(p4, xp), 0))
    on_axis = transverse_mass == 0
    along = xp.where(pz == 0, 0.0, xp.inf).astype(p4.dtype)
    size = xp.log((energy + xp.abs(pz)) / xp.where(on_axis, 1, transverse_mass) + on_axis)
    return xp.sign(pz) * xp.where(on_axis, along, size)


def delta_phi(a: Array, b: Array, xp: ModuleType = np) -> Array:
    """Subtract two azimuthal angles, a − b in [-π, π]; exact where the difference is small.

    >>> round(delta_phi(np.array(3.0), np.array(-3.0)).item(), 4)
    -0.2832
    """
    difference = a - b
    return difference - 2 * xp.pi * xp.round(difference / (2 * xp.pi))


def delta_r(a: Array, b: Array, xp: ModuleType = np) -> Array:
    """Measure how far two four-momenta are apart in (η, φ), (..., 4) twice → (...).

    >>> along_x, along_y = np.array([1.0, 1.0, 0.0, 0.0]), np.array([1.0, 0.0, 1.0, 0.0])
    >>> round(delta_r(along_x, along_y).item(), 4)
    1.5708
    """
    return xp.hypot(eta(a, xp) - eta(b, xp), delta_phi(phi(a, xp), phi(b, xp), xp))
