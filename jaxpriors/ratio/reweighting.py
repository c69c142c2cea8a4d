"""Reweight one sample into another with several networks, and measure how well it went.

The samples are split into events to train on, to validate on and to test with. The table, AUC,
weight report and figure of observables use only test events, which no training has seen.

The event weights are written to ``weights.h5`` (`ratio.weights`).
"""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
from matplotlib.figure import Figure

from jaxpriors.data.batching import split
from jaxpriors.data.events import Events
from jaxpriors.data.units import check_units
from jaxpriors.errors import InputError
from jaxpriors.evaluation.figures import calibration_figure, save_figure, training_figure
from jaxpriors.evaluation.histograms import binned
from jaxpriors.evaluation.likelihood_ratio import (
    Reliability,
    against_truth,
    closure,
    reliability,
    separation,
    shapes,
)
from jaxpriors.evaluation.metrics import weight_report
from jaxpriors.evaluation.observable_figure import observable_figure
from jaxpriors.evaluation.observables import (
    Observable,
    jet_observables,
    observables,
)
from jaxpriors.evaluation.published import BINNINGS, Bins, check_bins
from jaxpriors.evaluation.ranges import fitting, ranged, spanning
from jaxpriors.evaluation.tables import discriminators
from jaxpriors.ratio.classifier import RatioClassifier
from jaxpriors.ratio.examples import check_overlap, two_classes
from jaxpriors.ratio.features import features, with_columns_seen, without_constituents
from jaxpriors.ratio.model import reweighted
from jaxpriors.ratio.networks import networks_of
from jaxpriors.ratio.weights import write_weights
from jaxpriors.run.folder import Run, logged
from jaxpriors.run.ranges import check_number, check_whole
from jaxpriors.training.loop import Record

PARTS = ("train", "validation", "test")


@dataclass(frozen=True)
class Reweighting:
    """Configure the fits and their evaluation.

    fractions: of events to train, validate and test on. part: a column of both samples with 0, 1
    and 2 for events to train, to validate and to test on, instead of fractions. observables: the
    six of the unfolding studies, in their published ranges where these hold nearly all test events
    of both samples, or pt, mass, multiplicity and width of the jets, in ranges that do
    (`evaluation.ranges`); of events without constituents, the columns that networks see instead.
    ranges: others, observable → (low, high) in its unit. calibrate: whether to divide log ratios by
    the temperature that fits the validation events best. truth: a column of the simulation with the
    factors on its weights that turn it into the data. bins: the six observables in our own bins, or
    in the published ones with the published errors (`evaluation.published`).
    """

    classifiers: tuple[RatioClassifier, ...]
    fractions: tuple[float, float, float] = (0.6, 0.1, 0.3)
    seed: int = 0
    observables: Literal["substructure", "jet"] = "substructure"
    calibrate: bool = False
    truth: str | None = None
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    part: str | None = None
    bins: Bins = "own"

    def __post_init__(self) -> None:
        """Raise InputError for a seed or fractions out of range, and ranges beside bins."""
        check_whole("seed", self.seed, 0)
        if self.bins == "published" and (self.ranges or self.observables == "jet"):
            raise InputError(
                "bins: found published beside other ranges or observables, expected those of the "
                "six alone"
            )
        for share in self.fractions:
            check_number("fractions", share, 0, 1)


@dataclass(frozen=True)
class Prepared:
    """Hold samples that are split and checked, ready for training.

    parts: sample → part → indices of events; shown: the observables to evaluate; observables:
    sample → observable → values of the test events.
    """

    simulation: Events
    data: Events
    parts: dict[str, dict[str, np.ndarray]]
    shown: tuple[Observable, ...]
    observables: dict[str, dict[str, np.ndarray]]

    def part(self, name: str) -> tuple[Events, Events]:
        """Give the simulated and measured events of a part: train, validation or test."""
        return (
            self.simulation[self.parts["simulation"][name]],
            self.data[self.parts["data"][name]],
        )


