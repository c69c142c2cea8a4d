"""The single layers of L-GATr that a recorded case can hold, built from the peer's arguments."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jax import Array

from jaxpriors.layers import sectors
from jaxpriors.layers.multivector import (
    EquiLayerNorm,
    EquiLinear,
    GeometricBilinear,
    GeoMLP,
    gated,
)
from jaxpriors.layers.multivector_attention import CrossAttention, SelfAttention
from jaxpriors.models.lgatr_blocks import (
    Block,
    ConditionalBlock,
    ConditionalLGATrConfig,
    LGATrConfig,
)
from jaxpriors.porting.arguments import (
    Arguments,
    read_attention,
    read_mlp,
    read_primitives,
    version_fields,
)
from jaxpriors.porting.cases.subject import (
    Outputs,
    Subject,
    Tensors,
    either,
    empty,
    finish,
    mask,
    only,
    take,
)


def _scalars(table: Arguments, layout: str, *names: str) -> int | None:
    """A number of scalar channels; "no channels" is None in 1.4 and 0 in 2.0."""
    value = table.take(*names, default=None)
    return None if layout == "2.0" and value == 0 else value


def _on_sectors(apply: Callable[..., tuple[sectors.Sectors, Array]]):
    """The call of a layer on (Sectors, scalars) in the peer's terms."""

    def call(layer: Any, inputs: Tensors) -> Outputs:
        inputs = dict(inputs)
        x = take(inputs, "multivectors")
        s = inputs.pop("scalars", None)
        s = jnp.zeros((*x.shape[:-2], 0), x.dtype) if s is None else s
        y, t = apply(layer, sectors.from_multivectors(x), s, inputs)
        finish(inputs)
        return sectors.to_multivectors(y), t if t.shape[-1] else None

    return call


def _equi_linear(table: Arguments, layout: str, gatr_config: Any, inputs: Any) -> Subject:
    sizes = [table.take(f"{side}_mv_channels") for side in ("in", "out")]
    sizes += [_scalars(table, layout, f"{side}_s_channels") for side in ("in", "out")]
    bias = table.take("bias", default=True)
    table.drop("initialization")
    group = read_primitives(table, layout, gatr_config)["use_fully_connected_subgroup"]
    return Subject(
        empty(lambda key: EquiLinear.init(key, *sizes, bias=bias, subgroup=group)),
        _on_sectors(lambda layer, x, s, inputs: layer(x, s)),
    )


def _equi_norm(table: Arguments, layout: str, gatr_config: Any, inputs: Any) -> Subject:
    only(table, mv_channel_dim=-2, epsilon=0.01, gain=1.0)
    affine = table.take("elementwise_affine", default=False)
    mv, s = table.take("mv_channels", default=0), table.take("s_channels", default=0)
    return Subject(
        empty(lambda key: EquiLayerNorm.init(mv, s, elementwise_affine=affine)),
        _on_sectors(lambda layer, x, s, inputs: layer(x, s)),
    )


def _bilinear(table: Arguments, layout: str, gatr_config: Any, inputs: Any) -> Subject:
    sizes = [table.take(f"{side}_mv_channels") for side in ("in", "out")]
    sizes += [_scalars(table, layout, f"{side}_s_channels") for side in ("in", "out")]
    hidden = table.take("hidden_mv_channels", default=None)
    primitives = read_primitives(table, layout, gatr_config)
    return Subject(
        empty(
            lambda key: GeometricBilinear.init(
                key,
                *sizes,
                hidden_mv=hidden,
                subgroup=primitives["use_fully_connected_subgroup"],
                bivector=primitives["use_bivector"],
            )
        ),
        _on_sectors(lambda layer, x, s, inputs: layer(x, s)),
    )


def _gated(table: Arguments, layout: str, gatr_config: Any, inputs: Any) -> Subject:
    gate, scalar = _gates(
        table.take("nonlinearity", default="relu" if layout == "1.4" else "gelu"), layout
    )
    return Subject((), _on_sectors(lambda layer, x, s, inputs: gated(x, s, gate, scalar)))


def _gates(nonlinearity: str, layout: str) -> tuple[str, str]:
    """Activations of the multivectors' gate and of the scalars, which in 1.4 differ for gelu."""
    if nonlinearity != "gelu":
        return nonlinearity, nonlinearity
    return "gelu_tanh", "gelu" if layout == "1.4" else "gelu_tanh"


