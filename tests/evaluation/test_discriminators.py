"""The triangular discriminator against integrals, and its error against repeated experiments."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from jaxpriors.errors import InputError
from jaxpriors.evaluation.discriminators import (
    common_edges,
    discriminator_error,
    discriminator_floor,
    triangular_discriminator,
)
from jaxpriors.evaluation.histograms import binned
from jaxpriors.evaluation.metrics import chi2_test
from tests.helpers.densities import EDGES, rising, to_rising

TRIALS = 300


@pytest.fixture
def rng() -> np.random.Generator:
    """Fixed seed."""
    return np.random.default_rng(7)


def test_discriminator_of_known_densities_equals_its_integral():
    # Samples whose bins hold exactly the densities 1 and 2x, as weights at the bin centres.
    edges = np.linspace(0.0, 1.0, 2001)
    centres = (edges[1:] + edges[:-1]) / 2
    value = triangular_discriminator(centres, centres, edges, None, 2 * centres)
    # ½ ∫ (1 − 2x)² / (1 + 2x) dx = ½ (2 ln 3 − 2)
    assert value == pytest.approx(1000 * (np.log(3) - 1), rel=1e-6)


def test_discriminator_is_symmetric_and_bounded_and_free_of_scale(rng):
    p, q, weights = rng.random(500), rising(rng, 400), rng.exponential(1, 400)
    value = triangular_discriminator(p, q, EDGES, None, weights)
    assert value == pytest.approx(triangular_discriminator(q, p, EDGES, weights, None))
    assert value == pytest.approx(triangular_discriminator(p, q, EDGES, None, 7 * weights))
    assert triangular_discriminator(p, p, EDGES) == 0.0
    assert triangular_discriminator(p / 3, 1 - p / 3, EDGES) == pytest.approx(1000.0)


def repeat(
    rng: np.random.Generator, draw_q: Callable[[int], np.ndarray], weight: Callable | None
) -> tuple[np.ndarray, float, float]:
    """Discriminators of many pairs of samples, mean floor and mean error."""
    values, floors, errors = [], [], []
    for trial in range(TRIALS):
        p, q = rising(rng, 1500), draw_q(2500)
        arguments = (p, q, EDGES, None, None if weight is None else weight(q))
        values.append(triangular_discriminator(*arguments))
        floors.append(discriminator_floor(*arguments))
        if trial < 30:
            errors.append(discriminator_error(*arguments, replicas=150, seed=trial))
    return np.array(values), float(np.mean(floors)), float(np.sqrt(np.mean(np.square(errors))))


@pytest.mark.parametrize("reweighted", [False, True])
def test_floor_and_error_describe_samples_of_one_distribution(rng, reweighted):
    if reweighted:
        values, floor, error = repeat(rng, rng.random, to_rising)
    else:
        values, floor, error = repeat(rng, lambda number: rising(rng, number), None)
        assert floor == pytest.approx(250 * 9 * (1 / 1500 + 1 / 2500), rel=0.05)
    assert values.mean() == pytest.approx(floor, rel=4 / np.sqrt(TRIALS * 4.5))
    assert 0.9 < error / values.std() < 1.5  # a plain bootstrap gives the square root of 3


def test_error_describes_samples_that_differ(rng):
    values, floor, error = repeat(rng, rng.random, None)
    assert values.mean() > 30 * floor
    assert values.std() == pytest.approx(error, rel=0.2)


def test_floor_of_equal_unit_weight_samples_is_five_hundred_bins_over_size(rng):
    p, q = rng.random(20_000), rng.random(20_000)
    floor = discriminator_floor(p, q, np.linspace(0, 1, 21))
    assert floor == pytest.approx(500 * 19 / 20_000, rel=1e-3)


def test_error_is_reproducible(rng):
    p, q = rng.random(200), rising(rng, 200)
    errors = [discriminator_error(p, q, EDGES, seed=seed) for seed in (1, 1, 2)]
    assert errors[0] == errors[1] != errors[2]


def signed(rng: np.random.Generator, number: int, share: float) -> np.ndarray:
    """Weights of 1, a share of them -1."""
    return np.where(rng.random(number) < share, -1.0, 1.0)


def test_numbers_of_positive_weights():
    """As they were before negative weights merged bins."""
    approx = pytest.approx
    rng = np.random.default_rng(3)
    arguments = (rng.random(200), rising(rng, 150), EDGES, None, rng.exponential(1, 150) ** 2)
    assert triangular_discriminator(*arguments) == approx(165.85047675475002, rel=1e-12)
    assert discriminator_floor(*arguments) == approx(56.82110386740938, rel=1e-12)
    assert discriminator_error(*arguments, seed=4) == approx(36.80175778818136, rel=1e-12)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.2])
@pytest.mark.parametrize("shift", [0.0, 0.06])
def test_errors_cover_values_with_negative_weights_and_thin_tails(share, shift):
    """Bell-shaped samples, whose outer bins hold few events, or none but negative ones."""
    values, errors, floors = [], [], []
    for trial in range(150):
        rng = np.random.default_rng(trial)
        p, q = rng.normal(0.4, 0.12, 800), rng.normal(0.4 + shift, 0.12, 800)
        arguments = (p, q, np.linspace(0, 1, 21), None, signed(rng, 800, share))
        values.append(triangular_discriminator(*arguments))
        floors.append(discriminator_floor(*arguments))
        if trial < 25:
            errors.append(discriminator_error(*arguments, replicas=100, seed=trial))
    spread = np.std(values, ddof=1)
    assert 0.8 < np.sqrt(np.mean(np.square(errors))) / spread < 1.4
    assert max(errors) < 3 * spread
    if shift == 0:
        assert np.mean(values) == pytest.approx(np.mean(floors), rel=0.12)
    else:
        assert np.mean(values) > np.mean(floors) + 2 * spread


def test_negative_weights_leave_fewer_bins(rng):
    p, q = rng.random(5000), rng.random(5000)
    weights = signed(rng, 5000, 0.2)
    value = triangular_discriminator(p, q, EDGES, None, weights)
    floor = discriminator_floor(p, q, EDGES, None, weights)
    assert floor == pytest.approx(250 * 9 * (1 / 5000 + 1 / (0.36 * 5000)), rel=0.1)
    assert 0.1 * floor < value < 4 * floor
    few, signs = q[q > 0.2], np.where(q < 0.1, -1.0, 1.0)  # below zero in the first bin
    found = triangular_discriminator(few, q, EDGES, None, signs)
    edges = np.array([0.0, *EDGES[3:]])
    assert found == triangular_discriminator(few, q, edges, None, signs)
    both = binned(few, EDGES), [binned(q, EDGES, signs), binned(q, EDGES)]
    np.testing.assert_array_equal(common_edges(EDGES, *both), edges)


def test_a_sum_of_weights_near_zero_is_refused(rng):
    values, weights = rng.random(1000), np.where(np.arange(1000) < 530, 1.0, -1.0)
    for function in (triangular_discriminator, discriminator_error):
        with pytest.raises(InputError, match=r"add up to 60 ± 31.6\d*, with negative ones"):
            function(values, values, EDGES, weights)


@pytest.mark.parametrize(
    ("values", "edges", "weights", "message"),
    [
        ([0.1, np.nan], EDGES, None, r"1 of 2 values are not finite .* number 1: nan"),
        ([0.1, 0.2], EDGES, [1.0, np.inf], "1 of 2 weights are not finite"),
        ([0.1, 0.2], EDGES, [1.0], r"shape \(2,\) and weights \(1,\)"),
        ([0.1, 0.2], EDGES, [1.0, -1.0], "add up to 0 .*2 of 2 values"),
        ([2.0, 3.0], EDGES, None, r"within \[0, 1\] add up to 0 \(0 of 2 values"),
        ([0.1, 0.2], EDGES[::-1], None, "expected ascending"),
    ],
)
def test_bad_samples_are_refused(values, edges, weights, message):
    weights = None if weights is None else np.array(weights)
    for function in (triangular_discriminator, chi2_test):
        with pytest.raises(InputError, match=message):
            function(np.array([0.3, 0.4]), np.array(values), edges, None, weights)
