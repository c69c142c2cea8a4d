"""The shipped samples: sizes, levels, metadata, and the physics they promise."""

import numpy as np
import pytest

from jaxpriors.data.events import Events
from jaxpriors.data.sample_files import read_metadata
from jaxpriors.data.samples import SAMPLES, zjets, zjets_path
from jaxpriors.errors import InputError
from jaxpriors.physics import coordinates as col
from jaxpriors.physics import kinematics


@pytest.fixture(scope="module")
def samples() -> dict[tuple[str, str], Events]:
    return {
        (variant, level): zjets(variant, level)
        for variant in SAMPLES
        for level in ("particle", "detector")
    }


def test_samples_have_twenty_thousand_events_in_twelve_megabytes(samples):
    assert {len(events) for events in samples.values()} == {20_000}
    assert sum(zjets_path(variant).stat().st_size for variant in SAMPLES) < 12e6


def test_metadata_name_command_versions_and_what_they_are_not():
    for variant in SAMPLES:
        metadata = read_metadata(zjets_path(variant))
        assert f"--variant {variant} --events 20000" in metadata["command"]
        assert metadata["request"]["variant"] == variant
        assert metadata["request"]["versions"]["pythia8mc"] == "8.317.2"
        assert "Not a published or an experimental data set" in metadata["note"]
        assert metadata["date"]


def test_the_two_differ(samples):
    for level in ("particle", "detector"):
        one, two = (samples[variant, level] for variant in SAMPLES)
        assert 1.1 < two.multiplicity.mean() / one.multiplicity.mean() < 1.4
        mass = [np.median(kinematics.mass(col.sums(e.p4, e.offsets))) for e in (one, two)]
        assert 1.05 < mass[1] / mass[0] < 1.25


def test_detector_level_is_the_particle_level_smeared(samples):
    for variant in SAMPLES:
        particle, detector = (samples[variant, level] for level in ("particle", "detector"))
        np.testing.assert_array_equal(particle.columns["z_pt"], detector.columns["z_pt"])
        (pt, eta, phi), measured = (col.pt_eta_phi(e.jet_p4) for e in (particle, detector))
        turn = np.abs((phi - measured[2] + np.pi) % (2 * np.pi) - np.pi)
        same = np.hypot(eta - measured[1], turn) < 0.2
        assert same.mean() > 0.98
        response = (measured[0] / pt)[same]
        assert abs(response.mean() - 1) < 0.02
        assert 0.05 < response.std() < 0.12
        assert set(np.unique(np.abs(detector.pid))) == {11, 13, 22, 130, 211}


def test_unknown_sample():
    with pytest.raises(InputError, match="'herwig' is unknown; known: simulation, data"):
        zjets_path("herwig")
