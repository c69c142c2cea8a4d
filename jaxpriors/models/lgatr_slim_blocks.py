"""The configuration and the blocks of L-GATr-slim, on vectors (B, N, 4, C) and scalars (B, N, S).

The functions of ``lgatr`` 1.4 and 2.0 differ; the fields of a configuration that tell them apart
are collected in ``VERSIONS``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal, Self

import jax
import jax.numpy as jnp
from jax import Array

from jaxpriors.layers.attention import Implementation, Mask, attention, first_queries
from jaxpriors.layers.core import check_fields, module
from jaxpriors.layers.lorentz import Dropout, GatedLinearUnit, Linear, RMSNorm, rms_scale
from jaxpriors.physics.algebra import METRIC

SMALL = 0.1  # gain of the maps into and out of attention at the start

State = tuple[Array, Array]
"""Vectors (B, N, 4, C) and scalars (B, N, S) of the tokens."""

VERSIONS: dict[str, dict[str, Any]] = {
    "1.4": {
        "qkv_bias": True,
        "norm_elementwise_affine": False,
        "gelu": "exact",
        "nonlinearity_v": None,
        "gate_factor": 1.0,
        "zero_bias": False,
    },
    "2.0": {
        "qkv_bias": False,
        "norm_elementwise_affine": True,
        "gelu": "tanh",
        "nonlinearity_v": "sigmoid",
        "gate_factor": 0.5,
        "zero_bias": True,
    },
}
"""Settings that reproduce a release of ``lgatr``, see ``LGATrSlimConfig.of_version``."""


@dataclass(frozen=True, kw_only=True)
class LGATrSlimConfig:
    """Sizes and switches of `LGATrSlim`; ValueError for values that make no network.

    attn_ratio and mlp_ratio multiply the hidden channels inside attention and MLP; num_layers_mlp
    counts linear maps, all but the last of them gated. nonlinearity_v (None: as nonlinearity) acts
    on gate_factor times the Minkowski product that gates a vector. zero_bias concerns the
    initialisation alone. checkpoint_blocks recomputes each block in the backward pass. dropout_prob
    None is 0 without the dropout modules that ``lgatr`` counts in the names of its tensors.
    """

    conditional: ClassVar[bool] = False
    in_v_channels: int
    out_v_channels: int
    hidden_v_channels: int
    in_s_channels: int
    out_s_channels: int
    hidden_s_channels: int
    num_blocks: int
    num_heads: int
    nonlinearity: str = "gelu"
    nonlinearity_v: str | None = None
    mlp_ratio: int = 2
    attn_ratio: int = 1
    num_layers_mlp: int = 2
    dropout_prob: float | None = None
    checkpoint_blocks: bool = False
    qkv_bias: bool = True
    norm_elementwise_affine: bool = False
    gelu: Literal["exact", "tanh"] = "exact"
    gate_factor: float = 1.0
    zero_bias: bool = False
    attention_implementation: Implementation = "xla"

    @classmethod
    def of_version(cls, version: str, **settings: Any) -> Self:
        """Make the configuration that computes what ``lgatr`` "1.4" or "2.0" does.

        ``settings`` are all other fields, with the defaults of this class. ValueError for another
        version.
        """
        if version not in VERSIONS:
            raise ValueError(f"version: found {version!r}, expected one of {[*VERSIONS]}")
        return cls(**(VERSIONS[version] | settings))

    def __post_init__(self) -> None:
        least = dict.fromkeys(("hidden_v_channels", "hidden_s_channels", "num_blocks"), 1)
        least |= {"num_heads": 1, "attn_ratio": 1, "mlp_ratio": 1, "num_layers_mlp": 2}
        check_fields(self, least, ["dropout_prob"], ["nonlinearity", "nonlinearity_v"])

    def head_channels(self) -> tuple[int, int]:
        """Return (vectors, scalars) of one attention head."""
        v = self.attn_ratio * self.hidden_v_channels // self.num_heads
        s = self.attn_ratio * self.hidden_s_channels // self.num_heads
        return max(v, 1), max(s, 4)


@dataclass(frozen=True, kw_only=True)
class ConditionalLGATrSlimConfig(LGATrSlimConfig):
    """Sizes and switches of an `LGATrSlim` with a condition, which has the channels ``…_cond``."""

    conditional: ClassVar[bool] = True
    v_channels_cond: int
    s_channels_cond: int


def _split_heads(
    linear: Linear, vectors: Array, scalars: Array, groups: int, heads: int
) -> list[Array]:
    """Compute the normalised heads (B, H, N, 4c + s) of each group.

    ``linear`` gives channels (group, hidden, head); its rows are sorted, not what it gives.
    """
    batch, tokens = scalars.shape[:2]
    by_head = jax.tree.map(
        lambda x: x.reshape(groups, -1, heads, *x.shape[1:]).swapaxes(1, 2).reshape(x.shape), linear
    )
    v, s = by_head(vectors, scalars)
    v = v.reshape(batch, tokens, 4, groups * heads, -1)
    s = s.reshape(batch, tokens, groups * heads, -1)
    scale = rms_scale(v.swapaxes(2, 3), s)[..., None]
    flat = jnp.concatenate([*(v[:, :, i] for i in range(4)), s], axis=-1) * scale
    return jnp.split(flat.astype(scalars.dtype).swapaxes(1, 2), groups, axis=1)


def _attend(q: Array, k: Array, v: Array, mask: Mask | None, config: LGATrSlimConfig) -> State:
    """Attend with Minkowski scores; (B, N, 4, H c) and (B, N, H s), channels (head, hidden)."""
    batch, heads, tokens, size = q.shape
    channels, _ = config.head_channels()
    signs = jnp.repeat(jnp.asarray(METRIC, q.dtype), channels)
    metric = jnp.concatenate([signs, jnp.ones(size - 4 * channels, q.dtype)])
    out = attention(q * metric, k, v, mask, implementation=config.attention_implementation)
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
        """Draw both maps small."""
        in_key, out_key = jax.random.split(key)
        v, s = config.hidden_v_channels, config.hidden_s_channels
        heads_v, heads_s = (config.num_heads * n for n in config.head_channels())
        make = partial(Linear.init, zero_bias=config.zero_bias, gain=SMALL)
        return cls(
            make(in_key, v, 3 * heads_v, s, 3 * heads_s, bias=config.qkv_bias),
            make(out_key, heads_v, v, heads_s, s),
            config,
        )

    def __call__(
        self,
        vectors: Array,
        scalars: Array,
        mask: Mask | None,
        key: Array | None,
        readout: int | None = None,
    ) -> State:
        """(B, N, 4, C), (B, N, S) to the same shapes, of the first ``readout`` tokens if given."""
        config = self.config
        q, k, v = _split_heads(self.linear_in, vectors, scalars, 3, config.num_heads)
        q, mask = q[:, :, :readout], first_queries(mask, readout)
        out = self.linear_out(*_attend(q, k, v, mask, config))
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
        """Draw all maps small."""
        q_key, kv_key, out_key = jax.random.split(key, 3)
        v, s = config.hidden_v_channels, config.hidden_s_channels
        v_cond, s_cond, bias = config.v_channels_cond, config.s_channels_cond, config.qkv_bias
        heads_v, heads_s = (config.num_heads * n for n in config.head_channels())
        make = partial(Linear.init, zero_bias=config.zero_bias, gain=SMALL)
        return cls(
            make(q_key, v, heads_v, s, heads_s, bias=bias),
            make(kv_key, v_cond, 2 * heads_v, s_cond, 2 * heads_s, bias=bias),
            make(out_key, heads_v, v, heads_s, s),
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
    ) -> State:
        """(B, N, 4, C), (B, N, S) and the condition's (B, M, 4, Cc), (B, M, Sc); shapes of x."""
        config = self.config
        (q,) = _split_heads(self.linear_in_q, vectors, scalars, 1, config.num_heads)
        k, v = _split_heads(self.linear_in_kv, vectors_cond, scalars_cond, 2, config.num_heads)
        out = self.linear_out(*_attend(q, k, v, mask, config))
        return Dropout(config.dropout_prob or 0.0)(*out, key)


