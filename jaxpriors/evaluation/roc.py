"""Receiver operating characteristic: rejection, accuracy and significance improvement.

Scores are any rising function of the likelihood ratio, labels 1 (signal, or data) and 0
(background, or simulation). Weights may be negative; each class is normalised to its own sum.
Every function raises InputError for values that are not finite and classes without weight.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from jaxpriors.errors import InputError
from jaxpriors.evaluation.metrics import auc, classes, effective_sample_size

ROUNDING = 1e-9  # of efficiencies, relative


class Curve(NamedTuple):
    """Efficiencies of cuts score ≥ t, t falling: signal and background, both (K,), from 0 to 1.

    background_size: effective number of background events.
    """

    signal: np.ndarray
    background: np.ndarray
    background_size: float


class Measured(NamedTuple):
    """A number and its statistical error."""

    value: float
    error: float


def roc(scores: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None) -> Curve:
    """Draw the curve through all distinct scores (n,) of events with labels 0 and 1 (n,).

    >>> curve = roc(np.array([0.9, 0.8, 0.4, 0.1]), np.array([1, 0, 1, 0]))
    >>> curve.signal.tolist(), curve.background.tolist()
    ([0.0, 0.5, 0.5, 1.0, 1.0], [0.0, 0.0, 0.5, 0.5, 1.0])
    """
    scores, one, weights = classes("roc", scores, labels, weights)
    return _curve(np.unique(-scores, return_inverse=True)[1], one, weights)


def _curve(place: np.ndarray, one: np.ndarray, weights: np.ndarray) -> Curve:
    """Draw the curve of events in the order of their places, from 0, equal ones together."""
    signal, background = (
        np.cumsum(np.bincount(place[chosen], weights[chosen], place.max() + 1))
        for chosen in (one, ~one)
    )
    return Curve(
        np.concatenate([[0.0], signal / signal[-1]]),
        np.concatenate([[0.0], background / background[-1]]),
        effective_sample_size(weights[~one]),
    )


def rejection(curve: Curve, efficiency: float = 0.5) -> float:
    """Compute 1 over the background efficiency at that signal efficiency, interpolated.

    Not above the effective number of background events, of which one at least is thought to pass
    (2603.08802, Table 4, at 0.5).
    """
    if not 0 < efficiency <= 1:
        raise InputError(f"efficiency: found {efficiency}, expected more than 0 and at most 1")
    rising = np.maximum.accumulate(curve.signal)
    passed = float(np.interp(efficiency, rising, curve.background))
    return 1 / max(passed, 1 / curve.background_size)


def rejection_with_error(
    scores: np.ndarray,
    labels: np.ndarray,
    weights: np.ndarray | None = None,
    efficiency: float = 0.5,
    *,
    replicas: int = 100,
    seed: int = 0,
) -> Measured:
    """Compute ``rejection`` and its error by a Poisson bootstrap; same seed, same result."""
    scores, one, weights = classes("roc", scores, labels, weights)
    place = np.unique(-scores, return_inverse=True)[1]
    curve = _curve(place, one, weights)
    value, size = rejection(curve, efficiency), curve.background_size
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(replicas):
        drawn = weights * rng.poisson(1.0, len(weights))
        if drawn[one].sum() > 0 and drawn[~one].sum() > 0:
            # a replica repeats events: it stands for as many as the sample itself
            curve = _curve(place, one, drawn)._replace(background_size=size)
            found.append(rejection(curve, efficiency))
    return Measured(value, float(np.std(found, ddof=1)))


def accuracy(
    log_ratios: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None
) -> Measured:
    """Compute the share of events on the right side of a log ratio (n,) of 0, both classes alike.

    The error is that of the two shares.
    """
    log_ratios, one, weights = classes("accuracy", log_ratios, labels, weights)
    shares, variance = [], 0.0
    for chosen, right in ((one, log_ratios > 0), (~one, log_ratios <= 0)):
        w, good = weights[chosen], right[chosen]
        share = float(w[good].sum() / w.sum())
        shares.append(share)
        variance += float(np.sum((w * (good - share)) ** 2) / w.sum() ** 2)
    return Measured(float(np.mean(shares)), 0.5 * float(np.sqrt(variance)))


def significance_improvement(curve: Curve, least: float) -> tuple[np.ndarray, np.ndarray]:
    """Compute signal efficiency and ε_S / √ε_B, both (K,), of cuts that leave enough background.

    least: effective number of background events, from 1 on, below which the improvement is one of
    chance; or, below 1, a share of the background that has to be exceeded (OmniLearn's
    evaluate_classifiers_lhco.py: 1e-4). Both are empty where no cut leaves so much.
    """
    if not least > 0:
        raise InputError(f"least: found {least}, expected a number of events, or a share, above 0")
    if least < 1:
        kept = curve.background > least
    else:
        kept = curve.background * curve.background_size >= least * (1 - ROUNDING)
    return curve.signal[kept], curve.signal[kept] / np.sqrt(curve.background[kept])


def maximum_improvement(curve: Curve, least: float) -> float:
    """Find the largest significance improvement of cuts that leave enough background.

    least: as for ``significance_improvement``.

    Raises InputError where there is none: fewer background events than that.
    """
    found = significance_improvement(curve, least)[1]
    if not len(found):
        raise InputError(
            f"background: {curve.background_size:.1f} effective events, expected at least {least:g}"
        )
    return float(found.max())


def auc_one_vs_one(scores: np.ndarray, labels: np.ndarray) -> float:
    """Average the AUC of one class against the other over all pairs of classes (macro average).

    scores (n, Y): of each class, its probability say; labels (n,) from 0 to Y − 1. Of a pair's
    events, each class's score in turn orders them, and both areas count one half
    (Hand & Till 2001). Raises InputError where a class has no event.
    """
    scores, labels = np.asarray(scores), np.asarray(labels)
    if scores.ndim != 2 or labels.shape != scores.shape[:1]:
        raise InputError(
            f"auc: scores have shape {scores.shape} and labels {labels.shape}; expected (n, Y) "
            "and (n,)"
        )
    every = np.arange(scores.shape[1])
    if not np.array_equal(np.unique(labels), every) or len(every) < 2:
        raise InputError(
            f"auc: labels are {np.unique(labels).tolist()}; expected each of {every.tolist()}, "
            "at least two"
        )
    areas = []
    for one in every:
        for other in every[every != one]:
            pair = (labels == one) | (labels == other)
            areas.append(auc(scores[pair, one], labels[pair] == one).value)
    return float(np.mean(areas))
