"""L-GATr, the Lorentz-equivariant geometric algebra transformer, with and without a condition.

A token carries multivector channels (..., C, 16) and scalar channels (..., S). The network is
linear_in, ``num_blocks`` blocks (attention and MLP, each normalised before and added to the
input), linear_out. Reference: Spinner et al., arXiv:2405.14806; Brehmer et al., arXiv:2411.00446.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from jaxpriors.layers import complex_grades
from jaxpriors.layers.attention import Mask
from jaxpriors.layers.core import module, run_blocks, stack_init
from jaxpriors.layers.multivector import EquiLinear
from jaxpriors.models.lgatr_blocks import (
    VERSIONS,
    Block,
    ConditionalLGATrConfig,
    LGATrConfig,
    scale_scalar_weights,
)

__all__ = ["VERSIONS", "ConditionalLGATrConfig", "LGATr", "LGATrConfig"]


@module(static=("config",))
class LGATr:
    """The encoder: every token attends to every other of the same event.

    With a `ConditionalLGATrConfig` (``lgatr``'s ConditionalLGATr), also to those of a condition.
    """

    linear_in: EquiLinear
    blocks: Block  # stacked along a leading axis
    linear_out: EquiLinear
    config: LGATrConfig

    @classmethod
    def init(cls, key: Array, config: LGATrConfig) -> LGATr:
        """Draw random weights as ``lgatr`` does."""
        in_key, block_key, out_key = jax.random.split(key, 3)
        mv, s = config.hidden_channels()
        subgroup = config.use_fully_connected_subgroup
        network = cls(
            EquiLinear.init(
                in_key, config.in_mv_channels, mv, config.in_s_channels, s, subgroup=subgroup
            ),
            stack_init(lambda k: Block.init(k, config), block_key, config.num_blocks),
            EquiLinear.init(
                out_key, mv, config.out_mv_channels, s, config.out_s_channels, subgroup=subgroup
            ),
            config,
        )
        return scale_scalar_weights(network, config.scalar_gain)

    def __call__(
        self,
        multivectors: Array,
        scalars: Array | None = None,
        mask: Mask | None = None,
        *,
        condition: tuple[Array, Array | None] | None = None,
        condition_mask: Mask | None = None,
        key: Array | None = None,
        readout: int | None = None,
    ) -> tuple[Array, Array | None]:
        """Map tokens (B, N, in_mv, 16), (B, N, in_s) to (B, N, out_mv, 16), (B, N, out_s).

        ``condition`` are the multivectors (B, M, mv_channels_cond, 16) and scalars (B, M,
        s_channels_cond) of M tokens, for a network that has one; ``condition_mask`` is for them.
        ``key`` switches dropout on. With ``readout``, only that many first tokens are computed and
        returned. Raises ValueError for other shapes and for a surplus or missing condition.
        """
        config: Any = self.config
        scalars = _check_tokens(
            "", multivectors, scalars, config.in_mv_channels, config.in_s_channels
        )
        extra = inside = None
        if config.reinsert_mv_channels or config.reinsert_s_channels:
            extra = (
                complex_grades.from_multivectors(
                    _select(multivectors, config.reinsert_mv_channels)
                ),
                _select(scalars, config.reinsert_s_channels),
            )
        if config.conditional != (condition is not None):
            raise ValueError(f"{type(config).__name__}: found condition {type(condition).__name__}")
        if condition is not None:
            sizes = config.mv_channels_cond, config.s_channels_cond
            condition_s = _check_tokens("_condition", *condition, *sizes)
            inside = complex_grades.from_multivectors(condition[0]), condition_s
        x, s = run_blocks(
            lambda block, x, k: block(*x, mask, extra, k, None, inside, condition_mask),
            self.blocks,
            self.linear_in(complex_grades.from_multivectors(multivectors), scalars),
            key,
            checkpoint=config.checkpoint_blocks,
            last=None
            if readout is None
            else lambda block, x, k: block(*x, mask, extra, k, readout, inside, condition_mask),
        )
        x, s = self.linear_out(x, s)
        return complex_grades.to_multivectors(x), s if s.shape[-1] else None


def _check_tokens(
    suffix: str, multivectors: Array, scalars: Array | None, mv: int, s: int | None
) -> Array:
    """Return the scalars, (B, N, 0) where there are none; ValueError for shapes that do not fit."""
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
    """Select these channels of (B, N, channels, ...)."""
    return jnp.concatenate([x[:, :, :0], *(x[:, :, i : i + 1] for i in channels)], axis=2)
