"""Likelihood ratios of a few numbers of each event, by a multilayer perceptron."""

import dataclasses

import numpy as np
import pytest

from jaxpriors.data.events import Events
from jaxpriors.errors import InputError
from jaxpriors.evaluation.observables import OBSERVABLES, observables, with_observables
from jaxpriors.preprocessing.columns import ColumnsConfig
from jaxpriors.preprocessing.tokens import InputConfig
from jaxpriors.ratio.classifier import RatioClassifier
from jaxpriors.ratio.export import program
from jaxpriors.ratio.model import RatioModel
from jaxpriors.ratio.presets import MODELS
from tests.helpers.jets import random_jets

SHIFT = 0.4
INPUTS = ColumnsConfig(("x", "y"))
CLASSIFIER = RatioClassifier(
    "mlp", inputs=INPUTS, training=dataclasses.replace(MODELS["mlp"].training["small"], epochs=15)
)


def _gaussians(n, shift, seed):
    """Two numbers, of which the first tells the samples apart; x has a scale of its own."""
    rng = np.random.default_rng(seed)
    return Events.from_columns({"x": 100 + 10 * rng.normal(shift, 1, n), "y": rng.normal(0, 1, n)})


@pytest.fixture(scope="module")
def model():
    return CLASSIFIER.fit(_gaussians(20_000, 0.0, 0), _gaussians(20_000, SHIFT, 1))


def test_recovers_a_ratio_that_is_known(model):
    events = _gaussians(5000, 0.0, 2)
    x = (events.columns["x"] - 100) / 10
    known = SHIFT * x - SHIFT**2 / 2
    assert np.sqrt(np.mean((model.log_ratio(events) - known) ** 2)) < 0.06 < known.std() / 5


def test_is_saved_with_its_columns(model, tmp_path):
    model.save(tmp_path)
    events = _gaussians(50, 0.0, 3)
    again = RatioModel.load(tmp_path)
    assert np.array_equal(again.log_ratio(events), model.log_ratio(events))
    more = dataclasses.replace(
        events, columns={"z": np.zeros(50), **dict(reversed(events.columns.items()))}
    )
    assert np.array_equal(again.log_ratio(more), model.log_ratio(events))  # by name, not by place


def test_standardisation_is_that_of_the_sample():
    found = INPUTS.learn(_gaussians(10_000, 0.0, 4))
    assert found.mean == pytest.approx((100, 0), abs=0.3)
    assert found.std == pytest.approx((10, 1), rel=0.03)
    constant = Events.from_columns({"x": np.full(3, 7.0), "y": np.arange(3.0)})
    assert INPUTS.learn(constant).std[0] == 1.0


def test_what_it_cannot_use_is_said(model):
    events = _gaussians(40, 0.0, 5)
    with pytest.raises(InputError, match="column 'y': found the columns"):
        model.log_ratio(events.with_columns(("x",)))
    with pytest.raises(InputError, match="column 'x': found the columns"):
        CLASSIFIER.fit(events, events.with_columns(()))
    with pytest.raises(InputError, match="expected ColumnsConfig for mlp"):
        RatioClassifier("mlp", inputs=InputConfig())
    with pytest.raises(InputError, match="expected one or several different"):
        ColumnsConfig(("x", "x"))
    with pytest.raises(InputError, match="expected one of the constituents"):
        program(model)


def test_a_number_that_is_not_finite_is_named():
    columns = dict(_gaussians(40, 0.0, 6).columns)
    bad = Events.from_columns(columns)
    bad.columns["y"][7] = np.inf
    with pytest.raises(InputError, match=r"column 'y': 1 of 40 values are not finite.*event 7"):
        INPUTS.learn(bad)


def test_observables_become_columns():
    jets = random_jets(20, 0)
    found = with_observables(jets)
    assert tuple(found.columns) == tuple(OBSERVABLES)
    for name, values in observables(jets).items():
        assert np.array_equal(found.columns[name], values)
    assert RatioClassifier("mlp").inputs == ColumnsConfig(tuple(OBSERVABLES))


def test_columns_that_single_precision_cannot_hold_are_refused():
    """Networks see single precision: of 10⁹ ± 1, steps of 64."""
    spread = np.random.default_rng(0).normal(size=500)
    for column in (1e9 + spread, 1e39 * spread):
        with pytest.raises(InputError, match=r"column .x.: found values up to .*: subtract"):
            ColumnsConfig(("x",)).learn(Events.from_columns({"x": column}))
    found = ColumnsConfig(("x",)).learn(Events.from_columns({"x": 1e4 + spread}))
    assert found.std[0] == pytest.approx(spread.std(), rel=1e-6)
