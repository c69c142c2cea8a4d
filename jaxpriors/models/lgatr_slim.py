"""L-GATr-slim: a Lorentz-equivariant transformer on four-vectors and scalars.

Axes: B events, N tokens, M tokens of a condition, C vector and S scalar channels. Outside, vectors
are (B, N, C, 4); inside, (B, N, 4, C). The default configuration computes the function of lgatr
1.4; ``LGATrSlimConfig.of_version("2.0", …)`` makes it the function of lgatr 2.0. Reference:
Petitjean et al., arXiv:2512.17011.
"""

from __future__ import annotations

from typing import Any

import jax
from jax import Array

from jaxpriors.layers.attention import Mask
from jaxpriors.layers.blocks import leading, named_states, run_blocks
from jaxpriors.layers.core import module, stack_init
from jaxpriors.layers.lorentz import Linear, RMSNorm, channels_last, components_last
from jaxpriors.models.lgatr_slim_config import (
    VERSIONS,
    ConditionalLGATrSlimConfig,
    LGATrSlimConfig,
)
from jaxpriors.models.lgatr_slim_layers import MLP, CrossAttention, SelfAttention

__all__ = [
    "MLP",
    "VERSIONS",
    "Block",
    "ConditionalBlock",
    "ConditionalLGATrSlim",
    "ConditionalLGATrSlimConfig",
    "CrossAttention",
    "LGATrSlim",
    "LGATrSlimConfig",
    "SelfAttention",
]

State = tuple[Array, Array]
"""Vectors (B, N, 4, C) and scalars (B, N, S) of the tokens."""


def _norm(config: LGATrSlimConfig) -> RMSNorm:
    """The norm before each part of a block."""
    return RMSNorm.init(
        config.hidden_v_channels, config.hidden_s_channels, affine=config.norm_elementwise_affine
    )


def _keys(key: Array | None, count: int) -> Any:
    """count keys, or as many times None."""
    return [None] * count if key is None else jax.random.split(key, count)


def _add(x: State, y: State) -> State:
    """The residual sum."""
    return x[0] + y[0], x[1] + y[1]


@module
class Block:
    """x + attention(norm(x)), then x + mlp(norm(x))."""

    norm1: RMSNorm
    attention: SelfAttention
    norm2: RMSNorm
    mlp: MLP

    @classmethod
    def init(cls, key: Array, config: LGATrSlimConfig) -> Block:
        """Each part by its own rule."""
        attention_key, mlp_key = jax.random.split(key)
        return cls(
            _norm(config),
            SelfAttention.init(attention_key, config),
            _norm(config),
            MLP.init(mlp_key, config),
        )

    def __call__(
        self, x: State, mask: Mask | None, key: Array | None, readout: int | None = None
    ) -> State:
        """x is ((B, N, 4, C), (B, N, S)); of the result the first ``readout`` tokens, if given."""
        attention_key, mlp_key = _keys(key, 2)
        attended = self.attention(*self.norm1(*x), mask, attention_key, readout)
        x = _add(leading(x, readout), attended)
        return _add(x, self.mlp(*self.norm2(*x), mlp_key))


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
        """Each part by its own rule."""
        self_key, cross_key, mlp_key = jax.random.split(key, 3)
        return cls(
            _norm(config),
            SelfAttention.init(self_key, config),
            _norm(config),
            CrossAttention.init(cross_key, config),
            _norm(config),
            MLP.init(mlp_key, config),
        )

    def __call__(
        self,
        x: State,
        condition: State,
        mask: Mask | None,
        condition_mask: Mask | None,
        key: Array | None,
    ) -> State:
        """x is ((B, N, 4, C), (B, N, S)), condition ((B, M, 4, Cc), (B, M, Sc))."""
        self_key, cross_key, mlp_key = _keys(key, 3)
        x = _add(x, self.selfattention(*self.norm1(*x), mask, self_key))
        cross = self.crossattention(*self.norm2(*x), *condition, condition_mask, cross_key)
        x = _add(x, cross)
        return _add(x, self.mlp(*self.norm3(*x), mlp_key))


def _named(first: State, states: State | None) -> dict[str, State]:
    """Outputs of linear_in and of each block, vectors (B, N, C, 4)."""
    named = named_states(first, states)
    return {name: (components_last(v), s) for name, (v, s) in named.items()}


def _check_input(
    what: str, vectors: Array, scalars: Array, v_channels: int, s_channels: int
) -> None:
    """Raise ValueError unless vectors are (B, N, v_channels, 4) and scalars (B, N, s_channels)."""
    tokens = scalars.shape[:2]
    if vectors.shape != (*tokens, v_channels, 4) or scalars.shape != (*tokens, s_channels):
        raise ValueError(
            f"{what}: found vectors {vectors.shape} and scalars {scalars.shape}, expected "
            f"(B, N, {v_channels}, 4) and (B, N, {s_channels})"
        )


