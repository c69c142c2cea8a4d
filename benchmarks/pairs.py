"""Ours and the peer's network with the same weights: `lgatr` and OmniLearn."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import numpy as np

from benchmarks.networks import Benchmarked, of_config
from benchmarks.peers.client import Peer, running
from jaxpriors.models import lgatr, lgatr_slim
from jaxpriors.models.files import save_network
from jaxpriors.models.pet import PET, PETConfig
from jaxpriors.models.state_dicts import state_from_network
from jaxpriors.porting.omnilearn_export import export
from jaxpriors.ratio.presets import preset
from jaxpriors.training.options import Compute
from jaxpriors.training.step import Precision

WAYS = {"lgatr": ("-masked", "-flat"), "lgatr-slim": ("-masked", "-flat"), "pet": ("",)}
"""In which ways a model's peer computes jets of different multiplicities."""
SLOW = 1.5
"""A variant that needs this many times the fastest peer's time is not timed further."""


@dataclass(frozen=True)
class Case:
    """One network of ours and the release of the peer that computes the same function."""

    model: str
    release: str
    config: Any

    @cached_property
    def task(self) -> Benchmarked:
        """Our network as it is benchmarked."""
        return of_config(self.config)

    @cached_property
    def network(self) -> Any:
        """Its weights; those of PET with all heads, as OmniLearn's files have them."""
        key = jax.random.key(0)
        return PET.init(key, self.config) if self.model == "pet" else self.task.init(key)

    def computing(self, compute: Compute, attention: str = "xla") -> Benchmarked:
        """Return our network in another precision, with that kernel of attention."""
        config = self.config
        if attention != "xla":
            config = dataclasses.replace(config, attention_implementation=attention)
        return of_config(config, Precision(compute))


def cases(models: tuple[str, ...], size: str) -> list[Case]:
    """List every pair to be compared."""
    found = []
    for model in models:
        config = preset(model, size)
        if isinstance(config, PETConfig):
            found.append(Case(model, "omnilearn", config))
            continue
        versions = lgatr.VERSIONS if model == "lgatr" else lgatr_slim.VERSIONS
        fields = {field.name for field in dataclasses.fields(config)}
        for release in ("1.4.3", "2.0.0"):
            switches = {k: v for k, v in versions[release[:3]].items() if k in fields}
            same = dataclasses.replace(config, **switches)
            found.append(Case(model, f"lgatr-{release}", same))
    return found


@contextlib.contextmanager
def start(
    case: Case, how: str, omnilearn: Path | None, python: Path, folder: Path
) -> Iterator[Peer]:
    """Start the peer with our weights by that interpreter; "compiled" is one way how.

    omnilearn: the folder of OmniLearn's PET.py, for PET. folder: a place for the weights.
    """
    name = f"{case.release} {how}"
    cls, constructor = constructor_of(case)
    weights = folder / f"{case.release}.weights.h5"
    if case.model == "pet":
        save_network(folder / "pet.safetensors", case.network)
        weights.unlink(missing_ok=True)
        export(folder / "pet.safetensors", weights)
        server, arguments = "omnilearn_server.py", [str(omnilearn)]
    else:
        weights = folder / f"{case.release}.npz"
        write(weights, state_from_network(case.network))
        server, arguments = "lgatr_server.py", []
    with running(name, python, server, *arguments) as peer:
        order: dict[str, Any] = {"cls": cls, "constructor": constructor, "weights": str(weights)}
        if case.model != "pet":
            order["device"] = "cpu" if jax.default_backend() == "cpu" else "cuda"
        peer.ask("build", **order, compile=how == "compiled")
        yield peer


def constructor_of(case: Case) -> tuple[str, dict[str, Any]]:
    """Return the peer's class and the arguments that build the same network."""
    config = case.config
    if case.model == "pet":
        names = ("num_classes", "num_heads", "num_layers", "num_local", "num_class_layers")
        return "PET", {n: getattr(config, n) for n in (*names, "num_gen_layers")} | {
            "num_feat": config.num_features,
            "num_jet": config.num_jet_features,
            "projection_dim": config.hidden_channels,
            "K": config.neighbours,
        }
    same = ["num_blocks", "in_s_channels", "out_s_channels", "hidden_s_channels"]
    if case.model == "lgatr-slim":
        same += ["in_v_channels", "out_v_channels", "hidden_v_channels", "num_heads"]
        return "LGATrSlim", {n: getattr(config, n) for n in same}
    same += ["in_mv_channels", "out_mv_channels", "hidden_mv_channels"]
    old = case.release == "lgatr-1.4.3"  # the ratios have other names since
    attention, mlp = ("increase_hidden_channels",) * 2 if old else ("attn_ratio", "mlp_ratio")
    return "LGATr", {n: getattr(config, n) for n in same} | {
        "attention": {"num_heads": config.num_heads, attention: config.attn_ratio},
        "mlp": {mlp: config.mlp_ratio},
    }


def write_jets(file: Path, jets: Any) -> None:
    """Write the jets that the peers read."""
    names = ("momenta", "features", "multiplicity")
    write(file, {n: np.asarray(a) for n, a in zip(names, jets, strict=True)})


def write(file: Path, arrays: dict[str, Any]) -> None:
    """Write arrays by their names; their types are not those of np.savez's options."""
    np.savez(file, **arrays)
