"""Generation with the exact velocity of a known sample gives the jets of that sample."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array

from jaxpriors import kinematics
from jaxpriors.features import NORMALISATION, raw_features
from jaxpriors.layers.core import module
from jaxpriors.methods.diffusion import alpha_sigma, spread
from jaxpriors.methods.generation import Generator, SamplingConfig, conditions_like, generate
from tests.helpers.generators import labelled_jets, write_generator


@module(static=("config",))
class Exact:
    """The exact velocity of the jets of one sample that have as many constituents."""

    jets: Array  # (M, P, 3), normalised
    count: Array  # (M,)
    config: Any

    def velocity(self, x: Array, mask: Array, jet: Array, t: Array, label: Array) -> Array:
        alpha, sigma = (spread(a, x) for a in alpha_sigma(t))
        found, size = x[..., :3], x.shape[1]
        jets = jnp.pad(self.jets, ((0, 0), (0, size), (0, 0)))[:, :size]
        far = jnp.square(found[:, None] - alpha[:, None] * jets).sum((2, 3))
        fits = mask.sum(1)[:, None] == self.count
        weight = jax.nn.softmax(jnp.where(fits, -far / (2 * sigma[:, 0] ** 2), -jnp.inf))
        data = jnp.einsum("bm,mpf->bpf", weight, jets)
        return jnp.pad((alpha * found - data) / sigma, ((0, 0), (0, 0), (0, 10)))


@pytest.mark.parametrize(("sampler", "steps"), [("ddpm", 512), ("ddim", 60), ("dpm-solver++", 60)])
def test_an_exact_velocity_gives_the_jets_of_the_sample(tmp_path, sampler, steps):
    sample = labelled_jets(60, 1).sorted_by_pt()
    p4, pid, lengths = sample.padded()
    wide = p4.astype(np.float64)
    wide[..., 0] = kinematics.momentum(wide)
    features, mask, _ = raw_features(wide, pid, lengths, sample.jet_p4.astype(np.float64))
    mean, std = NORMALISATION["jetclass"].constituents()
    jets = np.where(mask[..., None], (features - mean) / std, 0)[..., :3].astype(np.float32)
    generator = Generator.load(write_generator(tmp_path / "model"))
    exact = Exact(jnp.asarray(jets), jnp.asarray(lengths), generator.network.config)
    generator = dataclasses.replace(generator, network=exact)

    conditions = dataclasses.replace(conditions_like(sample, 400, seed=0), least_pt=1e-6)
    made = generate(generator, conditions, SamplingConfig(sampler, steps, 400)).events
    p4, pid, lengths = made.padded()
    jet = [  # the features are relative to the jet of the conditions
        conditions.jet[:, 0] * np.cos(conditions.phi),
        conditions.jet[:, 0] * np.sin(conditions.phi),
        conditions.jet[:, 0] * np.sinh(conditions.jet[:, 1]),
    ]
    jet = np.stack([np.sqrt(sum(x**2 for x in jet)), *jet], -1)
    found, mask, _ = raw_features(p4.astype(np.float64), pid, lengths, jet)
    found = np.where(mask[..., None], (found - mean) / std, 0)[..., :3]
    far = np.abs(found[:, None] - jets).max((2, 3))
    far[lengths[:, None] != sample.multiplicity] = np.inf
    assert np.quantile(far.min(1), 0.95) < 1e-3
    assert len(np.unique(far.argmin(1))) >= 0.95 * len(sample)  # all of them, not some
