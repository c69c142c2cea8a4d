"""Jets from noise: conditions, four-momenta, padding, and the networks that can do it."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array

from jaxpriors.errors import InputError
from jaxpriors.generation import jets as generation
from jaxpriors.generation.diffusion import alpha_sigma, expand_like
from jaxpriors.generation.jets import (
    Conditions,
    Generator,
    SamplingConfig,
    conditions_like,
    generate_jets,
    momenta,
    normal_conditions,
)
from jaxpriors.layers.core import module
from jaxpriors.models.pet import PET
from jaxpriors.physics import kinematics
from jaxpriors.physics.jet_features import LEAST_REMAINDER, raw_features
from jaxpriors.preprocessing.clouds import Standardisation
from jaxpriors.preprocessing.normalisation import NORMALISATION
from tests.helpers.generators import CLASSES, TINY, labelled_jets, write_generator

QUICK = SamplingConfig(sampler="ddim", steps=2, batch_size=16)
JETS = labelled_jets(20, 1)


@pytest.fixture(scope="module")
def generator(tmp_path_factory):
    return Generator.load(write_generator(tmp_path_factory.mktemp("model")))


def test_momenta_invert_the_features():
    p4, pid, lengths = JETS.padded()
    wide = p4.astype(np.float64)
    wide[..., 0] = kinematics.momentum(wide)
    features, mask, jet = raw_features(wide, pid, lengths, JETS.jet_p4.astype(np.float64))
    given = Conditions(jet, kinematics.phi(JETS.jet_p4), JETS.label, JETS.weight, 1e-3)
    found, raised = momenta(features[mask][:, :3], given)
    assert raised == 0 and found.dtype == np.float32
    np.testing.assert_allclose(found, wide[mask], rtol=1e-4, atol=1e-4)


def test_momenta_raise_what_is_too_soft():
    given = Conditions(np.array([[100.0, 0.5, 10.0, 4.0]]), np.zeros(1), np.zeros(1), np.ones(1), 2)
    share = np.log(1 - 0.25 + LEAST_REMAINDER)
    found, raised = momenta(np.array([[0, 0, x] for x in (share, 0.0, 50.0, 1e4)]), given)
    assert raised == 3
    np.testing.assert_allclose(kinematics.pt(found), [25, 2, 2, 2], rtol=1e-5)
    np.testing.assert_allclose(kinematics.eta(found), 0.5, rtol=1e-5)
    for eta, phi in ((900.0, 0.0), (np.inf, 0.0), (0.0, np.inf), (0.0, np.nan)):
        assert not np.isfinite(momenta(np.array([[eta, phi, share]] * 4), given)[0]).all(1).any()


def test_conditions_take_every_jet_once_before_one_twice():
    events = JETS.with_weight(np.linspace(-1, 2, 20))
    found = conditions_like(events, 30, seed=0)
    assert len(found) == 30 and found.least_pt == kinematics.pt(events.p4).min()
    times = [np.isclose(found.weight, w).sum() for w in events.weight]
    assert sorted(set(times)) == [1, 2] and sum(times) == 30
    first = np.argmin(np.abs(events.weight - found.weight[0]))
    jet = events.jet_p4[first : first + 1]
    number = events.multiplicity[first]
    expected = [kinematics.pt(jet)[0], kinematics.eta(jet)[0], kinematics.mass(jet)[0], number]
    np.testing.assert_allclose(found.jet[0], expected, rtol=2e-3)
    assert found.label[0] == events.label[first]
    other = conditions_like(events, 30, seed=1)
    assert (other.weight != found.weight).any()
    with pytest.raises(InputError, match="20 jets without labels"):
        conditions_like(dataclasses.replace(events, label=None), 3, seed=0)


def test_normal_conditions():
    learnt = Standardisation((200.0, 0.0, 20.0, 15.0), (90.0, 1.0, 10.0, 8.0))
    found = normal_conditions(learnt, np.zeros(4000, np.int32), seed=0)
    np.testing.assert_allclose(found.jet.mean(0), learnt.mean, atol=3, rtol=0.05)
    np.testing.assert_allclose(found.jet.std(0), learnt.std, rtol=0.1)
    assert found.jet[:, [0, 2]].min() > 0 and found.multiplicity.min() >= 1
    assert (found.jet[:, 3] == found.multiplicity).all()


def test_generated_events(generator):
    conditions = conditions_like(JETS, 13, seed=0)
    steps = []
    result = generate_jets(generator, conditions, QUICK, lambda *done: steps.append(done))
    events = result.events
    np.testing.assert_array_equal(events.multiplicity, conditions.multiplicity)
    np.testing.assert_array_equal(events.label, conditions.label)
    np.testing.assert_allclose(events.p4[:, 0], kinematics.momentum(events.p4), rtol=1e-5)
    assert not events.pid.any()
    pt = kinematics.pt(events.p4)
    assert pt.min() >= conditions.least_pt * (1 - 1e-5)
    assert result.raised == np.sum(pt < conditions.least_pt * (1 + 1e-5))
    inner = np.ones(len(pt) - 1, bool)
    inner[events.offsets[1:-1] - 1] = False
    assert (np.diff(pt)[inner] <= 0).all()
    np.testing.assert_allclose(events.columns["condition_jet_pt"], conditions.jet[:, 0])
    assert steps[-1] == (13, 13)


def test_seed_and_batch_size(generator):
    conditions = conditions_like(JETS[JETS.multiplicity > 4], 13, seed=0)
    first = generate_jets(generator, conditions, QUICK).events
    again = generate_jets(generator, conditions, QUICK).events
    assert first.digest() == again.digest()
    smaller = generate_jets(generator, conditions, dataclasses.replace(QUICK, batch_size=4)).events
    np.testing.assert_allclose(smaller.jet_p4, first.jet_p4, rtol=2e-3, atol=1e-3)
    other = generate_jets(generator, conditions, dataclasses.replace(QUICK, seed=1)).events
    assert not np.allclose(other.jet_p4, first.jet_p4, rtol=0.01)


def test_few_jets_are_not_filled_up_to_a_batch(generator, monkeypatch):
    rows = []

    def samples(network, batch, **options):
        noise, *_ = batch
        rows.append(len(noise))
        return noise

    monkeypatch.setattr(generation, "_samples", samples)
    generate_jets(generator, conditions_like(JETS, 3, seed=0), QUICK)
    assert 3 <= max(rows) < 3 + jax.device_count()


def test_padding_stays_zero_and_changes_nothing(generator):
    rng = np.random.default_rng(0)
    noise, mask = rng.normal(size=(2, 6, 3)).astype(np.float32), np.arange(6) < [[4], [1]]
    noise = np.where(mask[..., None], noise, 0)
    jet, label = rng.normal(size=(2, 4)).astype(np.float32), np.eye(CLASSES, dtype="f4")[:2]
    network = generator.network
    found = generation._samples(network, (noise, mask, jet, label), 2, "ddim")
    assert (found[~mask] == 0).all() and (found[mask] != 0).all()
    longer = np.pad(noise, ((0, 0), (0, 3), (0, 0))), np.pad(mask, ((0, 0), (0, 3)))
    padded = generation._samples(network, (*longer, jet, label), 2, "ddim")
    np.testing.assert_allclose(padded[:, :6], found, atol=1e-5)


def test_the_conditions_matter(generator):
    base = conditions_like(JETS, 8, seed=0)
    first = generate_jets(generator, base, QUICK).events
    for change in ({"label": (base.label + 1) % CLASSES}, {"jet": base.jet * [1, 1, 3, 1]}):
        other = generate_jets(generator, dataclasses.replace(base, **change), QUICK).events
        assert not np.allclose(other.jet_p4, first.jet_p4, rtol=1e-4)


def test_omnilearn_mode_pads_as_its_trainings_did(monkeypatch):
    lengths = [length for _, length in generation._batches(np.array([3, 70]), 2, "omnilearn")]
    assert lengths == [150]
    assert {n for _, n in generation._batches(np.array([3, 170]), 2, "omnilearn")} == {170}
    seen = [(i.tolist(), n) for i, n in generation._batches(np.arange(1, 33), 8, "masked")]
    assert sorted(j for i, _ in seen for j in i) == list(range(32))
    assert max(n for _, n in seen) == 32 and len({n for _, n in seen}) > 1


def test_nothing_is_made_up_where_samples_are_not_finite(generator):
    broken = jax.tree.map(lambda x: x * np.nan, generator.network)
    with pytest.raises(FloatingPointError, match="constituents momenta that are not finite"):
        generate_jets(
            dataclasses.replace(generator, network=broken), conditions_like(JETS, 2, 0), QUICK
        )


def test_generate_refuses(generator):
    conditions = conditions_like(JETS, 3, seed=0)
    with pytest.raises(InputError, match="class: found 7 to 7, expected 0 to 2"):
        generate_jets(generator, dataclasses.replace(conditions, label=np.full(3, 7)), QUICK)
    with pytest.raises(InputError, match="multiplicity: found 0"):
        generate_jets(generator, dataclasses.replace(conditions, jet=conditions.jet * [1, 1, 1, 0]))
    for change, message in (({"steps": 0}, "steps: found 0"), ({"sampler": "x"}, "sampler")):
        with pytest.raises(InputError, match=message):
            SamplingConfig(**change)


def test_load_prefers_the_average(tmp_path):
    folder = write_generator(tmp_path / "model")
    assert Generator.load(folder).source.endswith("network.safetensors")
    write_generator(folder, name="network-ema.safetensors", seed=1)
    averaged = Generator.load(tmp_path)  # the folder of the run, whose model/ this is
    assert averaged.source.endswith("network-ema.safetensors")
    file = Generator.load(folder / "network.safetensors", "omnifold")
    assert file.preprocessing.standardisation.mean[0] == 225.826286
    assert isinstance(file.network, PET) and file.classes == CLASSES


def test_files_that_hold_no_generator_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"model\.json: no such file"):
        Generator.load(tmp_path)
    with pytest.raises((InputError, OSError), match="absent"):
        Generator.load(tmp_path / "absent.safetensors")
    folder = write_generator(tmp_path / "a", heads=("cls",))
    with pytest.raises(InputError, match="PET without a generator"):
        Generator.load(folder)
    folder = write_generator(tmp_path / "b", dataclasses.replace(TINY, num_diffusion=4))
    with pytest.raises(InputError, match="generates 4 features from 4 of the jet"):
        Generator.load(folder)
    with pytest.raises(InputError, match="normalisation: found 'x'"):
        Generator.load(folder / "network.safetensors", "x")
    for content, error in (
        ("{}", "null, expected a table"),
        ("[]", "list, expected a JSON object"),
    ):
        (folder / "model.json").write_text(content)
        with pytest.raises(InputError, match=rf"model\.json: (inputs: )?found {error}"):
            Generator.load(folder)


@module(static=("config",))
class Exact:
    """The exact velocity of the jets of one sample that have as many constituents."""

    jets: Array  # (M, P, 3), normalised
    count: Array  # (M,)
    config: Any

    def velocity(self, x: Array, mask: Array, jet: Array, t: Array, label: Array) -> Array:
        alpha, sigma = (expand_like(a, x) for a in alpha_sigma(t))
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
    made = generate_jets(generator, conditions, SamplingConfig(sampler, steps, 400)).events
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
