"""Metrics of reweighted samples, float64 on the host.

The weights of a sample may be negative and need no normalisation; `None` means one each. Every
function raises InputError for values or weights that are not finite, for shapes that
do not fit and for samples whose weight within the range does not add up to a positive number.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.special import gammaincc

from jaxpriors.errors import InputError
from jaxpriors.evaluation.histograms import checked, histogram, shape_covariance


class AUC(NamedTuple):
    """Area under the ROC curve and its statistical error."""

    value: float
    error: float


class Chi2Test(NamedTuple):
    """χ² of two shapes, its degrees of freedom and the probability of a larger value."""

    chi2: float
    ndf: int
    p_value: float


@dataclass(frozen=True)
class WeightReport:
    """Summary of n weights; all but `size` and `finite` are those of the finite ones.

    finite and negative are fractions of `size`, total is Σw, effective_size is (Σw)² / Σw².
    """

    size: int
    finite: float
    negative: float
    minimum: float
    maximum: float
    mean: float
    total: float
    effective_size: float


def wasserstein(
    p_values: np.ndarray,
    q_values: np.ndarray,
    p_weights: np.ndarray | None = None,
    q_weights: np.ndarray | None = None,
) -> float:
    """Compute the Wasserstein-1 distance ∫ |F_p − F_q| dx of samples (n,), (m,), in their unit.

    F are the weighted cumulative distributions, each with a total of 1; no bins and no range.

    >>> wasserstein(np.array([0.0, 1.0]), np.array([3.0, 4.0]))
    3.0
    """
    samples = []
    for values, weights in ((p_values, p_weights), (q_values, q_weights)):
        values, weights = checked("wasserstein", values, weights)
        if not weights.sum() > 0:
            raise InputError(
                f"wasserstein: {len(values)} weights add up to {weights.sum():g}; "
                "expected a positive number"
            )
        samples.append((values, weights / weights.sum()))
    (p_values, p_weights), (q_values, q_weights) = samples
    values = np.concatenate([p_values, q_values])
    order = np.argsort(values, kind="stable")
    difference = np.cumsum(np.concatenate([p_weights, -q_weights])[order])
    return float(np.abs(difference[:-1]) @ np.diff(values[order]))


def chi2_test(
    p_values: np.ndarray,
    q_values: np.ndarray,
    edges: np.ndarray,
    p_weights: np.ndarray | None = None,
    q_weights: np.ndarray | None = None,
) -> Chi2Test:
    """Test by χ² that two weighted samples share one shape within the edges (K + 1,).

    Uses the covariance of the normalised contents, so the weights of each sample may be of any
    size; ndf is the number of bins occupied in either sample, less one. The p-value is that of
    large counts: bins of fewer than about ten events want merging first. Raises InputError where
    fewer than two bins are occupied.

    >>> one, other = np.repeat([0.5, 1.5], [60, 40]), np.repeat([0.5, 1.5], [40, 60])
    >>> found = chi2_test(one, other, np.array([0.0, 1.0, 2.0]))
    >>> round(found.chi2, 2), found.ndf, round(found.p_value, 4)
    (8.33, 1, 0.0039)
    """
    p, q = histogram(p_values, edges, p_weights), histogram(q_values, edges, q_weights)
    occupied = np.flatnonzero(p.variance + q.variance > 0)
    if len(occupied) < 2:
        raise InputError(f"chi2 test: {len(occupied)} bin is occupied; expected at least 2")
    kept = occupied[:-1]  # the contents add up to one: any bin follows from the others
    difference = (p.content / p.content.sum() - q.content / q.content.sum())[kept]
    covariance = (shape_covariance(p) + shape_covariance(q))[np.ix_(kept, kept)]
    chi2 = float(difference @ np.linalg.solve(covariance, difference))
    return Chi2Test(chi2, len(kept), float(gammaincc(len(kept) / 2, max(chi2, 0.0) / 2)))


def auc(scores: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None) -> AUC:
    """Compute the weighted area under the ROC curve: P(score of a 1 > score of a 0), ties ½.

    scores (n,) any monotonic function of the likelihood ratio, labels (n,) of 0 and 1. Exact,
    from ranks; the error is DeLong's, from the spread of each event's own contribution.

    >>> auc(np.array([0.1, 0.4, 0.35, 0.8]), np.array([0, 0, 1, 1])).value
    0.75
    """
    scores, one, weights = classes("auc", scores, labels, weights)
    total_one, total_zero = weights[one].sum(), weights[~one].sum()
    distinct, place = np.unique(scores, return_inverse=True)
    at_one = np.bincount(place, weights * one, minlength=len(distinct))
    at_zero = np.bincount(place, weights * ~one, minlength=len(distinct))
    # The share of the other class that an event of this score is ordered correctly against.
    of_one = (np.cumsum(at_zero) - at_zero / 2)[place] / total_zero
    of_zero = 1 - (np.cumsum(at_one) - at_one / 2)[place] / total_one
    value = (weights * of_one)[one].sum() / total_one
    variance = (weights * (of_one - value))[one] @ (weights * (of_one - value))[one] / total_one**2
    others = (weights * (of_zero - value))[~one]
    return AUC(float(value), float(np.sqrt(variance + others @ others / total_zero**2)))


def effective_sample_size(weights: np.ndarray) -> float:
    """Compute (Σw)² / Σw²: as many unit weights have the same relative error of their sum.

    >>> effective_sample_size(np.array([1.0, 1.0, 2.0]))
    2.6666666666666665
    """
    weights = np.asarray(weights, dtype=np.float64)
    if weights.ndim != 1 or not np.isfinite(weights).all() or not weights.any():
        raise InputError(
            f"effective sample size: weights of shape {weights.shape}, "
            f"{np.count_nonzero(weights)} of them not zero, {np.isfinite(weights).sum()} finite; "
            "expected a list of finite numbers, not all zero"
        )
    return float(weights.sum() ** 2 / (weights**2).sum())


def weight_report(weights: np.ndarray) -> WeightReport:
    """Summarise weights (n,), whatever they hold; the statistics are NaN if none is finite."""
    weights = np.asarray(weights, dtype=np.float64)
    if weights.ndim != 1 or not len(weights):
        raise InputError(f"weights have shape {weights.shape}; expected (n,) with n > 0")
    good = weights[np.isfinite(weights)]
    return WeightReport(
        size=len(weights),
        finite=len(good) / len(weights),
        negative=float((good < 0).sum()) / len(weights),
        minimum=float(good.min()) if len(good) else np.nan,
        maximum=float(good.max()) if len(good) else np.nan,
        mean=float(good.mean()) if len(good) else np.nan,
        total=float(good.sum()) if len(good) else np.nan,
        effective_size=effective_sample_size(good) if good.any() else np.nan,
    )


def classes(
    name: str, scores: np.ndarray, labels: np.ndarray, weights: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Check scores, labels and weights: scores, which have label 1, and weights, all (n,).

    Raises InputError where they do not fit, and unless the weights of each label add up to a
    positive number.
    """
    scores, weights = checked(name, scores, weights)
    labels = np.asarray(labels)
    if labels.shape != scores.shape or not np.isin(labels, (0, 1)).all():
        raise InputError(
            f"{name}: labels have shape {labels.shape} and values "
            f"{np.unique(labels)[:5].tolist()}; expected shape {scores.shape} of 0 and 1"
        )
    one = labels == 1
    totals = weights[one].sum(), weights[~one].sum()
    if not min(totals) > 0:
        raise InputError(
            f"{name}: the weights add up to {totals[0]:g} for label 1 and {totals[1]:g} for "
            "label 0; expected positive numbers"
        )
    return scores, one, weights
