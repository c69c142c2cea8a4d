"""Attention between tokens that carry multivector and scalar channels.

The score of two tokens is the invariant inner product of their multivectors plus the product of
their scalars, over √(16 c + s) for c multivectors and s scalars per head. The metric is folded
into the queries, so that a head is an ordinary one of size 16 c + s.
Reference: Spinner et al., arXiv:2405.14806.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxpriors.layers import complex_grades
from jaxpriors.layers.attention import Implementation, Mask, attention, first_queries
from jaxpriors.layers.complex_grades import ComplexGrades
from jaxpriors.layers.core import module
from jaxpriors.layers.multivector import EquiLayerNorm, EquiLinear, State


def head_sizes(mv: int, s: int | None, heads: int, ratio: int) -> tuple[int, int | None]:
    """Return the channels per head: multivectors (one at least) and scalars (four at least)."""
    return max(ratio * mv // heads, 1), None if s is None else max(ratio * s // heads, 4)


def _times(heads: int, s: int | None) -> int | None:
    return None if s is None else heads * s


def _heads(x: ComplexGrades, s: Array, normalize: bool) -> Array:
    """Join the channels of each head in one vector: (B, H, N, 16 c + s)."""
    if normalize:
        x, s = EquiLayerNorm()(x, s)
    parts = (x.scalar, x.vector.swapaxes(2, 3), x.bivector.swapaxes(2, 3))
    flat = [part.reshape(*s.shape[:3], -1) for part in parts]
    return jnp.concatenate([*flat, s], axis=-1).swapaxes(1, 2)


def _attend(
    q: Array,
    k: Array,
    v: Array,
    channels: int,
    head_scale: Array | None,
    mask: Mask | None,
    implementation: Implementation,
) -> State:
    """Attend with heads of ``channels`` multivectors each.

    The channels of the result (B, N, H c) are in the order (head, hidden).
    """
    batch, heads, tokens, size = q.shape
    metric = np.ones(size)
    metric[: 16 * channels] = np.repeat(complex_grades.INNER_PRODUCT, channels)
    q = q * jnp.asarray(metric, q.dtype)
    out = attention(q, k, v, mask, implementation=implementation)
    if head_scale is not None:
        out = out * head_scale[:, None, None]

    ends = [2 * channels, 10 * channels, 16 * channels]
    scalar, vector, bivector, s = jnp.split(out, ends, axis=-1)

    def merge(a: Array, components: tuple[int, ...]) -> Array:
        a = a.reshape(batch, heads, tokens, *components, channels)
        return jnp.moveaxis(a, 1, -2).reshape(batch, tokens, *components, heads * channels)

    return (
        ComplexGrades(merge(scalar, (2,)), merge(vector, (4, 2)), merge(bivector, (3, 2))),
        s.swapaxes(1, 2).reshape(batch, tokens, -1),
    )


@module
class QKV:
    """Queries, keys and values of all heads from one linear map, channels (qkv, hidden, head)."""

    in_linear: EquiLinear

    def __call__(
        self, x: ComplexGrades, s: Array, extra: State | None, heads: int
    ) -> tuple[Array, Array, Array]:
        """Compute q, k, v (B, H, N, 16 c + s); the channels ``extra`` are appended to the input."""
        y, t = self.in_linear.split_heads(*_append(x, s, extra), 3, heads)
        q, k, v = jnp.split(_heads(y, t, normalize=True), 3, axis=1)
        return q, k, v


@module
class MultiQueryQKV:
    """Queries of all heads (hidden, head), and one set of keys and values that they share."""

    q_linear: EquiLinear
    k_linear: EquiLinear
    v_linear: EquiLinear

    def __call__(
        self, x: ComplexGrades, s: Array, extra: State | None, heads: int
    ) -> tuple[Array, Array, Array]:
        """Compute q (B, H, N, 16 c + s), k, v (B, 1, N, 16 c + s); only q and k see ``extra``."""
        more = _append(x, s, extra)
        return (
            _heads(*self.q_linear.split_heads(*more, 1, heads), normalize=True),
            _heads(*self.k_linear.split_heads(*more, 1, 1), normalize=True),
            _heads(*self.v_linear.split_heads(x, s, 1, 1), normalize=True),
        )


def _append(x: ComplexGrades, s: Array, extra: State | None) -> State:
    if extra is None:
        return x, s
    return (
        complex_grades.concatenate_channels(x, extra[0]),
        jnp.concatenate([s, extra[1]], axis=-1),
    )


@module(static=("num_heads", "dropout_prob", "implementation"))
class SelfAttention:
    """Attention of tokens to each other. Queries, keys and values are normalised per head.

    head_scale: (H,) factors of the heads' results, or None.
    """

    qkv_module: QKV | MultiQueryQKV
    out_linear: EquiLinear
    head_scale: Array | None
    num_heads: int
    dropout_prob: float = 0.0
    implementation: Implementation = "xla"

    @classmethod
    def init(
        cls,
        key: Array,
        mv: int,
        s: int | None,
        *,
        num_heads: int,
        ratio: int = 1,
        multi_query: bool = False,
        head_scale: bool = False,
        extra_mv: int = 0,
        extra_s: int = 0,
        qkv_bias: bool = True,
        dropout_prob: float = 0.0,
        subgroup: bool = True,
        implementation: Implementation = "xla",
    ) -> SelfAttention:
        """Draw maps; ``extra_mv``, ``extra_s`` channels are added to the input of q, k, v."""
        c, t = head_sizes(mv, s, num_heads, ratio)
        hidden, hidden_s = num_heads * c, _times(num_heads, t)
        more_s = s if not extra_s else (s or 0) + extra_s
        keys = jax.random.split(key, 4)

        def qkv_map(
            key: Array, in_mv: int, out_mv: int, in_s: int | None, out_s: int | None
        ) -> EquiLinear:
            return EquiLinear.init(
                key, in_mv, out_mv, in_s, out_s, bias=qkv_bias, subgroup=subgroup
            )

        qkv: QKV | MultiQueryQKV
        if multi_query:
            qkv = MultiQueryQKV(
                qkv_map(keys[0], mv + extra_mv, hidden, more_s, hidden_s),
                qkv_map(keys[1], mv + extra_mv, c, more_s, t),
                qkv_map(keys[2], mv, c, s, t),
            )
        else:
            qkv = QKV(qkv_map(keys[0], mv + extra_mv, 3 * hidden, more_s, _times(3, hidden_s)))
        return cls(
            qkv,
            EquiLinear.init(
                keys[3], hidden, mv, hidden_s, s, initialization="small", subgroup=subgroup
            ),
            jnp.ones(num_heads) if head_scale else None,
            num_heads,
            dropout_prob,
            implementation,
        )

    def __call__(
        self,
        x: ComplexGrades,
        s: Array,
        mask: Mask | None = None,
        *,
        extra: State | None = None,
        key: Array | None = None,
        readout: int | None = None,
    ) -> State:
        """Attend; (B, N, ...) keep their shapes. ``readout`` keeps only that many first tokens.

        ``extra`` are more channels of the same tokens.
        """
        q, k, v = self.qkv_module(x, s, extra, self.num_heads)
        q, mask = q[:, :, :readout], first_queries(mask, readout)
        channels = self.out_linear.weight.shape[1] // self.num_heads
        x, s = _attend(q, k, v, channels, self.head_scale, mask, self.implementation)
        return complex_grades.dropout(key, *self.out_linear(x, s), self.dropout_prob)


@module(static=("num_heads", "multi_query", "qkv_norm", "dropout_prob", "implementation"))
class CrossAttention:
    """Attention of tokens to the tokens of a condition.

    ``kv_linear`` gives the keys, then the values. ``qkv_norm`` normalises both and the queries per
    head. head_scale: (H,) factors of the heads' results, or None.
    """

    q_linear: EquiLinear
    kv_linear: EquiLinear
    out_linear: EquiLinear
    head_scale: Array | None
    num_heads: int
    multi_query: bool = False
    qkv_norm: bool = False
    dropout_prob: float = 0.0
    implementation: Implementation = "xla"

    @classmethod
    def init(
        cls,
        key: Array,
        mv: int,
        s: int | None,
        condition_mv: int,
        condition_s: int | None,
        *,
        num_heads: int,
        ratio: int = 1,
        multi_query: bool = False,
        head_scale: bool = False,
        qkv_bias: bool = True,
        qkv_norm: bool = False,
        dropout_prob: float = 0.0,
        subgroup: bool = True,
        implementation: Implementation = "xla",
    ) -> CrossAttention:
        """Draw maps; the channels per head follow from those of the queries."""
        c, t = head_sizes(mv, s, num_heads, ratio)
        hidden, hidden_s = num_heads * c, _times(num_heads, t)
        kv_heads = 1 if multi_query else num_heads
        q_key, kv_key, out_key = jax.random.split(key, 3)
        return cls(
            EquiLinear.init(q_key, mv, hidden, s, hidden_s, bias=qkv_bias, subgroup=subgroup),
            EquiLinear.init(
                kv_key,
                condition_mv,
                2 * kv_heads * c,
                condition_s,
                _times(2 * kv_heads, t),
                bias=qkv_bias,
                subgroup=subgroup,
            ),
            EquiLinear.init(
                out_key, hidden, mv, hidden_s, s, initialization="small", subgroup=subgroup
            ),
            jnp.ones(num_heads) if head_scale else None,
            num_heads,
            multi_query,
            qkv_norm,
            dropout_prob,
            implementation,
        )

    def __call__(
        self,
        x: ComplexGrades,
        s: Array,
        condition: ComplexGrades,
        condition_s: Array,
        mask: Mask | None = None,
        *,
        key: Array | None = None,
    ) -> State:
        """Attend from tokens (B, N, ...) to those of the condition (B, M, ...): (B, N, ...)."""
        heads = 1 if self.multi_query else self.num_heads
        q = _heads(*self.q_linear.split_heads(x, s, 1, self.num_heads), self.qkv_norm)
        kv = self.kv_linear.split_heads(condition, condition_s, 2, heads)
        k, v = jnp.split(_heads(*kv, self.qkv_norm), 2, axis=1)
        channels = self.out_linear.weight.shape[1] // self.num_heads
        x, s = _attend(q, k, v, channels, self.head_scale, mask, self.implementation)
        return complex_grades.dropout(key, *self.out_linear(x, s), self.dropout_prob)
