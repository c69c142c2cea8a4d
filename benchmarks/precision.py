"""Measure what bfloat16 changes: time and outputs of a forward pass, and results of trainings.

    python -m benchmarks.precision --json benchmarks/results/precision.json

"forward" is a pass of the paper's sizes over 64 jets of realistic multiplicities, in jets a second,
"error" the largest difference of its outputs over the largest output. The other rows are small
networks that reweight the Z+jets of the package: smallest validation loss and triangular
discriminators (× 1000), the mean over seeds in bfloat16 and in float32, with the spread of the
float32 ones over seeds in the last column. The same seed has the same events, in the same order.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import jax
import numpy as np
import tyro

from benchmarks.measure import Program, program, time_in_turn
from benchmarks.networks import MODELS, multiplicities, of_config
from benchmarks.tables import Result, compared, report
from jaxpriors.data.samples import zjets
from jaxpriors.ratio.classifier import RatioClassifier
from jaxpriors.ratio.presets import preset
from jaxpriors.ratio.reweighting import Reweighting, prepare_reweighting, reweight
from jaxpriors.run.launch import set_up
from jaxpriors.training.options import Compute, TrainingOptions
from jaxpriors.training.step import Precision

COMPUTE: tuple[Compute, Compute] = ("float32", "bfloat16")  # of trainings


def precision(
    models: tuple[str, ...] = MODELS,
    seeds: int = 3,
    epochs: int = 4,
    rounds: int = 5,
    size: str = "paper",
    json: Path | None = None,
) -> int:
    """Compare the two and print the table.

    Args:
        models: any of lgatr, lgatr-slim, pet.
        seeds: number of trainings in each precision; 0 leaves them out.
        epochs: number of epochs of each training.
        rounds: number of rounds of forward passes, of which the median counts.
        size: size of the networks of the forward passes, paper or small.
        json: file for the results.
    """
    set_up()
    results = []
    for model in models:
        results += forward(model, size, rounds)
        if seeds:
            results += training(model, seeds, epochs)
    report(results, "float32", json)
    return 0


def forward(model: str, size: str, rounds: int) -> list[Result]:
    """Measure time and error of the forward pass; GPUs have one more precision."""
    config = preset(model, size)
    network = of_config(config).init(jax.random.key(0))
    jets = of_config(config).ragged(multiplicities(64))
    others: list[Compute] = ["bfloat16"]
    if jax.default_backend() != "cpu":
        others.append("tensorfloat32")
    passes = {c: jax.jit(of_config(config, Precision(c)).forward) for c in ("float32", *others)}
    outputs = {c: np.asarray(f(network, *jets)) for c, f in passes.items()}
    programs: dict[str, Program] = {c: program(f, network, *jets) for c, f in passes.items()}
    timings = time_in_turn(programs, rounds)
    wide, rows = timings["float32"], []
    for compute in others:
        error = np.abs(outputs[compute] - outputs["float32"]).max()
        error /= np.abs(outputs["float32"]).max()
        narrow = timings[compute]
        rates = 64 / narrow.seconds, 64 / wide.seconds
        spread = max(wide.spread, narrow.spread)
        rows += [
            Result(model, "forward", *rates, rates[0] / rates[1], "jets/s", spread, compute),
            compared(model, "error", float(error), None, "", note=compute),
        ]
    return rows


def training(model: str, seeds: int, epochs: int) -> list[Result]:
    """Measure loss and triangular discriminators of trainings in both precisions."""
    samples = zjets("simulation", "detector"), zjets("data", "detector")
    found: dict[Compute, list[dict[str, float]]] = {compute: [] for compute in COMPUTE}
    for seed in range(seeds):
        for compute in COMPUTE:
            options = TrainingOptions(epochs=epochs, seed=seed)
            one = RatioClassifier(model).with_options(options, compute)
            config = Reweighting((one,))  # the same events to test with for all seeds
            with tempfile.TemporaryDirectory() as folder:
                metrics = reweight(prepare_reweighting(*samples, config), config, folder)
            numbers = {"loss": metrics["models"][model]["validation_loss"]}
            for observable, row in metrics["table2"][model].items():
                numbers[f"discriminator-{observable}"] = row["value"]
            found[compute].append(numbers)
            print(f"{model} {compute} seed {seed}: loss {numbers['loss']:.5f}", flush=True)
    rows = []
    for name in found["float32"][0]:
        wide, half = (np.array([n[name] for n in found[compute]]) for compute in COMPUTE)
        note = f"± {wide.std(ddof=1):.2g} over seeds" if seeds > 1 else "one seed"
        rows.append(compared(model, name, float(half.mean()), float(wide.mean()), "", note=note))
    return rows


if __name__ == "__main__":
    raise SystemExit(tyro.cli(precision))
