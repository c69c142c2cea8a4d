"""The LHC Olympics' table and OmniLearn's two-jet files, in miniature, read back."""

import h5py
import numpy as np
import pandas
import pytest

from jaxpriors.cli.main import run
from jaxpriors.data import dijets
from jaxpriors.data.events import Events
from jaxpriors.data.formats import lhco
from jaxpriors.data.formats.lhco import lhco_rows, read_lhco_events
from jaxpriors.data.formats.omnilearn_dijets import read_omnilearn_dijets
from jaxpriors.data.inspection.layouts import recognise
from jaxpriors.data.sample_files import read_events
from jaxpriors.data.unread import Unread
from jaxpriors.errors import InputError
from jaxpriors.physics import kinematics
from jaxpriors.preprocessing import clouds as features
from tests.helpers import published
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
    with pytest.raises(InputError, match=r"columns 0 to 118 \(119\), whose values are not"):
        read_lhco_events(path)
    with h5py.File(path, "w") as file:
        file["other"] = np.zeros(3)
    with pytest.raises(InputError, match="found other; expected one pandas table"):
        read_lhco_events(path)


# pandas warns where it pickles the names of columns
names_are_pickled = pytest.mark.filterwarnings("ignore::pandas.errors.PerformanceWarning")


def rows_of(number: int = 30, width: int = 60):
    """Particles (n, P, 3) and labels (n,) of made-up events."""
    found = published.lhco_rows(number, 0, width)
    return found[:, :-1].reshape(number, width, 3), found[:, -1]


def four(*columns):
    return np.stack(columns, axis=-1).reshape(len(columns[0]), -1)


def framed(form: str):
    """A data frame of events that can be read, with its labels in one of many places."""
    particles, label = rows_of()
    frame = pandas.DataFrame(particles.reshape(len(label), -1))
    if form == "integer":
        frame[frame.shape[1]] = label.astype(int)  # a block of its own
    elif form == "first":
        frame.insert(0, "label", label.astype(bool))
    elif form == "named":
        frame["is_signal"] = label
    elif form == "triples":
        frame.columns = [f"{x}_{i}" for i in range(60) for x in ("pt", "eta", "phi")]
        frame = frame[sorted(frame.columns)].assign(label=label)
    elif form == "digits":
        frame[frame.shape[1]] = label
        frame.columns = frame.columns.astype(str)
    return frame


@names_are_pickled
@pytest.mark.parametrize("options", [{}, {"format": "table", "complib": "blosc", "complevel": 5}])
@pytest.mark.parametrize("form", ["integer", "first", "named", "triples", "digits"])
def test_columns_go_by_the_names_that_pandas_wrote(tmp_path, form, options):
    particles, label = rows_of()
    write_lhco(tmp_path / "rnd.h5", np.column_stack([particles.reshape(30, -1), label]))
    expected = read_lhco_events(tmp_path / "rnd.h5")
    framed(form).to_hdf(tmp_path / "a.h5", key="table", mode="w", **options)
    found = read_lhco_events(tmp_path / "a.h5")
    assert recognise(tmp_path / "a.h5") == "lhco"
    np.testing.assert_array_equal(found.label, label)
    np.testing.assert_array_equal(found.p4, expected.p4)


def test_without_a_column_for_it_there_is_no_label(tmp_path):
    framed("none").to_hdf(tmp_path / "a.h5", key="df", mode="w")
    assert read_lhco_events(tmp_path / "a.h5").label is None


