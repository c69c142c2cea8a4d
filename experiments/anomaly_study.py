"""The study of `experiments.anomaly`: samples, the scan over injections, tables and figures."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from experiments.surrogates import Say, surrogate
from jaxpriors.anomaly import performance as evaluation
from jaxpriors.anomaly import training as anomaly
from jaxpriors.anomaly.template import TEMPLATE, make_template, split_region
from jaxpriors.data import dijets
from jaxpriors.data.batching import split
from jaxpriors.data.events import Events
from jaxpriors.data.sample_files import read_events
from jaxpriors.data.simulation import lhco
from jaxpriors.errors import InputError
from jaxpriors.evaluation.figures import improvement_figure, roc_figure, save_figure
from jaxpriors.generation.dijets import TemplateConfig
from jaxpriors.generation.jets import SamplingConfig
from jaxpriors.ratio.classifier import RatioClassifier
from jaxpriors.report.tables import tables
from jaxpriors.run import processes
from jaxpriors.run.folder import Run, started
from jaxpriors.run.storage import exists

LEVEL = "detector"
SEED = 31  # of the simulated samples
NULL, SUPERVISED = "null", "supervised"


@dataclass(frozen=True)
class Samples:
    """Hold disjoint samples of two-jet events in the signal region.

    background, template: to train on; signal: to inject, from the first event on; reference: signal
    for the supervised trainings; test: labelled, background 0 and signal 1; simulated: background
    for the supervised trainings, where the template is a generated one.
    """

    background: Events
    template: Events
    signal: Events
    reference: Events
    test: Events
    simulated: Events | None = None

    @classmethod
    def of(
        cls, background: Events, template: Events, signal: Events, injected: int, test: float
    ) -> Samples:
        """Split the events: a share ``test`` of the background is for tests.

        ``injected`` signal events are to inject, and half of the others are for tests.

        Raises InputError where no signal is left for the supervised reference or to test with.
        """
        least = max(2 * injected, injected + 2)
        if len(signal) < least:
            raise InputError(
                f"signal: found {len(signal)} events, expected at least {least}: those that are "
                "injected at most, and others to test with and for the supervised reference"
            )
        order = np.random.default_rng([0, len(signal)]).permutation(len(signal))
        pool, rest = signal[order[:injected]], signal[order[injected:]]
        for_test, for_reference = split(len(rest), (0.5, 0.5), 0)
        tested, taken = split(len(background), (test, 1 - test), 0)
        both = background[tested].with_label(0), rest[for_test].with_label(1)
        return cls(
            background=background[taken],
            template=template,
            signal=pool,
            reference=rest[for_reference],
            test=Events.concatenate([p.with_columns(dijets.COLUMNS) for p in both]),
        )

    def by_name(self) -> dict[str, Events]:
        """Give the samples by name."""
        samples = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return {name: events for name, events in samples.items() if events is not None}

    def digests(self) -> dict[str, str]:
        """Give the digests of the samples, for the record of a run."""
        return {name: events.digest() for name, events in self.by_name().items()}

    def data(self, injected: int) -> Events:
        """Give the background with ``injected`` signal events."""
        both = self.background, self.signal[:injected]
        return Events.concatenate(
            [dataclasses.replace(p, label=None).with_columns(dijets.COLUMNS) for p in both]
        )


@dataclass(frozen=True)
class Scan:
    """Configure the scan over injections.

    searches: one classifier for each model. injected: numbers of signal events, rising; 0 is
    compared with the null distribution. nulls: how many times all networks train on random labels,
    for the null distribution. least: smallest number of background events behind a cut, for its
    significance improvement to count.
    """

    searches: tuple[RatioClassifier, ...]
    injected: tuple[int, ...]
    nulls: int
    least: float

    def __post_init__(self) -> None:
        names = [one.model for one in self.searches]
        if not names or len(set(names)) < len(names):
            raise InputError(f"models: found {names}, expected one or several different ones")
        if (
            not self.injected
            or min(self.injected) < 0
            or list(self.injected) != sorted(set(self.injected))
        ):
            raise InputError(
                f"injected: found {self.injected}, expected numbers of events, rising from 0"
            )
        if self.nulls < 0 or not self.least > 0:
            raise InputError(
                f"nulls, min_background: found {self.nulls}, {self.least:g}, expected 0 or more, "
                "and above 0"
            )


def run_scan(
    make: Callable[[int, Say], Samples],
    scan: Scan,
    out: Path,
    resume: bool,
    sources: dict[str, Any],
) -> int:
    """Train, measure, draw, print the table. make: gives the samples for the largest injection."""
    with started(out, resume) as opened:
        opened.open({"scan": dataclasses.asdict(scan), "sources": sources})

        def measured() -> dict[str, Any]:
            samples = make(max(scan.injected), opened.progress)
            opened.within("samples").open(samples.digests())
            return study(samples, scan, opened)

        metrics = opened.results(measured)
    print(tables(metrics))
    print(f"\nscores, figures and metrics: {out}")
    return 0


def study(samples: Samples, scan: Scan, run: Run) -> dict[str, Any]:
    """Train every model on every injection, draw Figure 4, and give the metrics.

    The metrics are {"max_sic", "auc": {model: {n_injected: summary}}, "supervised", "null":
    {model: summary}, "min_background", "events", "seconds"}. The chance of the null row is the
    p-value, under the null, of the maximum of the first network without injected signal.
    """
    template = samples.template
    for search in scan.searches:
        shown = getattr(search.inputs, "constituents", None)
        anomaly.select(samples.data(0), template, None, shown)
    data = samples.data(0)
    labels = samples.test.label
    assert labels is not None
    if int(np.sum(labels == 0)) < scan.least:
        raise InputError(
            f"min_background: found {np.sum(labels == 0)} background events to test with, expected "
            f"at least {scan.least:g}"
        )
    metrics: dict[str, Any] = {name: {} for name in ("max_sic", "auc", SUPERVISED, NULL, "seconds")}
    scores: dict[str, dict[str, np.ndarray]] = {}
    for search in scan.searches:
        model = search.model
        asked = {str(n): (anomaly.train, samples.data(n), template) for n in scan.injected}
        asked[SUPERVISED] = (anomaly.train, samples.reference, samples.simulated or template)
        asked |= {f"{NULL}-{i}": (anomaly.train_null, data, template) for i in range(scan.nulls)}
        found = {}
        for number, (name, (train, of_data, of_template)) in enumerate(asked.items()):
            run.progress({"stage": f"{model}: {_described(name)} ({number + 1} of {len(asked)})"})
            one = _reseeded(search, int(name.split("-")[1])) if name.startswith(NULL) else search
            place = run.folder / model / name
            found[name] = _scores(
                train, of_data, of_template, one, samples.test, place, run.progress
            )
        scores[model] = found
        metrics["seconds"][model] = sum(_seconds(run.folder / model / name) for name in found)
        measured = {
            name: evaluation.performance(some, labels, scan.least, samples.test.weight)
            for name, some in found.items()
        }
        for kind in ("max_sic", "auc"):
            metrics[kind][model] = {str(n): measured[str(n)][kind] for n in scan.injected}
        metrics[SUPERVISED][model] = measured[SUPERVISED]["max_sic"] | {
            "auc": measured[SUPERVISED]["auc"]
        }
        if scan.nulls:
            values = [
                v for n, m in measured.items() if n.startswith(NULL) for v in m["max_sic"]["values"]
            ]
            metrics[NULL][model] = evaluation.summary(np.array(values))
            if 0 in scan.injected:
                first = metrics["max_sic"][model]["0"]["values"][0]
                metrics[NULL][model]["chance"] = evaluation.chance(first, np.array(values))
    run.progress({"stage": "drawing"})
    draw(scores, metrics, scan, samples, run.folder)
    counts = {name: len(events) for name, events in samples.by_name().items()}
    counts |= {"test_background": int(np.sum(labels == 0)), "test_signal": int(np.sum(labels == 1))}
    return {**metrics, "min_background": scan.least, "events": counts}


def _described(name: str) -> str:
    if name.startswith(NULL):
        return "labels drawn at random"
    return "labelled signal" if name == SUPERVISED else f"{name} signal events in the data"


def _reseeded(search: RatioClassifier, number: int) -> RatioClassifier:
    """Change the seed, and so the initial weights and labels, for each null training."""
    seed = search.training.seed + 1000 * (number + 1)
    return dataclasses.replace(search, training=dataclasses.replace(search.training, seed=seed))


def _scores(
    train: Callable[..., Any],
    data: Events,
    template: Events,
    search: RatioClassifier,
    test: Events,
    place: Path,
    say: Say,
) -> np.ndarray:
    """Train the networks unless that is done; give the log ratios (k, n) of the test events."""
    file = place / "scores.h5"
    if not exists(file):
        model = train(data, template, search, place, say)
        assert test.label is not None
        anomaly.write_scores(file, model.log_ratios(test), {"label": test.label})
        processes.wait()
    return anomaly.read_scores(file)


def _seconds(place: Path) -> float:
    """Read the time of a training in seconds from its log."""
    last = (place / anomaly.LOG).read_text().splitlines()[-1]
    return float(sum(json.loads(last)["seconds"].values()))


def draw(
    scores: dict[str, dict[str, np.ndarray]],
    metrics: dict[str, Any],
    scan: Scan,
    samples: Samples,
    out: Path,
) -> None:
    """Draw Figure 4, with the curves of the largest injection, and its ROC curves."""
    labels = samples.test.label
    assert labels is not None
    sic, rejection = {}, {}
    for model, found in scores.items():
        largest = found[str(max(scan.injected))]
        of = evaluation.curves(largest, labels, scan.least, samples.test.weight)
        sic[model], rejection[model] = evaluation.band(of["sic"]), evaluation.band(of["rejection"])
    maxima = {
        model: {int(n): row for n, row in rows.items()}
        for model, rows in metrics["max_sic"].items()
    }
    figures = out / "figures"
    grid = evaluation.EFFICIENCIES
    size = len(samples.background)
    drawn = improvement_figure(sic, maxima, metrics[SUPERVISED], grid, size)
    save_figure(drawn, figures / "improvement")
    save_figure(roc_figure(rejection, grid), figures / "roc")


def simulated(
    background: int, template: int, test: int, signal: int, injected: int, say: Say
) -> Samples:
    """Give the surrogate samples at detector level; simulate them at the first call.

    background, template, test: numbers of background events in the data, in the template and for
    tests; signal: number of signal events besides the ``injected``, half of them for tests.
    """
    total = background + template + test
    qcd = read_events(surrogate("lhco", "background", total, SEED, say), LEVEL)
    found = read_events(surrogate("lhco", "signal", signal + injected, SEED, say), LEVEL)
    of_template, rest = qcd[:template], qcd[template:]
    return Samples.of(rest, of_template, found, injected, test / (background + test))


def of_files(
    data: Path,
    template: Path,
    background: int,
    injected: int,
    region: dijets.Window,
    level: str | None,
) -> Samples:
    """Read samples from a labelled and a background file, in the signal region (m_jj in GeV).

    Raises InputError for files without labels, without events in the region or with too few
    background events, and for a template that shares events with the data.
    """
    found, independent = read_events(data, level), read_events(template, level)
    for name, events in ((str(data), found), (str(template), independent)):
        dijets.check(events, name)
    found = anomaly.in_region(found, str(data), region)
    independent = anomaly.in_region(independent, str(template), region)
    if found.label is None or set(np.unique(found.label)) != {0, 1}:
        have = None if found.label is None else np.unique(found.label).tolist()
        raise InputError(f"{data}: found labels {have}, expected 0 (background) and 1 (signal)")
    qcd, signal = found[found.label == 0], found[found.label == 1]
    shared = set(_jets(qcd)) & set(_jets(independent))
    if shared:
        raise InputError(
            f"{template}: {len(shared)} of its events are background events of {data}, with which "
            "the networks are tested; expected others"
        )
    if not 0 < background < len(qcd):
        raise InputError(
            f"background: found {background} events asked for of {len(qcd)} in {data}, expected "
            "fewer, as the others are to test with"
        )
    return Samples.of(qcd, independent, signal, injected, 1 - background / len(qcd))


def _jets(events: Events) -> list[tuple[float, ...]]:
    """Identify events by the momentum and directions of their jets."""
    names = [n for n in dijets.COLUMNS if n.endswith(("_pt", "_eta", "_phi"))]
    return list(zip(*(events.columns[name].tolist() for name in names), strict=True))


def realistic(
    samples: Samples, sidebands: int, config: TemplateConfig, folder: Path, say: Say
) -> Samples:
    """Replace the template by one generated from ``sidebands`` events.

    All jets are cut to the number of constituents that the generator makes.
    """
    outside = read_events(surrogate("lhco", "sidebands", sidebands, SEED, say), LEVEL)
    region = lhco.SIGNAL_REGION
    seed, number = config.training.seed, len(samples.template)
    outside, mass = split_region(outside, samples.background, region, number, seed)
    folder.mkdir(parents=True, exist_ok=True)
    sampling = SamplingConfig(seed=seed)
    Run(folder, True, say).results(
        lambda: make_template(outside, mass, config, sampling, folder, say)
    )
    made = read_events(folder / TEMPLATE)
    most = config.inputs.constituents
    assert most is not None
    cut = {name: dijets.leading(events, most) for name, events in samples.by_name().items()}
    return Samples(**cut | {"template": made, "simulated": cut["template"]})
