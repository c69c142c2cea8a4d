"""Unfolded distributions: histograms of a result with errors, and tables of its steps."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from jaxpriors.errors import InputError
from jaxpriors.evaluation.histograms import binned, groups, holds
from jaxpriors.evaluation.observables import OBSERVABLES
from jaxpriors.evaluation.ranges import fitted
from jaxpriors.unfolding.result import Unfolded

BINS = 20


class Distribution(NamedTuple):
    """Hold sums of weights in K bins, in the normalisation of the data, and errors, both (K,).

    The errors are the spread of the bootstrap replicas (R, K), due to data, simulation and
    training; with fewer than two replicas they are sqrt(Σw²), the errors of the simulation.
    below, above: sums of weights outside of the bins.
    """

    content: np.ndarray
    error: np.ndarray
    replicas: np.ndarray
    below: float
    above: float


def distribution(
    result: Unfolded, values: np.ndarray, edges: np.ndarray, iteration: int | None = None
) -> Distribution:
    """Fill the distribution of an observable (n,) of the simulated events in edges (K + 1,).

    iteration: None for the last, 0 for the simulation. Values of events without a particle level
    are ignored. Raises InputError as `histograms.binned` does.
    """
    gen = result.pass_gen
    values, weights = values[gen], result.weights(iteration)[:, gen]
    found = [binned(values, edges, w) for w in weights]
    below, above = (float(weights[0] @ x) for x in (values < edges[0], values > edges[-1]))
    replicas = np.stack([h.content for h in found[1:]]) if len(found) > 1 else np.zeros((0, 0))
    error = replicas.std(0, ddof=1) if len(replicas) > 1 else np.sqrt(found[0].variance)
    return Distribution(found[0].content, error, replicas, below, above)


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
    """Format the weight report of every step as aligned text."""
    lines = [
        "iteration  weights  epochs  val. loss   minimum   maximum  effective size"
        "  normalisation    change  clipped"
    ]
    for r in reports:
        size = f"{r['effective_size']:.0f}/{r['effective_size_before']:.0f}"
        lines.append(
            f"{r['iteration']:9d}  {r['weights']:>7}  {r['epochs']:6d}  {r['validation_loss']:9.5f}"
            f"  {r['minimum']:8.3g}  {r['maximum']:8.3g}  {size:>14}  {r['normalisation']:13.4f}"
            f"  {r['change']:8.4f}  {r['clipped']:7.4f}"
        )
    above = [r["iteration"] for r in reports if r["validation_loss"] > np.log(2)]
    if above:
        steps = ", ".join(map(str, dict.fromkeys(above)))
        lines.append(
            f"iteration {steps}: a validation loss above ln 2 = 0.69315 is that of weights that "
            "follow noise; more events, epochs or networks (--members) help"
        )
    return "\n".join(lines)


def format_closures(found: dict[str, Any]) -> str:
    """Format χ² / ndf and probability of every case and observable, with the smallest of all."""
    lines = ["Closure: χ²/ndf (probability) of unfolded distributions to truths that are known"]
    heads = "".join(f"{OBSERVABLES[n].symbol:>18}" for n in OBSERVABLES)
    lines.append(f"{'':18}{heads}{'total':>9}")
    for case, row in found.items():
        cells = [f"{r['chi2']:.1f}/{r['ndf']} ({r['p']:.3f})" for r in row.values()]
        priors = [f"{r['prior_chi2']:.1f}" for r in row.values()]
        total = next(iter(row.values()))["total"]
        lines.append(f"{case:18}" + "".join(f"{c:>18}" for c in cells) + f"{total:9.3f}")
        lines.append(f"{'  not unfolded':18}" + "".join(f"{c:>18}" for c in priors))
    smallest = min(r["p"] for row in found.values() for r in row.values())
    tests = sum(len(row) for row in found.values())
    lines.append(f"smallest probability × {tests} tests (Bonferroni): {smallest * tests:.3f}")
    return "\n".join(lines)
