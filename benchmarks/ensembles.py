"""Compare several networks trained as one program with as many programs in turn.

    python -m benchmarks.ensembles --json benchmarks/results/ensembles.json

A training step on jets of realistic multiplicities, in the micro-batches that trainings have: of k
networks by vmap, and of one network, k times. The times are those of one network's step.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import tyro
from jax import Array

from benchmarks.measure import Program, time_in_turn
from benchmarks.networks import (
    MODELS,
    Benchmarked,
    benchmarked,
    in_buckets,
    multiplicities,
    train_program,
)
from benchmarks.tables import Result, compared, report
from jaxpriors.ratio.networks import ensemble_rows
from jaxpriors.run.launch import set_up
from jaxpriors.training.parallel import default_micro_batch


def ensembles(
    models: tuple[str, ...] = MODELS,
    networks: tuple[int, ...] = (2, 4, 8),
    batch: int = 256,
    rounds: int = 7,
    size: str = "small",
    json: Path | None = None,
) -> int:
    """Time the steps and print the table.

    Args:
        models: any of lgatr, lgatr-slim, pet.
        networks: sizes of ensembles.
        batch: jets in a training step.
        rounds: number of rounds, of which the median counts.
        size: small or paper.
        json: file for the results.
    """
    set_up()
    rows = [row for model in models for row in measured(model, size, networks, batch, rounds)]
    report(rows, "one by one", json)
    return 0


def measured(
    model: str, size: str, networks: tuple[int, ...], batch: int, rounds: int
) -> list[Result]:
    """Measure a row for each number of networks."""
    task = benchmarked(model, size)
    parts = in_buckets(task, multiplicities(batch))
    programs: dict[str, Program] = {
        "alone": train_program(task, task.init(jax.random.key(0)), parts)
    }
    for k in networks:
        micro_batch = ensemble_rows(default_micro_batch(), k)
        stacked = jax.vmap(task.init)(jax.random.split(jax.random.key(0), k))
        programs[f"{k} at once"] = train_program(together(task), stacked, parts, micro_batch)
    timings = time_in_turn(programs, rounds)
    alone = timings["alone"]
    rows = []
    for k in networks:
        found = timings[f"{k} at once"]
        spread = max(found.spread, alone.spread)
        seconds = found.seconds / k
        rows.append(compared(model, f"train {k} networks", seconds, alone.seconds, "s", spread))
    return rows


def together(task: Benchmarked) -> Benchmarked:
    """Make the task of networks stacked along a leading axis; outputs (B, k, outputs)."""

    def forward(networks: Any, *jets: Array) -> Array:
        found = jax.vmap(lambda network: task.forward(network, *jets))(networks)
        return jnp.moveaxis(found, 0, 1)

    return dataclasses.replace(task, forward=forward)


if __name__ == "__main__":
    raise SystemExit(tyro.cli(ensembles))
