"""The dijet networks: recorded outputs, and what padding, order and exchange of jets change."""

import dataclasses
import json

import h5py
import jax
import numpy as np
import pytest

from jaxpriors.models.files import load_network, save_network
from jaxpriors.models.pet_dijet import (
    JetGenerator,
    PETTwoJetClassifier,
    PETTwoJetClassifierConfig,
    PETTwoJetGenerator,
    PETTwoJetGeneratorConfig,
)
from jaxpriors.models.state_dicts import network_from_state
from jaxpriors.preprocessing.normalisation import relative_normalisation
from tests.helpers.pet import FIXTURES, tensor

NETWORKS = {
    PETTwoJetClassifier: PETTwoJetClassifierConfig,
    PETTwoJetGenerator: PETTwoJetGeneratorConfig,
}
TINY = dict(
    num_features=6,
    num_jet_features=3,
    hidden_channels=8,
    num_heads=2,
    num_layers=1,
    num_class_layers=1,
    num_gen_layers=1,
    num_jet_layers=2,
    num_jet_heads=2,
    neighbours=4,
    num_keep=4,
    layer_scale=1.0,  # so that all branches count
)
UNITS = dict(feature_mean=(0.1, -0.2, 0.3), feature_std=(1.2, 1.2, 0.9))
INPUTS = ("features", "mask", "jet")
EVENTS, PARTICLES = 3, 9
TIMES = np.array([0.1, 0.5, 0.9], np.float32)


classify = jax.jit(lambda network, *arguments: network(*arguments))
generate_jets = jax.jit(lambda network, *arguments: network.jet_velocity(*arguments))
generate = jax.jit(lambda network, *arguments: network.velocity(*arguments))


def empty(cls, config):
    return jax.eval_shape(lambda: cls.init(jax.random.key(0), config))


def tiny(cls, **changes):
    """A small network with random numbers in every weight."""
    rng = np.random.default_rng(0)

    def numbers(path, leaf):
        noise = rng.normal(size=leaf.shape).astype(np.float32)
        gain = getattr(path[-2], "name", "").startswith(("norm", "ls", "part_norm"))
        if path[-1].name == "weight":
            return 1 + 0.2 * noise if gain else noise / leaf.shape[-1] ** 0.5
        return 0.2 * noise

    shapes = empty(cls, NETWORKS[cls](**TINY | changes))
    return jax.tree_util.tree_map_with_path(numbers, shapes)


@pytest.fixture
def events():
    """(features, mask, jets, mass) with holes; one jet has fewer particles than neighbours."""
    rng = np.random.default_rng(1)
    lengths = np.array([[9, 6], [7, 2], [5, 8]])
    mask = np.arange(PARTICLES) < lengths[..., None]
    mask[0, 1] = np.roll(mask[0, 1], 2)
    features, jets, mass = (
        rng.normal(size=size).astype(np.float32)
        for size in ((EVENTS, 2, PARTICLES, 6), (EVENTS, 2, 3), (EVENTS,))
    )
    return features * mask[..., None], mask, jets, mass


@pytest.fixture
def jets(events):
    """(features, mask, jet, time, label) of single jets."""
    features, mask, jets, mass = events
    return features[:, 0], mask[:, 0], jets[:, 0], TIMES, label_of(mass)


def label_of(mass):
    """The condition of a generator, (B, 2)."""
    return np.stack([mass, np.ones_like(mass)], 1)


def recorded(cls, name):
    """(network, arrays) of a recorded case."""
    table = json.loads((FIXTURES / f"{name}.json").read_text())
    config = NETWORKS[cls](
        hidden_channels=16, num_layers=table["kwargs"]["num_layers"], mode="omnilearn"
    )
    if table["kwargs"].get("use_mean"):
        mean, std = relative_normalisation()
        config = dataclasses.replace(config, feature_mean=mean, feature_std=std)
    with h5py.File(FIXTURES / f"{name}.weights.h5") as file:
        state = dict(
            tensor(f".{role}", np.asarray(file[path]))
            for path, role in table["h5_to_role"].items()
            if role is not None and not role.startswith("ema_")
        )
    state = {key.removeprefix("."): value for key, value in state.items()}
    with np.load(FIXTURES / f"{name}.npz") as file:
        return network_from_state(empty(cls, config), state, prefix=""), dict(file)


def close(ours, theirs, bar):
    """Largest difference relative to the largest number."""
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs).max() <= bar * np.abs(theirs).max()


