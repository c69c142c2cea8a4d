"""How far generated jets are from simulated ones: distances of observables, and a classifier.

Generated constituents have no mass, so that simulated ones are compared without theirs: with the
same three-momenta and E = |p|. Everything is float64 on the host, but for the classifier.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxpriors import kinematics
from jaxpriors.data.columns import sums
from jaxpriors.evaluation.metrics import AUC, auc, wasserstein
from jaxpriors.evaluation.observables import OBSERVABLES, jet_mass, multiplicity, tau21

if TYPE_CHECKING:
    from jaxpriors.data.events import Events
    from jaxpriors.methods.classifier import RatioClassifier

COMPARED = {"mass": jet_mass, "multiplicity": multiplicity, "tau21": tau21}
PARTS = (0.6, 0.15, 0.25)
"""Shares of the events that the classifier is trained, validated and tested on."""


def massless(events: Events) -> Events:
    """The events with E = |p| for every constituent, and jets that are their constituents' sum."""
    p4 = events.p4.astype(np.float64)
    p4[:, 0] = kinematics.momentum(p4)
    jets = sums(p4, events.offsets)
    return dataclasses.replace(
        events, p4=p4.astype(np.float32), jet_p4=jets.astype(np.float32), columns={}
    )


def distances(
    generated: Events, simulated: Events, *, replicas: int = 50, seed: int = 0
) -> dict[str, dict[str, Any]]:
    """Wasserstein-1 distances of mass (GeV), multiplicity and τ21, with their floors.

    Returns, for each observable, `value`, `floor`, `floor_error` (of a single value, one standard
    deviation) and `unit`. The floor is `wasserstein_floor`: what samples of these sizes would
    give if both were simulated.

    Raises InputError as `evaluation.observables` and `evaluation.metrics.wasserstein` do.
    """
    generated, simulated = massless(generated), massless(simulated)
    found = {}
    for name, observable in COMPARED.items():
        ours, theirs = observable(generated), observable(simulated)
        floor, error = wasserstein_floor(
            theirs, simulated.weight, len(generated), replicas=replicas, seed=seed
        )
        found[name] = {
            "value": wasserstein(ours, theirs, generated.weight, simulated.weight),
            "floor": floor,
            "floor_error": error,
            "unit": OBSERVABLES[name].unit,
        }
    return found


def wasserstein_floor(
    values: np.ndarray, weights: np.ndarray, size: int, *, replicas: int = 50, seed: int = 0
) -> tuple[float, float]:
    """Mean and standard deviation of the Wasserstein-1 distance that statistics alone give.

    Between ``size`` events drawn from the sample (m,) and m more of them, with replacement.
    Replicas without a positive sum of weights do not count. Same seed, same result.
    """
    rng = np.random.default_rng(seed)
    results = []
    for _ in range(replicas):
        one, other = (rng.integers(len(values), size=n) for n in (size, len(values)))
        if min(weights[one].sum(), weights[other].sum()) > 0:
            results.append(wasserstein(values[one], values[other], weights[one], weights[other]))
    return float(np.mean(results)), float(np.std(results))


def classifier_test(
    generated: Events,
    simulated: Events,
    *,
    classifier: RatioClassifier | None = None,
    seed: int = 0,
    folder: Path | None = None,
    progress: Callable[[dict[str, Any]], None] = lambda record: None,
) -> AUC:
    """AUC with which a network tells generated (1) from simulated (0) jets that it never saw.

    1/2: it cannot. It sees four-momenta alone, as generated constituents have no identities.
    ``classifier``: another than the small L-GATr-slim; ``folder``: where its checkpoints go.

    Raises InputError for samples too small to be split.
    """
    from jaxpriors.data.events import Events
    from jaxpriors.data.splitting import split
    from jaxpriors.inputs import InputConfig
    from jaxpriors.methods.classifier import RatioClassifier

    if classifier is None:
        classifier = RatioClassifier("lgatr-slim", "small", InputConfig(features="momenta"))
    parts = []
    for events in (simulated, generated):
        events = dataclasses.replace(massless(events), pid=np.zeros_like(events.pid))
        parts.append([events[index] for index in split(len(events), PARTS, seed)])
    training, validation, test = zip(*parts, strict=True)
    model = classifier.fit(training[0], training[1], validation, folder, progress)
    both = Events.concatenate(
        [sample.with_label(label).sorted_by_pt() for label, sample in enumerate(test)]
    )
    assert both.label is not None
    return auc(model.log_ratio(both), both.label, both.weight)
