"""The variance of an unfolded spectrum told apart, by estimators whose expectations are known."""

import numpy as np
import pytest

from jaxpriors import Unfolded
from jaxpriors.errors import InputError
from jaxpriors.unfolding.variance import counts, covariance, design, forms, variance


def _expected(draws, data, simulation, first):
    """The covariance (R, R) of replicas whose effects are independent with these variances."""
    shared = [np.equal.outer(d, d) & (d > 0) for d in draws.T]
    return data * shared[0] + simulation * shared[1] + first * np.eye(len(draws))


@pytest.mark.parametrize(("replicas", "starts"), [(2, 2), (5, 2), (4, 3), (7, 5)])
def test_each_part_is_estimated_without_bias(replicas, starts):
    """The expectation of xᵀ M x is tr(M Σ), for effects of any distribution and a common mean."""
    draws = design(replicas, starts)
    found = forms(draws)
    covered = _expected(draws, 3.0, 0.7, 0.2)
    for part, truth in zip(found, (3.9, 3.0, 0.7, 0.2), strict=True):
        assert np.trace(part @ covered) == pytest.approx(truth, rel=1e-12)
        assert part.sum(1) == pytest.approx(0, abs=1e-12)  # whatever the mean


def test_joint_replicas_give_the_total_with_the_first_weights_once():
    draws = design(6)
    total, *parts = forms(draws)
    assert np.trace(total @ _expected(draws, 3.0, 0.7, 0.2)) == pytest.approx(3.9)
    assert parts == [None, None, None]
    contents = np.random.default_rng(0).normal(5, 1, (7, 3))
    found = covariance(contents, draws).total
    assert found == pytest.approx(np.cov(contents[1:].T, ddof=1))
    assert variance(contents, draws).total == pytest.approx(np.diag(found))


def test_the_total_is_the_sum_of_the_parts_and_never_negative():
    """A part may be negative, and is left so."""
    negative = 0
    for seed in range(20):
        draws = design(3, 2)
        contents = np.random.default_rng(seed).normal(5, 1, (len(draws), 4))
        found = covariance(contents, draws)
        assert found.total == pytest.approx(found.data + found.simulation + found.first_weights)
        assert np.linalg.eigvalsh(found.total).min() > -1e-12
        negative += np.sum(np.diag(found.data) < 0)
    assert negative > 0


def test_parts_are_found_where_they_are():
    """Contents that the draws of the data alone, or of the simulation alone, move."""
    draws = design(400, 2)
    rng = np.random.default_rng(1)
    moved = rng.normal(0, [2.0, 0.5], (401, 2))
    moved[0] = 0
    for column in (0, 1):
        contents = 10 + moved[draws[:, column]] + rng.normal(0, 0.3, (len(draws), 2))
        found = variance(contents, draws)
        assert found[1 + column] == pytest.approx([4.0, 0.25], rel=0.2)
        assert found[2 - column] == pytest.approx([0, 0], abs=0.02)
        assert found.first_weights == pytest.approx([0.09, 0.09], rel=0.15)


def test_replicas_of_one_draw_hold_the_same_events():
    draws = design(3, 2)
    data, simulation = (counts(500, draws, 7, sample) for sample in ("data", "simulation"))
    assert data.shape == (14, 500) and data.dtype == np.int8
    for found, column in ((data, 0), (simulation, 1)):
        for draw in range(4):
            (first, *others) = found[draws[:, column] == draw]
            assert all(np.array_equal(first, other) for other in others)
            assert (first == 1).all() == (draw == 0)
    assert not np.array_equal(data[2], simulation[8])
    # with one start, a replica holds the first draws of both
    both = [counts(500, design(3), 7, sample)[1] for sample in ("data", "simulation")]
    assert np.array_equal(both[0], data[2]) and np.array_equal(both[1], simulation[8])


@pytest.mark.parametrize(
    ("replicas", "starts", "message"),
    [
        (0, 2, "replicas: found 0, expected at least 2"),
        (1, 3, "replicas: found 1, expected at least 2"),
        (5, 0, "starts: found 0, expected at least 1"),
        (10_000, 10_000, "replicas × starts: found 100000000, expected 0 … 10000"),
    ],
)
def test_designs_that_tell_nothing_are_refused(replicas, starts, message):
    with pytest.raises(InputError, match=message):
        design(replicas, starts)


def _result(draws, n=4000):
    """Replicas that count events differently, with factors of first weights of their own."""
    rng = np.random.default_rng(3)
    x = rng.random(n)
    found = counts(n, draws, 0, "simulation")
    factor = np.exp(0.03 * rng.normal(size=(len(draws), 1)) * (x - 0.5))
    data = 1 + 0.05 * rng.normal(size=draws.max() + 1)
    data[0] = 1.0
    push = factor[None]
    flags = np.ones(n, bool)
    scale = data[draws[:, 0]]
    given = np.ones(n), flags, flags, push, push, found, draws, scale, 1
    return Unfolded(*given, observables={"x": x}, metadata={}, reports=[{}, {}])


def test_covariance_of_a_result(tmp_path):
    edges = np.linspace(0, 1, 5)
    result = _result(design(200, 2))
    found = result.covariance(result.observables["x"], edges)
    # a common factor for the data, Poisson numbers of 1000 for the simulation, a slope for weights
    assert found.data == pytest.approx(np.full((4, 4), 50.0**2), rel=0.3)
    assert np.diag(found.simulation) == pytest.approx(np.full(4, 1000), rel=0.35)
    slope = 0.03 * 1000 * np.array([-0.375, -0.125, 0.125, 0.375])
    assert found.first_weights == pytest.approx(np.outer(slope, slope), rel=0.2, abs=5)
    shares = result.covariance(result.observables["x"], edges, normalised=True)
    assert shares.total.sum(1) == pytest.approx(0, abs=1e-12)  # shares add up to one
    assert np.abs(shares.data).max() < 0.05 * shares.total.max()  # a factor changes no shares
    before = result.covariance(result.observables["x"], edges, iteration=0)
    assert np.abs(before.first_weights).max() < 1e-9
    result.write(tmp_path / "unfolding.h5")
    again = Unfolded.read(tmp_path / "unfolding.h5")
    assert np.array_equal(again.draws, result.draws)
    for one, other in zip(again.covariance(again.observables["x"], edges), found, strict=True):
        assert np.array_equal(one, other)
    with pytest.raises(InputError, match="replicas: found 0 in the result, expected at least 2"):
        _result(design(0)).covariance(result.observables["x"], edges)
    with pytest.raises(InputError, match="normalised: the weights within the bins add up to 0"):
        result.covariance(result.observables["x"], edges + 5, normalised=True)
