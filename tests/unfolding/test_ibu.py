"""Iterative Bayesian unfolding: an independent implementation, known truths, bad input."""

from statistics import NormalDist

import numpy as np
import pytest
from pyunfold import iterative_unfold

from jaxpriors.errors import InputError
from jaxpriors.unfolding.ibu import Response, bins, covariance, unfold

EDGES = np.linspace(-3, 3, 13)


def _gaussians(n, mean, width, seed, smearing=0.5):
    rng = np.random.default_rng(seed)
    particle = rng.normal(mean, width, n)
    return particle, particle + rng.normal(0, smearing, n), rng


def _counts(values, weight=None):
    return np.bincount(bins(values, EDGES), weight, len(EDGES) - 1)


def test_agrees_with_an_independent_implementation():
    particle, detector, rng = _gaussians(20_000, 0.0, 1.0, 0)
    weight = rng.uniform(0.5, 1.5, len(particle))
    found = rng.random(len(particle)) < 0.8 - 0.1 * np.tanh(particle)
    response = Response.of_events(particle, detector, EDGES, EDGES, weight, pass_reco=found)
    centres = (EDGES[1:] + EDGES[:-1]) / 2
    assert response.matrix.sum(0) == pytest.approx(0.8 - 0.1 * np.tanh(centres), abs=0.08)
    data = _counts(_gaussians(8000, 0.3, 0.9, 1)[1]).astype(float)
    ours = unfold(data, response, 4)
    ones, efficiency = np.ones_like(response.matrix), response.matrix.sum(0)
    for iterations in range(1, 5):
        theirs = iterative_unfold(
            data=data,
            data_err=np.sqrt(np.maximum(data, 1)),
            response=response.matrix,
            response_err=1e-3 * ones,
            efficiencies=efficiency,
            efficiencies_err=1e-3 * efficiency,
            prior=response.prior / response.prior.sum(),
            ts_stopping=1e-12,
            max_iter=iterations,
        )
        assert ours[iterations] == pytest.approx(theirs["unfolded"], rel=1e-6)


@pytest.mark.parametrize("elsewhere", [False, True])
def test_recovers_the_truth_through_losses_and_fakes(elsewhere):
    """Losses rise with the value; ``elsewhere``: found events without a truth, more in data."""
    samples = {}
    for name, mean, every, seed in (("simulation", 0.0, 10, 2), ("data", 0.2, 7, 3)):
        particle, detector, rng = _gaussians(400_000, mean, 1.0, seed, smearing=0.3)
        reco = rng.random(len(particle)) < 0.9 - 0.2 / (1 + np.exp(-2 * particle))
        gen = np.ones(len(particle), bool)
        if elsewhere:
            gen[::every] = False
            detector[::every] = 2.9
        samples[name] = particle, detector, gen, reco
    particle, detector, gen, reco = samples["simulation"]
    response = Response.of_events(particle, detector, EDGES, EDGES, None, gen, reco)
    truth, measured, has_truth, found = samples["data"]
    unfolded = unfold(_counts(measured[found]), response, 5)
    expected = _counts(truth[has_truth])
    bulk = expected > 0.02 * expected.sum()
    before, after = (np.abs(unfolded[i] / expected - 1)[bulk].max() for i in (0, -1))
    assert before > 0.2 and after < 0.03


def test_without_smearing_one_iteration_is_exact():
    particle, _, rng = _gaussians(5000, 0.0, 1.0, 4)
    weight = rng.normal(1.0, 1.0, len(particle))  # of both signs
    response = Response.of_events(particle, particle, EDGES, EDGES, weight)
    data = _counts(_gaussians(3000, 0.5, 1.0, 5)[0]).astype(float)
    assert unfold(data, response, 1)[1] == pytest.approx(data, rel=1e-12)


def test_what_cannot_be_unfolded_is_said():
    particle, detector, _ = _gaussians(2000, 0.0, 1.0, 6)
    response = Response.of_events(particle, detector, EDGES, EDGES)
    wide = np.linspace(-9, 3, 13)
    with pytest.raises(InputError, match=r"particle-level bins \[0, 1, 2"):
        Response.of_events(particle, detector, wide, EDGES)
    with pytest.raises(InputError, match="arrays of \\[1999, 2000\\] events"):
        Response.of_events(particle, detector[1:], EDGES, EDGES)
    with pytest.raises(InputError, match=r"bins \[0, 1\] hold events, but none of the simulation"):
        covered = Response.of_events(
            np.abs(particle), np.abs(detector) + 7, np.linspace(0, 2, 4), wide
        )
        unfold(np.eye(12)[0] + np.eye(12)[1], covered, 2)  # fmt: skip
    with pytest.raises(InputError, match="the sum over all bins is 0"):
        unfold(np.zeros(12), response, 2)
    with pytest.raises(InputError, match=r"found shape \(3,\), expected \(12,\)"):
        unfold(np.ones(3), response, 2)


def test_errors_of_bootstrap_samples_cover_the_truth():
    """68 % of the intervals hold it in toys of data and simulation; not with the data's alone."""
    edges, inside = np.array([-9.0, -1.0, -0.3, 0.4, 1.1, 9.0]), {"total": [], "data": []}
    expected = 1000 * np.diff([NormalDist(0.2, 0.9).cdf(x) for x in edges])
    for toy in range(60):
        rng = np.random.default_rng([toy, 7])
        sizes = rng.poisson([1500, 1000])
        particle, detector, _ = _gaussians(sizes[0], 0.0, 1.0, [toy, 0], smearing=0.3)
        measured = _gaussians(sizes[1], 0.2, 0.9, [toy, 1], smearing=0.3)[1]
        response = Response.of_events(particle, detector, edges, edges)
        found = unfold(np.histogram(measured, edges)[0], response, 6)[-1]
        given = measured, particle, detector, edges, edges, 6
        parts = covariance(*given, replicas=30, seed=toy)
        assert parts.total == pytest.approx(parts.data + parts.simulation)
        for name, each in inside.items():
            error = np.sqrt(np.diag(getattr(parts, name)))
            each.append(np.abs(found - expected) < error)
    shares = {name: np.mean(each) for name, each in inside.items()}
    assert shares["total"] == pytest.approx(0.68, abs=0.07)  # 60 toys of 5 bins: 0.03
    assert shares["data"] < 0.61


def test_a_single_bootstrap_sample_is_refused():
    x = np.linspace(-1, 1, 50)
    with pytest.raises(InputError, match="replicas: found 1, expected at least 2"):
        covariance(x, x, x, EDGES, EDGES, 1, replicas=1)
