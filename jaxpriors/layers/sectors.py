"""Multivector channels sorted into the three sectors that Lorentz-equivariant maps keep apart.

With I = e0123 the pseudoscalar, every multivector is a complex scalar, a complex vector and a
complex bivector: x = x_0 + x_1 I in each of them, where part 0 holds the blades 1, e_μ, e_0i and
part 1 the same blades times I from the right (pseudoscalar, grade 3, e_ij). An equivariant linear
map is then one matrix product per sector (32 multiplications per pair of channels instead of the
256 of a dense 16 × 16 map), and 256 of the 4096 terms of the geometric product are left.

Axes: B batch, N tokens, 4 or 3 components, 2 parts, C multivector channels. Between components
and parts there may be an axis of heads.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxpriors import algebra
from jaxpriors.layers.core import module

HIGHEST = jax.lax.Precision.HIGHEST  # sorting must not round where matrix products do

# Sector layout, flattened: scalar (2), vector (4, 2), bivector (3, 2) make 16 entries; entry n is
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
"""(sector, part): the grade."""


@module
class Sectors:
    """Multivector channels: scalar (B, N, 2, C), vector (B, N, 4, 2, C), bivector (B, N, 3, 2, C).

    With heads: (B, N, H, 2, C), (B, N, 4, H, 2, C), (B, N, 3, H, 2, C).
    """

    scalar: Array
    vector: Array
    bivector: Array

    @property
    def channels(self) -> int:
        """The number C of multivectors."""
        return self.scalar.shape[-1]


def from_multivectors(x: Array) -> Sectors:
    """Sort (B, N, C, 16) into sectors."""
    batch, tokens, channels, _ = x.shape
    x = jnp.einsum("nx,btcx->btnc", jnp.asarray(SORT, x.dtype), x, precision=HIGHEST)
    return Sectors(
        scalar=x[:, :, :2],
        vector=x[:, :, 2:10].reshape(batch, tokens, 4, 2, channels),
        bivector=x[:, :, 10:].reshape(batch, tokens, 3, 2, channels),
    )


def to_multivectors(x: Sectors) -> Array:
    """The inverse of ``from_multivectors``: (B, N, C, 16)."""
    batch, tokens, _, channels = x.scalar.shape
    vector, bivector = (a.reshape(batch, tokens, -1, channels) for a in (x.vector, x.bivector))
    flat = jnp.concatenate([x.scalar, vector, bivector], axis=2)
    return jnp.einsum("nx,btnc->btcx", jnp.asarray(SORT, flat.dtype), flat, precision=HIGHEST)


def add(x: Sectors, y: Sectors) -> Sectors:
    """x + y."""
    return jax.tree.map(jnp.add, x, y)


def concatenate_channels(x: Sectors, y: Sectors) -> Sectors:
    """The channels of x, then those of y."""
    return jax.tree.map(lambda a, b: jnp.concatenate([a, b], axis=-1), x, y)


def scale(x: Sectors, factor: Array) -> Sectors:
    """Multiply every channel by a number; ``factor`` is (B, N, C) or (B, N, 1), or with heads."""
    factor = factor[..., None, :]
    return Sectors(
        scalar=x.scalar * factor,
        vector=x.vector * factor[:, :, None],
        bivector=x.bivector * factor[:, :, None],
    )


def mean_abs_squared_norm(x: Sectors) -> Array:
    """Σ over grades of |⟨x_g, x_g⟩|, its mean over channels: (B, N, 1) or (B, N, H, 1).

    In at least float32. Components are added one by one, which XLA makes fast loops of.
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
    """The components of (B, N, components, ...) apart."""
    return [jnp.squeeze(part, 2) for part in jnp.split(a, a.shape[2], axis=2)]


Terms = tuple[tuple[tuple[int, int, int], ...], ...]
"""A sparse bilinear map: out_a = Σ over (b, c, sign) in terms[a] of sign x_b y_c."""


def _terms(table: np.ndarray) -> Terms:
    return tuple(
        tuple((int(b), int(c), int(row[b, c])) for b, c in np.argwhere(row)) for row in table
    )


def _product_table() -> np.ndarray:
    """The geometric product's table (16, 16, 16) in the flattened sector layout."""
    table = algebra.GEOMETRIC_PRODUCT[np.ix_(BLADE, BLADE, BLADE)]
    return table * SIGN[:, None, None] * SIGN[:, None] * SIGN


_PRODUCT = _terms(_product_table())


def _transpose(terms: Terms, order: tuple[int, int, int]) -> Terms:
    """The map with the roles of (out, x, y) permuted, for the gradient."""
    table = np.zeros((16, 16, 16))
    for a, row in enumerate(terms):
        for b, c, sign in row:
            table[a, b, c] = sign
    return _terms(table.transpose(order))


def _entries(x: Sectors) -> list[Array]:
    """The 16 entries (B, N, C), in the flattened sector layout."""
    return [
        *(x.scalar[:, :, p] for p in range(2)),
        *(x.vector[:, :, k, p] for k in range(4) for p in range(2)),
        *(x.bivector[:, :, k, p] for k in range(3) for p in range(2)),
    ]


def _from_entries(entries: list[Array]) -> Sectors:
    batch, tokens, channels = entries[0].shape
    return Sectors(
        scalar=jnp.stack(entries[:2], axis=2),
        vector=jnp.stack(entries[2:10], axis=2).reshape(batch, tokens, 4, 2, channels),
        bivector=jnp.stack(entries[10:], axis=2).reshape(batch, tokens, 3, 2, channels),
    )


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _bilinear(terms: Terms, x: Sectors, y: Sectors) -> Sectors:
    """The sparse bilinear map; its gradients are two more of them, so that no pads appear."""
    xs, ys = _entries(x), _entries(y)
    outs = []
    for row in terms:
        total = jnp.zeros_like(xs[0])
        for b, c, sign in row:
            total = total + xs[b] * ys[c] if sign > 0 else total - xs[b] * ys[c]
        outs.append(total)
    return _from_entries(outs)


def _bilinear_forward(
    terms: Terms, x: Sectors, y: Sectors
) -> tuple[Sectors, tuple[Sectors, Sectors]]:
    return _bilinear(terms, x, y), (x, y)


def _bilinear_backward(
    terms: Terms, saved: tuple[Sectors, Sectors], out: Sectors
) -> tuple[Sectors, Sectors]:
    x, y = saved
    return (
        _bilinear(_transpose(terms, (1, 0, 2)), out, y),
        _bilinear(_transpose(terms, (2, 1, 0)), x, out),
    )


_bilinear.defvjp(_bilinear_forward, _bilinear_backward)


def geometric_product(x: Sectors, y: Sectors) -> Sectors:
    """x y channel by channel; differentiable in reverse mode, any number of times."""
    return _bilinear(_PRODUCT, x, y)
