"""Metrics of reweighted samples, float64 on the host.

Histograms are normalised within the range of their edges: what lies outside counts nowhere, as in
1911.09107. The weights of a sample may be negative and need no normalisation; `None` means one
each. Every function raises InputError for values or weights that are not finite, for shapes that
do not fit and for samples whose weight within the range does not add up to a positive number.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.special import gammaincc

from jaxpriors.errors import InputError

DISCRIMINATOR_UNIT = 1000.0


class Histogram(NamedTuple):
    """Weights of a sample in K bins: content Σw and variance Σw², both (K,) float64."""

    content: np.ndarray
    variance: np.ndarray

    def density(self, edges: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Density with unit integral over the edges (K + 1,), and its statistical error."""
        scale = self.content.sum() * np.diff(edges)
        return self.content / scale, np.sqrt(self.variance) / scale


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


def histogram(
    values: np.ndarray, edges: np.ndarray, weights: np.ndarray | None = None
) -> Histogram:
    """Weighted histogram of values (n,) in edges (K + 1,), the last of which is inclusive."""
    index, inside = _bin_indices(values, edges, weights)
    bins = len(edges) - 1
    result = Histogram(
        np.bincount(index, inside, minlength=bins), np.bincount(index, inside**2, minlength=bins)
    )
    if not result.content.sum() > 0:
        raise InputError(
            f"histogram: the weights within [{edges[0]:g}, {edges[-1]:g}] add up to "
            f"{result.content.sum():g} ({len(index)} of {len(values)} values lie inside); "
            "expected a positive number"
        )
    return result


def triangular_discriminator(
    p_values: np.ndarray,
    q_values: np.ndarray,
    edges: np.ndarray,
    p_weights: np.ndarray | None = None,
    q_weights: np.ndarray | None = None,
) -> float:
    """Triangular discriminator ½ ∫ (p − q)² / (p + q), times 1000, of two binned samples.

    p and q are the densities of values (n,), (m,) within edges (K + 1,); bins that are empty in
    both count zero. 0 for equal shapes, 1000 for disjoint ones (2603.08802, Table 2). Raises
    InputError where negative weights make p + q negative.
    """
    p = histogram(p_values, edges, p_weights).content
    q = histogram(q_values, edges, q_weights).content
    both = p / p.sum() + q / q.sum()
    if (both < 0).any():
        worst = int(both.argmin())
        raise InputError(
            f"triangular discriminator: the densities add up to a negative number in bin {worst} "
            f"[{edges[worst]:g}, {edges[worst + 1]:g}], where negative weights prevail; expected "
            "wider bins or more events"
        )
    return float(_discriminator(p, q))


def discriminator_floor(
    p_values: np.ndarray,
    q_values: np.ndarray,
    edges: np.ndarray,
    p_weights: np.ndarray | None = None,
    q_weights: np.ndarray | None = None,
) -> float:
    """What the triangular discriminator of these samples would be, on average, were p = q.

    Statistics alone give each bin the expected (p − q)² of its variances,
    500 Σ_b (V_p + V_q) / (P_b + Q_b) with bin probabilities P = Σw / W and
    V = [Σw² (1 − 2P) + P² Σ_all w²] / W²: 500 (K − 1) / N for two unit-weight samples of N.
    """
    p, q = histogram(p_values, edges, p_weights), histogram(q_values, edges, q_weights)
    both = p.content / p.content.sum() + q.content / q.content.sum()
    variance = np.diag(_shape_covariance(p)) + np.diag(_shape_covariance(q))
    terms = np.divide(variance, both, out=np.zeros_like(both), where=both > 0)
    return float(0.5 * DISCRIMINATOR_UNIT * terms.sum())


