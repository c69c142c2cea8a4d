"""Checks of an unfolding that hold where they should, and fail where something is wrong."""

import dataclasses

import numpy as np
import pytest

from jaxpriors import Unfolded
from jaxpriors.errors import InputError
from jaxpriors.unfolding.checks import bottom_line, common_edges, folded_back
from jaxpriors.unfolding.variance import counts, design

EDGES = np.array([-2.0, -1.0, -0.3, 0.3, 1.0, 2.0])
N, M = 6000, 3000


def _exact(replicas=60, starts=1, shift=0.25):
    """An unfolding without detector: each replica has the ratio of its data, bin by bin."""
    rng = np.random.default_rng(4)
    simulated, data = rng.normal(0, 1, N), rng.normal(shift, 1, M)
    draws = design(replicas, starts)
    of_data, of_simulation = (
        counts(n, draws, 0, name) for n, name in ((M, "data"), (N, "simulation"))
    )
    edges = np.concatenate([[-np.inf], EDGES, [np.inf]])
    a, b = (np.digitize(x, edges) - 1 for x in (simulated, data))
    push = np.stack([
        (np.bincount(b, d, 7) / np.bincount(a, s, 7))[a] * s.sum() / d.sum()
        for d, s in zip(of_data, of_simulation, strict=True)
    ])[None]  # fmt: skip
    flags = np.ones(N, bool)
    scale = of_data.sum(1) / of_simulation.sum(1)
    given = np.ones(N), flags, flags, push, push, of_simulation, draws, scale, 1
    result = Unfolded(*given, observables={"x": simulated}, metadata={}, reports=[{}, {}])
    return result, simulated, data


def test_the_exact_result_folds_back_to_the_data():
    result, simulated, data = _exact()
    found = folded_back(result, simulated, data, EDGES)
    assert found.passed and found.after.chi2 < 1e-9 and found.before.p_value < 1e-6
    nothing = dataclasses.replace(result, push=np.ones_like(result.push))
    again = folded_back(nothing, simulated, data, EDGES)
    assert not again.passed and again.after == again.before == found.before
    with pytest.raises(InputError, match="iteration: found 0 as the one to take"):
        folded_back(dataclasses.replace(result, push=result.push[:0]), simulated, data, EDGES)


@pytest.mark.parametrize("starts", [1, 2])
def test_the_exact_result_tells_as_much_as_the_data(starts):
    result, simulated, data = _exact(starts=starts)
    found = bottom_line(result, simulated, simulated, data, EDGES)
    assert found.passed and found.particle.ndf == found.detector.ndf == 4
    assert found.particle.chi2 == pytest.approx(found.detector.chi2, rel=0.35)
    assert found.error == pytest.approx(found.particle.chi2 * np.sqrt(2 / 52))
    # a model that is the truth
    model = np.exp(0.25 * simulated)
    right = bottom_line(result, simulated, simulated, data, EDGES, model=model)
    assert right.passed and right.particle.p_value > 0.01 and right.detector.p_value > 0.01


def test_replicas_that_vary_too_little_fail_the_bottom_line():
    result, simulated, data = _exact()
    first = result.push[:, :1]
    sure = dataclasses.replace(result, push=first + 0.2 * (result.push - first))
    found = bottom_line(sure, simulated, simulated, data, EDGES)
    assert not found.passed and found.particle.chi2 > 1.5 * found.detector.chi2


def test_few_replicas_for_many_bins_are_refused():
    result, simulated, data = _exact(replicas=8)
    with pytest.raises(InputError, match="replicas: found 8 for 5 bins, expected at least 9"):
        bottom_line(result, simulated, simulated, data, EDGES)
    many = _exact()[0]
    with pytest.raises(InputError, match="bins: a combination of them never varies"):
        bottom_line(many, simulated, simulated, data, np.concatenate([[-21.0, -20.0], EDGES]))


@pytest.mark.parametrize(("replicas", "most"), [(0, 10), (3, 2), (15, 5), (60, 10)])
def test_bins_of_checks_are_few_and_alike(replicas, most):
    result, simulated, data = _exact(replicas=replicas)
    edges = common_edges(result, "x", simulated, simulated, data)
    assert 2 <= len(edges) - 1 <= most
    filled = np.histogram(data, edges)[0]
    assert filled.min() >= M * 0.98 / most / 2
