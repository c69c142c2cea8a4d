"""OmniLearn's weights, Keras' ``.weights.h5``, as networks of ours and back.

PET, OmniFold's classifier and the two models of the LHC Olympics are read, by default as the
peer's function (mode "omnilearn"). The moving averages of a file are networks of their own. What a
file does not tell: the number of neighbours, how layer scales started, how many features are
generated, and the normalisation of a generator for the LHC Olympics. See ``omnilearn_files`` for
the names and ``keras`` for the format.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxpriors.errors import InputError
from jaxpriors.layers.core import Linear
from jaxpriors.models.pet import PET, PETConfig
from jaxpriors.models.pet_twojet import PETTwoJetGeneratorConfig, relative_normalisation
from jaxpriors.porting import omnilearn_roles as roles
from jaxpriors.porting.keras import read_keras
from jaxpriors.porting.networks import FAMILIES, build, save_network, template
from jaxpriors.porting.omnilearn_files import (
    Contents,
    listing,
    read_contents,
    recognise,
    state_name,
    to_keras,
    to_ours,
)
from jaxpriors.porting.trees import slots, state_from_network

WRITERS = {
    "PET": "PET",
    "OmniFold classifier": "PET",
    "LHC Olympics generator": "PETTwoJetGenerator",
    "LHC Olympics classifier": "PETTwoJetClassifier",
}
"""The family of the network in a file of each writer."""

AVERAGE, UNUSED = "ema_", "pet."
UNTOLD = ("neighbours", "layer_scale", "num_diffusion", "feature_mean", "feature_std")
CLASSES = ("cls.out.weight", "cls.out.bias", "gen.label.weight")  # as large as there are classes


def read_omnilearn(
    path: str | Path,
    *,
    ema: bool = False,
    mode: str = "omnilearn",
    neighbours: int | None = None,
    use_mean: bool = False,
) -> tuple[Any, list[str]]:
    """The network in a file of OmniLearn, and lines that tell what was found.

    ``ema`` takes the moving averages in place of the weights: for a PET body and generator head.
    ``neighbours`` and ``use_mean`` (the peer's name for particles in the units of JetClass in the
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
    """The same for a file that was read."""
    told, read = infer(contents)
    hint = "\n  sizes were read from " + ", ".join(read)
    given: dict[str, Any] = {"mode": mode}
    if neighbours is not None:
        given["neighbours"] = neighbours
    if use_mean:
        if WRITERS[contents.writer] != "PETTwoJetGenerator":
            raise InputError("use_mean is for the LHC Olympics generator alone")
        given["feature_mean"], given["feature_std"] = relative_normalisation()
    try:
        config = FAMILIES[WRITERS[contents.writer]][1](**told, **given)
    except ValueError as error:
        raise InputError(f"{error}{hint}") from error
    if faults := misfits(contents, config):
        hint = hint if any(fault.startswith("misshapen") for fault in faults) else ""
        raise InputError(f"the tensors do not fit the network:{listing(faults)}{hint}")
    selected = {
        role.removeprefix(AVERAGE): value
        for role, value in contents.tensors.items()
        if role.startswith(AVERAGE) == ema and not role.startswith(UNUSED)
    }
    if not selected:
        raise InputError(f"OmniLearn's {contents.writer} has no moving averages")
    state = {state_name(role): to_ours(role, value) for role, value in selected.items()}
    if mode == "masked" and not config.simple and any(n.startswith("cls.") for n in state):
        state["cls.class_token"] = np.zeros(config.hidden_channels, np.float32)
    return build(config, state, prefix=""), describe(contents, config, told, given, ema)


def infer(contents: Contents) -> tuple[dict[str, Any], list[str]]:
    """Fields of the configuration that the tensors tell, and which tensors told their lengths."""
    read = []

    def size(role: str, axis: int) -> int:
        read.append(f"{contents.paths.get(role)} {contents.shape(role)}")
        return contents.size(role, axis)

    parts = {model.prefix: model.part for model in contents.models}
    body, cls = parts["body"], parts.get("cls")
    gen = parts.get("gen", parts.get(f"{UNUSED}gen"))
    talking = roles.TALKING in body.layers
    first = "body.block.0.attn." + ("proj_l.kernel" if talking else "query.kernel")
    fields: dict[str, Any] = {
        "num_features": size("body.embed.0.kernel", 0),
        "num_jet_features": size("cls.reg.bias" if cls else "gen.jet.kernel", 0),
        "num_classes": size("cls.out.bias" if cls else "gen.label.kernel", 0),
        "hidden_channels": size("body.embed.1.bias", 0),
        "num_heads": size(first, 0 if talking else 1),
        "num_layers": len(body.layers[roles.TALKING if talking else roles.ATTENTION]),
        "num_local": sum(stem.startswith("local.") for stem in body.layers["dense"]) // 2,
        "layer_scale": PETConfig.layer_scale if body.layers[roles.SCALE] else None,
        "talking_head": talking,
        "simple": all(roles.ATTENTION not in head.layers for head in (cls, gen) if head),
    }
    over_jets = parts.get("jetmodel", parts.get(""))
    counted = {"num_class_layers": cls, "num_gen_layers": gen, "num_jet_layers": over_jets}
    for name, part in counted.items():
        if part is not None and roles.ATTENTION in part.layers:
            fields[name] = len(part.layers[roles.ATTENTION])
    if over_jets is not None:
        model = "jetmodel" if "jetmodel" in parts else "jetenc"
        fields["num_jet_heads"] = size(f"{model}.block.0.attn.query.kernel", 1)
    return fields, read


def misfits(contents: Contents, config: Any) -> list[str]:
    """What a network of this configuration has not, or in another shape or type; also of the
    moving averages."""
    expected = keras_shapes(contents.tensors, config)
    faults = []
    for role, value in contents.tensors.items():
        what, shape = f"{contents.paths[role]} ({role})", expected[role]
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
    """The shape in Keras of the tensor of each role, None for one that there should not be."""
    ours = {
        slot.name: slot.shape
        for each in {pet_config(config), config}
        for slot in slots(template(each))
    }
    shapes: dict[str, tuple[int, ...] | None] = {}
    for role in names:
        plain = role.removeprefix(UNUSED).removeprefix(AVERAGE)
        shape = ours.get(state_name(plain))
        empty = None if shape is None else np.broadcast_to(np.float32(0), shape)
        shapes[role] = (
            None if empty is None else to_keras(plain, empty, heads_of(config, plain)).shape
        )
    return shapes


def heads_of(config: Any, role: str) -> int:
    """The number of heads in the attention that a tensor belongs to."""
    over_jets = role.startswith(("jetmodel.", "jetenc."))
    return config.num_jet_heads if over_jets else config.num_heads


def pet_config(config: Any) -> PETConfig:
    """The configuration of the PET within a network of two jets."""
    names = [field.name for field in dataclasses.fields(PETConfig)]
    return PETConfig(**{name: getattr(config, name) for name in names})


def describe(
    contents: Contents, config: Any, told: Mapping[str, Any], given: Mapping[str, Any], ema: bool
) -> list[str]:
    """Lines on the file, the configuration and what was left out."""
    lines = [f"OmniLearn's {contents.writer}, layout of {contents.layout}"]
    for field in dataclasses.fields(config):
        name, value = field.name, getattr(config, field.name)
        if name in given:
            lines.append(f"  {name} = {value!r} (given)")
        elif name in told and not (name == "layer_scale" and value):
            lines.append(f"  {name} = {value!r} (from the tensors)")
        elif name in UNTOLD:
            lines.append(f"  {name} = {value!r} (assumed, OmniLearn's default)")
    used, unused = [], []
    for model in contents.models:
        size = sum(contents.tensors[model.role(name)].size for name in model.part.roles().values())
        text = f"{model.group}: {len(model.part.roles())} tensors, {size} parameters"
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


def replace_classes(network: PET, classes: int, key: jax.Array) -> tuple[PET, tuple[str, ...]]:
    """The network for another number of classes, and the names of the tensors that are new.

    Only the output layer of the classifier (Glorot-uniform weight, bias 0) and the label embedding
    of the generator depend on it; all others are kept. With as many classes as before nothing is
    new. Raises InputError for less than one class and for a network without classes.
    """
    config = network.config
    if isinstance(config, PETTwoJetGeneratorConfig):
        raise InputError("classes: a generator of two jets has conditions in place of classes")
    if classes == config.num_classes:
        return network, ()
    try:
        config = dataclasses.replace(config, num_classes=classes)
    except ValueError as error:
        raise InputError(str(error)) from error
    keys, channels = jax.random.split(key), config.hidden_channels
    out = Linear.glorot(keys[0], channels, classes)
    label = Linear.glorot(keys[1], classes, channels, bias=False)
    new = dict(zip(CLASSES, map(np.asarray, (out.weight, out.bias, label.weight)), strict=True))
    state = state_from_network(network)
    replaced = tuple(name for name in CLASSES if name in state)
    return build(config, state | {name: new[name] for name in replaced}, prefix=""), replaced


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
    """Turn a file of OmniLearn into a ported network and tell what was found.

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
    """A listing of the tensors of a file, their roles, and what they tell about the network."""
    arrays = read_keras(path)
    try:
        contents = recognise(arrays)
        at = {where: role for role, where in contents.paths.items()}
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
