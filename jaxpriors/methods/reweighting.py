"""Reweight one sample into another with several networks, and measure how well it went.

The samples are split into events to train on, to validate on and to test with. The table, AUC,
weight report and the figure of observables are of test events alone, which no training has seen.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from jaxpriors.data.events import Events
from jaxpriors.data.splitting import split
from jaxpriors.data.weights import write_weights
from jaxpriors.errors import InputError
from jaxpriors.evaluation.calibration import Reliability, reliability
from jaxpriors.evaluation.likelihood_ratio import against_truth, closure, separation, shapes
from jaxpriors.evaluation.metrics import weight_report
from jaxpriors.evaluation.observables import (
    OBSERVABLES,
    Observable,
    jet_observables,
    observables,
    spanning,
    with_observables,
)
from jaxpriors.evaluation.plots import (
    calibration_figure,
    observable_figure,
    save_figure,
    training_figure,
)
from jaxpriors.evaluation.report import discriminators
from jaxpriors.methods.classifier import RatioClassifier
from jaxpriors.methods.ensemble import networks_of
from jaxpriors.methods.labels import check_overlap, labelled
from jaxpriors.methods.ratio import reweighted
from jaxpriors.numbers import NumbersConfig
from jaxpriors.training.checkpoints import count_parameters
from jaxpriors.training.loop import Record
from jaxpriors.training.runs import environment, write_json, write_lines

PARTS = ("train", "validation", "test")


@dataclass(frozen=True)
class Reweighting:
    """What is fitted, and how it is looked at.

    fractions: of events to train, validate and test on. observables: the six of the unfolding
    studies, or pt, mass, multiplicity and width of the jets in ranges that hold nearly all of the
    test events. calibrate: whether log ratios are divided by the temperature that suits the
    validation events. truth: a column of the simulation with the factors to its weights that turn
    it into the data.
    """

    classifiers: tuple[RatioClassifier, ...]
    fractions: tuple[float, float, float] = (0.6, 0.1, 0.3)
    seed: int = 0
    observables: Literal["substructure", "jet"] = "substructure"
    calibrate: bool = False
    truth: str | None = None


@dataclass(frozen=True)
class Prepared:
    """Samples shared out and looked at, ready for training.

    parts: sample → part → numbers of events; shown: the observables that are looked at, and
    observables: sample → observable → their values in the test events.
    """

    simulation: Events
    data: Events
    parts: dict[str, dict[str, np.ndarray]]
    shown: tuple[Observable, ...]
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
    of = observables if config.observables == "substructure" else jet_observables
    values = {name: of(e[parts[name]["test"]]) for name, e in samples.items()}
    shown = tuple(OBSERVABLES.values())
    if config.observables == "jet":
        shown = spanning(values["simulation"], values["data"])
    prepared = Prepared(simulation, data, parts, shown, values)
    if config.truth is not None:
        true_weights(simulation, config.truth)
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
    (loss, AUC, temperature, weight report, times; the spread of an ensemble's log ratios: their
    standard deviation, averaged over the simulated test events), ``table4``, ``closure`` and
    ``known_ratio`` (`evaluation.likelihood_ratio`), ``events``, ``environment`` (versions).
    A call for a folder whose earlier call was killed goes on from its last checkpoint. ``progress``
    is told {"stage": …} of each stage, and the training loop's records with the model's name.
    Raises InputError for samples that hardly overlap, after the training that found them so.
    """
    folder = Path(folder)
    simulation, parts = prepared.simulation, prepared.parts
    sim, dat = prepared.part("test")
    on_test = parts["simulation"]["test"]
    log_ratios: dict[str, np.ndarray] = {}
    ensembles: dict[str, np.ndarray] = {}
    models: dict[str, Any] = {}
    quality: dict[str, dict[str, float]] = {}
    diagrams: dict[str, Reliability] = {}
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
        best = min(trained.history, key=lambda r: r["validation_loss"])
        check_overlap(best["validation_loss"])
        if config.calibrate:
            model = model.calibrated(*prepared.part("validation"))
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
        on_data = model.log_ratio(dat)
        of_both = (log_ratios[name][on_test], on_data, sim.weight, dat.weight)
        quality[name] = separation(*of_both, seed=config.seed)
        diagrams[name] = reliability(*of_both)
        models[name] = {
            "networks": len(each),
            "parameters": count_parameters(networks_of(model.classifier)[0]),
            "epochs": len(trained.history),
            "best_epoch": best["epoch"],
            "validation_loss": best["validation_loss"],
            "auc": quality[name]["auc"],
            "auc_error": quality[name]["auc_error"],
            "temperature": model.temperature,
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
        "table4": quality,
        **_checks(prepared, config, {n: r[on_test] for n, r in log_ratios.items()}),
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
        observables=prepared.shown,
    )
    save_figure(drawn, figures / "observables")
    save_figure(calibration_figure(diagrams), figures / "calibration")
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
        observables=prepared.shown,
        seed=seed,
    )


def _checks(
    prepared: Prepared, config: Reweighting, log_ratios: dict[str, np.ndarray]
) -> dict[str, Any]:
    """{"closure": {model: …}} and, where the truth is known, {"known_ratio": {model: …}}.

    log_ratios: model → those of the simulated test events.
    """
    sim, dat = prepared.part("test")
    values = prepared.observables["simulation"], prepared.observables["data"]
    found = {n: closure(r, *values, sim.weight, dat.weight) for n, r in log_ratios.items()}
    if config.truth is None:
        return {"closure": found}
    truth = true_weights(sim, config.truth)
    known = {}
    before = shapes(*values, prepared.shown, sim.weight, dat.weight)
    for name, learned in log_ratios.items():
        weights = reweighted(sim.weight, learned)
        known[name] = against_truth(learned, truth, sim.weight) | {
            "chi2": shapes(*values, prepared.shown, weights, dat.weight),
            "chi2_before": before,
        }
    return {"closure": found, "known_ratio": known}


def true_weights(simulation: Events, column: str) -> np.ndarray:
    """That column (n,) of the simulation; InputError if it is not there or not positive."""
    if column not in simulation.columns:
        raise InputError(
            f"truth: found no column {column!r} in the simulation, which has "
            f"{sorted(simulation.columns)}"
        )
    weights = np.asarray(simulation.columns[column], np.float64)
    if weights.ndim != 1 or not np.all(np.isfinite(weights) & (weights > 0)):
        raise InputError(
            f"truth: column {column!r} of the simulation has shape {weights.shape} and "
            f"{np.sum(~(np.isfinite(weights) & (weights > 0)))} values that are not positive and "
            "finite, expected a positive weight of each event"
        )
    return weights


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
