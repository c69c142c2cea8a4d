"""The configuration and the parts of PET: norms, attention, blocks and the time embedding.

Axes: B events, P particles, C channels, H heads. ``rows`` (B, P) bool marks the rows that take part
in norms and attention; None is all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxpriors.layers.attention import Mask, attention
from jaxpriors.layers.core import Linear, check_fields, dropout, gelu, module, run_blocks

Mode = Literal["omnilearn", "masked"]


@dataclass(frozen=True, kw_only=True)
class PETConfig:
    """Sizes and switches of `PET`; ValueError for values that make no network.

    num_local counts the edge convolutions over ``neighbours`` neighbours, num_layers the blocks of
    the body, num_class_layers and num_gen_layers those of the heads. layer_scale is the initial
    scale of the residual branches, or None without it. simple replaces the blocks of both heads by
    a mean over particles and an MLP. num_diffusion is the number of features that are generated.

    mode "omnilearn" computes the function of OmniLearn, which depends on the amount of padding and
    has neither a trained class token nor active drops. In mode "masked" padding changes nothing,
    the class token is trained, and in training, with a key: feature_drop is the probability that an
    event loses its features beyond the first num_keep (the particle identities), drop_path that it
    skips a residual branch, dropout that of a hidden value to be zero.

    checkpoint_blocks recomputes each block in the backward pass.
    """

    num_features: int = 13
    num_jet_features: int = 4
    num_classes: int = 10
    hidden_channels: int = 128
    num_heads: int = 4
    num_layers: int = 8
    num_local: int = 2
    neighbours: int = 10
    num_class_layers: int = 2
    num_gen_layers: int = 2
    layer_scale: float | None = 1e-5
    talking_head: bool = False
    simple: bool = False
    mode: Mode = "masked"
    feature_drop: float = 0.1
    num_keep: int = 7
    drop_path: float = 0.0
    dropout: float = 0.0
    num_diffusion: int = 3
    checkpoint_blocks: bool = False

    def __post_init__(self) -> None:
        least = {"num_features": 2, "num_local": 0, "num_keep": 0, "num_diffusion": 1}
        sizes = ("num_jet_features", "num_classes", "hidden_channels", "num_heads", "num_layers")
        layers = ("neighbours", "num_class_layers", "num_gen_layers")
        rates = ("feature_drop", "drop_path", "dropout")
        check_fields(self, least | dict.fromkeys(sizes + layers, 1), rates)
        if self.hidden_channels % self.num_heads:
            raise ValueError(
                f"hidden_channels is {self.hidden_channels}, expected a multiple of num_heads = "
                f"{self.num_heads}"
            )
        if self.mode not in get_args(Mode):
            raise ValueError(f"mode is {self.mode!r}, expected one of {get_args(Mode)}")
        if self.num_diffusion > self.num_features:
            raise ValueError(
                f"num_diffusion is {self.num_diffusion}, expected at most num_features = "
                f"{self.num_features}"
            )


EPSILON = 1e-3
FREQUENCIES = 32


@module
class GroupNorm:
    """(x − mean) / √(variance + 10⁻³) · weight + bias over all axes but the first.

    weight and bias are (C,). The statistics are at least float32.
    """

    weight: Array
    bias: Array

    @classmethod
    def init(cls, channels: int) -> GroupNorm:
        """Start with weight 1, bias 0."""
        return cls(jnp.ones(channels), jnp.zeros(channels))

    def __call__(self, x: Array, rows: Array | None = None) -> Array:
        """Normalise x (B, …, C), with statistics over the rows (B, …) that are marked."""
        wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
        axes = tuple(range(1, x.ndim))
        if rows is None:
            mean = wide.mean(axes, keepdims=True)
            variance = jnp.square(wide - mean).mean(axes, keepdims=True)
        else:
            marked = rows[..., None]
            count = jnp.maximum(marked.sum(axes, keepdims=True), 1) * x.shape[-1]
            mean = jnp.where(marked, wide, 0).sum(axes, keepdims=True) / count
            square = jnp.where(marked, jnp.square(wide - mean), 0)
            variance = square.sum(axes, keepdims=True) / count
        normed = (wide - mean) * jax.lax.rsqrt(variance + EPSILON)
        return (normed * self.weight + self.bias).astype(x.dtype)


@module
class LayerScale:
    """x · weight, with weight (C,)."""

    weight: Array

    @classmethod
    def init(cls, config: PETConfig) -> LayerScale | None:
        """Start with the configured value everywhere; return None without layer scale."""
        if config.layer_scale is None:
            return None
        return cls(jnp.full(config.hidden_channels, config.layer_scale))

    def __call__(self, x: Array) -> Array:
        """Scale x (..., C)."""
        return x * self.weight


@module
class TimeEmbedding:
    """Fourier features of the time, two layers, and (in the body) the map to scale and shift.

    No layer has a bias: the embedding of t = 0 is exactly zero.
    """

    layers: tuple[Linear, Linear]
    film: Linear | None

    @classmethod
    def init(cls, key: Array, channels: int, film: bool) -> TimeEmbedding:
        """Draw maps to ``channels`` channels; with ``film`` also to twice as many."""
        keys = jax.random.split(key, 3)
        first = Linear.glorot(keys[0], 2 * FREQUENCIES, 2 * channels, bias=False)
        second = Linear.glorot(keys[1], 2 * channels, channels, bias=False)
        last = Linear.glorot(keys[2], channels, 2 * channels, bias=False) if film else None
        return cls((first, second), last)

    def __call__(self, time: Array) -> Array:
        """Embed times (B,) in [0, 1] as (B, C)."""
        first, second = self.layers
        x = fourier_features(time).astype(first.weight.dtype)
        return jax.nn.silu(second(jax.nn.silu(first(x))))


def fourier_features(time: Array) -> Array:
    """Compute t · [sin 1000 t f, cos 1000 t f] (B, 64) of times (B,), f from 1 down to 10⁻⁴."""
    wide = time.astype(jnp.promote_types(time.dtype, jnp.float32))[:, None]
    step = np.float32(-np.log(1e4) / (FREQUENCIES - 1))
    frequencies = np.exp((np.arange(FREQUENCIES, dtype=np.float32) * step).astype(np.float64))
    angle = wide * jnp.asarray(frequencies, wide.dtype) * 1000
    return jnp.concatenate([jnp.sin(angle), jnp.cos(angle)], -1) * wide


def film(x: Array, scale_shift: Array) -> Array:
    """Compute x (1 + scale) + shift, from both concatenated along the last axis."""
    scale, shift = jnp.split(scale_shift.astype(x.dtype), 2, -1)
    return x * (1 + scale) + shift


def two_layers(key: Array, inputs: int, hidden: int, outputs: int) -> tuple[Linear, Linear]:
    """Draw random maps from inputs to hidden to outputs."""
    keys = jax.random.split(key)
    return Linear.glorot(keys[0], inputs, hidden), Linear.glorot(keys[1], hidden, outputs)


@module(static=("heads",))
class Attention:
    """Softmax attention with biases, from queries (B, N, C) to rows (B, P, C)."""

    query: Linear
    key: Linear
    value: Linear
    out: Linear
    heads: int

    @classmethod
    def init(cls, key: Array, channels: int, heads: int) -> Attention:
        """Draw maps between ``channels`` channels."""
        q, k, v, out = (Linear.glorot(k, channels, channels) for k in jax.random.split(key, 4))
        return cls(q, k, v, out, heads)

    def __call__(self, x: Array, to: Array, rows: Array | None) -> Array:
        """Attend from x (B, N, C) to ``to`` (B, P, C) in its marked rows (B, P): (B, N, C)."""
        q, k, v = (
            layer(a).reshape(*a.shape[:2], self.heads, -1).swapaxes(1, 2)
            for layer, a in ((self.query, x), (self.key, to), (self.value, to))
        )
        mask = None if rows is None else Mask(dense=rows[:, None, None])
        return self.out(attention(q, k, v, mask).swapaxes(1, 2).reshape(*x.shape[:2], -1))


@module(static=("heads",))
class TalkingHeads:
    """Attention whose heads are mixed before (proj_l) and after (proj_w) the softmax.

    Shazeer et al., arXiv:2003.02436.
    """

    qkv: Linear
    proj: Linear
    proj_l: Linear
    proj_w: Linear
    heads: int

    @classmethod
    def init(cls, key: Array, channels: int, heads: int) -> TalkingHeads:
        """Draw maps between ``channels`` channels and between ``heads`` heads."""
        keys = jax.random.split(key, 4)
        return cls(
            Linear.glorot(keys[0], channels, 3 * channels),
            Linear.glorot(keys[1], channels, channels),
            Linear.glorot(keys[2], heads, heads),
            Linear.glorot(keys[3], heads, heads),
            heads,
        )

    def __call__(self, x: Array, to: Array, rows: Array | None) -> Array:
        """Attend from ``to`` (B, P, C) to itself: x must be the same array."""
        assert x is to, "talking heads attend from rows to the same rows"
        split = self.qkv(x).reshape(*x.shape[:2], 3, self.heads, -1)
        q, k, v = (split[:, :, i] for i in range(3))
        wide = jnp.promote_types(x.dtype, jnp.float32)
        scores = jnp.einsum(
            "bqhd,bkhd->bqkh", q * q.shape[-1] ** -0.5, k, preferred_element_type=wide
        )
        scores = self.proj_l(scores)
        allowed = None if rows is None else rows[:, None, :, None]
        if allowed is not None:
            scores = jnp.where(allowed, scores, jnp.finfo(wide).min)
        weights = self.proj_w(jax.nn.softmax(scores, axis=2))
        if allowed is not None:
            weights = jnp.where(allowed, weights, 0)
        mixed = jnp.einsum("bqkh,bkhd->bqhd", weights.astype(v.dtype), v)
        return self.proj(mixed.reshape(x.shape))


def attended(mask: Array, config: PETConfig) -> Array | None:
    """Return the rows in norms and attention; in mode "omnilearn" all of them (None)."""
    return mask if config.mode == "masked" else None


def branch_keys(key: Array | None) -> Any:
    """Split into four keys, or return four times None."""
    return [None] * 4 if key is None else jax.random.split(key, 4)


def mlp(layers: tuple[Linear, Linear], x: Array, rate: float, key: Array | None) -> Array:
    """Apply two layers with gelu and dropout between them."""
    hidden = gelu(layers[0](x))
    return layers[1](dropout(key, hidden, rate, hidden.shape))


def drop_path(x: Array, rate: float, key: Array | None) -> Array:
    """Zero the branch of whole events: stochastic depth (Huang et al., arXiv:1603.09382)."""
    return dropout(key, x, rate, (x.shape[0], *(1,) * (x.ndim - 1)))


@module
class Block:
    """x + attention(norm(x + context)), then x + mlp(norm(x)), for the rows of particles."""

    norm1: GroupNorm
    attn: Attention | TalkingHeads
    ls1: LayerScale | None
    norm2: GroupNorm
    mlp: tuple[Linear, Linear]
    ls2: LayerScale | None

    @classmethod
    def init(cls, key: Array, config: PETConfig, talking: bool = False) -> Block:
        """Start each part by its own rule."""
        keys, channels = jax.random.split(key), config.hidden_channels
        heads = TalkingHeads if talking else Attention
        return cls(
            GroupNorm.init(channels),
            heads.init(keys[0], channels, config.num_heads),
            LayerScale.init(config),
            GroupNorm.init(channels),
            two_layers(keys[1], channels, 2 * channels, channels),
            LayerScale.init(config),
        )

    def __call__(
        self,
        x: Array,
        context: Array | None,
        mask: Array,
        rows: Array | None,
        config: PETConfig,
        key: Array | None,
    ) -> tuple[Array, Array]:
        """Return x (B, P, C) after attention and after MLP; padding is not zero in either.

        mask (B, P) zeroes the padding of both branches where there is a layer scale.
        """
        keys = branch_keys(key)
        real = mask[..., None].astype(x.dtype)
        normed = self.norm1(x if context is None else x + context, rows)
        branch = self.attn(normed, normed, rows)
        branch = dropout(keys[0], branch, config.dropout, branch.shape)
        if self.ls1 is not None:
            branch = self.ls1(branch) * real
        x = x + drop_path(branch, config.drop_path, keys[1])
        branch = mlp(self.mlp, self.norm2(x, rows), config.dropout, keys[2])
        if self.ls2 is not None:
            branch = self.ls2(branch) * real
        return x, x + drop_path(branch, config.drop_path, keys[3])


@module
class TokenBlock:
    """x + norm_attn(attention(norm1)), then x + mlp(norm2(x)), for a few tokens x.

    They attend to themselves and to particles, if there are any; particles do not change.
    """

    norm1: GroupNorm
    attn: Attention
    norm_attn: GroupNorm
    ls1: LayerScale | None
    norm2: GroupNorm
    mlp: tuple[Linear, Linear]
    ls2: LayerScale | None

    @classmethod
    def init(cls, key: Array, config: PETConfig, heads: int, width: int = 2) -> TokenBlock:
        """Start each part by its own rule; the MLP has ``width`` times the channels inside."""
        keys, channels = jax.random.split(key), config.hidden_channels
        return cls(
            GroupNorm.init(channels),
            Attention.init(keys[0], channels, heads),
            GroupNorm.init(channels),
            LayerScale.init(config),
            GroupNorm.init(channels),
            two_layers(keys[1], channels, width * channels, channels),
            LayerScale.init(config),
        )

    def __call__(
        self,
        x: Array,
        particles: Array | None,
        rows: Array | None,
        config: PETConfig,
        key: Array | None,
    ) -> Array:
        """Update x (B, T, C), given particles (B, P, C); rows (B, T + P) starts with the tokens."""
        keys = branch_keys(key)
        normed = self.norm1(x if particles is None else jnp.concatenate([x, particles], 1), rows)
        branch = self.attn(normed[:, : x.shape[1]], normed, rows)
        branch = self.norm_attn(dropout(keys[0], branch, config.dropout, branch.shape))
        if self.ls1 is not None:
            branch = self.ls1(branch)
        x = x + drop_path(branch, config.drop_path, keys[1])
        branch = mlp(self.mlp, self.norm2(x), config.dropout, keys[2])
        if self.ls2 is not None:
            branch = self.ls2(branch)
        return x + drop_path(branch, config.drop_path, keys[3])


def apply_blocks(
    config: PETConfig,
    blocks: Any,
    x: Array,
    key: Array | None,
    call: Callable[[Any, Array, Array | None], Array],
) -> Array:
    """Apply ``call(block, x, key)`` of one block after the other; without keys in "omnilearn"."""
    key = None if config.mode == "omnilearn" else key
    return run_blocks(call, blocks, x, key, checkpoint=config.checkpoint_blocks)