def other_table(form: str):
    """A data frame that is no table of (pT, eta, phi) and a label."""
    x, label = rows_of()
    pt, eta, phi = np.moveaxis(x, -1, 0)
    energy = pt * np.cosh(eta)
    momentum = pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta)
    rows = {
        "mass": four(pt, eta, phi, np.where(pt > 0, 0.14, 0)),
        "energy": four(pt, eta, phi, 1.1 * energy),
        "cartesian": four(energy, *momentum),
        "energy last": four(*momentum, energy),
        "degrees": four(pt, eta, np.degrees(phi)),
        "padding": np.where(x == 0, -1, x).reshape(30, -1),
        "exchanged": np.concatenate([four(pt, phi, eta)] * 2),
    }.get(form, x.reshape(30, -1))
    frame = pandas.DataFrame(np.column_stack([rows, np.resize(label, len(rows))]))
    if form == "behind":
        frame[frame.shape[1]] = 0.5
    elif form == "flags behind":  # 3 columns that are a particle now and then
        frame[181], frame[182] = 0.0, 0.0
        frame[180] = np.arange(30) == 7
    elif form == "named behind":
        frame = frame.rename(columns={180: "label"}).assign(mjj=3500.0)
    elif form == "features":
        names = [f"{x}j{j}" for j in (1, 2) for x in ("px", "py", "pz", "m", "tau1")]
        frame = pandas.DataFrame(rows[:, :10], columns=names).assign(label=label)
    elif form == "two labels":
        frame = frame.rename(columns={180: "label"}).assign(is_signal=label)
    return frame


@names_are_pickled
@pytest.mark.parametrize(
    ("form", "message"),
    [
        ("mass", r"\(241\), whose values .*look like \(pT, eta, phi, m\); expected \(pT in GeV"),
        ("energy", r"look like \(pT, eta, phi, E\)"),
        ("cartesian", r"look like \(E, px, py, pz\)"),
        ("energy last", r"look like \(px, py, pz, E\)"),
        ("degrees", "one of these would be .* column 180 holds 0 and 1 alone"),
        ("padding", r"one of these would be \(-1.0, -1.0, -1.0\)"),
        ("exchanged", r"look like \(pT, phi, eta\)"),
        ("behind", r"\(182\), whose .*column 180 holds 0 and 1 alone, as a label does"),
        ("flags behind", r"\(183\), whose .*column 180 holds 0 and 1 alone, as a label does"),
        ("named behind", "the columns mjj are not understood; expected"),
        ("features", "pxj1, .* are not understood; the table looks like high-level features"),
        ("two labels", "found the labels label, is_signal, expected at most one"),
    ],
)
def test_other_tables_are_not_taken_for_it(tmp_path, form, message):
    other_table(form).to_hdf(tmp_path / "a.h5", key="df", mode="w")
    for function in (lhco_rows, read_lhco_events):
        with pytest.raises(InputError, match=message):
            function(tmp_path / "a.h5")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ((-5.0, 0.1, 0.1), r"event 12 \(1 such .*\[-5.0, 0.1, 0.1\] as particle 3: pT is no such"),
        ((0.0, 0.1, 0.1), "eta or phi is no such number, expected zeros where pT is 0"),
        ((5.0, 11.0, 0.1), r"eta is no such number, expected \|eta\| < 10"),
        ((5.0, 0.1, 9.0), "phi is no such number, expected -pi to pi"),
    ],
)
def test_single_values_that_are_no_momenta_are_refused_in_their_place(tmp_path, values, message):
    particles, label = rows_of()
    particles[12, 3] = values
    write_lhco(tmp_path / "a.h5", np.column_stack([particles.reshape(30, -1), label]))
    assert lhco_rows(tmp_path / "a.h5") == 30
    with pytest.raises(InputError, match=message):
        read_lhco_events(tmp_path / "a.h5")


def test_what_stands_beside_the_table_is_told(tmp_path):
    particles, label = rows_of()
    path = tmp_path / "a.h5"
    write_lhco(path, np.column_stack([particles.reshape(30, -1), label]))
    with h5py.File(path, "r+") as file:
        file["notes"] = np.zeros(3)
    with pytest.warns(Unread, match=r"a\.h5: not read: notes$"):
        assert lhco_rows(path) == 30
    with h5py.File(path, "r+") as file:
        file["weights"] = np.ones(30)
    with pytest.raises(InputError, match="'weights', which would not be read although it looks"):
        lhco_rows(path)


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
