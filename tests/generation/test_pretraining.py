"""The objective of pretraining is what it says, term by term, and a training lowers it."""

import copy
import dataclasses
import json
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental.compilation_cache import compilation_cache

from jaxpriors import Events, InputError
from jaxpriors.data.batching import gather, split
from jaxpriors.data.prepared import open_prepared, write_prepared
from jaxpriors.data.stored import StoredEvents
from jaxpriors.generation.diffusion import alpha_sigma
from jaxpriors.generation.objective import objective, terms
from jaxpriors.generation.pretraining import (
    Pretraining,
    make_pretraining_forward,
    make_pretraining_loss,
    prepare_pretraining,
    pretrain,
)
from jaxpriors.models.files import load_network
from jaxpriors.models.pet import PET, PETConfig
from jaxpriors.preprocessing.clouds import PointCloudConfig
from jaxpriors.preprocessing.registry import Preprocessing
from jaxpriors.training.loop import TrainingConfig
from jaxpriors.training.optimizers import OptimizerConfig
from jaxpriors.training.parallel import predict
from tests.helpers.jets import random_jets

CLASSES = 3
NETWORK = PETConfig(
    num_classes=CLASSES,
    hidden_channels=8,
    num_heads=2,
    num_layers=1,
    num_local=1,
    neighbours=4,
    num_class_layers=1,
    num_gen_layers=1,
    layer_scale=0.5,
)
TRAINING = TrainingConfig(
    OptimizerConfig("adamw", 5e-3, 0.0),
    batch_size=32,
    epochs=2,
    micro_batch=32,
    buckets=1,
    checkpoint_steps=2,
    ema=0.9,
)
CONFIG = Pretraining(network=NETWORK, training=TRAINING, fractions=(0.6, 0.2, 0.2))
TERMS = jax.jit(terms, static_argnames=("mode", "precision"))
NAMES = ("classification", "regression", "generation")


LENGTH, ROWS = 24, 8


@pytest.fixture(scope="module")
def jets() -> Events:
    """Small jets whose class is their number of constituents, three kinds of it."""
    jets = random_jets(400, 0)
    jets = jets[jets.multiplicity <= LENGTH][:160]
    edges = np.quantile(jets.multiplicity, [1 / 3, 2 / 3])
    return jets.with_label(np.searchsorted(edges, jets.multiplicity).astype(np.int32))


@pytest.fixture(scope="module")
def preprocessing(jets):
    return Preprocessing(PointCloudConfig(), PointCloudConfig().learn(jets))


@pytest.fixture(scope="module")
def network():
    return PET.init(jax.random.key(3), NETWORK)


def _problem(jets, preprocessing, index=range(ROWS), length=LENGTH):
    """Cloud, one-hot labels, times and noise; the latter two go with the event's number."""
    batch = gather(jets, np.asarray(index), length)
    label = jax.nn.one_hot(batch.label.astype(int), CLASSES)
    time, noise = np.zeros(len(index), np.float32), np.zeros((len(index), length, 3), np.float32)
    for row, event in enumerate(index):
        rng = np.random.default_rng(event)
        time[row], noise[row, :LENGTH] = rng.random(), rng.normal(size=(LENGTH, 3))
    return preprocessing(batch), label, jnp.asarray(time), jnp.asarray(noise)


def test_terms_are_what_they_are_called(jets, preprocessing, network):
    """Each recomputed, event by event, from the network's own outputs."""
    counts = jets.multiplicity
    index = np.flatnonzero(counts == np.bincount(counts).argmax())[:ROWS]
    cloud, label, time, noise = _problem(jets, preprocessing, np.resize(index, ROWS))
    classify, velocity_of = jax.jit(PET.classify), jax.jit(PET.velocity)
    found = TERMS(network, cloud, label, time, noise, 7.0)
    assert sorted(found) == sorted([*NAMES, "perturbed_classification", "perturbed_regression"])
    alpha, sigma = (np.asarray(a) for a in alpha_sigma(time))
    for i in range(2):
        n = int(cloud.mask[i].sum())
        one = (cloud.features[i : i + 1, :n], jnp.ones((1, n), bool), cloud.jet[i : i + 1])
        logits, jet = classify(network, *one)
        y = int(label[i].argmax())
        assert found["classification"][i] == pytest.approx(
            -float(jax.nn.log_softmax(logits)[0, y]), rel=1e-4
        )
        assert found["regression"][i] == pytest.approx(
            float(((jet - cloud.jet[i]) ** 2).mean()), rel=1e-3, abs=1e-5
        )
        x = np.asarray(one[0][0])
        seen = np.zeros_like(x)
        seen[:, :3] = alpha[i] * x[:, :3] + sigma[i] * noise[i, :n]
        velocity = alpha[i] * noise[i, :n] - sigma[i] * x[:, :3]
        now = (jnp.asarray(seen)[None], *one[1:])
        t = time[i : i + 1]
        error = velocity_of(network, *now, t, label[i : i + 1])[0, :, :3] - velocity
        assert found["generation"][i] == pytest.approx(
            float((error**2).sum() / (3 * 7.0)), rel=1e-3
        )
        logits, jet = classify(network, *now, time=t)
        assert found["perturbed_classification"][i] == pytest.approx(
            -float(jax.nn.log_softmax(logits)[0, y]), rel=1e-4
        )
        assert found["perturbed_regression"][i] == pytest.approx(
            float(((jet - cloud.jet[i]) ** 2).mean()), rel=1e-3, abs=1e-5
        )


