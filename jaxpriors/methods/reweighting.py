"""Reweight one sample into another with several networks, and measure how well it went.

The samples are split into events to train on, to validate on and to test with. The table, AUC,
weight report and the figure of observables are of test events alone, which no training has seen.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jaxpriors.data.events import Events
from jaxpriors.data.splitting import split
from jaxpriors.data.weights import write_weights
from jaxpriors.errors import InputError
from jaxpriors.evaluation.metrics import auc, weight_report
from jaxpriors.evaluation.observables import observables, with_observables
from jaxpriors.evaluation.plots import observable_figure, save_figure, training_figure
from jaxpriors.evaluation.report import discriminators
from jaxpriors.methods.classifier import RatioClassifier
from jaxpriors.methods.ensemble import networks_of
from jaxpriors.methods.labels import labelled
from jaxpriors.methods.ratio import reweighted
from jaxpriors.numbers import NumbersConfig
from jaxpriors.training.checkpoints import count_parameters
from jaxpriors.training.loop import Record
from jaxpriors.training.runs import environment, write_json, write_lines

PARTS = ("train", "validation", "test")


@dataclass(frozen=True)
class Reweighting:
    """What is fitted, and how events are shared out: fractions to train, validate and test on."""

    classifiers: tuple[RatioClassifier, ...]
    fractions: tuple[float, float, float] = (0.6, 0.1, 0.3)
    seed: int = 0


@dataclass(frozen=True)
class Prepared:
    """Samples shared out and looked at, ready for training.

    parts: sample → part → numbers of events; observables: sample → observable → values of the
    test events.
    """

    simulation: Events
    data: Events
    parts: dict[str, dict[str, np.ndarray]]
    observables: dict[str, dict[str, np.ndarray]]

    def part(self, name: str) -> tuple[Events, Events]:
        """Simulated and measured events to train on, to validate on or to test with."""
        return (
            self.simulation[self.parts["simulation"][name]],
            self.data[self.parts["data"][name]],
        )


def prepare(simulation: Events, data: Events, config: Reweighting) -> Prepared:
    """Share the events out and find, before hours of training, what would stop them at the end.

    Raises InputError for samples that cannot be trained on or tested with: too few events, weights
    without a positive sum, identities in one sample alone, observables out of their range;
    and for a network that cannot be made: an unknown model, pretrained weights that are missing.
    """
    names = [c.model for c in config.classifiers]
    if not names or len(set(names)) < len(names):
        raise InputError(f"models: found {names}, expected one or several different ones")
    inputs = [one.resolved().inputs for one in config.classifiers]
    if any(isinstance(i, NumbersConfig) for i in inputs):
        simulation, data = with_observables(simulation), with_observables(data)
    samples = {"simulation": simulation, "data": data}
    parts = {
        name: dict(zip(PARTS, split(len(e), config.fractions, config.seed), strict=True))
        for name, e in samples.items()
    }
    for sample, shares in parts.items():
        for part, index in shares.items():
            if len(index) == 0:
                raise InputError(
                    f"{sample}: {len(samples[sample])} events leave none for {part}; give more"
                )
    values = {name: observables(e[parts[name]["test"]]) for name, e in samples.items()}
    prepared = Prepared(simulation, data, parts, values)
    for part in PARTS:
        labelled(*prepared.part(part))
    _table(prepared, {"simulation": prepared.part("test")[0].weight}, config.seed)
    return prepared


def reweight(
    prepared: Prepared,
    config: Reweighting,
    folder: str | Path,
    progress: Callable[[Record], None] = lambda record: None,
) -> dict[str, Any]:
    """Fit every classifier, reweight, write weights, figures and metrics into a run's folder.

    Returns the content of ``metrics.json``: ``table2`` (triangular discriminators × 1000 of six
    observables with bootstrap errors, floors and the values before reweighting), ``models``
    (loss, AUC, weight report, times; the spread of an ensemble's log ratios: their standard
    deviation, averaged over the simulated test events), ``events``, ``environment`` (versions).
    A call for a folder whose earlier call was killed goes on from its last checkpoint. ``progress``
    is told {"stage": …} of each stage, and the training loop's records with the model's name.
    """
    folder = Path(folder)
    simulation, parts = prepared.simulation, prepared.parts
    sim, dat = prepared.part("test")
    on_test = parts["simulation"]["test"]
    log_ratios: dict[str, np.ndarray] = {}
    ensembles: dict[str, np.ndarray] = {}
    models: dict[str, Any] = {}
    log: list[Record] = []
    for classifier in config.classifiers:
        name = classifier.model
        progress({"stage": f"training {name}"})
        model, trained = classifier.fit_with_history(
            *prepared.part("train"),
            prepared.part("validation"),
            folder / "checkpoints" / name,
            _Log(folder / "log.jsonl", name, [*log], progress),
        )
        model.save(folder / "model" / name)
        log += [{"model": name, **record} for record in trained.history]

        progress({"stage": f"reweighting with {name}"})
        each = model.log_ratios(simulation)
        log_ratios[name] = each.mean(0)
        if len(each) > 1:
            ensembles[name] = each
        weights = {n: reweighted(simulation.weight, r) for n, r in log_ratios.items()}
        used = _used_for(parts["simulation"])
        write_weights(folder / "weights.h5", log_ratios, weights, used, ensembles)
        area = auc(
            np.concatenate([log_ratios[name][on_test], model.log_ratio(dat)]),
            np.repeat([0, 1], [len(sim), len(dat)]),
            np.concatenate([sim.weight, dat.weight]),
        )
        best = min(trained.history, key=lambda r: r["validation_loss"])
        models[name] = {
            "networks": len(each),
            "parameters": count_parameters(networks_of(model.classifier)[0]),
            "epochs": len(trained.history),
            "best_epoch": best["epoch"],
            "validation_loss": best["validation_loss"],
            "auc": area.value,
            "auc_error": area.error,
            "weights": dataclasses.asdict(weight_report(weights[name][on_test])),
            "seconds": trained.seconds,
        }
        if len(each) > 1:
            models[name]["spread"] = float(each[:, on_test].std(0, ddof=1).mean())
        if model.origin is not None:
            models[name]["origin"] = dataclasses.asdict(model.origin)

    progress({"stage": "measuring and drawing"})
    test_weights = {n: reweighted(sim.weight, r[on_test]) for n, r in log_ratios.items()}
    metrics = {
        **_table(prepared, test_weights, config.seed),
        "models": models,
        "environment": environment(),
        "events": {s: {p: len(i) for p, i in x.items()} for s, x in parts.items()},
    }
    figures = folder / "figures"
    figures.mkdir(exist_ok=True)
    drawn = observable_figure(
        prepared.observables["data"],
        prepared.observables["simulation"],
        test_weights,
        data_weights=dat.weight,
        simulation_weights=sim.weight,
    )
    save_figure(drawn, figures / "observables")
    save_figure(training_figure(_losses(log)), figures / "training")
    write_json(folder / "metrics.json", metrics)
    return metrics


def _table(prepared: Prepared, weights: dict[str, np.ndarray], seed: int) -> dict[str, Any]:
    sim, dat = prepared.part("test")
    return discriminators(
        prepared.observables["data"],
        prepared.observables["simulation"],
        weights,
        data_weights=dat.weight,
        simulation_weights=sim.weight,
        seed=seed,
    )


def _used_for(parts: dict[str, np.ndarray]) -> np.ndarray:
    """The name of each event's part, (n,) bytes."""
    result = np.empty(sum(map(len, parts.values())), "S10")
    for name, index in parts.items():
        result[index] = name.encode()
    return result


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
