"""Tokens and clouds of two-jet events hold what Table 5 of arXiv:2603.08802 lists."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpriors import InputError, RatioClassifier, RatioModel
from jaxpriors.anomaly.training import search_classifier
from jaxpriors.data import dijets
from jaxpriors.data.batching import gather
from jaxpriors.physics.algebra import reference_multivectors
from jaxpriors.physics.jet_features import raw_features
from jaxpriors.preprocessing.clouds import DijetCloudConfig
from jaxpriors.preprocessing.normalisation import normalised
from jaxpriors.preprocessing.registry import Preprocessing
from jaxpriors.preprocessing.tokens import KINEMATICS, DijetConfig
from jaxpriors.ratio.networks import init_classifier
from jaxpriors.training.step import Precision
from tests.helpers.dijets import random_dijets
from tests.helpers.jets import random_jets

EVENTS = random_dijets(60, 0)
TOKENS, CLOUD = DijetConfig(), DijetCloudConfig()
FIXED = 1 + len(reference_multivectors(TOKENS.beam)) + 2
SMALL = {
    "lgatr": {"hidden_mv_channels": 2, "hidden_s_channels": 4, "num_heads": 2, "num_blocks": 1},
    "lgatr-slim": {
        "hidden_v_channels": 2, "hidden_s_channels": 4, "num_heads": 2, "num_blocks": 1
    },
    "pet": {
        "hidden_channels": 8, "num_layers": 1, "num_local": 1, "num_heads": 2, "num_jet_heads": 2,
        "num_jet_layers": 1, "neighbours": 3, "num_class_layers": 1, "layer_scale": 0.3,
    },
}  # fmt: skip


def inputs_of(config, events=EVENTS, width=None, fitted=EVENTS):
    preprocessing = Preprocessing(config, config.learn(config.select(fitted)))
    events = config.select(events)
    width = width or int(events.multiplicity.max())
    return preprocessing(gather(events, np.arange(len(events)), width))


def test_tokens_stand_in_their_order():
    found = inputs_of(TOKENS)
    scale = Preprocessing(TOKENS, TOKENS.learn(EVENTS)).standardisation.momentum_scale
    vectors, scalars = np.asarray(found.vectors) * scale, np.asarray(found.scalars)
    jets = dijets.jets_of(EVENTS)
    for i, event in enumerate(EVENTS[k] for k in range(8)):
        np.testing.assert_allclose(
            vectors[i, FIXED - 2 : FIXED], jets.jet_p4[2 * i : 2 * i + 2], rtol=1e-4
        )
        np.testing.assert_allclose(vectors[i, FIXED : FIXED + len(event.p4)], event.p4, rtol=1e-5)
        assert not vectors[i, FIXED + len(event.p4) :].any()
        first, number = int(event.columns[dijets.FIRST][0]), len(event.p4)
        owner = scalars[i, : FIXED + number, -2:]
        assert owner[: FIXED - 2].tolist() == [[0, 0]] * (FIXED - 2)
        assert owner[FIXED - 2 : FIXED].tolist() == [[1, 0], [0, 1]]
        assert owner[FIXED:].tolist() == [[1, 0]] * first + [[0, 1]] * (number - first)
        kinds = scalars[i, : FIXED + number, -6:-2].argmax(-1)
        assert kinds.tolist() == [0] + [1] * (FIXED - 3) + [2, 2] + [3] * number
        assert np.ptp(scalars[i, : FIXED + number, -7]) == 0  # m_jj, on every token
        assert not scalars[i, FIXED + number :].any()
    np.testing.assert_array_equal(found.length, EVENTS.multiplicity + FIXED)


def test_scalars_are_standardised_and_zero_for_other_tokens():
    scalars = np.asarray(inputs_of(TOKENS).scalars)
    valid = np.arange(scalars.shape[1]) < (EVENTS.multiplicity + FIXED)[:, None]
    split = len(KINEMATICS)
    constituents, jets, mass = scalars[..., :split], scalars[..., split:-7], scalars[:, 0, -7]
    inside = constituents[:, FIXED:][valid[:, FIXED:]]
    np.testing.assert_allclose(inside.mean(0), 0, atol=1e-3)
    np.testing.assert_allclose(inside.std(0), 1, atol=1e-3)
    both = jets[:, FIXED - 2 : FIXED].reshape(-1, 5)
    np.testing.assert_allclose(both.mean(0), 0, atol=1e-3)
    np.testing.assert_allclose(both.std(0), 1, atol=1e-3)
    expected = dijets.dijet_mass(EVENTS)
    np.testing.assert_allclose(mass, (expected - expected.mean()) / expected.std(), atol=1e-2)
    assert not constituents[:, :FIXED].any() and not jets[:, : FIXED - 2].any()
    assert not jets[:, FIXED:].any()


def test_jets_have_the_features_that_are_asked_for():
    """Table 5 of the paper: pT, η, φ, E and m of each jet."""
    for names in (TOKENS.jet_features, ("multiplicity", "pt")):
        config = DijetConfig(jet_features=names)
        learnt = config.learn(EVENTS)
        scalars = np.asarray(inputs_of(config).scalars)
        assert scalars.shape[-1] == config.scalars == TOKENS.scalars - 5 + len(names)
        part = slice(len(KINEMATICS), len(KINEMATICS) + len(names))
        mean, std = (np.array(x)[part] for x in (learnt.mean, learnt.std))
        found = scalars[:, FIXED - 2 : FIXED, part] * std + mean
        for i, name in enumerate(names):
            expected = [
                dijets.jets_of(EVENTS).jet_p4.reshape(-1, 2, 4)[:, jet, 0]
                if name == "energy"
                else EVENTS.columns[f"jet{jet + 1}_{name}"]
                for jet in (0, 1)
            ]
            np.testing.assert_allclose(found[..., i].T, expected, rtol=1e-3, atol=1e-3)
    assert TOKENS.jet_features == ("pt", "eta", "phi", "energy", "mass")
    with pytest.raises(InputError, match=r"jet_features: found \('tau21',\), expected some of pt"):
        DijetConfig(jet_features=("tau21",))


def test_distances_are_those_to_a_constituents_own_jet():
    learnt = Preprocessing(TOKENS, TOKENS.learn(EVENTS)).standardisation
    scalars = np.asarray(inputs_of(TOKENS).scalars)
    valid = np.arange(scalars.shape[1]) < (EVENTS.multiplicity + FIXED)[:, None]
    place = KINEMATICS.index("delta_r_jet")
    found = scalars[:, FIXED:, place][valid[:, FIXED:]] * learnt.std[place] + learnt.mean[place]
    jets = dijets.jets_of(EVENTS)
    features, mask, _ = raw_features(*_padded(jets))
    np.testing.assert_allclose(found, features[mask][:, 6], rtol=1e-3, atol=1e-4)


def _padded(jets):
    p4, pid, length = jets.padded()
    return p4.astype(np.float64), 0 * pid, length, jets.jet_p4.astype(np.float64)


def test_clouds_are_those_of_both_jets():
    found = inputs_of(CLOUD)
    features, mask, _ = raw_features(*_padded(dijets.jets_of(EVENTS)))
    expected = normalised(features, mask, "lhco").reshape(60, 2, -1, 13)
    width = expected.shape[2]
    np.testing.assert_allclose(
        np.asarray(found.features)[:, :, :width], expected, rtol=1e-3, atol=1e-3
    )
    np.testing.assert_array_equal(np.asarray(found.mask)[:, :, :width], mask.reshape(60, 2, -1))
    assert not np.asarray(found.mask)[:, :, width:].any()
    jets = np.asarray(found.jets)
    assert jets.shape == (60, 2, 5)
    np.testing.assert_allclose(jets.reshape(-1, 5).mean(0), 0, atol=2e-3)
    np.testing.assert_allclose(np.asarray(found.mass).std(), 1, atol=1e-2)


@pytest.mark.parametrize("config", [TOKENS, CLOUD])
def test_leading_constituents_alone_are_seen(config):
    short = dataclasses.replace(config, constituents=3)
    cut = dijets.leading(EVENTS, 3)
    for a, b in zip(
        jax.tree.leaves(inputs_of(short)),
        jax.tree.leaves(inputs_of(short, cut, fitted=cut)),
        strict=True,
    ):
        np.testing.assert_array_equal(a, b)
    if config is CLOUD:
        assert inputs_of(short).mask.shape == (60, 2, 3)


def ratio(model, **changes):
    """A network with random weights."""
    inputs = DijetCloudConfig() if model == "pet" else DijetConfig()
    given = RatioClassifier(model, inputs=inputs)
    config = dataclasses.replace(given.network, **SMALL[model], **changes)
    shapes = jax.eval_shape(lambda key: init_classifier(key, config, inputs), jax.random.key(0))
    rng = np.random.default_rng(0)
    classifier = jax.tree.map(
        lambda x: jnp.asarray(rng.normal(0, 0.6, x.shape), jnp.float32), shapes
    )
    return RatioModel(
        Preprocessing(inputs, inputs.learn(EVENTS)), (16, 24), Precision(), classifier
    )


@pytest.mark.parametrize("model", ["lgatr", "lgatr-slim", "pet"])
def test_what_networks_say_depends_on_the_event_alone(model, tmp_path):
    """Not on padding, on the order of the constituents, nor on identities, and survives a file."""
    found = ratio(model)
    logits = found.log_ratio(EVENTS)
    assert logits.std() > 0.01
    wide = dataclasses.replace(found, lengths=(40,)).log_ratio(EVENTS)
    np.testing.assert_allclose(wide, logits, rtol=2e-3, atol=2e-3)
    jets = dijets.jets_of(EVENTS)
    rng = np.random.default_rng(1)
    shuffled = dijets.dijets(
        dataclasses.replace(
            jets,
            p4=np.concatenate([rng.permutation(jets[i].p4) for i in range(len(jets))]),
            pid=np.zeros_like(jets.pid),
        )
    )
    np.testing.assert_allclose(found.log_ratio(shuffled), logits, rtol=5e-3, atol=5e-3)
    found.save(tmp_path)
    np.testing.assert_array_equal(RatioModel.load(tmp_path).log_ratio(EVENTS), logits)


@pytest.mark.parametrize("config", [TOKENS, dataclasses.replace(CLOUD, constituents=9)])
def test_preprocessing_survives_json(config):
    before = Preprocessing(config, config.learn(EVENTS))
    assert Preprocessing.from_json(before.to_json(), "a.json") == before


def test_other_events_and_inputs_are_refused():
    with pytest.raises(InputError, match="found no columns"):
        TOKENS.select(random_jets(5, 0))
    with pytest.raises(InputError, match="constituents: found 0"):
        DijetConfig(constituents=0)
    with pytest.raises(InputError, match="normalisation: found 'none'"):
        DijetCloudConfig("none")
    with pytest.raises(InputError, match="expected InputConfig or DijetConfig for lgatr"):
        RatioClassifier("lgatr", inputs=DijetCloudConfig())
    with pytest.raises(InputError, match="model: found 'mlp'"):
        search_classifier("mlp")
