"""Weighted histograms, float64 on the host, and bins that bear negative weights.

The weights of a sample may be negative and need no normalisation; `None` means one each. What lies
outside of the edges counts nowhere, as in 1911.09107; `outside` tells how much that is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from jaxpriors.errors import InputError

LEAST = 25.0  # effective events: a sum of weights is five times its statistical error


class Histogram(NamedTuple):
    """Weights of a sample in K bins, each (K,).

    content: Σw, float64; variance: Σw², float64; negative: which bins hold a negative weight, bool.
    """

    content: np.ndarray
    variance: np.ndarray
    negative: np.ndarray

    def density(self, edges: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Density with unit integral over the edges (K + 1,), and its statistical error."""
        scale = self.content.sum() * np.diff(edges)
        return self.content / scale, np.sqrt(self.variance) / scale

    @property
    def usable(self) -> bool:
        """Tell whether the sum of all bins can be divided by.

        It is positive and, where there are negative weights, of `LEAST` effective events.
        """
        return holds(self.content, self.variance, LEAST if self.negative.any() else 0.0)

    def merged(self, starts: np.ndarray) -> Histogram:
        """Merge neighbouring bins into groups (G,) that begin with those bins.

        >>> both = binned(np.array([0.5, 1.5]), np.array([0.0, 1.0, 2.0])).merged(np.array([0]))
        >>> both.content.tolist()
        [2.0]
        """
        content, variance = (np.add.reduceat(x, starts) for x in (self.content, self.variance))
        return Histogram(content, variance, np.logical_or.reduceat(self.negative, starts))


def binned(values: np.ndarray, edges: np.ndarray, weights: np.ndarray | None = None) -> Histogram:
    """Count values (n,) by their weights in edges (K + 1,), the last of which is inclusive.

    Raises InputError for values and weights that are not finite and for edges that do not ascend.

    >>> found = binned(np.array([0.5, 0.6]), np.array([0.0, 1.0, 2.0]), np.array([2.0, -1.0]))
    >>> found.content.tolist(), found.variance.tolist(), found.negative.tolist()
    ([1.0, 0.0], [5.0, 0.0], [True, False])
    """
    index, inside = bin_indices(values, edges, weights)
    bins = len(edges) - 1
    return Histogram(
        np.bincount(index, inside, minlength=bins),
        np.bincount(index, inside**2, minlength=bins),
        np.bincount(index, inside < 0, minlength=bins) > 0,
    )


def histogram(
    values: np.ndarray, edges: np.ndarray, weights: np.ndarray | None = None
) -> Histogram:
    """Count as `binned`; raise InputError unless the weights within add up to a positive number.

    >>> histogram(np.array([0.5, 1.5, 2.0]), np.array([0.0, 1.0, 2.0])).content.tolist()
    [1.0, 2.0]
    """
    result = binned(values, edges, weights)
    if not result.content.sum() > 0:
        low, high = edges[0], edges[-1]
        within = np.sum((values >= low) & (values <= high))
        raise InputError(
            f"histogram: the weights within [{low:g}, {high:g}] add up to "
            f"{result.content.sum():g} ({within} of {len(values)} values lie inside); "
            "expected a positive number"
        )
    return result


def outside(
    values: np.ndarray, edges: np.ndarray, weights: np.ndarray | None = None
) -> tuple[float, float]:
    """Find the shares of a sample below and above the edges, of its absolute weights.

    >>> outside(np.array([-1.0, 0.5, 0.6, 3.0]), np.array([0.0, 1.0]))
    (0.25, 0.25)
    """
    values, weights = checked("histogram", values, weights)
    size = np.abs(weights)
    total = size.sum() or 1.0
    below, above = (float(size[x].sum() / total) for x in (values < edges[0], values > edges[-1]))
    return below, above


def merged_bins(samples: Sequence[Histogram]) -> np.ndarray:
    """Find groups of neighbouring bins whose sums of weights can be divided by, in every sample.

    A group without negative weights always can; one with them has `LEAST` effective events,
    (Σw)² / Σw² with Σw > 0. Where there are no negative weights, each bin is a group; a single
    group may have fewer events. Returns the first bin of each group, (G,), as `groups` does.

    >>> edges, values = np.arange(5.0), np.repeat([0.5, 1.5, 2.5, 3.5], 30)
    >>> merged_bins([binned(values, edges)]).tolist()
    [0, 1, 2, 3]
    >>> signs = np.where(np.arange(120) % 30 < 3, -1, 1)  # 24 ± 5.5 in each bin
    >>> merged_bins([binned(values, edges, signs)]).tolist()
    [0, 2]
    """

    def enough(group: slice) -> bool:
        return all(
            not negative[group].any() or holds(content[group], variance[group], LEAST)
            for content, variance, negative in samples
        )

    return groups(len(samples[0].content), enough)


def groups(bins: int, enough: Callable[[slice], bool]) -> np.ndarray:
    """Group neighbouring bins until each group has enough; give the first bin of each, (G,).

    Bins join those to their right; what is left over at the end joins the group to its left.
    """
    starts = [0]
    for stop in range(1, bins):
        if enough(slice(starts[-1], stop)):
            starts.append(stop)
    while len(starts) > 1 and not enough(slice(starts[-1], bins)):
        starts.pop()
    return np.array(starts)


def holds(content: np.ndarray, variance: np.ndarray, least: float) -> bool:
    """Tell whether bins hold ``least`` effective events: Σw > 0 and (Σw)² / Σw² ≥ least."""
    total = content.sum()
    return bool(total > 0 and total**2 >= least * variance.sum())


def shape_covariance(sample: Histogram) -> np.ndarray:
    """Compute the covariance (K, K) of the contents divided by their sum, for fixed weights."""
    total, share = sample.content.sum(), sample.content / sample.content.sum()
    jacobian = (np.eye(len(share)) - share[:, None]) / total
    return (jacobian * sample.variance) @ jacobian.T


def checked(
    name: str, values: np.ndarray, weights: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Turn values and weights (n,) into float64, weights of None into one each.

    Raises InputError where their shapes differ or one is not finite.
    """
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


def bin_indices(
    values: np.ndarray, edges: np.ndarray, weights: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Find the bin and the weight of each value within the edges, both (m,)."""
    values, weights = checked("histogram", values, weights)
    edges = np.asarray(edges, dtype=np.float64)
    if edges.ndim != 1 or len(edges) < 2 or not (np.diff(edges) > 0).all():
        raise InputError(f"histogram: edges are {edges.tolist()}; expected ascending numbers")
    inside = (values >= edges[0]) & (values <= edges[-1])
    index = np.searchsorted(edges, values[inside], side="right") - 1
    return np.minimum(index, len(edges) - 2), weights[inside]
