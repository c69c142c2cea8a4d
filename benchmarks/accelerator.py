"""Time training steps on a GPU, and their compilation.

    python -m benchmarks.accelerator --models pet --compute bfloat16

A step is forward, backward and Adam, on jets of realistic multiplicities in a few padded lengths
("buckets"), each of which is a part of the compiled program.
"""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import Literal

import jax
import tyro

from benchmarks.measure import time_in_turn
from benchmarks.networks import MODELS, in_buckets, multiplicities, of_config, train_program
from benchmarks.tables import Result, report
from jaxpriors.models.lgatr import LGATrConfig
from jaxpriors.models.lgatr_slim import LGATrSlimConfig
from jaxpriors.ratio.presets import preset
from jaxpriors.training.step import Compute, Precision


def accelerator(
    models: tuple[str, ...] = MODELS,
    compute: Compute = "bfloat16",
    attention: Literal["xla", "cudnn"] = "xla",
    batch: int = 512,
    buckets: int = 4,
    rounds: int = 5,
    size: str = "paper",
    json: Path | None = None,
) -> int:
    """Compile and time the steps, and print the table.

    Args:
        models: any of lgatr, lgatr-slim, pet.
        compute: the precision in which the networks compute.
        attention: kernel of L-GATr's and L-GATr-slim's attention; cudnn needs bfloat16.
        batch: number of jets in a step.
        buckets: largest number of padded lengths.
        rounds: number of rounds, of which the median counts.
        size: paper, or small for a quick look.
        json: file for the results.
    """
    results = []
    for model in models:
        config = preset(model, size)
        if isinstance(config, LGATrConfig | LGATrSlimConfig):
            config = dataclasses.replace(config, attention_implementation=attention)
        task = of_config(config, Precision(compute))
        network = task.init(jax.random.key(0))
        parts = in_buckets(task, multiplicities(batch), buckets)
        begin = time.perf_counter()
        program = train_program(task, network, parts)
        compiled = time.perf_counter() - begin
        timing = time_in_turn({model: program}, rounds)[model]
        rate = batch / timing.seconds
        results += [
            Result(model, "training", rate, None, None, "jets/s", timing.spread),
            Result(model, "compilation", compiled, None, None, "s"),
        ]
    report(results, "", json)
    return 0


if __name__ == "__main__":
    raise SystemExit(tyro.cli(accelerator))
