"""The configurations and the blocks of L-GATr.

The functions of ``lgatr`` 1.4 and 2.0 differ; ``VERSIONS`` holds the fields of a configuration that
distinguish them.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, Literal, Self

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxpriors.layers import complex_grades
from jaxpriors.layers.attention import Implementation, Mask
from jaxpriors.layers.complex_grades import ComplexGrades
from jaxpriors.layers.core import check_fields, module
from jaxpriors.layers.multivector import EquiLayerNorm, EquiLinear, GeoMLP, State
from jaxpriors.layers.multivector_attention import CrossAttention, SelfAttention

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
        means no scalars at all; 0 input scalars differ from it by a bias, as in ``lgatr`` 1.4.
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
        gate always has the tanh form): see ``VERSIONS``. ``scalar_gain`` concerns the
        initialisation alone, see ``scale_scalar_weights``.

    Raises ValueError for values that make no network.
    """

    conditional: ClassVar[bool] = False
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
        """Make the configuration that computes what ``lgatr`` "1.4" or "2.0" does.

        ``settings`` are all other fields, with the defaults of this class. ValueError for another
        version.
        """
        if version not in VERSIONS:
            raise ValueError(f"version: found {version!r}, expected one of {[*VERSIONS]}")
        names = {field.name for field in fields(cls)}
        known = {name: value for name, value in VERSIONS[version].items() if name in names}
        return cls(**(known | settings))

    def __post_init__(self) -> None:
        sizes = ("in_mv_channels", "hidden_mv_channels", "num_blocks", "num_heads", "attn_ratio")
        least = dict.fromkeys((*sizes, "mlp_ratio", "num_layers_mlp"), 1)
        check_fields(self, least, ["dropout_prob"], ["nonlinearity"])
        for name, count in (("mv", self.in_mv_channels), ("s", self.in_s_channels or 0)):
            reinserted = getattr(self, f"reinsert_{name}_channels")
            if not all(0 <= channel < count for channel in reinserted):
                raise ValueError(
                    f"reinsert_{name}_channels is {reinserted}, expected numbers below "
                    f"in_{name}_channels = {count}"
                )

    def hidden_channels(self) -> tuple[int, int | None]:
        """Return (multivectors, scalars) inside of the network."""
        return self.hidden_mv_channels, self.hidden_s_channels


@dataclass(frozen=True)
class ConditionalLGATrConfig(LGATrConfig):
    """``LGATrConfig`` without reinserted channels, with cross-attention.

    ``mv_channels_cond``, ``s_channels_cond``: channels of the condition's tokens. The fields
    ``crossattention_…`` are those of the cross-attention; ``crossattention_qkv_norm`` normalises
    its queries, keys and values, see ``VERSIONS``.
    """

    conditional: ClassVar[bool] = True
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
        check_fields(self, dict.fromkeys(names, 1))
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
    """Self-attention and MLP; with a condition, cross-attention to it between them.

    Without a condition there is no third norm: ``norm2`` is that of the MLP.
    """

    norm1: EquiLayerNorm
    attention: SelfAttention
    norm2: EquiLayerNorm
    norm_cond: EquiLayerNorm | None
    crossattention: CrossAttention | None
    norm3: EquiLayerNorm | None
    mlp: GeoMLP

    @classmethod
    def init(cls, key: Array, config: Any) -> Block:
        """Make one block of the hidden channels."""
        keys = jax.random.split(key, 3 if config.conditional else 2)
        mv, s = config.hidden_channels()
        norm = _init_norm(mv, s, config)
        norm_cond = crossattention = norm3 = None
        if config.conditional:
            norm3 = norm
            norm_cond = _init_norm(config.mv_channels_cond, config.s_channels_cond, config)
            crossattention = CrossAttention.init(
                keys[1],
                mv,
                s,
                config.mv_channels_cond,
                config.s_channels_cond,
                num_heads=config.crossattention_num_heads,
                ratio=config.crossattention_attn_ratio,
                multi_query=config.crossattention_multi_query,
                head_scale=config.crossattention_head_scale,
                qkv_bias=config.qkv_bias,
                qkv_norm=config.crossattention_qkv_norm,
                dropout_prob=config.dropout_prob or 0.0,
                subgroup=config.use_fully_connected_subgroup,
                implementation=config.attention_implementation,
            )
        attention, mlp = _init_attention(keys[0], config), _init_mlp(keys[-1], config)
        return cls(norm, attention, norm, norm_cond, crossattention, norm3, mlp)

    def __call__(
        self,
        x: ComplexGrades,
        s: Array,
        mask: Mask | None,
        extra: State | None,
        key: Array | None,
        readout: int | None = None,
        condition: State | None = None,
        condition_mask: Mask | None = None,
    ) -> State:
        """Apply the block; shapes stay. ``readout`` keeps only that many first tokens."""
        count = 2 if self.crossattention is None else 3
        keys = [None] * count if key is None else jax.random.split(key, count)
        norm_mlp = self.norm2
        with jax.named_scope("attention"):
            y, t = self.attention(
                *self.norm1(x, s), mask, extra=extra, key=keys[0], readout=readout
            )
            x, s = jax.tree.map(lambda a: a[:, :readout], (x, s))
            x, s = complex_grades.add(x, y), s + t
        if self.crossattention is not None:
            assert condition is not None and self.norm_cond is not None and self.norm3 is not None
            norm_mlp = self.norm3
            with jax.named_scope("crossattention"):
                inputs = *self.norm2(x, s), *self.norm_cond(*condition)
                y, t = self.crossattention(*inputs, condition_mask, key=keys[1])
                x, s = complex_grades.add(x, y), s + t
        with jax.named_scope("mlp"):
            y, t = self.mlp(*norm_mlp(x, s), key=keys[-1])
            return complex_grades.add(x, y), s + t


def scale_scalar_weights(network: Any, gain: float) -> Any:
    """Multiply by ``gain`` the weights of a network from multivectors to their scalar component.

    This concerns only maps that also have scalars as input, whose ``s2mvs`` adds to this component.
    ``lgatr`` 2.0 starts with a gain of 1/√2, which offsets the sum of the two; 1.4 with 1.
    """

    def scaled(part: Any) -> Any:
        if not isinstance(part, EquiLinear) or part.s2mvs is None:
            return part
        basis = part.weight.shape[-1]
        to_scalar = np.ones(basis)
        to_scalar[[0, 9] if basis == 10 else [0]] = gain  # grades 0 and 4, the latter times e0123
        weight = part.weight * jnp.asarray(to_scalar, part.weight.dtype)
        return replace(part, weight=weight)

    return jax.tree.map(scaled, network, is_leaf=lambda part: isinstance(part, EquiLinear))