def _geo_mlp(table: Arguments, layout: str, gatr_config: Any, inputs: Any) -> Subject:
    mv, s = table.take("mv_channels"), _scalars(table, layout, "s_channels")
    primitives = read_primitives(table, layout, gatr_config)
    dropout = table.take("dropout_prob", default=None)
    fields = read_mlp(table.rest(), table.where, layout)
    gate, scalar = _gates(fields["nonlinearity"], layout)

    def build(key: Array) -> GeoMLP:
        return GeoMLP.init(
            key,
            mv,
            s,
            ratio=fields["mlp_ratio"],
            num_layers=fields["num_layers_mlp"],
            gate=gate,
            scalar_activation=scalar,
            dropout_prob=dropout,
            subgroup=primitives["use_fully_connected_subgroup"],
            bivector=primitives["use_bivector"],
            geometric_product=primitives["use_geometric_product"],
        )

    return Subject(empty(build), _on_sectors(lambda layer, x, s, inputs: layer(x, s)))


def _self_attention(table: Arguments, layout: str, gatr_config: Any, inputs: Any) -> Subject:
    mv, s = table.take("in_mv_channels"), _scalars(table, layout, "in_s_channels")
    out_mv = table.take("out_mv_channels", default=mv)
    out_s = _scalars(table, layout, "out_s_channels")
    extra_mv = table.take("additional_qk_mv_channels", default=0)
    extra_s = table.take("additional_qk_s_channels", default=0)
    group = read_primitives(table, layout, gatr_config)["use_fully_connected_subgroup"]
    fields = read_attention(table.rest(), table.where, layout)

    def build(key: Array) -> SelfAttention:
        layer = SelfAttention.init(
            key,
            mv,
            s,
            num_heads=fields["num_heads"],
            ratio=fields["attn_ratio"],
            multi_query=fields["multi_query"],
            head_scale=fields["head_scale"],
            extra_mv=extra_mv,
            extra_s=extra_s,
            qkv_bias=layout == "1.4",
            subgroup=group,
        )
        return _with_output(layer, key, out_mv, out_s, group)

    def apply(layer: SelfAttention, x: Any, s: Array, inputs: Tensors) -> Any:
        extra = _extra(inputs, s) if extra_mv or extra_s else None
        return layer(x, s, mask(inputs, "attn_mask"), extra=extra)

    return Subject(empty(build), _on_sectors(apply))


def _extra(inputs: Tensors, s: Array) -> tuple[sectors.Sectors, Array]:
    """The additional features of queries and keys, taken out; s gives the shape of no channels."""
    mv = inputs.pop("additional_qk_features_mv", jnp.zeros((*s.shape[:-1], 0, 16), s.dtype))
    more = inputs.pop("additional_qk_features_s", jnp.zeros((*s.shape[:-1], 0), s.dtype))
    return sectors.from_multivectors(mv), more


def _with_output(layer: Any, key: Array, mv: int, s: int | None, group: bool) -> Any:
    """The attention with another number of output channels."""
    inside = layer.out_linear
    in_s = None if inside.s2mvs is None else inside.s2mvs.weight.shape[1]
    out = EquiLinear.init(key, inside.weight.shape[1], mv, in_s, s, subgroup=group)
    return dataclasses.replace(layer, out_linear=out)


def _cross_attention(table: Arguments, layout: str, gatr_config: Any, inputs: Any) -> Subject:
    sizes = [
        table.take("in_q_mv_channels", "q_mv_channels"),
        _scalars(table, layout, "in_q_s_channels", "q_s_channels"),
        table.take("in_kv_mv_channels", "kv_mv_channels"),
        _scalars(table, layout, "in_kv_s_channels", "kv_s_channels"),
    ]
    out_mv = table.take("out_mv_channels", default=sizes[0])
    out_s = _scalars(table, layout, "out_s_channels")
    group = read_primitives(table, layout, gatr_config)["use_fully_connected_subgroup"]
    fields = read_attention(table.rest(), table.where, layout)

    def build(key: Array) -> CrossAttention:
        layer = CrossAttention.init(
            key,
            *sizes,
            num_heads=fields["num_heads"],
            ratio=fields["attn_ratio"],
            multi_query=fields["multi_query"],
            head_scale=fields["head_scale"],
            qkv_bias=layout == "1.4",
            qkv_norm=layout == "2.0",
            subgroup=group,
        )
        return _with_output(layer, key, out_mv, out_s, group)

    def call(layer: CrossAttention, inputs: Tensors) -> Outputs:
        inputs = dict(inputs)
        x, condition = (
            sectors.from_multivectors(take(inputs, f"multivectors_{k}")) for k in ("q", "kv")
        )
        s, s_condition = (
            inputs.pop(f"scalars_{k}", jnp.zeros((*y.scalar.shape[:-2], 0)))
            for k, y in (("q", x), ("kv", condition))
        )
        allowed = mask(inputs, "attn_mask", "crossattn_mask")
        finish(inputs)
        y, t = layer(x, s, condition, s_condition, allowed)
        return sectors.to_multivectors(y), t if t.shape[-1] else None

    return Subject(empty(build), call)


