"""The rows of `gpu`: which there are, and how one is measured.

A row is a forward pass or a training step of one network, on one device: ours, and where the peer
computes the same, the peer's as it is and compiled. All start from the same weights and jets.
Before anything is timed, outputs of passes and the losses of two steps (the second depends on the
first one's gradients and update) are compared with ours; a peer that differs is not timed. A
variant that cannot be finished says why, and stops nothing else.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np

from benchmarks.measure import Built, Program, time_in_turn
from benchmarks.networks import (
    forward_program,
    in_buckets,
    latency_program,
    multiplicities,
    train_program,
)
from benchmarks.pairs import SLOW, WAYS, Case, cases, start, write_jets
from benchmarks.peers.client import Peer
from jaxpriors.errors import one_line
from jaxpriors.training.options import Compute

OURS = "ours"
PEER = "lgatr-2.0.0"
# relative to the largest; both sides round in 8 or 11 bits, at different places
TOLERANCE = {"float32": 1e-3, "tensorfloat32": 2e-2, "bfloat16": 0.15}
COMPUTE: tuple[Compute, ...] = ("bfloat16", "tensorfloat32", "float32")


@dataclass(frozen=True)
class Row:
    """What is measured: a task on so many jets, in one precision.

    task: forward or train. jets: "full", all of the largest multiplicity; "ragged", of realistic
    ones, by ours in a few padded lengths; "padded", the same in one.
    """

    model: str
    task: str
    batch: int
    jets: str
    compute: Compute
    attention: Literal["xla", "cudnn"] = "xla"

    @property
    def work(self) -> str:
        """Name the row without its model."""
        kernel = "" if self.attention == "xla" else f"-{self.attention}"
        return f"{self.task}-{self.batch}-{self.jets}-{self.compute}{kernel}"

    @property
    def name(self) -> str:
        """Name the row: no other one has this name."""
        return f"{self.model}-{self.work}"

    @property
    def compared(self) -> bool:
        """Whether it is a row of the peer too."""
        return self.model != "pet" and self.jets != "padded" and self.attention == "xla"


@dataclass(frozen=True)
class Variant:
    """What was found of one program.

    name: "ours", or the peer's "eager" or "compiled" with its way. seconds: median of a call, and
    its relative spread. compilation: seconds, of a peer those of its first call. memory: bytes, of
    ours those of the program, of a peer those of its arrays at the peak, None on CPUs. difference:
    the largest from ours, relative to the largest number. failed: why numbers are missing.
    """

    name: str
    seconds: float | None = None
    spread: float | None = None
    compilation: float | None = None
    memory: int | None = None
    difference: float | None = None
    note: str = ""
    failed: str = ""


def plan(models: Sequence[str], batches: tuple[int, int], gpu: bool) -> list[Row]:
    """List the rows of these models, the most important ones first.

    batches: a small and a large number of jets. gpu: whether to list what GPUs alone can do.
    """
    few, many = batches
    first: list[tuple[str, int, str, Compute]] = [
        ("forward", 1, "full", "float32"),
        ("train", many, "ragged", "bfloat16"),
        ("forward", many, "full", "float32"),
        ("train", many, "full", "float32"),
        ("train", few, "full", "float32"),
        ("forward", few, "full", "float32"),
    ]
    tasks, jets = ("train", "forward"), ("ragged", "full")
    rest = [
        (task, batch, which, compute)
        for compute, batch, task, which in itertools.product(COMPUTE, (many, few), tasks, jets)
    ]
    single: list[tuple[str, int, str, Compute]] = [("forward", 1, "full", c) for c in COMPUTE]
    kinds = list(dict.fromkeys([*first, *single, *rest]))
    rows = [Row(model, *kind) for kind in kinds for model in models]
    step = [Row(model, "train", many, "ragged", "bfloat16") for model in models]
    rows += [replace(row, jets="padded") for row in step]
    if gpu:
        rows += [replace(row, attention="cudnn") for row in step if row.model != "pet"]
    return rows


@dataclass(frozen=True)
class Peers:
    """The processes of the peer, started when a row asks for them, anew where one ended.

    Use as a context: its end is theirs.
    """

    python: Path
    size: str
    folder: Path
    running: dict[tuple[str, str, str], tuple[Peer, contextlib.ExitStack]] = field(
        default_factory=dict
    )

    def __enter__(self) -> Peers:
        """Start nothing yet."""
        return self

    def __exit__(self, *error: object) -> None:
        """End all."""
        for key in list(self.running):
            self.end(*key)

    def get(self, model: str, how: str, way: str) -> Peer:
        """Return the process of this network, "eager" or "compiled", for this way."""
        key = model, how, way
        if key in self.running and self.running[key][0].process.poll() is not None:
            self.end(*key)
        if key not in self.running:
            with contextlib.ExitStack() as stack:
                case = the_case(model, self.size)
                peer = stack.enter_context(start(case, how, None, self.python, self.folder))
                self.running[key] = peer, stack.pop_all()
        return self.running[key][0]

    def rest(self) -> None:
        """Let all give the memory of their jets back; end those that cannot."""
        for key, (peer, _) in list(self.running.items()):
            try:
                peer.ask("rest")
            except RuntimeError:
                self.end(*key)

    def end(self, model: str, how: str, way: str) -> None:
        """End the process of (model, how, way), if it runs."""
        if (model, how, way) in self.running:
            self.running.pop((model, how, way))[1].close()


@cache
def the_case(model: str, size: str) -> Case:
    """Return our network that computes the function of `PEER`, with its weights; PET as it is."""
    found = {case.release: case for case in cases((model,), size)}
    return found["omnilearn" if model == "pet" else PEER]


@cache
def weights(model: str, size: str) -> Any:
    """Return the weights of `the_case`, of PET those of a classifier alone."""
    return the_case(model, size).task.init(jax.random.key(0))


def measured(
    row: Row,
    size: str,
    peers: Peers | None,
    limit: float,
    rounds: int = 5,
    least: float = 0.3,
) -> list[Variant]:
    """Measure a row: ours first, then the peer's variants.

    limit: seconds that each answer of a peer may take. rounds, least: as in `time_in_turn`.
    """
    try:
        ours, expected, note = _fitting(row, size)
    except jax.errors.JaxRuntimeError as error:
        return [Variant(OURS, failed=one_line(error))]
    programs: dict[str, Program] = {OURS: ours}
    found = {OURS: Variant(OURS, None, None, ours.compilation, ours.memory, note=note)}
    if peers is not None and row.compared:
        file = peers.folder / "jets.npz"
        write_jets(file, _jets(row, size))
        for how, way in _ways(row, found):
            name = how + way
            process = row.model, how, way.replace("-masked", "")  # flat ones may want for memory
            try:
                peer = peers.get(*process)
                peer.limit = limit
                found[name], programs[name] = _compared(row, name, way, peer, file, expected)
            except RuntimeError as error:
                found[name] = Variant(name, failed=one_line(error))
                peers.end(*process)
    timed = _in_turn(programs, rounds, least, found)
    if peers is not None:
        peers.rest()
    return timed


def _ways(row: Row, found: dict[str, Variant]) -> Iterator[tuple[str, str]]:
    """Yield (how, way) of the peer: all ways as it is, and compiled the one that was fastest."""
    ways = WAYS[row.model] if row.jets == "ragged" else ("",)
    for way in ways:
        yield "eager", way
    seconds = {way: found["eager" + way].seconds or float("inf") for way in ways}
    yield "compiled", min(seconds, key=lambda way: seconds[way])


def _compared(
    row: Row, name: str, way: str, peer: Peer, file: Path, expected: np.ndarray
) -> tuple[Variant, Program]:
    """Compare a variant of the peer with ours, and measure one call.

    RuntimeError where it differs or fails.
    """
    task, theirs = row.task + way, file.with_name("theirs.npz")
    peer.ask("precision", compute=row.compute)
    peer.ask("jets", file=str(file))
    first = peer.ask("outputs", file=str(theirs), task=task)
    outputs = np.load(theirs)["outputs"]
    difference = float(np.abs(outputs - expected[: len(outputs)]).max() / np.abs(outputs).max())
    if not difference < TOLERANCE[row.compute]:
        raise RuntimeError(
            f"differs from ours by {difference:.1e}, more than {TOLERANCE[row.compute]}"
        )
    on_gpu = jax.default_backend() != "cpu"
    memory = peer.ask("memory", task=task)["grown"] if on_gpu else None
    run = peer.program(task)
    note = f"pieces of {first['piece']}" if first["piece"] < row.batch else ""
    return Variant(name, run(1), None, first["seconds"], memory, difference, note), run


def _in_turn(
    programs: dict[str, Program], rounds: int, least: float, found: dict[str, Variant]
) -> list[Variant]:
    """Time the programs in turn, without those that fail meanwhile; slow ones had their call."""
    once = {n: found[n].seconds or 0.0 for n in programs if n != OURS}
    for name in once:
        if once[name] > SLOW * min(once.values()):
            del programs[name]
            note = "; ".join(filter(None, [found[name].note, "one call"]))
            found[name] = replace(found[name], note=note)
    while True:
        try:
            timings = time_in_turn(_named(programs), rounds, least)
            break
        except _Failed as error:
            if error.name == OURS:
                return [replace(found[OURS], failed=one_line(error))]
            found[error.name] = Variant(error.name, failed=one_line(error))
            programs = {name: run for name, run in programs.items() if name != error.name}
    for name, timing in timings.items():
        found[name] = replace(found[name], seconds=timing.seconds, spread=timing.spread)
    return list(found.values())


class _Failed(RuntimeError):
    """A program failed while it was timed; ``name`` is its own."""

    def __init__(self, name: str, error: Exception) -> None:
        super().__init__(str(error))
        self.name = name


def _named(programs: dict[str, Program]) -> dict[str, Program]:
    """Let errors say whose they are."""

    def named(name: str, run: Program) -> Program:
        def call(calls: int) -> float:
            try:
                return run(calls)
            except RuntimeError as error:
                raise _Failed(name, error) from error

        return call

    return {name: named(name, run) for name, run in programs.items()}


def _jets(row: Row, size: str) -> tuple[Any, ...]:
    """Draw the row's jets, padded to one length, as the peer has them."""
    task = the_case(row.model, size).task
    if row.jets == "full":
        return task.jets(row.batch)
    return task.ragged(np.sort(multiplicities(row.batch)))


