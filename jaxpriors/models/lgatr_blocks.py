"""The configurations and the blocks of L-GATr.

The functions of ``lgatr`` 1.4 and 2.0 differ; the fields of a configuration that tell them apart
are collected in ``VERSIONS``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Self

import jax
from jax import Array

from jaxpriors.layers import sectors
from jaxpriors.layers.attention import Implementation, Mask
from jaxpriors.layers.blocks import leading
from jaxpriors.layers.core import check_counts, check_options, module
from jaxpriors.layers.multivector import EquiLayerNorm, GeoMLP
from jaxpriors.layers.multivector_attention import CrossAttention, SelfAttention
from jaxpriors.layers.sectors import Sectors
from jaxpriors.models.lgatr_versions import versioned

State = tuple[Sectors, Array]
"""Multivectors and scalars of (B, N) tokens."""

VERSIONS: dict[str, dict[str, Any]] = {
    "1.4": {
        "qkv_bias": True,
        "norm_elementwise_affine": False,
        "gelu": "exact",
        "scalar_gain": 1.0,
        "crossattention_qkv_norm": False,
    },
    "2.0": {
        "qkv_bias": False,
        "norm_elementwise_affine": True,
        "gelu": "tanh",
        "scalar_gain": 0.5**0.5,
        "crossattention_qkv_norm": True,
    },
}
"""Settings that reproduce a release of ``lgatr``, see ``LGATrConfig.of_version``."""


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
    ``dropout_prob``: of whole grades and of scalars; None is 0 without the dropout modules that
        ``lgatr`` counts in the names of its tensors. ``checkpoint_blocks``: recompute each block
        in the backward pass to save memory.
    ``qkv_bias``, ``norm_elementwise_affine``, ``gelu`` (of the scalars; the multivectors'
        gate always takes the tanh form): see ``VERSIONS``. ``scalar_gain`` concerns the
        initialisation alone, see ``scale_scalar_weights``.

    Raises ValueError for values that make no network.
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
    dropout_prob: float | None = None
    checkpoint_blocks: bool = False
    attention_implementation: Implementation = "xla"
    qkv_bias: bool = True
    norm_elementwise_affine: bool = False
    gelu: Literal["exact", "tanh"] = "exact"
    scalar_gain: float = 1.0

    @classmethod
    def of_version(cls, version: str, **settings: Any) -> Self:
        """The configuration that computes what ``lgatr`` "1.4" or "2.0" does.

        ``settings`` are all other fields, with the defaults of this class. ValueError for another
        version.
        """
        return versioned(cls, VERSIONS, version, settings)

    def __post_init__(self) -> None:
        sizes = ("in_mv_channels", "hidden_mv_channels", "num_blocks", "num_heads", "attn_ratio")
        check_counts(self, dict.fromkeys((*sizes, "mlp_ratio", "num_layers_mlp"), 1))
        check_options(self.dropout_prob, self.nonlinearity)
        for name, count in (("mv", self.in_mv_channels), ("s", self.in_s_channels or 0)):
            reinserted = getattr(self, f"reinsert_{name}_channels")
            if not all(0 <= channel < count for channel in reinserted):
                raise ValueError(
                    f"reinsert_{name}_channels is {reinserted}, expected numbers below "
                    f"in_{name}_channels = {count}"
                )

    def hidden_channels(self) -> tuple[int, int | None]:
        """(multivectors, scalars) inside of the network."""
        return self.hidden_mv_channels, self.hidden_s_channels


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

    def __post_init__(self) -> None:
        super().__post_init__()
        names = ("mv_channels_cond", "crossattention_num_heads", "crossattention_attn_ratio")
        check_counts(self, dict.fromkeys(names, 1))
        if self.reinsert_mv_channels or self.reinsert_s_channels:
            raise ValueError("reinserted channels found in a ConditionalLGATr, expected none")


def _init_norm(mv: int, s: int | None, config: LGATrConfig) -> EquiLayerNorm:
    return EquiLayerNorm.init(mv, s or 0, elementwise_affine=config.norm_elementwise_affine)


def _init_attention(key: Array, config: LGATrConfig) -> SelfAttention:
    return SelfAttention.init(
        key,
        *config.hidden_channels(),
        num_heads=config.num_heads,
        ratio=config.attn_ratio,
        multi_query=config.multi_query,
        head_scale=config.head_scale,
        extra_mv=len(config.reinsert_mv_channels),
        extra_s=len(config.reinsert_s_channels),
        qkv_bias=config.qkv_bias,
        dropout_prob=config.dropout_prob or 0.0,
        subgroup=config.use_fully_connected_subgroup,
        implementation=config.attention_implementation,
    )


def _init_mlp(key: Array, config: LGATrConfig) -> GeoMLP:
    gelu = config.nonlinearity == "gelu"
    return GeoMLP.init(
        key,
        *config.hidden_channels(),
        ratio=config.mlp_ratio,
        num_layers=config.num_layers_mlp,
        gate="gelu_tanh" if gelu else config.nonlinearity,
        scalar_activation=("gelu_tanh" if gelu and config.gelu == "tanh" else config.nonlinearity),
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
        sizes = config.hidden_channels()
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
        extra: State | None,
        key: Array | None,
        readout: int | None = None,
    ) -> State:
        """Same shapes as the inputs, of the first ``readout`` tokens alone if that is given."""
        keys = (None, None) if key is None else jax.random.split(key)
        with jax.named_scope("attention"):
            y, t = self.attention(
                *self.norm1(x, s), mask, extra=extra, key=keys[0], readout=readout
            )
            x, s = leading((x, s), readout)
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
        attention_key, cross_key, mlp_key = jax.random.split(key, 3)
        sizes = config.hidden_channels()
        condition_sizes = (config.mv_channels_cond, config.s_channels_cond)
        return cls(
            _init_norm(*sizes, config),
            _init_attention(attention_key, config),
            _init_norm(*sizes, config),
            _init_norm(*condition_sizes, config),
            CrossAttention.init(
                cross_key,
                *sizes,
                *condition_sizes,
                num_heads=config.crossattention_num_heads,
                ratio=config.crossattention_attn_ratio,
                multi_query=config.crossattention_multi_query,
                head_scale=config.crossattention_head_scale,
                qkv_bias=config.qkv_bias,
                qkv_norm=config.crossattention_qkv_norm,
                dropout_prob=config.dropout_prob or 0.0,
                subgroup=config.use_fully_connected_subgroup,
                implementation=config.attention_implementation,
            ),
            _init_norm(*sizes, config),
            _init_mlp(mlp_key, config),
        )

    def __call__(
        self,
        x: Sectors,
        s: Array,
        condition: State,
        mask: Mask | None,
        condition_mask: Mask | None,
        key: Array | None,
    ) -> State:
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