def test_classifier_gives_recorded_outputs():
    network, given = recorded(PETTwoJetClassifier, "lhco_classifier_small")
    mass, jets = given["input_mass"], [given[f"input_{n}"] for n in ("features", "mask", "jet")]
    jets[1] = jets[1] > 0
    logits, jet = classify(network, *jets, mass)
    close(logits, given["out_cls"], 2e-5)
    close(jet, given["out_jet"], 2e-5)
    exchanged = [a[:, ::-1] for a in jets]
    close(classify(network, *exchanged, mass)[0], logits, 1e-5)


@pytest.mark.parametrize("name", ["lhco_generator_small", "lhco_generator_usemean"])
def test_generator_gives_recorded_velocities(name):
    network, given = recorded(PETTwoJetGenerator, name)
    y, features, mask, jets = (given[n] for n in ("y", *(f"input_{n}" for n in INPUTS)))
    velocity = generate_jets(network, jets, given["t_jet"][:, 0], y)
    close(velocity, given["out_jet_v"], 2e-5)
    flat = [a.reshape(-1, *a.shape[2:]) for a in (features, mask > 0, jets)]
    velocity = generate(network, *flat, given["t_part"][:, 0], np.repeat(y, 2, 0))
    close(velocity, given["out_part_v"], 2e-5)


def test_padding_and_order_change_nothing_in_the_classifier(events):
    features, mask, jets, mass = events
    network = tiny(PETTwoJetClassifier)
    logits, jet = classify(network, *events)
    assert logits.shape == (EVENTS, 1) and jet.shape == (EVENTS, 3)

    filled = np.where(mask[..., None], features, 7.0)  # what stands in padding is not seen
    padded = np.pad(filled, ((0, 0), (0, 0), (0, 5), (0, 0)), constant_values=3.0)
    more = np.pad(mask, ((0, 0), (0, 0), (0, 5)))
    close(classify(network, padded, more, jets, mass)[0], logits, 1e-6)
    order = np.random.default_rng(0).permutation(PARTICLES)
    close(classify(network, features[:, :, order], mask[:, :, order], *events[2:])[0], logits, 2e-6)
    exchanged = [a[:, ::-1] for a in events[:3]]
    close(classify(network, *exchanged, mass)[0], logits, 2e-6)
    other = features.copy()
    other[0] += 1  # another event
    close(classify(network, other, *events[1:])[0][1:], logits[1:], 2e-6)


def test_the_classifier_sees_all_its_inputs(events):
    features, mask, jets, mass = events
    network = tiny(PETTwoJetClassifier)
    logits = classify(network, *events)[0]
    assert np.abs(classify(network, features, mask, jets, mass + 1)[0] - logits).min() > 1e-3
    assert np.abs(classify(network, features, mask, jets + 1, mass)[0] - logits).min() > 1e-3
    mixed = features.copy()
    mixed[0, :, 2:4] = features[0, ::-1, 2:4]  # particles that both jets have
    difference = classify(network, mixed, *events[1:])[0] - logits
    assert abs(difference[0, 0]) > 1e-3 and np.abs(difference[1:]).max() < 1e-5


def test_a_missing_jet_gives_finite_logits(events):
    features, mask, jets, mass = events
    some = mask.copy()
    some[0, 1] = some[1] = False
    logits, jet = classify(tiny(PETTwoJetClassifier), features, some, jets, mass)
    assert np.isfinite(logits).all() and np.isfinite(jet).all()


def test_every_part_of_the_classifier_is_trained(events):
    def loss(network):
        logits, jet = network(*events)
        return (logits**2).sum() + (jet**2).sum()

    gradient = jax.jit(jax.grad(loss))(tiny(PETTwoJetClassifier))
    body = dataclasses.replace(gradient.body, time=None)  # not used at t = 0
    gradient = dataclasses.replace(gradient, body=body)
    for path, g in jax.tree_util.tree_flatten_with_path(gradient)[0]:
        name = jax.tree_util.keystr(path)
        assert np.isfinite(g).all(), name
        assert name.endswith("attn.key.bias") or np.abs(g).max() > 0, name  # softmax has no shift


