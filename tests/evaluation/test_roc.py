"""Curves against counting by hand, and against what Gaussians must give."""

import numpy as np
import pytest
from scipy.stats import norm

from jaxpriors.errors import InputError
from jaxpriors.evaluation.metrics import auc
from jaxpriors.evaluation.roc import (
    accuracy,
    auc_one_vs_one,
    maximum_improvement,
    rejection,
    rejection_with_error,
    roc,
    significance_improvement,
)


def gaussians(n, shift=1.0, seed=0):
    rng = np.random.default_rng(seed)
    scores = np.concatenate([rng.normal(shift, 1, n), rng.normal(0, 1, n)])
    return scores, np.repeat([1, 0], n)


def test_the_curve_counts_events_with_ties():
    curve = roc(np.array([3.0, 2, 2, 1]), np.array([1, 1, 0, 0]))
    np.testing.assert_allclose(curve.signal, [0, 0.5, 1, 1])
    np.testing.assert_allclose(curve.background, [0, 0, 0.5, 1])
    assert curve.background_size == 2


def test_weights_are_repeated_events():
    rng = np.random.default_rng(1)
    scores, labels = gaussians(50, seed=1)
    count = rng.integers(1, 4, len(scores))
    weighted = roc(scores, labels, count)
    repeated = roc(np.repeat(scores, count), np.repeat(labels, count))
    np.testing.assert_allclose(weighted.signal, repeated.signal)
    np.testing.assert_allclose(weighted.background, repeated.background)


def test_the_area_below_is_the_auc():
    scores, labels = gaussians(500)
    curve = roc(scores, labels)
    area = np.trapezoid(curve.signal, curve.background)
    assert area == pytest.approx(auc(scores, labels).value, abs=1e-12)


def test_rejection_and_accuracy_of_gaussians():
    scores, labels = gaussians(200_000)
    found = rejection_with_error(scores, labels, replicas=30)
    expected = 1 / norm.sf(1)  # half of the signal lies above its mean
    assert found.value == pytest.approx(expected, abs=5 * found.error)
    assert found.error == pytest.approx(0.03, rel=0.5)
    right = accuracy(scores - 0.5, labels)  # the log ratio is scores - 1/2
    assert right.value == pytest.approx(norm.cdf(0.5), abs=4 * right.error)
    assert right.error == pytest.approx(np.sqrt(0.25 / 400_000), rel=0.1)


def test_the_bootstrap_error_is_the_spread_over_samples():
    values = [rejection(roc(*gaussians(2000, seed=k))) for k in range(100)]
    errors = [rejection_with_error(*gaussians(2000, seed=k), replicas=50).error for k in range(10)]
    assert np.mean(errors) == pytest.approx(np.std(values), rel=0.3)


def test_the_errors_of_auc_and_accuracy_are_those_of_a_bootstrap():
    scores, labels = gaussians(3000, shift=0.3)
    rng = np.random.default_rng(5)
    weights = rng.exponential(1.0, len(scores))
    for measure in (auc, accuracy):
        replicas = [
            measure(scores, labels, weights * rng.poisson(1.0, len(scores))).value
            for _ in range(300)
        ]
        found = measure(scores, labels, weights).error
        assert found == pytest.approx(np.std(replicas), rel=0.15)


def test_improvement_needs_background():
    scores, labels = gaussians(1000, shift=3.0)
    curve = roc(scores, labels)
    signal, improvement = significance_improvement(curve, 10)
    assert np.all(improvement <= maximum_improvement(curve, 10))
    passed = (scores[labels == 0][:, None] >= np.sort(scores)[None]).sum(0)
    best = max(
        np.mean(scores[labels == 1] >= cut) / np.sqrt(count / 1000)
        for cut, count in zip(np.sort(scores), passed, strict=True)
        if count >= 10
    )
    assert maximum_improvement(curve, 10) == pytest.approx(best)
    assert len(signal) == len(improvement) and signal[-1] == 1 == improvement[-1]
    with pytest.raises(InputError, match=r"1000\.0 effective events, expected at least 2000"):
        maximum_improvement(curve, 2000)


