"""Lorentz-equivariant layers on pairs of four-vectors and scalars, the blocks of L-GATr-slim.

Axes: vectors are (..., 4, C), components (E, px, py, pz) before channels, so that a linear map is
one matrix product over the rows (token, component); scalars are (..., S). Products of momenta are
taken in at least float32, because they cancel too much for less. Reference: Petitjean et al.,
arXiv:2512.17011, built on arXiv:2405.14806.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array

from jaxpriors.layers import core
from jaxpriors.layers.core import module, uniform


def inner_product(x: Array, y: Array) -> Array:
    """Multiply (..., 4, C) vectors channel by channel, by Minkowski's product, to (..., C).

    Components are added one by one, which XLA makes faster loops of than of a sum over their axis.
    """
    dtype = jnp.promote_types(x.dtype, jnp.float32)
    products = jnp.split(x.astype(dtype) * y.astype(dtype), 4, axis=-2)
    e, px, py, pz = (jnp.squeeze(part, -2) for part in products)
    return e - px - py - pz


@module
class Linear:
    """v' = weight_v v and s' = linear_s(s); vectors and scalars do not mix."""

    weight_v: Array  # (out_v, in_v)
    linear_s: core.Linear

    @classmethod
    def init(
        cls,
        key: Array,
        in_v: int,
        out_v: int,
        in_s: int,
        out_s: int,
        *,
        bias: bool = True,
        zero_bias: bool = False,
        gain: float = 1.0,
    ) -> Linear:
        """Weights uniform in ±gain/√in, the bias in ±1/√in_s or zero."""
        v_key, s_key, bias_key = jax.random.split(key, 3)
        bound_v, bound_s = max(in_v, 1) ** -0.5, max(in_s, 1) ** -0.5
        return cls(
            uniform(v_key, (out_v, in_v), gain * bound_v),
            core.Linear(
                uniform(s_key, (out_s, in_s), gain * bound_s),
                uniform(bias_key, (out_s,), 0.0 if zero_bias else bound_s) if bias else None,
            ),
        )

    def __call__(self, vectors: Array, scalars: Array) -> tuple[Array, Array]:
        """(..., 4, in_v), (..., in_s) to (..., 4, out_v), (..., out_s)."""
        return core.Linear(self.weight_v)(vectors), self.linear_s(scalars)


def rms_scale(vectors: Array, scalars: Array, epsilon: float = 0.01) -> Array:
    """Compute 1/√(mean of |v²| and s² over all channels + epsilon), (...,), at least float32."""
    square_v = jnp.abs(inner_product(vectors, vectors)).sum(-1)
    wide = scalars.astype(jnp.promote_types(scalars.dtype, jnp.float32))
    square_s = (wide**2).sum(-1)
    channels = vectors.shape[-1] + scalars.shape[-1]
    return jax.lax.rsqrt((square_v + square_s) / channels + epsilon)


@module
class RMSNorm:
    """Vectors and scalars divided by their common root mean square, then a gain per channel."""

    weight_v: Array | None = None  # (C,)
    weight_s: Array | None = None  # (S,)

    @classmethod
    def init(cls, v_channels: int, s_channels: int, *, affine: bool) -> RMSNorm:
        """Gains of one, or none at all."""
        return cls(jnp.ones(v_channels), jnp.ones(s_channels)) if affine else cls()

    def __call__(self, vectors: Array, scalars: Array) -> tuple[Array, Array]:
        """(..., 4, C), (..., S) to the same shapes and dtypes."""
        scale = rms_scale(vectors, scalars)
        v = (vectors * scale[..., None, None]).astype(vectors.dtype)
        s = (scalars * scale[..., None]).astype(scalars.dtype)
        if self.weight_v is not None:
            v = v * self.weight_v
        if self.weight_s is not None:
            s = s * self.weight_s
        return v, s


@module(static=("nonlinearity", "nonlinearity_v", "gate_factor"))
class GatedLinearUnit:
    """v' = act_v(gate_factor · ⟨g₁, g₂⟩) p and s' = act(g) p, with p and g linear in the input."""

    linear: Linear  # to 3 out_v channels (p, g₁, g₂) and 2 out_s channels (p, g)
    nonlinearity: str
    nonlinearity_v: str
    gate_factor: float

    def __call__(self, vectors: Array, scalars: Array) -> tuple[Array, Array]:
        """(..., 4, in_v), (..., in_s) to (..., 4, out_v), (..., out_s)."""
        v, s = self.linear(vectors, scalars)
        plain_v, left, right = jnp.split(v, 3, axis=-1)
        plain_s, gate_s = jnp.split(s, 2, axis=-1)
        gate_v = core.ACTIVATIONS[self.nonlinearity_v](
            self.gate_factor * inner_product(left, right)
        )
        return (
            gate_v.astype(v.dtype)[..., None, :] * plain_v,
            core.ACTIVATIONS[self.nonlinearity](gate_s) * plain_s,
        )


@module(static=("rate",))
class Dropout:
    """Whole four-vectors and single scalars zeroed with probability rate, the rest rescaled."""

    rate: float

    def __call__(self, vectors: Array, scalars: Array, key: Array | None) -> tuple[Array, Array]:
        """The same shapes; the identity where key is None (inference)."""
        if key is None:
            return vectors, scalars
        v_key, s_key = jax.random.split(key)
        tokens, (_, channels) = vectors.shape[:-2], vectors.shape[-2:]
        return (
            core.dropout(v_key, vectors, self.rate, (*tokens, 1, channels)),
            core.dropout(s_key, scalars, self.rate, scalars.shape),
        )
