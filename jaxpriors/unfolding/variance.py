"""The variance of an unfolded spectrum, told apart: data, simulation and first weights.

An unfolding is repeated on bootstrap samples (Efron, Ann. Statist. 7 (1979) 1), in which each event
counts a Poisson number of times. Axes: R replicas, B bootstrap samples, S first weights, n events,
K bins. Which bootstrap sample of the data and of the simulation a replica holds is its row of
``draws`` (R, 2), where 0 stands for the sample as it is; all replicas have first weights of their
own. There are two designs:

| S  | replicas                                         | what they tell                         |
|----|--------------------------------------------------|----------------------------------------|
| 1  | B draws of both samples at once                  | the total, first weights included once |
| ≥2 | S of the samples as they are, S of each of B     | each of the three, and their sum       |
|    | draws of the data, S of B draws of the simulation|                                        |

The second is a nested analysis of variance (Searle, Casella, McCulloch, Variance Components,
1992, Section 3.5). V_first weights is the covariance among the replicas of one draw, pooled over
all draws. The means of S replicas vary between draws of the data with V_data + V_first weights / S,
from which V_data follows, and V_simulation likewise. Each estimate is unbiased, of the variance of
one network with one choice of first weights. A component that is small may therefore come out
negative, and is given as it comes out: it is compatible with 0 in this design. The total is the sum
of the three, and never negative.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from jaxpriors.run.ranges import MOST_NETWORKS, check_whole

SAMPLES = ("data", "simulation")  # the columns of draws


class Parts(NamedTuple):
    """Hold a variance (K,), or covariance (K, K), and what it is made of.

    The parts are None where the replicas do not tell them apart.
    """

    total: np.ndarray
    data: np.ndarray | None = None
    simulation: np.ndarray | None = None
    first_weights: np.ndarray | None = None


def design(replicas: int, starts: int = 1) -> np.ndarray:
    """Give the ``draws`` (R, 2) of B ``replicas`` and S ``starts``; row 0 is the result.

    Raises InputError for numbers out of range, and several starts without two replicas.

    >>> design(2).tolist()
    [[0, 0], [1, 1], [2, 2]]
    >>> design(2, starts=2).tolist()
    [[0, 0], [0, 0], [1, 0], [1, 0], [2, 0], [2, 0], [0, 1], [0, 1], [0, 2], [0, 2]]
    """
    check_whole("starts", starts, 1, MOST_NETWORKS)
    check_whole("replicas", replicas, 2 if starts > 1 else 0, MOST_NETWORKS)
    check_whole("replicas × starts", replicas * starts, 0, MOST_NETWORKS)
    drawn = np.arange(1, 1 + replicas)[:, None]
    if starts == 1:
        return np.concatenate([np.zeros((1, 2), np.int64), np.repeat(drawn, 2, axis=1)])
    of_data, of_simulation = (np.pad(drawn, ((0, 0), side)) for side in ((0, 1), (1, 0)))
    each = np.concatenate([np.zeros((1, 2), np.int64), of_data, of_simulation])
    return np.repeat(each, starts, axis=0)


def counts(n: int, draws: np.ndarray, seed: int, sample: str) -> np.ndarray:
    """Draw how often each replica holds each of n events of a sample, (R, n) int8.

    draws: (R, 2). Replicas of the same draw hold the same; those of draw 0 each event once.
    """
    column = SAMPLES.index(sample)
    rng = np.random.default_rng([seed, n, 1 - column])
    drawn = [np.minimum(rng.poisson(1.0, n), 127) for _ in range(draws.max(initial=0))]
    return np.stack([np.ones(n, np.int8), *drawn]).astype(np.int8)[draws[:, column]]


def forms(draws: np.ndarray) -> Parts | None:
    """Give the estimators as symmetric matrices M (R, R): the covariance is contentsᵀ M contents.

    draws: (R, 2), of ``design``. None where there are fewer than two bootstrap samples.

    >>> joint = forms(design(3))
    >>> joint.total.round(2).tolist()  # the sample covariance of the replicas 1 to 3
    [[0.0, 0.0, 0.0, 0.0], [0.0, 0.33, -0.17, -0.17], [0.0, -0.17, 0.33, -0.17], [0.0, -0.17, -0.17, 0.33]]
    """  # noqa: E501
    if draws.max(initial=0) < 2:
        return None
    groups, member = np.unique(draws, axis=0, return_inverse=True)
    average = np.equal.outer(np.arange(len(groups)), member.reshape(-1)).astype(float)
    starts = average.sum(1, keepdims=True)
    average /= starts  # (groups, R), takes the mean of the replicas of each draw
    if groups.all(1).any():
        return Parts(_between(average[groups.all(1)]))
    within = np.eye(len(draws)) - average.T @ (starts * average)
    first = within / (len(draws) - len(groups))
    data, simulation = (
        _between(average[groups[:, column] > 0]) - first / starts[0] for column in (0, 1)
    )
    return Parts(data + simulation + first, data, simulation, first)


def _between(average: np.ndarray) -> np.ndarray:
    """Give the form (R, R) of the covariance of means, each a row of ``average`` (B, R)."""
    centred = average - average.mean(0)
    return centred.T @ centred / (len(average) - 1)


def covariance(contents: np.ndarray, draws: np.ndarray) -> Parts | None:
    """Estimate covariances (K, K) of the contents (R, K) of all replicas; None as in ``forms``."""
    return _evaluated(contents, draws, "rj,rs,sk->jk")


def variance(contents: np.ndarray, draws: np.ndarray) -> Parts | None:
    """Estimate variances (K,), the diagonals of ``covariance``."""
    return _evaluated(contents, draws, "rk,rs,sk->k")


def _evaluated(contents: np.ndarray, draws: np.ndarray, what: str) -> Parts | None:
    found = forms(draws)
    if found is None:
        return None
    x = contents - contents[0]  # the forms do not change, rounding does
    parts: list[Any] = [m if m is None else np.einsum(what, x, m, x, optimize=True) for m in found]
    return Parts(*parts)
