"""The factors that a step of OmniFold finds: normalisation and report."""

from __future__ import annotations

from typing import Any

import numpy as np

from jaxpriors.errors import InputError
from jaxpriors.evaluation.metrics import effective_sample_size, weight_report

LEAST_SIZE = 0.01  # effective sample size, as a share of that without pull or push


def with_sum(
    factor: np.ndarray, log_ratios: np.ndarray, weight: np.ndarray, total: np.ndarray
) -> tuple[np.ndarray, float]:
    """Scale factor × ratio (R, m) so that Σ weight × result is ``total`` (R,).

    Also returns the mean ratio of the first replica before scaling, weighted by weight × factor:
    near 1 for a ratio of densities. Raises FloatingPointError where a sum is not positive or a
    factor not finite.
    """
    shift = log_ratios.max(1, keepdims=True)
    ratio = factor * np.exp(log_ratios - shift)
    sums = np.sum(weight * ratio, axis=1)
    if not np.all(sums > 0):
        raise FloatingPointError(
            f"weights: their sum is {sums.min():g} with log ratios from {log_ratios.min():g} to "
            f"{log_ratios.max():g}; expected a positive sum"
        )
    result = ratio * (total / sums)[:, None]
    if not np.all(np.isfinite(result)):
        raise FloatingPointError(
            f"weights: {np.sum(~np.isfinite(result))} are not finite with log ratios from "
            f"{log_ratios.min():g} to {log_ratios.max():g}; expected finite weights"
        )
    before = np.sum(weight[0] * factor[0])
    return result, float(np.exp(shift[0, 0] + np.log(sums[0] / before)))


def report_step(
    name: str, factor: np.ndarray, last: np.ndarray, weight: np.ndarray
) -> dict[str, Any]:
    """Report on the first replica of the factors (R, m); raise InputError where few count."""
    new, old, weight = factor[0], last[0], weight[0]
    found = weight_report(new)
    size, before = effective_sample_size(weight * new), effective_sample_size(weight)
    if size < LEAST_SIZE * before:
        raise InputError(
            f"{name} weights: their effective sample size is {size:.1f} where that of the "
            f"simulation is {before:.1f}; expected data that overlap with the simulation"
        )
    known = (new > 0) & (old > 0)
    change = np.log(new[known] / old[known])
    return {
        "weights": name,
        "finite": found.finite,
        "minimum": found.minimum,
        "maximum": found.maximum,
        "effective_size": size,
        "effective_size_before": before,
        "change": float(np.sqrt(np.mean(change**2))) if known.any() else 0.0,
    }
