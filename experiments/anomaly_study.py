"""The study of `experiments.anomaly`: the scan over injections, its tables and figures.

A model is trained on several *points*: numbers of injected signal events, and references. Each
leaves its scores of the test events, of which tables and figures are made, so that points that were
trained apart make one study (`experiments.anomaly_merge`):

| where                  | what                                                                   |
|------------------------|------------------------------------------------------------------------|
| `config.json`          | ``rows``: {model: {"points": {point: seeds}, "settings"}}; all else is |
|                        | the same for runs that are merged, but for the floor and the center    |
| `MODEL/POINT/`         | the training, and `scores.h5`: log ratios (k, n), label, weight (n,)   |
|                        | and seeds (k,)                                                         |
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from experiments.anomaly_samples import Samples
from experiments.dry_run import noted
from experiments.surrogates import Say
from jaxpriors.anomaly import performance as evaluation
from jaxpriors.anomaly import training as anomaly
from jaxpriors.anomaly.performance import Center
from jaxpriors.errors import InputError
from jaxpriors.evaluation.figures import improvement_figure, roc_figure, save_figure
from jaxpriors.ratio.classifier import RatioClassifier
from jaxpriors.report.tables import tables
from jaxpriors.run import processes
from jaxpriors.run.folder import Run, started
from jaxpriors.run.storage import exists

NULL, SUPERVISED = "null", "supervised"
SCORES = "scores.h5"
Points = Mapping[str, Mapping[str, Sequence[int]]]
"""Model → point → seeds of its trainings."""


@dataclass(frozen=True)
class Measure:
    """Configure how scores are measured.

    least: floor of the background behind a cut (`anomaly.performance`). center: of the trainings.
    """

    least: float = 10
    center: Center = "median"

    def __post_init__(self) -> None:
        if not self.least > 0:
            raise InputError(f"min_background: found {self.least:g}, expected a number above 0")


@dataclass(frozen=True)
class Scan:
    """Configure the scan over injections.

    searches: one classifier for each model. injected: numbers of signal events, rising; 0 is
    compared with the null distribution. nulls: how many times all networks train on random labels,
    for the null distribution. supervised: whether they also train on labelled signal.
    """

    searches: tuple[RatioClassifier, ...]
    injected: tuple[int, ...]
    nulls: int = 0
    supervised: bool = False
    measure: Measure = Measure()

    def __post_init__(self) -> None:
        names = [one.model for one in self.searches]
        if not names or len(set(names)) < len(names):
            raise InputError(f"models: found {names}, expected one or several different ones")
        rising = list(self.injected) == sorted({n for n in self.injected if n >= 0})
        if not rising or not (self.injected or self.nulls or self.supervised):
            raise InputError(
                f"injected: found {self.injected}, expected numbers of events, rising from 0"
            )
        if self.nulls < 0:
            raise InputError(f"nulls: found {self.nulls}, expected 0 or more")

    def points(self, search: RatioClassifier) -> dict[str, list[int]]:
        """Give the points of a model, and the seeds of their trainings."""
        names = [str(n) for n in self.injected] + [SUPERVISED] * self.supervised
        names += [f"{NULL}-{i}" for i in range(self.nulls)]
        seeds = {name: _search_of(search, name).training.seed for name in names}
        return {name: list(range(s, s + (search.ensemble or 1))) for name, s in seeds.items()}


def run_scan(
    make: Callable[[Say], Samples],
    scan: Scan,
    out: Path,
    resume: bool,
    sources: dict[str, Any],
    notes: tuple[str, ...] = (),
) -> int:
    """Train, measure, draw, print the table. make: gives the samples. notes: what else to say."""
    with started(out, resume) as opened:
        config = {
            "rows": {s.model: {"points": scan.points(s), "settings": _settings(s)}
                     for s in scan.searches},
            "sources": sources,
            "min_background": scan.measure.least,
            "center": scan.measure.center,
        }  # fmt: skip
        opened.open(config)

        def measured() -> dict[str, Any]:
            samples = make(opened.progress)
            opened.within("samples").open(samples.digests())
            return study(samples, scan, opened)

        metrics = opened.results(measured)
    print(noted(tables(metrics), sources.get("dry_run", False)))
    print("\n".join(["", *notes, f"scores, figures and metrics: {out}"]))
    return 0


def _settings(search: RatioClassifier) -> dict[str, Any]:
    """Describe a classifier without what tells its trainings apart."""
    found = dataclasses.asdict(search)
    del found["ensemble"], found["training"]["seed"]
    return found


def study(samples: Samples, scan: Scan, run: Run) -> dict[str, Any]:
    """Train every model on every point, draw Figure 4, and give the metrics of ``measured``."""
    data, labels = samples.data(0), samples.test.label
    assert labels is not None
    for search in scan.searches:
        shown = getattr(search.inputs, "constituents", None)
        anomaly.select(data, samples.template, None, shown)
    background = int(np.sum(labels == 0))
    if background < scan.measure.least:
        raise InputError(
            f"min_background: found {background} background events to test with, expected at least "
            f"{scan.measure.least:g}"
        )
    points: dict[str, dict[str, list[int]]] = {}
    seconds: dict[str, dict[str, float]] = {}
    for search in scan.searches:
        model = search.model
        points[model], seconds[model] = scan.points(search), {}
        for number, name in enumerate(points[model], 1):
            told = f"{_described(name)} ({number} of {len(points[model])})"
            run.progress({"stage": f"{model}: {told}"})
            _train(search, name, samples, run)
            seconds[model][name] = _seconds(run.folder / model / name)
    counts = {name: len(events) for name, events in samples.by_name().items()}
    counts |= {"test_background": background, "test_signal": int(np.sum(labels == 1))}
    found = measured(run, points, scan.measure, counts["background"])
    return {**found, "events": counts, "seconds": seconds}


def _train(search: RatioClassifier, name: str, samples: Samples, run: Run) -> None:
    """Train the networks of a point and write their scores, unless that is done."""
    place = run.folder / search.model / name
    if exists(place / SCORES):
        return
    one, template = _search_of(search, name), samples.template
    if name == SUPERVISED:
        model = anomaly.train(
            samples.reference, samples.simulated or template, one, place, run.progress
        )
    elif name.startswith(NULL):
        model = anomaly.train_null(samples.data(0), template, one, place, run.progress)
    else:
        model = anomaly.train(samples.data(int(name)), template, one, place, run.progress)
    test = samples.test
    assert test.label is not None
    seeds = one.training.seed + np.arange(one.ensemble or 1)
    columns = {"label": test.label, "weight": test.weight, "seeds": seeds}
    anomaly.write_scores(place / SCORES, model.log_ratios(test), columns)
    processes.wait()


def _search_of(search: RatioClassifier, name: str) -> RatioClassifier:
    """Change the seed, and so the initial weights and labels, for each null training."""
    if not name.startswith(NULL):
        return search
    seed = search.training.seed + 1000 * (int(name.split("-")[1]) + 1)
    return dataclasses.replace(search, training=dataclasses.replace(search.training, seed=seed))


def _described(name: str) -> str:
    if name.startswith(NULL):
        return "labels drawn at random"
    return "labelled signal" if name == SUPERVISED else f"{name} signal events in the data"


def _seconds(place: Path) -> float:
    """Read the time of a training in seconds from its log."""
    last = (place / anomaly.LOG).read_text().splitlines()[-1]
    return float(sum(json.loads(last)["seconds"].values()))


def measured(run: Run, points: Points, measure: Measure, background: int) -> dict[str, Any]:
    """Measure the scores that stand in the folder of a run, and draw Figure 4.

    The metrics are {"max_sic", "auc": {model: {n_injected: summary}}, "supervised", "null":
    {model: summary}, "min_background", "center"}. The chance of the null row is the p-value, under
    the null, of the maximum of the first network without injected signal. background: events in
    the data.
    """
    run.progress({"stage": "measuring and drawing"})
    metrics: dict[str, Any] = {name: {} for name in ("max_sic", "auc", SUPERVISED, NULL)}
    curves: dict[str, dict[str, np.ndarray]] = {}
    for model, names in points.items():
        found = {}
        injected = sorted((n for n in names if n.isdigit()), key=int)
        for name in names:
            scores, labels, weight, _ = read_scores(run.folder / model / name / SCORES)
            found[name] = evaluation.performance(scores, labels, measure.least, weight)
            if injected and name == injected[-1]:
                curves[model] = evaluation.curves(scores, labels, measure.least, weight)
        for kind in ("max_sic", "auc"):
            metrics[kind][model] = {n: found[n][kind] for n in injected}
        if SUPERVISED in found:
            row = found[SUPERVISED]
            metrics[SUPERVISED][model] = row["max_sic"] | {"auc": row["auc"]}
        nulls = [v for n in names if n.startswith(NULL) for v in found[n]["max_sic"]["values"]]
        if nulls:
            metrics[NULL][model] = evaluation.summary(np.array(nulls))
            if "0" in found:
                first = found["0"]["max_sic"]["values"][0]
                metrics[NULL][model]["chance"] = evaluation.chance(first, np.array(nulls))
    draw(curves, metrics, measure.center, background, run.folder)
    return {**metrics, "min_background": measure.least, "center": measure.center}


def read_scores(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Read log ratios (k, n), labels and weights (n,) of test events, and seeds (k,)."""
    scores = anomaly.read_scores(path)
    with h5py.File(path) as file:
        return scores, file["label"][:], file["weight"][:], file["seeds"][:]


def draw(
    curves: Mapping[str, Mapping[str, np.ndarray]],
    metrics: Mapping[str, Any],
    center: Center,
    background: int,
    out: Path,
) -> None:
    """Draw Figure 4, with the curves of the largest injection, and its ROC curves."""
    sic, rejection = (
        {model: evaluation.band(of[kind], center) for model, of in curves.items()}
        for kind in ("sic", "rejection")
    )
    maxima = {
        model: {int(n): row for n, row in rows.items()}
        for model, rows in metrics["max_sic"].items()
    }
    figures, grid = out / "figures", evaluation.EFFICIENCIES
    drawn = improvement_figure(sic, maxima, metrics[SUPERVISED], grid, background, center)
    save_figure(drawn, figures / "improvement")
    save_figure(roc_figure(rejection, grid), figures / "roc")
