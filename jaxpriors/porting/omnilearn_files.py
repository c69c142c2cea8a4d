"""Recognise OmniLearn's files: which model wrote one, and the weight name of every tensor.

A weight name is a tensor's place in OmniLearn's model by the names of our trees,
``body.block.3.mlp.0.kernel``; those of moving averages start with ``ema_``. Keras' shapes and ours
differ: a kernel is (in, out), that of an attention (C, H, d) or, back, (H, d, C); a weight is
(out, in).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jaxpriors.errors import InputError
from jaxpriors.porting import omnilearn_names
from jaxpriors.porting.keras import (
    CONTAINER,
    VARIABLE,
    alone,
    count_layers,
    gaps,
    rank_layers,
    read_keras,
)

IGNORED = re.compile(r"^((?:.*/)?(?:_?metrics|\w+_tracker|\w*optimizer))(?:/.*)?/vars/\d+$")
MODERN = re.compile(r"^layers/functional(?:_(\d{1,9}))?$")
LISTED = 40

FILES: dict[str, dict[str, tuple[str, str]]] = {
    "PET": {
        "body": ("body", "body"),
        "classifier": ("classifier", "cls"),
        "generator": ("generator", "gen"),
        "ema_body": ("body", "ema_body"),
        "ema_generator_head": ("generator", "ema_gen"),
    },
    "OmniFold classifier": {
        "body": ("body", "body"),
        "head": ("classifier", "cls"),
    },
    "LHC Olympics generator": {
        "body": ("body", "body"),
        "head": ("generator", "gen"),
        "layers/functional_1": ("jets", "jetmodel"),
        "ema_body": ("body", "ema_body"),
        "ema_head": ("generator", "ema_gen"),
        "ema_jet": ("jets", "ema_jetmodel"),
    },
    "LHC Olympics classifier": {
        "body": ("body", "body"),
        "head": ("classifier", "cls"),
        "layers/functional": ("event", ""),
        "layers/pet/generator": ("generator", "pet.gen"),
        "layers/pet/ema_body": ("body", "pet.ema_body"),
        "layers/pet/ema_generator_head": ("generator", "pet.ema_gen"),
    },
}
"""What wrote a file: its functional models by group, each with its kind and the start of its
weight names."""


@dataclass(frozen=True)
class Model:
    """A functional model in a file: its group, start of its weight names, and layers."""

    group: str
    prefix: str
    part: omnilearn_names.Part

    def weight_name(self, name: str) -> str:
        """Return a weight name with the model's start."""
        return f"{self.prefix}.{name}" if self.prefix else name


@dataclass(frozen=True)
class Contents:
    """A file of OmniLearn.

    writer: one of ``FILES``; layout: the release of TensorFlow. tensors and paths: the arrays in
    Keras' shapes, and where they lie in the file, by weight name. ignored: groups of metrics and
    optimizer states with the number of their tensors.
    """

    writer: str
    layout: str
    models: list[Model]
    tensors: dict[str, np.ndarray]
    paths: dict[str, str]
    ignored: dict[str, int]

    def shape(self, weight_name: str) -> tuple[int, ...]:
        """Return a tensor's shape; InputError where there is none of this weight name."""
        if weight_name not in self.tensors:
            raise InputError(f"missing {weight_name}")
        return self.tensors[weight_name].shape

    def size(self, weight_name: str, axis: int) -> int:
        """Return a length of a tensor; InputError where it has too few axes."""
        shape = self.shape(weight_name)
        if axis >= len(shape):
            raise InputError(f"misshapen {self.paths[weight_name]} ({weight_name}): found {shape}")
        return shape[axis]


def read_contents(path: str | Path) -> Contents:
    """Read every tensor of a file by weight name.

    Raises one InputError that names the file and each tensor that is unknown or missing.
    """
    arrays = read_keras(path)
    try:
        return recognise(arrays)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def recognise(arrays: Mapping[str, np.ndarray]) -> Contents:
    """Recognise the datasets of a file by path, see ``read_contents``."""
    ignored: dict[str, int] = {}
    weights = []
    for path in arrays:
        if match := IGNORED.match(path):
            ignored[match[1]] = ignored.get(match[1], 0) + 1
        else:
            weights.append(path)
    found = rank_layers(weights)
    modern = bool(found) and all(MODERN.match(group) for group in found)
    if not found and (layers := alone(weights)):
        raise InputError(
            f"not of OmniLearn: found one functional or sequential model of Keras with "
            f"{_count_text(layers)}, expected several in groups such as {', '.join(FILES['PET'])}"
        )
    writer, table = _from_contents(found) if modern else _from_groups(found)
    faults = [f"unknown {path}" for path in weights if not VARIABLE.match(path)]
    faults += [f"unknown group {group}" for group in found if group not in table]
    faults += [f"missing group {group}" for group in table if group not in found]
    models, tensors, paths = [], {}, {}
    for group, (kind, prefix) in table.items():
        if group not in found:
            continue
        part = _part(kind, found[group])
        counts = count_layers(found[group])
        if part.counts() != counts:
            faults.append(
                f"group {group}: found {_count_text(counts)}; a {kind} with as many attentions has "
                f"{_count_text(part.counts())}"
            )
            continue
        model = Model(group, prefix, part)
        expected = part.weight_names()
        for name, path in found[group].items():
            if name in expected:
                weight_name = model.weight_name(expected[name])
                tensors[weight_name], paths[weight_name] = arrays[path], path
            else:
                faults.append(f"unknown {path}")
        container = "layers" if modern else CONTAINER
        faults += [
            f"missing {group}/{container}/{name} ({model.weight_name(weight_name)})"
            for name, weight_name in expected.items()
            if name not in found[group]
        ]
        models.append(model)
    if faults:
        if skipped := gaps(weights):
            first = ", ".join(skipped[:4]) + ", …" * (len(skipped) > 4)
            faults.append(f"the numbering of layers skips {first}")
        raise InputError(f"not OmniLearn's {writer}:{listing(faults)}")
    layout = "2.15" if modern else "2.12 or 2.13" if gaps(weights) else "2.14"
    return Contents(writer, f"TensorFlow {layout}", models, tensors, paths, ignored)


