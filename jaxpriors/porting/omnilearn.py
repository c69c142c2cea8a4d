"""Read OmniLearn's weights, Keras' ``.weights.h5``, as networks of ours.

The module reads PET, OmniFold's classifier and the two models of the LHC Olympics, by default as
the function of OmniLearn (mode "omnilearn"). The moving averages of a file are networks of their
own. A file does not hold the number of neighbours, the initial layer scales, the number of
generated features, and the normalisation of a generator for the LHC Olympics. See
``omnilearn_files`` for the names and ``keras`` for the format.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxpriors.errors import InputError
from jaxpriors.models.files import FAMILIES, build, replace_classes, save_network, skeleton
from jaxpriors.models.pet import PETConfig
from jaxpriors.models.state_dicts import slots
from jaxpriors.porting import omnilearn_names
from jaxpriors.porting.keras import read_keras
from jaxpriors.porting.omnilearn_files import (
    Contents,
    listing,
    read_contents,
    recognise,
    state_name,
    to_keras,
    to_ours,
)
from jaxpriors.preprocessing.normalisation import relative_normalisation

WRITERS = {
    "PET": "PET",
    "OmniFold classifier": "PET",
    "LHC Olympics generator": "PETTwoJetGenerator",
    "LHC Olympics classifier": "PETTwoJetClassifier",
}
"""The family of the network in a file of each writer."""

AVERAGE, UNUSED = "ema_", "pet."
NOT_IN_FILE = ("neighbours", "layer_scale", "num_diffusion", "feature_mean", "feature_std")


def read_omnilearn(
    path: str | Path,
    *,
    ema: bool = False,
    mode: str = "omnilearn",
    neighbours: int | None = None,
    use_mean: bool = False,
) -> tuple[Any, list[str]]:
    """Read the network in a file of OmniLearn; return it with lines on what was found.

    ``ema`` reads the moving averages in place of the weights: for a PET body and generator head.
    ``neighbours`` and ``use_mean`` (OmniLearn's name for particles in the units of JetClass in the
    generator for the LHC Olympics) are not in the file. Raises InputError that names the file and
    every tensor that is unknown, missing or misshapen.
    """
    contents = read_contents(path)
    try:
        return network_from_contents(contents, ema, mode, neighbours, use_mean)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def network_from_contents(
    contents: Contents, ema: bool, mode: str, neighbours: int | None, use_mean: bool
) -> tuple[Any, list[str]]:
    """Build the network of a file that was read, see ``read_omnilearn``."""
    known, read = infer(contents)
    hint = "\n  sizes were read from " + ", ".join(read)
    given: dict[str, Any] = {"mode": mode}
    if neighbours is not None:
        given["neighbours"] = neighbours
    if use_mean:
        if WRITERS[contents.writer] != "PETTwoJetGenerator":
            raise InputError("use_mean is for the LHC Olympics generator alone")
        given["feature_mean"], given["feature_std"] = relative_normalisation()
    try:
        config = FAMILIES[WRITERS[contents.writer]][1](**known, **given)
    except ValueError as error:
        raise InputError(f"{error}{hint}") from error
    if faults := misfits(contents, config):
        hint = hint if any(fault.startswith("misshapen") for fault in faults) else ""
        raise InputError(f"the tensors do not fit the network:{listing(faults)}{hint}")
    selected = {
        weight_name.removeprefix(AVERAGE): value
        for weight_name, value in contents.tensors.items()
        if weight_name.startswith(AVERAGE) == ema and not weight_name.startswith(UNUSED)
    }
    if not selected:
        raise InputError(f"OmniLearn's {contents.writer} has no moving averages")
    state = {
        state_name(weight_name): to_ours(weight_name, value)
        for weight_name, value in selected.items()
    }
    if mode == "masked" and not config.simple and any(n.startswith("cls.") for n in state):
        state["cls.class_token"] = np.zeros(config.hidden_channels, np.float32)
    return build(config, state, prefix=""), describe(contents, config, known, given, ema)


def infer(contents: Contents) -> tuple[dict[str, Any], list[str]]:
    """Infer fields of the configuration from lengths of tensors; return both."""
    read = []

    def size(weight_name: str, axis: int) -> int:
        read.append(f"{contents.paths.get(weight_name)} {contents.shape(weight_name)}")
        return contents.size(weight_name, axis)

    parts = {model.prefix: model.part for model in contents.models}
    body, cls = parts["body"], parts.get("cls")
    gen = parts.get("gen", parts.get(f"{UNUSED}gen"))
    talking = omnilearn_names.TALKING in body.layers
    first = "body.block.0.attn." + ("proj_l.kernel" if talking else "query.kernel")
    fields: dict[str, Any] = {
        "num_features": size("body.embed.0.kernel", 0),
        "num_jet_features": size("cls.reg.bias" if cls else "gen.jet.kernel", 0),
        "num_classes": size("cls.out.bias" if cls else "gen.label.kernel", 0),
        "hidden_channels": size("body.embed.1.bias", 0),
        "num_heads": size(first, 0 if talking else 1),
        "num_layers": len(
            body.layers[omnilearn_names.TALKING if talking else omnilearn_names.ATTENTION]
        ),
        "num_local": sum(stem.startswith("local.") for stem in body.layers["dense"]) // 2,
        "layer_scale": PETConfig.layer_scale if body.layers[omnilearn_names.SCALE] else None,
        "talking_head": talking,
        "simple": all(omnilearn_names.ATTENTION not in head.layers for head in (cls, gen) if head),
    }
    over_jets = parts.get("jetmodel", parts.get(""))
    counted = {"num_class_layers": cls, "num_gen_layers": gen, "num_jet_layers": over_jets}
    for name, part in counted.items():
        if part is not None and omnilearn_names.ATTENTION in part.layers:
            fields[name] = len(part.layers[omnilearn_names.ATTENTION])
    if over_jets is not None:
        model = "jetmodel" if "jetmodel" in parts else "jetenc"
        fields["num_jet_heads"] = size(f"{model}.block.0.attn.query.kernel", 1)
    return fields, read


def misfits(contents: Contents, config: Any) -> list[str]:
    """List tensors that a network of this configuration lacks or has in another shape or type.

    Moving averages are checked too; a value that is not finite is a fault.
    """
    expected = keras_shapes(contents.tensors, config)
    faults = []
    for weight_name, value in contents.tensors.items():
        what, shape = f"{contents.paths[weight_name]} ({weight_name})", expected[weight_name]
        if shape is None:
            faults.append(f"unknown {what}")
        elif value.shape != shape:
            faults.append(f"misshapen {what}: found {value.shape}, expected {shape}")
        elif value.dtype.kind != "f":
            faults.append(f"not floating {what}: found {value.dtype}")
        elif not np.isfinite(value).all():
            faults.append(f"not finite {what}: {int((~np.isfinite(value)).sum())} values")
    return faults


def keras_shapes(names: Iterable[str], config: Any) -> dict[str, tuple[int, ...] | None]:
    """Find the shape in Keras of each weight, None for one that should not be there."""
    ours = {
        slot.name: slot.shape
        for each in {pet_config(config), config}
        for slot in slots(skeleton(each))
    }
    shapes: dict[str, tuple[int, ...] | None] = {}
    for weight_name in names:
        plain = weight_name.removeprefix(UNUSED).removeprefix(AVERAGE)
        shape = ours.get(state_name(plain))
        empty = None if shape is None else np.broadcast_to(np.float32(0), shape)
        shapes[weight_name] = (
            None if empty is None else to_keras(plain, empty, heads_of(config, plain)).shape
        )
    return shapes


def heads_of(config: Any, weight_name: str) -> int:
    """Return the number of heads in the attention that a tensor belongs to."""
    over_jets = weight_name.startswith(("jetmodel.", "jetenc."))
    return config.num_jet_heads if over_jets else config.num_heads


def pet_config(config: Any) -> PETConfig:
    """Return the configuration of the PET in a dijet network."""
    names = [field.name for field in dataclasses.fields(PETConfig)]
    return PETConfig(**{name: getattr(config, name) for name in names})


def describe(
    contents: Contents, config: Any, known: Mapping[str, Any], given: Mapping[str, Any], ema: bool
) -> list[str]:
    """Write lines on the file, the configuration and what was left out."""
    lines = [f"OmniLearn's {contents.writer}, layout of {contents.layout}"]
    for field in dataclasses.fields(config):
        name, value = field.name, getattr(config, field.name)
        if name in given:
            lines.append(f"  {name} = {value!r} (given)")
        elif name in known and not (name == "layer_scale" and value):
            lines.append(f"  {name} = {value!r} (from the tensors)")
        elif name in NOT_IN_FILE:
            lines.append(f"  {name} = {value!r} (assumed, OmniLearn's default)")
    used, unused = [], []
    for model in contents.models:
        size = sum(
            contents.tensors[model.weight_name(name)].size
            for name in model.part.weight_names().values()
        )
        text = f"{model.group}: {len(model.part.weight_names())} tensors, {size} parameters"
        average = model.prefix.startswith(AVERAGE)
        if model.prefix.startswith(UNUSED) or average != ema:
            which = "not used here" if model.prefix.startswith(UNUSED) else "the moving average"
            unused.append(f"left out {text} ({'the weights' if ema else which})")
        else:
            used.append(f"taken {text}")
    ignored = [
        f"left out {group}: {count} tensors ({'metrics' if 'metric' in group else 'optimizer'})"
        for group, count in contents.ignored.items()
    ]
    notes = []
    if ema and "cls" in {model.prefix for model in contents.models}:
        notes.append("note: there is no moving average of the classifier head")
    return lines + used + unused + ignored + notes


def port(
    path: str | Path,
    out: str | Path,
    *,
    ema: bool = False,
    mode: str = "omnilearn",
    neighbours: int | None = None,
    use_mean: bool = False,
    classes: int | None = None,
    seed: int = 0,
) -> str:
    """Turn a file of OmniLearn into a ported network and list what was found.

    ``classes`` replaces what depends on their number, with random weights of ``seed``; for the
    other arguments see ``read_omnilearn``.
    """
    network, lines = read_omnilearn(
        path, ema=ema, mode=mode, neighbours=neighbours, use_mean=use_mean
    )
    if classes is not None:
        before = network.config.num_classes
        network, replaced = replace_classes(network, classes, jax.random.key(seed))
        lines.append(
            f"replaced for {classes} classes instead of {before}: {', '.join(replaced)}; all other "
            "tensors are kept"
            if replaced
            else f"{classes} classes as before, nothing replaced"
        )
    save_network(out, network)
    return "\n".join([*lines, f"written to {out}"])


def inspect(path: str | Path) -> str:
    """List the tensors of a file, their weight names, and what follows about the network."""
    arrays = read_keras(path)
    try:
        contents = recognise(arrays)
        at = {where: weight_name for weight_name, where in contents.paths.items()}
        network = network_from_contents(contents, False, "omnilearn", None, False)
        lines = network[1]
    except InputError as error:
        at, lines = {}, [f"not recognised: {error}"]
    width = max(map(len, arrays))
    listing = [
        f"{name:{width}}  {value.dtype!s:8} {value.shape} {at.get(name, '')}".rstrip()
        for name, value in arrays.items()
    ]
    return "\n".join([*listing, "", *lines])
