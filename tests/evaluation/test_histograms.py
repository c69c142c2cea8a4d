"""Histograms of weighted samples, what lies outside, and bins that negative weights spoil."""

from __future__ import annotations

import numpy as np
import pytest

from jaxpriors.errors import InputError
from jaxpriors.evaluation import histograms

EDGES = np.linspace(0.0, 1.0, 11)


def test_histogram_counts_the_range_only_and_closes_the_last_bin():
    values = np.array([-0.1, 0.0, 0.05, 0.1, 1.0, 1.1])
    result = histograms.histogram(values, EDGES, np.array([9.0, 1.0, -2.0, 3.0, 4.0, 9.0]))
    np.testing.assert_array_equal(result.content[[0, 1, 9]], [-1.0, 3.0, 4.0])
    np.testing.assert_array_equal(result.variance[[0, 1, 9]], [5.0, 9.0, 16.0])
    assert result.content.sum() == 6.0
    density, error = result.density(EDGES)
    assert (density * np.diff(EDGES)).sum() == pytest.approx(1.0)
    assert error[9] == pytest.approx(4.0 / 6.0 / 0.1)


def test_an_empty_range_is_no_histogram_but_can_be_counted():
    assert not histograms.binned(np.array([2.0]), EDGES).usable
    with pytest.raises(InputError, match=r"within \[0, 1\] add up to 0 \(0 of 1 values"):
        histograms.histogram(np.array([2.0]), EDGES)


def test_what_is_outside_is_told_by_weight():
    values, weights = np.array([-1.0, 0.5, 0.7, 1.0, 3.0]), np.array([1.0, 2.0, 3.0, 0.0, -2.0])
    assert histograms.outside(values, EDGES, weights) == (1 / 8, 2 / 8)
    assert histograms.outside(values, EDGES, 0 * weights) == (0, 0)


def test_bins_of_positive_weights_stay_as_they_are():
    values = np.random.default_rng(0).random(9)  # hardly an event a bin
    sample = histograms.binned(values, EDGES, values)
    assert histograms.merged_bins([sample]).tolist() == list(range(10))
    assert sample.usable


def test_bins_with_negative_weights_join_until_they_are_five_errors_above_zero():
    values = np.repeat(EDGES[:-1] + 0.05, 40)
    weights = np.ones(400)
    weights[[0, 1, 2]] = -1  # 34 ± 6.3: enough
    weights[40:55] = -1  # 10 ± 6.3, and 50 ± 8.9 with the next bin
    weights[-30:] = -1  # -20, and 60 ± 11 with two bins to the left
    sample = histograms.binned(values, EDGES, weights)
    starts = histograms.merged_bins([sample])
    assert starts.tolist() == [0, 1, 3, 4, 5, 6, 7]
    merged = sample.merged(starts)
    assert merged.content.tolist() == [34, 50, 40, 40, 40, 40, 60]
    assert merged.variance.tolist() == [40, 80, 40, 40, 40, 40, 120]
    other = histograms.binned(values, EDGES, np.where(values < 0.2, -0.5, 1.0))  # -20 twice
    assert histograms.merged_bins([sample, other]).tolist() == [0, 5, 6, 7]


def test_weights_beyond_the_squares_of_float64_are_no_division_by_zero():
    sample = histograms.binned(np.array([0.5]), EDGES, np.array([1e-200]))
    assert sample.usable and histograms.merged_bins([sample]).tolist() == list(range(10))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.int32])
def test_sums_do_not_depend_on_the_precision_of_the_weights(dtype):
    values = np.full(100_000, 0.5, np.float16)
    sample = histograms.histogram(values, EDGES, np.full(100_000, 30_000, dtype))
    assert sample.content.sum() == pytest.approx(3e9, rel=1e-3)
    assert sample.variance.sum() == pytest.approx(9e13, rel=1e-3)
