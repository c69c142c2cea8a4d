"""Reweight one sample into another with several networks, and measure how well it went.

The samples are split into events to train on, to validate on and to test with; every number and
figure is of test events alone, which no network has seen.
"""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jaxpriors.data.events import Events
from jaxpriors.data.weights import write_weights
from jaxpriors.errors import InputError
from jaxpriors.evaluation.metrics import auc, weight_report
from jaxpriors.evaluation.observables import observables
from jaxpriors.evaluation.plots import observable_figure, save_figure, training_figure
from jaxpriors.evaluation.report import table2
from jaxpriors.methods.classifier import RatioClassifier, reweighted, split
from jaxpriors.training.checkpoints import count_parameters
from jaxpriors.training.loop import Record
from jaxpriors.training.runs import write_json, write_lines

PARTS = ("train", "validation", "test")


@dataclass(frozen=True)
class Reweighting:
    """What is fitted, and how events are shared out: fractions to train, validate and test on."""

    classifiers: tuple[RatioClassifier, ...]
    fractions: tuple[float, float, float] = (0.6, 0.1, 0.3)
    seed: int = 0


def reweight(
    simulation: Events,
    data: Events,
    config: Reweighting,
    folder: Path,
    progress: Callable[[Record], None] = lambda record: None,
) -> dict[str, Any]:
    """Fit every classifier, reweight, write weights, figures and metrics into a run's folder.

    Returns the content of ``metrics.json``: ``table2`` (triangular discriminators × 1000 of six
    observables with bootstrap errors, floors and the values before reweighting), ``models``
    (loss, AUC, effective sample size, times), ``events``. A call for a folder whose earlier call
    was killed goes on from its last checkpoint. ``progress`` is told {"stage": …} of each stage,
    and the training loop's records with the model's name.
    """
    parts = {
        name: dict(zip(PARTS, split(len(e), config.fractions, config.seed), strict=True))
        for name, e in (("simulation", simulation), ("data", data))
    }
    _check_sizes(parts)
    sim = {p: simulation[i] for p, i in parts["simulation"].items()}
    dat = {p: data[i] for p, i in parts["data"].items()}

    log_ratios: dict[str, np.ndarray] = {}
    models: dict[str, Any] = {}
    log: list[Record] = []
    for classifier in config.classifiers:
        name = classifier.model
        progress({"stage": f"training {name}"})
        model, trained = classifier.fit_with_history(
            sim["train"],
            dat["train"],
            (sim["validation"], dat["validation"]),
            folder / "checkpoints" / name,
            _Log(folder / "log.jsonl", name, [*log], progress),
        )
        model.save(folder / "model" / name)
        log += [{"model": name, **record} for record in trained.history]
        write_lines(folder / "log.jsonl", log)
        progress({"stage": f"reweighting with {name}"})
        log_ratios[name] = model.log_ratio(simulation)
        on_test = log_ratios[name][parts["simulation"]["test"]]
        area = auc(
            np.concatenate([on_test, model.log_ratio(dat["test"])]),
            np.repeat([0, 1], [len(sim["test"]), len(dat["test"])]),
            np.concatenate([sim["test"].weight, dat["test"].weight]),
        )
        best = min(trained.history, key=lambda r: r["validation_loss"])
        models[name] = {
            "parameters": count_parameters(model.classifier),
            "epochs": len(trained.history),
            "best_epoch": best["epoch"],
            "validation_loss": best["validation_loss"],
            "auc": area.value,
            "auc_error": area.error,
            "weights": dataclasses.asdict(weight_report(reweighted(sim["test"].weight, on_test))),
            "seconds": trained.seconds,
        }

    progress({"stage": "computing observables"})
    values = {"simulation": observables(sim["test"]), "data": observables(dat["test"])}
    test_weights = {
        name: reweighted(sim["test"].weight, r[parts["simulation"]["test"]])
        for name, r in log_ratios.items()
    }
    progress({"stage": "measuring and drawing"})
    metrics = {
        **table2(
            values["data"],
            values["simulation"],
            test_weights,
            data_weights=dat["test"].weight,
            simulation_weights=sim["test"].weight,
            seed=config.seed,
        ),
        "models": models,
        "events": {s: {p: len(i) for p, i in x.items()} for s, x in parts.items()},
    }
    weights = {name: reweighted(simulation.weight, r) for name, r in log_ratios.items()}
    part = np.empty(len(simulation), "S10")
    for name, index in parts["simulation"].items():
        part[index] = name.encode()
    write_weights(folder / "weights.h5", log_ratios, weights, part)
    figures = folder / "figures"
    figures.mkdir(exist_ok=True)
    drawn = observable_figure(
        values["data"],
        values["simulation"],
        test_weights,
        data_weights=dat["test"].weight,
        simulation_weights=sim["test"].weight,
    )
    save_figure(drawn, figures / "observables")
    save_figure(training_figure(_losses(log)), figures / "training")
    write_json(folder / "metrics.json", metrics)
    return metrics


@dataclass
class _Log:
    """Writes each epoch's record of a model behind those of earlier models, and passes on."""

    path: Path
    model: str
    records: list[Record]
    progress: Callable[[Record], None]

    def __call__(self, record: Record) -> None:
        if "validation_loss" in record:
            self.records.append({"model": self.model, **record})
            write_lines(self.path, self.records)
        self.progress({"model": self.model, **record})


def _losses(log: list[Record]) -> dict[str, dict[str, list[float]]]:
    """model → {"train": losses, "validation": losses}."""
    return {
        model: {
            kind: [r[f"{kind}_loss"] for r in log if r["model"] == model]
            for kind in ("train", "validation")
        }
        for model in dict.fromkeys(r["model"] for r in log)
    }


def resolved(config: Reweighting) -> dict[str, Any]:
    """The configuration with every default filled in, as plain data."""
    filled = tuple(c.resolved() for c in config.classifiers)
    return dataclasses.asdict(dataclasses.replace(config, classifiers=filled))


def _check_sizes(parts: Mapping[str, Mapping[str, np.ndarray]]) -> None:
    for sample, shares in parts.items():
        for part, index in shares.items():
            if len(index) == 0:
                raise InputError(f"{sample}: no event is left to {part} on; give more events")
