"""Every public set: miniature files in the published format, read back to known values."""

import h5py
import numpy as np
import pandas
import pytest

from jaxpriors.data.catalog import SETS, data_set
from jaxpriors.data.dijets import COLUMNS, dijet_mass
from jaxpriors.data.events import Events
from jaxpriors.data.parts import pieces
from jaxpriors.data.simulation import jetclass as recipe
from jaxpriors.data.unread import Unread
from jaxpriors.errors import InputError
from jaxpriors.physics import kinematics
from tests.helpers import published


def read(name, path, events=None):
    """All events of a file, piece by piece."""
    made = [piece() for piece in pieces(SETS[name].parts(path), events)]
    if isinstance(made[0], Events):
        return Events.concatenate(made)
    return {level: Events.concatenate([one[level] for one in made]) for level in made[0]}


def assert_same(found: Events, events: Events, atol: float = 1e-2) -> None:
    np.testing.assert_array_equal(found.offsets, events.offsets)
    np.testing.assert_array_equal(found.pid, events.pid)
    np.testing.assert_allclose(found.p4, events.p4, rtol=2e-5, atol=atol)
    np.testing.assert_allclose(found.jet_p4, events.jet_p4, rtol=2e-5, atol=4 * atol)


def test_both_levels_of_zjets_are_read(tmp_path):
    path = tmp_path / "Herwig_Zjet_pTZ-200GeV_3.npz"
    particle = published.jets(30, 0, codes=published.ZJETS_CODES, pt=150)
    detector = published.jets(30, 1, pt=150)
    published.write_zjets(path, particle, detector)
    found = read("zjets", path)
    assert_same(found["particle"], particle)
    assert_same(found["detector"], detector)
    np.testing.assert_array_equal(found["detector"].columns["z_pt"], 200 + np.arange(30))
    some = read("zjets", path, events=7)
    np.testing.assert_array_equal(some["particle"].p4, found["particle"][:7].p4)


def test_quarks_and_gluons(tmp_path):
    events = published.jets(40, 0, codes=published.ZJETS_CODES)
    published.write_quarkgluon(tmp_path / "QG_jets.npz", events)
    found = read("quarkgluon", tmp_path / "QG_jets.npz")
    assert_same(found, events)
    np.testing.assert_array_equal(found.label, events.label)
    assert SETS["quarkgluon"].labels == ("gluon", "quark")


@pytest.mark.parametrize("particles", [30, 150])
def test_jetnet_is_read_with_its_masks(tmp_path, particles):
    events = published.jets(50, 0, massless=True, pt=1000)
    name = "t.hdf5" if particles == 30 else "t150.hdf5"
    published.write_jetnet(tmp_path / name, events, particles)
    if particles == 30:  # the published files have N * 496 + 2048 bytes
        assert (tmp_path / name).stat().st_size == 50 * 496 + 2048
    found = read("jetnet", tmp_path / name)
    assert set(found.label) == {2}
    # the files do not tell where the jets are in azimuth
    jet = events.jet_p4.astype(np.float64)
    turn = np.repeat(kinematics.phi(jet), events.multiplicity)
    p4, expected = found.p4.astype(np.float64), events.p4.astype(np.float64)
    np.testing.assert_allclose(kinematics.pt(p4), kinematics.pt(expected), rtol=1e-5)
    np.testing.assert_allclose(p4[:, 3], expected[:, 3], rtol=1e-4, atol=1e-2)
    turned = kinematics.delta_phi(kinematics.phi(p4) + turn, kinematics.phi(expected))
    np.testing.assert_allclose(turned, 0, atol=1e-5)
    own = found.jet_p4.astype(np.float64)
    np.testing.assert_allclose(kinematics.mass(own), kinematics.mass(jet), rtol=1e-3, atol=0.5)
    np.testing.assert_allclose(kinematics.pt(own), kinematics.pt(jet), rtol=1e-5)


@pytest.mark.parametrize(("counts", "published_size"), [(177252, 87919040), (176952, 87770240)])
def test_the_sizes_of_jetnet_are_those_of_its_layout(counts, published_size):
    sizes = [file.size for file in SETS["jetnet"].samples["30"]]
    assert published_size in sizes and counts * (30 * 4 + 4) * 4 + 2048 == published_size


def test_top_tagging_is_read_with_its_labels(tmp_path):
    events = published.jets(40, 0, massless=True)
    path = tmp_path / "train.h5"
    published.write_top(path, events)
    with h5py.File(path) as file:
        kind = file["table/table"].dtype
    assert kind["values_block_0"].shape == (804,) and kind["values_block_1"].shape == (2,)
    found = read("toptagging", path)
    np.testing.assert_array_equal(found.p4, events.p4)
    np.testing.assert_array_equal(found.multiplicity, events.multiplicity)
    np.testing.assert_array_equal(found.label, events.label)
    # as the public packages read it
    table = pandas.read_hdf(path, key="table")
    first = table.iloc[:, :4].to_numpy()
    np.testing.assert_array_equal(found.p4[found.offsets[:-1]], first)
    np.testing.assert_array_equal(table.iloc[:, -1].to_numpy(), found.label)


