"""Valid small files of every kind that is read, and how each is read: for `test_malformed`."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxpriors import RatioModel, Unfolded
from jaxpriors.cli.main import run
from jaxpriors.data.catalog import SETS
from jaxpriors.data.events import Events
from jaxpriors.data.formats.omnilearn import write_omnilearn_events
from jaxpriors.data.formats.opening import read_sample
from jaxpriors.data.matched import read_simulation
from jaxpriors.data.prepared import open_prepared
from jaxpriors.data.reading import Reading
from jaxpriors.data.sample_files import read_events, write_events
from jaxpriors.errors import InputError
from jaxpriors.models.files import load_network
from jaxpriors.models.state_dicts import state_from_network
from jaxpriors.porting.omnilearn import read_omnilearn
from jaxpriors.porting.torch_files import read_tensors
from jaxpriors.training.tuned import read_tuned
from jaxpriors.verification.checks import read_case
from tests.helpers import published
from tests.helpers.jets import random_jets
from tests.helpers.malformed import (
    BYTES,
    NPZ,
    PATHS,
    Mutation,
    copied,
    hdf5,
)
from tests.helpers.malformed_texts import SAFETENSORS, of_json
from tests.helpers.recorded import FIXTURES
from tests.helpers.trees import COLUMNS, constituents, write_tree

WRITTEN = FIXTURES / "written"


@dataclasses.dataclass(frozen=True)
class Kind:
    """One kind of file.

    make: writes a valid one into a new folder, and gives its path. actions: by name, from the path
    to what was read (arrays and texts), or to an exit code of a command. families: of mutations,
    for each of the files (globs relative to the path, "" for itself). compared: actions whose
    results must be those of the valid file.
    """

    make: Callable[[Path], Path]
    actions: dict[str, Callable[[Path], Any]]
    families: dict[str, dict[str, Mutation]]
    compared: tuple[str, ...] = ("read",)


def flat(value: Any) -> list[Any]:
    """Everything in events, networks and containers that can be compared, as arrays and texts."""
    if isinstance(value, dict):
        return [x for key in sorted(value) for x in [key, *flat(value[key])]]
    if isinstance(value, list | tuple):
        return [x for each in value for x in flat(each)]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [field.name for field in dataclasses.fields(value)]
        return [x for n in names for x in [n, *flat(getattr(value, n))]]
    if isinstance(value, np.ndarray | jax.Array):
        return [np.asarray(value)]
    return [str(value)]


def command(*arguments: str | Path) -> int:
    """Run one command; a refusal becomes an InputError with what it printed."""
    told = io.StringIO()
    with contextlib.redirect_stderr(told), contextlib.redirect_stdout(io.StringIO()) as out:
        code = run([str(x) for x in arguments])
    if code == 2:
        said = told.getvalue().strip()
        raise InputError(said.removeprefix("error: ") or out.getvalue().strip().replace("\n", "; "))
    if code:
        raise RuntimeError(f"exit code {code}: {told.getvalue()}")
    return code


def check(path: Path) -> int:
    return command("data", "check", path)


def convert(path: Path) -> Any:
    out = path.with_name("converted.h5")
    try:
        command("data", "convert", path, out)
    except InputError:
        if out.exists():
            raise RuntimeError("a file is left of a conversion that was refused") from None
        raise
    return read_events(out)


def catalogued(name: str) -> Callable[[Path], Any]:
    def read(path: Path) -> Any:
        return [part.open()(0, part.events) for part in SETS[name].parts(path)]

    return read


def events_with_all(number: int, seed: int) -> Events:
    events = random_jets(number, seed, mean_multiplicity=5)
    rng = np.random.default_rng(seed)
    return dataclasses.replace(
        events.with_label(rng.integers(0, 2, number)).with_weight(rng.normal(1, 0.2, number)),
        columns={"x": rng.normal(size=number)},
    )


def ours(folder: Path) -> Path:
    write_events(folder / "a.h5", events_with_all(30, 0), {"seed": 1})
    return folder / "a.h5"


def levels(folder: Path) -> Path:
    rng = np.random.default_rng(0)
    flags = {"particle": "pass_gen", "detector": "pass_reco"}
    both = {
        level: dataclasses.replace(
            random_jets(30, seed, mean_multiplicity=5), columns={name: rng.random(30) > 0.3}
        )
        for seed, (level, name) in enumerate(flags.items())
    }
    write_events(folder / "a.h5", both)
    return folder / "a.h5"


def npz(folder: Path) -> Path:
    e = events_with_all(30, 0)
    arrays = {"p4": e.p4, "pid": e.pid, "offsets": e.offsets, "weight": e.weight}
    np.savez_compressed(folder / "a.npz", **arrays)
    return folder / "a.npz"


def written(name: str) -> Callable[[Path], Path]:
    return lambda folder: copied(WRITTEN / name, folder / name)


def fixture(name: str) -> Callable[[Path], Path]:
    return lambda folder: copied(FIXTURES / name, folder / Path(name).name)


def published_as(name: str, write: Callable[[Path], None]) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        write(folder / name)
        return folder / name

    return make


def omnilearn(folder: Path) -> Path:
    write_omnilearn_events(folder / "a.h5", published.jets(30, 0))
    return folder / "a.h5"


def jets(seed: int = 0, **options: Any) -> Events:
    return published.jets(30, seed, **options)


def tuned(folder: Path) -> Path:
    entry = {
        "key": {"device": "x", "network": {}},
        "length": 12.5,
        "batch_size": 64,
        "micro_batch": 8,
        "whole": False,
    }
    (folder / "tuned.json").write_text(json.dumps({"tuned": [entry]}))
    return folder / "tuned.json"


def read_tuned_at(path: Path) -> Any:
    before = os.environ.get("JAXPRIORS_CACHE")
    os.environ["JAXPRIORS_CACHE"] = str(path.parent)
    try:
        return read_tuned()
    finally:
        os.environ.pop("JAXPRIORS_CACHE")
        if before is not None:
            os.environ["JAXPRIORS_CACHE"] = before


def a_run(folder: Path) -> Path:
    for name in ("events.h5", "data.h5"):
        copied(WRITTEN / name, folder / name)
    reweighted(folder)
    return folder / "run"


def reweighted(folder: Path, *more: str) -> int:
    here = Path.cwd()
    os.chdir(folder)
    try:
        options = ["--model", "mlp", "--epochs", "1", "--batch-size", "16", "--out", "run", *more]
        return command("reweight", "events.h5", "data.h5", *options)
    finally:
        os.chdir(here)


def resume(path: Path) -> int:
    return reweighted(path.parent, "--resume")


def state_of(path: Path) -> Any:
    network = load_network(path)
    return [network.config, state_from_network(network)]


def a_case(folder: Path) -> Path:
    for suffix in (".json", ".npz", ".safetensors"):
        copied(FIXTURES / "lgatr" / f"slim_tiny{suffix}", folder / "case" / f"slim_tiny{suffix}")
    return folder / "case"


def port_omnilearn(path: Path) -> Any:
    network, _ = read_omnilearn(path)
    return [network.config, state_from_network(network)]


TREE = Reading(columns={**COLUMNS, "weight": "w"})


def tree(path: Path, kind: str) -> None:
    """A tree of any kind, with weights."""
    write_tree(path, constituents(np.arange(1, 31) % 7 + 1) | {"w": np.arange(30.0) + 1}, kind)


KINDS: dict[str, Kind] = {
    "sample": Kind(
        ours,
        {"read": read_events, "check": check, "convert": convert},
        {"": hdf5("columns/")},
        ("read", "convert"),
    ),
    "sample of two levels": Kind(
        levels,
        {
            "read": read_simulation,
            "check": check,
        },
        {"": hdf5()},
    ),
    "npz sample": Kind(
        npz,
        {"read": read_events, "check": check, "convert": convert},
        {"": NPZ},
        ("read", "convert"),
    ),
    "prepared sample": Kind(
        written("prepared"),
        {
            "read": lambda path: [open_prepared(path, x).read() for x in ("particle", "detector")],
            "check": check,
        },
        {"prepared.json": of_json(r"\.request"), "*/*.npy": PATHS | BYTES},
    ),
    "OmniLearn": Kind(
        omnilearn, {"read": catalogued("omnilearn"), "check": check}, {"": hdf5("pid")}
    ),
    "EnergyFlow": Kind(
        published_as(
            "Herwig_Zjet_pTZ-200GeV_3.npz",
            lambda path: published.write_zjets(path, jets(pt=150), jets(1, pt=150)),
        ),
        {"read": catalogued("zjets"), "check": check},
        {"": NPZ},
    ),
    "quarks and gluons": Kind(
        published_as("QG_jets.npz", lambda path: published.write_quarkgluon(path, jets())),
        {"read": catalogued("quarkgluon"), "check": check},
        {"": NPZ},
    ),
    "JetNet": Kind(
        published_as(
            "t.hdf5", lambda path: published.write_jetnet(path, jets(massless=True, pt=1000))
        ),
        {"read": catalogued("jetnet"), "check": check},
        {"": hdf5()},
    ),
    "top tagging": Kind(
        published_as("train.h5", lambda path: published.write_top(path, jets(massless=True))),
        {"read": catalogued("toptagging"), "check": check},
        {"": {**PATHS, **BYTES}},
    ),
    "LHC Olympics": Kind(
        published_as("a.h5", lambda path: published.write_lhco(path, published.lhco_rows(20, 0))),
        {"read": catalogued("lhco"), "check": check},
        {"": hdf5("axis|items")},
    ),
    "JetClass": Kind(
        published_as(
            "a.root",
            lambda path: published.write_jetclass(path, jets().with_label(np.arange(30) % 10)),
        ),
        {"read": catalogued("jetclass"), "check": check},
        {"": {**PATHS, **BYTES}},
    ),
    **{
        kind: Kind(
            published_as(f"a.{kind}", lambda path, kind=kind: tree(path, kind)),
            {"read": lambda path: read_sample(path, TREE)},
            {"": {**PATHS, **BYTES}},
        )
        for kind in ("TTree", "RNTuple", "parquet")
    },
    "ratio": Kind(
        written("lgatr"),
        {"read": RatioModel.load},
        {
            "model.json": of_json(r"\.(temperature|networks|momentum_scale|kind)$"),
            "network.safetensors": SAFETENSORS,
        },
    ),
    "ensemble": Kind(
        written("ensemble"),
        {"read": RatioModel.load},
        {
            "model.json": of_json(r"\.(temperature|networks|momentum_scale)$"),
            "network-1.safetensors": SAFETENSORS,
        },
    ),
    "ported network": Kind(
        written("ported_lgatr.safetensors"),
        {
            "read": state_of,
            "inspect": lambda path: command("port", "inspect", path),
            "export": lambda path: command("port", "export", path, path.with_name("out.st")),
        },
        {"": SAFETENSORS},
    ),
    "state dict": Kind(
        fixture("lgatr/slim_tiny.safetensors"),
        {
            "read": lambda path: [
                command("port", "lgatr", path, path.with_name("out.st"), "--heads", "2"),
                state_of(path.with_name("out.st")),
            ],
            "inspect": lambda path: command("port", "inspect", path),
        },
        {"": SAFETENSORS},
    ),
    "Keras": Kind(
        fixture("omnilearn/small_simple.weights.h5"),
        {"read": port_omnilearn, "inspect": lambda path: command("port", "inspect", path)},
        {"": hdf5(r"metrics|optimizer")},
    ),
    "unfolding": Kind(
        written("unfolding.h5"),
        {
            "read": Unfolded.read,
            "apply": lambda path: command("unfold", "apply", path),
        },
        {"": hdf5("observables/")},
    ),
    "run": Kind(
        written("run"),
        {"report": lambda path: command("report", path)},
        {"metrics.json": of_json()},
        (),
    ),
    "run to resume": Kind(
        a_run,
        {"resume": resume},
        {"config.json": of_json()},
        (),
    ),
    "micro-batches": Kind(
        tuned,
        {"read": read_tuned_at},
        {"": {n: f for n, f in of_json(r"\.key\.").items() if n not in ("gone", "dangling link")}},
    ),
    "recorded case": Kind(
        a_case,
        {"read": lambda path: read_case(path / "slim_tiny.json")},
        {"slim_tiny.npz": NPZ, "slim_tiny.json": of_json()},
        (),
    ),
}
with contextlib.suppress(ImportError):
    import torch  # noqa: F401

    KINDS["PyTorch"] = Kind(
        fixture("lgatr2/lgatr_prefixed.pt"),
        {
            "read": lambda path: read_tensors(path)[0],
            "inspect": lambda path: command("port", "inspect", path),
        },
        {"": {**PATHS, **BYTES}},
    )


def targets(kind: str, path: Path) -> list[tuple[Path, dict[str, Mutation]]]:
    """The files of a kind, each with its families."""
    return [
        (file, families)
        for glob, families in KINDS[kind].families.items()
        for file in (sorted(path.glob(glob)) if glob else [path])
    ]
