"""Comparison of generated with simulated jets: distances of observables, and a classifier.

Generated constituents have no mass. The comparison therefore gives simulated constituents E = |p|
at the same three-momenta. Everything is float64 on the host, except for the classifier.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxpriors.evaluation.metrics import AUC, auc, wasserstein
from jaxpriors.evaluation.observables import OBSERVABLES, observables
from jaxpriors.physics import kinematics
from jaxpriors.physics.coordinates import sums

if TYPE_CHECKING:
    from jaxpriors.data.events import Events
    from jaxpriors.ratio.classifier import RatioClassifier

COMPARED = ("mass", "multiplicity", "tau21")
SHARES = (0.6, 0.15, 0.25)
"""Shares of the events that the classifier is trained, validated and tested on."""


def massless(events: Events) -> Events:
    """Set E = |p| for every constituent, and each jet to the sum of its constituents."""
    p4 = events.p4.astype(np.float64)
    p4[:, 0] = kinematics.momentum(p4)
    jets = sums(p4, events.offsets)
    return dataclasses.replace(
        events, p4=p4.astype(np.float32), jet_p4=jets.astype(np.float32), columns={}
    )


def distances(
    generated: Events, simulated: Events, *, replicas: int = 50, seed: int = 0
) -> dict[str, dict[str, Any]]:
    """Measure Wasserstein-1 distances of mass (GeV), multiplicity and τ21, with their floors.

    Returns, for each observable, `value`, `floor`, `floor_error` (of a single value, one standard
    deviation) and `unit`. The floor, `wasserstein_floor`, is the distance of two simulated samples
    of these sizes.

    Raises InputError as `evaluation.observables` and `evaluation.metrics.wasserstein` do.
    """
    generated, simulated = massless(generated), massless(simulated)
    of_generated, of_simulated = observables(generated), observables(simulated)
    found = {}
    for name in COMPARED:
        ours, theirs = of_generated[name], of_simulated[name]
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
    """Estimate mean and standard deviation of the Wasserstein-1 distance due to statistics.

    Each replica compares ``size`` events drawn with replacement from the sample (m,) with m further
    ones. Replicas without a positive sum of weights do not count. The same seed gives the same
    result.
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
    """Train a network on generated (1) against simulated (0) jets; give its AUC on other jets.

    An AUC of 1/2 shows no difference. The network sees only four-momenta, as generated constituents
    have no identities. ``classifier``: by default the small L-GATr-slim; ``folder``: of its
    checkpoints.

    Raises InputError for samples too small to be split.
    """
    from jaxpriors.data.batching import split
    from jaxpriors.data.events import Events
    from jaxpriors.preprocessing.tokens import InputConfig
    from jaxpriors.ratio.classifier import RatioClassifier

    if classifier is None:
        classifier = RatioClassifier("lgatr-slim", "small", InputConfig(features="momenta"))
    parts = []
    for events in (simulated, generated):
        events = dataclasses.replace(massless(events), pid=np.zeros_like(events.pid))
        parts.append([events[index] for index in split(len(events), SHARES, seed)])
    training, validation, test = zip(*parts, strict=True)
    model = classifier.fit(training[0], training[1], validation, folder, progress)
    both = Events.concatenate(
        [sample.with_label(label).sorted_by_pt() for label, sample in enumerate(test)]
    )
    assert both.label is not None
    return auc(model.log_ratio(both), both.label, both.weight)