def _block_fields(table: Arguments, layout: str, gatr_config: Any) -> dict[str, Any]:
    """The fields of a configuration that a block's arguments tell."""
    fields = {
        "hidden_mv_channels": table.take("mv_channels"),
        "hidden_s_channels": _scalars(table, layout, "s_channels"),
        "dropout_prob": table.take("dropout_prob", default=None),
    }
    fields |= read_attention(table.take("attention"), "attention", layout)
    fields |= read_mlp(table.take("mlp"), "mlp", layout)
    fields |= read_primitives(table, layout, gatr_config)
    if layout == "2.0":
        affine = table.take("norm_elementwise_affine", default=True)
        fields["norm_elementwise_affine"] = affine
    return fields


def _block(table: Arguments, layout: str, gatr_config: Any, inputs: Any) -> Subject:
    count = {"mv": 0, "s": 0}  # of additional features
    for end, axis in (("mv", -2), ("s", -1)):
        if f"additional_qk_features_{end}" in inputs:
            count[end] = inputs[f"additional_qk_features_{end}"].shape[axis]
    extra: dict[str, Any] = {
        f"reinsert_{end}_channels": tuple(range(n)) for end, n in count.items()
    }
    extra |= {f"in_{end}_channels": max(n, 1) for end, n in count.items()}
    fields = _block_fields(table, layout, gatr_config)
    config = LGATrConfig(**version_fields("LGATr", layout) | extra | fields)

    def apply(layer: Block, x: Any, s: Array, inputs: Tensors) -> Any:
        more = _extra(inputs, s) if any(count.values()) else None
        return layer(x, s, mask(inputs, "attn_mask"), more, None)

    return Subject(empty(lambda key: Block.init(key, config)), _on_sectors(apply))


def _conditional_block(table: Arguments, layout: str, gatr_config: Any, inputs: Any) -> Subject:
    fields = _block_fields(table, layout, gatr_config)
    fields["mv_channels_cond"] = table.take("mv_channels_cond", "condition_mv_channels")
    names = ("s_channels_cond", "condition_s_channels")
    fields["s_channels_cond"] = _scalars(table, layout, *names)
    cross = read_attention(table.take("crossattention"), "crossattention", layout)
    fields |= {f"crossattention_{name}": value for name, value in cross.items()}
    config = ConditionalLGATrConfig(**version_fields("ConditionalLGATr", layout) | fields)

    def apply(layer: ConditionalBlock, x: Any, s: Array, inputs: Tensors) -> Any:
        names = ("multivectors_cond", "multivectors_condition")
        condition = sectors.from_multivectors(take(inputs, *names))
        scalars = either(inputs, "scalars_cond", "scalars_condition")
        if scalars is None:
            scalars = jnp.zeros((*condition.scalar.shape[:-2], 0), s.dtype)
        masks = mask(inputs, "attn_mask"), mask(inputs, "crossattn_mask")
        return layer(x, s, (condition, scalars), *masks, None)

    return Subject(empty(lambda key: ConditionalBlock.init(key, config)), _on_sectors(apply))


LAYERS: dict[str, Callable[[Arguments, str, Any, Any], Subject]] = {
    "EquiLinear": _equi_linear,
    "EquiLayerNorm": _equi_norm,
    "GeometricBilinear": _bilinear,
    "ScalarGatedNonlinearity": _gated,
    "SelfAttention": _self_attention,
    "CrossAttention": _cross_attention,
    "GeoMLP": _geo_mlp,
    "LGATrBlock": _block,
    "ConditionalLGATrBlock": _conditional_block,
}
