"""The LHC Olympics' table and OmniLearn's two-jet files, in miniature, read back."""

import h5py
import numpy as np
import pytest

from jaxpriors.cli.main import run
from jaxpriors.data import dijets
from jaxpriors.data.events import Events
from jaxpriors.data.formats import lhco
from jaxpriors.data.formats.lhco import read_lhco_events
from jaxpriors.data.formats.omnilearn_dijets import read_omnilearn_dijets
from jaxpriors.data.sample_files import read_events
from jaxpriors.errors import InputError
from jaxpriors.physics import kinematics
from jaxpriors.preprocessing import clouds as features
from tests.helpers.dijets import random_dijets
from tests.helpers.published import write_lhco


def table(events: Events, width: int = 40, label: bool = True) -> np.ndarray:
    """Rows of the official file: (pT, η, φ) of massless particles in any order, and a label."""
    rng = np.random.default_rng(0)
    rows = np.zeros((len(events), width, 3))
    for i in range(len(events)):
        p4 = rng.permutation(events[i].p4.astype(np.float64))
        rows[i, : len(p4)] = np.stack(
            [f(p4) for f in (kinematics.pt, kinematics.eta, kinematics.phi)], 1
        )
    flat = rows.reshape(len(events), -1)
    return np.column_stack([flat, events.label]) if label else flat


@pytest.fixture
def events():
    found = random_dijets(30, 4, width=0.05)
    return found.with_label(np.arange(30) % 3 == 0)


def test_particles_are_clustered_into_the_jets_they_came_from(events, tmp_path, monkeypatch):
    write_lhco(tmp_path / "rnd.h5", table(events))
    monkeypatch.setattr(lhco, "BLOCK", 7)
    told = []
    found = read_lhco_events(tmp_path / "rnd.h5", progress=lambda done, total: told.append(done))
    assert told == [7, 14, 21, 28, 30]
    np.testing.assert_array_equal(found.label, events.label)
    np.testing.assert_array_equal(found.multiplicity, events.multiplicity)
    for name in ("jet1_pt", "jet2_pt", "jet1_multiplicity"):
        np.testing.assert_allclose(found.columns[name], events.columns[name], rtol=1e-4)
    np.testing.assert_allclose(dijets.dijet_mass(found), dijets.dijet_mass(events), rtol=1e-3)
    assert not found.pid.any()
    some = read_lhco_events(tmp_path / "rnd.h5", start=10, stop=20)
    np.testing.assert_array_equal(some.p4, found[10:20].p4)


def test_a_window_keeps_the_events_of_the_signal_region(events, tmp_path):
    write_lhco(tmp_path / "rnd.h5", table(events))
    command = ["data", "convert", str(tmp_path / "rnd.h5"), str(tmp_path / "sr.h5")]
    assert run([*command, "--layout", "lhco", "--window", "3300", "3700"]) == 0
    mass = dijets.dijet_mass(read_lhco_events(tmp_path / "rnd.h5"))
    kept = (mass > 3300) & (mass < 3700)
    found = read_events(tmp_path / "sr.h5")
    assert 0 < len(found) == kept.sum() < len(events)
    np.testing.assert_allclose(dijets.dijet_mass(found), mass[kept])
    with pytest.raises(InputError, match="found no event of two jets with 10 < m_jj < 20 GeV"):
        read_lhco_events(tmp_path / "rnd.h5", window=(10.0, 20.0))


