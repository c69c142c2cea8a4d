"""The geometric algebra of space-time Cl(1,3), derived from e_μ e_ν + e_ν e_μ = 2 g_μν.

A multivector is an array (..., 16) of coefficients of the ordered blades

    1 | e0 e1 e2 e3 | e01 e02 e03 e12 e13 e23 | e012 e013 e023 e123 | e0123

with the metric g = diag(1, −1, −1, −1); e0..e3 belong to (E, px, py, pz). The tables are NumPy
arrays made at import. Reference: Spinner et al., arXiv:2405.14806, section 3.
"""

from __future__ import annotations

from itertools import combinations

import jax.numpy as jnp
import numpy as np
from jax import Array

METRIC = np.array([1.0, -1.0, -1.0, -1.0])

BLADES = tuple(blade for grade in range(5) for blade in combinations(range(4), grade))
"""The 16 blades as ascending tuples of the indices of their basis vectors."""

GRADES = np.array([len(blade) for blade in BLADES])
PSEUDOSCALAR = 15


GEOMETRIC_PRODUCT = np.zeros((16, 16, 16))
"""(16, 16, 16): (x y)_i = Σ_jk GEOMETRIC_PRODUCT[i, j, k] x_j y_k, 256 entries ±1."""

# Every vector of the right blade anticommutes with those of the left one that come after it;
# vectors that are in both contract with the metric.
for _j, _left in enumerate(BLADES):
    for _k, _right in enumerate(BLADES):
        _swaps = sum(a > b for a in _left for b in _right)
        _both, _either = set(_left) & set(_right), set(_left) ^ set(_right)
        _sign = (-1.0) ** _swaps * float(np.prod([METRIC[mu] for mu in _both]))
        GEOMETRIC_PRODUCT[BLADES.index(tuple(sorted(_either))), _j, _k] = _sign

REVERSE = (-1.0) ** (GRADES * (GRADES - 1) // 2)
"""(16,): signs of the reversion, which reads every product of vectors backwards."""

INNER_PRODUCT = REVERSE * np.diagonal(GEOMETRIC_PRODUCT[0])
"""(16,): ⟨x, y⟩ = Σ_i INNER_PRODUCT[i] x_i y_i, the scalar part of reverse(x) y."""

DUAL = GEOMETRIC_PRODUCT[:, :, PSEUDOSCALAR]
"""(16, 16): multiplication by e0123 from the right; its square is −1."""


def geometric_product(x: Array, y: Array) -> Array:
    """Multiply x and y, multivectors (..., 16) that broadcast."""
    table = jnp.asarray(GEOMETRIC_PRODUCT, jnp.result_type(x, y))
    return jnp.einsum("ijk,...j,...k->...i", table, x, y, precision="highest")


def inner_product(x: Array, y: Array) -> Array:
    """Compute ⟨x, y⟩ of multivectors (..., 16), shape (..., 1); of vectors, Minkowski's product."""
    return jnp.sum(
        jnp.asarray(INNER_PRODUCT, jnp.result_type(x, y)) * x * y, axis=-1, keepdims=True
    )


def embed_scalar(x: Array) -> Array:
    """Embed a Lorentz scalar (..., 1) in a multivector (..., 16)."""
    return _place(x, 0)


def extract_scalar(x: Array) -> Array:
    """Extract the scalar part (..., 1) of (..., 16)."""
    return x[..., :1]


def embed_vector(x: Array) -> Array:
    """Embed a four-vector (E, px, py, pz) of shape (..., 4) in a multivector (..., 16)."""
    return _place(x, 1)


def extract_vector(x: Array) -> Array:
    """Extract the four-vector part (..., 4) of (..., 16)."""
    return x[..., 1:5]


def _place(x: Array, start: int) -> Array:
    """Place coefficients (..., n) from component ``start`` of an otherwise zero (..., 16)."""
    after = 16 - start - x.shape[-1]
    return jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(start, after)])


_BEAMS = {
    "lightlike": (1.0, 0.0, 0.0, 1.0),
    "spacelike": (0.0, 0.0, 0.0, 1.0),
    "timelike": (2.0**0.5, 0.0, 0.0, 1.0),
}


def reference_multivectors(
    beam: str | None = "xyplane", time: bool = True, mirror: bool = True
) -> np.ndarray:
    """Make multivectors (n, 16) that break the Lorentz symmetry as the detector does.

    ``beam`` is the plane transverse to the beam ("xyplane", one row) or its direction as a
    "lightlike", "spacelike" or "timelike" vector along +z (with ``mirror`` a second one along −z),
    or None. ``time`` adds e0 as the last row. ValueError for another ``beam``.
    """
    rows = []
    if beam == "xyplane":
        plane = np.zeros(16)
        plane[BLADES.index((1, 2))] = 1.0
        rows.append(plane)
    elif beam in _BEAMS:
        energy, px, py, pz = _BEAMS[beam]
        for direction in (pz, -pz) if mirror else (pz,):
            rows.append(np.array([0.0, energy, px, py, direction] + [0.0] * 11))
    elif beam is not None:
        raise ValueError(
            f"reference_multivectors: beam is {beam!r}, expected None or one of "
            f"{['xyplane', *_BEAMS]}"
        )
    if time:
        rows.append(np.eye(16)[1])
    return np.array(rows, np.float32).reshape(-1, 16)
