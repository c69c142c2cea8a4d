"""Infer the network that a state dict of ``lgatr`` belongs to from its tensors."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from jaxpriors.errors import InputError
from jaxpriors.models.files import FAMILIES
from jaxpriors.models.state_dicts import LAYER, strip_prefix
from jaxpriors.porting.lgatr_arguments import Config, version_fields

MAX_RATIO = 64
QKV_BIAS = re.compile(r"attention\.(qkv_module|linear_in)\..*bias$")  # lgatr 1.4 alone


@dataclass(frozen=True)
class Width:
    """Channels inside an attention: of all heads (mv or v, s), and of the layers around (C, S).

    None means no scalars at all.
    """

    inside: tuple[int, int | None]
    hidden: tuple[int, int | None]

    def ratios(self, heads: int) -> list[int]:
        """List the values of attn_ratio that give this width with ``heads`` heads."""
        mv, s = self.inside
        c, t = self.hidden
        if heads < 1 or mv % heads or (s or 0) % heads or (s is None) != (t is None):
            return []
        return [
            a
            for a in range(1, MAX_RATIO + 1)
            if max(a * c // heads, 1) * heads == mv
            and (s is None or t is None or max(a * t // heads, 4) * heads == s)
        ]

    def heads(self) -> list[int]:
        """List the numbers of heads that can give this width."""
        return [
            h for h in range(1, math.gcd(self.inside[0], self.inside[1] or 0) + 1) if self.ratios(h)
        ]


class Sizes:
    """The shapes of a state dict's tensors, and which of them were read."""

    def __init__(self, tensors: Mapping[str, np.ndarray]):
        self.shapes = {name: value.shape for name, value in tensors.items()}
        self.read: dict[str, tuple[int, ...]] = {}

    def __contains__(self, name: str) -> bool:
        return name in self.shapes

    def get(self, name: str, axis: int) -> int | None:
        """Return a length, None without such a tensor; InputError where it has too few axes."""
        if name not in self.shapes:
            return None
        shape = self.read[name] = self.shapes[name]
        if axis >= len(shape):
            raise InputError(f"misshapen {name}: found {shape}, expected {_axes(name, axis)}")
        return shape[axis]

    def __call__(self, name: str, axis: int) -> int:
        """Return a length as ``get`` does; InputError where there is no such tensor."""
        size = self.get(name, axis)
        if size is None:
            raise InputError(f"missing {name}, expected {_axes(name, axis)}")
        return size

    def sources(self) -> str:
        """Write the tensors that were read, with their shapes."""
        return ", ".join(f"{name} {shape}" for name, shape in self.read.items())


AXES = {
    "linear_in.weight": "(hidden_mv_channels, in_mv_channels, 10 or 5)",
    "linear_out.weight": "(out_mv_channels, hidden_mv_channels, 10 or 5)",
    "linear_in.weight_v": "(hidden_v_channels, in_v_channels)",
    "linear_out.weight_v": "(out_v_channels, hidden_v_channels)",
}


def _axes(name: str, axis: int) -> str:
    return AXES.get(name, f"a tensor of at least {axis + 1} axes")


@dataclass(frozen=True)
class Recognised:
    """Which network a state dict belongs to.

    family, layout: the network ("LGATr", …) and the version whose state dict it is, "1.4" or "2.0".
    prefix: what stands before every name. parameters: numbers in all tensors of the network.
    """

    family: str
    layout: str
    prefix: str
    parameters: int


@dataclass(frozen=True)
class Inferred(Recognised):
    """What follows from a state dict.

    fields: values of the configuration that follow from names and shapes.
    widths: of the attentions ("" and "crossattention_"), which tie num_heads and attn_ratio.
    missing: fields that must be given, with what is known about them.
    assumed: fields that leave no trace, with the value used unless another is given.
    read: the tensors with their shapes that the fields were read from.
    """

    fields: dict[str, Any]
    widths: dict[str, Width]
    missing: dict[str, str]
    assumed: dict[str, Any]
    read: str
    notes: list[str]


def recognise(state: Mapping[str, np.ndarray], prefix: str | None = None) -> Recognised:
    """Find the family and the version of the network with these tensors.

    Raises InputError where the tensors are not those of a network of ``lgatr``.
    """
    inside, _, prefix = strip_prefix(state, prefix)
    slim = "linear_in.weight_v" in inside
    if not slim and ("linear_in.weight" not in inside or inside["linear_in.weight"].ndim != 3):
        raise InputError(
            "not a network of lgatr: found no linear_in.weight (out, in, 10 or 5) and no "
            f"linear_in.weight_v among {', '.join(sorted(state)[:6]) or 'no tensors'}, …"
        )
    conditional = any(".crossattention." in name for name in inside)
    family = ("Conditional" if conditional else "") + ("LGATrSlim" if slim else "LGATr")
    layout = "1.4" if any(QKV_BIAS.search(name) for name in inside) else "2.0"
    parameters = sum(v.size for n, v in inside.items() if not n.endswith("attention.metric"))
    return Recognised(family, layout, prefix, parameters)


