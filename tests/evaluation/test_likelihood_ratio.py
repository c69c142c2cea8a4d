"""The measures of a ratio, on Gaussians whose ratio is known; others are found out."""

import numpy as np
import pytest
from scipy.stats import norm

from jaxpriors.errors import InputError
from jaxpriors.evaluation.likelihood_ratio import (
    against_truth,
    closure,
    reliability,
    separation,
    shapes,
    temperature,
)
from jaxpriors.evaluation.observables import Observable

SHIFT = 0.5
X = Observable("x", "x", "x", "", -3.0, 3.5, 20)


def gaussians(n=40_000, seed=0):
    """Points of N(0, 1), the simulation, and of N(SHIFT, 1), the data."""
    rng = np.random.default_rng(seed)
    return rng.normal(0, 1, n), rng.normal(SHIFT, 1, n)


def exact(x):
    return SHIFT * x - SHIFT**2 / 2


def test_separation_is_that_of_the_gaussians():
    found = separation(*map(exact, gaussians()), replicas=20)
    assert found["auc"] == pytest.approx(norm.cdf(SHIFT / np.sqrt(2)), abs=4 * found["auc_error"])
    expected = norm.cdf(SHIFT / 2)
    assert found["accuracy"] == pytest.approx(expected, abs=4 * found["accuracy_error"])
    for share in (50, 10):
        expected = 1 / norm.sf(norm.isf(share / 100) + SHIFT)
        error = 4 * found[f"rejection{share}_error"]
        assert found[f"rejection{share}"] == pytest.approx(expected, abs=error)
    assert found["ece"] < 2 * found["ece_floor"] < 0.02


def test_the_exact_ratio_closes():
    simulation, data = gaussians()
    found = closure(exact(simulation), {"x": simulation}, {"x": data})
    assert found["mean_ratio"] == pytest.approx(1, abs=4 * found["mean_ratio_error"])
    for moment, value in (("mean", SHIFT), ("mean_square", 1 + SHIFT**2)):
        row = found["moments"]["x"][moment]
        assert row["data"] == pytest.approx(value, abs=0.05)
        assert row["reweighted"] == pytest.approx(value, abs=0.05)
        assert abs(row["pull"]) < 4
    assert found["moments"]["x"]["mean"]["simulation"] == pytest.approx(0, abs=0.03)


def test_a_wrong_ratio_does_not_close():
    simulation, data = gaussians()
    found = closure(2 * exact(simulation), {"x": simulation}, {"x": data})
    assert abs(found["mean_ratio"] - 1) > 10 * found["mean_ratio_error"]
    assert abs(found["moments"]["x"]["mean"]["pull"]) > 10


def test_few_events_with_all_of_the_weight_are_told():
    simulation, data = gaussians(1000)
    samples = {"x": simulation}, {"x": data}
    good = closure(exact(simulation), *samples)["effective_share"]
    assert good == pytest.approx(np.exp(-(SHIFT**2)), rel=0.1)  # 1 / E[ratio²]
    heavy = closure(exact(simulation), *samples, np.full(1000, 3.0))
    assert heavy["effective_share"] == pytest.approx(good)
    log_ratios = np.where(np.arange(1000) == 7, 12.0, exact(simulation))
    assert closure(log_ratios, *samples)["effective_share"] < 0.002


def test_pulls_are_of_unit_spread_over_samples():
    pulls = []
    for seed in range(200):
        simulation, data = gaussians(1000, seed)
        found = closure(exact(simulation), {"x": simulation}, {"x": data})
        pulls.append(found["moments"]["x"]["mean"]["pull"])
    assert np.std(pulls) == pytest.approx(1, abs=0.2) and abs(np.mean(pulls)) < 0.3


def test_the_truth_is_recognised_whatever_its_normalisation():
    simulation, _ = gaussians()
    truth = 7 * np.exp(exact(simulation))
    found = against_truth(exact(simulation), truth)
    # 7 e^r / mean is e^r up to the fluctuation of the mean
    assert found["mse"] < 1e-4 < found["mse_constant"]
    assert found["mse_constant"] == pytest.approx(SHIFT**2 + SHIFT**4 / 4, rel=0.05)
    assert found["correlation"] == pytest.approx(1)
    np.testing.assert_allclose(found["bias"], 0, atol=0.01)


def test_a_ratio_that_is_too_flat_is_biased_at_both_ends():
    simulation, _ = gaussians()
    found = against_truth(0.5 * exact(simulation), np.exp(exact(simulation)))
    assert found["bias"][0] > 0.1 and found["bias"][-1] < -0.1
    assert found["correlation"] == pytest.approx(1)
    assert found["mse"] == pytest.approx(found["mse_constant"] / 4, rel=0.05)


