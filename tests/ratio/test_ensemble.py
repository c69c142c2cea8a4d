"""An ensemble is its networks: each learns as it would by itself, and the ratio is their mean."""

import dataclasses

import h5py
import jax
import jax.export
import numpy as np
import pytest

from jaxpriors import InputError, RatioClassifier, RatioModel
from jaxpriors.cli.export import network_folder
from jaxpriors.models.files import load_network, save_network
from jaxpriors.physics import kinematics
from jaxpriors.ratio.examples import Examples, bootstrap_weights, two_classes
from jaxpriors.ratio.export import program
from jaxpriors.ratio.networks import Ensemble, ensemble_rows, from_networks, networks_of
from jaxpriors.ratio.presets import MODELS
from jaxpriors.ratio.reweighting import Reweighting, prepare_reweighting, reweight
from jaxpriors.training.checkpoints import flatten
from jaxpriors.training.optimizers import OptimizerConfig, make_optimizer
from jaxpriors.training.parallel import data_mesh
from jaxpriors.training.step import initial_state, make_step
from tests.helpers.jets import random_jets
from tests.helpers.ratios import NETWORKS, jets_with_identities, random_ratio

SAMPLES = random_jets(48, seed=0), random_jets(48, seed=1, mean_multiplicity=23)
TRAINED_ON = two_classes(*SAMPLES)
# a clip that acts, and a decay that is seen: both belong to each network alone
RULE = OptimizerConfig("adamw", 3e-2, 0.3, clip=0.02)
SEED, EPOCHS = 3, 2


def _classifier(ensemble, bootstrap=False, **network):
    training = dataclasses.replace(
        MODELS["lgatr-slim"].training["small"],
        optimizer=RULE,
        epochs=EPOCHS,
        buckets=1,
        batch_size=32,
        seed=SEED,
    )
    config = dataclasses.replace(NETWORKS["lgatr-slim"], num_blocks=1, **network)
    return RatioClassifier(
        "lgatr-slim", training=training, network=config, ensemble=ensemble, bootstrap=bootstrap
    )


@pytest.fixture(scope="module")
def alone():
    """f(number, bootstrap): what that member becomes by itself, and the mean loss of each epoch.

    It starts as a single training with the member's seed does and sees the ensemble's batches.
    """
    single = _classifier(None)
    batches, _, loss = single.objective(Examples(TRAINED_ON))
    optimizer = make_optimizer(RULE, EPOCHS * batches.steps)
    step = jax.jit(make_step(loss, optimizer, batches.rows, data_mesh()))

    def trained(number, bootstrap):
        seed = SEED + number
        weight = bootstrap_weights(TRAINED_ON, [seed]) if bootstrap else TRAINED_ON.weight[:, None]
        own = dataclasses.replace(batches, weight=weight)
        state = initial_state(single.initial(jax.random.key(seed))[0], optimizer)
        losses = []
        for epoch in range(EPOCHS):
            before = state.epoch_loss
            for k in range(batches.steps):
                state, _ = step(state, own.epoch(epoch)(k))
            losses.append(float(state.epoch_loss - before) / batches.steps)
        return state.params, losses

    return trained


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "bootstrap"])
def fitted(request, alone, tmp_path_factory):
    """An ensemble of two and its epochs, and for each member what it becomes alone."""
    classifier, folder = _classifier(2, request.param), tmp_path_factory.mktemp("fit")
    model, trained = classifier.train(*classifier.examples(*SAMPLES, SAMPLES), folder)
    return model, trained.history, [alone(i, request.param) for i in range(2)]


def _assert_same(found, expected, atol=5e-5):
    found, expected = flatten(found), flatten(expected)
    assert set(found) == set(expected)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, atol=atol, err_msg=name)


def test_each_network_learns_as_it_would_alone(fitted):
    """From its own first weights, on the ensemble's batches, with a clip and moments of its own."""
    model, history, singles = fitted
    assert history[-1]["best"], "else the parameters are those of another epoch"
    for found, (params, _) in zip(networks_of(model.classifier), singles, strict=True):
        _assert_same(found, params.network)
    losses = np.mean([losses for _, losses in singles], axis=0)
    np.testing.assert_allclose([r["train_loss"] for r in history], losses, rtol=1e-5)


def test_the_ratio_is_the_geometric_mean(fitted):
    model, _, singles = fitted
    some = SAMPLES[0][:20]
    found = model.log_ratios(some)
    assert found.shape == (2, 20) and np.std(found[0] - found[1]) > 1e-3
    for row, (params, _) in zip(found, singles, strict=True):
        single = dataclasses.replace(model, classifier=params)
        np.testing.assert_allclose(row, single.log_ratio(some), atol=1e-4)
        assert single.log_ratios(some).shape == (1, 20)
    np.testing.assert_array_equal(model.log_ratio(some), found.mean(0))
    assert model.reweight(some).sum() == pytest.approx(20)


def test_a_saved_ensemble_is_the_same(fitted, tmp_path):
    model, *_ = fitted
    model.save(tmp_path)
    again = RatioModel.load(tmp_path)
    some = SAMPLES[1][:20]
    np.testing.assert_array_equal(again.log_ratios(some), model.log_ratios(some))
    second = load_network(tmp_path / "network-1.safetensors")
    _assert_same(second, networks_of(model.classifier)[1])
    assert network_folder(tmp_path, None) == tmp_path
    (tmp_path / "network-1.safetensors").unlink()
    with pytest.raises(InputError, match="networks: found 2, expected the 1 in the folder"):
        RatioModel.load(tmp_path)
    other = random_ratio("lgatr-slim", tmp_path).classifier.network
    save_network(tmp_path / "network-1.safetensors", other)
    with pytest.raises(InputError, match="ensemble: found networks of several configurations"):
        RatioModel.load(tmp_path)


