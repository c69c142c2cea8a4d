"""Batches from a prepared sample on disk: how fast they come, and how much memory a training takes.

    python -m benchmarks.loading --folder /tmp/jets --json benchmarks/results/loading.json

The sample is the package's Z+jets again and again, prepared at the first call (9 GB for ten million
jets). "loader" are batches made one after the other in one thread, in jets a second, beside the
training steps of small networks on one such batch, both measured in turn, when the sample has been
read once: where it fits into memory, the system keeps it there. "disk" are batches read ahead as in
a training, of a sample that the system was told to forget (it may not obey). "order" is the time in
which the order of an epoch is found. "resident" is the memory of a new process that trains on the
sample for some steps; "peak" the most that it had, which it has while it compiles.
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
from jaxpriors.commands.reweight import Network, classifier
from jaxpriors.commands.setup import use_all_cores, use_compilation_cache
from jaxpriors.data.batching import THREADS, TrainingBatches, prefetch
from jaxpriors.data.events import Events
from jaxpriors.data.prepared import open_prepared, write_prepared
from jaxpriors.data.samples import zjets
from jaxpriors.methods.classifier import RatioClassifier
from jaxpriors.methods.labels import Labelled
from jaxpriors.training import loop
from jaxpriors.training.optimizers import make_optimizer
from jaxpriors.training.parallel import data_mesh, devices_for, replicate, shard_rows
from jaxpriors.training.step import Loss, initial_state, make_step

PIECE = 100_000  # jets
COLD = 60  # batches


def loading(
    folder: Path,
    events: int = 10_000_000,
    models: tuple[Network, ...] = ("lgatr-slim", "pet"),
    steps: int = 200,
    rounds: int = 5,
    json: Path | None = None,
) -> int:
    """Time the loader beside training steps, and print the table.

    Args:
        folder: for the prepared sample.
        events: jets in it.
        models: small networks to train, any of lgatr-slim, lgatr, pet.
        steps: of the training whose memory is measured.
        rounds: of which the median counts.
        json: file for the results.
    """
    use_all_cores()
    use_compilation_cache()
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
    """Jets of the package in another order for each number."""
    samples = [zjets("simulation", "detector"), zjets("data", "detector")]
    both = Events.concatenate([s.with_label(i) for i, s in enumerate(samples)])
    return both[np.random.default_rng(number).integers(0, len(both), PIECE)]


def objective(model: Network, folder: Path) -> tuple[RatioClassifier, TrainingBatches, Loss]:
    """What is trained, the batches of the prepared sample, and the loss."""
    config = classifier(model, "small", 0).resolved()
    batches, _, loss = config.objective(Labelled(open_prepared(folder).with_columns(())))
    return config, batches, loss


def stepping(model: Network, folder: Path) -> tuple[TrainingBatches, Callable[..., Any], Any]:
    """The batches of a training on the prepared sample, its compiled step and first state."""
    config, batches, loss = objective(model, folder)
    assert config.training is not None
    first = batches.epoch(0)(0)
    mesh = data_mesh(devices_for(len(part.weight) for part in first))
    rule = make_optimizer(config.training.optimizer, batches.steps)
    network, _ = config.initial(jax.random.key(0))
    state = replicate(initial_state(network, rule), mesh)
    step = jax.jit(make_step(loss, rule, batches.rows, mesh, 8), donate_argnums=0)

    def taken(state: Any, batch: Any) -> Any:
        return step(state, shard_rows(batch, mesh))[0]

    return batches, taken, state


def rates(model: Network, folder: Path, rounds: int) -> list[Result]:
    """Jets a second from the loader against those of the training step; seconds for an order."""
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
    """Seconds for each of these batches of a sample that memory holds nothing of."""
    for path in folder.glob("*.npy"):
        with open(path) as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    begin = time.perf_counter()
    for _ in prefetch(make, steps.start, steps.stop, THREADS):
        pass
    return (time.perf_counter() - begin) / len(steps)


def memory(model: Network, folder: Path, steps: int) -> dict[str, float]:
    """This process's memory (bytes, Linux) after so many steps of a training, and its peak."""
    use_all_cores()
    config, batches, loss = objective(model, folder)
    assert config.training is not None
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
    """The training has taken the steps that were asked for."""


if __name__ == "__main__":
    raise SystemExit(tyro.cli(loading))
