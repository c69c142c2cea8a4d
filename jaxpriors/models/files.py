"""Every family of networks by name, and the files that hold a ported or trained network.

A network is one safetensors file: its tensors under the names of ``state_dicts`` (those
of PyTorch for the networks of ``lgatr``), and under the metadata ``jaxpriors`` a JSON table
{"format": 1, "family": "LGATr", "config": {field: value}}.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
import safetensors
from safetensors.numpy import save

from jaxpriors.errors import InputError
from jaxpriors.layers.core import Linear
from jaxpriors.models.lgatr import ConditionalLGATrConfig, LGATr, LGATrConfig
from jaxpriors.models.lgatr_slim import ConditionalLGATrSlimConfig, LGATrSlim, LGATrSlimConfig
from jaxpriors.models.mlp import MLP, MLPConfig
from jaxpriors.models.pet import PET, PETConfig
from jaxpriors.models.pet_dijet import (
    PETTwoJetClassifier,
    PETTwoJetClassifierConfig,
    PETTwoJetGenerator,
    PETTwoJetGeneratorConfig,
)
from jaxpriors.models.state_dicts import network_from_state, state_from_network
from jaxpriors.run.forms import checked, made, parse_json
from jaxpriors.run.storage import written_whole
from jaxpriors.run.stored_arrays import regular_file

FAMILIES: dict[str, tuple[Any, Any]] = {
    "LGATr": (LGATr, LGATrConfig),
    "ConditionalLGATr": (LGATr, ConditionalLGATrConfig),
    "LGATrSlim": (LGATrSlim, LGATrSlimConfig),
    "ConditionalLGATrSlim": (LGATrSlim, ConditionalLGATrSlimConfig),
    "PET": (PET, PETConfig),
    "MultiFold": (MLP, MLPConfig),
    "PETTwoJetClassifier": (PETTwoJetClassifier, PETTwoJetClassifierConfig),
    "PETTwoJetGenerator": (PETTwoJetGenerator, PETTwoJetGeneratorConfig),
}
"""The network and the configuration of each family."""

NAMES = {config: name for name, (_, config) in FAMILIES.items()}
"""Type of a configuration → family."""

HEADS = ("cls", "gen")  # parts of a PET that may be absent
CLASSES = ("cls.out.weight", "cls.out.bias", "gen.label.weight")  # as large as there are classes
COUNTS = re.compile(r"num_(\w+_)?(layers|blocks|local)(_mlp)?")  # of layers, each with tensors
METADATA = "jaxpriors"
FORMAT = 1


def is_pet(config: Any) -> bool:
    """Whether this is the configuration of a PET or of one of its dijet networks."""
    return isinstance(config, PETConfig)


def skeleton(config: Any, heads: tuple[str, ...] = HEADS) -> Any:
    """Make the tree of a network with ShapeDtypeStructs in place of the arrays.

    ``heads`` are those of a PET. Raises InputError for sizes that make no network.
    """
    network, _ = FAMILIES[NAMES[type(config)]]
    options = {"heads": heads} if network is PET else {}
    try:
        return jax.eval_shape(lambda key: network.init(key, config, **options), jax.random.key(0))
    except (ArithmeticError, TypeError, ValueError) as error:  # shapes beyond what arrays have
        reason = str(error).splitlines()[0]
        raise InputError(f"the configuration makes no network: {reason}") from error


def build(config: Any, state: Mapping[str, np.ndarray], prefix: str | None = None) -> Any:
    """Make the network of this configuration with these tensors; see ``network_from_state``.

    A PET has those of its heads that have tensors.
    """
    _check_counts(config, len(state))
    start = prefix or ""
    heads = [h for h in HEADS if any(name.startswith(f"{start}{h}.") for name in state)]
    return network_from_state(skeleton(config, tuple(heads)), state, prefix)


def save_network(path: str | Path, network: Any) -> None:
    """Write a network to one file that ``load_network`` reads without further arguments."""
    write_network(path, state_from_network(network), network.config)


def write_network(path: str | Path, state: Mapping[str, np.ndarray], config: Any) -> None:
    """Write the tensors of a network and its configuration."""
    table = {
        "format": FORMAT,
        "family": NAMES[type(config)],
        "config": dataclasses.asdict(config),
    }
    write_safetensors(path, state, {METADATA: json.dumps(table)})


def load_network(path: str | Path) -> Any:
    """Read the network in a file written by ``save_network`` or ``jaxpriors port``.

    Raises InputError where the file is absent, not one of these or damaged.
    """
    config = read_config(path)
    state = read_safetensors(path)
    try:
        return build(config, state, prefix="")
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _check_counts(config: Any, tensors: int) -> None:
    """Raise InputError for more layers than there are tensors, before any is made."""
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if COUNTS.fullmatch(field.name) and value > tensors:
            raise InputError(
                f"{field.name}: found {value}, expected no more than the {tensors} tensors"
            )


def read_config(path: str | Path) -> Any:
    """Read the configuration in the metadata of a network's file."""
    text = read_metadata(path).get(METADATA)
    if text is None:
        raise InputError(
            f"{path}: no configuration in the file, so it is not a ported network; "
            "make one with `jaxpriors port lgatr` or `jaxpriors port omnilearn`"
        )
    place = f"{path}: metadata {METADATA}"
    table = checked(parse_json(text, place), dict, place)
    if type(table.get("format")) is not int or table["format"] != FORMAT:
        raise InputError(f"{path}: found format {table.get('format')!r}, expected {FORMAT}")
    family = checked(table.get("family"), Literal[*FAMILIES], f"{place}.family")
    return made(FAMILIES[family][1], table.get("config"), f"{place}.config")