def infer(state: Mapping[str, np.ndarray], prefix: str | None = None) -> Inferred:
    """Infer family, layout and configuration of the network with these tensors.

    Raises InputError where the tensors are not those of a network of ``lgatr``, or where a tensor
    is missing from which sizes are read.
    """
    known = recognise(state, prefix)
    sizes = Sizes(strip_prefix(state, known.prefix)[0])
    read = _read_slim if known.family.endswith("Slim") else _read_lgatr
    try:
        fields, widths, missing = read(sizes, known.family.startswith("Conditional"))
        fields["qkv_bias"] = known.layout == "1.4"
        dropout = _dropout_modules(sizes)
    except InputError as error:
        raise InputError(f"{known.family}: {error}") from error
    assumed: dict[str, Any] = {"nonlinearity": "gelu", "dropout_prob": 0.0 if dropout else None}
    notes = []
    if dropout:
        notes.append("dropout modules are part of the MLP; their probability is not in the tensors")
    if not known.family.endswith("Slim"):
        assumed["use_bivector"] = True
    elif known.layout == "2.0":
        assumed["nonlinearity_v"] = "sigmoid"
    for name, width in widths.items():
        heads = fields.get(f"{name}num_heads")
        candidates = width.heads()
        if heads is None and len(candidates) == 1:
            fields[f"{name}num_heads"] = heads = candidates[0]
        if heads is None and candidates:
            missing[f"{name}num_heads"] = f"one of {', '.join(map(str, candidates))}"
        elif heads not in candidates:
            found = "no number of heads" if heads is None else f"{name}num_heads {heads}"
            raise InputError(
                f"{known.family}: {found} fits {width.inside} channels of all "
                f"heads over {width.hidden} hidden ones; read from {sizes.sources()}"
            )
    return Inferred(
        **dataclasses.asdict(known),
        fields=fields,
        widths=widths,
        missing=missing,
        assumed=assumed,
        read=sizes.sources(),
        notes=notes,
    )


def complete(inferred: Inferred, given: Mapping[str, Any]) -> Config:
    """Make the configuration from what was inferred and what is given by field name.

    Raises InputError that lists every field that is missing, and where a given value is unknown
    or contradicts the tensors.
    """
    config = FAMILIES[inferred.family][1]
    known = {f.name for f in dataclasses.fields(config)}
    for name, value in given.items():
        if name not in known:
            raise InputError(f"{inferred.family} has no setting {name}")
        if name == "nonlinearity_v" and value is not None and inferred.layout == "1.4":
            raise InputError(
                f"nonlinearity_v: given {value!r}, the gate of the vectors in lgatr 1.4 has the "
                "nonlinearity"
            )
        if inferred.fields.get(name, value) != value:
            raise InputError(f"{name}: given {value!r}, the tensors show {inferred.fields[name]!r}")
    missing = {name: hint for name, hint in inferred.missing.items() if name not in given}
    if missing:
        lines = [f"\n  {name}: {hint}" for name, hint in missing.items()]
        raise InputError(
            "the tensors do not show these, give them (--heads, --crossattention-heads, "
            "--reinsert-mv, --reinsert-s, or all with --config):" + "".join(lines)
        )
    fields = version_fields(inferred.family, inferred.layout)
    fields |= inferred.assumed | inferred.fields | dict(given)
    for prefix, width in inferred.widths.items():
        heads_name, name = f"{prefix}num_heads", f"{prefix}attn_ratio"
        heads = fields[heads_name]
        ratios = width.ratios(heads)
        if not ratios:
            raise InputError(
                f"{heads_name}: given {heads}, the tensors allow "
                f"one of {', '.join(map(str, width.heads()))}"
            )
        if fields.setdefault(name, ratios[0]) not in ratios:
            raise InputError(f"{name}: given {fields[name]}, the tensors show {ratios[0]}")
    try:
        return config(**fields)
    except (TypeError, ValueError) as error:
        raise InputError(f"{inferred.family}: {error}") from error


Fields = tuple[dict[str, Any], dict[str, Width], dict[str, str]]


