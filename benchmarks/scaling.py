"""Measure how our time grows with particles, batch, devices, and how much of the machine is used.

    python -m benchmarks.scaling --json benchmarks/results/scaling.json

Rows are training steps (forward, backward, Adam) in float32, each a rate of jets a second.
"utilisation" is the useful operations of the best step over what the machine does in a large matrix
product: three times the forward pass of one jet, as XLA counts it.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
import tyro

from benchmarks.measure import flops, matrix_rate, time_in_turn
from benchmarks.networks import (
    MODELS,
    Benchmarked,
    benchmarked,
    multiplicities,
    train_program,
)
from benchmarks.tables import Result, compared, report
from jaxpriors.data.batching import Batch, TrainingBatches, plan_buckets
from jaxpriors.data.events import Events
from jaxpriors.run.launch import set_up

Network = Any


def scaling(
    models: tuple[str, ...] = MODELS,
    particles: tuple[int, ...] = (32, 64, 128, 256),
    batches: tuple[int, ...] = (16, 64, 256),
    rounds: int = 3,
    size: str = "paper",
    json: Path | None = None,
) -> int:
    """Time our training steps and print the table.

    Args:
        models: any of lgatr, lgatr-slim, pet.
        particles: numbers of particles, in a batch of 64.
        batches: numbers of jets, of 101 particles each.
        rounds: number of rounds, of which the median counts.
        size: paper, or small for a quick look.
        json: file for the results.
    """
    set_up()
    rate = matrix_rate()
    print(f"large matrix product: {rate / 1e9:.0f} GFLOP/s", flush=True)
    results = [loader(rounds)]
    for model in models:
        results += _rows(model, size, particles, batches, rounds, rate)
    report(results, "one device", json)
    return 0


def _rows(
    model: str,
    size: str,
    particles: tuple[int, ...],
    batches: tuple[int, ...],
    rounds: int,
    rate: float,
) -> list[Result]:
    task = benchmarked(model, size)
    network = task.init(jax.random.key(0))
    found = []
    for count in particles:
        jets = task.jets(64, count)
        found.append(_step(model, f"train-{count}-particles", task, network, jets, rounds))
    best = 0.0
    for batch in batches:
        row = _step(model, f"train-batch-{batch}", task, network, task.jets(batch), rounds)
        best = max(best, row.ours)
        found.append(row)
    useful = 3 * flops(task.forward, network, *task.jets(1))
    found.append(compared(model, "utilisation", best * useful / rate, None, ""))
    return found


def _step(
    model: str, name: str, task: Benchmarked, network: Network, jets: Any, rounds: int
) -> Result:
    """Measure jets per second of a step on all devices, and on the first alone."""
    programs = {"all": train_program(task, network, (jets,))}
    if jax.device_count() > 1:
        programs["one"] = train_program(task, network, (jets,), devices=jax.devices()[:1])
    timings = time_in_turn(programs, rounds)
    jets_of = {k: len(jets[0]) / t.seconds for k, t in timings.items()}
    spread = max(t.spread for t in timings.values())
    one = jets_of.get("one")
    print(f"{model} {name}: {jets_of['all']:.1f} jets/s", flush=True)
    return Result(model, name, jets_of["all"], one, one and jets_of["all"] / one, "jets/s", spread)


def loader(rounds: int) -> Result:
    """Measure batches of 512 that are read, padded and handed over, without a network."""
    rng = np.random.default_rng(0)
    multiplicity = multiplicities(50_000)
    p4 = rng.normal(size=(multiplicity.sum(), 4)).astype(np.float32)
    p4[:, 0] = np.linalg.norm(p4[:, 1:], axis=1)  # massless
    events = Events.from_flat(p4, multiplicity)
    batches = TrainingBatches(events, plan_buckets(multiplicity), 512, seed=0)

    def run(calls: int) -> float:
        begin = time.perf_counter()
        for number in range(calls):
            batch = batches.epoch(number)
            parts: list[tuple[Batch, ...]] = [batch(k) for k in range(batches.steps)]
            jax.block_until_ready(jax.device_put(parts[-1]))
        return time.perf_counter() - begin

    timing = time_in_turn({"loader": run}, rounds)["loader"]
    return Result("loader", "batches", len(events) / timing.seconds, None, None, "jets/s",
                  timing.spread)  # fmt: skip


if __name__ == "__main__":
    raise SystemExit(tyro.cli(scaling))
