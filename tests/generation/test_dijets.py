"""The generator of two-jet events: its objective, its bookkeeping, and what it learns."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpriors import InputError
from jaxpriors.anomaly import training as anomaly
from jaxpriors.data import dijets
from jaxpriors.data.batching import gather
from jaxpriors.generation.dijets import (
    TRAINING,
    DijetGenerator,
    TemplateConfig,
    dijet_terms,
    fit_generator,
    generate_dijets,
)
from jaxpriors.generation.jets import SamplingConfig
from jaxpriors.models.pet_dijet import PETTwoJetGenerator, PETTwoJetGeneratorConfig
from jaxpriors.preprocessing.clouds import DijetCloudConfig
from jaxpriors.preprocessing.registry import Preprocessing
from tests.helpers.dijets import random_dijets

TINY = PETTwoJetGeneratorConfig(
    hidden_channels=8, num_layers=1, num_local=1, num_heads=2, neighbours=3, num_gen_layers=1,
    layer_scale=0.3, feature_drop=0.0, num_jet_layers=1, num_jet_heads=2,
)  # fmt: skip
INPUTS = DijetCloudConfig(constituents=4)
CONFIG = TemplateConfig(
    TINY, INPUTS, dataclasses.replace(TRAINING["small"], epochs=4, batch_size=32, buckets=1)
)
EVENTS = random_dijets(120, 0)
FEW = SamplingConfig(steps=4, batch_size=64)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    records = []
    generator = fit_generator(EVENTS, CONFIG, tmp_path_factory.mktemp("fit"), records.append)
    return generator, [r["validation_loss"] for r in records if "validation_loss" in r]


def test_training_lowers_the_loss_and_goes_on_after_a_kill(trained, tmp_path):
    generator, losses = trained
    assert losses[-1] < losses[0]

    class Killed(BaseException):
        pass

    def kill(record):
        if record.get("epoch") == 3 and "steps" in record:
            raise Killed

    with pytest.raises(Killed):
        fit_generator(EVENTS, CONFIG, tmp_path, kill)
    again = fit_generator(EVENTS, CONFIG, tmp_path)
    for a, b in zip(
        jax.tree.leaves(again.network), jax.tree.leaves(generator.network), strict=True
    ):
        np.testing.assert_array_equal(a, b)


def test_events_have_the_masses_that_were_asked_for(trained):
    mass = np.random.default_rng(0).uniform(3300, 3700, 90)
    found = generate_dijets(trained[0], mass, FEW)
    np.testing.assert_allclose(dijets.dijet_mass(found.events), mass, rtol=1e-4)
    jets = dijets.jets_of(found.events)
    expected = np.minimum(jets.columns["multiplicity"], 4)
    np.testing.assert_array_equal(jets.multiplicity, expected)
    assert found.scale.shape == (90,) and np.all(found.scale > 0)
    assert np.all(found.events.columns["jet1_pt"] >= found.events.columns["jet2_pt"])
    assert not found.events.label.any() and found.raised >= 0


def test_the_same_seed_gives_the_same_events_from_a_file(trained, tmp_path):
    mass = np.full(20, 3500.0)
    trained[0].save(tmp_path)
    first = generate_dijets(trained[0], mass, FEW)
    again = generate_dijets(DijetGenerator.load(tmp_path), mass, FEW)
    other = generate_dijets(trained[0], mass, dataclasses.replace(FEW, seed=1))
    assert first.events.digest() == again.events.digest() != other.events.digest()


def test_a_velocity_that_is_known_has_no_error(trained, monkeypatch):
    """The terms are zero for the network that gives the velocities of the very noise."""
    preprocessing = Preprocessing(INPUTS, INPUTS.learn(INPUTS.select(EVENTS)))
    cloud = preprocessing(gather(INPUTS.select(EVENTS), np.arange(16), 8))
    keys = jax.random.split(jax.random.key(0), 4)
    times = jax.random.uniform(keys[0], (16,)), jax.random.uniform(keys[1], (16, 2))
    noises = (
        jax.random.normal(keys[2], cloud.jets.shape),
        jax.random.normal(keys[3], (*cloud.mask.shape, 3)),
    )
    angle = jnp.pi / 2 * times[0][:, None, None]  # of the schedule, up to its ends

    def jets(self, noisy, time, label, key=None):
        return jnp.cos(angle) * noises[0] - jnp.sin(angle) * cloud.jets

    monkeypatch.setattr(PETTwoJetGenerator, "jet_velocity", jets)
    found = jax.jit(dijet_terms)(trained[0].network, cloud, times, noises, 4.0)
    assert float(found["jets"].max()) < 1e-3
    assert float(found["constituents"].min()) > 0.01


def test_constituents_beyond_the_number_do_not_count(trained):
    """The error of a jet is a mean over its own constituents, whatever the padding."""
    preprocessing = Preprocessing(DijetCloudConfig(), DijetCloudConfig().learn(EVENTS))
    events = DijetCloudConfig().select(EVENTS)
    width = int(events.multiplicity.max())
    found = []
    for extra in (0, 5):
        cloud = preprocessing(gather(events, np.arange(16), width + extra))
        noise = jax.random.normal(jax.random.key(0), (16, 2, width + 5, 3))[:, :, : width + extra]
        given = (jnp.full(16, 0.4), jnp.full((16, 2), 0.6)), (jnp.ones((16, 2, 5)), noise)
        found.append(jax.jit(dijet_terms)(trained[0].network, cloud, *given, 8.0))
    for name in ("jets", "constituents"):
        np.testing.assert_allclose(found[0][name], found[1][name], rtol=1e-4)


def test_a_template_is_accepted_beside_data_that_are_cut_alike(trained):
    data = dijets.leading(random_dijets(80, 7), 4)
    template = generate_dijets(trained[0], dijets.dijet_mass(data), FEW).events
    with pytest.raises(InputError, match=r"at most 4 constituents of its jets and all"):
        anomaly.select(random_dijets(80, 7), template, None)


def test_networks_that_do_not_fit_are_refused():
    with pytest.raises(InputError, match=r"network: found .*omnilearn.*expected \(13, 5, 2, 3\)"):
        TemplateConfig(dataclasses.replace(TINY, mode="omnilearn"))
