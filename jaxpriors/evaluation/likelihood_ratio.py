"""How good a learned log likelihood ratio is: on two samples, and where the truth is known.

A ratio is calibrated where it means what it says: of events with the log ratio r, drawn from both
samples with the same sum of weights, the share 1 / (1 + exp(−r)) is data.

Log ratios are log p_data / p_simulation of events that no training has seen; weights may be
negative, None is one each. Everything raises InputError as `evaluation.metrics` does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import expit

from jaxpriors.errors import InputError
from jaxpriors.evaluation.histograms import Histogram, binned, checked, merged_bins
from jaxpriors.evaluation.metrics import auc, chi2_test, effective_sample_size
from jaxpriors.evaluation.observables import Observable
from jaxpriors.evaluation.roc import accuracy, rejection_with_error

SLICES = 5  # of the true log ratio, in which the bias is given
MOMENTS = {"mean": 1, "mean_square": 2}
LARGEST = 300.0  # log ratio, beyond which squares of ratios overflow
TEMPERATURES = 0.05, 20.0  # between which the best is looked for
EFFICIENCIES = 50, 10  # of the data in %, at which the rejection is given
EPSILON = 4 * float(np.finfo(np.float64).eps)


def separation(
    simulation: np.ndarray,
    data: np.ndarray,
    simulation_weights: np.ndarray | None = None,
    data_weights: np.ndarray | None = None,
    *,
    replicas: int = 100,
    seed: int = 0,
) -> dict[str, float]:
    """Measure how well log ratios (n,), (m,) tell the samples apart, and their calibration.

    As 2603.08802, Table 4: auc, accuracy, rejection50 and rejection10 (simulation is the
    background, at 50 and 10 % of the data, as in OmniLearn's evaluate_classifiers.py for H1), each
    with its statistical error; ece, the expected calibration error, and ece_floor, what statistics
    alone would give.
    """
    scores = np.concatenate([simulation, data])
    labels = np.repeat([0, 1], [len(simulation), len(data)])
    given = (simulation, simulation_weights), (data, data_weights)
    weights = np.concatenate([np.ones(len(x)) if w is None else w for x, w in given])
    area = auc(scores, labels, weights)
    right = accuracy(scores, labels, weights)
    rejected: dict[str, float] = {}
    for share in EFFICIENCIES:
        found = rejection_with_error(
            scores, labels, weights, share / 100, replicas=replicas, seed=seed
        )
        rejected |= {f"rejection{share}": found.value, f"rejection{share}_error": found.error}
    diagram = reliability(simulation, data, simulation_weights, data_weights)
    return {
        "auc": area.value,
        "auc_error": area.error,
        "accuracy": right.value,
        "accuracy_error": right.error,
        **rejected,
        "ece": diagram.expected_error(),
        "ece_floor": diagram.floor(),
    }


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
        """Compute the expected calibration error Σ weight |predicted − observed|."""
        return float(np.sum(self.weight * np.abs(self.predicted - self.observed)))

    def floor(self) -> float:
        """Estimate what statistics alone would give: the mean of |x| of the bins' Gaussians."""
        return float(np.sum(self.weight * self.error) * np.sqrt(2 / np.pi))


def reliability(
    simulation: np.ndarray,
    data: np.ndarray,
    simulation_weights: np.ndarray | None = None,
    data_weights: np.ndarray | None = None,
    bins: int = 10,
) -> Reliability:
    """Draw up the diagram of log ratios (n,), (m,) of two samples, in bins of as many events each.

    Bins whose negative weights bring their sum near zero join their neighbours
    (`histograms.merged_bins`). Raises InputError for values that are not finite and weights without
    a positive sum.
    """
    ratios, labels, weights = _joined(simulation, data, simulation_weights, data_weights)
    edges = np.quantile(ratios, np.linspace(0, 1, bins + 1)[1:-1])
    place = np.searchsorted(edges, ratios, side="right")
    _, place = np.unique(place, return_inverse=True)  # equal ratios may leave bins empty
    found = Histogram(
        np.bincount(place, weights),
        np.bincount(place, weights**2),
        np.bincount(place, weights < 0) > 0,
    )
    starts = merged_bins([found])
    place = np.searchsorted(starts, place, side="right") - 1
    content = np.bincount(place, weights)
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
    """Find the T for which log ratios (n,), (m,) over T have the least cross-entropy.

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


def closure(
    log_ratios: np.ndarray,
    simulation: Mapping[str, np.ndarray],
    data: Mapping[str, np.ndarray],
    simulation_weights: np.ndarray | None = None,
    data_weights: np.ndarray | None = None,
) -> dict[str, Any]:
    """Test whether the ratio of simulated events (n,) averages to one and moves moments to data's.

    simulation, data: observable → values (n,), (m,). Returns "mean_ratio" and its error, before any
    normalisation, and "moments": {observable: {"mean", "mean_square": {"data", "simulation",
    "reweighted", "pull"}}}, the pull in units of the statistical errors of both samples;
    "effective_share", the effective number of simulated events over the one before: where a few
    events have nearly all of the weight, it is next to 0 and nothing else can be trusted.
    """
    log_ratios, own = checked("log ratios", log_ratios, simulation_weights)
    ratios = _exponential(log_ratios)
    mean, error = _mean("log ratios", ratios, own)
    moments: dict[str, Any] = {}
    for name, values in simulation.items():
        moments[name] = {}
        for moment, power in MOMENTS.items():
            of_data, weights_of_data = checked(name, data[name], data_weights)
            simulated, weights = checked(name, values, own)
            measured = _mean(name, of_data**power, weights_of_data)
            found = _mean(name, simulated**power, weights * ratios)
            rounding = EPSILON * (abs(found[0]) + abs(measured[0]))  # of values that are all alike
            spread = float(np.hypot(found[1], measured[1])) + rounding
            moments[name][moment] = {
                "data": measured[0],
                "simulation": _mean(name, simulated**power, weights)[0],
                "reweighted": found[0],
                "pull": (found[0] - measured[0]) / (spread or 1.0),
            }
    after, before = (effective_sample_size(w) for w in (own * ratios, own))
    return {
        "mean_ratio": mean,
        "mean_ratio_error": error,
        "effective_share": after / before,
        "moments": moments,
    }


def against_truth(
    log_ratios: np.ndarray, truth: np.ndarray, weights: np.ndarray | None = None
) -> dict[str, Any]:
    """Compare learned log ratios (n,) with the true ones of simulated events.

    truth: factors (n,) to the events' weights that turn the simulation into the data, positive, of
    any normalisation; its logarithm is that of these factors over their mean. Returns "mse" (mean
    of the squared difference of the logarithms), "mse_constant" (the same of a ratio of 1 for all
    events), "correlation" (0 where one of them is constant) and "bias": mean of learned − true in
    ``SLICES`` equal shares of the events, from small to large true ratios; and "ratio_mse",
    "ratio_mse_constant" and "ratio_correlation", the same of the ratios themselves.

    The weights of a shower's variation are those of its whole history, of which events show a
    part. The best ratio is then their mean over what looks alike: it has the least squared error of
    all functions of the event, but its logarithm has not, and need not be correlated with theirs.

    Raises InputError for true ratios that are not positive, for fewer events than slices and for
    log ratios whose exponentials overflow.
    """
    learned, own = checked("log ratios", log_ratios, weights)
    truth, _ = checked("true ratios", truth, None)
    if truth.shape != learned.shape or not (truth > 0).all():
        raise InputError(
            f"true ratios: found shape {truth.shape} and {np.sum(truth <= 0)} that are not "
            f"positive, expected shape {learned.shape} of positive numbers"
        )
    mean = _mean("true ratios", truth, own)[0]
    if not mean > 0:
        raise InputError(f"true ratios: found the mean {mean:g}, expected a positive number")
    true = np.log(truth / mean)
    slices = np.array_split(np.argsort(true, kind="stable"), SLICES)
    ratios = _compared(_exponential(learned), truth / mean, 1.0, own)
    return {
        **_compared(learned, true, 0.0, own),
        "bias": [
            _mean(f"slice {k} of the true ratios", (learned - true)[i], own[i])[0]
            for k, i in enumerate(slices)
        ],
        **{f"ratio_{name}": value for name, value in ratios.items()},
    }


def _exponential(log_ratios: np.ndarray) -> np.ndarray:
    if log_ratios.max(initial=0.0) > LARGEST:
        raise InputError(
            f"log ratios: found {log_ratios.max():g}, expected at most {LARGEST:g}: the ratio is "
            "too large a number"
        )
    return np.exp(log_ratios)


def _compared(
    learned: np.ndarray, true: np.ndarray, constant: float, weights: np.ndarray
) -> dict[str, float]:
    """Compute the squared errors of learned values and a constant, and the correlation."""

    def average(values: np.ndarray) -> float:
        return _mean("log ratios", values, weights)[0]

    centred = [x - average(x) for x in (learned, true)]
    both, *squares = (average(centred[i] * centred[j]) for i, j in ((0, 1), (0, 0), (1, 1)))
    varied = min(squares) > EPSILON  # else one of them is a constant
    return {
        "mse": average((learned - true) ** 2),
        "mse_constant": average((constant - true) ** 2),
        "correlation": both / float(np.sqrt(squares[0] * squares[1])) if varied else 0.0,
    }


def shapes(
    simulation: Mapping[str, np.ndarray],
    data: Mapping[str, np.ndarray],
    observables: Sequence[Observable],
    weights: np.ndarray,
    data_weights: np.ndarray | None = None,
) -> dict[str, dict[str, float | None]]:
    """Test the shapes of the reweighted simulation against the data's.

    weights: the complete ones of the simulated events. Returns {observable: {"chi2", "ndf", "p"}};
    all None where a sample has no weight in the range, or fewer than two bins are occupied.
    """
    found: dict[str, dict[str, float | None]] = {}
    for o in observables:
        samples = (data[o.name], data_weights), (simulation[o.name], weights)
        filled = [binned(values, o.edges, w) for values, w in samples]
        occupied = np.count_nonzero(filled[0].variance + filled[1].variance)
        found[o.name] = dict.fromkeys(("chi2", "ndf", "p"))
        if all(h.usable for h in filled) and occupied > 1:
            test = chi2_test(data[o.name], simulation[o.name], o.edges, data_weights, weights)
            found[o.name] = {"chi2": test.chi2, "ndf": test.ndf, "p": test.p_value}
    return found


def _mean(name: str, values: np.ndarray, weights: np.ndarray) -> tuple[float, float]:
    """Compute the weighted mean and its statistical error.

    Raises InputError unless the sum of the weights is positive.
    """
    if not np.sum(weights) > 0:
        raise InputError(
            f"{name}: {len(weights)} weights add up to {np.sum(weights):g}; expected a positive "
            "number"
        )
    mean = np.sum(weights * values) / np.sum(weights)
    return float(mean), float(np.sqrt(np.sum((weights * (values - mean)) ** 2)) / np.sum(weights))


def _joined(
    simulation: np.ndarray,
    data: np.ndarray,
    simulation_weights: np.ndarray | None,
    data_weights: np.ndarray | None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Join log ratios, labels and weights of both samples, each of which weighs one half."""
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