def test_columns_of_the_top_tagging_table_go_by_their_names(tmp_path):
    events = published.jets(10, 0, massless=True)
    table = published.top_table(events)
    mixed = table[[*table.columns[:804][::-1], "is_signal_new", "ttv"]]
    for options in ({"format": "table"}, {"format": "fixed"}):
        mixed.to_hdf(tmp_path / "a.h5", key="table", mode="w", **options)
        found = read("toptagging", tmp_path / "a.h5")
        np.testing.assert_array_equal(found.p4, events.p4)
        np.testing.assert_array_equal(found.label, events.label)
    table.drop(columns="PX_7").to_hdf(tmp_path / "b.h5", key="table", mode="w", format="table")
    with pytest.raises(InputError, match=r"b\.h5: 'table' has no column PX_7; found"):
        read("toptagging", tmp_path / "b.h5")


@pytest.fixture
def ten_classes():
    events = published.jets(40, 0)
    return events.with_label(np.arange(40) % 10)


def test_jetclass_is_read_with_its_ten_classes(tmp_path, ten_classes):
    path = tmp_path / "HToBB_120.root"
    published.write_jetclass(path, ten_classes)
    found = read("jetclass", path)
    assert_same(found, ten_classes, atol=1e-3)
    np.testing.assert_array_equal(found.label, ten_classes.label)
    assert SETS["jetclass"].labels == recipe.LABELS == published.JETCLASS


def test_archives_of_jetclass_are_read_as_they_are(tmp_path, ten_classes):
    paths = [tmp_path / "ZJetsToNuNu_120.root", tmp_path / "TTBar_120.root"]
    published.write_jetclass(paths[0], ten_classes[:15])
    published.write_jetclass(paths[1], ten_classes[15:])
    published.pack(tmp_path / "val.tar", "JetClass/val_5M", paths)
    parts = SETS["jetclass"].parts(tmp_path / "val.tar")
    assert [part.events for part in parts] == [25, 15]  # by name
    found = read("jetclass", tmp_path / "val.tar")
    assert_same(found, Events.concatenate([ten_classes[15:], ten_classes[:15]]), atol=1e-3)


def test_the_lhc_olympics_become_two_jets_an_event(tmp_path):
    rows = published.lhco_rows(12, 0)
    published.write_lhco(tmp_path / "events_anomalydetection_v2.h5", rows)
    found = read("lhco", tmp_path / "events_anomalydetection_v2.h5")
    assert len(found) == 12 and set(COLUMNS) == set(found.columns)
    np.testing.assert_array_equal(found.label, rows[:, -1])
    np.testing.assert_array_equal(found.multiplicity, np.full(12, 40))
    pt, eta, phi = rows[0, :-1].reshape(-1, 3)[:40].T
    total = np.stack([pt * np.cosh(eta), pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta)])
    expected = kinematics.mass(total.sum(axis=1)[None])[0]
    assert dijet_mass(found)[0] == pytest.approx(expected, rel=1e-5)


def _refused(name, path, message):
    with pytest.raises(InputError, match=message):
        read(name, path)