@module
class MLP:
    """Gated linear units, each followed by a dropout where there is one, and a linear map."""

    layers: tuple[GatedLinearUnit | Dropout | Linear, ...]

    @classmethod
    def init(cls, key: Array, config: LGATrSlimConfig) -> MLP:
        """Make num_layers_mlp − 1 gated units and one linear map."""
        *gated_keys, last_key = jax.random.split(key, config.num_layers_mlp)
        v_out, s_out = config.hidden_v_channels, config.hidden_s_channels
        v, s, zero_bias = v_out, s_out, config.zero_bias
        gate = config.nonlinearity_v or config.nonlinearity
        kinds = {"gelu": "gelu_tanh"} if config.gelu == "tanh" else {}
        act, act_v = (kinds.get(name, name) for name in (config.nonlinearity, gate))
        layers: list[GatedLinearUnit | Dropout] = []
        for gated_key in gated_keys:
            sizes = (v, 3 * config.mlp_ratio * v_out, s, 2 * config.mlp_ratio * s_out)
            linear = Linear.init(gated_key, *sizes, zero_bias=zero_bias)
            layers.append(GatedLinearUnit(linear, act, act_v, config.gate_factor))
            v, s = config.mlp_ratio * v_out, config.mlp_ratio * s_out
            if config.dropout_prob is not None:
                layers.append(Dropout(config.dropout_prob))
        return cls((*layers, Linear.init(last_key, v, v_out, s, s_out, zero_bias=zero_bias)))

    def __call__(self, vectors: Array, scalars: Array, key: Array | None) -> State:
        """(..., 4, C), (..., S) to the same shapes."""
        for number, layer in enumerate(self.layers):
            if isinstance(layer, Dropout):
                layer_key = None if key is None else jax.random.fold_in(key, number)
                vectors, scalars = layer(vectors, scalars, layer_key)
            else:
                vectors, scalars = layer(vectors, scalars)
        return vectors, scalars


