"""Multivector channels sorted into the three complex grades of the algebra of space-time.

With I = e0123 the pseudoscalar, every multivector is a complex scalar, a complex vector and a
complex bivector, which Lorentz-equivariant maps keep apart: x = x_0 + x_1 I in each of them, where
part 0 holds the blades 1, e_μ, e_0i and part 1 the same blades times I from the right
(pseudoscalar, grade 3, e_ij). An equivariant linear map is then one matrix product per complex
grade (32 multiplications per pair of channels instead of the 256 of a dense 16 × 16 map), and the
geometric product keeps 256 of its 4096 terms.

Axes: B batch, N tokens, 4 or 3 components, 2 parts, C multivector channels. Between components
and parts there may be an axis of heads.
"""

from __future__ import annotations

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxpriors.layers import core
from jaxpriors.layers.core import module
from jaxpriors.physics import algebra

HIGHEST = jax.lax.Precision.HIGHEST  # sorting must not round, even where matrix products do

# The three grades flattened: scalar (2), vector (4, 2), bivector (3, 2) make 16 entries; entry n is
# SIGN[n] times the coefficient of the blade BLADE[n].
_FIRST_PARTS = [0, 1, 2, 3, 4, 5, 6, 7]  # the blades 1 | e0 e1 e2 e3 | e01 e02 e03
_SECOND_PARTS = [int(np.flatnonzero(algebra.DUAL[:, blade])[0]) for blade in _FIRST_PARTS]
BLADE = np.array([b for pair in zip(_FIRST_PARTS, _SECOND_PARTS, strict=True) for b in pair])
SIGN = np.array(
    [
        sign
        for a, b in zip(_FIRST_PARTS, _SECOND_PARTS, strict=True)
        for sign in (1.0, algebra.DUAL[b, a])
    ]
)
SORT = np.eye(16)[BLADE] * SIGN[:, None]
"""(16, 16): multivectors to the flattened layout, a signed permutation."""

INNER_PRODUCT = algebra.INNER_PRODUCT[BLADE]
GRADE_OF_PART = np.array([[0, 4], [1, 3], [2, 2]])
"""(complex grade, part): the grade."""


@module
class ComplexGrades:
    """Multivector channels: scalar (B, N, 2, C), vector (B, N, 4, 2, C), bivector (B, N, 3, 2, C).

    With heads: (B, N, H, 2, C), (B, N, 4, H, 2, C), (B, N, 3, H, 2, C).
    """

    scalar: Array
    vector: Array
    bivector: Array

    @property
    def channels(self) -> int:
        """Return the number C of multivectors."""
        return self.scalar.shape[-1]


def from_multivectors(x: Array) -> ComplexGrades:
    """Sort (B, N, C, 16) into complex grades."""
    batch, tokens, channels, _ = x.shape
    x = jnp.einsum("nx,btcx->btnc", jnp.asarray(SORT, x.dtype), x, precision=HIGHEST)
    return ComplexGrades(
        scalar=x[:, :, :2],
        vector=x[:, :, 2:10].reshape(batch, tokens, 4, 2, channels),
        bivector=x[:, :, 10:].reshape(batch, tokens, 3, 2, channels),
    )


def to_multivectors(x: ComplexGrades) -> Array:
    """Invert ``from_multivectors``: (B, N, C, 16)."""
    batch, tokens, _, channels = x.scalar.shape
    vector, bivector = (a.reshape(batch, tokens, -1, channels) for a in (x.vector, x.bivector))
    flat = jnp.concatenate([x.scalar, vector, bivector], axis=2)
    return jnp.einsum("nx,btnc->btcx", jnp.asarray(SORT, flat.dtype), flat, precision=HIGHEST)


def add(x: ComplexGrades, y: ComplexGrades) -> ComplexGrades:
    """Add x and y."""
    return jax.tree.map(jnp.add, x, y)


def concatenate_channels(x: ComplexGrades, y: ComplexGrades) -> ComplexGrades:
    """Concatenate the channels of x and of y."""
    return jax.tree.map(lambda a, b: jnp.concatenate([a, b], axis=-1), x, y)


def scale(x: ComplexGrades, factor: Array) -> ComplexGrades:
    """Multiply every channel by a number; ``factor`` is (B, N, C) or (B, N, 1), or with heads."""
    factor = factor[..., None, :]
    return ComplexGrades(
        scalar=x.scalar * factor,
        vector=x.vector * factor[:, :, None],
        bivector=x.bivector * factor[:, :, None],
    )


