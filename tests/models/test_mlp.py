"""The multilayer perceptron: against a plain computation, and what it refuses."""

import jax
import numpy as np
import pytest

from jaxpriors.models.mlp import MLP, MLPConfig


def test_is_linear_maps_with_the_nonlinearity_between_them():
    network = MLP.init(jax.random.key(0), MLPConfig(num_features=3, hidden_channels=5))
    x = np.random.default_rng(0).normal(size=(7, 3)).astype(np.float32)
    expected = x
    for i, layer in enumerate(network.layers):
        expected = expected @ np.asarray(layer.weight).T + np.asarray(layer.bias)
        expected = expected if i == 3 else np.maximum(expected, 0)
    assert len(network.layers) == 4
    np.testing.assert_allclose(network(x), expected[:, 0], rtol=1e-5, atol=1e-6)


def test_dropout_acts_with_a_key_alone():
    network = MLP.init(jax.random.key(0), MLPConfig(dropout_prob=0.5))
    x = np.ones((4, 6), np.float32)
    assert np.ptp(network(x)) == 0
    assert np.ptp(network(x, key=jax.random.key(1))) > 0


@pytest.mark.parametrize(
    "change", [{"num_layers": 0}, {"dropout_prob": 1.0}, {"nonlinearity": "step"}]
)
def test_bad_configurations(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        MLPConfig(**change)
