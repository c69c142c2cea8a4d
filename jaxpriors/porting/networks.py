"""Every family of networks by name, and the files that hold a ported or trained network.

A network is one safetensors file: its tensors under the names of ``trees`` (which are those of
PyTorch for the networks of ``lgatr``), and under the metadata ``jaxpriors`` a JSON table
{"format": 1, "family": "LGATr", "config": {field: value}}.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxpriors.errors import InputError
from jaxpriors.models.lgatr import (
    ConditionalLGATr,
    ConditionalLGATrConfig,
    LGATr,
    LGATrConfig,
)
from jaxpriors.models.lgatr_slim import (
    ConditionalLGATrSlim,
    ConditionalLGATrSlimConfig,
    LGATrSlim,
    LGATrSlimConfig,
)
from jaxpriors.models.mlp import MLP, MLPConfig
from jaxpriors.models.pet import PET, PETConfig
from jaxpriors.models.pet_twojet import (
    PETTwoJetClassifier,
    PETTwoJetClassifierConfig,
    PETTwoJetGenerator,
    PETTwoJetGeneratorConfig,
)
from jaxpriors.porting.safetensors import read_metadata, read_safetensors, write_safetensors
from jaxpriors.porting.trees import network_from_state, state_from_network

FAMILIES: dict[str, tuple[Any, Any]] = {
    "LGATr": (LGATr, LGATrConfig),
    "ConditionalLGATr": (ConditionalLGATr, ConditionalLGATrConfig),
    "LGATrSlim": (LGATrSlim, LGATrSlimConfig),
    "ConditionalLGATrSlim": (ConditionalLGATrSlim, ConditionalLGATrSlimConfig),
    "PET": (PET, PETConfig),
    "MultiFold": (MLP, MLPConfig),
    "PETTwoJetClassifier": (PETTwoJetClassifier, PETTwoJetClassifierConfig),
    "PETTwoJetGenerator": (PETTwoJetGenerator, PETTwoJetGeneratorConfig),
}
"""The network and the configuration of each family."""

HEADS = ("cls", "gen")  # parts of a PET that may be absent
METADATA = "jaxpriors"
FORMAT = 1


def family_of(config: Any) -> str:
    """The name of the family that a configuration belongs to."""
    return next(name for name, (_, cls) in FAMILIES.items() if cls is type(config))


def is_pet(config: Any) -> bool:
    """Whether this is the configuration of a PET or of one of its networks of two jets."""
    return isinstance(config, PETConfig)


def template(config: Any, heads: tuple[str, ...] = HEADS) -> Any:
    """The tree of a network without numbers: ShapeDtypeStructs in place of the arrays.

    ``heads`` are those that a PET shall have.
    """
    network, _ = FAMILIES[family_of(config)]
    options = {"heads": heads} if network is PET else {}
    return jax.eval_shape(lambda key: network.init(key, config, **options), jax.random.key(0))


def build(config: Any, state: Mapping[str, np.ndarray], prefix: str | None = None) -> Any:
    """The network of this configuration with these tensors; see ``network_from_state``.

    A PET has those of its heads that have tensors.
    """
    start = prefix or ""
    heads = [h for h in HEADS if any(name.startswith(f"{start}{h}.") for name in state)]
    return network_from_state(template(config, tuple(heads)), state, prefix)


def save_network(path: str | Path, network: Any) -> None:
    """Write a network to one file that ``load_network`` reads without further arguments."""
    write_network(path, state_from_network(network), network.config)


def write_network(path: str | Path, state: Mapping[str, np.ndarray], config: Any) -> None:
    """Write the tensors of a network and its configuration."""
    table = {
        "format": FORMAT,
        "family": family_of(config),
        "config": dataclasses.asdict(config),
    }
    write_safetensors(path, state, {METADATA: json.dumps(table)})


def load_network(path: str | Path) -> Any:
    """The network in a file written by ``save_network`` or ``jaxpriors port``.

    Raises InputError where the file is absent, not one of these or damaged.
    """
    config = read_config(path)
    try:
        return build(config, read_safetensors(path), prefix="")
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def read_config(path: str | Path) -> Any:
    """The configuration in the metadata of a network's file."""
    text = read_metadata(path).get(METADATA)
    if text is None:
        raise InputError(
            f"{path}: no configuration in the file, so it is not a ported network; "
            "make one with `jaxpriors port lgatr` or `jaxpriors port omnilearn`"
        )
    try:
        table = json.loads(text)
        if table["format"] != FORMAT:
            raise InputError(f"{path}: found format {table['format']!r}, expected {FORMAT}")
        fields = {k: tuple(v) if isinstance(v, list) else v for k, v in table["config"].items()}
        return FAMILIES[table["family"]][1](**fields)
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: the configuration cannot be read: {error!r}") from error


def describe_network(path: str | Path) -> list[str]:
    """Lines with the family and the configuration of a network's file."""
    config = read_config(path)
    lines = [f"ported network, {family_of(config)} with the configuration"]
    return lines + [f"  {name} = {value!r}" for name, value in dataclasses.asdict(config).items()]
