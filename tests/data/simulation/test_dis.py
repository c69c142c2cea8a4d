"""Deep-inelastic scattering: kinematics by hand, the selection, the scattered electron left out."""

import numpy as np
import pytest

from jaxpriors.data.simulation import dis, generator
from jaxpriors.physics.coordinates import pt_eta_phi

EVENTS = 60


def generate(variant, events=EVENTS, seed=3):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(generator, "BATCH", 50)
        return dis.generate(variant, events, seed, 0)


@pytest.fixture(scope="module")
def levels():
    return generate("simulation-variations")


@pytest.fixture(scope="module")
def record():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(generator, "BATCH", 50)
        return next(generator.records(dis.VARIANTS["simulation"], 1))


def test_jets_pass_the_selection_at_both_levels(levels):
    for events in levels.values():
        assert len(events) == EVENTS
        pt, eta, _ = pt_eta_phi(events.jet_p4)
        assert np.all(pt > 9.99)  # up to the rounding of compact files
        assert np.all((eta > -1.001) & (eta < 2.501))
        pt, eta, _ = pt_eta_phi(events.p4)
        assert np.all((pt > 0.0999) & (eta > -1.501) & (eta < 2.751))
        assert np.all(events.columns["q2"] > 150)
        assert np.all((events.columns["y"] > 0.08) & (events.columns["y"] < 0.7))


def test_levels_are_the_same_events_seen_twice(levels):
    one, two = levels["particle"], levels["detector"]
    np.testing.assert_array_equal(one.columns["q2"], two.columns["q2"])
    ratio = pt_eta_phi(two.jet_p4)[0] / pt_eta_phi(one.jet_p4)[0]
    assert np.median(ratio) == pytest.approx(1, abs=0.1)
    assert set(np.abs(two.pid)) <= {11, 13, 22, 130, 211}


def test_kinematics_are_those_of_the_final_electron(record):
    q2, y, electron = dis.kinematics_of(record)
    assert np.all(record.pid[electron] == 11) and np.all(record.status[electron] > 0)
    np.testing.assert_array_equal(record.event[electron], np.arange(record.n))
    # Without radiation off leptons: Q² = 2 E E' (1 + cos θ), y = 1 - E' (1 - cos θ) / (2 E), with
    # θ from the direction of the proton.
    energy, pz = record.p4[electron, 0], record.p4[electron, 3]
    np.testing.assert_allclose(q2, 2 * 27.6 * (energy + pz), rtol=1e-4)
    np.testing.assert_allclose(y, 1 - (energy - pz) / (2 * 27.6), atol=1e-5)
    assert np.all(q2 > 100)


def test_the_scattered_electron_is_no_constituent(record):
    accepted = np.ones(record.n, dtype=bool)
    electron = dis.kinematics_of(record)[2]
    some, every = record.visible(accepted, but=electron), record.visible(accepted)
    momenta = {tuple(p) for p in some.p4.tolist()}
    assert not any(tuple(p) in momenta for p in record.p4[electron].tolist())
    inside = np.abs(pt_eta_phi(record.p4[electron])[1]) < generator.PARTICLE_ETA_MAX
    assert len(every.pid) - len(some.pid) == inside.sum() > 0.9 * record.n


def test_variations_are_weights_near_one(levels):
    names = [f"weight_{name}" for name in generator.VARIATIONS]
    assert set(names) < set(levels["particle"].columns)
    for name in names:
        weight = levels["particle"].columns[name]
        np.testing.assert_array_equal(weight, levels["detector"].columns[name])
        assert np.all(weight > 0) and 0.8 < weight.mean() < 1.2 and weight.std() > 0.01


def test_the_other_shower_gives_other_events_of_the_same_kind():
    one, two = (generate(variant)["particle"] for variant in ("simulation", "data"))
    assert one.digest() != two.digest()
    means = [events.multiplicity.mean() for events in (one, two)]
    assert 5 < means[0] < 20 and means[1] == pytest.approx(means[0], rel=0.3)


def test_fewer_events_are_the_beginning_of_more():
    fewer = generate("simulation", 5)
    for level, events in generate("simulation", 20).items():
        assert fewer[level].digest() == events[:5].digest()
