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
from jax.typing import ArrayLike

METRIC = np.array([1.0, -1.0, -1.0, -1.0])

BLADES = tuple(blade for grade in range(5) for blade in combinations(range(4), grade))
"""The 16 blades as ascending tuples of the indices of their basis vectors."""

GRADES = np.array([len(blade) for blade in BLADES])
PSEUDOSCALAR = 15


def _blade_product(left: tuple[int, ...], right: tuple[int, ...]) -> tuple[int, float]:
    """(index of the blade, sign) of the product of two blades.

    Every vector of ``right`` anticommutes with those of ``left`` that come after it; vectors that
    are in both contract with the metric.
    """
    swaps = sum(a > b for a in left for b in right)
    common = set(left) & set(right)
    sign = (-1.0) ** swaps * float(np.prod([METRIC[mu] for mu in common]))
    return BLADES.index(tuple(sorted(set(left) ^ set(right)))), sign


def _geometric_product_table() -> np.ndarray:
    table = np.zeros((16, 16, 16))
    for j, left in enumerate(BLADES):
        for k, right in enumerate(BLADES):
            i, sign = _blade_product(left, right)
            table[i, j, k] = sign
    return table


GEOMETRIC_PRODUCT = _geometric_product_table()
"""(16, 16, 16): (x y)_i = Σ_jk GEOMETRIC_PRODUCT[i, j, k] x_j y_k, 256 entries ±1."""

REVERSE = (-1.0) ** (GRADES * (GRADES - 1) // 2)
"""(16,): signs of the reversion, which reads every product of vectors backwards."""

INVOLUTE = (-1.0) ** GRADES
"""(16,): signs of the grade involution, which flips every vector."""

INNER_PRODUCT = REVERSE * np.diagonal(GEOMETRIC_PRODUCT[0])
"""(16,): ⟨x, y⟩ = Σ_i INNER_PRODUCT[i] x_i y_i, the scalar part of reverse(x) y."""

DUAL = GEOMETRIC_PRODUCT[:, :, PSEUDOSCALAR]
"""(16, 16): multiplication by e0123 from the right; its square is −1."""

GRADE_PROJECTIONS = np.array([np.diag(grade == GRADES).astype(float) for grade in range(5)])
"""(5, 16, 16): projections to the grades 0..4."""


def equivariant_basis(subgroup: bool) -> np.ndarray:
    """(10 or 5, 16, 16): a basis of the Lorentz-equivariant linear maps of one multivector.

    The five grade projections; for the fully connected subgroup (``subgroup``, without parity and
    time reversal) also x ↦ ⟨x⟩_g e0123.
    """
    if not subgroup:
        return GRADE_PROJECTIONS
    return np.concatenate([GRADE_PROJECTIONS, DUAL @ GRADE_PROJECTIONS])


def _dtype(x: ArrayLike) -> jnp.dtype:
    return jnp.result_type(x, jnp.bfloat16)


def geometric_product(x: Array, y: Array) -> Array:
    """x y for multivectors (..., 16) that broadcast."""
    table = jnp.asarray(GEOMETRIC_PRODUCT, jnp.result_type(x, y))
    return jnp.einsum("ijk,...j,...k->...i", table, x, y, precision="highest")


def inner_product(x: Array, y: Array) -> Array:
    """⟨x, y⟩ of multivectors (..., 16), shape (..., 1); on vectors the Minkowski product."""
    return jnp.sum(jnp.asarray(INNER_PRODUCT, _dtype(x)) * x * y, axis=-1, keepdims=True)


def abs_squared_norm(x: Array) -> Array:
    """Σ over grades of |⟨x_g, x_g⟩|, (..., 16) to (..., 1)."""
    by_grade = jnp.asarray(np.eye(5)[GRADES] * INNER_PRODUCT[:, None], _dtype(x))
    norms = jnp.matmul(x * x, by_grade, precision="highest")
    return jnp.sum(jnp.abs(norms), axis=-1, keepdims=True)


def reverse(x: Array) -> Array:
    """Every product of vectors read backwards: grades 2 and 3 of (..., 16) change sign."""
    return x * jnp.asarray(REVERSE, _dtype(x))


def grade_involute(x: Array) -> Array:
    """Every vector flipped: grades 1 and 3 of (..., 16) change sign."""
    return x * jnp.asarray(INVOLUTE, _dtype(x))


def grade_project(x: Array) -> Array:
    """The five grades of (..., 16) apart, (..., 5, 16)."""
    return x[..., None, :] * jnp.asarray(np.eye(5)[GRADES].T, _dtype(x))


def dual(x: Array) -> Array:
    """x e0123 for multivectors (..., 16)."""
    return jnp.matmul(x, jnp.asarray(DUAL.T, _dtype(x)), precision="highest")


def embed_scalar(x: Array) -> Array:
    """A Lorentz scalar (..., 1) as a multivector (..., 16)."""
    return _place(x, 0)


def extract_scalar(x: Array) -> Array:
    """The scalar part (..., 1) of (..., 16)."""
    return x[..., :1]


def embed_pseudoscalar(x: Array) -> Array:
    """A pseudoscalar (..., 1) as a multivector (..., 16)."""
    return _place(x, PSEUDOSCALAR)


def extract_pseudoscalar(x: Array) -> Array:
    """The pseudoscalar part (..., 1) of (..., 16)."""
    return x[..., PSEUDOSCALAR:]


def embed_vector(x: Array) -> Array:
    """A four-vector (E, px, py, pz) of shape (..., 4) as a multivector (..., 16)."""
    return _place(x, 1)


def extract_vector(x: Array) -> Array:
    """The four-vector part (..., 4) of (..., 16)."""
    return x[..., 1:5]


def embed_axial_vector(x: Array) -> Array:
    """An axial four-vector a of shape (..., 4) as the multivector a e0123 (..., 16).

    The result is Lorentz-covariant. The function of the same purpose in ``lgatr`` lacks the minus
    sign of a's y component (e013) and is not covariant.
    """
    return dual(embed_vector(x))


def extract_axial_vector(x: Array) -> Array:
    """The axial vector (..., 4) in grade 3 of (..., 16), inverse of ``embed_axial_vector``."""
    return extract_vector(-dual(x))


def _place(x: Array, start: int) -> Array:
    """Coefficients (..., n) as the components from ``start`` of an otherwise zero (..., 16)."""
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
    """Multivectors (n, 16) that break the Lorentz symmetry as the detector does.

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