def listing(faults: list[str]) -> str:
    """List the first faults line by line."""
    more = [f"and {len(faults) - LISTED} more"] * (len(faults) > LISTED)
    return "".join(f"\n  {line}" for line in faults[:LISTED] + more)


def _from_groups(found: Mapping[str, Mapping[str, str]]) -> tuple[str, dict]:
    """Find who wrote a file of TensorFlow 2.12 to 2.14: most of these groups, fewest others."""
    if not found:
        raise InputError("no layer of a functional model in the file, so not of OmniLearn")

    def score(writer: str) -> int:
        return 2 * len(FILES[writer].keys() & found.keys()) - len(FILES[writer])

    writer = max(FILES, key=score)
    if not FILES[writer].keys() & found.keys():
        groups = ", ".join(sorted(found))
        raise InputError(f"not of OmniLearn: found the groups {groups}, expected body and others")
    return writer, FILES[writer]


def _from_contents(found: Mapping[str, Mapping[str, str]]) -> tuple[str, dict]:
    """Find who wrote a file of TensorFlow 2.15, whose groups carry numbers only.

    The first body, classifier and generator are the models, the second ones their averages.
    """
    names = {"body": ["body", "ema_body"], "classifier": ["cls"], "generator": ["gen", "ema_gen"]}
    table: dict[str, tuple[str, str]] = {}
    for group in sorted(found, key=lambda group: int(MODERN.match(group)[1] or 0)):  # type: ignore[index]
        kind = _kind(found[group])
        if not names.get(kind):
            raise InputError(f"group {group}: found one more {kind} than OmniLearn has")
        table[group] = (kind, names[kind].pop(0))
    prefixes = {prefix for _, prefix in table.values()}
    for writer in ("PET", "OmniFold classifier"):
        if prefixes == {prefix for _, prefix in FILES[writer].values()}:
            return writer, table
    raise InputError(
        f"the groups {', '.join(table)} hold {', '.join(sorted(prefixes))}; expected body, cls, "
        "gen, ema_body and ema_gen, or body and cls"
    )


def _kind(names: Mapping[str, str]) -> str:
    """Find the kind of a model by its dense layers without bias: those of time, of the label."""
    count = count_layers(names).get("dense", 0)
    layers = [f"dense_{i}" if i else "dense" for i in range(count)]
    unbiased = [i for i, layer in enumerate(layers) if f"{layer}/vars/1" not in names]
    if not unbiased:
        return "classifier"
    if unbiased == [0, 1, 4]:
        return "generator"
    return "body" if unbiased[0] >= 2 else "model that is none of body, classifier and generator"


def _part(kind: str, names: Mapping[str, str]) -> omnilearn_names.Part:
    """Make the layers of a model of this kind from their numbers."""
    counts = count_layers(names)
    blocks, scaled = counts.get(omnilearn_names.ATTENTION, 0), omnilearn_names.SCALE in counts
    if kind == "body":
        talking = omnilearn_names.TALKING in counts
        blocks = counts.get(omnilearn_names.TALKING, 0) if talking else blocks
        local = max(counts.get("dense", 0) - 5 - 2 * blocks, 0) // 2
        return omnilearn_names.body(blocks, local, talking, scaled)
    if kind == "classifier":
        return (
            omnilearn_names.classifier(blocks, scaled)
            if blocks
            else omnilearn_names.simple_classifier()
        )
    if kind == "generator":
        return (
            omnilearn_names.generator(blocks, scaled)
            if blocks
            else omnilearn_names.simple_generator()
        )
    return {"jets": omnilearn_names.jet_generator, "event": omnilearn_names.event_classifier}[kind](
        blocks, scaled
    )


def _count_text(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {cls}" for cls, count in counts.items()) or "nothing"


def state_name(weight_name: str) -> str:
    """Return the name of a tensor in our trees: ``body.blocks.3.mlp.0.weight``."""
    stem, _, parameter = weight_name.rpartition(".")
    stem = re.sub(r"\bblock\.(\d+)", r"blocks.\1", stem)
    stem = re.sub(r"\b(local\.\d+|time)\.(\d+)$", r"\1.layers.\2", stem)
    return f"{stem}.{'weight' if parameter in ('kernel', 'gamma') else 'bias'}"


def to_ours(weight_name: str, value: np.ndarray) -> np.ndarray:
    """Bring a tensor into our shape."""
    if not weight_name.endswith(".kernel"):
        return value.reshape(-1)
    if value.ndim == 3:
        back = weight_name.endswith(".out.kernel")
        value = value.reshape((-1, value.shape[2]) if back else (value.shape[0], -1))
    return value.T


def to_keras(weight_name: str, value: np.ndarray, heads: int) -> np.ndarray:
    """Bring a tensor into Keras' shape, with ``heads`` in the attentions."""
    kernel = weight_name.endswith(".kernel")
    value = value.T if kernel else value
    if match := re.search(r"\.attn\.(query|key|value|out)\.\w+$", weight_name):
        if match[1] != "out":
            return value.reshape(*value.shape[:-1], heads, -1)
        return value.reshape(heads, -1, value.shape[-1]) if kernel else value
    return value
