"""The published bins and their error, against a slow reference that is written from scratch."""

from __future__ import annotations

import math

import numpy as np
import pytest

from jaxpriors.errors import InputError
from jaxpriors.evaluation.discriminators import (
    discriminator_error,
    discriminator_floor,
    triangular_discriminator,
)
from jaxpriors.evaluation.published import BINNINGS, PUBLISHED, uniform_error
from jaxpriors.evaluation.tables import discriminators

MASS = PUBLISHED[0]


def _count(values, weights, edges):
    """Sums of weights and of their squares in each bin, the last of which includes its end."""
    sums, squares = [0.0] * (len(edges) - 1), [0.0] * (len(edges) - 1)
    for value, weight in zip(values, weights, strict=True):
        for k in range(len(sums)):
            last = k == len(sums) - 1
            if edges[k] <= value < edges[k + 1] or (last and value == edges[k + 1]):
                sums[k] += weight
                squares[k] += weight * weight
    return sums, squares


def _distance(x, y, x_sum, y_sum, width):
    """½ ∫ (p − q)² / (p + q), times 1000, of contents divided by sums that are given."""
    total = 0.0
    for a, b in zip(x, y, strict=True):
        if a + b > 0:
            p, q = a / (x_sum * width), b / (y_sum * width)
            total += 500 * width * (p - q) ** 2 / (p + q)
    return total


def _reference(one, other, edges, trials, rng):
    """The discriminator, and its spread over trials within the errors of the bins."""
    (x, x2), (y, y2) = (_count(values, weights, edges) for values, weights in (one, other))
    width = edges[1] - edges[0]
    found = []
    for _ in range(trials):
        varied = [
            [c + rng.uniform(-1, 1) * math.sqrt(v) for c, v in zip(s, s2, strict=True)]
            for s, s2 in ((x, x2), (y, y2))
        ]
        found.append(_distance(*varied, sum(x), sum(y), width))
    mean = sum(found) / trials
    spread = math.sqrt(sum((d - mean) ** 2 for d in found) / trials)
    return _distance(x, y, sum(x), sum(y), width), spread


@pytest.fixture(scope="module")
def samples():
    """Values with some outside of the range and empty bins, and weights of one of them."""
    rng = np.random.default_rng(3)
    data, simulation = rng.gamma(4.0, 5.0, 900) - 4, rng.gamma(4.0, 6.0, 700) - 4
    data[:2] = 0.0, 75.0  # on the edges, both within
    assert (data < 0).any() and (simulation > 75).any()
    return (data, np.ones(900)), (simulation, rng.uniform(0.2, 2.0, 700))


def test_the_bins_are_the_published_ones():
    shapes = {o.name: (o.low, o.high, o.bins) for o in PUBLISHED}
    assert shapes == {
        "mass": (0, 75, 49),
        "width": (0, 0.6, 49),
        "multiplicity": (0, 80, 79),
        "groomed_mass": (-14, -2, 49),
        "zg": (0, 0.5, 49),
        "tau21": (0, 1.2, 49),
    }
    np.testing.assert_array_equal(PUBLISHED[2].edges, np.linspace(0, 80, 80))


def test_value_and_error_are_those_of_the_reference(samples):
    (data, ones), (simulation, weights) = samples
    arguments = data, simulation, MASS.edges, ones, weights
    value, spread = _reference(*samples, MASS.edges.tolist(), 2000, np.random.default_rng(0))
    assert triangular_discriminator(*arguments) == pytest.approx(value, rel=1e-12)
    assert uniform_error(*arguments, replicas=2000, seed=1) == pytest.approx(spread, rel=0.08)
    # 100 trials, as published: the spread of a spread is 1/√200
    assert uniform_error(*arguments) == pytest.approx(spread, rel=0.3)
    assert uniform_error(*arguments) == uniform_error(*arguments)
    assert uniform_error(*arguments) < discriminator_error(*arguments)


def test_empty_bins_and_values_outside_do_not_count(samples):
    (data, _), (simulation, weights) = samples
    inside = (simulation >= 0) & (simulation <= 75)
    whole = uniform_error(data, simulation, MASS.edges, None, weights)
    assert whole == uniform_error(data, simulation[inside], MASS.edges, None, weights[inside])
    apart = np.array([0.5, 0.5]), np.array([70.0])  # one bin each, all others are empty
    assert triangular_discriminator(*apart, MASS.edges) == 1000.0
    assert np.isfinite(uniform_error(*apart, MASS.edges))
    with pytest.raises(InputError, match="bins: found published, and negative weights"):
        uniform_error(data, simulation, MASS.edges, None, weights - 0.5)


@pytest.mark.parametrize("name", BINNINGS)
def test_two_equal_samples_are_at_the_floor(name):
    """The mean discriminator of pairs from one distribution, with weights that vary."""
    rng = np.random.default_rng(5)
    edges = BINNINGS[name].observables[0].edges
    found = []
    for _ in range(60):
        pair = [rng.gamma(4.0, 5.0, 1500) for _ in range(2)]
        weights = rng.uniform(0, 2, 1500)
        of_pair = (*pair, edges, None, weights)
        found.append((triangular_discriminator(*of_pair), discriminator_floor(*of_pair)))
    value, floor = np.mean(found, axis=0)
    error = np.std([x for x, _ in found]) / np.sqrt(len(found))
    assert abs(value - floor) < 4 * error
    # half of 1000 a bin, of 1 + 4/3 events over 1500 (the weights' effective number is 3/4)
    bins = np.count_nonzero(np.histogram(np.concatenate(pair), edges)[0])
    assert floor == pytest.approx(250 * (bins - 1) * (1 + 4 / 3) / 1500, rel=0.1)


def test_undefined_values_lie_where_they_do_in_the_published_tables():
    """z_g = τ21 = 0 count in the first bins, ln ρ of jets that fail SoftDrop in none."""
    jets = {o.name: np.full(4, o.low + 0.1) for o in PUBLISHED}
    jets |= {"groomed_mass": np.array([-20.0, -5, -5, -5]), "zg": np.zeros(4), "tau21": np.zeros(4)}
    binning = BINNINGS["published"]
    found = discriminators(
        jets, jets, {"a": np.ones(4)}, observables=binning.observables, error=binning.error
    )
    ranges = found["ranges"]["table2"]
    assert ranges["groomed_mass"]["below"] == {"data": 0.25, "simulation": 0.25}
    assert ranges["zg"]["below"]["data"] == ranges["tau21"]["below"]["data"] == 0
    assert {cell["value"] for cell in found["table2"]["a"].values()} == {0.0}
