"""Attention and MLP of L-GATr-slim, on vectors (B, N, 4, C) and scalars (B, N, S)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array

from jaxpriors.algebra import METRIC
from jaxpriors.layers.attention import Implementation, Mask, attention, first_queries
from jaxpriors.layers.core import module
from jaxpriors.layers.lorentz import Dropout, GatedLinearUnit, Linear, rms_scale
from jaxpriors.models.lgatr_slim_config import ConditionalLGATrSlimConfig, LGATrSlimConfig

SMALL = 0.1  # gain of the maps into and out of attention at the start


def _split_heads(
    linear: Linear, vectors: Array, scalars: Array, groups: int, heads: int
) -> list[Array]:
    """Normalised heads (B, H, N, 4c + s) of each group.

    ``linear`` gives channels (group, hidden, head); its rows are sorted, not what it gives.
    """
    batch, tokens = scalars.shape[:2]
    v, s = linear.sorted_rows(groups, heads)(vectors, scalars)
    v = v.reshape(batch, tokens, 4, groups * heads, -1)
    s = s.reshape(batch, tokens, groups * heads, -1)
    scale = rms_scale(v.swapaxes(2, 3), s)[..., None]
    flat = jnp.concatenate([*(v[:, :, i] for i in range(4)), s], axis=-1) * scale
    return jnp.split(flat.astype(scalars.dtype).swapaxes(1, 2), groups, axis=1)


def _attend(
    q: Array, k: Array, v: Array, mask: Mask | None, channels: int, implementation: Implementation
) -> tuple[Array, Array]:
    """Attention with Minkowski scores; (B, N, 4, H c) and (B, N, H s), channels (head, hidden)."""
    batch, heads, tokens, size = q.shape
    signs = jnp.repeat(jnp.asarray(METRIC, q.dtype), channels)
    metric = jnp.concatenate([signs, jnp.ones(size - 4 * channels, q.dtype)])
    out = attention(q * metric, k, v, mask, implementation=implementation)
    vectors = out[..., : 4 * channels].reshape(batch, heads, tokens, 4, channels)
    scalars = out[..., 4 * channels :].swapaxes(1, 2)
    return (
        vectors.transpose(0, 2, 3, 1, 4).reshape(batch, tokens, 4, -1),
        scalars.reshape(batch, tokens, -1),
    )


@module(static=("config",))
class SelfAttention:
    """Multi-head attention whose scores are Minkowski products plus scalar products."""

    linear_in: Linear  # channels (q k v, hidden, head)
    linear_out: Linear  # channels (head, hidden)
    config: LGATrSlimConfig

    @classmethod
    def init(cls, key: Array, config: LGATrSlimConfig) -> SelfAttention:
        """Both maps start small."""
        in_key, out_key = jax.random.split(key)
        v, s = config.hidden_v_channels, config.hidden_s_channels
        return cls(
            _linear_qkv(in_key, config, v, s, groups=3), _linear_out(out_key, config), config
        )

    def __call__(
        self,
        vectors: Array,
        scalars: Array,
        mask: Mask | None,
        key: Array | None,
        readout: int | None = None,
    ) -> tuple[Array, Array]:
        """(B, N, 4, C), (B, N, S) to the same shapes, of the first ``readout`` tokens if given."""
        config = self.config
        q, k, v = _split_heads(self.linear_in, vectors, scalars, 3, config.num_heads)
        q, mask = q[:, :, :readout], first_queries(mask, readout)
        channels, _ = config.head_channels()
        out = self.linear_out(*_attend(q, k, v, mask, channels, config.attention_implementation))
        return Dropout(config.dropout_prob or 0.0)(*out, key)


@module(static=("config",))
class CrossAttention:
    """As `SelfAttention`, with keys and values from the condition."""

    linear_in_q: Linear  # channels (hidden, head)
    linear_in_kv: Linear  # channels (k v, hidden, head)
    linear_out: Linear
    config: ConditionalLGATrSlimConfig

    @classmethod
    def init(cls, key: Array, config: ConditionalLGATrSlimConfig) -> CrossAttention:
        """All maps start small."""
        q_key, kv_key, out_key = jax.random.split(key, 3)
        v, s = config.hidden_v_channels, config.hidden_s_channels
        v_cond, s_cond = config.v_channels_cond, config.s_channels_cond
        return cls(
            _linear_qkv(q_key, config, v, s, groups=1),
            _linear_qkv(kv_key, config, v_cond, s_cond, groups=2),
            _linear_out(out_key, config),
            config,
        )

    def __call__(
        self,
        vectors: Array,
        scalars: Array,
        vectors_cond: Array,
        scalars_cond: Array,
        mask: Mask | None,
        key: Array | None,
    ) -> tuple[Array, Array]:
        """(B, N, 4, C), (B, N, S) and the condition's (B, M, 4, Cc), (B, M, Sc); shapes of x."""
        config = self.config
        (q,) = _split_heads(self.linear_in_q, vectors, scalars, 1, config.num_heads)
        k, v = _split_heads(self.linear_in_kv, vectors_cond, scalars_cond, 2, config.num_heads)
        channels, _ = config.head_channels()
        out = self.linear_out(*_attend(q, k, v, mask, channels, config.attention_implementation))
        return Dropout(config.dropout_prob or 0.0)(*out, key)