def test_faults_of_the_table_are_named(events, tmp_path):
    path, rows = tmp_path / "bad.h5", table(events)
    rows[3, 5] = np.nan
    write_lhco(path, rows)
    with pytest.raises(InputError, match=r"bad.h5: event 3 \(1 such events\) holds values"):
        read_lhco_events(path)
    rows[3, 5], rows[:, -1] = 0.1, 2
    write_lhco(path, rows)
    with pytest.raises(InputError, match=r"labels .* are \[2.0\], expected 0 and 1"):
        read_lhco_events(path)
    write_lhco(path, rows[:, :-2])
    with pytest.raises(InputError, match=r"float64\[30, 119\], expected numbers \(N, 3 P \+ 1\)"):
        read_lhco_events(path)
    with h5py.File(path, "w") as file:
        file["other"] = np.zeros(3)
    with pytest.raises(InputError, match="found other; expected one pandas table"):
        read_lhco_events(path)


@pytest.mark.parametrize("package", ["hdf5plugin", "fastjet"])
def test_packages_that_are_missing_are_named(events, tmp_path, monkeypatch, package):
    write_lhco(tmp_path / "rnd.h5", table(events))
    find = lhco.importlib.util.find_spec
    monkeypatch.setattr(
        lhco.importlib.util, "find_spec", lambda name: None if name == package else find(name)
    )
    monkeypatch.setattr(h5py.h5z, "filter_avail", lambda number: False)
    with pytest.raises(InputError, match=rf"needs {package}: pip install 'jaxpriors\[data\]'"):
        read_lhco_events(tmp_path / "rnd.h5")


def write_omnilearn(path, events: Events, width: int = 7, **other):
    """As OmniLearn lays it out, by its definitions of the features."""
    jets = dijets.jets_of(events)
    p4, pid, length = jets.padded()
    found, mask, _ = features.raw_features(
        p4.astype(np.float64), 0 * pid, length, jets.jet_p4.astype(np.float64)
    )
    if width == 3:  # without the small number that keeps the logarithm finite
        share = kinematics.pt(p4.astype(np.float64)) / kinematics.pt(jets.jet_p4)[:, None]
        found[..., 2] = np.where(mask, np.log1p(-np.minimum(share, 1 - 1e-9)), 0)
    jet = np.stack(
        [
            np.stack([events.columns[f"jet{j}_{name}"] for name in dijets.JET_COLUMNS], 1)
            for j in (1, 2)
        ],
        axis=1,
    )
    arrays = {"data": found[..., :width].reshape(len(events), 2, -1, width), "jet": jet, **other}
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file[name] = array


@pytest.mark.parametrize("width", [7, 3])
def test_omnilearns_two_jet_files_are_read(events, tmp_path, width):
    write_omnilearn(tmp_path / "a.h5", events, width, pid=dijets.dijet_mass(events))
    found = read_omnilearn_dijets(tmp_path / "a.h5", label=0)
    np.testing.assert_array_equal(found.multiplicity, events.multiplicity)
    for name in dijets.COLUMNS:
        np.testing.assert_allclose(found.columns[name], events.columns[name], rtol=1e-4, atol=1e-4)
    # what has no mass here had that of a pion
    np.testing.assert_allclose(found.p4, events.p4, rtol=2e-3, atol=0.05)
    assert not found.label.any()


def test_faults_of_omnilearns_files_are_named(events, tmp_path):
    path = tmp_path / "a.h5"
    write_omnilearn(path, events, pid=2 * dijets.dijet_mass(events))
    with pytest.raises(InputError, match=r"event 0 .* has a 'pid' that is not the mass"):
        read_omnilearn_dijets(path)
    write_omnilearn(path, events, jet=np.zeros((30, 2, 4)))
    with pytest.raises(InputError, match=r"'jet' has shape \(30, 2, 4\), expected \(30, 2, 5\)"):
        read_omnilearn_dijets(path)
    write_omnilearn(path, events, data=np.zeros((30, 5, 7)))
    with pytest.raises(InputError, match=r"expected \(N, 2, P, 7 or 3\)"):
        read_omnilearn_dijets(path)
    write_omnilearn(path, events, data=np.zeros((30, 2, 5, 7)))
    with pytest.raises(InputError, match=r"event 0 \(30 such events\) has a jet without"):
        read_omnilearn_dijets(path)