def describe_network(path: str | Path) -> list[str]:
    """List the family and the configuration of a network's file."""
    config = read_config(path)
    lines = [f"ported network, {NAMES[type(config)]} with the configuration"]
    return lines + [f"  {name} = {value!r}" for name, value in dataclasses.asdict(config).items()]


def replace_classes(network: PET, classes: int, key: jax.Array) -> tuple[PET, tuple[str, ...]]:
    """Return the network for another number of classes, and the names of the tensors that are new.

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


def read_safetensors(path: str | Path) -> dict[str, np.ndarray]:
    """Read every tensor of a safetensors file; bfloat16 becomes float32, which holds it exactly.

    Raises InputError where the file is absent, truncated, damaged or of another format.
    """
    tensors = {}
    with _opened(path) as file:
        for name in file.keys():  # noqa: SIM118 (a file is not iterable)
            value = file.get_tensor(name)
            if value.dtype == bool and value.size and value.view(np.uint8).max() > 1:
                raise InputError(f"{path}: tensor {name!r}: found a byte above 1 in a BOOL tensor")
            tensors[name] = value.astype(np.float32) if value.dtype.name == "bfloat16" else value
    return tensors


def read_metadata(path: str | Path) -> dict[str, str]:
    """Read the metadata (text to text) of a safetensors file; without any, an empty table.

    Raises InputError as ``read_safetensors`` does.
    """
    with _opened(path) as file:
        return file.metadata() or {}


@contextlib.contextmanager
def _opened(path: str | Path) -> Iterator[Any]:
    """Open a safetensors file; InputError where it cannot be read."""
    regular_file(path, "a safetensors file")
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            yield file
    except (safetensors.SafetensorError, OSError) as error:
        raise InputError(
            f"{path}: truncated, damaged or not a safetensors file: {error}"
        ) from error


def write_safetensors(
    path: str | Path, tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str] | None = None
) -> None:
    """Write tensors and metadata (text to text) to a file, which is whole or absent.

    Raises InputError where the place cannot be written to, and TypeError for a type of numbers that
    the format does not have.
    """
    # safetensors stores the memory of an array, whatever its order
    arrays = {name: np.asarray(value, order="C") for name, value in tensors.items()}
    try:
        content = save(arrays, None if metadata is None else dict(metadata))
    except safetensors.SafetensorError as error:
        raise TypeError(f"{path}: cannot be stored: {error}") from error
    with written_whole(path, overwrite=True) as temporary:
        temporary.write_bytes(content)