def _fitting(row: Row, size: str) -> tuple[Built, np.ndarray, str]:
    """Build ours with as many jets at once as fit; return also its result, and how many they are.

    First as trainings have them: all on GPUs, `default_micro_batch` on CPUs.
    """
    micro_batch = None
    while True:
        try:
            built = _ours(row, size, micro_batch)
            note = "" if micro_batch is None else f"micro-batches of {micro_batch}"
            return built, built.result(), note
        except jax.errors.JaxRuntimeError as error:
            micro_batch = (micro_batch or row.batch) // 2
            if "RESOURCE_EXHAUSTED" not in str(error) or micro_batch == 0:
                raise


def _ours(row: Row, size: str, micro_batch: int | None) -> Built:
    """Build our program on one device; with its weights of the beginning."""
    case = the_case(row.model, size)
    task, network = case.computing(row.compute, row.attention), weights(row.model, size)
    device = jax.devices()[:1]
    if row.batch == 1:
        return latency_program(task, network, _jets(row, size))
    if row.jets == "ragged":
        parts = in_buckets(task, multiplicities(row.batch))
    else:
        parts = (_jets(row, size),)
    if row.task == "train":
        return train_program(task, network, parts, micro_batch, device)
    passes = [forward_program(task, network, part, micro_batch, device) for part in parts]
    return Built(
        lambda calls: sum(one(calls) for one in passes),
        sum(one.compilation for one in passes),
        max(one.memory for one in passes),
        lambda: np.concatenate([one.result() for one in passes]),
    )