def discriminator_error(
    p_values: np.ndarray,
    q_values: np.ndarray,
    edges: np.ndarray,
    p_weights: np.ndarray | None = None,
    q_weights: np.ndarray | None = None,
    *,
    replicas: int = 100,
    seed: int = 0,
) -> float:
    """Statistical error of the triangular discriminator, from a Poisson bootstrap.

    Each replica gives every event of both samples a Poisson(1) number of copies; the weights stay
    as they are, so that the training's own spread is not included. A replica carries the noise of
    the samples twice, which matters where p ≈ q and the discriminator is quadratic in the noise:
    Var D* ≈ Var D + 4 tr (AC)² with A = diag(500 / (P + Q)) and C the covariance of P − Q. The
    excess is taken off, down to the variance 2 tr (AC)² that D has at p = q; what is left there
    is an error too large by a third at most. Same seed, same result.
    """
    samples = ((p_values, p_weights), (q_values, q_weights))
    p, q = (histogram(values, edges, weights) for values, weights in samples)
    rng = np.random.default_rng(seed)
    p_replicas, q_replicas = (
        _bootstrap(*_bin_indices(values, edges, weights), len(edges) - 1, replicas, rng)
        for values, weights in samples
    )
    usable = (p_replicas.sum(axis=1) > 0) & (q_replicas.sum(axis=1) > 0)
    spread = np.var(_discriminator(p_replicas[usable], q_replicas[usable]), ddof=1)
    both = p.content / p.content.sum() + q.content / q.content.sum()
    inverse = np.divide(0.5 * DISCRIMINATOR_UNIT, both, out=np.zeros_like(both), where=both > 0)
    noise = inverse[:, None] * (_shape_covariance(p) + _shape_covariance(q))
    trace = np.trace(noise @ noise)
    return float(np.sqrt(max(spread - 4 * trace, 2 * trace)))


def wasserstein(
    p_values: np.ndarray,
    q_values: np.ndarray,
    p_weights: np.ndarray | None = None,
    q_weights: np.ndarray | None = None,
) -> float:
    """Wasserstein-1 distance ∫ |F_p − F_q| dx of samples (n,), (m,), in the values' unit.

    F are the weighted cumulative distributions, each with a total of 1; no bins and no range.
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
    """χ² test that two weighted samples share one shape within the edges (K + 1,).

    Uses the covariance of the normalised contents, so the weights of each sample may be of any
    size; ndf is the number of bins occupied in either sample, less one. The p-value is that of
    large counts: bins of fewer than about ten events want merging first. Raises InputError where
    fewer than two bins are occupied.
    """
    p, q = histogram(p_values, edges, p_weights), histogram(q_values, edges, q_weights)
    occupied = np.flatnonzero(p.variance + q.variance > 0)
    if len(occupied) < 2:
        raise InputError(f"chi2 test: {len(occupied)} bin is occupied; expected at least 2")
    kept = occupied[:-1]  # the contents add up to one: any bin follows from the others
    difference = (p.content / p.content.sum() - q.content / q.content.sum())[kept]
    covariance = (_shape_covariance(p) + _shape_covariance(q))[np.ix_(kept, kept)]
    chi2 = float(difference @ np.linalg.solve(covariance, difference))
    return Chi2Test(chi2, len(kept), float(gammaincc(len(kept) / 2, max(chi2, 0.0) / 2)))


def auc(scores: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None) -> AUC:
    """Weighted area under the ROC curve: P(score of a 1 > score of a 0), ties count one half.

    scores (n,) any monotonic function of the likelihood ratio, labels (n,) of 0 and 1. Exact,
    from ranks; the error is DeLong's, from the spread of each event's own contribution.
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


