"""The triangular discriminator of two weighted samples, what statistics give it, and its error.

It is ½ ∫ (p − q)² / (p + q), times 1000, of the densities p and q of a value in bins, 0 for equal
shapes and 1000 for disjoint ones (2603.08802, Table 2). Negative weights may bring p + q of a bin
near zero or below, where the quotient means nothing. Bins with negative weights are therefore
merged with their neighbours until p + q is five times its statistical error
(`histograms.merged_bins`): D = 500 Σ_g (P_g − Q_g)² / (P_g + Q_g) with the sums P, Q over each
group g of bins, divided by those over all. The groups follow from the samples and are the same in
all replicas of the bootstrap. Without negative weights each bin is a group.

Every function raises InputError for values or weights that are not finite, for shapes that do not
fit, and for a sample whose weights within the edges do not add up to a positive number, five times
its error at least where negative ones are among them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from jaxpriors.errors import InputError
from jaxpriors.evaluation.histograms import (
    LEAST,
    Histogram,
    bin_indices,
    histogram,
    merged_bins,
    shape_covariance,
)

DISCRIMINATOR_UNIT = 1000.0


def triangular_discriminator(
    p_values: np.ndarray,
    q_values: np.ndarray,
    edges: np.ndarray,
    p_weights: np.ndarray | None = None,
    q_weights: np.ndarray | None = None,
) -> float:
    """Compute the triangular discriminator ½ ∫ (p − q)² / (p + q), times 1000, of two samples.

    p and q are the densities of values (n,), (m,) within edges (K + 1,); bins that are empty in
    both count zero.

    >>> edges = np.array([0.0, 1.0, 2.0])
    >>> triangular_discriminator(np.array([0.5, 1.5]), np.array([0.5, 0.5]), edges)
    333.3333333333333
    """
    p, q, _ = _grouped((p_values, p_weights), (q_values, q_weights), edges)
    return float(_discriminator(p.content, q.content))


def discriminator_floor(
    p_values: np.ndarray,
    q_values: np.ndarray,
    edges: np.ndarray,
    p_weights: np.ndarray | None = None,
    q_weights: np.ndarray | None = None,
) -> float:
    """Estimate what the triangular discriminator of these samples would be on average, were p = q.

    Statistics alone give each bin the expected (p − q)² of its variances,
    500 Σ_b (V_p + V_q) / (P_b + Q_b) with bin probabilities P = Σw / W and
    V = [Σw² (1 − 2P) + P² Σ_all w²] / W²: 500 (K − 1) / N for two unit-weight samples of N.
    """
    p, q, _ = _grouped((p_values, p_weights), (q_values, q_weights), edges)
    both = p.content / p.content.sum() + q.content / q.content.sum()
    variance = np.diag(shape_covariance(p)) + np.diag(shape_covariance(q))
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
    """Estimate the statistical error of the triangular discriminator by a Poisson bootstrap.

    Each replica gives every event of both samples a Poisson(1) number of copies; the weights stay
    as they are, so that the training's own spread is not included. A replica carries the noise of
    the samples twice, which matters where p ≈ q and the discriminator is quadratic in the noise:
    Var D* ≈ Var D + 4 tr (AC)² with A = diag(500 / (P + Q)) and C the covariance of P − Q. The
    excess is taken off, down to the variance 2 tr (AC)² that D has at p = q; what is left there
    is an error too large by a third at most. Same seed, same result.
    """
    samples = ((p_values, p_weights), (q_values, q_weights))
    p, q, starts = _grouped(*samples, edges)
    rng = np.random.default_rng(seed)
    of_both = []
    for values, weights in samples:
        index, inside = bin_indices(values, edges, weights)
        drawn = (inside * rng.poisson(1.0, len(index)) for _ in range(replicas))
        counts = np.stack([np.bincount(index, w, minlength=len(edges) - 1) for w in drawn])
        of_both.append(np.add.reduceat(counts, starts, axis=1))
    p_replicas, q_replicas = of_both
    usable = (p_replicas.sum(axis=1) > 0) & (q_replicas.sum(axis=1) > 0)
    spread = np.var(_discriminator(p_replicas[usable], q_replicas[usable]), ddof=1)
    both = p.content / p.content.sum() + q.content / q.content.sum()
    inverse = np.divide(0.5 * DISCRIMINATOR_UNIT, both, out=np.zeros_like(both), where=both > 0)
    noise = inverse[:, None] * (shape_covariance(p) + shape_covariance(q))
    trace = np.trace(noise @ noise)
    return float(np.sqrt(max(spread - 4 * trace, 2 * trace)))


def common_edges(edges: np.ndarray, p: Histogram, others: Sequence[Histogram]) -> np.ndarray:
    """Merge bins of edges (K + 1,) so that p may be compared with each of the others in the same.

    Without negative weights these are the edges themselves.
    """
    starts = merged_bins([_sum(p, q) for q in others])
    return np.append(np.asarray(edges, np.float64)[starts], edges[-1])


def _grouped(
    p_sample: tuple[np.ndarray, np.ndarray | None],
    q_sample: tuple[np.ndarray, np.ndarray | None],
    edges: np.ndarray,
) -> tuple[Histogram, Histogram, np.ndarray]:
    """Fill both samples, values and weights, in groups of bins; give the first bin of each."""
    found = [histogram(values, edges, weights) for values, weights in (p_sample, q_sample)]
    for sample in found:
        if not sample.usable:
            total, error = sample.content.sum(), np.sqrt(sample.variance.sum())
            raise InputError(
                f"triangular discriminator: the weights within [{edges[0]:g}, {edges[-1]:g}] add "
                f"up to {total:g} ± {error:g}, with negative ones among them; expected at least "
                f"{np.sqrt(LEAST):g} times the error"
            )
    starts = merged_bins([_sum(*found)])
    return found[0].merged(starts), found[1].merged(starts), starts


def _sum(p: Histogram, q: Histogram) -> Histogram:
    """Add two histograms, each divided by its sum."""
    of_p, of_q = p.content.sum(), q.content.sum()
    return Histogram(
        p.content / of_p + q.content / of_q,
        p.variance / of_p**2 + q.variance / of_q**2,
        p.negative | q.negative,
    )


def _discriminator(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """Compute the triangular discriminators of contents (…, K) → (…)."""
    p, q = p / p.sum(axis=-1, keepdims=True), q / q.sum(axis=-1, keepdims=True)
    terms = np.divide((p - q) ** 2, p + q, out=np.zeros_like(p), where=p + q > 0)
    return 0.5 * DISCRIMINATOR_UNIT * terms.sum(axis=-1)
