"""Metrics against analytic values, brute force and repeated experiments."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from jaxpriors.errors import InputError
from jaxpriors.evaluation import metrics

EDGES = np.linspace(0.0, 1.0, 11)
TRIALS = 300


def rising(rng: np.random.Generator, number: int) -> np.ndarray:
    """Values in [0, 1] with density 2x."""
    return np.sqrt(rng.random(number))


def to_rising(values: np.ndarray) -> np.ndarray:
    """The likelihood ratio of density 2x to the uniform one."""
    return 2 * values


@pytest.fixture
def rng() -> np.random.Generator:
    """Fixed seed."""
    return np.random.default_rng(7)


def test_histogram_counts_the_range_only_and_closes_the_last_bin():
    values = np.array([-0.1, 0.0, 0.05, 0.1, 1.0, 1.1])
    result = metrics.histogram(values, EDGES, np.array([9.0, 1.0, -2.0, 3.0, 4.0, 9.0]))
    np.testing.assert_array_equal(result.content[[0, 1, 9]], [-1.0, 3.0, 4.0])
    np.testing.assert_array_equal(result.variance[[0, 1, 9]], [5.0, 9.0, 16.0])
    assert result.content.sum() == 6.0
    density, error = result.density(EDGES)
    assert (density * np.diff(EDGES)).sum() == pytest.approx(1.0)
    assert error[9] == pytest.approx(4.0 / 6.0 / 0.1)


def test_discriminator_of_known_densities_equals_its_integral():
    # Samples whose bins hold exactly the densities 1 and 2x, as weights at the bin centres.
    edges = np.linspace(0.0, 1.0, 2001)
    centres = (edges[1:] + edges[:-1]) / 2
    value = metrics.triangular_discriminator(centres, centres, edges, None, 2 * centres)
    # ½ ∫ (1 − 2x)² / (1 + 2x) dx = ½ (2 ln 3 − 2)
    assert value == pytest.approx(1000 * (np.log(3) - 1), rel=1e-6)


def test_discriminator_is_symmetric_and_bounded_and_free_of_scale(rng):
    p, q, weights = rng.random(500), rising(rng, 400), rng.exponential(1, 400)
    value = metrics.triangular_discriminator(p, q, EDGES, None, weights)
    assert value == pytest.approx(metrics.triangular_discriminator(q, p, EDGES, weights, None))
    assert value == pytest.approx(metrics.triangular_discriminator(p, q, EDGES, None, 7 * weights))
    assert metrics.triangular_discriminator(p, p, EDGES) == 0.0
    assert metrics.triangular_discriminator(p / 3, 1 - p / 3, EDGES) == pytest.approx(1000.0)


def repeat(
    rng: np.random.Generator, draw_q: Callable[[int], np.ndarray], weight: Callable | None
) -> tuple[np.ndarray, float, float]:
    """Discriminators of many pairs of samples, mean floor and mean error."""
    values, floors, errors = [], [], []
    for trial in range(TRIALS):
        p, q = rising(rng, 1500), draw_q(2500)
        arguments = (p, q, EDGES, None, None if weight is None else weight(q))
        values.append(metrics.triangular_discriminator(*arguments))
        floors.append(metrics.discriminator_floor(*arguments))
        if trial < 30:
            errors.append(metrics.discriminator_error(*arguments, replicas=150, seed=trial))
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
    floor = metrics.discriminator_floor(p, q, np.linspace(0, 1, 21))
    assert floor == pytest.approx(500 * 19 / 20_000, rel=1e-3)


def test_error_is_reproducible(rng):
    p, q = rng.random(200), rising(rng, 200)
    errors = [metrics.discriminator_error(p, q, EDGES, seed=seed) for seed in (1, 1, 2)]
    assert errors[0] == errors[1] != errors[2]


def test_negative_weights_are_used_where_the_densities_stay_positive(rng):
    p, q = rng.random(5000), rng.random(5000)
    weights = np.where(rng.random(5000) < 0.2, -1.0, 1.0)
    value = metrics.triangular_discriminator(p, q, EDGES, None, weights)
    floor = metrics.discriminator_floor(p, q, EDGES, None, weights)
    assert floor == pytest.approx(250 * 9 * (1 / 5000 + 1 / (0.36 * 5000)), rel=0.1)
    assert 0.1 * floor < value < 4 * floor
    with pytest.raises(InputError, match=r"bin 0 \[0, 0.1\], where negative weights prevail"):
        metrics.triangular_discriminator(q[q > 0.2], q, EDGES, None, np.where(q < 0.1, -1.0, 1.0))


def test_chi2_p_values_are_uniform_for_weighted_samples(rng):
    p_values = []
    for _ in range(TRIALS):
        p, q = rising(rng, 3000), rng.random(4000)
        test = metrics.chi2_test(p, q, EDGES, None, 3 * to_rising(q))
        assert test.ndf == 9
        p_values.append(test.p_value)
    counts = np.histogram(p_values, np.linspace(0, 1, 6))[0]
    assert ((counts - TRIALS / 5) ** 2 / (TRIALS / 5)).sum() < 18.5  # 4 degrees: 0.1 %


def test_chi2_equals_the_textbook_formula_for_equal_unit_weight_samples(rng):
    p, q = rng.random(2000), rng.random(2000)
    test = metrics.chi2_test(p, q, EDGES)
    m, n = (np.histogram(values, EDGES)[0] for values in (p, q))
    assert test.chi2 == pytest.approx(((m - n) ** 2 / (m + n)).sum(), rel=0.01)
    assert metrics.chi2_test(p, rising(rng, 2000), EDGES).p_value < 1e-10
    with pytest.raises(InputError, match="1 bin is occupied"):
        metrics.chi2_test(np.full(9, 0.5), np.full(9, 0.5), EDGES)


def test_auc_equals_brute_force_with_ties_and_weights(rng):
    scores, labels = rng.integers(0, 12, 200) / 4, rng.integers(0, 2, 200)
    weights = rng.normal(1.0, 0.7, 200)
    ones, zeros = labels == 1, labels == 0
    wins = (scores[ones][:, None] > scores[zeros]) + 0.5 * (scores[ones][:, None] == scores[zeros])
    pairs = weights[ones][:, None] * weights[zeros]
    result = metrics.auc(scores, labels, weights)
    assert result.value == pytest.approx((wins * pairs).sum() / pairs.sum(), rel=1e-12)
    assert metrics.auc(-scores, labels, weights).value == pytest.approx(1 - result.value)
    assert metrics.auc(np.exp(scores), labels, 5 * weights) == pytest.approx(result)


def test_auc_of_known_cases(rng):
    labels = np.array([0, 0, 1, 1])
    assert metrics.auc(np.arange(4.0), labels).value == 1.0
    assert metrics.auc(np.zeros(4), labels) == (0.5, 0.0)
    # Integer weights are copies of events.
    scores, copies = rng.normal(size=4), np.array([1, 3, 2, 1])
    assert metrics.auc(scores, labels, copies.astype(float)).value == pytest.approx(
        metrics.auc(np.repeat(scores, copies), np.repeat(labels, copies)).value
    )


def test_auc_error_describes_the_spread(rng):
    results = []
    for _ in range(TRIALS):
        scores = np.concatenate([rng.normal(size=400), rng.normal(0.2, 1.0, 400)])
        weights = rng.exponential(1.0, 800)
        results.append(metrics.auc(scores, np.repeat([0, 1], 400), weights))
    values, errors = np.array(results).T
    assert values.std() == pytest.approx(np.sqrt((errors**2).mean()), rel=0.2)


def test_a_weight_report_counts_signs_extremes_and_effective_events():
    report = metrics.weight_report(np.array([1.0, -1.0, 4.0, np.inf]))
    assert report == metrics.WeightReport(4, 0.75, 0.25, -1.0, 4.0, 4 / 3, 4.0, 16 / 18)
    assert metrics.weight_report(np.full(5, 0.3)).effective_size == pytest.approx(5)
    assert np.isnan(metrics.weight_report(np.array([np.nan])).mean)


def test_bad_weights_are_refused():
    with pytest.raises(InputError, match=r"weights have shape \(0,\)"):
        metrics.weight_report(np.zeros(0))
    with pytest.raises(InputError, match="not all zero"):
        metrics.effective_sample_size(np.zeros(3))


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
    for function in (metrics.triangular_discriminator, metrics.chi2_test):
        with pytest.raises(InputError, match=message):
            function(np.array([0.3, 0.4]), np.array(values), edges, None, weights)


def test_bad_labels_are_refused():
    with pytest.raises(InputError, match=r"values \[0, 1, 2\]; expected"):
        metrics.auc(np.arange(3.0), np.arange(3))
    with pytest.raises(InputError, match="add up to 0 for label 1 and 3 for label 0"):
        metrics.auc(np.arange(3.0), np.zeros(3))
