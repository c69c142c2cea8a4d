"""Measure Table 6 of arXiv:2603.08802: parameters, FLOPs, latency, memory of the networks.

    python -m benchmarks.resources --json benchmarks/results/resources.json

Forward passes of one jet of 101 particles in fp32, the training of 20 epochs of two million jets
from the FLOPs of a gradient. The column "paper" holds the published numbers, measured on an A100:
FLOPs and parameters can be compared; times and memory are of another machine.
"""

from __future__ import annotations

from pathlib import Path

import jax
import tyro

from benchmarks.measure import Program, flops, memory_growth, time_in_turn
from benchmarks.networks import MODELS, benchmarked, latency_program, loss
from benchmarks.tables import Result, compared, report

JETS = 20 * 2_000_000
# arXiv:2603.08802, Table 6 and Section 4: FLOPs, seconds and bytes of a forward pass of one jet,
# FLOPs of a training
PAPER = {
    "lgatr": {"flops": 3.7e9, "latency": 58.16e-3, "memory": 154e6, "training": 4.4e17},
    "lgatr-slim": {"flops": 2.4e8, "latency": 15.39e-3, "memory": 48e6, "training": 2.9e16},
    "pet": {"flops": 4.8e8, "latency": 191e-3, "memory": 22e6, "training": 5.8e16},
}


def resources(
    models: tuple[str, ...] = MODELS, size: str = "paper", json: Path | None = None
) -> int:
    """Print the table and write it as JSON.

    Args:
        models: any of lgatr, lgatr-slim, pet.
        size: paper, or small for a quick look.
        json: file for the results.
    """
    report([row for model in models for row in measured(model, size)], "paper (A100)", json)
    return 0


def measured(model: str, size: str) -> list[Result]:
    """Measure the rows of one network."""
    task, paper = benchmarked(model, size), PAPER[model]
    network, jets = task.init(jax.random.key(0)), task.jets(1)
    forward = latency_program(task, network, jets)
    latency = time_in_turn({model: forward})[model]
    count = flops(task.forward, network, *jets)
    gradient = flops(jax.grad(loss(task)), network, jets, None, compiled=False)
    memory = memory_growth(_one_forward, model, size)
    return [
        compared(model, "parameters", sum(x.size for x in jax.tree.leaves(network)), None, ""),
        compared(model, "flops", count, paper["flops"], "FLOP"),
        # no ratios: these numbers of the paper are another machine's
        Result(model, "latency", latency.seconds, paper["latency"], None, "s", latency.spread),
        Result(model, "memory", memory, paper["memory"], None, "B"),
        compared(model, "training", gradient * JETS, paper["training"], "FLOP"),
        compared(model, "compile", forward.compilation, None, "s"),
    ]


def _one_forward(model: str, size: str) -> Program:
    task = benchmarked(model, size)
    network = task.init(jax.random.key(0))
    return latency_program(task, network, task.jets(1))


if __name__ == "__main__":
    raise SystemExit(tyro.cli(resources))
