"""L-GATr, the Lorentz-equivariant geometric algebra transformer: encoder and conditional variant.

A token carries multivector channels (..., C, 16) and scalar channels (..., S). The network is
linear_in, ``num_blocks`` blocks (attention and MLP, each normalised before and added to the
input), linear_out. Reference: Spinner et al., arXiv:2405.14806; Brehmer et al., arXiv:2411.00446.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array

from jaxpriors.layers import sectors
from jaxpriors.layers.attention import Mask
from jaxpriors.layers.blocks import named_states, run_blocks
from jaxpriors.layers.core import module, stack_init
from jaxpriors.layers.multivector import EquiLinear, scale_scalar_weights
from jaxpriors.models.lgatr_blocks import (
    VERSIONS,
    Block,
    ConditionalBlock,
    ConditionalLGATrConfig,
    LGATrConfig,
    State,
)

__all__ = ["VERSIONS", "ConditionalLGATr", "ConditionalLGATrConfig", "LGATr", "LGATrConfig"]

Named = dict[str, tuple[Array, Array]]


@module(static=("config",))
class LGATr:
    """The encoder: every token attends to every other of the same event."""

    linear_in: EquiLinear
    blocks: Block  # stacked along a leading axis
    linear_out: EquiLinear
    config: LGATrConfig

    @classmethod
    def init(cls, key: Array, config: LGATrConfig) -> LGATr:
        """Random weights, as ``lgatr`` initialises them."""
        in_key, block_key, out_key = jax.random.split(key, 3)
        network = cls(
            _init_linear_in(in_key, config),
            stack_init(lambda k: Block.init(k, config), block_key, config.num_blocks),
            _init_linear_out(out_key, config),
            config,
        )
        return scale_scalar_weights(network, config.scalar_gain)

    def __call__(
        self,
        multivectors: Array,
        scalars: Array | None = None,
        mask: Mask | None = None,
        *,
        key: Array | None = None,
        readout: int | None = None,
    ) -> tuple[Array, Array | None]:
        """Tokens (B, N, in_mv, 16) and (B, N, in_s) to (B, N, out_mv, 16) and (B, N, out_s).

        ``key`` switches dropout on. With ``readout``, only the first so many tokens are computed
        and given. Raises ValueError for other shapes.
        """
        _, last, _ = self._run(multivectors, scalars, mask, key, keep=False, readout=readout)
        return _read_out(self.linear_out(*last))

    def intermediates(
        self,
        multivectors: Array,
        scalars: Array | None = None,
        mask: Mask | None = None,
        *,
        key: Array | None = None,
    ) -> Named:
        """(multivectors, scalars) after "linear_in" and each block "block0", "block1", …"""
        first, _, states = self._run(multivectors, scalars, mask, key, keep=True)
        return _named(first, states)

    def _run(
        self,
        multivectors: Array,
        scalars: Array | None,
        mask: Mask | None,
        key: Array | None,
        keep: bool,
        readout: int | None = None,
    ) -> tuple[State, State, State | None]:
        """The states after linear_in, after the last block and, with ``keep``, after each."""
        config = self.config
        scalars = _check_tokens(
            "", multivectors, scalars, config.in_mv_channels, config.in_s_channels
        )
        x = sectors.from_multivectors(multivectors)
        extra = None
        if config.reinsert_mv_channels or config.reinsert_s_channels:
            extra = (
                sectors.from_multivectors(_select(multivectors, config.reinsert_mv_channels)),
                _select(scalars, config.reinsert_s_channels),
            )
        first = self.linear_in(x, scalars)
        last, states = run_blocks(
            lambda block, state, k: block(*state, mask, extra, k),
            self.blocks,
            first,
            key,
            checkpoint=config.checkpoint_blocks,
            keep=keep,
            last=None
            if readout is None
            else lambda block, state, k: block(*state, mask, extra, k, readout),
        )
        return first, last, states


@module(static=("config",))
class ConditionalLGATr:
    """Tokens that attend to each other and to the tokens of a condition."""

    linear_in: EquiLinear
    blocks: ConditionalBlock  # stacked along a leading axis
    linear_out: EquiLinear
    config: ConditionalLGATrConfig

    @classmethod
    def init(cls, key: Array, config: ConditionalLGATrConfig) -> ConditionalLGATr:
        """Random weights, as ``lgatr`` initialises them."""
        in_key, block_key, out_key = jax.random.split(key, 3)
        network = cls(
            _init_linear_in(in_key, config),
            stack_init(lambda k: ConditionalBlock.init(k, config), block_key, config.num_blocks),
            _init_linear_out(out_key, config),
            config,
        )
        return scale_scalar_weights(network, config.scalar_gain)

    def __call__(
        self,
        multivectors: Array,
        multivectors_condition: Array,
        scalars: Array | None = None,
        scalars_condition: Array | None = None,
        mask: Mask | None = None,
        condition_mask: Mask | None = None,
        *,
        key: Array | None = None,
    ) -> tuple[Array, Array | None]:
        """Tokens (B, N, in_mv, 16), (B, N, in_s) to (B, N, out_mv, 16), (B, N, out_s).

        The condition has M tokens (B, M, mv_channels_cond, 16), (B, M, s_channels_cond);
        ``condition_mask`` tells which of them may be attended to. ``key`` switches dropout on.
        Raises ValueError for other shapes.
        """
        _, last, _ = self._run(
            (multivectors, multivectors_condition),
            (scalars, scalars_condition),
            (mask, condition_mask),
            key,
            keep=False,
        )
        return _read_out(self.linear_out(*last))

    def intermediates(
        self,
        multivectors: Array,
        multivectors_condition: Array,
        scalars: Array | None = None,
        scalars_condition: Array | None = None,
        mask: Mask | None = None,
        condition_mask: Mask | None = None,
        *,
        key: Array | None = None,
    ) -> Named:
        """(multivectors, scalars) after "linear_in" and each block "block0", "block1", …"""
        first, _, states = self._run(
            (multivectors, multivectors_condition),
            (scalars, scalars_condition),
            (mask, condition_mask),
            key,
            keep=True,
        )
        return _named(first, states)

    def _run(
        self,
        multivectors: tuple[Array, Array],
        scalars: tuple[Array | None, Array | None],
        masks: tuple[Mask | None, Mask | None],
        key: Array | None,
        keep: bool,
    ) -> tuple[State, State, State | None]:
        """The states after linear_in, after the last block and, with ``keep``, after each."""
        config = self.config
        s = _check_tokens(
            "", multivectors[0], scalars[0], config.in_mv_channels, config.in_s_channels
        )
        condition_s = _check_tokens(
            "_condition",
            multivectors[1],
            scalars[1],
            config.mv_channels_cond,
            config.s_channels_cond,
        )
        condition = (sectors.from_multivectors(multivectors[1]), condition_s)
        first = self.linear_in(sectors.from_multivectors(multivectors[0]), s)
        last, states = run_blocks(
            lambda block, state, k: block(*state, condition, *masks, k),
            self.blocks,
            first,
            key,
            checkpoint=config.checkpoint_blocks,
            keep=keep,
        )
        return first, last, states


def _init_linear_in(key: Array, config: LGATrConfig) -> EquiLinear:
    return EquiLinear.init(
        key,
        config.in_mv_channels,
        config.hidden_mv_channels,
        config.in_s_channels,
        config.hidden_s_channels,
        subgroup=config.use_fully_connected_subgroup,
    )


def _init_linear_out(key: Array, config: LGATrConfig) -> EquiLinear:
    return EquiLinear.init(
        key,
        config.hidden_mv_channels,
        config.out_mv_channels,
        config.hidden_s_channels,
        config.out_s_channels,
        subgroup=config.use_fully_connected_subgroup,
    )


def _check_tokens(
    suffix: str, multivectors: Array, scalars: Array | None, mv: int, s: int | None
) -> Array:
    """The scalars, (B, N, 0) where there are none; ValueError for shapes that do not fit."""
    if multivectors.ndim != 4 or multivectors.shape[2:] != (mv, 16):
        raise ValueError(
            f"multivectors{suffix} have shape {multivectors.shape}, expected (B, N, {mv}, 16)"
        )
    tokens = multivectors.shape[:2]
    if scalars is None:
        scalars = jnp.zeros((*tokens, 0), multivectors.dtype)
    if scalars.shape != (*tokens, s or 0):
        raise ValueError(
            f"scalars{suffix} have shape {scalars.shape}, expected {(*tokens, s or 0)}"
        )
    return scalars


def _select(x: Array, channels: tuple[int, ...]) -> Array:
    """These channels of (B, N, channels, ...)."""
    return jnp.concatenate([x[:, :, :0], *(x[:, :, i : i + 1] for i in channels)], axis=2)


def _named(first: State, states: State | None) -> Named:
    """The intermediates as multivectors and scalars."""
    named = named_states(first, states)
    return {name: (sectors.to_multivectors(x), s) for name, (x, s) in named.items()}


def _read_out(state: State) -> tuple[Array, Array | None]:
    x, s = state
    return sectors.to_multivectors(x), s if s.shape[-1] else None
