"""What the tensors of a state dict of ``lgatr`` tell about the network they belong to."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from jaxpriors.errors import InputError
from jaxpriors.models.lgatr import ConditionalLGATrConfig, LGATrConfig
from jaxpriors.models.lgatr_slim import ConditionalLGATrSlimConfig, LGATrSlimConfig
from jaxpriors.porting.arguments import Config, version_fields
from jaxpriors.porting.trees import LAYER, strip_prefix

CONFIGS: dict[str, Any] = {
    "LGATr": LGATrConfig,
    "ConditionalLGATr": ConditionalLGATrConfig,
    "LGATrSlim": LGATrSlimConfig,
    "ConditionalLGATrSlim": ConditionalLGATrSlimConfig,
}
"""Our configuration of each family of networks."""

MAX_RATIO = 64


@dataclass(frozen=True)
class Width:
    """Channels inside an attention: of all heads (mv or v, s), and of the layers around (C, S)."""

    inside: tuple[int, int]
    hidden: tuple[int, int]

    def ratios(self, heads: int) -> list[int]:
        """The values of attn_ratio that give this width with so many heads."""
        if any(n % heads for n in self.inside):
            return []
        mv, s = (n // heads for n in self.inside)
        c, t = self.hidden
        return [
            a
            for a in range(1, MAX_RATIO + 1)
            if max(a * c // heads, 1) == mv and max(a * t // heads, 4) == s
        ]

    def heads(self) -> list[int]:
        """The numbers of heads that can give this width."""
        return [h for h in range(1, math.gcd(*self.inside) + 1) if self.ratios(h)]


@dataclass(frozen=True)
class Inferred:
    """What a state dict tells.

    family, layout: the network ("LGATr", …) and the version whose state dict it is, "1.4" or "2.0".
    prefix: what stands before every name.
    fields: values of the configuration that follow from names and shapes.
    widths: of the attentions ("" and "crossattention_"), which tie num_heads and attn_ratio.
    missing: fields that must be given, with what is known about them.
    assumed: fields that leave no trace, with the value taken unless another is given.
    parameters: numbers in all tensors of the network.
    """

    family: str
    layout: str
    prefix: str
    fields: dict[str, Any]
    widths: dict[str, Width]
    missing: dict[str, str]
    assumed: dict[str, Any]
    parameters: int
    notes: list[str] = field(default_factory=list)


def infer(state: Mapping[str, np.ndarray], prefix: str | None = None) -> Inferred:
    """Family, layout and configuration of the network with these tensors.

    Raises InputError where the tensors are not those of a network of ``lgatr``.
    """
    inside, _, prefix = strip_prefix(state, prefix)
    shapes = {name: value.shape for name, value in inside.items()}
    slim = "linear_in.weight_v" in shapes
    if not slim and len(shapes.get("linear_in.weight", ())) != 3:
        raise InputError(
            "not a network of lgatr: found no linear_in.weight (out, in, 10 or 5) and no "
            f"linear_in.weight_v among {', '.join(sorted(state)[:6]) or 'no tensors'}, …"
        )
    conditional = any(".crossattention." in name for name in shapes)
    family = ("Conditional" if conditional else "") + ("LGATrSlim" if slim else "LGATr")
    try:
        told = (_infer_slim if slim else _infer_lgatr)(shapes, conditional)
    except (KeyError, IndexError) as error:
        raise InputError(f"{family}: the tensor {error} is missing or has another shape") from error
    layout, fields, widths, missing, assumed = told
    notes = []
    if _dropout_modules(shapes):
        notes.append("dropout modules are part of the MLP; their probability is not in the tensors")
    for name, width in widths.items():
        heads = fields.get(f"{name}num_heads")
        candidates = width.heads()
        if heads is None and len(candidates) == 1:
            fields[f"{name}num_heads"] = heads = candidates[0]
        if heads is None:
            missing[f"{name}num_heads"] = f"one of {', '.join(map(str, candidates))}"
        elif heads not in candidates:
            raise InputError(
                f"{family}: {name}num_heads {heads} does not fit {width.inside} channels of all "
                f"heads over {width.hidden} hidden ones"
            )
    parameters = sum(v.size for n, v in inside.items() if not n.endswith("attention.metric"))
    return Inferred(family, layout, prefix, fields, widths, missing, assumed, parameters, notes)


def complete(inferred: Inferred, given: Mapping[str, Any]) -> Config:
    """The configuration from what was inferred and what is given by field name.

    Raises InputError that lists every field that is missing, and where a given value is unknown
    or contradicts the tensors.
    """
    config = CONFIGS[inferred.family]
    known = {f.name for f in dataclasses.fields(config)}
    for name, value in given.items():
        if name not in known:
            raise InputError(f"{inferred.family} has no setting {name}")
        if inferred.fields.get(name, value) != value:
            raise InputError(f"{name}: given {value!r}, the tensors tell {inferred.fields[name]!r}")
    missing = {name: hint for name, hint in inferred.missing.items() if name not in given}
    if missing:
        lines = [f"\n  {name}: {hint}" for name, hint in missing.items()]
        raise InputError(
            "the tensors do not tell these, give them (--heads, --crossattention-heads, "
            "--nonlinearity, --reinsert-mv, --reinsert-s, or all with --config):" + "".join(lines)
        )
    fields = version_fields(inferred.family, inferred.layout)
    fields |= inferred.assumed | inferred.fields | dict(given)
    for prefix, width in inferred.widths.items():
        heads_name, name = f"{prefix}num_heads", f"{prefix}attn_ratio"
        heads = fields[heads_name]
        ratios = width.ratios(heads)
        if not ratios:
            raise InputError(
                f"{heads_name}: given {heads}, the tensors allow {inferred.missing[heads_name]}"
            )
        if fields.setdefault(name, ratios[0]) not in ratios:
            raise InputError(f"{name}: given {fields[name]}, the tensors tell {ratios[0]}")
    try:
        return config(**fields)
    except (TypeError, ValueError) as error:
        raise InputError(f"{inferred.family}: {error}") from error


Shapes = Mapping[str, tuple[int, ...]]
Told = tuple[str, dict[str, Any], dict[str, Width], dict[str, str], dict[str, Any]]


def _infer_lgatr(shapes: Shapes, conditional: bool) -> Told:
    block = _first_block(shapes)
    first, last = shapes["linear_in.weight"], shapes["linear_out.weight"]
    hidden = first[0], shapes["linear_in.mvs2s.weight"][0]
    multi_query = "attention.qkv_module.q_linear.weight" in block
    qkv = "attention.qkv_module." + ("q_linear" if multi_query else "in_linear")
    layout = "1.4" if f"{qkv}.s2mvs.bias" in block else "2.0"
    out_s = shapes.get("linear_out.mvs2s.weight", (None,))[0]
    fields: dict[str, Any] = {
        "in_mv_channels": first[1],
        "out_mv_channels": last[0],
        "hidden_mv_channels": hidden[0],
        "out_s_channels": out_s,
        "hidden_s_channels": hidden[1],
        "use_fully_connected_subgroup": first[2] == 10,
        "num_blocks": _count_blocks(shapes),
        "qkv_bias": layout == "1.4",
        "norm_elementwise_affine": "norm1.weight_mv" in block,
        "multi_query": multi_query,
        "head_scale": "attention.head_scale" in block,
    }
    if "linear_in.s2mvs.weight" in shapes:
        fields["in_s_channels"] = shapes["linear_in.s2mvs.weight"][1]
    else:
        fields["in_s_channels"] = None if "linear_in.bias" in shapes else 0
    widths = {"": _width(block, "attention.out_linear", hidden)}
    if multi_query:
        fields["num_heads"] = (
            block[f"{qkv}.weight"][0] // block["attention.qkv_module.k_linear.weight"][0]
        )
    elif fields["head_scale"]:
        fields["num_heads"] = block["attention.head_scale"][0]
    missing = {"nonlinearity": "the activation of the MLP, lgatr's default is gelu"}
    for kind, name, at in (("mv", "weight", 1), ("s", "s2s.weight", 1)):
        count = block[f"{qkv}.{name}"][at] - hidden[kind == "s"]
        if count and not conditional:
            missing[f"reinsert_{kind}_channels"] = f"{count} numbers of input channels"
    if conditional:
        kv, q = block["crossattention.kv_linear.weight"], block["crossattention.q_linear.weight"]
        fields["mv_channels_cond"] = kv[1]
        fields["s_channels_cond"] = block.get("crossattention.kv_linear.s2s.weight", (0, None))[1]
        fields["crossattention_multi_query"] = kv[0] != 2 * q[0]
        fields["crossattention_head_scale"] = "crossattention.head_scale" in block
        widths["crossattention_"] = _width(block, "crossattention.out_linear", hidden)
        if kv[0] != 2 * q[0]:
            fields["crossattention_num_heads"] = 2 * q[0] // kv[0]
        elif fields["crossattention_head_scale"]:
            fields["crossattention_num_heads"] = block["crossattention.head_scale"][0]
    layers = _mlp_layers(block)
    bilinear = f"{layers[0]}.linear_left.weight" in block
    fields["use_geometric_product"] = bilinear
    fields["num_layers_mlp"] = len(layers)
    start = f"{layers[0]}.linear_out.weight" if bilinear else f"{layers[0]}.weight"
    fields["mlp_ratio"] = block[start][0] // hidden[0]
    return layout, fields, widths, missing, {"use_bivector": True, "dropout_prob": 0.0}


def _infer_slim(shapes: Shapes, conditional: bool) -> Told:
    block = _first_block(shapes)
    attention = "selfattention" if conditional else "attention"
    first, last = shapes["linear_in.weight_v"], shapes["linear_out.weight_v"]
    hidden = first[0], block[f"{attention}.linear_out.linear_s.weight"][0]
    layout = "1.4" if f"{attention}.linear_in.linear_s.bias" in block else "2.0"
    fields: dict[str, Any] = {
        "in_v_channels": first[1],
        "out_v_channels": last[0],
        "hidden_v_channels": hidden[0],
        "in_s_channels": shapes.get("linear_in.linear_s.weight", (0, 0))[1],
        "out_s_channels": shapes.get("linear_out.linear_s.weight", (0, 0))[0],
        "hidden_s_channels": hidden[1],
        "num_blocks": _count_blocks(shapes),
        "qkv_bias": layout == "1.4",
        "norm_elementwise_affine": "norm1.weight_v" in block,
    }
    out = f"{attention}.linear_out"
    inside = block[f"{out}.weight_v"][1], block[f"{out}.linear_s.weight"][1]
    if conditional:
        fields["v_channels_cond"] = block["crossattention.linear_in_kv.weight_v"][1]
        fields["s_channels_cond"] = block["crossattention.linear_in_kv.linear_s.weight"][1]
    layers = _mlp_layers(block)
    fields["num_layers_mlp"] = len(layers)
    fields["mlp_ratio"] = block[f"{layers[-1]}.weight_v"][1] // hidden[0]
    missing = {"nonlinearity": "the activation of the MLP, lgatr's default is gelu"}
    assumed: dict[str, Any] = {"dropout_prob": 0.0}
    if layout == "2.0":
        assumed["nonlinearity_v"] = "sigmoid"
    return layout, fields, {"": Width(inside, hidden)}, missing, assumed


def _first_block(shapes: Shapes) -> Shapes:
    block = {n.removeprefix("blocks.0."): s for n, s in shapes.items() if n.startswith("blocks.0.")}
    if not block:
        raise KeyError("blocks.0.…")
    return block


def _count_blocks(shapes: Iterable[str]) -> int:
    return 1 + max(int(m[1]) for name in shapes if (m := re.match(r"blocks\.(\d+)\.", name)))


def _mlp_layers(block: Iterable[str]) -> list[str]:
    """The prefixes ``mlp.layers.<n>`` in their order."""
    found = {int(m[2]) for name in block if (m := LAYER.match(name)) and m[1] == "mlp.layers"}
    if not found:
        raise KeyError("blocks.0.mlp.layers.…")
    return [f"mlp.layers.{n}" for n in sorted(found)]


def _width(block: Shapes, out_linear: str, hidden: tuple[int, int]) -> Width:
    return Width((block[f"{out_linear}.weight"][1], block[f"{out_linear}.s2s.weight"][1]), hidden)


def _dropout_modules(shapes: Shapes) -> bool:
    """Whether the numbering of an MLP has room for dropout modules."""
    block = _first_block(shapes)
    layers = [int(name.split(".")[-1]) for name in _mlp_layers(block)]
    slim = f"mlp.layers.{layers[-1]}.weight_v" in block
    return len(layers) > 1 and layers[1] - layers[0] > (1 if slim else 2)
