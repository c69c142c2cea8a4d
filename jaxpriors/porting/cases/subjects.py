"""Our counterpart of the class of ``lgatr`` that a recorded case holds."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from jaxpriors.errors import InputError
from jaxpriors.porting.arguments import Arguments, config_from_peer, layout_of
from jaxpriors.porting.cases import lgatr_layers, slim_layers
from jaxpriors.porting.cases.subject import Subject, Tensors, either, finish, mask, take
from jaxpriors.porting.networks import FAMILIES, template

LAYERS = lgatr_layers.LAYERS | slim_layers.LAYERS


def subject(case: Mapping[str, Any], inputs: Mapping[str, np.ndarray]) -> Subject:
    """The subject of a case {"cls", "ctor", "lgatr", "gatr_config"} with these inputs by name.

    Raises InputError for a class or an argument that has no counterpart.
    """
    for key, kind in (("cls", str), ("ctor", dict), ("lgatr", str)):
        if not isinstance(case.get(key), kind):
            raise InputError(f"{key!r}: found {case.get(key)!r}, expected {kind.__name__}")
    if not inputs:
        raise InputError("the case has no inputs in_…")
    name, ctor = case["cls"], dict(case["ctor"])
    if isinstance(ctor.get("config"), Mapping):
        ctor |= ctor.pop("config")
    if name in FAMILIES:
        return _any_batch(_network(name, ctor, case))
    table = Arguments(ctor, f"{name} of lgatr {case['lgatr']}")
    layout = layout_of(case["lgatr"])
    build = LAYERS.get(_resolve(name, ctor))
    if build is None:
        raise InputError(f"class: found {name!r}, expected one of {[*FAMILIES, *LAYERS]}")
    made = build(table, layout, case.get("gatr_config"), inputs)
    table.finish()
    return _any_batch(made)


def _resolve(name: str, ctor: Mapping[str, Any]) -> str:
    """The class meant: both families of lgatr 1.4 have a SelfAttention and a CrossAttention."""
    aliases = {
        "SA": "SelfAttention",
        "CA": "CrossAttention",
        "GM": "GeoMLP",
        "Linear": "SlimLinear",
    }
    aliases |= {"RMSNorm": "SlimRMSNorm", "GatedLinearUnit": "SlimGLU", "MLP": "SlimMLP"}
    aliases |= {f"{kind}LGATrSlimBlock": f"{kind}SlimBlock" for kind in ("", "Conditional")}
    name = aliases.get(name, name)
    if name in ("SelfAttention", "CrossAttention") and not any("mv_channels" in k for k in ctor):
        return f"Slim{name}"
    return "GeoMLP" if name == "SlimMLP" and "mv_channels" in ctor else name


def _network(name: str, ctor: Mapping[str, Any], case: Mapping[str, Any]) -> Subject:
    config = config_from_peer(name, ctor, case["lgatr"], case.get("gatr_config"))
    kind = "vectors" if name.endswith("Slim") else "multivectors"

    def arguments(inputs: Tensors) -> list[Any]:
        inputs = dict(inputs)
        self_mask = mask(inputs, "attn_mask")
        tokens: list[Any] = [take(inputs, kind), inputs.pop("scalars", None)]
        if not name.startswith("Conditional"):
            finish(inputs)
            return [*tokens, self_mask]
        condition_mask = mask(inputs, "crossattn_mask")
        ends = ("_condition", "_cond")
        condition: list[Any] = [take(inputs, *(kind + end for end in ends))]
        condition.append(either(inputs, *("scalars" + end for end in ends)))
        finish(inputs)
        return [tokens[0], condition[0], tokens[1], condition[1], self_mask, condition_mask]

    return Subject(
        template(config),
        lambda network, inputs: network(*arguments(inputs)),
        lambda network, inputs: network.intermediates(*arguments(inputs)),
    )


def _any_batch(subject: Subject) -> Subject:
    """The subject with calls for tokens (…, N, …) of any number of batch axes."""

    def wrap(call: Callable[[Any, Tensors], Any]) -> Callable[[Any, Tensors], Any]:
        def flat_call(tree: Any, inputs: Tensors) -> Any:
            tails = {name: 1 if name.startswith("scalars") else 2 for name in inputs}
            lead = next(x.shape[: -tails[n] - 1] for n, x in inputs.items() if "mask" not in n)
            if len(lead) == 1:
                return call(tree, inputs)
            if any("mask" in name for name in inputs):
                raise InputError(f"found the batch axes {lead} with a mask, expected one axis")
            count = math.prod(lead)
            flat = {n: x.reshape(count, *x.shape[len(lead) :]) for n, x in inputs.items()}
            return jax.tree.map(lambda y: y.reshape(*lead, *y.shape[1:]), call(tree, flat))

        return flat_call

    inner = subject.intermediates
    return dataclasses.replace(
        subject, call=wrap(subject.call), intermediates=None if inner is None else wrap(inner)
    )
