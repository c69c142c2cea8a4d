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
from jaxpriors.layers.core import module, run_blocks, stack_init
from jaxpriors.layers.lorentz import Linear
from jaxpriors.models.lgatr_slim_blocks import (
    VERSIONS,
    Block,
    ConditionalBlock,
    ConditionalLGATrSlimConfig,
    LGATrSlimConfig,
)

__all__ = ["VERSIONS", "ConditionalLGATrSlimConfig", "LGATrSlim", "LGATrSlimConfig"]


@module(static=("config",))
class LGATrSlim:
    """The encoder: linear_in, residual blocks, linear_out.

    With a `ConditionalLGATrSlimConfig` (``lgatr``'s ConditionalLGATrSlim), each block attends also
    to the tokens of a condition.
    """

    linear_in: Linear
    blocks: Block | ConditionalBlock  # stacked along a leading axis
    linear_out: Linear
    config: LGATrSlimConfig

    @classmethod
    def init(cls, key: Array, config: LGATrSlimConfig) -> LGATrSlim:
        """Draw random weights as ``lgatr`` does."""
        in_key, block_key, out_key = jax.random.split(key, 3)
        block: Any = ConditionalBlock if config.conditional else Block
        v, s, zero_bias = config.hidden_v_channels, config.hidden_s_channels, config.zero_bias
        return cls(
            Linear.init(
                in_key, config.in_v_channels, v, config.in_s_channels, s, zero_bias=zero_bias
            ),
            stack_init(lambda k: block.init(k, config), block_key, config.num_blocks),
            Linear.init(
                out_key, v, config.out_v_channels, s, config.out_s_channels, zero_bias=zero_bias
            ),
            config,
        )

    def __call__(
        self,
        vectors: Array,
        scalars: Array,
        mask: Mask | None = None,
        *,
        condition: tuple[Array, Array] | None = None,
        condition_mask: Mask | None = None,
        key: Array | None = None,
        readout: int | None = None,
    ) -> tuple[Array, Array]:
        """Vectors (B, N, in_v, 4), scalars (B, N, in_s) to (B, N, out_v, 4), (B, N, out_s).

        ``condition`` are vectors (B, M, v_channels_cond, 4) and scalars (B, M, s_channels_cond),
        for a network that has one; ``condition_mask`` is for their tokens. ``key`` switches dropout
        on. With ``readout``, only the first so many tokens are computed and given. Raises
        ValueError for other shapes and for a condition too many or missing.
        """
        config: Any = self.config
        name = "ConditionalLGATrSlim" if config.conditional else "LGATrSlim"
        if config.conditional != (condition is not None):
            raise ValueError(f"{name}: found condition {type(condition).__name__}")
        given: list[tuple[str, Array, Array, int, int]] = [
            (name, vectors, scalars, config.in_v_channels, config.in_s_channels)
        ]
        extra: tuple = ()
        if condition is not None:
            sizes = config.v_channels_cond, config.s_channels_cond
            given.append((f"{name}, condition", *condition, *sizes))
            extra = (condition[0].swapaxes(-1, -2), condition[1]), condition_mask
        for what, v, s, channels, numbers in given:
            tokens = s.shape[:2]
            if v.shape != (*tokens, channels, 4) or s.shape != (*tokens, numbers):
                raise ValueError(
                    f"{what}: found vectors {v.shape} and scalars {s.shape}, expected "
                    f"(B, N, {channels}, 4) and (B, N, {numbers})"
                )
        x = run_blocks(
            lambda block, x, k: block(x, mask, k, None, *extra),
            self.blocks,
            self.linear_in(vectors.swapaxes(-1, -2), scalars),
            key,
            checkpoint=config.checkpoint_blocks,
            last=None
            if readout is None
            else lambda block, x, k: block(x, mask, k, readout, *extra),
        )
        v, s = self.linear_out(*x)
        return v.swapaxes(-1, -2), s
