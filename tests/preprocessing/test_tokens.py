"""Tokens hold what Table 1 of arXiv:2603.08802 lists, and padding holds nothing."""

import dataclasses

import jax
import numpy as np
import pytest

from jaxpriors.data.batching import gather
from jaxpriors.errors import InputError
from jaxpriors.physics import kinematics
from jaxpriors.physics.algebra import reference_multivectors
from jaxpriors.preprocessing.tokens import (
    CONSTITUENT_FEATURES,
    JET_FEATURES,
    InputConfig,
)
from tests.helpers.jets import random_jets

JETS = random_jets(200, seed=1)
FULL = InputConfig()
STANDARD = FULL.learn(JETS)
FIXED = 2 + len(reference_multivectors(FULL.beam))


def _inputs(config=FULL, width=None):
    width = width or int(JETS.multiplicity.max())
    batch = gather(JETS, np.arange(len(JETS)), width)
    return batch, config.build(batch, STANDARD)


def test_tokens_stand_in_their_order():
    batch, inputs = _inputs()
    assert inputs.references.shape == (3, 16)  # two beam directions and time
    kinds = np.asarray(inputs.scalars)[..., -4:]
    assert kinds[:, 0].tolist() == [[1, 0, 0, 0]] * len(JETS)
    assert kinds[0, 1:4].tolist() == [[0, 1, 0, 0]] * 3
    assert kinds[0, 4].tolist() == [0, 0, 1, 0]
    assert kinds[0, 5].tolist() == [0, 0, 0, 1]
    np.testing.assert_array_equal(inputs.length, JETS.multiplicity + FIXED)
    scale = STANDARD.momentum_scale
    np.testing.assert_allclose(np.asarray(inputs.vectors)[:, 4] * scale, JETS.jet_p4, rtol=1e-6)
    np.testing.assert_allclose(np.asarray(inputs.vectors)[:, 5] * scale, batch.p4[:, 0], rtol=1e-6)
    assert not np.asarray(inputs.vectors)[:, :4].any()


def test_features_are_standardised_and_follow_the_kinematics():
    batch, inputs = _inputs()
    features = np.asarray(inputs.scalars)[..., : len(CONSTITUENT_FEATURES)]
    valid = np.arange(batch.p4.shape[1]) < batch.length[:, None]
    flat = features[:, FIXED:][valid]
    np.testing.assert_allclose(flat[:, :7].mean(0), 0, atol=1e-3)
    np.testing.assert_allclose(flat[:, :7].std(0), 1, atol=1e-3)

    jet = np.repeat(JETS.jet_p4, JETS.multiplicity, axis=0).astype(np.float64)
    p4 = JETS.p4.astype(np.float64)
    expected = {
        "delta_eta_jet": kinematics.eta(p4) - kinematics.eta(jet),
        "log_pt": np.log(kinematics.pt(p4)),
        "log_energy_over_jet_energy": np.log(p4[:, 0] / jet[:, 0]),
    }
    for name, value in expected.items():
        i = CONSTITUENT_FEATURES.index(name)
        found = flat[:, i] * STANDARD.std[i] + STANDARD.mean[i]
        np.testing.assert_allclose(found, value, rtol=1e-4, atol=2e-5)
    jets = np.asarray(inputs.scalars)[:, 4, len(CONSTITUENT_FEATURES) : -4]
    i = len(CONSTITUENT_FEATURES) + JET_FEATURES.index("multiplicity")
    found = jets[:, JET_FEATURES.index("multiplicity")] * STANDARD.std[i] + STANDARD.mean[i]
    np.testing.assert_allclose(found, JETS.multiplicity, rtol=1e-5)


def test_padding_is_zero_and_changes_nothing():
    _, narrow = _inputs()
    width = int(JETS.multiplicity.max())
    _, wide = _inputs(width=width + 7)
    for a, b in ((narrow.vectors, wide.vectors), (narrow.scalars, wide.scalars)):
        np.testing.assert_array_equal(np.asarray(b)[:, : a.shape[1]], a)
        assert not np.asarray(b)[:, a.shape[1] :].any()


def test_azimuth_is_periodic():
    """A jet across φ = ±π has small Δφ: turning the event by π changes no relative feature."""
    flipped = JETS.p4 * [1, -1, -1, 1]
    turned = dataclasses.replace(JETS, p4=flipped, jet_p4=JETS.jet_p4 * [1, -1, -1, 1])
    one, other = (
        FULL.build(gather(e, np.arange(50), 40), STANDARD).scalars for e in (JETS, turned)
    )
    np.testing.assert_allclose(one, other, atol=2e-4)


def test_momenta_alone_have_token_kinds_as_scalars():
    config = InputConfig(features="momenta", beam="none", time=False)
    _, inputs = _inputs(config)
    assert config.scalars == inputs.scalars.shape[-1] == 4
    assert inputs.references.shape == (0, 16)


def test_identities_can_be_left_out():
    """All other scalars stay as they are."""
    place = CONSTITUENT_FEATURES.index("identity")
    config = InputConfig(features="kinematics")
    _, full = _inputs()
    _, found = _inputs(config)
    assert config.scalars == found.scalars.shape[-1] == FULL.scalars - 1
    expected = np.delete(np.asarray(full.scalars), place, axis=-1)
    np.testing.assert_array_equal(found.scalars, expected)


def test_inputs_are_the_same_under_jit():
    batch, inputs = _inputs()
    compiled = jax.jit(lambda b: FULL.build(b, STANDARD))(batch)
    np.testing.assert_allclose(compiled.scalars, inputs.scalars, atol=1e-5)


def test_a_constituent_along_the_beam_is_named():
    p4 = JETS.p4.copy()
    p4[3] = [10, 0, 0, 10]
    with pytest.raises(InputError, match="input delta_eta_jet: found 1 values that are not finite"):
        FULL.learn(dataclasses.replace(JETS, p4=p4))