@module
class Block:
    """x + attention(norm(x)), then x + mlp(norm(x))."""

    norm1: RMSNorm
    attention: SelfAttention
    norm2: RMSNorm
    mlp: MLP

    @classmethod
    def init(cls, key: Array, config: LGATrSlimConfig) -> Block:
        """Initialise each part by its own rule."""
        attention_key, mlp_key = jax.random.split(key)
        sizes = config.hidden_v_channels, config.hidden_s_channels
        norm = RMSNorm.init(*sizes, affine=config.norm_elementwise_affine)
        attention = SelfAttention.init(attention_key, config)
        return cls(norm, attention, norm, MLP.init(mlp_key, config))

    def __call__(
        self, x: State, mask: Mask | None, key: Array | None, readout: int | None = None
    ) -> State:
        """x is ((B, N, 4, C), (B, N, S)); of the result the first ``readout`` tokens, if given."""
        keys = (None, None) if key is None else jax.random.split(key)
        y = self.attention(*self.norm1(*x), mask, keys[0], readout)
        x = x[0][:, :readout] + y[0], x[1][:, :readout] + y[1]
        y = self.mlp(*self.norm2(*x), keys[1])
        return x[0] + y[0], x[1] + y[1]


@module
class ConditionalBlock:
    """A block with attention to the condition, which is not normalised, in its middle."""

    norm1: RMSNorm
    selfattention: SelfAttention
    norm2: RMSNorm
    crossattention: CrossAttention
    norm3: RMSNorm
    mlp: MLP

    @classmethod
    def init(cls, key: Array, config: ConditionalLGATrSlimConfig) -> ConditionalBlock:
        """Initialise each part by its own rule."""
        self_key, cross_key, mlp_key = jax.random.split(key, 3)
        sizes = config.hidden_v_channels, config.hidden_s_channels
        norm = RMSNorm.init(*sizes, affine=config.norm_elementwise_affine)
        selfattention = SelfAttention.init(self_key, config)
        crossattention = CrossAttention.init(cross_key, config)
        return cls(norm, selfattention, norm, crossattention, norm, MLP.init(mlp_key, config))

    def __call__(
        self,
        x: State,
        mask: Mask | None,
        key: Array | None,
        readout: int | None,
        condition: State,
        condition_mask: Mask | None,
    ) -> State:
        """As a `Block`, with the condition ((B, M, 4, Cc), (B, M, Sc)) and its mask."""
        keys = (None, None, None) if key is None else jax.random.split(key, 3)
        y = self.selfattention(*self.norm1(*x), mask, keys[0], readout)
        x = x[0][:, :readout] + y[0], x[1][:, :readout] + y[1]
        y = self.crossattention(*self.norm2(*x), *condition, condition_mask, keys[1])
        x = x[0] + y[0], x[1] + y[1]
        y = self.mlp(*self.norm3(*x), keys[2])
        return x[0] + y[0], x[1] + y[1]