@module(static=("config",))
class LGATrSlim:
    """The encoder: linear_in, residual blocks, linear_out.

    Called with vectors (B, N, in_v, 4) and scalars (B, N, in_s), a `Mask` of the tokens or None and
    a key for dropout or None (inference); gives vectors (B, N, out_v, 4) and scalars (B, N, out_s).
    With ``readout``, only the first so many tokens are computed and given.
    """

    linear_in: Linear
    blocks: Block  # stacked along a leading axis
    linear_out: Linear
    config: LGATrSlimConfig

    @classmethod
    def init(cls, key: Array, config: LGATrSlimConfig) -> LGATrSlim:
        """Random weights, as ``lgatr`` initialises them."""
        in_key, block_key, out_key = jax.random.split(key, 3)
        return cls(
            _linear_first(in_key, config),
            stack_init(lambda k: Block.init(k, config), block_key, config.num_blocks),
            _linear_last(out_key, config),
            config,
        )

    def __call__(
        self,
        vectors: Array,
        scalars: Array,
        mask: Mask | None = None,
        *,
        key: Array | None = None,
        readout: int | None = None,
    ) -> tuple[Array, Array]:
        """(vectors, scalars) of every token."""
        _, x, _ = self._run(vectors, scalars, mask, key, keep=False, readout=readout)
        v, s = self.linear_out(*x)
        return components_last(v), s

    def intermediates(
        self, vectors: Array, scalars: Array, mask: Mask | None = None, *, key: Array | None = None
    ) -> dict[str, State]:
        """Vectors and scalars after "linear_in", "block0", "block1", …."""
        first, _, states = self._run(vectors, scalars, mask, key, keep=True)
        return _named(first, states)

    def _run(
        self,
        vectors: Array,
        scalars: Array,
        mask: Mask | None,
        key: Array | None,
        keep: bool,
        readout: int | None = None,
    ) -> tuple[State, State, State | None]:
        """The states after linear_in, after the last block and, with ``keep``, after each."""
        config = self.config
        _check_input("LGATrSlim", vectors, scalars, config.in_v_channels, config.in_s_channels)
        first = self.linear_in(channels_last(vectors), scalars)
        last, states = run_blocks(
            lambda block, x, k: block(x, mask, k),
            self.blocks,
            first,
            key,
            checkpoint=config.checkpoint_blocks,
            keep=keep,
            last=None if readout is None else lambda block, x, k: block(x, mask, k, readout),
        )
        return first, last, states


@module(static=("config",))
class ConditionalLGATrSlim:
    """The decoder: as `LGATrSlim`, each block attending also to a condition.

    Called with vectors (B, N, in_v, 4), vectors_cond (B, M, v_cond, 4), scalars (B, N, in_s) and
    scalars_cond (B, M, s_cond); mask is for the tokens, condition_mask for those of the condition.
    """

    linear_in: Linear
    blocks: ConditionalBlock  # stacked along a leading axis
    linear_out: Linear
    config: ConditionalLGATrSlimConfig

    @classmethod
    def init(cls, key: Array, config: ConditionalLGATrSlimConfig) -> ConditionalLGATrSlim:
        """Random weights, as ``lgatr`` initialises them."""
        in_key, block_key, out_key = jax.random.split(key, 3)
        return cls(
            _linear_first(in_key, config),
            stack_init(lambda k: ConditionalBlock.init(k, config), block_key, config.num_blocks),
            _linear_last(out_key, config),
            config,
        )

    def __call__(
        self,
        vectors: Array,
        vectors_cond: Array,
        scalars: Array,
        scalars_cond: Array,
        mask: Mask | None = None,
        condition_mask: Mask | None = None,
        *,
        key: Array | None = None,
    ) -> tuple[Array, Array]:
        """(vectors (B, N, out_v, 4), scalars (B, N, out_s)) of every token."""
        condition = vectors_cond, scalars_cond
        _, x, _ = self._run(vectors, scalars, condition, mask, condition_mask, key, keep=False)
        v, s = self.linear_out(*x)
        return components_last(v), s

    def intermediates(
        self,
        vectors: Array,
        vectors_cond: Array,
        scalars: Array,
        scalars_cond: Array,
        mask: Mask | None = None,
        condition_mask: Mask | None = None,
        *,
        key: Array | None = None,
    ) -> dict[str, State]:
        """Vectors and scalars after "linear_in", "block0", "block1", …."""
        condition = vectors_cond, scalars_cond
        first, _, states = self._run(
            vectors, scalars, condition, mask, condition_mask, key, keep=True
        )
        return _named(first, states)

    def _run(
        self,
        vectors: Array,
        scalars: Array,
        condition: tuple[Array, Array],
        mask: Mask | None,
        condition_mask: Mask | None,
        key: Array | None,
        keep: bool,
    ) -> tuple[State, State, State | None]:
        """The states after linear_in, after the last block and, with ``keep``, after each."""
        config = self.config
        name = "ConditionalLGATrSlim"
        _check_input(name, vectors, scalars, config.in_v_channels, config.in_s_channels)
        _check_input(
            f"{name}, condition", *condition, config.v_channels_cond, config.s_channels_cond
        )
        inside = channels_last(condition[0]), condition[1]
        first = self.linear_in(channels_last(vectors), scalars)
        last, states = run_blocks(
            lambda block, x, k: block(x, inside, mask, condition_mask, k),
            self.blocks,
            first,
            key,
            checkpoint=config.checkpoint_blocks,
            keep=keep,
        )
        return first, last, states


def _linear_first(key: Array, config: LGATrSlimConfig) -> Linear:
    """From the inputs to the hidden channels."""
    v, s = config.hidden_v_channels, config.hidden_s_channels
    return Linear.init(
        key, config.in_v_channels, v, config.in_s_channels, s, zero_bias=config.zero_bias
    )


def _linear_last(key: Array, config: LGATrSlimConfig) -> Linear:
    """From the hidden channels to the outputs."""
    v, s = config.hidden_v_channels, config.hidden_s_channels
    return Linear.init(
        key, v, config.out_v_channels, s, config.out_s_channels, zero_bias=config.zero_bias
    )
