"""Turn constructor arguments of the PyTorch package ``lgatr`` into our configurations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jaxpriors.errors import InputError
from jaxpriors.models import lgatr, lgatr_slim
from jaxpriors.models.files import FAMILIES
from jaxpriors.models.lgatr import LGATrConfig
from jaxpriors.models.lgatr_slim import LGATrSlimConfig

Config = LGATrConfig | LGATrSlimConfig

REQUIRED = object()
CHANNELS = ("in_{}_channels", "out_{}_channels", "hidden_{}_channels")
# Arguments that change how the network runs, not what it computes.
EXECUTION = (
    "compile",
    "compile_mode",
    "compile_dynamic",
    "compile_kwargs",
    "naive_amp",
    "activation_memory_budget",
)
# Fields of the attention and MLP configurations that the network itself sets.
SET_BY_NETWORK = (
    "in_mv_channels",
    "out_mv_channels",
    "in_s_channels",
    "out_s_channels",
    "mv_channels",
    "s_channels",
    "in_q_mv_channels",
    "in_kv_mv_channels",
    "in_q_s_channels",
    "in_kv_s_channels",
    "q_mv_channels",
    "kv_mv_channels",
    "q_s_channels",
    "kv_s_channels",
    "additional_qk_mv_channels",
    "additional_qk_s_channels",
    "additional_q_mv_channels",
    "additional_q_s_channels",
    "additional_k_mv_channels",
    "additional_k_s_channels",
    "output_init",
    "dropout_prob",
)


class Arguments:
    """A table of arguments that are removed one by one; what is left in the end is unknown."""

    def __init__(self, table: Any, where: str):
        if not isinstance(table, Mapping):
            raise InputError(f"{where}: found {type(table).__name__}, expected a table")
        self.table, self.where = dict(table), where

    def take(self, *names: str, default: Any = REQUIRED) -> Any:
        """Remove and return the value of the first of these names that is there, or the default."""
        for name in names:
            if name in self.table:
                return self.table.pop(name)
        if default is REQUIRED:
            raise InputError(f"{self.where}: {names[0]} is missing")
        return default

    def drop(self, *names: str) -> None:
        """Remove what has no influence here."""
        for name in names:
            self.table.pop(name, None)

    def rest(self) -> dict[str, Any]:
        """Remove and return all that is left."""
        table, self.table = self.table, {}
        return table

    def finish(self) -> None:
        """Raise InputError where an argument is left."""
        if self.table:
            names = ", ".join(sorted(map(str, self.table)))
            raise InputError(f"{self.where}: unknown argument {names}")


def layout_of(version: str) -> str:
    """Return "1.4" or "2.0" for a version of lgatr; InputError for one that was not compared."""
    for layout, start in (("1.4", "1.4"), ("2.0", "2.")):
        if version.startswith(start):
            return layout
    raise InputError(f"lgatr version: found {version!r}, expected 1.4.x or 2.x")


def config_from_reference(
    cls_name: str,
    ctor: Mapping[str, Any],
    version: str,
    gatr_config: Mapping[str, Any] | None = None,
) -> Config:
    """Make the configuration of the network ``cls_name(**ctor)`` of lgatr ``version``.

    ``ctor`` is plain data: ``attention``, ``crossattention``, ``mlp`` and ``primitives`` are tables
    of their fields; what is not given has the default of that version. ``gatr_config`` is the
    global configuration of 1.4. InputError names an argument that is unknown or missing.
    """
    layout = layout_of(version)
    arguments = Arguments(ctor, f"{cls_name} of lgatr {version}")
    families = {
        "LGATr": _lgatr,
        "ConditionalLGATr": _lgatr,
        "LGATrSlim": _slim,
        "ConditionalLGATrSlim": _slim,
    }
    if cls_name not in families:
        raise InputError(f"class: found {cls_name!r}, expected one of {sorted(families)}")
    conditional = cls_name.startswith("Conditional")
    fields = families[cls_name](arguments, layout, conditional, gatr_config)
    arguments.finish()
    try:
        return FAMILIES[cls_name][1](**fields)
    except (TypeError, ValueError) as error:
        raise InputError(f"{arguments.where}: {error}") from error


def version_fields(family: str, layout: str) -> dict[str, Any]:
    """Return the fields in which the versions of lgatr differ, for a family of networks."""
    if family.endswith("Slim"):
        return dict(lgatr_slim.VERSIONS[layout])
    fields = dict(lgatr.VERSIONS[layout])
    if family == "LGATr":
        del fields["crossattention_qkv_norm"]
    return fields


def read_primitives(arguments: Arguments, layout: str, gatr_config: Any) -> dict[str, Any]:
    """Read the symmetry group and the products: a global table in 1.4, an argument in 2.0."""
    if layout == "1.4":
        table = Arguments(gatr_config or {}, "gatr_config")
    else:
        table = Arguments(arguments.take("primitives", default=None) or {}, "primitives")
        table.drop("sparse_gp", "sparse_linear")
    names = {
        "use_fully_connected_subgroup": ("use_fully_connected_subgroup", "subgroup"),
        "use_bivector": ("use_bivector", "bivector"),
        "use_geometric_product": ("use_geometric_product", "geometric_product"),
    }
    place = 0 if layout == "1.4" else 1
    fields = {ours: table.take(theirs[place], default=True) for ours, theirs in names.items()}
    table.finish()
    return fields


def read_attention(table: Any, where: str, layout: str) -> dict[str, Any]:
    """Read num_heads, attn_ratio, multi_query and head_scale of an attention configuration."""
    arguments = Arguments(table, where)
    arguments.drop(*SET_BY_NETWORK)
    ratio = "increase_hidden_channels" if layout == "1.4" else "attn_ratio"
    fields = {
        "num_heads": arguments.take("num_heads", default=8),
        "attn_ratio": arguments.take(ratio, default=1),
        "multi_query": arguments.take("multi_query", default=False),
        "head_scale": arguments.take("head_scale", default=False),
    }
    arguments.finish()
    return fields


def read_mlp(table: Any, where: str, layout: str) -> dict[str, Any]:
    """Read mlp_ratio, num_layers_mlp and nonlinearity of an MLP configuration."""
    arguments = Arguments(table, where)
    arguments.drop(*SET_BY_NETWORK)
    if layout == "1.4":
        fields = {
            "mlp_ratio": arguments.take("increase_hidden_channels", default=4),
            "num_layers_mlp": arguments.take("num_hidden_layers", default=1) + 1,
            "nonlinearity": arguments.take("activation", default="gelu"),
        }
    else:
        fields = {
            "mlp_ratio": arguments.take("mlp_ratio", default=4),
            "num_layers_mlp": arguments.take("num_layers_mlp", default=2),
            "nonlinearity": arguments.take("nonlinearity", default="gelu"),
        }
    arguments.finish()
    return fields


def _lgatr(
    arguments: Arguments, layout: str, conditional: bool, gatr_config: Any
) -> dict[str, Any]:
    family = "ConditionalLGATr" if conditional else "LGATr"

    def scalars(*names: str) -> int | None:
        value = arguments.take(*names)
        return None if layout == "2.0" and value == 0 else value

    fields = version_fields(family, layout)
    fields |= {name: arguments.take(name) for name in (c.format("mv") for c in CHANNELS)}
    fields |= {name: scalars(name) for name in (c.format("s") for c in CHANNELS)}
    fields["num_blocks"] = arguments.take("num_blocks")
    fields |= read_attention(arguments.take("attention"), "attention", layout)
    fields |= read_mlp(arguments.take("mlp"), "mlp", layout)
    fields |= read_primitives(arguments, layout, gatr_config)
    if conditional:
        mv, s = _condition_names("mv", layout)
        fields["mv_channels_cond"] = arguments.take(mv)
        fields["s_channels_cond"] = scalars(s)
        cross = read_attention(arguments.take("crossattention"), "crossattention", layout)
        fields |= {f"crossattention_{name}": value for name, value in cross.items()}
    else:
        for name in ("reinsert_mv_channels", "reinsert_s_channels"):
            fields[name] = tuple(arguments.take(name, default=None) or ())
    return fields | _common(arguments, layout)


def _slim(arguments: Arguments, layout: str, conditional: bool, gatr_config: Any) -> dict[str, Any]:
    del gatr_config  # the slim networks do not use it
    fields = version_fields("LGATrSlim", layout)
    for kind in ("v", "s"):
        fields |= {name: arguments.take(name) for name in (c.format(kind) for c in CHANNELS)}
    if conditional:
        v, s = _condition_names("v", layout)
        fields |= {"v_channels_cond": arguments.take(v), "s_channels_cond": arguments.take(s)}
    fields |= {name: arguments.take(name) for name in ("num_blocks", "num_heads")}
    defaults = {"nonlinearity": "gelu", "mlp_ratio": 2, "attn_ratio": 1, "num_layers_mlp": 2}
    fields |= {name: arguments.take(name, default=value) for name, value in defaults.items()}
    if layout == "2.0":
        fields["nonlinearity_v"] = arguments.take("nonlinearity_v", default="sigmoid")
    return fields | _common(arguments, layout)


def _common(arguments: Arguments, layout: str) -> dict[str, Any]:
    fields = {
        "dropout_prob": arguments.take("dropout_prob", default=None),
        "checkpoint_blocks": arguments.take("checkpoint_blocks", default=False),
    }
    if layout == "2.0":
        affine = arguments.take("norm_elementwise_affine", default=True)
        fields["norm_elementwise_affine"] = affine
    arguments.drop(*EXECUTION)
    return fields


def _condition_names(kind: str, layout: str) -> tuple[str, str]:
    if layout == "1.4":
        return f"condition_{kind}_channels", "condition_s_channels"
    return f"{kind}_channels_cond", "s_channels_cond"
