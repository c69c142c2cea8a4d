"""Iterative Bayesian unfolding of one binned observable: D'Agostini, NIM A 362 (1995) 487.

Axes: n simulated events, D bins at detector level, P bins at particle level. Values beyond the
outermost edges count in the outermost bins.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from jaxpriors.errors import InputError
from jaxpriors.run.ranges import check_whole
from jaxpriors.unfolding.variance import Parts, counts, design


@dataclass(frozen=True)
class Response:
    """Describe the response of the detector to a binned observable.

    matrix: (D, P), the probability that an event of a particle-level bin is in a detector-level
        bin; its sum over detector-level bins is the efficiency.
    prior: (P,), sums of weights of the simulated events with a particle level.
    fakes: (D,), sums of weights of the events without a particle level.
    """

    matrix: np.ndarray
    prior: np.ndarray
    fakes: np.ndarray

    @classmethod
    def of_events(
        cls,
        particle: np.ndarray,
        detector: np.ndarray,
        particle_edges: np.ndarray,
        detector_edges: np.ndarray,
        weight: np.ndarray | None = None,
        pass_gen: np.ndarray | None = None,
        pass_reco: np.ndarray | None = None,
    ) -> Response:
        """Find the response from the values (n,) of simulated events at both levels.

        weight: (n,), of either sign, default 1. pass_gen, pass_reco: (n,) bool, which events have a
        particle and a detector level, default all; other values are ignored. Raises InputError for
        arrays of different lengths, and for a particle-level bin whose sum of weights is not
        positive, as its response is unknown.
        """
        n = len(particle)
        weight = np.ones(n) if weight is None else np.asarray(weight, np.float64)
        flags = [
            np.ones(n, bool) if f is None else np.asarray(f, bool) for f in (pass_gen, pass_reco)
        ]
        lengths = {len(a) for a in (particle, detector, weight, *flags)}
        if len(lengths) > 1:
            raise InputError(f"response: found arrays of {sorted(lengths)} events, expected {n}")
        gen, reco = flags
        p_bin, d_bin = bins(particle, particle_edges), bins(detector, detector_edges)
        sizes = len(detector_edges) - 1, len(particle_edges) - 1
        both = gen & reco
        joint = np.zeros(sizes)
        np.add.at(joint, (d_bin[both], p_bin[both]), weight[both])
        prior = np.bincount(p_bin[gen], weight[gen], sizes[1])
        if not np.all(prior > 0):
            raise InputError(
                f"response: particle-level bins {np.flatnonzero(prior <= 0).tolist()} have no "
                "positive sum of weights in the simulation; expected wider bins"
            )
        alone = reco & ~gen
        fakes = np.bincount(d_bin[alone], weight[alone], sizes[0])
        return cls(joint / prior, prior, fakes)


def bins(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Find the bin of each value (n,), from 0; values beyond the edges go to the outermost bins."""
    return np.clip(np.searchsorted(edges, values, side="right") - 1, 0, len(edges) - 2)


def unfold(data: np.ndarray, response: Response, iterations: int) -> np.ndarray:
    """Unfold measured sums of weights ``data`` (D,) to particle level, (iterations + 1, P).

    The first row is the simulation, scaled to the data; each iteration takes the previous row as
    its prior. The events without a particle level form one more particle-level bin, which is
    unfolded with the others. Raises InputError where the data have no positive sum, or events in a
    bin without simulated events.
    """
    measured = np.asarray(data, np.float64)
    if measured.shape != response.fakes.shape:
        raise InputError(f"data: found shape {measured.shape}, expected {response.fakes.shape}")
    if not measured.sum() > 0:
        raise InputError(f"data: the sum over all bins is {measured.sum():g}, expected above 0")
    elsewhere = response.fakes.sum()
    shape = response.fakes / elsewhere if elsewhere > 0 else response.fakes
    matrix = np.concatenate([response.matrix, shape[:, None]], axis=1)
    prior = np.append(response.prior, max(elsewhere, 0.0))
    efficiency, folded = matrix.sum(0), matrix @ prior
    lonely = np.flatnonzero((measured != 0) & (folded <= 0))
    if len(lonely):
        raise InputError(
            f"data: bins {lonely.tolist()} hold events, but none of the simulation; expected a "
            "simulation that covers the data, or wider bins"
        )
    estimates = [prior * (measured.sum() / folded.sum())]
    for _ in range(iterations):
        folded = matrix @ estimates[-1]
        ratio = np.divide(measured, folded, out=np.zeros_like(measured), where=folded > 0)
        known = efficiency > 0  # a bin with efficiency 0 keeps its prior
        update = np.divide(matrix.T @ ratio, efficiency, out=np.ones_like(efficiency), where=known)
        estimates.append(estimates[-1] * update)
    return np.stack(estimates)[:, :-1]


def covariance(
    measured: np.ndarray,
    particle: np.ndarray,
    detector: np.ndarray,
    particle_edges: np.ndarray,
    detector_edges: np.ndarray,
    iterations: int,
    measured_weight: np.ndarray | None = None,
    weight: np.ndarray | None = None,
    pass_gen: np.ndarray | None = None,
    pass_reco: np.ndarray | None = None,
    replicas: int = 100,
    seed: int = 0,
) -> Parts:
    """Estimate the covariance (P, P) of the last iteration by bootstrap samples of both samples.

    measured: values (m,) of the data at detector level, with their weights; the rest as in
    ``Response.of_events``. The parts are those of data and of simulation (`unfolding.variance`);
    there are no first weights. Raises InputError as ``unfold`` and ``Response.of_events`` do, for a
    bootstrap sample as well, and for fewer than two replicas.
    """
    check_whole("replicas", replicas, 2)
    places, size = bins(measured, detector_edges), len(detector_edges) - 1
    own = np.ones(len(measured)) if measured_weight is None else measured_weight
    weight = np.ones(len(particle)) if weight is None else weight
    given = particle, detector, particle_edges, detector_edges
    draws = design(replicas)[1:]

    def unfolded(of_data: np.ndarray, of_simulation: np.ndarray) -> np.ndarray:
        response = Response.of_events(*given, of_simulation, pass_gen, pass_reco)
        return unfold(np.bincount(places, of_data, size), response, iterations)[-1]

    first, second = (
        np.atleast_2d(np.cov(np.stack(contents).T))
        for contents in (
            [unfolded(own * c, weight) for c in counts(len(own), draws, seed, "data")],
            [unfolded(own, weight * c) for c in counts(len(weight), draws, seed, "simulation")],
        )
    )
    return Parts(first + second, first, second)
