"""How good a learned log likelihood ratio is: on two samples, and where the truth is known.

Log ratios are log p_data / p_simulation of events that no training has seen; weights may be
negative, None is one each. Everything raises InputError as `evaluation.metrics` does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxpriors.errors import InputError
from jaxpriors.evaluation.calibration import reliability
from jaxpriors.evaluation.metrics import auc, checked, chi2_test
from jaxpriors.evaluation.observables import Observable
from jaxpriors.evaluation.roc import accuracy, rejection_with_error

SLICES = 5  # of the true log ratio, in which the bias is told
MOMENTS = {"mean": 1, "mean_square": 2}


def separation(
    simulation: np.ndarray,
    data: np.ndarray,
    simulation_weights: np.ndarray | None = None,
    data_weights: np.ndarray | None = None,
    *,
    replicas: int = 100,
    seed: int = 0,
) -> dict[str, float]:
    """How well log ratios (n,), (m,) tell the samples apart (2603.08802, Table 4), and calibration.

    auc, accuracy, rejection50 (simulation is the background, at 50 % of the data), each with its
    statistical error; ece, the expected calibration error, and ece_floor, what statistics alone
    would give.
    """
    scores = np.concatenate([simulation, data])
    labels = np.repeat([0, 1], [len(simulation), len(data)])
    given = (simulation, simulation_weights), (data, data_weights)
    weights = np.concatenate([np.ones(len(x)) if w is None else w for x, w in given])
    area = auc(scores, labels, weights)
    right = accuracy(scores, labels, weights)
    rejected = rejection_with_error(scores, labels, weights, replicas=replicas, seed=seed)
    diagram = reliability(simulation, data, simulation_weights, data_weights)
    return {
        "auc": area.value,
        "auc_error": area.error,
        "accuracy": right.value,
        "accuracy_error": right.error,
        "rejection50": rejected.value,
        "rejection50_error": rejected.error,
        "ece": diagram.expected_error(),
        "ece_floor": diagram.floor(),
    }


def closure(
    log_ratios: np.ndarray,
    simulation: Mapping[str, np.ndarray],
    data: Mapping[str, np.ndarray],
    simulation_weights: np.ndarray | None = None,
    data_weights: np.ndarray | None = None,
) -> dict[str, Any]:
    """Whether the ratio of simulated events (n,) averages to one, and moves moments to the data's.

    simulation, data: observable → values (n,), (m,). Returns "mean_ratio" and its error, before any
    normalisation, and "moments": {observable: {"mean", "mean_square": {"data", "simulation",
    "reweighted", "pull"}}}, the pull in units of the statistical errors of both samples.
    """
    log_ratios, own = checked("log ratios", log_ratios, simulation_weights)
    mean, error = _mean(np.exp(log_ratios), own)
    moments: dict[str, Any] = {}
    for name, values in simulation.items():
        moments[name] = {}
        for moment, power in MOMENTS.items():
            measured = _mean(*_powers(name, data[name], data_weights, power))
            simulated, weights = _powers(name, values, own, power)
            found = _mean(simulated, weights * np.exp(log_ratios))
            moments[name][moment] = {
                "data": measured[0],
                "simulation": _mean(simulated, weights)[0],
                "reweighted": found[0],
                "pull": (found[0] - measured[0]) / float(np.hypot(found[1], measured[1])),
            }
    return {"mean_ratio": mean, "mean_ratio_error": error, "moments": moments}


def against_truth(
    log_ratios: np.ndarray, truth: np.ndarray, weights: np.ndarray | None = None
) -> dict[str, Any]:
    """Learned log ratios (n,) against the true ones of simulated events.

    truth: weights (n,) that turn the simulation into the data, positive, of any normalisation;
    its logarithm is that of these weights over their mean. Returns "mse" (mean of the squared
    difference of the logarithms), "mse_constant" (the same of a ratio of 1 for all events),
    "correlation" and "bias": mean of learned − true in ``SLICES`` equal shares of the events, from
    small to large true ratios. The weights of a shower's variation are those of its whole history,
    of which events show a part: the learned ratio is their mean over what looks alike, so that it
    varies less than they do.

    Raises InputError for true ratios that are not positive.
    """
    learned, own = checked("log ratios", log_ratios, weights)
    truth, _ = checked("true ratios", truth, None)
    if truth.shape != learned.shape or not (truth > 0).all():
        raise InputError(
            f"true ratios: found shape {truth.shape} and {np.sum(truth <= 0)} that are not "
            f"positive, expected shape {learned.shape} of positive numbers"
        )
    true = np.log(truth / (np.sum(own * truth) / own.sum()))
    slices = np.array_split(np.argsort(true, kind="stable"), SLICES)
    centred = [x - np.average(x, weights=own) for x in (learned, true)]
    covariance = [
        np.average(a * b, weights=own)
        for a, b in ((centred[0], centred[1]), (centred[0], centred[0]), (centred[1], centred[1]))
    ]
    return {
        "mse": float(np.average((learned - true) ** 2, weights=own)),
        "mse_constant": float(np.average(true**2, weights=own)),
        "correlation": float(covariance[0] / np.sqrt(covariance[1] * covariance[2])),
        "bias": [float(np.average((learned - true)[i], weights=own[i])) for i in slices],
    }


def shapes(
    simulation: Mapping[str, np.ndarray],
    data: Mapping[str, np.ndarray],
    observables: Sequence[Observable],
    weights: np.ndarray,
    data_weights: np.ndarray | None = None,
) -> dict[str, dict[str, float]]:
    """{observable: {"chi2", "ndf", "p"}} of the reweighted simulation against the data.

    weights: the complete ones of the simulated events.
    """
    found = {}
    for o in observables:
        test = chi2_test(data[o.name], simulation[o.name], o.edges, data_weights, weights)
        found[o.name] = {"chi2": test.chi2, "ndf": test.ndf, "p": test.p_value}
    return found


def _powers(
    name: str, values: np.ndarray, weights: np.ndarray | None, power: int
) -> tuple[np.ndarray, np.ndarray]:
    values, weights = checked(name, values, weights)
    return values**power, weights


def _mean(values: np.ndarray, weights: np.ndarray) -> tuple[float, float]:
    """Weighted mean and its statistical error."""
    mean = np.sum(weights * values) / np.sum(weights)
    return float(mean), float(np.sqrt(np.sum((weights * (values - mean)) ** 2)) / np.sum(weights))
