"""Momenta in the coordinates of files: the same four-momenta of all, and what cannot be right."""

import numpy as np
import pytest

from jaxpriors.data.batching import gather
from jaxpriors.data.events import Events
from jaxpriors.errors import InputError
from jaxpriors.evaluation.observables import jet_observables
from jaxpriors.physics import kinematics
from jaxpriors.physics.particles import mass_of
from jaxpriors.preprocessing.clouds import PointCloudConfig
from jaxpriors.preprocessing.tokens import InputConfig

N, P = 30, 6
RNG = np.random.default_rng(0)
PID = RNG.choice([211, -211, 22, 130], (N, P))
PT, ETA, PHI = RNG.exponential(10, (N, P)) + 1, RNG.normal(0, 1, (N, P)), RNG.uniform(-3, 3, (N, P))
MASS = mass_of(PID)
PX, PY, PZ = PT * np.cos(PHI), PT * np.sin(PHI), PT * np.sinh(ETA)
ENERGY = np.sqrt(PX**2 + PY**2 + PZ**2 + MASS**2)
RAPIDITY = np.arctanh(PZ / ENERGY)
PARTS = {
    "E": ENERGY, "px": PX, "py": PY, "pz": PZ, "m": MASS,
    "pt": PT, "eta": ETA, "phi": PHI, "y": RAPIDITY, "pid": PID,
}  # fmt: skip


def stacked(coordinates, **changed):
    return np.stack([(PARTS | changed)[name] for name in coordinates.split(",")], axis=-1)


SPACE = ["E,px,py,pz", "px,py,pz,E", "px,py,pz,m", "px,py,pz,pid"]
ANGLES = ["pt,eta,phi,m", "pt,eta,phi,E", "phi,E,eta,pt", "pt,eta,phi,pid"]
RAPIDITIES = ["pt,y,phi,m", "pt,y,phi,E", "pt,y,phi,pid"]


@pytest.mark.parametrize("coordinates", [*SPACE, *ANGLES, *RAPIDITIES])
def test_all_coordinates_give_the_same_momenta(coordinates):
    found = Events.from_padded(stacked(coordinates), coordinates=coordinates)
    expected = stacked("E,px,py,pz").reshape(-1, 4)
    np.testing.assert_allclose(found.p4, expected, rtol=1e-10, atol=1e-10)
    np.testing.assert_array_equal(found.pid, PID.reshape(-1) if "pid" in coordinates else 0)


@pytest.mark.parametrize(
    ("coordinates", "changed", "message"),
    [
        ("pt,eta,phi", {"pt": np.where(PT > 20, -9, PT)}, r"pt is negative .*padding -9\)"),
        ("pt,eta,phi", {"phi": np.degrees(PHI)}, r"phi is no azimuth .*found -?\d+.*radians"),
        ("pt,eta,phi,m", {"m": -0.1 * np.ones((N, P))}, r"m is negative .*found -0\.1, expected"),
        ("px,py,pz,m", {"m": MASS - 1}, r"m is negative"),
        ("pt,eta,phi", {"eta": np.full((N, P), -999.0)}, "eta is out of range .*found -999"),
        ("pt,y,phi", {"y": np.full((N, P), 99.0)}, "eta is out of range .*found 99"),
    ],
)
def test_what_cannot_be_right_is_refused_with_place_and_number(coordinates, changed, message):
    with pytest.raises(InputError, match=rf"{message}"):
        Events.from_padded(stacked(coordinates, **changed), coordinates=coordinates)


def test_masses_below_zero_by_rounding_are_zero():
    rounded = Events.from_padded(
        stacked("pt,eta,phi,m", m=-1e-4 * ENERGY), coordinates="pt,eta,phi,m"
    )
    massless = Events.from_padded(stacked("pt,eta,phi"), coordinates="pt,eta,phi")
    np.testing.assert_array_equal(rounded.p4, massless.p4)


def test_other_coordinates_that_are_called_cartesian_are_refused():
    with pytest.raises(InputError, match=r"p4 is not E,px,py,pz .*second column looks like eta"):
        Events.from_padded(stacked("pt,eta,phi,m"))
    with pytest.raises(InputError, match=r"E is not positive|p4 is spacelike"):
        Events.from_padded(stacked("px,py,pz,E"))


@pytest.mark.parametrize("fill", [-1.0, -9.0, -999.0, np.nan])
def test_paddings_are_as_they_are_declared(fill):
    real = np.arange(P) < RNG.integers(2, P + 1, N)[:, None]
    values = np.where(real[..., None], stacked("pt,eta,phi"), fill)
    found = Events.from_padded(values, coordinates="pt,eta,phi", padding=fill)
    np.testing.assert_array_equal(found.multiplicity, real.sum(1))
    with pytest.raises(InputError, match=r"pt is negative|not finite"):
        Events.from_padded(values, coordinates="pt,eta,phi")


@pytest.mark.parametrize(("eta", "pt"), [(0, 50), (2.5, 200), (4, 60), (4.5, 40)])
def test_forward_jets_keep_their_mass(eta, pt):
    """In observables, and in what all networks see; single precision would lose up to a third."""
    rng = np.random.default_rng(1)
    pts = rng.dirichlet(np.ones(10), 200) * pt
    etas, phis = eta + rng.normal(0, 0.03, pts.shape), rng.normal(0, 0.03, pts.shape)
    events = Events.from_padded(np.stack([pts, etas, phis], -1), coordinates="pt,eta,phi")
    p4 = np.stack(
        [pts * np.cosh(etas), pts * np.cos(phis), pts * np.sin(phis), pts * np.sinh(etas)], -1
    )
    true = kinematics.mass(p4.sum(1))
    np.testing.assert_allclose(jet_observables(events)["mass"], true, rtol=1e-9)
    batch = gather(events, np.arange(200), 10)
    np.testing.assert_allclose(batch.jet_mass, true, rtol=1e-6)
    tokens, clouds = InputConfig(), PointCloudConfig()
    learnt = tokens.learn(events)
    seen = tokens.build(batch, learnt).scalars[:, 1 + len(tokens.build(batch, learnt).references)]
    place = 8 + 2  # behind the constituents' features: pT, η, mass
    mass = np.asarray(seen)[:, place] * learnt.std[place] + learnt.mean[place]
    np.testing.assert_allclose(mass, true, rtol=1e-5)
    learnt = clouds.learn(events)
    jet = np.asarray(clouds.build(batch, learnt).jet) * learnt.std + np.asarray(learnt.mean)
    np.testing.assert_allclose(jet[:, 2], true, rtol=1e-5)


def test_events_that_lack_their_level_need_no_constituents():
    passing = np.arange(N) % 3 > 0
    values = stacked("E,px,py,pz") * passing[:, None, None]
    with pytest.raises(InputError, match=r"no constituents in event 0 \(10 such events\)"):
        Events.from_padded(values)
    events = Events.from_padded(values, columns={"pass_reco": passing})
    np.testing.assert_array_equal(events.multiplicity, P * passing)
    np.testing.assert_array_equal(events.passing, passing)
    assert events[events.passing].passing is None
