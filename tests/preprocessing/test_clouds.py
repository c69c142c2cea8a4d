"""PET's inputs are OmniLearn's features of each constituent and jet, and padding holds nothing."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpriors import Events, InputError
from jaxpriors.data.batching import gather
from jaxpriors.physics import particles as identities
from jaxpriors.physics.jet_features import FEATURES, JET_FEATURES, LEAST_REMAINDER, raw_features
from jaxpriors.preprocessing.clouds import PointCloudConfig
from jaxpriors.preprocessing.normalisation import NORMALISATION, normalised
from jaxpriors.preprocessing.registry import Preprocessing
from jaxpriors.preprocessing.tokens import InputConfig
from tests.helpers.jets import random_jets

JETS = random_jets(60, seed=1)
CONFIG = PointCloudConfig()
STANDARD = CONFIG.learn(JETS)


def _raw(events, width=None):
    batch = gather(events, np.arange(len(events)), width or int(events.multiplicity.max()))
    p4, jet_p4, jet_mass = (x.astype(np.float64) for x in (batch.p4, batch.jet_p4, batch.jet_mass))
    return raw_features(p4, batch.pid, batch.length, jet_p4, jet_mass=jet_mass)


def _by_hand(p4, jet):
    """The seven kinematic features of one constituent from textbook formulae."""

    def polar(v):
        e, x, y, z = map(float, v)
        p = np.sqrt(x * x + y * y + z * z)
        return e, np.sqrt(x * x + y * y), 0.5 * np.log((p + z) / (p - z)), np.angle(x + 1j * y)

    e, pt, eta, phi = polar(p4)
    jet_e, jet_pt, jet_eta, jet_phi = polar(jet)
    delta_phi = np.angle(np.exp(1j * (phi - jet_phi)))
    return [
        eta - jet_eta,
        delta_phi,
        np.log(1 - pt / jet_pt + 1e-6),
        np.log(pt),
        np.log(1 - e / jet_e + 1e-6),
        np.log(e),
        np.sqrt((eta - jet_eta) ** 2 + delta_phi**2),
    ]


def test_each_feature_is_what_its_name_says():
    features, mask, jets = _raw(JETS)
    assert features.shape[-1] == len(FEATURES) == 13 and features.dtype == np.float64
    np.testing.assert_array_equal(mask.sum(1), JETS.multiplicity)
    for i in np.flatnonzero(JETS.multiplicity > 1)[:20]:
        start, end = JETS.offsets[i : i + 2]
        expected = [_by_hand(v, JETS.jet_p4[i].astype(np.float32)) for v in JETS.p4[start:end]]
        np.testing.assert_allclose(features[i, : end - start, :7], expected, rtol=1e-9, atol=1e-9)
        e, x, y, z = JETS.jet_p4[i].astype(np.float64)
        expected = [
            np.hypot(x, y),
            np.arcsinh(z / np.hypot(x, y)),
            np.sqrt(e**2 - x**2 - y**2 - z**2),
            end - start,
        ]
        np.testing.assert_allclose(jets[i], expected, rtol=1e-7)


@pytest.mark.parametrize(
    ("pid", "charge", "kind"),
    [
        (211, 1, "is_charged_hadron"),
        (-321, -1, "is_charged_hadron"),
        (-2212, -1, "is_charged_hadron"),
        (3112, -1, "is_charged_hadron"),
        (130, 0, "is_neutral_hadron"),
        (2112, 0, "is_neutral_hadron"),
        (-2112, 0, "is_neutral_hadron"),
        (22, 0, "is_photon"),
        (11, -1, "is_electron"),
        (-11, 1, "is_electron"),
        (13, -1, "is_muon"),
        (0, 0, None),
    ],
)
def test_charge_and_kind_follow_the_identity(pid, charge, kind):
    named = dataclasses.replace(JETS, pid=np.full(len(JETS.pid), pid, np.int32))
    features, mask, _ = _raw(named)
    expected = [charge, *(float(name == kind) for name in FEATURES[8:])]
    np.testing.assert_array_equal(features[mask][:, 7:], [expected] * len(JETS.pid))


def test_every_identity_is_of_one_kind():
    kinds = [*identities.CHARGED_HADRONS, *identities.NEUTRAL_HADRONS, 22, 11, 13]
    assert len(set(kinds)) == len(kinds)
    assert set(identities.MASSES) - set(kinds) == {0, 12, 14, 15, 16}


def test_a_constituent_that_is_the_whole_jet():
    """Its remainder is the floor; a groomed jet below its constituent counts the same."""
    p4 = np.array([[[50.0, 30.0, 0.0, 40.0]]])
    whole = Events.from_padded(p4)
    groomed = Events.from_padded(p4, jet_p4=0.9 * p4[:, 0])
    for events in (whole, groomed):
        features, _, _ = _raw(events)
        np.testing.assert_allclose(features[0, 0, [2, 4]], np.log(LEAST_REMAINDER))
    features, _, _ = _raw(whole)
    np.testing.assert_allclose(features[0, 0, [0, 1, 6]], 0, atol=1e-7)


@pytest.mark.parametrize(("features", "seen"), [("full", 13), ("charge", 8), ("momenta", 7)])
def test_what_a_pet_does_not_see_is_zero(features, seen):
    batch = gather(JETS, np.arange(len(JETS)), int(JETS.multiplicity.max()))
    whole, found = (c.build(batch, STANDARD) for c in (CONFIG, PointCloudConfig(features=features)))
    np.testing.assert_array_equal(found.features[..., :seen], whole.features[..., :seen])
    assert not np.asarray(found.features[..., seen:]).any() and found.features.shape[-1] == 13
    np.testing.assert_array_equal(found.jet, whole.jet)


def test_momenta_alone_need_no_identities():
    """Of PET and L-GATr: other identities change nothing."""
    batch = gather(JETS, np.arange(len(JETS)), int(JETS.multiplicity.max()))
    other = dataclasses.replace(batch, pid=np.zeros_like(batch.pid))
    for config in (
        PointCloudConfig(features="momenta"),
        InputConfig("momenta"),
        InputConfig("kinematics"),
    ):
        learnt = config.learn(JETS)
        one, two = (jax.tree.leaves(config.build(b, learnt)) for b in (batch, other))
        for a, b in zip(one, two, strict=True):
            np.testing.assert_array_equal(a, b)


def test_features_are_normalised_by_the_table_and_jets_by_the_sample():
    """(x − mean) / std of the table; what is 0 or 1 stays; jets by the training sample."""
    features, mask, jets = _raw(JETS)
    table = NORMALISATION["jetclass"]
    batch = gather(JETS, np.arange(len(JETS)), features.shape[1])
    cloud = CONFIG.build(batch, STANDARD)
    found = np.asarray(cloud.features)[mask]
    expected = (features[mask][:, :6] - table.mean) / table.std
    np.testing.assert_allclose(found[:, :6], expected, rtol=1e-4, atol=3e-4)
    np.testing.assert_allclose(found[:, 6:], features[mask][:, 6:], atol=1e-5)
    assert not np.asarray(cloud.features)[~mask].any()
    np.testing.assert_allclose(np.mean(cloud.jet, axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(np.std(cloud.jet, axis=0), 1, atol=1e-5)
    np.testing.assert_allclose(
        np.asarray(cloud.jet) * STANDARD.std + STANDARD.mean, jets, rtol=1e-3, atol=1e-4
    )
    assert len(STANDARD.mean) == len(JET_FEATURES)


@pytest.mark.parametrize("name", NORMALISATION)
def test_tables_are_whole(name):
    table = NORMALISATION[name]
    assert len(table.mean) == len(table.std) == 6 and len(table.jet_mean) == len(table.jet_std)
    features, mask, _ = _raw(JETS)
    found = normalised(features, mask, name)[mask]
    mean, std = table.constituents()
    np.testing.assert_allclose(found * std + mean, features[mask], atol=1e-9)
    if name not in ("lhco", "jetnet150"):
        assert min(table.std + table.jet_std) > 0


def test_padding_and_order_change_nothing():
    width = int(JETS.multiplicity.max())
    narrow, mask, _ = _raw(JETS, width)
    wide, wide_mask, _ = _raw(JETS, width + 5)
    np.testing.assert_array_equal(wide[:, :width], narrow)
    np.testing.assert_array_equal(wide_mask[:, :width], mask)
    assert not wide[:, width:].any() and not wide_mask[:, width:].any()

    backwards = [
        np.arange(a, b)[::-1] for a, b in zip(JETS.offsets, JETS.offsets[1:], strict=False)
    ]
    turned = dataclasses.replace(JETS, p4=JETS.p4[np.concatenate(backwards)])
    other, _, _ = _raw(turned, width)
    for i, n in enumerate(JETS.multiplicity):
        np.testing.assert_array_equal(other[i, :n][::-1], narrow[i, :n])


def test_one_program_for_host_and_device():
    batch = gather(JETS, np.arange(len(JETS)), int(JETS.multiplicity.max()))
    arguments = (batch.p4, batch.pid, batch.length, batch.jet_p4)
    compiled = jax.jit(lambda *a: raw_features(*a, jnp))(*arguments)
    for found, expected in zip(compiled, raw_features(*arguments), strict=True):
        assert found.dtype == expected.dtype and expected.dtype in (np.float32, bool)
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=2e-4)  # masses round


@pytest.mark.parametrize("config", [PointCloudConfig("h1"), InputConfig(beam="timelike")])
def test_preprocessings_survive_json(config):
    one = Preprocessing(config, config.learn(JETS))
    again = Preprocessing.from_json(one.to_json(), "a.json")
    assert type(again.config) is type(config)
    assert again == one and hash(again) == hash(one)
    with pytest.raises(InputError, match="kind: found 'images'"):
        Preprocessing.from_json({**one.to_json(), "kind": "images"}, "a.json")


def test_what_cannot_be_a_point_cloud_is_named():
    p4 = JETS.p4.copy()
    p4[3] = [10, 0, 0, 10]
    with pytest.raises(InputError, match="input delta_eta_jet: found 1 values that are not finite"):
        CONFIG.learn(dataclasses.replace(JETS, p4=p4))
    with pytest.raises(InputError, match="normalisation: found 'cms', expected one of"):
        PointCloudConfig("cms")
