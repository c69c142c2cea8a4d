"""OmniLearned's layout: files that its package reads, and made-up ones with known momenta."""

from pathlib import Path

import h5py
import numpy as np
import pytest

from jaxpriors.data.catalog import SETS
from jaxpriors.data.catalog.prepare import prepare
from jaxpriors.data.events import Events
from jaxpriors.data.formats import omnilearn_blocks
from jaxpriors.data.formats.omnilearn import write_omnilearn_events
from jaxpriors.data.formats.omnilearned import (
    RANKS,
    omnilearned_jets,
    read_omnilearned_events,
)
from jaxpriors.data.inspection.examine import examine
from jaxpriors.data.inspection.layouts import recognise
from jaxpriors.data.prepared import open_prepared
from jaxpriors.data.unread import Unread
from jaxpriors.errors import InputError
from jaxpriors.physics import kinematics
from tests.helpers import published

RECORDED = Path(__file__).parents[2] / "fixtures" / "omnilearned"
told = pytest.mark.filterwarnings("ignore::jaxpriors.data.unread.Unread")


def write(path, events: Events, codes=None, more: int = 0, **other) -> None:
    """A file of these jets; codes: the identities as numbers."""
    p4, pid, mask = published.padded(events)
    jet = events.jet_p4.astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        columns = [
            kinematics.eta(p4) - kinematics.eta(jet)[:, None],
            kinematics.delta_phi(kinematics.phi(p4), kinematics.phi(jet)[:, None]),
            np.log(kinematics.pt(p4)),
            np.log(p4[..., 0]),
        ]
    if codes is not None:
        columns.append(codes(pid))
    columns += more * [np.full(pid.shape, 0.25)]
    data = np.where(mask[..., None], np.stack(columns, -1), 0)
    arrays = {"data": data.astype(np.float32), "pid": events.label} | other
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file[name] = array


def places(pid):
    return np.searchsorted(RANKS, pid)


@pytest.mark.parametrize("block", [500, 2**24])
def test_momenta_are_those_of_jets_at_eta_and_phi_of_zero(tmp_path, monkeypatch, block):
    monkeypatch.setattr(omnilearn_blocks, "BLOCK", block)
    events = published.jets(40, 0, massless=True)
    numbers = np.random.default_rng(0).normal(size=(40, 3))
    write(tmp_path / "a.h5", events, **{"global": numbers})
    found = read_omnilearned_events(tmp_path / "a.h5")
    np.testing.assert_array_equal(found.multiplicity, events.multiplicity)
    np.testing.assert_array_equal(found.label, events.label)
    np.testing.assert_array_equal(found.columns["global"], numbers)
    p4, expected = found.p4.astype(np.float64), events.p4.astype(np.float64)
    np.testing.assert_allclose(kinematics.pt(p4), kinematics.pt(expected), rtol=1e-5)
    jet, own = found.jet_p4.astype(np.float64), events.jet_p4.astype(np.float64)
    np.testing.assert_allclose(kinematics.pt(jet), kinematics.pt(own), rtol=1e-5)
    # masses are a matter of the differences alone, where particles have none
    np.testing.assert_allclose(kinematics.mass(jet), kinematics.mass(own), rtol=1e-3, atol=0.3)
    np.testing.assert_allclose(kinematics.phi(jet), 0, atol=1e-4)
    axis = np.repeat(kinematics.eta(own), events.multiplicity)
    np.testing.assert_allclose(kinematics.eta(p4) + axis, kinematics.eta(expected), atol=1e-4)
    some = read_omnilearned_events(tmp_path / "a.h5", start=7, stop=30)
    np.testing.assert_array_equal(some.p4, found[7:30].p4)


@pytest.mark.parametrize("codes", [places, lambda pid: pid])
def test_identities_are_places_or_codes_and_give_the_masses(tmp_path, codes):
    events = published.jets(40, 0)
    write(tmp_path / "a.h5", events, codes)
    found = read_omnilearned_events(tmp_path / "a.h5")
    np.testing.assert_array_equal(found.pid, events.pid)
    neutral = found.pid == 130
    mass = kinematics.mass(found.p4[neutral].astype(np.float64))
    assert np.median(mass) == pytest.approx(0.497611, rel=0.1)
    none = read_omnilearned_events(tmp_path / "a.h5", identities=False)
    assert not none.pid.any()


@pytest.mark.parametrize("codes", [np.sign, lambda pid: pid > 0, lambda pid: pid / 1000])
def test_identities_that_are_none_are_refused_with_what_to_say(tmp_path, codes):
    path = tmp_path / "a.h5"
    write(path, published.jets(40, 0), codes)
    for read in (read_omnilearned_events, omnilearned_jets):
        with pytest.raises(InputError, match=r"column 4 of 'data' \(5 columns\) holds .* no ident"):
            read(path)
    assert "layout omnilearned-momenta reads files without" in "".join(examine(path).problems)
    found = examine(path, "omnilearned-momenta")
    assert "eta 0 and phi 0" in found.unread[0] and found.unread[1] == "column 4 of 'data'"
    assert not found.problems and found.summaries[""].identities.keys() == {0}


def test_zeros_for_identities_are_unknown(tmp_path):
    write(tmp_path / "a.h5", published.jets(40, 0), np.zeros_like)
    assert not read_omnilearned_events(tmp_path / "a.h5").pid.any()


