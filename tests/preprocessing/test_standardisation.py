"""Means and deviations do not depend on the precision of a column."""

import numpy as np
import pytest

from jaxpriors.errors import InputError
from jaxpriors.preprocessing.standardisation import Standardisation


def of(column):
    """Mean and deviation of one column."""
    found = Standardisation.of(("x",), [column], constant=0.0)
    return found.mean[0], found.std[0]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int16, np.uint16])
def test_sums_that_the_columns_own_precision_cannot_hold(dtype):
    column = np.random.default_rng(0).normal(600, 100, 100_000).astype(dtype)
    mean, std = of(column)
    assert mean == pytest.approx(column.astype(np.float64).mean(), rel=1e-12)
    assert std == pytest.approx(column.astype(np.float64).std(), rel=1e-12)
    assert std == pytest.approx(100, rel=0.02)


@pytest.mark.parametrize("dtype", [np.float32, np.int32, np.int64, np.uint64])
def test_a_large_offset_does_not_hide_the_deviation(dtype):
    column = (16_000_000 + np.random.default_rng(0).integers(0, 100, 50_000)).astype(dtype)
    mean, std = of(column)
    assert mean == pytest.approx(16_000_049.5, abs=1) and std == pytest.approx(28.87, rel=0.01)


def test_integers_near_the_limit_and_flags():
    assert of(np.array([2**62, 2**62, 2**62 + 2**40]))[0] == pytest.approx(2**62, rel=1e-6)
    assert of(np.array([True, False])) == (0.5, 0.5)


def test_half_precision_that_is_infinite_is_named():
    with np.errstate(over="ignore"):
        column = np.array([1.0, 70_000.0]).astype(np.float16)
    with pytest.raises(InputError, match="input x: found 1 values that are not finite"):
        of(column)
