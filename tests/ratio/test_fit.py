"""What a fit takes, what it goes on with, and where dropout acts."""

import dataclasses

import jax
import numpy as np
import pytest

from jaxpriors import Events, InputError, RatioClassifier
from jaxpriors.data.batching import spread
from jaxpriors.preprocessing.registry import Preprocessing
from jaxpriors.preprocessing.tokens import InputConfig
from jaxpriors.ratio.examples import make_loss
from jaxpriors.ratio.model import make_forward, reweighted
from jaxpriors.ratio.presets import MODELS, preset
from jaxpriors.training.step import Precision
from tests.helpers.jets import random_jets


def _one_block(model, **network):
    training = dataclasses.replace(MODELS[model].training["small"], epochs=1, buckets=1)
    config = dataclasses.replace(preset(model, "small"), num_blocks=1, **network)
    return RatioClassifier(model, training=training, network=config)


def test_from_padded_arrays():
    """The five lines of the README, with negative weights among the events'."""
    p4, _, _ = random_jets(64, seed=0).padded()
    simulation = Events.from_padded(p4)
    data = Events.from_padded(p4[:40], weight=np.where(np.arange(40) % 5, 1.0, -0.2))
    classifier = _one_block("lgatr")
    weights = classifier.fit(simulation, data).reweight(simulation)
    assert weights.shape == (64,) and np.all(weights > 0)


def test_infinite_ratios_are_caught():
    with pytest.raises(FloatingPointError, match=r"mean ratio is -1 .* from -1e\+06 to 1e\+06"):
        reweighted(np.array([2.0, -1.0]), np.array([-1e6, 1e6]))


def test_unknown_models_and_inputs_are_refused_at_birth():
    with pytest.raises(InputError, match="model: found 'gatr', expected one of"):
        RatioClassifier("gatr")
    with pytest.raises(InputError, match="beam: found 'xyplane', a bivector"):
        RatioClassifier("lgatr-slim", inputs=InputConfig(beam="xyplane"))


def test_training_drops_and_prediction_does_not():
    """The loss depends on its key; a prediction is that of the same weights without dropout."""
    jets = random_jets(16, 1).with_label(np.arange(16, dtype=np.int32) % 2)
    preprocessing, precision = Preprocessing(InputConfig(), InputConfig().learn(jets)), Precision()
    dropping = _one_block("lgatr-slim", dropout_prob=0.3)
    network, _ = dropping.initial(jax.random.key(0))
    batch = spread(jets, 16)
    loss = jax.jit(make_loss(preprocessing, precision, drops=True))
    keys = [jax.random.split(jax.random.key(seed), 16) for seed in (1, 2)]
    assert loss(network, batch, keys[0]) != loss(network, batch, keys[1])
    undropped, _ = _one_block("lgatr-slim").initial(jax.random.key(0))
    forward = make_forward(preprocessing, precision)
    np.testing.assert_allclose(forward(network, batch), forward(undropped, batch), atol=1e-6)


def test_a_folder_of_another_training_is_refused(tmp_path):
    """The same call goes on with its folder; other data or settings do not."""
    jets, others = random_jets(48, 1), random_jets(48, 2)
    classifier = _one_block("lgatr-slim")
    first = classifier.fit(jets, others, folder=str(tmp_path))
    again = classifier.fit(jets, others, folder=tmp_path)
    np.testing.assert_array_equal(first.log_ratio(jets), again.log_ratio(jets))
    with pytest.raises(InputError, match="checkpoints of a training on other data"):
        classifier.fit(others, jets, folder=tmp_path)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("batch_size", 100, "batch_size: found 100, expected a multiple of 16"),
        ("epochs", 0, "epochs: found 0, expected at least 1"),
        ("seed", -1, "seed: found -1, expected at least 0"),
    ],
)
def test_training_settings_are_checked(name, value, message):
    with pytest.raises(InputError, match=message):
        dataclasses.replace(MODELS["lgatr"].training["small"], **{name: value})
