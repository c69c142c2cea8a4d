"""Calibration: whether a learned log likelihood ratio says what it means.

Of events with the log ratio r = log p_data(x) / p_simulation(x), drawn from both samples with the
same sum of weights, the share 1 / (1 + exp(−r)) is data. The samples' weights may be negative.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import expit

from jaxpriors.errors import InputError
from jaxpriors.evaluation.metrics import checked

TEMPERATURES = 0.05, 20.0  # between which the best is looked for


@dataclass(frozen=True)
class Reliability:
    """Predicted and observed shares of data in K bins of the prediction, all (K,).

    weight: of both samples together in each bin, adding up to 1. error: statistical, of observed.
    """

    predicted: np.ndarray
    observed: np.ndarray
    error: np.ndarray
    weight: np.ndarray

    def expected_error(self) -> float:
        """The expected calibration error Σ weight |predicted − observed|."""
        return float(np.sum(self.weight * np.abs(self.predicted - self.observed)))

    def floor(self) -> float:
        """What statistics alone would make of it: the mean of |x| of the bins' Gaussians."""
        return float(np.sum(self.weight * self.error) * np.sqrt(2 / np.pi))


def reliability(
    simulation: np.ndarray,
    data: np.ndarray,
    simulation_weights: np.ndarray | None = None,
    data_weights: np.ndarray | None = None,
    bins: int = 10,
) -> Reliability:
    """The diagram of log ratios (n,), (m,) of two samples, in bins with as many events each.

    Raises InputError for values that are not finite, weights without a positive sum, and bins in
    which negative weights prevail.
    """
    ratios, labels, weights = _joined(simulation, data, simulation_weights, data_weights)
    edges = np.quantile(ratios, np.linspace(0, 1, bins + 1)[1:-1])
    place = np.searchsorted(edges, ratios, side="right")
    _, place = np.unique(place, return_inverse=True)  # equal ratios may leave bins empty
    content = np.bincount(place, weights)
    if not np.all(content > 0):
        worst = int(content.argmin())
        raise InputError(
            f"reliability: the weights of bin {worst} add up to {content[worst]:g}, expected a "
            "positive number: fewer bins, or more events"
        )
    predicted = np.bincount(place, weights * expit(ratios)) / content
    observed = np.bincount(place, weights * labels) / content
    pulls = weights * (labels - observed[place])
    error = np.sqrt(np.bincount(place, pulls**2)) / content
    return Reliability(predicted, observed, error, content)


def temperature(
    simulation: np.ndarray,
    data: np.ndarray,
    simulation_weights: np.ndarray | None = None,
    data_weights: np.ndarray | None = None,
) -> float:
    """The T for which log ratios (n,), (m,) over T have the least cross-entropy.

    Above 1 where the network was too sure; 20, the largest that is tried, where what it says is of
    no use, 0.05 at least. To be found on events that it was not trained on (arXiv:1706.04599).
    """
    ratios, labels, weights = _joined(simulation, data, simulation_weights, data_weights)

    def entropy(log_t: float) -> float:
        logits = ratios * np.exp(-log_t)
        return float(np.sum(weights * (np.logaddexp(0, logits) - labels * logits)))

    limits = tuple(np.log(TEMPERATURES))
    best = float(minimize_scalar(entropy, bounds=limits, method="bounded").x)
    ends = min(limits, key=entropy)
    return float(np.exp(ends if entropy(ends) <= entropy(best) else best))


def _joined(
    simulation: np.ndarray,
    data: np.ndarray,
    simulation_weights: np.ndarray | None,
    data_weights: np.ndarray | None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Log ratios, labels and weights of both samples; each sample's weights add up to one half."""
    ratios, labels, weights = [], [], []
    for label, name, values, own in (
        (0, "simulation", simulation, simulation_weights),
        (1, "data", data, data_weights),
    ):
        values, own = checked(f"log ratios of {name}", values, own)
        if not own.sum() > 0:
            raise InputError(
                f"weights of {name}: {len(own)} add up to {own.sum():g}, expected a positive number"
            )
        ratios.append(values)
        labels.append(np.full(len(values), label))
        weights.append(0.5 * own / own.sum())
    return np.concatenate(ratios), np.concatenate(labels), np.concatenate(weights)