def _linear_qkv(key: Array, config: LGATrSlimConfig, in_v: int, in_s: int, groups: int) -> Linear:
    """The map into the heads of as many of q, k, v as there are groups."""
    v, s = (groups * config.num_heads * n for n in config.head_channels())
    return Linear.init(
        key, in_v, v, in_s, s, bias=config.qkv_bias, zero_bias=config.zero_bias, gain=SMALL
    )


def _linear_out(key: Array, config: LGATrSlimConfig) -> Linear:
    """The map out of the heads."""
    v, s = (config.num_heads * n for n in config.head_channels())
    return Linear.init(
        key,
        v,
        config.hidden_v_channels,
        s,
        config.hidden_s_channels,
        zero_bias=config.zero_bias,
        gain=SMALL,
    )


@module
class MLP:
    """Gated linear units, each followed by a dropout where there is one, and a linear map."""

    layers: tuple[GatedLinearUnit | Dropout | Linear, ...]

    @classmethod
    def init(cls, key: Array, config: LGATrSlimConfig) -> MLP:
        """num_layers_mlp − 1 gated units and one linear map."""
        *gated_keys, last_key = jax.random.split(key, config.num_layers_mlp)
        nonlinearity, nonlinearity_v = config.activations()
        v_out, s_out = config.hidden_v_channels, config.hidden_s_channels
        v, s = v_out, s_out
        layers: list[GatedLinearUnit | Dropout] = []
        for gated_key in gated_keys:
            gated = GatedLinearUnit.init(
                gated_key,
                v,
                config.mlp_ratio * v_out,
                s,
                config.mlp_ratio * s_out,
                nonlinearity=nonlinearity,
                nonlinearity_v=nonlinearity_v,
                gate_factor=config.gate_factor,
                zero_bias=config.zero_bias,
            )
            v, s = config.mlp_ratio * v_out, config.mlp_ratio * s_out
            layers.append(gated)
            if config.dropout_prob is not None:
                layers.append(Dropout(config.dropout_prob))
        last = Linear.init(last_key, v, v_out, s, s_out, zero_bias=config.zero_bias)
        return cls((*layers, last))

    def __call__(self, vectors: Array, scalars: Array, key: Array | None) -> tuple[Array, Array]:
        """(..., 4, C), (..., S) to the same shapes."""
        for number, layer in enumerate(self.layers):
            if isinstance(layer, Dropout):
                layer_key = None if key is None else jax.random.fold_in(key, number)
                vectors, scalars = layer(vectors, scalars, layer_key)
            else:
                vectors, scalars = layer(vectors, scalars)
        return vectors, scalars