def test_padding_and_order_change_nothing_in_the_generator(jets):
    features, mask, *rest = jets
    network = tiny(PETTwoJetGenerator, **UNITS)
    velocity = generate(network, *jets)
    assert velocity.shape == features.shape
    assert not np.any(velocity[~mask])
    padded = np.pad(features, ((0, 0), (0, 5), (0, 0)), constant_values=3.0)
    longer = generate(network, padded, np.pad(mask, ((0, 0), (0, 5))), *rest)
    close(longer[:, :PARTICLES], velocity, 2e-6)
    order = np.random.default_rng(0).permutation(PARTICLES)
    close(generate(network, features[:, order], mask[:, order], *rest), velocity[:, order], 3e-6)


def test_features_reach_the_network_in_the_units_of_its_pretraining(jets):
    features, mask, *rest = jets
    rescaled = tiny(PETTwoJetGenerator, **UNITS)
    config = dataclasses.replace(rescaled.config, feature_mean=(), feature_std=())
    plain = dataclasses.replace(rescaled, config=config)
    mean, std = [*UNITS["feature_mean"], 0, 0, 0], [*UNITS["feature_std"], 1, 1, 1]
    inside = np.where(mask[..., None], (features - np.float32(mean)) / np.float32(std), 0)
    expected = generate(plain, inside, mask, *rest) * np.float32(std) + np.float32(mean)
    close(generate(rescaled, *jets), np.where(mask[..., None], expected, 0), 1e-5)


def test_exchanged_jets_are_generated_in_exchanged_places(events):
    _, _, jets, mass = events
    network, label = tiny(PETTwoJetGenerator), label_of(mass)
    velocity = generate_jets(network, jets, TIMES, label)
    close(generate_jets(network, jets[:, ::-1], TIMES, label)[:, ::-1], velocity, 2e-6)
    assert np.abs(generate_jets(network, jets, TIMES, label + 1) - velocity).min() > 1e-5
    assert np.abs(generate_jets(network, jets, TIMES / 2, label) - velocity).min() > 1e-5


def test_generation_of_jets_starts_at_zero_and_blocks_at_the_layer_scale():
    config = PETTwoJetGeneratorConfig(**TINY | {"layer_scale": 1e-5})
    model = jax.jit(lambda key: JetGenerator.init(key, config))(jax.random.key(0))
    assert not np.any(model.out.weight) and not np.any(model.out.bias)
    np.testing.assert_array_equal(model.blocks.ls1.weight, np.full((2, 8), 1e-5, np.float32))


def test_relative_normalisation_of_the_lhc_olympics():
    mean, std = relative_normalisation()
    np.testing.assert_allclose(mean, [0.0, 0.0, 0.0088 / 0.07], rtol=1e-12)
    np.testing.assert_allclose(std, [0.26 / 0.215, 0.26 / 0.215, 0.066 / 0.07], rtol=1e-12)


def test_drops_act_with_a_key_alone(events):
    network = tiny(PETTwoJetClassifier, drop_path=0.5, dropout=0.5)
    train = jax.jit(lambda seed: network(*events, key=jax.random.key(seed))[0])
    assert np.abs(train(0) - train(1)).max() > 1e-3
    plain = tiny(PETTwoJetClassifier)
    np.testing.assert_array_equal(classify(network, *events)[0], classify(plain, *events)[0])


@pytest.mark.parametrize("cls", NETWORKS)
def test_saved_networks_are_read_back(cls, tmp_path):
    network = tiny(cls, **(UNITS if cls is PETTwoJetGenerator else {}))
    save_network(tmp_path / "network.safetensors", network)
    read = load_network(tmp_path / "network.safetensors")
    assert read.config == network.config
    assert jax.tree.all(jax.tree.map(np.array_equal, read, network))


def test_settings_that_make_no_network_are_refused(events):
    with pytest.raises(ValueError, match="multiple of num_jet_heads = 3"):
        PETTwoJetClassifierConfig(num_jet_heads=3)
    with pytest.raises(ValueError, match="num_jet_layers is 0"):
        PETTwoJetGeneratorConfig(num_jet_layers=0)
    with pytest.raises(ValueError, match="equally many"):
        PETTwoJetGeneratorConfig(feature_mean=(0.0, 1.0), feature_std=(1.0,))
    with pytest.raises(ValueError, match="no standard deviation of zero"):
        PETTwoJetGeneratorConfig(feature_mean=(0.0,), feature_std=(0.0,))
    features, mask, jets, mass = events
    with pytest.raises(ValueError, match=r"found mask \(3, 9\)"):
        tiny(PETTwoJetClassifier)(features[:, 0], mask[:, 0], jets, mass)
