"""The study of `experiments.dis`: samples, tables and figures of several models."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from experiments.dis import Case
from experiments.stand_ins import Say, stand_in
from jaxpriors.commands.progress import Display
from jaxpriors.commands.report import tables
from jaxpriors.commands.reweight import fitted
from jaxpriors.commands.setup import use_all_cores, use_compilation_cache
from jaxpriors.data.events import Events
from jaxpriors.data.sample_files import read_events
from jaxpriors.data.splitting import split
from jaxpriors.errors import InputError
from jaxpriors.evaluation.observables import jet_observables
from jaxpriors.evaluation.plots import observable_figure, save_figure
from jaxpriors.methods.classifier import RatioClassifier
from jaxpriors.methods.ratio import RatioModel, reweighted
from jaxpriors.methods.reweighting import Reweighting, prepare, resolved
from jaxpriors.training.runs import environment, exists, open_run, read_json, write_json

TABLE, TRUTH = "table4", "truth"
SHOWERS = "weight_isr_mur_double", "weight_isr_mur_half"  # of simulation and data
LEVEL = "detector"
SEED = 23  # of the simulated samples
BEST = ("auc", "accuracy", "rejection50")
Pair = tuple[Events, Events]


def run(
    make: Callable[[Say], dict[str, Pair]],
    fits: dict[str, list[RatioClassifier]],
    out: Path,
    resume: bool,
    sources: dict[str, Any],
) -> int:
    """Fit every model and seed, and print the tables.

    make: gives the pair "table4" and those with known ratios, by their case. fits: label → one
    classifier for each seed. InputError where there is nothing to fit.
    """
    if not fits or not all(fits.values()):
        raise InputError(f"models, seeds: found {fits}, expected at least one of each")
    use_all_cores()
    use_compilation_cache()
    asked = {label: [resolved(_config(one)) for one in some] for label, some in fits.items()}
    open_run(out, {"fits": asked, "sources": sources}, resume)
    if not exists(out / "metrics.json"):
        with Display() as display:
            metrics = study(make(display), fits, out, display)
        write_json(out / "metrics.json", {**metrics, "environment": environment()})
    print(tables(read_json(out / "metrics.json")))
    print(f"\nweights, figures and metrics: {out}")
    return 0


def study(
    samples: dict[str, Pair], fits: dict[str, list[RatioClassifier]], out: Path, say: Say
) -> dict[str, Any]:
    """Fit, draw Figure 3, and give {"table4": …, "closure": …, "known_ratio": …}."""
    metrics: dict[str, Any] = {TABLE: {}, "closure": {}}
    for case, pair in samples.items():
        key = {"analytic": "known_ratio", "shower": "known_ratio_shower"}.get(case, case)
        for label, some in fits.items():
            seeds = some if case == TABLE else some[:1]
            found = []
            for seed, one in enumerate(seeds):
                say({"stage": f"{case}: {label}, seed {seed}"})
                folder = out / case / label / f"seed-{seed}"
                config = _config(one, None if case == TABLE else TRUTH)
                found.append(fitted(*pair, config, folder, True, {"case": case}, say))
            if case == TABLE:
                metrics[TABLE][label] = over_seeds([m[TABLE][some[0].model] for m in found])
                metrics["closure"][label] = found[0]["closure"][some[0].model]
            else:
                metrics.setdefault(key, {})[label] = found[0]["known_ratio"][some[0].model]
    say({"stage": "drawing"})
    draw(samples[TABLE], fits, out)
    return metrics


def _config(one: RatioClassifier, truth: str | None = None) -> Reweighting:
    """All with the same test events."""
    return Reweighting((one,), observables="jet", calibrate=True, truth=truth)


def over_seeds(rows: list[dict[str, float]]) -> dict[str, float]:
    """The mean of each number, the best value of each metric and the spread of the AUC."""
    mean = {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}
    best = {f"best_{key}": max(row[key] for row in rows) for key in BEST}
    areas = [row["auc"] for row in rows]
    spread = float(np.std(areas, ddof=1)) if len(areas) > 1 else 0.0
    return {**mean, **best, "auc_spread": spread}


def draw(pair: Pair, fits: dict[str, list[RatioClassifier]], out: Path) -> None:
    """Figure 3: jets of the test events, and reweighted by the first seed of each model."""
    first = next(iter(fits.values()))[0]
    prepared = prepare(*pair, _config(first))
    simulation, data = prepared.part("test")
    weights = {}
    for label, some in fits.items():
        model = RatioModel.load(out / TABLE / label / "seed-0" / "model" / some[0].model)
        weights[label] = reweighted(simulation.weight, model.log_ratio(simulation))
    drawn = observable_figure(
        prepared.observables["data"],
        prepared.observables["simulation"],
        weights,
        data_weights=data.weight,
        simulation_weights=simulation.weight,
        observables=prepared.shown,
    )
    figures = out / "figures"
    figures.mkdir(exist_ok=True)
    save_figure(drawn, figures / "observables")


def simulated(events: int, constituents: int, cases: tuple[Case, ...], say: Say) -> dict[str, Pair]:
    """The stand-ins at detector level, made at the first call and then taken.

    The known ratios are of other events, each half of them in one of the roles.
    """

    def sample(variant: str, number: int) -> Events:
        path = stand_in("dis", variant, number, SEED, say)
        return read_events(path, LEVEL).hardest(constituents)

    found = {TABLE: (sample("simulation", events), sample("data", events))}
    if not cases:
        return found
    varied = sample("simulation-variations", events)
    halves = split(len(varied), (0.5, 0.5), 1)
    for case in cases:
        before, after = np.ones(len(varied)), analytic(varied)
        if case == "shower":
            before, after = (varied.columns[name] for name in SHOWERS)
        known = dataclasses.replace(varied, columns=varied.columns | {TRUTH: after / before})
        simulation, data = (
            known[half].with_weight(w[half])
            for half, w in zip(halves, (before, after), strict=True)
        )
        found[case] = simulation, data
    return found


def analytic(events: Events) -> np.ndarray:
    """Weights (n,) that make jets heavier, richer in constituents and wider."""
    jets = jet_observables(events)
    return np.exp(
        0.4 * np.tanh((jets["mass"] - 5) / 2.5)
        + 0.3 * np.tanh((jets["multiplicity"] - 11) / 5)
        - 0.3 * np.tanh((jets["width"] - 0.2) / 0.1)
    )
