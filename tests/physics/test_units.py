"""Samples in MeV are recognised, those in GeV are not."""

import numpy as np
import pytest

from jaxpriors.data.samples import zjets
from jaxpriors.physics.coordinates import to_cartesian
from jaxpriors.physics.units import Scale, thousandfold, unit_of
from tests.helpers.jets import random_jets


def massless(pt, jets=500, constituents=20):
    """Jets of massless constituents with this median pT in all, in any unit."""
    rng = np.random.default_rng(0)
    share = rng.dirichlet(np.ones(constituents), jets) * pt
    rows = np.stack([share, rng.normal(0, 0.2, share.shape), rng.normal(0, 0.2, share.shape)], -1)
    p4 = to_cartesian(rows.reshape(-1, 3), "pt,eta,phi")
    return Scale.of(p4.reshape(jets, constituents, 4).sum(1), p4)


@pytest.mark.parametrize("level", ["particle", "detector"])
def test_the_samples_are_in_gev(level):
    events = zjets("data", level)
    own = Scale.of(events.jet_p4, events.p4)
    thousand = Scale.of(1e3 * events.jet_p4, 1e3 * events.p4.astype(np.float32))
    assert unit_of(own) is None and unit_of(thousand) == "MeV"
    assert thousandfold(own, thousand) and thousandfold(thousand, own)
    assert not thousandfold(own, own)


def test_pions_tell_also_soft_jets():
    events = zjets("data", "particle")
    soft = Scale.of(1e2 * events.jet_p4, 1e3 * events.p4)  # jets that might be of 20 TeV, or less
    assert unit_of(soft._replace(jet_pt=5000.0)) == "MeV"


@pytest.mark.parametrize("pt", [5.0, 60.0, 500.0, 3000.0, 6500.0])
def test_massless_constituents(pt):
    assert unit_of(massless(pt)) is None
    assert unit_of(massless(1e3 * pt)) == ("MeV" if pt > 7 else None)


def test_hard_jets_of_another_collider_are_not_mistaken():
    assert unit_of(massless(20_000.0, constituents=150)) is None


def test_nothing_and_what_is_not_finite_tell_nothing():
    none = np.zeros((0, 4))
    assert Scale.of(none, none) == Scale(0, 0, 0)
    bad = np.full((3, 4), np.nan)
    assert unit_of(Scale.of(bad, bad)) is None
    assert not thousandfold(Scale.of(none, none), massless(100.0))
    events = random_jets(10, 0)
    assert Scale.of(events.jet_p4, events.p4).jet_pt > 0
