"""L-GATr, the Lorentz-equivariant geometric algebra transformer: encoder and conditional variant.

A token carries multivector channels (..., C, 16) and scalar channels (..., S). The network is
linear_in, ``num_blocks`` blocks (attention and MLP, each normalised before and added to the
input), linear_out. Reference: Spinner et al., arXiv:2405.14806; Brehmer et al., arXiv:2411.00446.

The functions of ``lgatr`` 1.4 and 2.0 differ; the fields of a configuration that tell them apart
are collected in ``VERSIONS``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax import Array

from jaxpriors.layers import sectors
from jaxpriors.layers.attention import Implementation, Mask
from jaxpriors.layers.core import module, stack_init
from jaxpriors.layers.multivector import EquiLayerNorm, EquiLinear, GeoMLP
from jaxpriors.layers.multivector_attention import CrossAttention, SelfAttention
from jaxpriors.layers.sectors import Sectors

VERSIONS: dict[str, dict[str, Any]] = {
    "1.4": {
        "qkv_bias": True,
        "norm_elementwise_affine": False,
        "scalar_gelu": "exact",
        "crossattention_qkv_norm": False,
    },
    "2.0": {
        "qkv_bias": False,
        "norm_elementwise_affine": True,
        "scalar_gelu": "tanh",
        "crossattention_qkv_norm": True,
    },
}
"""Settings of ``ConditionalLGATrConfig`` that reproduce a release of ``lgatr``; an encoder takes
them without the last."""


@dataclass(frozen=True)
class LGATrConfig:
    """Sizes and options of an L-GATr encoder; the defaults are the paper's network of 10⁶ weights.

    Channels: ``in_``, ``hidden_`` and ``out_`` numbers of multivectors (mv) and scalars (s). None
        is no scalars at all; 0 input scalars is the same but for a bias, as in ``lgatr`` 1.4.
    Attention: ``num_heads``, ``attn_ratio`` (channels of all heads over hidden ones),
        ``multi_query`` (shared keys and values), ``head_scale`` (a learned factor per head),
        ``attention_implementation`` ("xla", or "cudnn" on NVIDIA GPUs in 16 bits).
    MLP: ``mlp_ratio``, ``num_layers_mlp`` (2 is one hidden layer), ``nonlinearity``.
    Symmetry: ``use_fully_connected_subgroup`` adds the maps with the pseudoscalar, which break
        parity and time reversal; ``use_geometric_product``, ``use_bivector`` (grade 2 of it).
    ``reinsert_mv_channels``, ``reinsert_s_channels``: input channels that each attention sees.
    ``dropout_prob``: of whole grades and of scalars. ``checkpoint_blocks``: recompute each block
        in the backward pass to save memory.
    ``qkv_bias``, ``norm_elementwise_affine``, ``scalar_gelu`` (of the scalars; the multivectors'
        gate always takes the tanh form): see ``VERSIONS``.
    """

    in_mv_channels: int = 1
    out_mv_channels: int = 1
    hidden_mv_channels: int = 16
    in_s_channels: int | None = 1
    out_s_channels: int | None = None
    hidden_s_channels: int | None = 32
    num_blocks: int = 12
    num_heads: int = 8
    attn_ratio: int = 2
    multi_query: bool = False
    head_scale: bool = False
    mlp_ratio: int = 2
    num_layers_mlp: int = 2
    nonlinearity: str = "gelu"
    use_fully_connected_subgroup: bool = True
    use_geometric_product: bool = True
    use_bivector: bool = True
    reinsert_mv_channels: tuple[int, ...] = ()
    reinsert_s_channels: tuple[int, ...] = ()
    dropout_prob: float = 0.0
    checkpoint_blocks: bool = False
    attention_implementation: Implementation = "xla"
    qkv_bias: bool = True
    norm_elementwise_affine: bool = False
    scalar_gelu: Literal["exact", "tanh"] = "exact"


@dataclass(frozen=True)
class ConditionalLGATrConfig(LGATrConfig):
    """As ``LGATrConfig`` (which has no reinserted channels here), with cross-attention.

    ``mv_channels_cond``, ``s_channels_cond``: channels of the condition's tokens. The fields
    ``crossattention_…`` are those of the cross-attention; ``crossattention_qkv_norm`` normalises
    its queries, keys and values, see ``VERSIONS``.
    """

    mv_channels_cond: int = 1
    s_channels_cond: int | None = 1
    crossattention_num_heads: int = 8
    crossattention_attn_ratio: int = 2
    crossattention_multi_query: bool = False
    crossattention_head_scale: bool = False
    crossattention_qkv_norm: bool = False


State = tuple[Sectors, Array]


def _init_norm(mv: int, s: int | None, config: LGATrConfig) -> EquiLayerNorm:
    return EquiLayerNorm.init(mv, s or 0, elementwise_affine=config.norm_elementwise_affine)


def _init_attention(key: Array, config: LGATrConfig) -> SelfAttention:
    return SelfAttention.init(
        key,
        config.hidden_mv_channels,
        config.hidden_s_channels,
        num_heads=config.num_heads,
        ratio=config.attn_ratio,
        multi_query=config.multi_query,
        head_scale=config.head_scale,
        extra_mv=len(config.reinsert_mv_channels),
        extra_s=len(config.reinsert_s_channels),
        qkv_bias=config.qkv_bias,
        dropout_prob=config.dropout_prob,
        subgroup=config.use_fully_connected_subgroup,
        implementation=config.attention_implementation,
    )


def _init_mlp(key: Array, config: LGATrConfig) -> GeoMLP:
    gelu = config.nonlinearity == "gelu"
    return GeoMLP.init(
        key,
        config.hidden_mv_channels,
        config.hidden_s_channels,
        ratio=config.mlp_ratio,
        num_layers=config.num_layers_mlp,
        gate="gelu_tanh" if gelu else config.nonlinearity,
        scalar_activation=(
            "gelu_tanh" if gelu and config.scalar_gelu == "tanh" else config.nonlinearity
        ),
        dropout_prob=config.dropout_prob,
        subgroup=config.use_fully_connected_subgroup,
        bivector=config.use_bivector,
        geometric_product=config.use_geometric_product,
    )


@module
class Block:
    """Self-attention and MLP."""

    norm1: EquiLayerNorm
    attention: SelfAttention
    norm2: EquiLayerNorm
    mlp: GeoMLP

    @classmethod
    def init(cls, key: Array, config: LGATrConfig) -> Block:
        """One block of the hidden channels."""
        attention_key, mlp_key = jax.random.split(key)
        sizes = (config.hidden_mv_channels, config.hidden_s_channels)
        return cls(
            _init_norm(*sizes, config),
            _init_attention(attention_key, config),
            _init_norm(*sizes, config),
            _init_mlp(mlp_key, config),
        )

    def __call__(
        self,
        x: Sectors,
        s: Array,
        mask: Mask | None,
        extra: tuple[Sectors, Array] | None,
        key: Array | None,
    ) -> tuple[Sectors, Array]:
        """Same shapes as the inputs."""
        keys = (None, None) if key is None else jax.random.split(key)
        with jax.named_scope("attention"):
            y, t = self.attention(*self.norm1(x, s), mask, extra=extra, key=keys[0])
            x, s = sectors.add(x, y), s + t
        with jax.named_scope("mlp"):
            y, t = self.mlp(*self.norm2(x, s), key=keys[1])
            return sectors.add(x, y), s + t


@module
class ConditionalBlock:
    """Self-attention, cross-attention to the condition, MLP."""

    norm1: EquiLayerNorm
    attention: SelfAttention
    norm2: EquiLayerNorm
    norm_cond: EquiLayerNorm
    crossattention: CrossAttention
    norm3: EquiLayerNorm
    mlp: GeoMLP

    @classmethod
    def init(cls, key: Array, config: ConditionalLGATrConfig) -> ConditionalBlock:
        """One block of the hidden channels."""
        keys = jax.random.split(key, 3)
        sizes = (config.hidden_mv_channels, config.hidden_s_channels)
        condition_sizes = (config.mv_channels_cond, config.s_channels_cond)
        return cls(
            _init_norm(*sizes, config),
            _init_attention(keys[0], config),
            _init_norm(*sizes, config),
            _init_norm(*condition_sizes, config),
            CrossAttention.init(
                keys[1],
                *sizes,
                *condition_sizes,
                num_heads=config.crossattention_num_heads,
                ratio=config.crossattention_attn_ratio,
                multi_query=config.crossattention_multi_query,
                head_scale=config.crossattention_head_scale,
                qkv_bias=config.qkv_bias,
                qkv_norm=config.crossattention_qkv_norm,
                dropout_prob=config.dropout_prob,
                subgroup=config.use_fully_connected_subgroup,
                implementation=config.attention_implementation,
            ),
            _init_norm(*sizes, config),
            _init_mlp(keys[2], config),
        )

    def __call__(
        self,
        x: Sectors,
        s: Array,
        condition: tuple[Sectors, Array],
        mask: Mask | None,
        condition_mask: Mask | None,
        key: Array | None,
    ) -> tuple[Sectors, Array]:
        """Same shapes as the inputs x and s."""
        keys = (None, None, None) if key is None else jax.random.split(key, 3)
        with jax.named_scope("attention"):
            y, t = self.attention(*self.norm1(x, s), mask, key=keys[0])
            x, s = sectors.add(x, y), s + t
        with jax.named_scope("crossattention"):
            y, t = self.crossattention(
                *self.norm2(x, s), *self.norm_cond(*condition), condition_mask, key=keys[1]
            )
            x, s = sectors.add(x, y), s + t
        with jax.named_scope("mlp"):
            y, t = self.mlp(*self.norm3(x, s), key=keys[2])
            return sectors.add(x, y), s + t


@module(static=("config",))
class LGATr:
    """The encoder: every token attends to every other of the same event."""

    linear_in: EquiLinear
    blocks: Block  # stacked along a leading axis
    linear_out: EquiLinear
    config: LGATrConfig

    @classmethod
    def init(cls, key: Array, config: LGATrConfig) -> LGATr:
        """Fresh parameters. Raises ValueError where a reinserted channel is not in the input."""
        for name, count in (("mv", config.in_mv_channels), ("s", config.in_s_channels or 0)):
            reinserted = getattr(config, f"reinsert_{name}_channels")
            if not all(0 <= channel < count for channel in reinserted):
                raise ValueError(
                    f"LGATr: reinsert_{name}_channels is {reinserted}, expected numbers below "
                    f"in_{name}_channels = {count}"
                )
        in_key, block_key, out_key = jax.random.split(key, 3)
        return cls(
            _init_linear_in(in_key, config),
            stack_init(lambda k: Block.init(k, config), block_key, config.num_blocks),
            _init_linear_out(out_key, config),
            config,
        )

    def __call__(
        self,
        multivectors: Array,
        scalars: Array | None = None,
        mask: Mask | None = None,
        *,
        key: Array | None = None,
    ) -> tuple[Array, Array | None]:
        """Tokens (B, N, in_mv, 16) and (B, N, in_s) to (B, N, out_mv, 16) and (B, N, out_s).

        ``key`` switches dropout on. Raises ValueError for other shapes.
        """
        _, last, _ = self._run(multivectors, scalars, mask, key, keep=False)
        return _read_out(self.linear_out(*last))

    def intermediates(
        self,
        multivectors: Array,
        scalars: Array | None = None,
        mask: Mask | None = None,
        *,
        key: Array | None = None,
    ) -> dict[str, tuple[Array, Array]]:
        """(multivectors, scalars) after "linear_in" and each block "block0", "block1", …"""
        first, _, states = self._run(multivectors, scalars, mask, key, keep=True)
        return _name_states(first, states, self.config.num_blocks)

    def _run(
        self,
        multivectors: Array,
        scalars: Array | None,
        mask: Mask | None,
        key: Array | None,
        keep: bool,
    ) -> tuple[State, State, State | None]:
        """The states after linear_in and after the last block; with ``keep`` those between."""
        config = self.config
        scalars = _check_tokens(
            "", multivectors, scalars, config.in_mv_channels, config.in_s_channels
        )
        x = sectors.from_multivectors(multivectors)
        extra = None
        if config.reinsert_mv_channels or config.reinsert_s_channels:
            extra = (
                sectors.from_multivectors(multivectors[..., list(config.reinsert_mv_channels), :]),
                scalars[..., list(config.reinsert_s_channels)],
            )
        first = self.linear_in(x, scalars)
        last, states = _scan(
            self.blocks,
            lambda block, state, k: block(*state, mask, extra, k),
            first,
            key,
            config,
            keep,
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
        """Fresh parameters. Raises ValueError where channels are to be reinserted."""
        if config.reinsert_mv_channels or config.reinsert_s_channels:
            raise ValueError("ConditionalLGATr: reinserted channels found, expected none")
        in_key, block_key, out_key = jax.random.split(key, 3)
        return cls(
            _init_linear_in(in_key, config),
            stack_init(lambda k: ConditionalBlock.init(k, config), block_key, config.num_blocks),
            _init_linear_out(out_key, config),
            config,
        )

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
    ) -> dict[str, tuple[Array, Array]]:
        """(multivectors, scalars) after "linear_in" and each block "block0", "block1", …"""
        first, _, states = self._run(
            (multivectors, multivectors_condition),
            (scalars, scalars_condition),
            (mask, condition_mask),
            key,
            keep=True,
        )
        return _name_states(first, states, self.config.num_blocks)

    def _run(
        self,
        multivectors: tuple[Array, Array],
        scalars: tuple[Array | None, Array | None],
        masks: tuple[Mask | None, Mask | None],
        key: Array | None,
        keep: bool,
    ) -> tuple[State, State, State | None]:
        """The states after linear_in and after the last block; with ``keep`` those between."""
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
        last, states = _scan(
            self.blocks,
            lambda block, state, k: block(*state, condition, *masks, k),
            first,
            key,
            config,
            keep,
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


def _scan(
    blocks: Any,
    apply: Callable[[Any, State, Array | None], State],
    state: State,
    key: Array | None,
    config: LGATrConfig,
    keep: bool,
) -> tuple[State, State | None]:
    """The state after the last block; with ``keep`` also those after each, along a leading axis."""

    def body(state: State, block_and_key: tuple[Any, Array | None]) -> tuple[State, State | None]:
        state = apply(block_and_key[0], state, block_and_key[1])
        return state, state if keep else None

    if config.checkpoint_blocks:
        body = jax.checkpoint(body, prevent_cse=False)
    keys = None if key is None else jax.random.split(key, config.num_blocks)
    return jax.lax.scan(body, state, (blocks, keys))


def _read_out(state: State) -> tuple[Array, Array | None]:
    x, s = state
    return sectors.to_multivectors(x), s if s.shape[-1] else None


def _name_states(first: State, states: State, count: int) -> dict[str, tuple[Array, Array]]:
    named = {"linear_in": (sectors.to_multivectors(first[0]), first[1])}
    for i in range(count):
        x, s = jax.tree.map(lambda a, i=i: a[i], states)
        named[f"block{i}"] = (sectors.to_multivectors(x), s)
    return named
