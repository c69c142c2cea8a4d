"""The parametric detector on synthetic particles: acceptance, efficiency, response, subtraction."""

import numpy as np
import pytest

from jaxpriors.data.clustering import Particles
from jaxpriors.data.simulation.detector import Detector, log_normal, simulate_detector
from jaxpriors.physics import particles as identities
from jaxpriors.physics.coordinates import pt_eta_phi, sums, to_cartesian
from jaxpriors.physics.kinematics import mass


def gun(pid: int, pt: float, n: int = 20_000, eta_max: float = 0.8, seed: int = 0) -> Particles:
    """One particle an event."""
    random = np.random.default_rng(seed)
    eta, phi = random.uniform(-eta_max, eta_max, n), random.uniform(-np.pi, np.pi, n)
    pids = np.full(n, pid, dtype=np.int32)
    p4 = to_cartesian(np.stack([np.full(n, pt), eta, phi], axis=-1), "pt,eta,phi", pids)
    return Particles(np.arange(n), p4, pids)


def measure(particles: Particles, seed: int = 1) -> Particles:
    return simulate_detector(particles, np.random.default_rng(seed))


def test_pions_are_found_with_the_stated_efficiency_and_resolution():
    pions = gun(-211, 10.0)
    found = measure(pions)
    tracks = found[found.pid == -211]
    region = Detector().tracker[0]
    expected = region.hadron_efficiency / (1 + 10 / Detector().track_core)
    assert len(tracks.event) / 20_000 == pytest.approx(expected, abs=0.01)
    pt = pt_eta_phi(tracks.p4)[0]
    assert np.mean(pt) == pytest.approx(10, rel=1e-3)
    assert np.std(pt) / 10 == pytest.approx(np.hypot(region.a, region.b * 10), rel=0.05)
    # A pion that is not found leaves its energy in the hadron calorimeter. Upward fluctuations of
    # the calorimeter beside a track count as neutral energy, downward ones do not: a few per cent.
    energy = np.bincount(found.event, found.p4[:, 0], minlength=20_000)
    assert np.mean(energy / pions.p4[:, 0]) == pytest.approx(1.03, abs=0.05)


def test_tracks_end_at_the_acceptance():
    outside = gun(211, 50.0)
    p4 = to_cartesian(
        np.stack([np.full(20_000, 50.0), np.full(20_000, 2.7), np.zeros(20_000)], -1),
        "pt,eta,phi",
        outside.pid,
    )
    found = measure(Particles(outside.event, p4, outside.pid))
    assert set(found.pid) == {130}


def test_soft_charged_particles_curl_up():
    assert len(measure(gun(211, 0.1)).event) == 0
    assert set(measure(gun(211, 0.5)).pid) == {211}


def test_photons_and_neutral_hadrons_keep_their_energy_on_average():
    for pid, code, width in ((22, 22, 0.012), (2112, 130, 0.145)):
        particles = gun(pid, 100.0)
        found = measure(particles)
        assert set(found.pid) == {code}
        response = found.p4[:, 0] / particles.p4[found.event, 0]
        assert np.mean(response) == pytest.approx(1, abs=0.005)
        assert np.std(response) == pytest.approx(width, rel=0.15)


def test_muons_leave_only_a_track():
    assert set(measure(gun(13, 30.0)).pid) == {13}


def test_identities_are_classes_on_their_mass_shells():
    every = [11, -11, 13, -13, 22, 130, 211, -211, 321, -321, 2112, 2212, -2212, 3112, 3312, -3222]
    parts = [gun(pid, 5.0, n=300, eta_max=4.5, seed=abs(pid)) for pid in every]
    found = measure(
        Particles(
            np.arange(300 * len(every)),
            np.concatenate([part.p4 for part in parts]),
            np.concatenate([part.pid for part in parts]),
        )
    )
    assert set(found.pid) == {11, -11, 13, -13, 22, 130, 211, -211}
    np.testing.assert_allclose(mass(found.p4), identities.mass_of(found.pid), atol=2e-3)
    assert np.all(np.diff(found.event) >= 0)
    # Charge is kept: Sigma-, Xi- and anti-Sigma- come with codes of either sign.
    charge = {3112: -211, 3312: -211, -3222: -211, 321: 211, -2212: -211}
    for pid, expected in charge.items():
        source = every.index(pid)
        inside = (found.event // 300 == source) & (np.abs(found.pid) == 211)
        assert set(found.pid[inside]) == {expected}


def test_a_tracks_energy_is_subtracted_from_its_cell():
    # A charged and a neutral hadron in one cell: the neutral energy is what remains on average.
    n = 20_000
    pion, neutron = gun(211, 40.0, n), gun(2112, 40.0, n)
    event = np.repeat(np.arange(n), 2)
    p4 = np.stack([pion.p4, neutron.p4], axis=1).reshape(-1, 4)
    found = measure(Particles(event, p4, np.tile([211, 2112], n).astype(np.int32)))
    with_track = np.isin(found.event, found.event[found.pid == 211])
    total = sums(
        found.p4[with_track],
        np.append(0, np.cumsum(np.unique(found.event[with_track], return_counts=True)[1])),
    )
    tracked = np.unique(found.event[with_track])
    response = total[:, 0] / (pion.p4 + neutron.p4)[tracked, 0]
    assert np.mean(response) == pytest.approx(1, abs=0.03)


def test_log_normal_has_mean_one_and_the_asked_width():
    factors = log_normal(np.full(200_000, 0.3), np.random.default_rng(0))
    assert factors.min() > 0
    assert np.mean(factors) == pytest.approx(1, abs=0.005)
    assert np.std(factors) == pytest.approx(0.3, rel=0.02)


def test_the_same_random_numbers_give_the_same_candidates():
    particles = gun(211, 10.0, n=500)
    np.testing.assert_array_equal(measure(particles).p4, measure(particles).p4)
    assert not np.array_equal(measure(particles).p4[:9], measure(particles, seed=2).p4[:9])