def test_one_network_is_a_training_of_one(tmp_path):
    """With dropout, whose random numbers are the same."""
    dropping = {"dropout_prob": 0.2}
    single, one = (
        _classifier(number, **dropping).fit(*SAMPLES, SAMPLES, tmp_path / str(number))
        for number in (None, 1)
    )
    (network,) = networks_of(one.classifier)
    _assert_same(network, single.classifier.network, 2e-4)  # products of other shapes
    one.save(tmp_path / "model")
    assert not isinstance(RatioModel.load(tmp_path / "model").classifier, Ensemble)


def test_networks_drop_different_things():
    dropping = _classifier(2, dropout_prob=0.3)
    start, _ = dropping.initial(jax.random.key(0))
    batches, preprocessing, _ = dropping.objective(Examples(TRAINED_ON))
    twice = Ensemble.of([start, start])
    logits = jax.jit(lambda batch, key: twice(preprocessing(batch), key=key))
    found = logits(batches.epoch(0)(0)[0], jax.random.key(1))
    assert found.shape == (32, 2) and np.all(found[:, 0] != found[:, 1])


def test_bootstrap_weights_are_those_of_other_samples():
    """Poisson numbers of mean 1, of each seed its own; the classes stay as heavy as they are."""
    jets = random_jets(400, 0)
    negative = jets.with_weight(np.where(np.arange(400) % 10, 1.0, -0.5))
    events = two_classes(jets, negative)
    found = bootstrap_weights(events, [3, 4, 5])
    np.testing.assert_array_equal(found[:, 1:2], bootstrap_weights(events, [4]))
    counts = found / events.weight[:, None]
    for label in (0, 1):
        chosen = events.label == label
        sums = found[chosen].sum(0)
        np.testing.assert_allclose(sums, events.weight[chosen].sum())
        steps = np.sort(counts[chosen], axis=0)
        unit = np.array([column[column > 0][0] for column in steps.T])
        whole = counts[chosen] / unit
        np.testing.assert_allclose(whole, np.round(whole), atol=1e-9)
        assert np.all(np.abs(whole.mean(0) - 1) < 0.2) and np.all(np.abs(whole.var(0) - 1) < 0.4)
    assert abs(np.corrcoef(counts.T)[0, 1]) < 0.15


def test_a_bootstrap_that_leaves_a_class_without_weight():
    few = two_classes(random_jets(1, 0), random_jets(1, 1))
    with pytest.raises(InputError, match=r"training part: the 1 weights of network \d+ sum to 0,"):
        bootstrap_weights(few, range(20))


def test_an_exported_ensemble_gives_the_mean(tmp_path):
    ratio = random_ratio("pet", tmp_path)
    networks = [ratio.classifier.network]
    networks.append(jax.tree.map(lambda x: 0.9 * x, networks[0]))
    both = dataclasses.replace(ratio, classifier=from_networks(networks))
    jets = jets_with_identities(6, seed=3)
    p4, pid, length = jets.padded()
    made = program(both)
    assert made.platforms == ("cpu", "cuda") and made.nr_devices == 1
    single = [x.astype(np.float32) for x in (p4, jets.jet_p4, kinematics.mass(jets.jet_p4))]
    found = made.call(single[0], pid, length.astype(np.int32), *single[1:])
    assert found.shape == (6,)
    each = both.log_ratios(jets)
    assert np.abs(each[0] - each[1]).max() > 1e-3
    np.testing.assert_allclose(found, each.mean(0), atol=1e-5, rtol=1e-5)
    np.testing.assert_allclose(each[0], ratio.log_ratio(jets), atol=1e-5, rtol=1e-5)


def test_a_reweighting_keeps_every_networks_ratio(tmp_path):
    samples = (random_jets(120, seed=0), random_jets(120, seed=1, mean_multiplicity=23))
    config = Reweighting((_classifier(2),))
    metrics = reweight(prepare_reweighting(*samples, config), config, tmp_path)
    with h5py.File(tmp_path / "weights.h5") as file:
        each, mean = file["lgatr-slim/log_ratios"][:], file["lgatr-slim/log_ratio"][:]
        test = file["part"][:] == b"test"
    np.testing.assert_array_equal(each.mean(0), mean)
    assert each.shape == (2, 120)
    found = metrics["models"]["lgatr-slim"]
    assert found["networks"] == 2
    assert found["spread"] == pytest.approx(np.abs(each[0] - each[1])[test].mean() / 2**0.5)


def test_memory_is_shared_out():
    assert [ensemble_rows(8, k) for k in (1, 3, 8, 9)] == [8, 2, 1, 1]
    assert ensemble_rows(None, 3) is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ensemble": 0}, "ensemble: found 0, expected at least 1"),
        ({"ensemble": None, "bootstrap": True}, "bootstrap: found no ensemble"),
        ({"attention_implementation": "cudnn"}, "found 'cudnn', a kernel for one network"),
    ],
)
def test_what_cannot_be_an_ensemble(change, message):
    with pytest.raises(InputError, match=message):
        _classifier(**({"ensemble": 2} | change))
