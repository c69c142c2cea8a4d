"""Measure how fast batches come from a prepared sample on disk, and the memory of a training.

    python -m benchmarks.loading --folder /tmp/jets --json benchmarks/results/loading.json

The sample is the package's Z+jets again and again, prepared at the first call (9 GB for ten million
jets). "loader" are batches made one after the other in one thread, in jets a second, beside the
training steps of small networks on one such batch, both measured in turn, when the sample has been
read once: where it fits into memory, the system keeps it there. "disk" are batches read ahead as in
a training, of a sample that the system was asked to drop from memory (it may not). "order" is the
time in which the order of an epoch is found. "resident" is the memory of a new process that trains
on the sample for some steps; "peak" the most that it had, which is during compilation.
"""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
import tyro

from benchmarks.measure import Program, time_in_turn
from benchmarks.tables import Result, report
from jaxpriors.data.batching import THREADS, TrainingBatches, prefetch
from jaxpriors.data.events import Events
from jaxpriors.data.prepared import open_prepared, write_prepared
from jaxpriors.data.samples import zjets
from jaxpriors.ratio.classifier import RatioClassifier
from jaxpriors.ratio.examples import Examples
from jaxpriors.ratio.names import NetworkName
from jaxpriors.run.launch import set_up
from jaxpriors.training import loop
from jaxpriors.training.optimizers import make_optimizer
from jaxpriors.training.parallel import data_mesh, devices_for, replicate, shard_rows
from jaxpriors.training.step import Loss, initial_state, make_step

PIECE = 100_000  # jets
COLD = 60  # batches


def loading(
    folder: Path,
    events: int = 10_000_000,
    models: tuple[NetworkName, ...] = ("lgatr-slim", "pet"),
    steps: int = 200,
    rounds: int = 5,
    json: Path | None = None,
) -> int:
    """Time the loader beside training steps, and print the table.

    Args:
        folder: folder of the prepared sample.
        events: number of jets in it.
        models: small networks to train, any of lgatr-slim, lgatr, pet.
        steps: number of steps of the training whose memory is measured.
        rounds: number of rounds, of which the median counts.
        json: file for the results.
    """
    set_up()
    pieces = [partial(repeated, n) for n in range(-(-events // PIECE))]
    metadata = {"note": "the package's Z+jets, repeated", "events": events}
    write_prepared(folder, pieces, metadata, 2, lambda done, of: print(f"prepared {done} of {of}"))
    results = []
    for model in models:
        results += rates(model, folder, rounds)
        context = multiprocessing.get_context("spawn")
        with context.Pool(1) as pool:
            found = pool.apply(memory, (model, folder, steps))
        results += [Result(model, name, size, None, None, "B") for name, size in found.items()]
    report(results, "training", json)
    return 0


def repeated(number: int) -> Events:
    """Draw jets of the package in another order for each number."""
    samples = [zjets("simulation", "detector"), zjets("data", "detector")]
    both = Events.concatenate([s.with_label(i) for i, s in enumerate(samples)])
    return both[np.random.default_rng(number).integers(0, len(both), PIECE)]


def objective(model: NetworkName, folder: Path) -> tuple[RatioClassifier, TrainingBatches, Loss]:
    """Return what is trained, the batches of the prepared sample, and the loss."""
    config = RatioClassifier(model, "small")
    batches, _, loss = config.objective(Examples(open_prepared(folder).with_columns(())))
    return config, batches, loss


def stepping(model: NetworkName, folder: Path) -> tuple[TrainingBatches, Callable[..., Any], Any]:
    """Make the batches of a training on the prepared sample, its step and first state."""
    config, batches, loss = objective(model, folder)
    first = batches.epoch(0)(0)
    mesh = data_mesh(devices_for(len(part.weight) for part in first))
    rule = make_optimizer(config.training.optimizer, batches.steps)
    network, _ = config.initial(jax.random.key(0))
    state = replicate(initial_state(network, rule), mesh)
    step = jax.jit(make_step(loss, rule, batches.rows, mesh, 8), donate_argnums=0)

    def taken(state: Any, batch: Any) -> Any:
        return step(state, shard_rows(batch, mesh))[0]

    return batches, taken, state


def rates(model: NetworkName, folder: Path, rounds: int) -> list[Result]:
    """Measure jets a second of loader and training step; seconds for an order."""
    batches, step, state = stepping(model, folder)
    for _ in open_prepared(folder).blocks():
        pass
    begin = time.perf_counter()
    epoch = batches.epoch(0)
    order = time.perf_counter() - begin
    numbers, fixed = itertools.count(), epoch(0)

    def load(calls: int) -> float:
        begin = time.perf_counter()
        for _ in range(calls):
            epoch(next(numbers) % batches.steps)
        return time.perf_counter() - begin

    def train(calls: int) -> float:
        nonlocal state
        begin = time.perf_counter()
        for _ in range(calls):
            state = step(state, fixed)
        jax.block_until_ready(state)
        return time.perf_counter() - begin

    programs: dict[str, Program] = {"loader": load, "training": train}
    found = time_in_turn(programs, rounds)
    parts = [range(n * COLD, (n + 1) * COLD) for n in range(rounds)]
    cold = [from_disk(epoch, part, folder) for part in parts]
    ours, theirs = found["loader"], found["training"]
    spread = max(ours.spread, theirs.spread)
    rates = batches.rows / ours.seconds, batches.rows / theirs.seconds
    return [
        Result(model, "loader", *rates, rates[0] / rates[1], "jets/s", spread),
        Result(model, "disk", batches.rows / statistics.median(cold), None, None, "jets/s"),
        Result(model, "order", order, None, None, "s"),
    ]


def from_disk(make: Callable[[int], Any], steps: range, folder: Path) -> float:
    """Measure the seconds of each of these batches of a sample that is not in memory."""
    for path in folder.glob("*.npy"):
        with open(path) as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    begin = time.perf_counter()
    for _ in prefetch(make, steps.start, steps.stop, THREADS):
        pass
    return (time.perf_counter() - begin) / len(steps)


def memory(model: NetworkName, folder: Path, steps: int) -> dict[str, float]:
    """Measure this process's memory (bytes, Linux) after ``steps`` training steps, and its peak."""
    set_up()
    jax.config.update("jax_enable_compilation_cache", False)  # compiling takes memory too
    config, batches, loss = objective(model, folder)
    network, _ = config.initial(jax.random.key(0))

    def until(record: loop.Record) -> None:
        if record.get("step") == steps:
            raise _EnoughError

    with tempfile.TemporaryDirectory() as checkpoints, contextlib.suppress(_EnoughError):
        loop.train(network, loss, batches, lambda _: 0.0, config.training, Path(checkpoints), until)
    status = Path("/proc/self/status").read_text()
    names = {"resident": "VmRSS:", "peak": "VmHWM:"}
    return {k: 1024.0 * int(status.split(name)[1].split()[0]) for k, name in names.items()}


class _EnoughError(Exception):
    """The training has made the steps that were asked for."""


if __name__ == "__main__":
    raise SystemExit(tyro.cli(loading))
