"""The single layers of L-GATr-slim that a recorded case can hold, built from the peer's arguments.

Their vectors are (…, C, 4) in lgatr 1.4 and (…, 4, C) in lgatr 2.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jax import Array

from jaxpriors.layers import lorentz
from jaxpriors.models import lgatr_slim, lgatr_slim_layers
from jaxpriors.models.lgatr_slim_config import ConditionalLGATrSlimConfig, LGATrSlimConfig
from jaxpriors.porting.arguments import Arguments, version_fields
from jaxpriors.porting.cases.subject import (
    Outputs,
    Subject,
    Tensors,
    empty,
    finish,
    mask,
    only,
    take,
)


def _on_vectors(apply: Callable[..., tuple[Array, Array]], channels: int, layout: str):
    """The call of a layer on vectors (…, 4, C) and scalars, in the layout of the inputs."""

    def call(layer: Any, inputs: Tensors) -> Outputs:
        inputs = dict(inputs)
        x = take(inputs, "vectors", "vectors_q")
        inside = x.shape[-2:] == (4, channels) and (channels != 4 or layout == "2.0")
        turn = (lambda v: v) if inside else lorentz.components_last
        s = take(inputs, "scalars", "scalars_q")
        v, t = apply(layer, turn(x), s, turn, inputs)
        finish(inputs)
        return turn(v), t

    return call


def _slim_config(layout: str, **fields: Any) -> Any:
    """A configuration that holds a single layer's settings."""
    sizes = {f"{side}_{kind}_channels": 1 for side in ("in", "out", "hidden") for kind in "vs"}
    known = version_fields("LGATrSlim", layout) | sizes | {"num_blocks": 1, "num_heads": 1}
    config = ConditionalLGATrSlimConfig if "v_channels_cond" in fields else LGATrSlimConfig
    return config(**known | fields)


def _slim_linear(table: Arguments, layout: str, gatr_config: Any, inputs: Any) -> Subject:
    in_v, out_v, in_s, out_s = (
        table.take(f"{side}_{kind}_channels") for kind in "vs" for side in ("in", "out")
    )
    bias = table.take("bias", default=True)
    table.drop("initialization")
    return Subject(
        empty(lambda key: lorentz.Linear.init(key, in_v, out_v, in_s, out_s, bias=bias)),
        _on_vectors(lambda layer, v, s, turn, inputs: layer(v, s), in_v, layout),
    )


def _slim_norm(table: Arguments, layout: str, gatr_config: Any, inputs: Any) -> Subject:
    only(table, epsilon=0.01)
    affine = layout == "2.0" and table.take("elementwise_affine", default=True)
    v = table.take("v_channels", default=inputs["vectors"].shape[-2])
    s = table.take("s_channels", default=inputs["scalars"].shape[-1])
    return Subject(
        empty(lambda key: lorentz.RMSNorm.init(v, s, affine=affine)),
        _on_vectors(lambda layer, v, s, turn, inputs: layer(v, s), v, layout),
    )


def _slim_gate(table: Arguments, layout: str) -> dict[str, Any]:
    """The activations of a gated linear unit."""
    fields = {"nonlinearity": table.take("nonlinearity", default="gelu")}
    if layout == "2.0":
        fields["nonlinearity_v"] = table.take("nonlinearity_v", default="sigmoid")
    return fields


def _slim_glu(table: Arguments, layout: str, gatr_config: Any, inputs: Any) -> Subject:
    sizes = [table.take(f"{side}_{kind}_channels") for kind in "vs" for side in ("in", "out")]
    config = _slim_config(layout, **_slim_gate(table, layout))
    scalar, vector = config.activations()

    def build(key: Array) -> lorentz.GatedLinearUnit:
        return lorentz.GatedLinearUnit.init(
            key,
            *sizes,
            nonlinearity=scalar,
            nonlinearity_v=vector,
            gate_factor=config.gate_factor,
        )

    return Subject(
        empty(build),
        _on_vectors(lambda layer, v, s, turn, inputs: layer(v, s), sizes[0], layout),
    )


def _attention_config(table: Arguments, layout: str, **names: str) -> Any:
    """A configuration with the sizes of an attention; ``names`` are lgatr's of our fields."""
    table.drop("dropout_prob")
    sizes = {field: table.take(name) for field, name in names.items()}
    heads, ratio = table.take("num_heads"), table.take("attn_ratio", default=1)
    return _slim_config(layout, **sizes, num_heads=heads, attn_ratio=ratio)


