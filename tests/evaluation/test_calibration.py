"""Log ratios of known Gaussians are calibrated; the same scaled or shifted are found out."""

import numpy as np
import pytest

from jaxpriors.errors import InputError
from jaxpriors.evaluation.calibration import reliability, temperature

SHIFT = 0.5


def log_ratios(n=100_000, seed=0):
    """Exact log ratios of N(SHIFT, 1) to N(0, 1) at points of both."""
    rng = np.random.default_rng(seed)
    simulation, data = rng.normal(0, 1, n), rng.normal(SHIFT, 1, n)
    return tuple(SHIFT * x - SHIFT**2 / 2 for x in (simulation, data))


def test_exact_ratios_are_calibrated_up_to_statistics():
    found = reliability(*log_ratios())
    assert found.weight.sum() == pytest.approx(1)
    np.testing.assert_allclose(found.weight, 0.1, rtol=1e-3)
    chi2 = np.sum(((found.predicted - found.observed) / found.error) ** 2)
    assert 2 < chi2 < 25  # of 10 bins
    assert found.expected_error() == pytest.approx(found.floor(), rel=0.7)
    assert temperature(*log_ratios()) == pytest.approx(1, abs=0.03)


def test_the_floor_is_the_error_of_exact_ratios_on_average():
    found = [reliability(*log_ratios(4000, seed)) for seed in range(40)]
    errors, floors = ([getattr(r, n)() for r in found] for n in ("expected_error", "floor"))
    assert np.mean(errors) == pytest.approx(np.mean(floors), rel=0.1)


@pytest.mark.parametrize("scale", [0.5, 3.0])
def test_temperature_undoes_a_scale(scale):
    wrong = [scale * r for r in log_ratios()]
    t = temperature(*wrong)
    assert t == pytest.approx(scale, rel=0.03)
    before = reliability(*wrong)
    after = reliability(*(r / t for r in wrong))
    assert before.expected_error() > 10 * after.expected_error()


def test_weights_stand_for_events_and_may_be_negative():
    simulation, data = log_ratios(20_000)
    found = reliability(simulation, data, np.full(len(simulation), 3.0))
    np.testing.assert_allclose(found.observed, reliability(simulation, data).observed)
    # Events that come twice, once with each sign, count for nothing.
    more = np.concatenate([data, simulation, simulation])
    weight = np.repeat([1.0, 1.0, -1.0], 20_000)
    assert temperature(simulation, more, None, weight) == pytest.approx(
        temperature(simulation, data), abs=1e-4
    )


def test_equal_ratios_share_a_bin():
    found = reliability(np.zeros(10), np.zeros(30))
    assert len(found.predicted) == 1 and found.observed[0] == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("simulation", "data", "weights", "message"),
    [
        ([0.0, np.inf], [0.0], None, "log ratios of simulation: 1 of 2 values are not finite"),
        ([0.0, 1.0], [0.0], [1.0, -1.0], "weights of simulation: 2 add up to 0"),
        ([0.0, 1.0], [2.0], [2.0, -1.0], "expected a positive number: fewer bins"),
    ],
)
def test_bad_input(simulation, data, weights, message):
    weights = None if weights is None else np.array(weights)
    with pytest.raises(InputError, match=message):
        reliability(np.array(simulation), np.array(data), weights)


def test_ratios_that_are_of_no_use_become_small():
    rng = np.random.default_rng(0)
    assert temperature(rng.normal(1, 1, 1000), rng.normal(-1, 1, 1000)) == pytest.approx(20)
