"""Compare ours with `lgatr` (PyTorch) and OmniLearn (TensorFlow): same weights, jets and run.

    python -m benchmarks.against_peers --models lgatr --json lgatr.json
    python -m benchmarks.against_peers --models pet --omnilearn OmniLearn/scripts --json pet.json

Each peer runs in an environment that is made for it at the first call, as it is and compiled; where
jets have realistic multiplicities (mean 46, at most 101), with the padding masked or with all jets
in one row. Outputs are compared first; a peer whose numbers differ is not timed. Programs run in
turn, and the best of the peers' variants counts: those that a first call finds half as slow again
as the fastest run no further, and larger batches are for the fastest alone. Ours is what trainings
and predictions use: micro-batches one after the other on each device (the best of some sizes
counts), and for realistic multiplicities a few padded lengths.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
import tyro

from benchmarks.measure import Program, memory_growth, time_in_turn, warm_up
from benchmarks.networks import (
    MODELS,
    PARTICLES,
    forward_program,
    in_buckets,
    latency_program,
    multiplicities,
    train_program,
)
from benchmarks.pairs import SLOW, WAYS, Case, cases, start, write_jets
from benchmarks.peers.client import PACKAGES, Peer, environment_of
from benchmarks.tables import Result, compared, report
from jaxpriors.run.launch import set_up

TOLERANCE = 1e-3
BATCH = 64  # jets of the rows whose names have no number
OURS = "ours"
TASKS = ("latency", "forward", "train", "train-ragged", "memory")


def against_peers(
    models: tuple[str, ...] = MODELS,
    tasks: tuple[str, ...] = TASKS,
    batches: tuple[int, ...] = (64, 512),
    chunks: tuple[int, ...] = (2, 4),
    compiled: bool = True,
    rounds: int = 5,
    omnilearn: Path | None = None,
    environments: Path = Path(".venv-peers"),
    size: str = "paper",
    json: Path | None = None,
) -> int:
    """Time ours against the peers and print the table.

    Args:
        models: any of lgatr, lgatr-slim, pet.
        tasks: any of latency, forward, train, train-ragged, memory.
        batches: numbers of jets in a forward pass or training step; memory is of the first.
        chunks: sizes of micro-batches, the jets that a device works on at once, of which the best
            counts; memory is that of the size which trainings have without `jaxpriors tune`.
        compiled: whether the peers run compiled as well (minutes of compilation each).
        rounds: number of rounds, of which the median counts.
        omnilearn: folder with OmniLearn's PET.py; without it pet is left out.
        environments: folder for the peers' environments, made where they are missing (a download).
        size: paper, or small for a quick look.
        json: file for the results.
    """
    set_up()
    results: list[Result] = []
    for model in models:
        if model == "pet" and omnilearn is None:
            print("pet: left out; --omnilearn names the folder of OmniLearn's PET.py")
            continue
        hows = ("eager", "compiled") if compiled else ("eager",)
        with contextlib.ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            pairs = []
            for case in cases((model,), size):
                python = environment_of(case.release, environments)
                for how in hows:
                    peer = stack.enter_context(start(case, how, omnilearn, python, folder))
                    if agrees(case, peer, folder, WAYS[model] if "train-ragged" in tasks else ()):
                        pairs.append((case, peer))
            results += times(model, tasks, pairs, batches, chunks, rounds, folder)
        if "memory" in tasks and jax.default_backend() != "cpu":
            print(f"{model} memory: left out; it is that of a process on CPUs")
        elif "memory" in tasks:
            results.append(memory(model, size, hows, batches[0], omnilearn, environments))
    report(results, "best peer", json, {k: " ".join(v) for k, v in PACKAGES.items()})
    return 0


def agrees(case: Case, peer: Peer, folder: Path, ways: tuple[str, ...]) -> bool:
    """Return whether these ways of the peer, and the plain one, give our outputs; print the error.

    Where padding is not masked, outputs depend on it, so that full jets are compared.
    """
    forward, error = jax.jit(case.task.forward), 0.0
    for way in sorted({"", *ways}):
        jets = case.task.ragged(np.array([PARTICLES, 40 if way else PARTICLES]))
        ours = np.asarray(forward(case.network, *jets))
        write_jets(folder / "few.npz", jets)
        peer.ask("jets", file=str(folder / "few.npz"))
        peer.ask("outputs", file=str(folder / "theirs.npz"), task="forward" + way)
        theirs = np.load(folder / "theirs.npz")["outputs"]
        error = max(error, float(np.abs(ours - theirs).max() / np.abs(theirs).max()))
    good = error < TOLERANCE
    verdict = "" if good else f", more than {TOLERANCE}: it is not timed"
    print(f"{case.model}, {peer.name}: outputs differ by {error:.1e}{verdict}", flush=True)
    return good


def times(
    model: str,
    tasks: tuple[str, ...],
    pairs: list[tuple[Case, Peer]],
    batches: tuple[int, ...],
    micro_batches: tuple[int, ...],
    rounds: int,
    folder: Path,
) -> list[Result]:
    """Measure the rows of latency, forward and training."""
    assert pairs, f"{model}: no peer computes the same function"
    cases = {case.release: case for case, _ in pairs}
    task = pairs[0][0].task

    def latency(release: str) -> dict[str, Program]:
        case = cases[release]
        return {OURS: latency_program(case.task, case.network, task.jets(1))}

    results = []
    if "latency" in tasks:
        peers = _peers("forward", ("",), pairs, task.jets(1), folder)
        results.append(_row(model, "latency", peers, latency, rounds))
    for kind in ("forward", "train", "train-ragged"):
        if kind not in tasks:
            continue
        fastest = None
        for batch in batches:
            multiplicity, full = multiplicities(batch), task.jets(batch)
            ragged = kind == "train-ragged"
            jets = task.ragged(multiplicity) if ragged else full
            ways = WAYS[model] if ragged else ("",)
            peers = _peers(kind.removesuffix("-ragged"), ways, pairs, jets, folder, fastest)
            parts = in_buckets(task, multiplicity) if ragged else (full,)
            ours = partial(_ours, cases, kind, parts, micro_batches)
            row = _row(model, kind if batch == BATCH else f"{kind}-{batch}", peers, ours, rounds)
            fastest = row.note.partition(",")[0]
            results.append(row)
    return results


def _ours(
    cases: dict[str, Case],
    kind: str,
    parts: tuple[Any, ...],
    micro_batches: tuple[int, ...],
    release: str,
) -> dict[str, Program]:
    """Make our pass or step of the network of that release, for each size of micro-batches."""
    case = cases[release]
    if kind == "forward":
        made = {
            rows: forward_program(case.task, case.network, parts[0], rows) for rows in micro_batches
        }
    else:
        made = {rows: train_program(case.task, case.network, parts, rows) for rows in micro_batches}
    return {f"{OURS}, micro-batches of {rows}": run for rows, run in made.items()}


def _peers(
    task: str,
    ways: tuple[str, ...],
    pairs: list[tuple[Case, Peer]],
    jets: Any,
    folder: Path,
    only: str | None = None,
) -> dict[str, Program]:
    """Make all variants of the peers by name, or the one named, with the jets loaded."""
    write_jets(folder / "jets.npz", jets)
    programs = {}
    for _, peer in pairs:
        for way in ways:
            if only in (None, peer.name + way):
                peer.ask("jets", file=str(folder / "jets.npz"))
                programs[peer.name + way] = peer.program(task + way)
    return programs


def _row(
    model: str,
    task: str,
    peers: dict[str, Program],
    ours: Callable[[str], dict[str, Program]],
    rounds: int,
) -> Result:
    """Compare ours with the fastest peer, print all times; the note starts with its name.

    ``ours`` makes our variants for a release: that of the peer which is fastest in a first call.
    """
    warm = warm_up(peers)
    first = min(warm, key=lambda name: warm[name])
    slow = {name for name in peers if warm[name] > SLOW * warm[first]}
    for name in sorted(slow):
        print(f"{model} {task} {name}: {1e3 * warm[name]:.1f} ms in one call", flush=True)
    programs = ours(first.split()[0])
    timed = programs | {name: run for name, run in peers.items() if name not in slow}
    print(f"{model} {task}:", end=" ")
    timings = time_in_turn(timed, rounds, warm=warm | warm_up(programs))
    for name, timing in timings.items():
        print(f"{model} {task} {name}: {1e3 * timing.seconds:.1f} ms", flush=True)
    us = min(programs, key=lambda name: timings[name].seconds)
    them = min(timings.keys() - programs.keys(), key=lambda name: timings[name].seconds)
    spread = max(timings[us].spread, timings[them].spread)
    note = them + us.removeprefix(OURS)
    return compared(model, task, timings[us].seconds, timings[them].seconds, "s", spread, note)


def memory(
    model: str,
    size: str,
    hows: tuple[str, ...],
    batch: int,
    omnilearn: Path | None,
    environments: Path,
) -> Result:
    """Measure peaks of one training step on jets of realistic multiplicities, in new processes."""
    multiplicity = multiplicities(batch)
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for case in cases((model,), size):
            write_jets(folder / "jets.npz", case.task.ragged(multiplicity))
            python = environment_of(case.release, environments)
            for how in hows:
                for way in WAYS[model]:
                    with start(case, how, omnilearn, python, folder) as peer:
                        peer.ask("jets", file=str(folder / "jets.npz"))
                        found[peer.name + way] = peer.ask("memory", task="train" + way)["grown"]
    ours = memory_growth(_training, cases((model,), size)[0], batch)
    for name, grown in found.items():
        print(f"{model} memory {name}: {grown / 1e6:.0f} MB", flush=True)
    name = min(found, key=lambda n: found[n])
    return compared(model, "memory", ours, found[name], "B", note=name)


def _training(case: Case, batch: int) -> Program:
    set_up()
    jax.config.update("jax_enable_compilation_cache", False)  # compiling takes memory too
    parts = in_buckets(case.task, multiplicities(batch))
    return train_program(case.task, case.network, parts)


if __name__ == "__main__":
    raise SystemExit(tyro.cli(against_peers))
