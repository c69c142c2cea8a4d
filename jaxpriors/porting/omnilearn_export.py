"""Write networks of ours as the files that OmniLearn writes with TensorFlow 2.14.

A file has the groups, names and numbers of OmniLearn's models, and the groups of layers without
weights, so that OmniLearn reads it by its own ``load_weights``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from jaxpriors.errors import InputError
from jaxpriors.models.files import NAMES, load_network, skeleton
from jaxpriors.models.state_dicts import slots, state_from_network
from jaxpriors.porting import omnilearn_names
from jaxpriors.porting.keras import CONTAINER, write_keras
from jaxpriors.porting.omnilearn import AVERAGE, UNUSED, WRITERS, heads_of, pet_config
from jaxpriors.porting.omnilearn_files import FILES, state_name, to_keras


def _weightless(group: str, **layers: int) -> list[str]:
    """List the groups of a model that has no layers with weights."""
    names = [f"{CONTAINER}/{name}" for name in omnilearn_names.empty_layers(layers)]
    return [f"{group}/{name}" for name in [*names, "vars"]]


EXTRA_GROUPS = {
    "PET": [
        *_weightless("classifier_head", input_layer=1),
        *_weightless("generator_head", input_layer=1),
    ],
    "OmniFold classifier": ["layers/functional/vars"],
    "LHC Olympics generator": _weightless("layers/functional", input_layer=6, tf_op_lambda=6),
    "LHC Olympics classifier": [
        "layers/pet/vars",
        "layers/pet/classifier/vars",
        *_weightless("layers/pet/generator_head", input_layer=1),
    ],
}
"""Groups without tensors that a writer's file has besides those of its models."""

_PET_METRICS = [
    "categorical_accuracy",
    "categorical_accuracy_1",
    "mean",
    "mean_1",
    "mean_2",
    "mean_3",
]
METRICS = {
    "PET": [f"_metrics/{name}" for name in _PET_METRICS],
    "OmniFold classifier": ["_metrics/mean"],
    "LHC Olympics generator": ["_metrics/mean", "_metrics/mean_1", "_metrics/mean_2"],
    "LHC Olympics classifier": [
        "_metrics/mean",
        *(f"layers/pet/_metrics/{name}" for name in _PET_METRICS),
    ],
}
"""Running totals and counts, without which Keras does not read a file; they start at zero."""


def export(path: str | Path, out: str | Path, ema: str | Path | None = None) -> str:
    """Write a ported network as OmniLearn does with TensorFlow 2.14; return a line on it.

    ``ema`` is a network with the moving averages; without it these are the weights themselves.
    A PET with a classifier head alone becomes a file of OmniFold's classifier. Raises InputError
    for a network that OmniLearn does not have.
    """
    network = load_network(path)
    writer = writer_of(network, str(path))
    state = reference_state(network, str(path))
    average = state
    if ema is not None:
        if not any(prefix.startswith(AVERAGE) for _, prefix in FILES[writer].values()):
            raise InputError(f"--ema: given {ema}, a file of OmniLearn's {writer} has no averages")
        other = load_network(ema)
        if _sizes(other.config) != _sizes(network.config):
            raise InputError(f"{ema}: a network of other sizes than {path}")
        averaged = reference_state(other, str(ema))
        if lacking := sorted(n for n in state.keys() - averaged if not n.startswith("cls.")):
            raise InputError(f"{ema}: has no {lacking[0]}, which is averaged ({len(lacking)} such)")
        average = state | averaged
    config, lines = network.config, []
    if writer == "LHC Olympics classifier":
        unused = [slot for slot in slots(skeleton(pet_config(config))) if slot.name[:4] == "gen."]
        average = state = state | {s.name: np.zeros(s.shape, np.float32) for s in unused}
        lines.append("layers/pet: a generator head of zeros, which this classifier does not use")
    arrays, groups = {}, [*EXTRA_GROUPS[writer], "vars"]
    for group, (kind, prefix) in FILES[writer].items():
        part = part_of(config, kind, group)
        source = average if AVERAGE in prefix else state
        plain = prefix.removeprefix(UNUSED).removeprefix(AVERAGE)
        for name, stem in part.weight_names().items():
            weight_name = f"{plain}.{stem}" if plain else stem
            value = to_keras(
                weight_name, source[state_name(weight_name)], heads_of(config, weight_name)
            )
            arrays[f"{group}/{CONTAINER}/{name}"] = np.ascontiguousarray(value)
        groups += [f"{group}/{CONTAINER}/{name}" for name in part.empty()] + [f"{group}/vars"]
    totals = {f"{m}/vars/{i}": np.zeros((), np.float32) for m in METRICS[writer] for i in (0, 1)}
    write_keras(out, arrays | totals, groups)
    if config.mode == "masked":
        lines.append("mode 'masked': with padding, OmniLearn's function of these weights differs")
    return "\n".join([*lines, f"{len(arrays)} tensors of OmniLearn's {writer} written to {out}"])


def writer_of(network: Any, path: str) -> str:
    """Find who writes a file with such a network; InputError where nobody does."""
    family = NAMES[type(network.config)]
    if family == "PET" and network.gen is None and network.cls is not None:
        return "OmniFold classifier"
    if family == "PET" and network.cls is None:
        raise InputError(
            f"{path}: found a PET without classifier head; OmniLearn has none, but such a network "
            "can be the moving average (--ema) of another"
        )
    found = [writer for writer, name in WRITERS.items() if name == family]
    if not found:
        raise InputError(f"{path}: found a {family}, which OmniLearn does not have")
    return found[0]


def reference_state(network: Any, path: str) -> dict[str, np.ndarray]:
    """Return the tensors that OmniLearn has; InputError for a class token that is not zero."""
    state = state_from_network(network)
    token = state.pop("cls.class_token", None)
    if token is not None and token.any():
        raise InputError(f"{path}: the class token is trained, that of OmniLearn is always zero")
    return state


def _sizes(config: Any) -> tuple[str, tuple[int, int | None], dict[str, tuple[int, ...]]]:
    shapes = {slot.name: slot.shape for slot in slots(skeleton(config))}
    shapes.pop("cls.class_token", None)
    heads = config.num_heads, getattr(config, "num_jet_heads", None)
    return NAMES[type(config)], heads, shapes


def part_of(config: Any, kind: str, group: str) -> omnilearn_names.Part:
    """Return the layers of one of OmniLearn's models."""
    scaled = config.layer_scale is not None
    if kind == "body":
        return omnilearn_names.body(
            config.num_layers, config.num_local, config.talking_head, scaled
        )
    if kind == "classifier":
        inputs = 2 if group == "head" else 1
        if config.simple:
            return omnilearn_names.simple_classifier(inputs)
        return omnilearn_names.classifier(config.num_class_layers, scaled, inputs)
    if kind == "generator":
        inputs = 1 if group.endswith("generator") else 5
        if config.simple:
            return omnilearn_names.simple_generator(inputs)
        return omnilearn_names.generator(config.num_gen_layers, scaled, inputs)
    if kind == "jets":
        return omnilearn_names.jet_generator(
            config.num_jet_layers, scaled, 3 if group == "ema_jet" else 1
        )
    return omnilearn_names.event_classifier(config.num_jet_layers, scaled)
