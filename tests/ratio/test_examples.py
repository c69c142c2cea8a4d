"""Events with labels and weights, as a classifier is trained on them."""

import copy
import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpriors.data.batching import gather, split
from jaxpriors.data.events import Events
from jaxpriors.data.prepared import open_prepared, write_prepared
from jaxpriors.data.stored import StoredEvents
from jaxpriors.errors import InputError
from jaxpriors.models.mlp import MLPConfig
from jaxpriors.models.pet import PETConfig
from jaxpriors.preprocessing.clouds import PointCloudConfig
from jaxpriors.preprocessing.columns import ColumnsConfig
from jaxpriors.preprocessing.registry import Preprocessing
from jaxpriors.ratio.classifier import RatioClassifier
from jaxpriors.ratio.examples import (
    Examples,
    check_trainable,
    make_loss,
    one_sample,
    two_classes,
    two_samples,
    weighted_cross_entropy,
)
from jaxpriors.ratio.model import make_forward
from jaxpriors.ratio.networks import Ensemble, MLPClassifier, PETClassifier
from jaxpriors.training.step import Precision
from tests.helpers.jets import random_jets


def test_classes_count_alike():
    both = two_classes(random_jets(10, 0), random_jets(30, 1).with_weight(np.full(30, 7.0)))
    assert both.weight[both.label == 0].sum() == pytest.approx(20)
    assert both.weight[both.label == 1].sum() == pytest.approx(20)


def test_samples_on_disk_are_labelled_there(tmp_path):
    samples = random_jets(10, 0), random_jets(30, 1)
    stored = [
        open_prepared(write_prepared(tmp_path / str(i), [partial(copy.copy, jets)], {}))
        for i, jets in enumerate(samples)
    ]
    found, expected = two_classes(*stored), two_classes(*samples)
    assert isinstance(found, StoredEvents)
    for name in ("p4", "pid", "offsets", "jet_p4", "weight", "label"):
        np.testing.assert_array_equal(getattr(found.read(), name), getattr(expected, name))
    with pytest.raises(InputError, match="column 'q2': found the columns"):
        two_classes(*stored, ("q2",))


@pytest.mark.parametrize("weight", [0.0, -1.0])
def test_weights_without_a_positive_sum(weight):
    jets = random_jets(10, 0)
    with pytest.raises(InputError, match="data: 10 events with weights that sum to"):
        two_classes(jets, jets.with_weight(np.full(10, weight)))


@pytest.mark.parametrize("weight", [1e308, 5e-324])
def test_weights_beyond_what_can_be_added_up(weight):
    jets = random_jets(10, 0)
    with pytest.raises(InputError, match="simulation: 10 events with weights whose sizes sum to"):
        two_classes(jets.with_weight(np.full(10, weight)), jets)


def test_a_part_without_a_positive_sum_is_named_with_the_way_out():
    """The weights of all sum to a positive number, those of the validation part do not."""
    jets = random_jets(300, 0)
    weight = np.ones(300)
    weight[split(300, (0.85, 0.15), 0)[1][:30]] = -1
    weighted = jets.with_weight(weight)
    message = (
        r"simulation, validation part: 45 events with weights that sum to -15 \(30 negative\); "
        "expected at least one event and a positive sum: give more events or that part a larger"
    )
    with pytest.raises(InputError, match=message):
        RatioClassifier("lgatr-slim").fit(weighted, jets)
    with pytest.raises(InputError, match=message):
        two_samples(weighted, jets, (weight[:, None], np.ones((300, 1))), 0.15, 0)
    with pytest.raises(InputError, match=message):
        one_sample(weighted, (weight[:, None], np.ones((300, 1))), 0.15, 0)


def test_splits_are_disjoint_and_whole():
    parts = split(101, (0.6, 0.1, 0.3), seed=3)
    assert [len(p) for p in parts] == [61, 10, 30]
    assert sorted(np.concatenate(parts)) == list(range(101))
    np.testing.assert_array_equal(parts[0], split(101, (0.6, 0.1, 0.3), seed=3)[0])


def test_identities_in_one_sample_alone_are_refused():
    jets = random_jets(10, 0)
    named = dataclasses.replace(jets, pid=np.full(len(jets.pid), 211))
    with pytest.raises(InputError, match="pid: the data have none and the other sample has"):
        two_classes(named, jets)


def test_splits_need_shares_that_sum_to_one():
    with pytest.raises(InputError, match="expected shares that sum to 1"):
        split(100, (-0.5, 1.5), seed=0)


def _twice_weighted(n=200, networks=3):
    """Events, and two sets of weights of both signs for several networks, some of them zero."""
    rng = np.random.default_rng(0)
    events = Events.from_columns({"x": rng.normal(size=n)})
    own = np.where(rng.random(n) < 0.1, -1, 1)[:, None] * rng.poisson(1.5, (n, networks))
    return events, (own, own * np.exp(rng.normal(0, 0.5, (n, networks))))


def test_an_event_in_both_samples_counts_as_two():
    """For each network and both parts, the loss of one sample is that of two samples."""
    events, weights = _twice_weighted()
    share = 0.25, 7, ("x",)
    logits = np.random.default_rng(1).normal(size=(200, 3))
    both = zip(
        one_sample(events, weights, *share),
        two_samples(events, events, weights, *share),
        strict=True,
    )
    for part, (one, two) in zip(split(200, (0.75, 0.25), 7), both, strict=True):
        assert len(two.events) == 2 * len(one.events) == 2 * len(part)
        for k in range(3):
            alone = [Examples(s.events, s.weight[:, [k]], s.label) for s in (one, two)]
            alone[0] = dataclasses.replace(alone[0], label=one.label[:, [k]])
            found = weighted_cross_entropy(logits[part][:, [k]], alone[0])
            doubled = np.tile(logits[part][:, [k]], (2, 1))
            assert found == pytest.approx(weighted_cross_entropy(doubled, alone[1]), rel=1e-12)
        assert weighted_cross_entropy(np.zeros((len(part), 3)), one) == pytest.approx(np.log(2))
        np.testing.assert_allclose(one.weight.sum(0), len(part))