def test_the_cut_on_the_background_counts_whole_events():
    """5 / 77 times 77 is a little less than 5."""
    curve = roc(np.arange(154.0), np.repeat([0, 1], 77))
    assert maximum_improvement(curve, 5) == pytest.approx(np.sqrt(77 / 5))


def test_a_rejection_at_its_bound_has_the_bound_in_all_replicas():
    """Without background behind the cut: one event is thought to pass, of as many as there are."""
    found = rejection_with_error(np.arange(200.0), np.repeat([0, 1], 100), replicas=20)
    assert found == (pytest.approx(100), pytest.approx(0, abs=1e-9))


def test_no_separation_improves_nothing_and_rejects_half():
    scores, labels = gaussians(100_000, shift=0.0)
    assert rejection(roc(scores, labels)) == pytest.approx(2, rel=0.02)
    assert maximum_improvement(roc(scores, labels), 1000) < 1.2


@pytest.mark.parametrize(
    ("scores", "labels", "weights", "message"),
    [
        ([1.0, np.nan], [0, 1], None, "not finite"),
        ([1.0, 2.0], [0, 2], None, "labels have shape"),
        ([1.0, 2.0], [1, 1], None, "0 for label 0"),
        ([1.0, 2.0], [1, 0], [-1.0, 1.0], "-1 for label 1"),
    ],
)
def test_scores_labels_and_weights_that_make_no_curve_are_refused(scores, labels, weights, message):
    weights = None if weights is None else np.array(weights)
    with pytest.raises(InputError, match=message):
        roc(np.array(scores), np.array(labels), weights)


def test_the_efficiency_is_checked():
    with pytest.raises(InputError, match="efficiency: found 0"):
        rejection(roc(*gaussians(10)), 0)


def test_auc_one_vs_one_equals_brute_force():
    rng = np.random.default_rng(7)
    labels = np.repeat([0, 1, 2], [20, 25, 15])
    scores = np.round(rng.random((60, 3)) + 0.3 * np.eye(3)[labels], 1)
    areas = []
    for a in range(3):
        for b in range(a + 1, 3):
            for one, other in ((a, b), (b, a)):
                own, against = scores[labels == one, one], scores[labels == other, one]
                difference = own[:, None] - against
                areas.append(((difference > 0) + (difference == 0) / 2).mean())
    result = auc_one_vs_one(scores, labels)
    assert result == pytest.approx(np.mean(areas))
    assert auc_one_vs_one(np.exp(scores), labels) == pytest.approx(result)
    assert auc_one_vs_one(np.eye(3)[labels], labels) == 1.0
    chance = rng.random(60)
    two = auc_one_vs_one(np.stack([1 - chance, chance], 1), labels > 0)
    assert two == pytest.approx(auc(chance, labels > 0).value)


def test_auc_one_vs_one_needs_every_class():
    with pytest.raises(InputError, match=r"labels are \[0, 2\]; expected each of \[0, 1, 2\]"):
        auc_one_vs_one(np.eye(3)[[0, 2]], np.array([0, 2]))
    with pytest.raises(InputError, match=r"scores have shape \(3,\)"):
        auc_one_vs_one(np.arange(3.0), np.arange(3))


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_nan_ranks_nothing(sign):
    """It would be the best score or the worst, by the sorting that is used."""
    scores = np.array([0.2, np.copysign(np.nan, sign), 0.4, 0.9])
    labels = np.array([0, 1, 0, 1])
    for measure in (roc, rejection_with_error, accuracy, auc):
        with pytest.raises(InputError, match=r"1 of 4 values are not finite .* number 1: nan"):
            measure(scores, labels)
    with pytest.raises(InputError, match="1 of 4 values are not finite"):
        auc_one_vs_one(np.stack([scores, 1 - scores], axis=1), labels)