def _slim_self_attention(table: Arguments, layout: str, gatr_config: Any, inputs: Any) -> Subject:
    names = {f"hidden_{kind}_channels": f"{kind}_channels" for kind in "vs"}
    config = _attention_config(table, layout, **names)

    def apply(layer: Any, v: Array, s: Array, turn: Any, inputs: Tensors) -> tuple[Array, Array]:
        return layer(v, s, mask(inputs, "attn_mask"), None)

    return Subject(
        empty(lambda key: lgatr_slim_layers.SelfAttention.init(key, config)),
        _on_vectors(apply, config.hidden_v_channels, layout),
    )


def _slim_cross_attention(table: Arguments, layout: str, gatr_config: Any, inputs: Any) -> Subject:
    names = {f"hidden_{kind}_channels": f"q_{kind}_channels" for kind in "vs"}
    names |= {f"{kind}_channels_cond": f"kv_{kind}_channels" for kind in "vs"}
    config = _attention_config(table, layout, **names)

    def apply(layer: Any, v: Array, s: Array, turn: Any, inputs: Tensors) -> tuple[Array, Array]:
        condition = turn(take(inputs, "vectors_condition", "vectors_cond", "vectors_kv"))
        scalars = take(inputs, "scalars_condition", "scalars_cond", "scalars_kv")
        allowed = mask(inputs, "attn_mask", "crossattn_mask")
        return layer(v, s, condition, scalars, allowed, None)

    return Subject(
        empty(lambda key: lgatr_slim_layers.CrossAttention.init(key, config)),
        _on_vectors(apply, config.hidden_v_channels, layout),
    )


def _slim_mlp(table: Arguments, layout: str, gatr_config: Any, inputs: Any) -> Subject:
    config = _slim_config(
        layout,
        hidden_v_channels=table.take("v_channels"),
        hidden_s_channels=table.take("s_channels"),
        mlp_ratio=table.take("mlp_ratio", default=2),
        num_layers_mlp=table.take("num_layers", "num_layers_mlp", default=2),
        dropout_prob=table.take("dropout_prob", default=None),
        **_slim_gate(table, layout),
    )
    return Subject(
        empty(lambda key: lgatr_slim_layers.MLP.init(key, config)),
        _on_vectors(
            lambda layer, v, s, turn, inputs: layer(v, s, None), config.hidden_v_channels, layout
        ),
    )


def _block_fields(table: Arguments, layout: str) -> dict[str, Any]:
    """The fields of a configuration that a block's arguments tell."""
    fields = {
        "hidden_v_channels": table.take("v_channels"),
        "hidden_s_channels": table.take("s_channels"),
        "num_heads": table.take("num_heads"),
        "dropout_prob": table.take("dropout_prob", default=None),
    }
    defaults = {"mlp_ratio": 2, "attn_ratio": 1, "num_layers_mlp": 2}
    fields |= {name: table.take(name, default=value) for name, value in defaults.items()}
    if layout == "2.0":
        affine = table.take("norm_elementwise_affine", default=True)
        fields["norm_elementwise_affine"] = affine
    return fields | _slim_gate(table, layout)


def _slim_block(table: Arguments, layout: str, gatr_config: Any, inputs: Any) -> Subject:
    config = _slim_config(layout, **_block_fields(table, layout))

    def apply(layer: Any, v: Array, s: Array, turn: Any, inputs: Tensors) -> tuple[Array, Array]:
        return layer((v, s), mask(inputs, "attn_mask"), None)

    return Subject(
        empty(lambda key: lgatr_slim.Block.init(key, config)),
        _on_vectors(apply, config.hidden_v_channels, layout),
    )


def _slim_conditional_block(
    table: Arguments, layout: str, gatr_config: Any, inputs: Any
) -> Subject:
    fields = _block_fields(table, layout)
    for kind in "vs":
        names = f"{kind}_channels_cond", f"condition_{kind}_channels"
        fields[names[0]] = table.take(*names)
    config = _slim_config(layout, **fields)

    def apply(layer: Any, v: Array, s: Array, turn: Any, inputs: Tensors) -> tuple[Array, Array]:
        condition = turn(take(inputs, "vectors_condition", "vectors_cond"))
        scalars = take(inputs, "scalars_condition", "scalars_cond")
        masks = mask(inputs, "attn_mask"), mask(inputs, "crossattn_mask")
        return layer((v, s), (condition, scalars), *masks, None)

    return Subject(
        empty(lambda key: lgatr_slim.ConditionalBlock.init(key, config)),
        _on_vectors(apply, config.hidden_v_channels, layout),
    )


LAYERS: dict[str, Callable[[Arguments, str, Any, Any], Subject]] = {
    "SlimLinear": _slim_linear,
    "SlimRMSNorm": _slim_norm,
    "SlimGLU": _slim_glu,
    "SlimSelfAttention": _slim_self_attention,
    "SlimCrossAttention": _slim_cross_attention,
    "SlimMLP": _slim_mlp,
    "SlimBlock": _slim_block,
    "ConditionalSlimBlock": _slim_conditional_block,
}