def prepare_reweighting(simulation: Events, data: Events, config: Reweighting) -> Prepared:
    """Split the events and check, before hours of training, that training and tests can succeed.

    Raises InputError for samples that cannot be trained on or tested with: too few events, weights
    without a positive sum, identities in only one sample, observables out of their range.
    """
    names = [c.model for c in config.classifiers]
    if not names or len(set(names)) < len(names):
        raise InputError(f"models: found {names}, expected one or several different ones")
    samples = with_columns_seen({"simulation": simulation, "data": data}, config.classifiers)
    simulation, data = samples.values()
    check_units({f"the {name}": events for name, events in samples.items()})
    parts = {
        name: dict(zip(PARTS, _split(name, e, config), strict=True)) for name, e in samples.items()
    }
    for sample, shares in parts.items():
        for part, index in shares.items():
            if len(index) == 0:
                raise InputError(
                    f"{sample}: {len(samples[sample])} events leave none for {part}; give more"
                )
    test = {name: events[parts[name]["test"]] for name, events in samples.items()}
    if any(map(without_constituents, test.values())):
        if config.bins == "published":
            raise InputError("bins: found published for events without constituents, expected own")
        values, shown = features(test, config.classifiers)
    else:
        of = observables if config.observables == "substructure" else jet_observables
        values = {name: of(events) for name, events in test.items()}
        choose = fitting if config.observables == "substructure" else spanning
        shown = choose(values["simulation"], values["data"])
        if config.bins == "published":
            shown = BINNINGS[config.bins].observables
            check_bins(config.bins, simulation.weight, data.weight)
    prepared = Prepared(simulation, data, parts, ranged(shown, config.ranges), values)
    if config.truth is not None:
        true_weights(simulation, config.truth)
    for part in PARTS:
        two_classes(*prepared.part(part), part=part)
    for name, events in zip(("simulation", "data"), prepared.part("test"), strict=True):
        _check_ranges(name, prepared, events.weight, config.ranges)
    return prepared


def _split(sample: str, events: Events, config: Reweighting) -> list[np.ndarray]:
    """Give the indices of the events of each part; raise InputError for unknown parts."""
    if config.part is None:
        return split(len(events), config.fractions, config.seed)
    places = range(len(PARTS))
    column = events.columns.get(config.part)
    if column is None or column.ndim != 1 or not np.isin(column, places).all():
        found = "no column" if column is None else f"the values {np.unique(column)}"
        raise InputError(
            f"{sample}: found {found} of the parts {config.part!r}, expected 0, 1 and 2 of the "
            "events to train, to validate and to test on"
        )
    return [np.flatnonzero(column == place) for place in places]


def _check_ranges(
    sample: str, prepared: Prepared, weight: np.ndarray, given: Mapping[str, Any]
) -> None:
    """Raise InputError where a range that was given holds nothing of a sample's test events."""
    for o in prepared.shown:
        values = prepared.observables[sample][o.name]
        if o.name in given and not binned(values, o.edges, weight).usable:
            raise InputError(
                f"ranges: {o.name}: found no weight of the {sample}'s {len(values)} test events "
                f"from {o.low:g} to {o.high:g}, expected some; they range from {values.min():.4g} "
                f"to {values.max():.4g}"
            )


