"""A multilayer perceptron on a few observables of an event: MultiFold's network.

Andreassen et al., arXiv:1911.09107, Section III: three hidden layers of 100 nodes. Axes: B events,
F observables of each, C nodes of a hidden layer.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
from jax import Array

from jaxpriors.layers.core import ACTIVATIONS, Linear, check_fields, dropout, module


@dataclass(frozen=True)
class MLPConfig:
    """Sizes of `MLP`: num_features F, hidden_channels C, num_layers hidden layers.

    nonlinearity: a name in `layers.core.ACTIVATIONS`. Raises ValueError for counts below 1, another
    name, and a probability outside of [0, 1).
    """

    num_features: int = 6
    hidden_channels: int = 100
    num_layers: int = 3
    nonlinearity: str = "relu"
    dropout_prob: float = 0.0

    def __post_init__(self) -> None:
        least = {"num_features": 1, "hidden_channels": 1, "num_layers": 1}
        check_fields(self, least, ["dropout_prob"], ["nonlinearity"])


@module(static=("config",))
class MLP:
    """Linear maps with the nonlinearity between them, to one number."""

    layers: tuple[Linear, ...]
    config: MLPConfig

    @classmethod
    def init(cls, key: Array, config: MLPConfig) -> MLP:
        """Draw Glorot's uniform weights; biases are zero."""
        sizes = [config.num_features, *[config.hidden_channels] * config.num_layers, 1]
        keys = jax.random.split(key, len(sizes) - 1)
        layers = zip(keys, sizes[:-1], sizes[1:], strict=True)
        return cls(tuple(Linear.glorot(*layer) for layer in layers), config)

    def __call__(self, x: Array, *, key: Array | None = None) -> Array:
        """Map (B, F) to (B,). ``key`` switches dropout on."""
        act = ACTIVATIONS[self.config.nonlinearity]
        for i, layer in enumerate(self.layers[:-1]):
            x = act(layer(x))
            layer_key = None if key is None else jax.random.fold_in(key, i)
            x = dropout(layer_key, x, self.config.dropout_prob, x.shape)
        return self.layers[-1](x)[..., 0]
