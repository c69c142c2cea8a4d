"""Checks of an unfolding against the data: folded back, and the bottom line.

Folded back: the simulation with push weights, at detector level, is the unfolded result seen by the
detector, and should look like the data. The χ² takes the two as independent; as the weights follow
fluctuations of the data, it comes out smaller than that of independent samples. A large one says
that the iterations have not converged, or that the network misses something.

Bottom line (Cousins, May, Sun, arXiv:1607.07038): a model should not be told from the unfolded
result better than, folded, from the data themselves: χ²(unfolded, model) at particle level with the
covariance of the unfolding is at most χ²(data, model) at detector level. More would mean a variance
that is too small, or a bias. A model is the simulation with other event weights. Both use the
shapes of one observable in the same bins, K of them, p = K − 1 free. As the unfolding sees more
than this observable, an excess of a few units may also be real.

The covariance, of ν degrees of freedom, is that of the difference between the unfolded result and
the model, which share their events, by the replicas. Its inverse is too large on average by
ν / (ν - p - 1) (Hartlap, Simon, Schneider, astro-ph/0608064, Eq. 17), for which χ² is corrected,
with ν = B - 1 for B bootstrap samples; its probability is Hotelling's.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.special import fdtrc

from jaxpriors.errors import InputError
from jaxpriors.evaluation.histograms import binned
from jaxpriors.evaluation.metrics import Chi2Test, chi2_test
from jaxpriors.unfolding.distributions import merged_edges, usual_edges
from jaxpriors.unfolding.result import Unfolded
from jaxpriors.unfolding.variance import covariance

MOST_BINS = 10  # by default; with replicas, a third of their number
LEAST_REPLICAS = 6  # bootstrap samples for the bottom line of two bins
EXCLUDED = 0.05  # probability below which a model is told from the unfolded result
LEAST_PROBABILITY = 0.01  # of a folded-back result that describes the data


class FoldedBack(NamedTuple):
    """Hold χ² tests of the data against the simulation, before and after unfolding."""

    before: Chi2Test
    after: Chi2Test

    @property
    def passed(self) -> bool:
        """Tell whether the folded-back result describes the data."""
        return self.after.p_value >= LEAST_PROBABILITY


class BottomLine(NamedTuple):
    """Hold the tests of a model against data and unfolded result.

    error: of the χ² at particle level, from the finite number of replicas.
    """

    detector: Chi2Test
    particle: Chi2Test
    error: float

    @property
    def passed(self) -> bool:
        """Tell whether the unfolded result excludes the model no more than the data do.

        It does where its probability is below 5 % and its χ², less two errors, above the data's.
        """
        more = self.particle.chi2 - 2 * self.error > self.detector.chi2
        return not (more and self.particle.p_value < EXCLUDED)


def folded_back(
    result: Unfolded,
    simulated: np.ndarray,
    data: np.ndarray,
    edges: np.ndarray,
    data_weight: np.ndarray | None = None,
) -> FoldedBack:
    """Compare an observable of the data (m,) with that of the simulation at detector level.

    simulated: (n,), read where there is a detector level. edges: (K + 1,). Raises InputError as
    `metrics.chi2_test` does, and for a result without a finished iteration.
    """
    if not result.chosen:
        raise InputError("iteration: found 0 as the one to take, expected a finished one")
    reco = result.pass_reco
    before, after = (
        chi2_test(data, simulated[reco], edges, data_weight, (result.weight * factor)[reco])
        for factor in (1.0, result.push[result.chosen - 1, 0])
    )
    return FoldedBack(before, after)


def bottom_line(
    result: Unfolded,
    particle: np.ndarray,
    simulated: np.ndarray,
    data: np.ndarray,
    edges: np.ndarray,
    data_weight: np.ndarray | None = None,
    model: np.ndarray | None = None,
) -> BottomLine:
    """Test a model by an observable of the unfolded result and of the data (m,).

    particle, simulated: (n,), of the simulated events at both levels, read where they have them.
    model: (n,), the model's weights of the simulated events; None for their own, the simulation.
    Raises InputError for fewer replicas than bins + 4, and as `metrics.chi2_test` does.
    """
    gen, reco = result.pass_gen, result.pass_reco
    model = result.weight if model is None else model
    detector = chi2_test(data, simulated[reco], edges, data_weight, model[reco])
    unfolded = result.contents(particle, edges, normalised=True)
    weights = (model * result.replicas)[:, gen]
    contents = np.stack([binned(particle[gen], edges, w).content for w in weights])
    difference = (unfolded - contents / contents.sum(1, keepdims=True))[:, :-1]
    ndf, freedom = difference.shape[1], int(result.draws.max()) - 1
    parts = covariance(difference, result.draws)
    if parts is None or freedom < ndf + 4:
        raise InputError(
            f"replicas: found {freedom + 1} for {ndf + 1} bins, expected at least {ndf + 5}, or "
            "fewer bins"
        )
    first = difference[0]
    try:
        squared = float(first @ np.linalg.solve(parts.total, first))
    except np.linalg.LinAlgError:
        raise InputError("bins: a combination of them never varies; expected wider bins") from None
    chi2 = squared * (freedom - ndf - 1) / freedom
    p_value = float(fdtrc(ndf, freedom - ndf + 1, squared * (freedom - ndf + 1) / (freedom * ndf)))
    error = chi2 * np.sqrt(2 / (freedom - ndf - 3))
    return BottomLine(detector, Chi2Test(chi2, ndf, p_value), float(error))


def common_edges(
    result: Unfolded, name: str, particle: np.ndarray, simulated: np.ndarray, data: np.ndarray
) -> np.ndarray:
    """Choose edges (K + 1,) for both levels: the usual ones, merged to at most `MOST_BINS`.

    With B bootstrap samples there are at most B / 3, but two. Each bin holds a like share of the
    data, and 25 effective events of the simulation at both levels.
    """
    gen, reco = result.pass_gen, result.pass_reco
    draws = int(result.draws.max())
    most = min(MOST_BINS, max(draws // 3, 2)) if draws else MOST_BINS
    edges = usual_edges(name, particle[gen])
    inside = np.sum((data >= edges[0]) & (data <= edges[-1]))
    edges = merged_edges(edges, data, None, max(inside / (most + 0.9), 25))
    for values, weight in ((simulated[reco], result.weight[reco]), (particle[gen], None)):
        edges = merged_edges(edges, values, weight, 25)
    return edges