def reweight(
    prepared: Prepared,
    config: Reweighting,
    folder: str | Path,
    progress: Callable[[Record], None] = lambda record: None,
    names: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Fit every classifier, reweight, write weights and figures into a run's folder.

    names: where the samples `simulation` and `data` are from, for the file of weights.

    Returns the metrics: ``table2`` (triangular discriminators × 1000 of six
    observables with bootstrap errors, floors and the values before reweighting), ``ranges`` (of
    the observables, and what is outside), ``models``
    (loss, AUC, temperature, weight report, times; the spread of an ensemble's log ratios: their
    standard deviation, averaged over the simulated test events), ``table4``, ``closure`` and
    ``known_ratio`` (`evaluation.likelihood_ratio`), ``events``, ``environment`` (versions).
    A call with the folder of a killed call resumes from its last checkpoint. ``progress`` gets
    {"stage": …} at each stage, and the records of the training loop with the name of the model.
    Raises InputError for samples that hardly overlap, after the training that shows it.
    """
    folder = Path(folder)
    simulation, parts = prepared.simulation, prepared.parts
    sim, dat = prepared.part("test")
    on_test = parts["simulation"]["test"]
    used_for = np.empty(len(simulation), "S10")
    for part, index in parts["simulation"].items():
        used_for[index] = part.encode()
    log_ratios: dict[str, np.ndarray] = {}
    ensembles: dict[str, np.ndarray] = {}
    models: dict[str, Any] = {}
    quality: dict[str, dict[str, float]] = {}
    diagrams: dict[str, Reliability] = {}
    log: list[Record] = []
    for classifier in config.classifiers:
        name = classifier.model
        progress({"stage": f"training {name}"})
        model, trained = classifier.train(
            *classifier.examples(*prepared.part("train"), prepared.part("validation")),
            folder / "checkpoints" / name,
            logged(folder / "log.jsonl", progress, log, model=name),
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
        path = folder / "weights.h5"
        write_weights(path, simulation, used_for, log_ratios, weights, ensembles, names or {})
        on_data = model.log_ratios(dat).mean(0)
        of_both = (log_ratios[name][on_test], on_data, sim.weight, dat.weight)
        quality[name] = separation(*of_both, seed=config.seed)
        diagrams[name] = reliability(*of_both)
        models[name] = {
            "networks": len(each),
            "parameters": sum(x.size for x in jax.tree.leaves(networks_of(model.classifier)[0])),
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
        **_table(prepared, test_weights, config),
        "models": models,
        "table4": quality,
        **_checks(prepared, config, {n: r[on_test] for n, r in log_ratios.items()}),
        "events": {s: {p: len(i) for p, i in x.items()} for s, x in parts.items()},
    }
    figures = folder / "figures"
    save_figure(draw_observables(prepared, test_weights), figures / "observables")
    save_figure(calibration_figure(diagrams), figures / "calibration")
    losses = {
        model: {
            kind: [r[f"{kind}_loss"] for r in log if r["model"] == model]
            for kind in ("train", "validation")
        }
        for model in models
    }
    save_figure(training_figure(losses), figures / "training")
    return metrics


def draw_observables(prepared: Prepared, weights: dict[str, np.ndarray]) -> Figure:
    """Draw the observables of the test events; weights: model → of the simulated ones."""
    sim, dat = prepared.part("test")
    return observable_figure(
        prepared.observables["data"],
        prepared.observables["simulation"],
        weights,
        data_weights=dat.weight,
        simulation_weights=sim.weight,
        observables=prepared.shown,
    )


def _table(
    prepared: Prepared, weights: dict[str, np.ndarray], config: Reweighting
) -> dict[str, Any]:
    sim, dat = prepared.part("test")
    found = discriminators(
        prepared.observables["data"],
        prepared.observables["simulation"],
        weights,
        data_weights=dat.weight,
        simulation_weights=sim.weight,
        observables=prepared.shown,
        error=BINNINGS[config.bins].error,
        seed=config.seed,
    )
    return found if config.bins == "own" else found | {"notes": [BINNINGS[config.bins].note]}


def _checks(
    prepared: Prepared, config: Reweighting, log_ratios: dict[str, np.ndarray]
) -> dict[str, Any]:
    """Measure {"closure": {model: …}} and, where the truth is known, {"known_ratio": {model: …}}.

    log_ratios: model → log ratios of the simulated test events.
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
    """Read a column (n,) of true ratios; raise InputError if it is missing or not positive."""
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


def run_reweighting(
    simulation: Events, data: Events, config: Reweighting, run: Run, sources: dict[str, Any]
) -> dict[str, Any]:
    """Reweight in the folder of a run unless that is done; return the metrics.

    sources: origin of the samples. Raises InputError as ``prepare_reweighting`` and ``reweight``.
    """
    sources = {**sources, "digests": [simulation.digest(), data.digest()]}
    prepared: Any = None
    lengths = None
    if not run.finished:
        run.progress({"stage": "looking at the samples"})
        prepared = prepare_reweighting(simulation, data, config)
        lengths = np.concatenate([events.multiplicity for events in prepared.part("train")])
    classifiers = tuple(
        one.with_micro_batch(lengths, run.begun("classifiers", i, "training"), run.progress)
        for i, one in enumerate(config.classifiers)
    )
    config = dataclasses.replace(config, classifiers=classifiers)
    run.open({**dataclasses.asdict(config), "sources": sources})
    names = {name: str(sources[name]) for name in sources if name in ("simulation", "data")}
    return run.results(lambda: reweight(prepared, config, run.folder, run.progress, names))