def test_what_is_not_read_is_told_once_a_file(tmp_path):
    write(tmp_path / "a.h5", published.jets(40, 0), places, 4, data_pid=np.zeros(40))
    with pytest.warns(Unread) as warned:
        assert omnilearned_jets(tmp_path / "a.h5") == 40
    assert [str(w.message).split(": not read: ")[1] for w in warned] == [
        "the energies in 'data' (jets are put at eta 0 and phi 0: the file has no axes), "
        "columns 5 to 8 of 'data', data_pid"
    ]
    for name in ("weights", "label"):
        write(tmp_path / "b.h5", published.jets(40, 0), **{name: np.ones(40)})
        with pytest.raises(InputError, match=rf"found '{name}', which would not be read"):
            read_omnilearned_events(tmp_path / "b.h5")


@told
def test_folders_of_a_data_set_are_read_one_by_one(tmp_path):
    events = published.jets(40, 0)
    write(tmp_path / "mine" / "train" / "b.hdf5", events[25:], places)
    write(tmp_path / "mine" / "train" / "a.h5", events[:25], places)
    np.save(tmp_path / "mine" / "train" / "file_index.npy", np.zeros((40, 2)))
    write(tmp_path / "mine" / "val" / "a.h5", events[:5], places)
    train = tmp_path / "mine" / "train"
    assert recognise(train) == "omnilearned" and omnilearned_jets(train) == 40
    np.testing.assert_array_equal(read_omnilearned_events(train).pid, events.pid)
    found = examine(train)
    assert found.summaries[""].events == 40 and not found.problems
    with pytest.raises(InputError, match="mine: is a folder of train/, val/, which are given one"):
        recognise(tmp_path / "mine")
    prepare("omnilearned", tmp_path / "prepared", files=[train])
    np.testing.assert_array_equal(open_prepared(tmp_path / "prepared").read().pid, events.pid)


@told
@pytest.mark.parametrize(
    ("name", "jets", "labels", "identities"),
    [
        ("custom", 7, {0, 1}, False),
        ("qg", 7, {0, 1}, True),
        ("jetclass", 11, set(range(2, 12)), True),
    ],
)
def test_recorded_files_are_read(name, jets, labels, identities):
    folder = RECORDED / name / "train"
    found = read_omnilearned_events(folder)
    assert recognise(folder) == "omnilearned" and len(found) == jets
    assert set(found.label) <= labels and found.identities == identities
    # the largest has all rows filled, the smallest one
    assert found.multiplicity[:7].tolist() == [8, 7, 6, 5, 3, 2, 1]
    with h5py.File(folder / "a.h5") as file:
        first, numbers = file["data"][0, 0], file["global"][()]
    pt = kinematics.pt(found.p4[:1].astype(np.float64))[0]
    assert pt == pytest.approx(np.exp(first[2]), rel=1e-5)
    assert kinematics.eta(found.p4[:1])[0] == pytest.approx(first[0], abs=1e-5)
    np.testing.assert_array_equal(found.columns["global"][:7], numbers)


def test_recorded_files_of_another_kind_are_named():
    with pytest.raises(InputError, match=r"event 0 .* has a label that is not one-hot"):
        read_omnilearned_events(RECORDED / "camels" / "train")


def _set(index, value):
    def change(array):
        array[index] = value
        return array

    return change


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("data", lambda x: x[..., :3], r"'data' is float32\[40, \d+, 3\], expected numbers \(N, P"),
        ("data", lambda x: x[:, 0], r"'data' is float32\[40, 5\], expected numbers"),
        ("pid", lambda x: x[:30], r"'pid' is int32\[30\], expected numbers \(40, …\)"),
        ("pid", lambda x: x + 0.5, "'pid' holds .*, expected integers"),
        ("data", _set((3, 0, 1), np.nan), r"event 3 \(1 such events\) holds features that are not"),
        ("data", _set((6, slice(None)), 0), r"event 6 \(1 such events\) has no constituents"),
        ("data", _set((4, 0, 0), 50), "event 4 .* constituents further than 10 from the jet"),
        ("data", _set((..., 3), -5), "most energies are below the transverse momenta; expected"),
        ("data", _set((4, 0, 2), 100), "p4 is not finite in event 4"),
    ],
)
def test_faults_are_named(tmp_path, name, change, message):
    write(tmp_path / "a.h5", published.jets(40, 0), places)
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        array = file[name][()]
        del file[name]
        file[name] = change(array)
    with pytest.raises(InputError, match=message) as error:
        read_omnilearned_events(tmp_path / "a.h5")
    assert "a.h5" in str(error.value)


def test_files_of_omnilearn_that_lost_their_jets_are_not_taken_for_it(tmp_path):
    write_omnilearn_events(tmp_path / "a.h5", published.jets(40, 0))
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        del file["jet"]
    for identities in (True, False):
        with pytest.raises(InputError, match="column 6 of 'data' is the distance from the jet"):
            read_omnilearned_events(tmp_path / "a.h5", identities=identities)


def test_an_identity_unlike_the_others_is_refused_in_its_place(tmp_path):
    events = published.jets(40, 0)
    path = tmp_path / "a.h5"
    write(path, Events.concatenate([events] * 90), places)  # the sample does not see all
    with h5py.File(path, "r+") as file:
        file["data"][1200, 0, 4] = 9
    with pytest.raises(InputError, match=r"event 1200 .* has an identity of another kind"):
        read_omnilearned_events(path)


def test_the_catalogue_has_both_readers(tmp_path):
    write(tmp_path / "a.h5", published.jets(40, 0), places)
    for name, identities in (("omnilearned", True), ("omnilearned-momenta", False)):
        with pytest.warns(Unread):
            [part] = SETS[name].parts(tmp_path / "a.h5")
        assert part.open()(0, 40).identities == identities
