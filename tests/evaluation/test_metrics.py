"""Metrics against analytic values, brute force and repeated experiments."""

from __future__ import annotations

import numpy as np
import pytest

from jaxpriors.errors import InputError
from jaxpriors.evaluation import metrics
from tests.helpers.densities import EDGES, rising, to_rising

TRIALS = 300


@pytest.fixture
def rng() -> np.random.Generator:
    """Fixed seed."""
    return np.random.default_rng(7)


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


def test_bad_labels_are_refused():
    with pytest.raises(InputError, match=r"values \[0, 1, 2\]; expected"):
        metrics.auc(np.arange(3.0), np.arange(3))
    with pytest.raises(InputError, match="add up to 0 for label 1 and 3 for label 0"):
        metrics.auc(np.arange(3.0), np.zeros(3))