def mean_abs_squared_norm(x: ComplexGrades) -> Array:
    """Sum |⟨x_g, x_g⟩| over the grades, averaged over channels: (B, N, 1) or (B, N, H, 1).

    The result is at least float32. Components are added one by one, for which XLA makes fast loops.
    """
    dtype = jnp.promote_types(x.scalar.dtype, jnp.float32)
    scalar, vector, bivector = (a.astype(dtype) for a in (x.scalar, x.vector, x.bivector))
    e, px, py, pz = _components(vector * vector)
    b1, b2, b3 = _components(bivector * bivector)
    real, imaginary = jnp.split(b1 + b2 + b3, 2, axis=-2)
    norm = jnp.sum(scalar * scalar + jnp.abs(e - px - py - pz), axis=(-2, -1))
    norm = norm + jnp.sum(jnp.abs(real - imaginary), axis=(-2, -1))
    return norm[..., None] / x.channels


def _components(a: Array) -> list[Array]:
    """Split the components of (B, N, components, ...)."""
    return [jnp.squeeze(part, 2) for part in jnp.split(a, a.shape[2], axis=2)]


def dropout(
    key: Array | None, x: ComplexGrades, s: Array, rate: float
) -> tuple[ComplexGrades, Array]:
    """Drop whole grades of single channels, and single scalars; none where ``key`` is None."""
    if key is None or rate == 0.0:
        return x, s
    keys = jax.random.split(key, 4)
    batch, tokens, _, channels = x.scalar.shape
    return (
        ComplexGrades(
            core.dropout(keys[0], x.scalar, rate, x.scalar.shape),
            core.dropout(keys[1], x.vector, rate, (batch, tokens, 1, 2, channels)),
            core.dropout(keys[2], x.bivector, rate, (batch, tokens, 1, 1, channels)),
        ),
        core.dropout(keys[3], s, rate, s.shape),
    )


Terms = tuple[tuple[tuple[int, int, int], ...], ...]
"""A sparse bilinear map: out_a = Σ over (b, c, sign) in terms[a] of sign x_b y_c."""


def _terms(table: np.ndarray) -> Terms:
    return tuple(
        tuple((int(b), int(c), int(row[b, c])) for b, c in np.argwhere(row)) for row in table
    )


@cache
def _product() -> Terms:
    """List the terms of the geometric product in the flattened layout."""
    table = algebra.GEOMETRIC_PRODUCT[np.ix_(BLADE, BLADE, BLADE)]
    return _terms(table * SIGN[:, None, None] * SIGN[:, None] * SIGN)


def _transpose(terms: Terms, order: tuple[int, int, int]) -> Terms:
    """Permute (out, x, y) of a map, for the gradient."""
    table = np.zeros((16, 16, 16))
    for a, row in enumerate(terms):
        for b, c, sign in row:
            table[a, b, c] = sign
    return _terms(table.transpose(order))


def _entries(x: ComplexGrades) -> list[Array]:
    """Split into the 16 entries (B, N, C), in the flattened layout."""
    return [
        *(x.scalar[:, :, p] for p in range(2)),
        *(x.vector[:, :, k, p] for k in range(4) for p in range(2)),
        *(x.bivector[:, :, k, p] for k in range(3) for p in range(2)),
    ]


def _from_entries(entries: list[Array]) -> ComplexGrades:
    batch, tokens, channels = entries[0].shape
    return ComplexGrades(
        scalar=jnp.stack(entries[:2], axis=2),
        vector=jnp.stack(entries[2:10], axis=2).reshape(batch, tokens, 4, 2, channels),
        bivector=jnp.stack(entries[10:], axis=2).reshape(batch, tokens, 3, 2, channels),
    )


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _bilinear(terms: Terms, x: ComplexGrades, y: ComplexGrades) -> ComplexGrades:
    """Apply a sparse bilinear map; its gradients are two more of them, so that no pads appear."""
    xs, ys = _entries(x), _entries(y)
    outs = []
    for row in terms:
        total = jnp.zeros_like(xs[0])
        for b, c, sign in row:
            total = total + xs[b] * ys[c] if sign > 0 else total - xs[b] * ys[c]
        outs.append(total)
    return _from_entries(outs)


def _bilinear_forward(
    terms: Terms, x: ComplexGrades, y: ComplexGrades
) -> tuple[ComplexGrades, tuple[ComplexGrades, ComplexGrades]]:
    return _bilinear(terms, x, y), (x, y)


def _bilinear_backward(
    terms: Terms, saved: tuple[ComplexGrades, ComplexGrades], out: ComplexGrades
) -> tuple[ComplexGrades, ComplexGrades]:
    x, y = saved
    return (
        _bilinear(_transpose(terms, (1, 0, 2)), out, y),
        _bilinear(_transpose(terms, (2, 1, 0)), x, out),
    )


_bilinear.defvjp(_bilinear_forward, _bilinear_backward)


def geometric_product(x: ComplexGrades, y: ComplexGrades) -> ComplexGrades:
    """Multiply x and y channel by channel; differentiable in reverse mode, any number of times."""
    return _bilinear(_product(), x, y)
