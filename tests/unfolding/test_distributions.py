"""Distributions of an unfolding's result, their errors, and bins of enough events."""

import numpy as np
import pytest

from jaxpriors.errors import InputError
from jaxpriors.evaluation.figures import convergence_figure
from jaxpriors.evaluation.observables import OBSERVABLES
from jaxpriors.unfolding.distributions import (
    default_edges,
    distribution,
    find_observable,
    merged_edges,
    usual_edges,
)
from jaxpriors.unfolding.result import Unfolded
from jaxpriors.unfolding.variance import design


def _result(replicas, n=3000):
    """Events of weight 2, of which every tenth has no particle level; push falls with x."""
    rng = np.random.default_rng(0)
    x = rng.random(n)
    counts = np.stack([np.ones(n), *rng.poisson(1, (replicas, n))]).astype(np.int8)
    push = np.broadcast_to(1.5 - x, (1, 1 + replicas, n)).copy()
    gen = np.arange(n) % 10 > 0
    return Unfolded(
        weight=np.full(n, 2.0),
        pass_gen=gen,
        pass_reco=np.ones(n, bool),
        pull=push,
        push=push,
        replicas=counts,
        draws=design(replicas),
        scale=np.full(1 + replicas, 0.5),
        iterations=2,
        observables={"x": np.where(gen, x, np.nan)},
        metadata={},
        reports=[],
    )


def test_content_is_in_the_datas_normalisation():
    result = _result(0)
    edges = np.array([0, 0.5, 1])
    x = result.observables["x"][result.pass_gen]
    found = distribution(result, result.observables["x"], edges)
    expected = [(1.5 - x[x < 0.5]).sum(), (1.5 - x[x >= 0.5]).sum()]
    assert found.content == pytest.approx(expected)
    assert found.error[0] == pytest.approx(np.sqrt(((1.5 - x[x < 0.5]) ** 2).sum()))
    before = distribution(result, result.observables["x"], edges, 0)
    assert before.content == pytest.approx([(x < 0.5).sum(), (x >= 0.5).sum()])


def test_what_lies_outside_is_counted_and_nothing_inside_is_no_error():
    result = _result(2)
    x = result.observables["x"][result.pass_gen]
    found = distribution(result, result.observables["x"], np.array([0.2, 0.6]))
    assert found.below == pytest.approx((1.5 - x[x < 0.2]).sum())
    assert found.above == pytest.approx((1.5 - x[x > 0.6]).sum())
    total = found.below + found.content.sum() + found.above
    assert total == pytest.approx((1.5 - x).sum())
    away = distribution(result, result.observables["x"], np.array([2.0, 3.0]))
    assert away.content.tolist() == [0] and away.below == pytest.approx(total)


def test_errors_are_the_spread_of_the_replicas():
    result = _result(300)
    edges = np.linspace(0, 1, 6)
    found = distribution(result, result.observables["x"], edges)
    assert found.replicas.shape == (300, 5)
    statistical = distribution(_result(0), result.observables["x"], edges).error
    assert found.error == pytest.approx(statistical, rel=0.2)


def test_bins_of_few_events_are_joined():
    values = np.repeat([0.5, 1.5, 2.5, 3.5, 4.5], [3, 30, 40, 10, 5])
    assert merged_edges(np.arange(6.0), values, least=25).tolist() == [0, 2, 5]
    assert merged_edges(np.arange(6.0), values, least=1000).tolist() == [0, 5]
    signs = np.where(
        np.arange(len(values)) % 3, 1.0, -1.0
    )  # a ninth of the events counts: 3.7, 4.4, 1.7
    assert merged_edges(np.arange(6.0), values, signs, least=3).tolist() == [0, 2, 5]
    assert merged_edges(np.arange(6.0), values, np.full(88, 7.0)).tolist() == [0, 2, 5]


def test_bins_of_an_unknown_observable():
    edges = default_edges(np.append(np.linspace(3, 5, 1001), np.nan), 4)
    assert len(edges) == 5 and edges[0] == pytest.approx(3.01) and edges[-1] == pytest.approx(4.99)
    with pytest.raises(InputError, match="all values are near 2"):
        default_edges(np.full(10, 2.0))
    with pytest.raises(InputError, match=r"found 'y', expected one of \['x'\]"):
        find_observable(_result(0), "y")


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.int32])
def test_default_bins_do_not_depend_on_the_precision_of_the_values(dtype):
    edges = default_edges(np.arange(100, 1101).astype(dtype), 2)
    assert edges.dtype == np.float64 and edges == pytest.approx([105, 600, 1095])
    with pytest.raises(InputError, match="none of 3 values is finite"):
        default_edges(np.full(3, np.nan))


def test_bins_of_an_observable_follow_heavy_jets():
    assert (
        usual_edges("mass", np.linspace(5, 70, 500)).tolist() == OBSERVABLES["mass"].edges.tolist()
    )
    heavy = usual_edges("mass", np.linspace(100, 300, 500))
    assert len(heavy) == 21 and 100 < heavy[0] < 102 and 298 < heavy[-1] < 300
    assert usual_edges("own", np.linspace(0, 1, 1001))[0] == pytest.approx(0.005)


def test_the_convergence_is_drawn():
    reports = [
        {"iteration": i, "weights": w, "effective_size": 90 - i, "effective_size_before": 100,
         "change": 0.5**i}
        for i in (1, 2, 3) for w in ("pull", "push")
    ]  # fmt: skip
    figure = convergence_figure({"a": reports, "b": reports}, {"a": {"mass": [3.0, 2.0, 1.0, 0.5]}})
    sizes, changes, mass = figure.axes
    assert len(sizes.lines) == len(changes.lines) == 4 and len(mass.lines) == 1
    assert sizes.lines[0].get_ydata().tolist() == [0.89, 0.88, 0.87]
    assert mass.lines[0].get_xdata().tolist() == [0, 1, 2, 3]
    assert "mass" in mass.get_title() and "Discriminator" in mass.get_ylabel()
