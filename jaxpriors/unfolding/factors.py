"""The factors that a step of OmniFold finds: normalisation and report."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from jaxpriors.errors import InputError
from jaxpriors.evaluation.metrics import effective_sample_size, weight_report
from jaxpriors.unfolding.distributions import distribution, merged_edges, usual_edges
from jaxpriors.unfolding.quality import move
from jaxpriors.unfolding.result import Unfolded

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


def moves(state: Unfolded, push: np.ndarray, per_weight: float) -> dict[str, Any]:
    """Tell how far the new push weights (R, n) move the spectra from each iteration before.

    The moves, from iteration 0 on, are those of the observable that moves most, the last of which
    is named; they are in statistical errors (`quality.move`), the spread of the replicas or,
    without them, those of the simulation and of data whose weights w have Σw² / Σw = per_weight.
    The bins are the usual ones, of 25 effective events at least; an observable whose values are all
    alike, or not all finite, has no part.
    """
    number, gen = len(state.push) + 1, state.pass_gen
    state = dataclasses.replace(state, push=np.concatenate([state.push, push[None]]))
    found: dict[str, list[float]] = {}
    for name, values in state.observables.items():
        try:
            edges = usual_edges(name, values[gen])
            edges = merged_edges(edges, values[gen], state.weights(0)[0, gen])
            steps = [distribution(state, values, edges, i) for i in range(number + 1)]
        except InputError:
            continue
        error, at = steps[-1].error, (edges[1:] + edges[:-1]) / 2
        if steps[-1].variance is None:
            error = np.sqrt(error**2 + per_weight * np.maximum(steps[-1].content, 0))
        found[name] = [move(one.content, steps[-1].content, error, at) for one in steps[:-1]]
    return {
        "moves": [max(each) for each in zip(*found.values(), strict=True)],
        "moved": max(found, key=lambda name: found[name][-1], default=None),
    }
