"""Unfolded distributions: histograms of a result's weights with errors, and the course of a run."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from jaxpriors.data.unfolded import Unfolded
from jaxpriors.errors import InputError
from jaxpriors.evaluation.metrics import histogram

BINS = 20


class Distribution(NamedTuple):
    """Sums of weights in K bins, in the data's normalisation, and their errors, both (K,).

    The errors are the spread of the bootstrap replicas (R, K), which is that of data, simulation
    and training; of a result with fewer than two replicas they are sqrt(Σw²), the simulation's.
    """

    content: np.ndarray
    error: np.ndarray
    replicas: np.ndarray


def distribution(
    result: Unfolded, values: np.ndarray, edges: np.ndarray, iteration: int | None = None
) -> Distribution:
    """The distribution of an observable (n,) of the simulated events in edges (K + 1,).

    iteration: None for the last, 0 for the simulation. Values of events without a particle level
    are not looked at. Raises InputError as `metrics.histogram` does.
    """
    gen = result.pass_gen
    weights = result.weights(iteration)[:, gen]
    found = [histogram(values[gen], edges, w) for w in weights]
    replicas = np.stack([h.content for h in found[1:]]) if len(found) > 1 else np.zeros((0, 0))
    error = replicas.std(0, ddof=1) if len(replicas) > 1 else np.sqrt(found[0].variance)
    return Distribution(found[0].content, error, replicas)


def find_observable(result: Unfolded, name: str) -> np.ndarray:
    """The values (n,) of an observable of the result; InputError where it has none of that name."""
    if name not in result.observables:
        raise InputError(
            f"observable: found {name!r}, expected one of {sorted(result.observables)}, those in "
            "the result"
        )
    return result.observables[name]


def default_edges(values: np.ndarray, bins: int = BINS) -> np.ndarray:
    """Equal bins over all but the outermost hundredths of the finite values."""
    low, high = np.quantile(values[np.isfinite(values)], (0.005, 0.995))
    if not high > low:
        raise InputError(f"bins: all values are near {low:g}, expected some spread, or give bins")
    return np.linspace(low, high, bins + 1)


def merged_edges(
    edges: np.ndarray, values: np.ndarray, weights: np.ndarray | None = None, least: float = 25
) -> np.ndarray:
    """The edges (K + 1,) without those of bins of fewer than ``least`` effective events.

    Such a bin is joined with the next one to its right, the last one with that to its left. The
    effective number of events of weights is (Σw)² / Σw², 0 where the sum is not positive.
    """
    found = histogram(values, edges, weights)
    kept, content, variance = [float(edges[0])], 0.0, 0.0
    for k, edge in enumerate(edges[1:]):
        content, variance = content + found.content[k], variance + found.variance[k]
        if content > 0 and content**2 >= least * variance:
            kept.append(float(edge))
            content = variance = 0.0
    if len(kept) > 1:
        kept[-1] = float(edges[-1])
    return np.array(kept if len(kept) > 1 else [edges[0], edges[-1]])


def format_reports(reports: list[dict[str, Any]]) -> str:
    """The weight report of every step as aligned text."""
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
