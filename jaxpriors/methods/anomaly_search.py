"""A search in data: scores of every event by networks that have not seen it, and excesses.

Data and template are shared out into two halves. The networks that were trained on one half
(`jaxpriors.methods.anomaly`) score the other, so that in the absence of a signal as many data
events pass a cut as the template says, within statistics.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jaxpriors.data import dijets
from jaxpriors.data.dijets import Window
from jaxpriors.data.events import Events
from jaxpriors.data.splitting import split
from jaxpriors.errors import InputError
from jaxpriors.evaluation import anomaly as evaluation
from jaxpriors.evaluation.metrics import auc
from jaxpriors.methods import anomaly
from jaxpriors.methods.classifier import RatioClassifier
from jaxpriors.training.loop import Record
from jaxpriors.training.runs import environment, write_json

SHARES = (0.1, 0.01, 0.001)
"""Shares of the template that pass the cuts."""
HALVES = 2


@dataclass(frozen=True)
class Search:
    """What is trained, the signal region (m_jj in GeV, None for all events), and ``least``.

    least: as in `evaluation.anomaly`, of labelled test events; template events of a cut.
    """

    classifier: RatioClassifier
    region: Window | None = None
    least: float = 10

    def __post_init__(self) -> None:
        if not self.least > 0:
            raise InputError(f"min_background: found {self.least:g}, expected more than 0 events")

    def prepare(self, data: Events, template: Events, test: Events | None = None) -> Prepared:
        """The events of the region, of which a training can learn something.

        Raises InputError as `anomaly.select`, and for test events without both labels or with
        fewer than ``least`` background events.
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
        return Prepared(data, template, test, row)


@dataclass(frozen=True)
class Prepared:
    """Events of the signal region; row (n,): places of the data's in their file."""

    data: Events
    template: Events
    test: Events | None
    row: np.ndarray

    def digests(self) -> dict[str, Any]:
        """What the samples are, in a run's record."""
        samples = {"data": self.data, "template": self.template, "test": self.test}
        return {"digests": {n: None if e is None else e.digest() for n, e in samples.items()}}


def run(
    prepared: Prepared,
    config: Search,
    folder: Path,
    progress: Callable[[Record], None] = lambda record: None,
) -> dict[str, Any]:
    """Train on both halves; write scores, networks and metrics, which it gives.

    Each half has a folder, ``half-0`` and ``half-1`` (`anomaly.train`). ``scores.h5`` has for each
    data event of the region: ``row``, its place in the file; ``half``, that it is in; ``m_jj``;
    ``log_ratios`` (k, n) of the networks trained on the other half.
    Metrics: "cuts" (shares of the template, data events that pass and that are expected, with the
    error of the latter, and the significance), "auc" of data against template; of the test events
    "max_sic", "auc" and "min_background". Goes on where an earlier call was killed.
    """
    samples = {"data": prepared.data, "template": prepared.template}
    assert config.classifier.training is not None and config.classifier.ensemble is not None
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
        "environment": environment(),
    }
    if prepared.test is not None:
        assert prepared.test.label is not None
        found = np.concatenate(of_test)
        label, weight = prepared.test.label, prepared.test.weight
        metrics["test"] = evaluation.performance(found, label, config.least, weight)
        metrics["min_background"] = config.least
    write_json(folder / "metrics.json", metrics)
    return metrics


def excess(
    scores: dict[str, np.ndarray],
    weights: dict[str, np.ndarray],
    halves: dict[str, list[np.ndarray]],
    share: float,
) -> dict[str, float]:
    """Data events behind the cut that a ``share`` of the template passes, against the expected.

    scores, weights: of "data" and "template", (n,). Cuts are those of each half, whose networks
    differ. The error of what is expected is that of the template's weights behind the cut. The
    significance has the statistical error of the data's weights, if they are as expected, as well.
    """
    observed = expected = variance = behind = 0.0
    own = float(np.sum(weights["data"] ** 2) / weights["data"].sum())  # 1 without weights
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
        "significance": float((observed - expected) / np.sqrt(own * expected + variance)),
        "template_events": behind,
    }


def resolved(config: Search) -> dict[str, Any]:
    """The configuration with every default filled in, as plain data."""
    filled = dataclasses.replace(config, classifier=config.classifier.resolved())
    return dataclasses.asdict(filled)
