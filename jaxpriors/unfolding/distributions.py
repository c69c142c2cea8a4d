"""Unfolded distributions: histograms of a result with errors, and tables of its steps."""

from __future__ import annotations

import itertools
from typing import Any, NamedTuple

import numpy as np

from jaxpriors.errors import InputError
from jaxpriors.evaluation.histograms import binned, groups, holds, shape_covariance
from jaxpriors.evaluation.observables import OBSERVABLES
from jaxpriors.evaluation.ranges import fitted
from jaxpriors.unfolding.quality import quality_notes
from jaxpriors.unfolding.result import Unfolded
from jaxpriors.unfolding.variance import Parts, variance

BINS = 20


class Distribution(NamedTuple):
    """Hold sums of weights in K bins, in the normalisation of the data or as shares, and errors.

    content, error: (K,). The errors are due to data, simulation and first weights, by the bootstrap
    replicas (R - 1, K); with fewer than two bootstrap samples they are sqrt(Σw²), the errors of the
    simulation. variance: (K,), the squared errors and what they are made of, None without replicas.
    below, above: sums of weights outside of the bins, in the normalisation of the content.
    """

    content: np.ndarray
    error: np.ndarray
    replicas: np.ndarray
    below: float
    above: float
    variance: Parts | None


def distribution(
    result: Unfolded,
    values: np.ndarray,
    edges: np.ndarray,
    iteration: int | None = None,
    normalised: bool = False,
) -> Distribution:
    """Fill the distribution of an observable (n,) of the simulated events in edges (K + 1,).

    iteration: None for the chosen one, 0 for the simulation. normalised: whether the contents are
    shares of their sum. Values of events without a particle level are ignored. Raises InputError as
    ``Unfolded.contents`` does.
    """
    gen = result.pass_gen
    contents = result.contents(values, edges, iteration, normalised)
    values, weights = values[gen], result.weights(iteration)[0, gen]
    found = binned(values, edges, weights)
    scale = found.content.sum() if normalised else 1.0
    below, above = (float(weights @ x) / scale for x in (values < edges[0], values > edges[-1]))
    parts = variance(contents, result.draws)
    if parts is None:
        error = np.sqrt(np.diag(shape_covariance(found)) if normalised else found.variance)
    else:
        error = np.sqrt(np.maximum(parts.total, 0.0))  # negative by rounding alone
    return Distribution(contents[0], error, contents[1:], below, above, parts)


def find_observable(result: Unfolded, name: str) -> np.ndarray:
    """Find the values (n,) of an observable of the result; raise InputError where it is missing."""
    if name not in result.observables:
        raise InputError(
            f"observable: found {name!r}, expected one of {sorted(result.observables)}, those in "
            "the result"
        )
    return result.observables[name]


def usual_edges(name: str, values: np.ndarray) -> np.ndarray:
    """Make edges (K + 1,) for the values (n,) of an observable.

    Those of the published range where it holds 99 % of the finite values (`evaluation.ranges`), or
    else, as for other observables, equal bins over their central 99 %.

    >>> usual_edges("mass", np.linspace(5.0, 60.0, 99))[[0, 1, -1]].tolist()
    [0.0, 3.75, 75.0]
    """
    if name in OBSERVABLES:
        return fitted(OBSERVABLES[name], values).edges
    return default_edges(values)


def default_edges(values: np.ndarray, bins: int = BINS) -> np.ndarray:
    """Make equal bins over the central 99 % of the finite values; edges (bins + 1,)."""
    values = np.asarray(values, np.float64)
    finite = values[np.isfinite(values)]
    if not len(finite):
        raise InputError(f"bins: none of {len(values)} values is finite, expected some")
    low, high = np.quantile(finite, (0.005, 0.995))
    if not high > low:
        raise InputError(f"bins: all values are near {low:g}, expected some spread, or give bins")
    return np.linspace(low, high, bins + 1)


def merged_edges(
    edges: np.ndarray, values: np.ndarray, weights: np.ndarray | None = None, least: float = 25
) -> np.ndarray:
    """Merge bins of edges (K + 1,) that hold fewer than ``least`` effective events.

    Such a bin joins the next bin to its right, the last one the bin to its left. The effective
    number of events is (Σw)² / Σw², 0 where the sum is not positive.
    """
    found = binned(values, edges, weights)
    starts = groups(
        len(edges) - 1, lambda some: holds(found.content[some], found.variance[some], least)
    )
    return np.append(np.asarray(edges, np.float64)[starts], edges[-1])


def format_reports(reports: list[dict[str, Any]]) -> str:
    """Format the report of every step as aligned text, and what follows from them.

    gain: fall of the loss on held-out events; evidence: standard errors by which they confirm what
    the step changed; move: root mean square over the bins, in statistical
    errors, of the spectrum that moves most (`unfolding.quality`).
    """
    lines = [
        "iteration  weights  epochs  val. loss         1000 × gain  evidence   minimum   maximum"
        "  effective size  normalisation    change  clipped      move"
    ]
    for r in reports:
        size = f"{r['effective_size']:.0f}/{r['effective_size_before']:.0f}"
        gain, evidence = "unknown", ""  # of an earlier version
        if "gain" in r:
            gain = f"{1e3 * r['gain']:.2f} ± {1e3 * r['gain_error']:.2f}"
            evidence = f"{r['evidence']:.1f}"
        moved = f"{r['moves'][-1]:8.2f}" if r.get("moves") else ""
        lines.append(
            f"{r['iteration']:9d}  {r['weights']:>7}  {r['epochs']:6d}  {r['validation_loss']:9.5f}"
            f"  {gain:>18}  {evidence:>8}  {r['minimum']:8.3g}  {r['maximum']:8.3g}  {size:>14}"
            f"  {r['normalisation']:13.4f}  {r['change']:8.4f}  {r['clipped']:7.4f}  {moved}"
        )
    return "\n".join([*lines, *quality_notes(reports)])


def format_closures(found: dict[str, Any]) -> str:
    """Format χ² / ndf and probability by model, level, case and observable.

    Each model and level has the smallest probability of all its tests.
    """
    lines = ["Closure: χ²/ndf (probability) of distributions to those that are known"]
    heads = "".join(f"{OBSERVABLES[n].symbol:>18}" for n in OBSERVABLES)
    stages = {
        "detector": "detector level, after step 1 of the first iteration",
        "particle": "particle level, after the last iteration",
    }
    for model, level in itertools.product(found, stages):
        rows = {case: levels[level] for case, levels in found[model].items()}
        lines += ["", f"{model}: {stages[level]}", f"{'':18}{heads}{'total':>9}"]
        for case, row in rows.items():
            cells = [f"{r['chi2']:.1f}/{r['ndf']} ({r['p']:.3f})" for r in row.values()]
            priors = [f"{r['prior_chi2']:.1f}" for r in row.values()]
            total = next(iter(row.values()))["total"]
            lines.append(f"{case:18}" + "".join(f"{c:>18}" for c in cells) + f"{total:9.3f}")
            lines.append(f"{'  as simulated':18}" + "".join(f"{c:>18}" for c in priors))
        smallest = min(r["p"] for row in rows.values() for r in row.values())
        tests = sum(len(row) for row in rows.values())
        corrected = min(1.0, smallest * tests)
        lines.append(f"smallest probability × {tests} tests (Bonferroni): {corrected:.3f}")
    return "\n".join(lines)