def test_perturbed_terms_weigh_their_own_signal():
    time = jnp.array([0.0, 0.3, 1.0])
    parts = {n: jnp.array([1.0, 2.0, 3.0]) for n in ("classification", "perturbed_classification")}
    signal = np.cos(np.pi / 2 * np.asarray(time)) ** 2
    own = objective(parts, time)
    np.testing.assert_allclose(own, [1 + signal[0], 2 + 2 * signal[1], 3], atol=1e-4)
    peer = objective(parts, time, weighting="reference")
    assert float(peer.mean()) == pytest.approx(2 + 2 * signal.mean(), rel=1e-4)
    assert float(own.mean()) != pytest.approx(float(peer.mean()), rel=0.05)


@pytest.mark.parametrize("mode", ["classifier", "generator"])
def test_one_head_alone_has_its_own_terms(jets, preprocessing, mode):
    heads = {"classifier": "cls", "generator": "gen"}
    network = PET.init(jax.random.key(0), NETWORK, heads=(heads[mode],))
    found = TERMS(network, *_problem(jets, preprocessing), 7.0, mode=mode)
    assert list(found) == [{"classifier": "classification", "generator": "generation"}[mode]]


def test_padding_changes_nothing(jets, preprocessing, network):
    one = TERMS(network, *_problem(jets, preprocessing), 7.0)
    more = TERMS(network, *_problem(jets, preprocessing, length=LENGTH + 9), 7.0)
    for name in one:
        np.testing.assert_allclose(more[name], one[name], rtol=2e-4, atol=1e-5)


def test_events_do_not_depend_on_their_company(jets, preprocessing, network):
    """So the sum over a batch is that over its chunks."""
    some = TERMS(network, *_problem(jets, preprocessing), 7.0)
    others = TERMS(network, *_problem(jets, preprocessing, range(4, 4 + ROWS)), 7.0)
    for name, values in some.items():
        np.testing.assert_allclose(others[name][: ROWS - 4], values[4:], rtol=2e-4, atol=1e-5)


def test_the_loss_is_a_weighted_sum(jets, preprocessing, network):
    plain = dataclasses.replace(NETWORK, feature_drop=0.0)
    network = jax.tree.unflatten(
        jax.tree.structure(jax.eval_shape(lambda k: PET.init(k, plain), jax.random.key(0))),
        jax.tree.leaves(network),
    )
    loss = jax.jit(
        make_pretraining_loss(preprocessing, 7.0, dataclasses.replace(CONFIG, network=plain))
    )
    batch, key = gather(jets, np.arange(6), LENGTH), jax.random.split(jax.random.key(5), 6)

    def alone(i):
        return dataclasses.replace(batch, weight=np.eye(6, dtype=np.float32)[i])

    each = np.array([float(loss(network, alone(i), key)) for i in range(6)])
    weight = np.array([1.0, 0.0, -0.5, 2.0, 1.0, 3.0], np.float32)
    total = loss(network, dataclasses.replace(batch, weight=weight), key)
    assert float(total) == pytest.approx(float(each @ weight), rel=1e-4)
    assert np.all(each > 0)


def test_an_evaluation_is_the_same_twice_and_in_any_order(jets, preprocessing, network):
    """Times and noise belong to the event: other padding and batches change nothing."""
    forward = make_pretraining_forward(preprocessing, 7.0, CONFIG)
    once = predict(forward, network, jets[:40], (LENGTH,), 16, numbered=True)
    again = predict(forward, network, jets[:40], (LENGTH + 8,), 6, numbered=True)
    for name, values in once.items():
        assert values.shape == (40,) and np.all(np.isfinite(values))
        np.testing.assert_allclose(again[name], values, rtol=1e-3, atol=1e-4)


def test_an_evaluation_has_few_lengths_and_cuts_no_event(jets):
    """An event longer than all lengths adds one of its own, a shorter one does not."""
    longest, seen = int(jets.multiplicity.max()), []

    def constituents(network, rows):
        batch, _ = rows
        seen.append(batch.p4.shape[1])
        return {"constituents": batch.length}

    for lengths, expected in (
        ((12, longest + 4), {12, longest + 4}),
        ((12, longest - 1), {12, longest - 1, longest}),
    ):
        seen.clear()
        found = predict(constituents, None, jets, lengths, numbered=True)["constituents"]
        np.testing.assert_array_equal(found, jets.multiplicity)
        assert {*seen} == expected