def test_faults_are_named_with_file_and_place(tmp_path, ten_classes):
    events = published.jets(5, 0)
    path = tmp_path / "a.npz"
    published.write_quarkgluon(path, events, y=np.array([0.0, 1, 2, 1, 0]))
    _refused("quarkgluon", path, r"a\.npz: y is 2 in event 2, expected 0 or 1")
    published.write_quarkgluon(path, events, X=np.zeros((5, 3, 3)))
    _refused(
        "quarkgluon", path, r"a\.npz: X has shape \(5, 3, 3\) and y \(5,\), expected \(n, P, 4\)"
    )
    published.write_quarkgluon(path, events, X=np.full((5, 2, 4), [1.0, 0, 0, 17]))
    _refused("quarkgluon", path, r"a\.npz .* pid is not known in event 0.* found \[17.0\]")
    np.savez(path, X=np.zeros((5, 3, 4)))
    _refused("quarkgluon", path, r"a\.npz: no dataset 'y'; found: X")

    path = tmp_path / "g.hdf5"
    published.write_jetnet(path, events, jet_features=np.ones((5, 3)))
    _refused(
        "jetnet", path, r"jet_features float64\[5, 3\], expected numbers \(N, P, 4\) and \(N, 4\)"
    )
    published.write_jetnet(path, events, jet_features=np.full((5, 4), [-1.0, 0, 0, 1]))
    _refused("jetnet", path, r"jet_features of event 0 \(5 such events\) are \[-1\.0")
    features = np.zeros((5, 30, 4))
    features[3, 2, 3] = np.nan
    published.write_jetnet(path, events, particle_features=features)
    _refused("jetnet", path, r"g\.hdf5: event 3 \(1 such events\) has a mask that is neither")
    published.write_jetnet(tmp_path / "jets.hdf5", events)
    _refused("jetnet", tmp_path / "jets.hdf5", "the name tells the kind of jet, expected g.hdf5")

    path = tmp_path / "a.root"
    published.write_jetclass(path, ten_classes, {"part_isMuon": None, "jet_phi": None})
    _refused("jetclass", path, r"a\.root: no branches part_isMuon, jet_phi; found: ")
    published.write_jetclass(path, ten_classes, {"part_charge": np.zeros(len(ten_classes.p4))})
    _refused("jetclass", path, r"a\.root: event \d+ .* part_charge: 0 for a charged constituent")
    published.write_jetclass(path, ten_classes, {"label_Hbb": np.ones(40, bool)})
    _refused(
        "jetclass", path, r"a\.root: event 0 \(36 such events\): label_QCD, …: expected one of"
    )
    published.write_jetclass(path, ten_classes, tree="Events")
    _refused("jetclass", path, r"a\.root: found .*Events.*, expected 'tree'")
    path.write_bytes(path.read_bytes()[:200])
    _refused("jetclass", path, r"a\.root: is no ROOT file that can be read")
    published.pack(tmp_path / "a.tar", "x", [tmp_path / "g.hdf5"])
    _refused("jetclass", tmp_path / "a.tar", r"a\.tar: holds no \.root file")

    path = tmp_path / "a.h5"
    published.write_top(path, events.with_label(np.arange(5)))
    _refused("toptagging", path, r"a\.h5: is_signal_new is 2 in event 2, expected 0 or 1")


OTHER = {"zjets": "a.npz", "quarkgluon": "a.npz", "jetnet": "g.hdf5", "toptagging": "a.h5"}


def written_with(name, path, arrays):
    """A file of a set that holds some more arrays (n,)."""
    events = published.jets(20, 0, massless=True)
    if name == "zjets":
        published.write_zjets(path, events, events, **arrays)
    elif name == "quarkgluon":
        published.write_quarkgluon(path, events, **arrays)
    elif name == "jetclass":
        events = published.jets(20, 0).with_label(np.arange(20) % 10)
        published.write_jetclass(path, events, arrays)
    elif name == "toptagging":
        table = published.top_table(events).assign(**arrays)
        table.to_hdf(path, key="table", mode="w", format="table")
    else:
        published.write_jetnet(path, events)
        with h5py.File(path, "r+") as file:
            for key, array in arrays.items():
                file[key] = array


@pytest.mark.parametrize(("name", "file"), [*OTHER.items(), ("jetclass", "a.root")])
def test_what_is_not_read_is_told_once_or_refused(tmp_path, name, file):
    more = {"trigger": np.arange(20.0)}
    written_with(name, tmp_path / file, more)
    with pytest.warns(Unread, match=rf"{file}: not read: trigger$") as told:
        parts = SETS[name].parts(tmp_path / file)
    assert len(told) == 1
    for piece in pieces(parts):
        piece()  # without a word
    for other in ("weight", "event_weights", "pass_trigger", "label_other"):
        written_with(name, tmp_path / file, more | {other: np.ones(20)})
        with pytest.raises(InputError, match=rf"{file}: found '{other}', which would not be read"):
            SETS[name].parts(tmp_path / file)


def test_what_the_catalogue_says():
    files = [file for entry in SETS.values() for some in entry.samples.values() for file in some]
    assert len({file.digest for file in files}) == len({file.name for file in files}) == len(files)
    for file in files:
        algorithm, digest = file.digest.split(":")
        assert len(digest) == {"md5": 32, "sha256": 64}[algorithm] and int(digest, 16)
        assert file.url.startswith("https://zenodo.org/records/") and file.name in file.url
    for entry in SETS.values():
        assert entry.citation and entry.holds and entry.homepage.startswith("https://")
    assert [len(x) for x in SETS["zjets"].samples.values()] == [17] * 4
    assert [len(x) for x in SETS["quarkgluon"].samples.values()] == [20] * 4
    with pytest.raises(InputError, match="set: found 'zjet', expected one of zjets, lhco"):
        data_set("zjet")
    with pytest.raises(InputError, match="sample: found 'b', expected one of jetclass: train, val"):
        SETS["jetclass"].files("b")