def _read_lgatr(sizes: Sizes, conditional: bool) -> Fields:
    block = "blocks.0."
    multi_query = f"{block}attention.qkv_module.q_linear.weight" in sizes
    qkv = f"{block}attention.qkv_module." + ("q_linear" if multi_query else "in_linear")
    mv, s = sizes("linear_in.weight", 0), sizes.get("linear_in.mvs2s.weight", 0)
    fields: dict[str, Any] = {
        "in_mv_channels": sizes("linear_in.weight", 1),
        "out_mv_channels": sizes("linear_out.weight", 0),
        "hidden_mv_channels": mv,
        "in_s_channels": sizes.get("linear_in.s2mvs.weight", 1),
        "out_s_channels": sizes.get("linear_out.mvs2s.weight", 0),
        "hidden_s_channels": s,
        "use_fully_connected_subgroup": sizes("linear_in.weight", 2) == 10,
        "num_blocks": _count_blocks(sizes.shapes),
        "norm_elementwise_affine": f"{block}norm1.weight_mv" in sizes,
        "multi_query": multi_query,
        "head_scale": f"{block}attention.head_scale" in sizes,
    }
    if fields["in_s_channels"] is None and "linear_in.bias" not in sizes:
        fields["in_s_channels"] = 0
    widths = {"": _width(sizes, f"{block}attention.out_linear", (mv, s))}
    if multi_query:
        key = sizes(f"{block}attention.qkv_module.k_linear.weight", 0)
        fields["num_heads"] = sizes(f"{qkv}.weight", 0) // max(key, 1)
    elif fields["head_scale"]:
        fields["num_heads"] = sizes(f"{block}attention.head_scale", 0)
    missing = {}
    for kind, count in (
        ("mv", sizes(f"{qkv}.weight", 1) - mv),
        ("s", (sizes.get(f"{qkv}.s2mvs.weight", 1) or 0) - (s or 0)),
    ):
        if count and not conditional:
            missing[f"reinsert_{kind}_channels"] = f"{count} numbers of input channels"
    if conditional:
        cross = f"{block}crossattention."
        kv, q = sizes(f"{cross}kv_linear.weight", 0), sizes(f"{cross}q_linear.weight", 0)
        fields["mv_channels_cond"] = sizes(f"{cross}kv_linear.weight", 1)
        fields["s_channels_cond"] = sizes.get(f"{cross}kv_linear.s2mvs.weight", 1)
        fields["crossattention_multi_query"] = kv != 2 * q
        fields["crossattention_head_scale"] = f"{cross}head_scale" in sizes
        widths["crossattention_"] = _width(sizes, f"{cross}out_linear", (mv, s))
        if kv != 2 * q:
            fields["crossattention_num_heads"] = 2 * q // max(kv, 1)
        elif fields["crossattention_head_scale"]:
            fields["crossattention_num_heads"] = sizes(f"{cross}head_scale", 0)
    layers = _mlp_layers(sizes)
    first = f"{block}mlp.layers.{layers[0]}"
    bilinear = f"{first}.linear_left.weight" in sizes
    fields["use_geometric_product"] = bilinear
    fields["num_layers_mlp"] = len(layers)
    out = sizes(f"{first}.linear_out.weight" if bilinear else f"{first}.weight", 0)
    fields["mlp_ratio"] = out // max(mv, 1)
    return fields, widths, missing


def _read_slim(sizes: Sizes, conditional: bool) -> Fields:
    block = "blocks.0."
    out = f"{block}{'selfattention' if conditional else 'attention'}.linear_out"
    hidden = sizes("linear_in.weight_v", 0), sizes(f"{out}.linear_s.weight", 0)
    fields: dict[str, Any] = {
        "in_v_channels": sizes("linear_in.weight_v", 1),
        "out_v_channels": sizes("linear_out.weight_v", 0),
        "hidden_v_channels": hidden[0],
        "in_s_channels": sizes.get("linear_in.linear_s.weight", 1) or 0,
        "out_s_channels": sizes.get("linear_out.linear_s.weight", 0) or 0,
        "hidden_s_channels": hidden[1],
        "num_blocks": _count_blocks(sizes.shapes),
        "norm_elementwise_affine": f"{block}norm1.weight_v" in sizes,
    }
    if conditional:
        cross = f"{block}crossattention.linear_in_kv"
        fields["v_channels_cond"] = sizes(f"{cross}.weight_v", 1)
        fields["s_channels_cond"] = sizes(f"{cross}.linear_s.weight", 1)
    layers = _mlp_layers(sizes)
    fields["num_layers_mlp"] = len(layers)
    last = sizes(f"{block}mlp.layers.{layers[-1]}.weight_v", 1)
    fields["mlp_ratio"] = last // max(hidden[0], 1)
    inside = sizes(f"{out}.weight_v", 1), sizes(f"{out}.linear_s.weight", 1)
    return fields, {"": Width(inside, hidden)}, {}


def _count_blocks(names: Iterable[str]) -> int:
    found = [int(match[1]) for name in names if (match := re.match(r"blocks\.(\d{1,9})\.", name))]
    if not found:
        raise InputError("missing blocks.0.…, expected at least one block")
    return 1 + max(found)


def _mlp_layers(sizes: Sizes) -> list[int]:
    """List the n of ``mlp.layers.<n>`` in the first block, in order."""
    matches = (LAYER.match(name) for name in sizes.shapes)
    found = {int(match[2]) for match in matches if match and match[1] == "blocks.0.mlp.layers"}
    if not found:
        raise InputError("missing blocks.0.mlp.layers.…, expected at least one layer")
    return sorted(found)


def _width(sizes: Sizes, out_linear: str, hidden: tuple[int, int | None]) -> Width:
    inside = sizes(f"{out_linear}.weight", 1), sizes.get(f"{out_linear}.s2s.weight", 1)
    return Width(inside, hidden)


def _dropout_modules(sizes: Sizes) -> bool:
    """Return whether the numbering of an MLP has room for dropout modules."""
    layers = _mlp_layers(sizes)
    slim = f"blocks.0.mlp.layers.{layers[-1]}.weight_v" in sizes
    return len(layers) > 1 and layers[1] - layers[0] > (1 if slim else 2)
