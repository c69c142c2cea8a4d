"""A search in data: scores of every event by networks that have not seen it, and excesses.

Data and template are split into two halves. The networks trained on one half
(`jaxpriors.anomaly.training`) score the other half, so that without a signal as many data events
pass a cut as the template predicts, within statistics.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jaxpriors.anomaly import performance as evaluation
from jaxpriors.anomaly import training as anomaly
from jaxpriors.data import dijets
from jaxpriors.data.batching import split
from jaxpriors.data.dijets import Window
from jaxpriors.data.events import Events
from jaxpriors.errors import InputError
from jaxpriors.evaluation.metrics import auc
from jaxpriors.ratio.classifier import RatioClassifier
from jaxpriors.run.folder import Run
from jaxpriors.run.ranges import check_number
from jaxpriors.training.loop import Record

SHARES = (0.1, 0.01, 0.001)
"""Shares of the template that pass the cuts."""
HALVES = 2


@dataclass(frozen=True)
class Search:
    """Configure a search.

    region: m_jj in GeV of the signal region, None for all events. least: smallest number
    (at least 1) of labelled background events behind a cut, as in `anomaly.performance`, and of
    template events.
    """

    classifier: RatioClassifier
    region: Window | None = None
    least: float = 10

    def __post_init__(self) -> None:
        check_number("min_background", self.least, 1)

    def prepare(self, data: Events, template: Events, test: Events | None = None) -> PreparedSearch:
        """Select the events of the signal region, and check that a training can learn from them.

        Raises InputError as `anomaly.training.select` does, and for test events without both labels
        or with fewer than ``least`` background events.
        """
        row = np.arange(len(data))
        if self.region is not None and all(c in data.columns for c in dijets.COLUMNS):
            row = row[dijets.inside(data, self.region)]
        shown = getattr(self.classifier.inputs, "constituents", None)
        data, template = anomaly.select(data, template, self.region, shown)
        if test is not None:
            dijets.check(test, "test")
            test = test if self.region is None else test[dijets.inside(test, self.region)]
            anomaly.check_held(data, test, "test", shown)
            found = [] if test.label is None else np.unique(test.label).tolist()
            if found != [0, 1] or int(np.sum(test.label == 0)) < self.least:
                raise InputError(
                    f"test: found labels {found} in {len(test)} events of the signal region, "
                    f"expected 0 and 1, and at least {self.least:g} of label 0"
                )
        return PreparedSearch(data, template, test, row)


@dataclass(frozen=True)
class PreparedSearch:
    """Hold the events of the signal region; row (n,): indices of the data in their file."""

    data: Events
    template: Events
    test: Events | None
    row: np.ndarray

    def digests(self) -> dict[str, Any]:
        """Give the digests of the samples, for the record of a run."""
        samples = {"data": self.data, "template": self.template, "test": self.test}
        return {"digests": {n: None if e is None else e.digest() for n, e in samples.items()}}


def search(
    prepared: PreparedSearch,
    config: Search,
    folder: Path,
    progress: Callable[[Record], None] = lambda record: None,
) -> dict[str, Any]:
    """Train on both halves; write scores and networks, and return the metrics.

    Each half has a folder, ``half-0`` and ``half-1`` (`anomaly.training.train`). ``scores.h5`` has,
    for each data event of the region, ``row``, its index in the file; ``half``; ``m_jj`` in GeV;
    ``log_ratios`` (k, n) of the networks trained on the other half.
    Metrics: "cuts" (shares of the template, observed and expected data events behind the cut, error
    of the expected ones, significance), "auc" of data against template; "max_sic" and "auc" of the
    test events, and "min_background". A call with the folder of a killed call resumes it.
    """
    samples = {"data": prepared.data, "template": prepared.template}
    assert config.classifier.ensemble is not None
    seed = config.classifier.training.seed
    halves = {name: split(len(e), (0.5, 0.5), seed) for name, e in samples.items()}
    scores = {n: np.zeros((config.classifier.ensemble, len(e))) for n, e in samples.items()}
    of_test = []
    for half in range(HALVES):
        progress({"stage": f"training on half {half + 1} of {HALVES}"})
        chosen = {name: e[halves[name][half]] for name, e in samples.items()}
        model = anomaly.train(
            chosen["data"],
            chosen["template"],
            config.classifier,
            folder / f"half-{half}",
            progress,
        )
        for name, events in samples.items():
            others = halves[name][1 - half]
            scores[name][:, others] = model.log_ratios(events[others])
        if prepared.test is not None:
            of_test.append(model.log_ratios(prepared.test))

    progress({"stage": "measuring"})
    place = np.zeros(len(prepared.data), np.int32)
    place[halves["data"][1]] = 1
    columns = {"row": prepared.row, "half": place, "m_jj": dijets.dijet_mass(prepared.data)}
    anomaly.write_scores(folder / "scores.h5", scores["data"], columns)
    mean = {name: found.mean(0) for name, found in scores.items()}
    label = np.repeat([1, 0], [len(prepared.data), len(prepared.template)])
    weight = np.concatenate([prepared.data.weight, prepared.template.weight])
    area = auc(np.concatenate([mean["data"], mean["template"]]), label, weight)
    cuts = [
        excess(mean, {n: e.weight for n, e in samples.items()}, halves, share) for share in SHARES
    ]
    metrics: dict[str, Any] = {
        "cuts": [cut for cut in cuts if cut["template_events"] >= config.least],
        "auc": {"value": area.value, "error": area.error},
        "events": {name: len(e) for name, e in samples.items()},
    }
    if prepared.test is not None:
        assert prepared.test.label is not None
        found = np.concatenate(of_test)
        label, weight = prepared.test.label, prepared.test.weight
        metrics["test"] = evaluation.performance(found, label, config.least, weight)
        metrics["min_background"] = config.least
    return metrics


def excess(
    scores: dict[str, np.ndarray],
    weights: dict[str, np.ndarray],
    halves: dict[str, list[np.ndarray]],
    share: float,
) -> dict[str, float]:
    """Compare data events behind the cut that a ``share`` of the template passes with expectation.

    scores, weights: of "data" and "template", (n,). Each half has its own cut, as its networks
    differ. The error of the expected number comes from the weights of the template behind the cut.
    The significance also has the statistical error of the expected data.
    """
    observed = expected = variance = behind = 0.0
    mean_weight = float(np.sum(weights["data"] ** 2) / weights["data"].sum())  # 1 without weights
    for data, template in zip(halves["data"], halves["template"], strict=True):
        score, weight = scores["template"][template], weights["template"][template]
        order = np.argsort(-score, kind="stable")
        rising = np.maximum.accumulate(np.cumsum(weight[order]))  # weights may be negative
        passed = np.searchsorted(rising, share * weight.sum()) + 1
        cut = score[order[: min(passed, len(order))]].min()
        scale = weights["data"][data].sum() / weight.sum()
        inside, found = score >= cut, scores["data"][data] >= cut
        behind += float(inside.sum())
        observed += float(weights["data"][data][found].sum())
        expected += scale * float(weight[inside].sum())
        variance += scale**2 * float(np.sum(weight[inside] ** 2))
    return {
        "share": share,
        "observed": observed,
        "expected": expected,
        "expected_error": float(np.sqrt(variance)),
        "significance": float((observed - expected) / np.sqrt(mean_weight * expected + variance)),
        "template_events": behind,
    }


def run_search(
    data: Events,
    template: Events,
    test: Events | None,
    config: Search,
    run: Run,
    sources: dict[str, Any],
) -> dict[str, Any]:
    """Search in the folder of a run unless that is done; return the metrics.

    sources: origin of the samples. Raises InputError as ``Search.prepare`` does.
    """
    prepared = config.prepare(data, template, test)
    run.open({**dataclasses.asdict(config), "sources": sources | prepared.digests()})
    return run.results(lambda: search(prepared, config, run.folder, run.progress))