def auc_one_vs_one(scores: np.ndarray, labels: np.ndarray) -> float:
    """Mean over all pairs of classes of the AUC of one against the other (macro average).

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
    classes = np.arange(scores.shape[1])
    if not np.array_equal(np.unique(labels), classes) or len(classes) < 2:
        raise InputError(
            f"auc: labels are {np.unique(labels).tolist()}; expected each of {classes.tolist()}, "
            "at least two"
        )
    areas = []
    for one in classes:
        for other in classes[classes != one]:
            pair = (labels == one) | (labels == other)
            areas.append(auc(scores[pair, one], labels[pair] == one).value)
    return float(np.mean(areas))


def effective_sample_size(weights: np.ndarray) -> float:
    """(Σw)² / Σw²: the number of unit weights with the same relative error of their sum."""
    weights = np.asarray(weights, dtype=np.float64)
    if weights.ndim != 1 or not np.isfinite(weights).all() or not weights.any():
        raise InputError(
            f"effective sample size: weights of shape {weights.shape}, "
            f"{np.count_nonzero(weights)} of them not zero, {np.isfinite(weights).sum()} finite; "
            "expected a list of finite numbers, not all zero"
        )
    return float(weights.sum() ** 2 / (weights**2).sum())


def weight_report(weights: np.ndarray) -> WeightReport:
    """Summary of weights (n,), whatever they hold; the statistics are NaN if none is finite."""
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


def check_weights(name: str, weights: np.ndarray) -> WeightReport:
    """The report of usable weights (n,); InputError if one is not finite or all are zero."""
    report = weight_report(weights)
    if report.finite < 1:
        bad = ~np.isfinite(np.asarray(weights, dtype=np.float64))
        raise InputError(
            f"weights of {name}: {bad.sum()} of {report.size} are not finite (the first is "
            f"number {int(bad.argmax())}: {weights[int(bad.argmax())]}); expected finite numbers"
        )
    if report.minimum == report.maximum == 0:
        raise InputError(f"weights of {name}: all {report.size} are zero; expected some that count")
    return report


def classes(
    name: str, scores: np.ndarray, labels: np.ndarray, weights: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores, which of them have label 1, and weights, (n,) all; InputError where they do not fit.

    The weights of each label must add up to a positive number.
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


def checked(
    name: str, values: np.ndarray, weights: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Values and weights (n,) as float64, None as one each; InputError where they are none."""
    values = np.asarray(values, dtype=np.float64)
    weights = np.ones(values.shape) if weights is None else np.asarray(weights, dtype=np.float64)
    if values.ndim != 1 or weights.shape != values.shape:
        raise InputError(
            f"{name}: values have shape {values.shape} and weights {weights.shape}; expected (n,)"
        )
    for kind, array in (("values", values), ("weights", weights)):
        if not np.isfinite(array).all():
            count, first = (~np.isfinite(array)).sum(), int((~np.isfinite(array)).argmax())
            raise InputError(
                f"{name}: {count} of {len(array)} {kind} are not finite (the first is number "
                f"{first}: {array[first]}); expected finite numbers"
            )
    return values, weights


def _bin_indices(
    values: np.ndarray, edges: np.ndarray, weights: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Bin number and weight of each value within the range."""
    values, weights = checked("histogram", values, weights)
    edges = np.asarray(edges, dtype=np.float64)
    if edges.ndim != 1 or len(edges) < 2 or not (np.diff(edges) > 0).all():
        raise InputError(f"histogram: edges are {edges.tolist()}; expected ascending numbers")
    inside = (values >= edges[0]) & (values <= edges[-1])
    index = np.searchsorted(edges, values[inside], side="right") - 1
    return np.minimum(index, len(edges) - 2), weights[inside]


def _discriminator(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """Triangular discriminators of contents (…, K) → (…)."""
    p, q = p / p.sum(axis=-1, keepdims=True), q / q.sum(axis=-1, keepdims=True)
    terms = np.divide((p - q) ** 2, p + q, out=np.zeros_like(p), where=p + q > 0)
    return 0.5 * DISCRIMINATOR_UNIT * terms.sum(axis=-1)


def _shape_covariance(sample: Histogram) -> np.ndarray:
    """Covariance (K, K) of the contents divided by their sum, for fixed weights."""
    total, share = sample.content.sum(), sample.content / sample.content.sum()
    jacobian = (np.eye(len(share)) - share[:, None]) / total
    return (jacobian * sample.variance) @ jacobian.T


def _bootstrap(
    index: np.ndarray, weights: np.ndarray, bins: int, replicas: int, rng: np.random.Generator
) -> np.ndarray:
    """Contents (replicas, bins) of Poisson-resampled histograms."""
    return np.stack(
        [
            np.bincount(index, weights * rng.poisson(1.0, len(index)), minlength=bins)
            for _ in range(replicas)
        ]
    )