def test_an_evaluation_that_is_not_finite_is_told(jets):
    def broken(network, rows):
        _, number = rows
        return {"objective": np.where(number == 5, np.nan, 1.0)}

    message = "objective is not finite for 1 of 160 events, first event 5"
    with pytest.raises(FloatingPointError, match=message):
        predict(broken, None, jets, (LENGTH,), numbered=True)


class Killed(BaseException):
    """What a kill is to the loop: it does not come back."""


@pytest.fixture
def compiled_once(tmp_path):
    """Programs that one training compiles serve the next."""
    settings = {
        "jax_compilation_cache_dir": str(tmp_path / "programs"),
        "jax_persistent_cache_min_compile_time_secs": 0.0,
        "jax_persistent_cache_min_entry_size_bytes": -1,
    }
    before = {name: getattr(jax.config, name) for name in settings}
    for name, value in settings.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()
    yield
    for name, value in before.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()


def test_killed_and_called_again_and_from_disk(jets, tmp_path, compiled_once):
    def kill(record):
        if record.get("epoch") == 2 and record.get("step") == 2 and "steps" in record:
            raise Killed

    parts, config = prepare_pretraining(jets, CONFIG)
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
    whole = pretrain(parts, config, tmp_path / "whole")
    with pytest.raises(Killed):
        pretrain(parts, config, tmp_path / "killed", kill)
    again = pretrain(parts, config, tmp_path / "killed")
    assert again["test"] == whole["test"]
    for name in ("network.safetensors", "network-ema.safetensors", "model.json"):
        one, other = ((tmp_path / run / "model" / name) for run in ("whole", "killed"))
        assert one.read_bytes() == other.read_bytes()

    log = [json.loads(x) for x in (tmp_path / "killed" / "log.jsonl").read_text().splitlines()]
    assert [r["epoch"] for r in log] == [1, 2]
    assert log[1]["train_loss"] < log[0]["train_loss"]
    _files_are_usable(tmp_path / "whole", parts["test"], whole)

    pieces = [partial(copy.copy, jets[part]) for part in (slice(0, 100), slice(100, 160))]
    stored = open_prepared(write_prepared(tmp_path / "sample", pieces, {}))
    parts, config = prepare_pretraining(stored, CONFIG)
    assert isinstance(parts["train"], StoredEvents)
    (tmp_path / "disk").mkdir()
    assert pretrain(parts, config, tmp_path / "disk")["test"] == whole["test"]


def _files_are_usable(run, events, metrics):
    """What is on disk gives the numbers in metrics.json."""
    content = json.loads((run / "model" / "model.json").read_text())
    preprocessing = Preprocessing.from_json(content, "model.json")
    forward = make_pretraining_forward(preprocessing, metrics["constituents"], CONFIG)
    for name in ("network", "network-ema"):
        network = load_network(run / "model" / f"{name}.safetensors")
        assert network.cls is not None and network.gen is not None
        found = predict(forward, network, events, content["lengths"], numbered=True)
        for term, values in found.items():
            assert metrics["test"][name][term] == pytest.approx(values.mean(), rel=1e-5), term
    assert 0.0 <= metrics["test"]["network"]["auc_one_vs_one"] <= 1.0
    assert 0.0 <= metrics["test"]["network-ema"]["accuracy"] <= 1.0


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (None, "label: the sample has none"),
        (0, r"label: found \[0\], expected 0 … Y − 1, two at least"),
        ([0, 2], r"label: found \[0, 2\], expected 0"),
        ([0] * 39 + [1], r"40 events leave none of \[1\] for"),
    ],
)
def test_labels_that_cannot_be_learnt(labels, message):
    jets = random_jets(40, 1)
    if labels is not None:
        jets = jets.with_label(np.resize(np.asarray(labels, np.int32), 40))
    with pytest.raises(InputError, match=message):
        prepare_pretraining(jets, CONFIG)


def test_weights_are_brought_to_a_mean_of_one(jets):
    parts, config = prepare_pretraining(jets.with_weight(np.full(len(jets), 7.0)), CONFIG)
    assert {float(w) for part in parts.values() for w in part.weight} == {1.0}
    assert config.network.num_classes == CLASSES
    with pytest.raises(InputError, match=r"weights that sum to -160 \(160 negative\); expected"):
        prepare_pretraining(jets.with_weight(np.full(len(jets), -1.0)), CONFIG)
    fortunate = split(len(jets), CONFIG.fractions, TRAINING.seed)[0]
    signed = np.full(len(jets), -1.0)
    signed[fortunate] = 3.0
    with pytest.raises(InputError, match="validation part: 32 events with weights that sum to -32"):
        prepare_pretraining(jets.with_weight(signed), CONFIG)
