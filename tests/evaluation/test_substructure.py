"""Clustering, SoftDrop and N-subjettiness against FastJet, jet by jet."""

from __future__ import annotations

import awkward as ak
import fastjet
import numpy as np
import pytest

from jaxpriors.data.events import Events
from jaxpriors.data.sample_files import read_events
from jaxpriors.data.samples import zjets_path
from jaxpriors.evaluation import observables as obs
from jaxpriors.evaluation.observables import CAMBRIDGE_AACHEN, KT, cluster, n_subjettiness
from tests.helpers.jets import random_jets

RELATIVE = 1e-6


@pytest.fixture(scope="module", params=["random", "simulated"])
def jets(request) -> Events:
    """Four hundred random jets, or as many of the shipped sample."""
    if request.param == "random":
        return random_jets(400, seed=3)
    return read_events(zjets_path("simulation"), level="detector")[:400]


@pytest.fixture(scope="module")
def values(jets: Events) -> dict[str, np.ndarray]:
    """Their observables."""
    return obs.observables(jets)


def pseudojets(events: Events, event: int) -> list:
    """The constituents of one event as FastJet's."""
    p4 = events.p4[events.offsets[event] : events.offsets[event + 1]].astype(np.float64)
    return [fastjet.PseudoJet(px, py, pz, energy) for energy, px, py, pz in p4]


def summed(constituents: list) -> object:
    """FastJet's sum of pseudojets."""
    total = fastjet.PseudoJet(0.0, 0.0, 0.0, 0.0)
    for constituent in constituents:
        total = total + constituent
    return total


def test_mass_width_and_multiplicity_agree_with_fastjet(jets, values):
    for event in range(len(jets)):
        constituents = pseudojets(jets, event)
        jet = summed(constituents)
        pt = np.array([constituent.perp() for constituent in constituents])
        delta_r = np.array([constituent.delta_R(jet) for constituent in constituents])
        assert values["multiplicity"][event] == len(constituents)
        if len(constituents) > 1:
            assert values["mass"][event] == pytest.approx(jet.m(), rel=RELATIVE)
            assert values["width"][event] == pytest.approx(
                (pt * delta_r).sum() / pt.sum(), RELATIVE
            )


def test_soft_drop_agrees_with_fastjet(jets, values):
    p4 = jets.p4.astype(np.float64)
    flat = ak.zip({name: p4[:, i] for i, name in enumerate(("E", "px", "py", "pz"))})
    clustered = fastjet.ClusterSequence(
        ak.unflatten(flat, jets.multiplicity),
        fastjet.JetDefinition(fastjet.cambridge_algorithm, 10.0),
    )
    groomed = clustered.exclusive_jets_softdrop_grooming(1, 0.0, 0.1, R0=0.4)
    zg = ak.to_numpy(groomed.symmetrysoftdrop).ravel()
    mass = ak.to_numpy(groomed.msoftdrop).ravel()
    jet = np.add.reduceat(p4, jets.offsets[:-1])
    failed = zg < 0
    assert 1 < failed.sum() < 100
    np.testing.assert_array_equal(values["zg"][failed], 0.0)
    np.testing.assert_array_equal(values["groomed_mass"][failed], obs.LN_RHO_MINIMUM)
    np.testing.assert_allclose(values["zg"][~failed], zg[~failed], rtol=RELATIVE)
    rho = (mass**2 / (jet[:, 1] ** 2 + jet[:, 2] ** 2))[~failed]
    np.testing.assert_allclose(np.exp(values["groomed_mass"][~failed]), rho, rtol=RELATIVE)


def test_tau21_agrees_with_axes_of_fastjet(jets, values):
    for event in range(0, len(jets), 2):
        constituents = pseudojets(jets, event)
        if len(constituents) < 3:
            continue
        pt = np.array([constituent.perp() for constituent in constituents])
        tau = {}
        for number in (1, 2):
            definition = fastjet.JetDefinition(fastjet.kt_algorithm, 1000.0)
            axes = fastjet.ClusterSequence(constituents, definition).exclusive_jets(number)
            delta_r = [min(c.delta_R(axis) for axis in axes) for c in constituents]
            tau[number] = (pt * delta_r).sum() / pt.sum()
        assert values["tau21"][event] == pytest.approx(tau[2] / tau[1], rel=RELATIVE)


@pytest.mark.parametrize("algorithm", [CAMBRIDGE_AACHEN, KT])
def test_clustering_conserves_momentum_and_visits_every_constituent(algorithm):
    p4 = np.array([random_jets(1, seed).p4[:3] for seed in range(20, 30)], dtype=np.float64)
    tree, remaining = cluster(p4, algorithm)
    np.testing.assert_allclose(tree.p4[:, -1], p4.sum(axis=1))
    np.testing.assert_array_equal(remaining, np.full((10, 1), 4))
    for parents in tree.parents:
        assert sorted(parents.ravel().tolist()) == [0, 1, 2, 3]


def test_n_subjettiness_falls_with_the_number_of_axes():
    p4 = np.array([random_jets(1, seed, 40).p4[:10] for seed in range(40, 60)], dtype=np.float64)
    tau = np.array([n_subjettiness(p4, axes) for axes in (1, 2, 5, 10)])
    assert (np.diff(tau.mean(axis=1)) < 0).all()
    np.testing.assert_array_equal(tau[-1], 0.0)