def test_a_batch_has_the_loss_of_its_events():
    """With weights and labels of each network, and for events with one of each."""
    events, weights = _twice_weighted()
    config = ColumnsConfig(("x",))
    classifiers = [
        MLPClassifier.init(jax.random.key(i), MLPConfig(hidden_channels=4), config)
        for i in range(3)
    ]
    sample = one_sample(events, weights, 0.2, 0, ("x",))[0]
    single = Examples(two_classes(events[:90], events[90:], ("x",)))
    for networks, given in ((Ensemble.of(classifiers), sample), (classifiers[0], single)):
        n = len(given.events)
        preprocessing = Preprocessing(config, config.learn(given.events))
        batch = gather(given.events, np.arange(n), 1, n + 6, given.weight, given.label)
        loss = jax.jit(make_loss(preprocessing, Precision(), drops=False))(
            networks, batch, jax.random.key(0)
        )
        forward = make_forward(preprocessing, Precision(), 3 if given is sample else 1)
        logits = np.asarray(forward(networks, batch), np.float64)[:n]
        assert float(loss) / n == pytest.approx(
            weighted_cross_entropy(logits, given).mean(), rel=1e-5
        )


def test_the_head_of_a_pet_learns_the_jet_too():
    """As in OmniLearn: neither the loss that is told nor the body knows of the regression.

    Nor do the rows of weight 0 that fill a batch.
    """
    jets = random_jets(12, 3)
    both = two_classes(jets[:6], jets[6:])
    config = PointCloudConfig()
    preprocessing = Preprocessing(config, config.learn(both))
    width = int(both.multiplicity.max())
    batch, filled = (gather(both, np.arange(12), width, rows) for rows in (None, 16))
    small = PETConfig(
        hidden_channels=8, num_heads=2, num_layers=1, num_local=1, neighbours=3,
        num_class_layers=1, layer_scale=0.5, feature_drop=0.0,
    )  # fmt: skip
    members = [PETClassifier.init(jax.random.key(i), small, config) for i in range(2)]

    def gradients(classifier, regression):
        loss = make_loss(preprocessing, Precision(), False, regression)
        return jax.jit(jax.value_and_grad(loss))(classifier, filled, None)

    @jax.jit
    @jax.grad
    def error(network):
        cloud = preprocessing(batch)
        _, found = network.classify(cloud.features, cloud.mask, cloud.jet)
        return jnp.square(found - cloud.jet).mean(-1).sum()

    (value, alone), (same, found) = (gradients(members[0], r) for r in (False, True))
    assert float(value) == pytest.approx(float(same), rel=1e-6)
    close = partial(np.testing.assert_allclose, rtol=2e-3, atol=2e-5)
    jax.tree.map(close, found.network.body, alone.network.body)
    expected = jax.tree.map(jnp.add, alone.network.cls, error(members[0].network).cls)
    jax.tree.map(close, found.network.cls, expected)
    assert np.abs(found.network.cls.reg.weight).max() > 1e-2
    together = gradients(Ensemble.of(members), True)[1].members
    jax.tree.map(lambda a, b: close(2 * a[0], b), together, found)


def test_a_network_without_weights_is_refused():
    events, (own, pulled) = _twice_weighted()
    with pytest.raises(InputError, match="training part: 150 events with weights that sum to 0"):
        one_sample(events, (0 * own, pulled), 0.25, 7)
    for make in (one_sample, lambda e, *rest: two_samples(e, e, *rest)):
        with pytest.raises(
            InputError, match="data, training part: the 150 weights of network 1 sum"
        ):
            make(events, (own, pulled * [1, 0, 1]), 0.25, 7)


def test_the_digest_is_of_all_that_networks_see():
    events, weights = _twice_weighted()
    sample = one_sample(events, weights, 0.25, 7, ("x",))[0]
    found = {sample.digest(), Examples(sample.events).digest()}
    for name in ("weight", "label"):
        array = getattr(sample, name).copy()
        array[5, 1] += 0.25
        found.add(dataclasses.replace(sample, **{name: array}).digest())
    assert len(found) == 4 and sample.digest() in found
    assert sample.digest() == one_sample(events, weights, 0.25, 7, ("x",))[0].digest()


def test_weights_are_those_of_the_networks(tmp_path):
    events, weights = _twice_weighted()
    parts = one_sample(events, weights, 0.25, 7, ("x",))
    single = RatioClassifier("mlp", inputs=ColumnsConfig(("x",)))
    with pytest.raises(InputError, match=r"weight: found shape \(150, 3\), expected \(150, 1\)"):
        single.train(*parts, tmp_path)
    with pytest.raises(InputError, match="bootstrap: found weights for each network"):
        dataclasses.replace(single, ensemble=3, bootstrap=True).train(*parts, tmp_path)


def test_events_that_lack_their_level_are_no_examples():
    jets = random_jets(20, seed=0)
    flags = {"pass_reco": np.arange(20) > 3}
    events = dataclasses.replace(jets, columns=flags)
    with pytest.raises(InputError, match=r"data: found 4 of 20 events that lack their level"):
        check_trainable(events, "data")
    assert check_trainable(events[events.passing], "data") == 16