def test_the_mean_of_hidden_weights_is_the_best_ratio_though_not_the_best_logarithm():
    """Weights whose logarithm is (1 - x) z - (1 - x)² / 2 + x / 2, with z that no network sees."""
    rng = np.random.default_rng(4)
    x, z = rng.random(20_000), rng.normal(size=20_000)
    truth = np.exp((1 - x) * z - (1 - x) ** 2 / 2 + x / 2)  # of mean exp(x / 2) at x
    best = against_truth(x / 2 - np.log(truth.mean()), truth)
    logarithm = against_truth(x / 2 - (1 - x) ** 2 / 2 - np.log(truth.mean()), truth)
    assert best["ratio_mse"] < best["ratio_mse_constant"]
    assert best["ratio_mse"] < logarithm["ratio_mse"] and logarithm["mse"] < best["mse"]
    assert best["ratio_correlation"] > 0.1


def test_weights_are_repeated_events():
    simulation, _ = gaussians(500)
    count = np.random.default_rng(1).integers(1, 4, len(simulation))
    learned, truth = 0.8 * exact(simulation), np.exp(exact(simulation))
    one = against_truth(learned, truth, count)
    more = against_truth(np.repeat(learned, count), np.repeat(truth, count))
    for key in ("mse", "mse_constant", "correlation"):
        assert one[key] == pytest.approx(more[key])


def test_shapes_agree_with_the_exact_weights_alone():
    simulation, data = gaussians()
    samples = {"x": simulation}, {"x": data}, (X,)
    good = shapes(*samples, np.exp(exact(simulation)))["x"]
    bad = shapes(*samples, np.ones(len(simulation)))["x"]
    assert good["ndf"] == 19 and good["p"] > 0.001 > bad["p"]


def test_ratios_and_observables_that_are_constant():
    simulation, data = gaussians(200)
    one = {"x": np.full(200, 3.0)}
    found = closure(np.zeros(200), one, one)
    assert found["mean_ratio"] == 1 and abs(found["moments"]["x"]["mean"]["pull"]) < 1
    assert closure(np.zeros(200), one, {"x": data})["moments"]["x"]["mean"]["pull"] > 10
    flat = against_truth(np.zeros(200), np.exp(exact(simulation)))
    assert flat["correlation"] == 0 and flat["mse"] == pytest.approx(flat["mse_constant"])
    known = against_truth(exact(simulation), np.full(200, 7.0))
    assert known["correlation"] == 0 == known["mse_constant"]


def test_what_cannot_be_measured_is_told():
    simulation, data = gaussians(100)
    samples = {"x": simulation}, {"x": data}
    signs = np.repeat([1.0, -1.0], 50)
    with pytest.raises(InputError, match="log ratios: 100 weights add up to 0; expected a pos"):
        closure(np.zeros(100), *samples, signs)
    with pytest.raises(InputError, match="x: 100 weights add up to 0; expected a pos"):
        closure(np.zeros(100), *samples, None, signs)
    with pytest.raises(InputError, match="log ratios: found 800, expected at most 300"):
        closure(np.full(100, 800.0), *samples)
    with pytest.raises(InputError, match="true ratios: 100 weights add up to 0"):
        against_truth(np.zeros(100), np.ones(100), signs)
    with pytest.raises(InputError, match=r"slice 4 of the true ratios: 0 weights add up to 0"):
        against_truth(np.zeros(4), np.ones(4))


@pytest.mark.parametrize("truth", [np.array([1.0, 0.0]), np.array([1.0])])
def test_true_ratios_are_positive_and_one_for_each_event(truth):
    with pytest.raises(InputError, match="true ratios: found shape"):
        against_truth(np.zeros(2), truth)


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
    ],
)
def test_samples_that_make_no_diagram_are_refused(simulation, data, weights, message):
    weights = None if weights is None else np.array(weights)
    with pytest.raises(InputError, match=message):
        reliability(np.array(simulation), np.array(data), weights)


def test_ratios_that_are_of_no_use_become_small():
    rng = np.random.default_rng(0)
    assert temperature(rng.normal(1, 1, 1000), rng.normal(-1, 1, 1000)) == pytest.approx(20)


def test_bins_of_a_diagram_in_which_negative_weights_prevail_are_joined():
    one = reliability(np.array([0.0, 1.0]), np.array([2.0]), np.array([2.0, -1.0]))
    assert one.weight.tolist() == [1.0]
    rng = np.random.default_rng(0)
    simulation, data = rng.normal(-0.5, 1, 300), rng.normal(0.5, 1, 300)
    signs = np.where(rng.random(300) < 0.3, -1.0, 1.0)
    found = reliability(simulation, data, signs, bins=40)
    assert 1 < len(found.weight) < 40 and np.all(found.weight > 0)
    assert len(reliability(simulation, data, np.abs(signs), bins=40).weight) == 40
