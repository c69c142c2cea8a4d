"""The objective of the pretraining of PET: classes, jet features and diffusion at once.

The objective of OmniLearn (Mikuni & Nachman, arXiv:2404.16091): with x the constituents of a jet
and x_t those perturbed at a time t (`jaxpriors.generation.diffusion`), the mean over events of

    cross-entropy(class | x) + mse(jet features | x)
    + mse(velocity | x_t) + α²(t) [cross-entropy(class | x_t) + mse(jet features | x_t)],

where both heads share the body, x_t holds only the first features (directions and momenta), and
the error of the velocity is summed over constituents and divided by their mean number.
"""

from typing import Literal

import jax
import jax.numpy as jnp
import optax
from jax import Array

from jaxpriors.generation.diffusion import alpha_sigma, perturb
from jaxpriors.models.pet import PET
from jaxpriors.preprocessing.clouds import PointCloud
from jaxpriors.training.step import Precision

Mode = Literal["all", "classifier", "generator"]


def terms(
    network: PET,
    cloud: PointCloud,
    label: Array,
    time: Array,
    noise: Array,
    constituents: float,
    mode: Mode = "all",
    precision: Precision | None = None,
    key: Array | None = None,
) -> dict[str, Array]:
    """Give the terms of the objective by name, (B,) each, without the factor α².

    label (B, Y) one-hot, time (B,) in [0, 1]; noise (B, P, D) for the network's num_diffusion
    features, ignored on padding; ``constituents``, a constant mean number, divides the error of the
    velocity. ``precision`` of the network, None for that of its weights; the terms have the dtype
    of the features. ``key`` turns the drops of the network on.
    """
    keys = (None,) * 5 if key is None else tuple(jax.random.split(key, 5))
    mask, features, wide = cloud.mask, cloud.features, cloud.features.dtype
    jet = cloud.jet
    if precision is not None:
        network, features, jet = precision.to_compute((network, features, jet))
    result: dict[str, Array] = {}

    def classified(encoded: Array, prefix: str, key: Array | None) -> dict[str, Array]:
        assert network.cls is not None
        logits, regressed = network.cls(encoded, mask, jet, key=key)
        error = jnp.square(regressed.astype(wide) - cloud.jet).mean(-1)
        entropy = optax.softmax_cross_entropy(logits.astype(wide), label)
        return {f"{prefix}classification": entropy, f"{prefix}regression": error}

    if mode != "generator":
        encoded = network.body(features, mask, key=keys[0])
        result |= classified(encoded, "", keys[1])
        if mode == "classifier":
            del result["regression"]
            return result

    diffused = network.config.num_diffusion
    real = mask[..., None].astype(wide)
    perturbed, velocity = perturb(cloud.features[..., :diffused], noise * real, time)
    perturbed = jnp.pad(perturbed, ((0, 0), (0, 0), (0, features.shape[-1] - diffused)))
    encoded = network.body(perturbed.astype(features.dtype), mask, time, key=keys[2])
    assert network.gen is not None
    found = network.gen(encoded, mask, jet, time, label.astype(jet.dtype), key=keys[3])
    error = jnp.square(found[..., :diffused].astype(wide) - velocity) * real
    result["generation"] = error.sum((1, 2)) / (diffused * constituents)
    if mode == "all":
        result |= classified(encoded, "perturbed_", keys[4])
    return result


def objective(
    values: dict[str, Array], time: Array, weighting: Literal["event", "reference"] = "event"
) -> Array:
    """Give the objective of each event, (B,), from its terms (as ``terms``) and times (B,).

    α² of each event multiplies its perturbed terms. (In OmniLearn's code, due to array shapes, the
    mean of α² over the batch does: weighting "reference".)
    """
    signal = jnp.square(alpha_sigma(time)[0])
    if weighting == "reference":
        signal = jnp.broadcast_to(signal.mean(), signal.shape)
    weighted = [signal * v if n.startswith("perturbed") else v for n, v in values.items()]
    return jnp.stack(weighted).sum(0)
