"""Speed of training of a fine-tuned PET and of one from scratch (arXiv:2404.16091, Section 4).

    python -m experiments.finetuning quick --out runs/finetuning

For each seed, both networks train on the same events, in the same order, for the same number of
epochs. The result is the number of epochs after which the validation loss of the fine-tuned network
reaches the smallest one of the network from scratch.
"""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from jaxpriors.data.samples import zjets
from jaxpriors.errors import InputError
from jaxpriors.evaluation.figures import save_figure, seeds_figure
from jaxpriors.ratio.classifier import RatioClassifier
from jaxpriors.ratio.names import FINE_TUNED
from jaxpriors.ratio.reweighting import Reweighting, prepare_reweighting
from jaxpriors.report.tables import tables
from jaxpriors.run.folder import logged, started
from jaxpriors.run.launch import guarded
from jaxpriors.training.options import TrainingOptions


def quick(
    out: Path,
    seeds: int = 5,
    epochs: int = 6,
    pretrained: Path | None = None,
    resume: bool = False,
) -> int:
    """Train small networks on the sample in the package, two settings of Pythia, on two cores.

    Args:
        out: folder of the run; must not exist, unless --resume.
        seeds: number of trainings of each network, with other weights and orders of events.
        epochs: epochs of every training.
        pretrained: weights to start from; by default those in this package.
        resume: resume the run in the folder.
    """
    if seeds < 1:
        raise InputError(f"seeds: found {seeds}, expected at least 1")
    starts = {"pet": None, FINE_TUNED: pretrained}
    classifiers = {
        (model, seed): RatioClassifier(model, pretrained=start).with_options(
            TrainingOptions(epochs=epochs, seed=seed)
        )
        for seed in range(seeds)
        for model, start in starts.items()
    }
    losses: dict[tuple[str, int], list[float]] = {}
    with started(out, resume) as run:
        simulation, data = zjets("simulation", "detector"), zjets("data", "detector")
        prepared = prepare_reweighting(simulation, data, Reweighting((classifiers["pet", 0],)))
        lengths = np.concatenate([e.multiplicity for e in prepared.part("train")])
        classifiers = {
            which: one.with_micro_batch(
                lengths, run.begun("trainings", i, "training"), run.progress
            )
            for i, (which, one) in enumerate(classifiers.items())
        }
        run.open({"trainings": [dataclasses.asdict(one) for one in classifiers.values()]})
        for (model, seed), one in classifiers.items():
            name = f"{model}-{seed}"
            run.progress({"stage": f"training {name}"})
            _, trained = one.train(
                *one.examples(*prepared.part("train"), prepared.part("validation")),
                out / "checkpoints" / name,
                logged(out / "log" / f"{name}.jsonl", run.progress, model=name),
            )
            losses[model, seed] = [r["validation_loss"] for r in trained.history]
        rows = [compare(seed, *(losses[model, seed] for model in starts)) for seed in range(seeds)]
        curves = {m: [losses[m, seed] for seed in range(seeds)] for m in starts}
        save_figure(seeds_figure(curves), out / "figures" / "training")
        metrics = run.results(lambda: {"finetuning": rows})
    print(tables(metrics))
    return 0


def compare(seed: int, scratch: list[float], finetuned: list[float]) -> dict[str, Any]:
    """Compare validation losses after each epoch, as a row of the table.

    ``reached``: the first epoch at which the fine-tuned network is at or below the best loss from
    scratch, None if it never is. Epochs count from 1.
    """
    reached = [i for i, loss in enumerate(finetuned, 1) if loss <= min(scratch)]
    return {
        "seed": seed,
        "scratch": scratch,
        "finetuned": finetuned,
        "scratch_best_epoch": 1 + scratch.index(min(scratch)),
        "finetuned_best_epoch": 1 + finetuned.index(min(finetuned)),
        "reached": reached[0] if reached else None,
    }


if __name__ == "__main__":
    raise SystemExit(guarded(lambda: tyro.extras.subcommand_cli_from_dict({"quick": quick})))
