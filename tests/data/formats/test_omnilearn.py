"""OmniLearn's HDF5 layout: what is written is read back, and faults are named."""

import dataclasses

import h5py
import numpy as np
import pytest

from jaxpriors.cli.convert import data_convert
from jaxpriors.cli.options import SampleOptions
from jaxpriors.data.batching import gather
from jaxpriors.data.events import Events
from jaxpriors.data.formats import omnilearn_blocks
from jaxpriors.data.formats.omnilearn import (
    omnilearn_length,
    omnilearn_levels,
    read_omnilearn_events,
    write_omnilearn_events,
)
from jaxpriors.data.sample_files import read_events
from jaxpriors.data.unread import Unread
from jaxpriors.errors import InputError
from jaxpriors.physics.jet_features import raw_features
from tests.helpers.jets import random_jets

CLASSES = (211, -211, 130, 22, 11, -11, 13, -13)


def sample(number: int = 40, seed: int = 0) -> Events:
    """Jets with identities, labels and weights, hardest constituents first."""
    rng = np.random.default_rng(seed)
    jets = random_jets(number, seed)
    return dataclasses.replace(
        jets,
        pid=rng.choice(CLASSES, len(jets.pid)).astype(np.int32),
        weight=rng.uniform(0.5, 2, number),
        label=np.arange(number, dtype=np.int32) % 10,
    ).sorted_by_pt()


def features(events: Events) -> tuple[np.ndarray, ...]:
    batch = gather(events, np.arange(len(events)), int(events.multiplicity.max()))
    return raw_features(
        batch.p4.astype(np.float64), batch.pid, batch.length, batch.jet_p4.astype(np.float64)
    )


def assert_same(found: Events, events: Events) -> None:
    """All but the azimuth of the jets, as far as single-precision files keep it."""
    np.testing.assert_array_equal(found.offsets, events.offsets)
    np.testing.assert_array_equal(found.pid, events.pid)
    (one, mask, jet), (two, expected_mask, expected_jet) = features(found), features(events)
    np.testing.assert_array_equal(mask, expected_mask)
    # a mass is a difference of large numbers, and so is 1 - share of a hard constituent
    np.testing.assert_allclose(jet, expected_jet, rtol=1e-5, atol=2e-2)
    for column in (2, 4):
        one[..., column], two[..., column] = np.exp(one[..., column]), np.exp(two[..., column])
    np.testing.assert_allclose(one, two, rtol=1e-5, atol=2e-5)


def edit(path, name, change) -> None:
    """Replace a dataset by change(its array)."""
    with h5py.File(path, "r+") as file:
        array = file[name][()]
        del file[name]
        file[name] = change(array)


@pytest.mark.parametrize("signed_eta", [False, True])
@pytest.mark.parametrize("classes", [None, 10])
def test_what_is_written_is_read_back(tmp_path, monkeypatch, signed_eta, classes):
    events = sample()
    # in many blocks, and the last one short
    monkeypatch.setattr(omnilearn_blocks, "BLOCK", 7 * 13 * int(events.multiplicity.max()))
    path = tmp_path / "a.h5"
    write_omnilearn_events(path, events, classes=classes, signed_eta=signed_eta)
    found = read_omnilearn_events(path, signed_eta=signed_eta)
    assert_same(found, events)
    np.testing.assert_array_equal(found.label, events.label)
    np.testing.assert_array_equal(found.weight, events.weight)
    assert found.columns == {}
    with h5py.File(path) as file:
        assert file["data"].shape[2] == 13 and file["jet"].shape == (40, 4)
        assert file["pid"].shape == ((40,) if classes is None else (40, 10))


def test_the_file_holds_the_features(tmp_path):
    """Against numbers by hand: one electron and one neutral hadron."""
    p4 = np.array([[5.0, 3, 0, 4], [13, 0, 12, 5]])
    events = Events.from_flat(p4, np.array([2]), pid=np.array([11, 130])).sorted_by_pt()
    write_omnilearn_events(tmp_path / "a.h5", events, constituents=3)
    with h5py.File(tmp_path / "a.h5") as file:
        (hadron, electron, padding), (jet,) = file["data"][0], file["jet"]
    jet_pt, jet_eta = np.hypot(3, 12), np.arcsinh(9 / np.hypot(3, 12))
    mass = np.sqrt(18**2 - 9**2 - jet_pt**2)
    np.testing.assert_allclose(jet, [jet_pt, jet_eta, mass, 2], rtol=1e-5)
    delta = [np.arcsinh(4 / 3) - jet_eta, -np.arctan2(12, 3)]
    expected = [
        *delta, np.log(1 - 3 / jet_pt), np.log(3), np.log(1 - 5 / 18), np.log(5),
        np.hypot(*delta), -1, 0, 0, 0, 1, 0,
    ]  # fmt: skip
    np.testing.assert_allclose(electron, expected, rtol=1e-4)
    np.testing.assert_array_equal(hadron[7:], [0, 0, 1, 0, 0, 0])
    np.testing.assert_array_equal(padding, 0)


def test_padding_is_where_the_third_feature_is_zero(tmp_path):
    """Rows of padding may lie between constituents, whatever else they hold."""
    events = sample(5)
    write_omnilearn_events(tmp_path / "a.h5", events, constituents=100)

    def spread(data):
        wide = np.full((5, 200, 13), np.nan)
        wide[..., 2] = 0
        wide[:, ::2] = data
        return wide

    edit(tmp_path / "a.h5", "data", spread)
    assert_same(read_omnilearn_events(tmp_path / "a.h5"), events)


def test_hardest_constituents_are_kept_and_all_are_counted(tmp_path):
    events = sample()
    write_omnilearn_events(tmp_path / "a.h5", events, constituents=5)
    found = read_omnilearn_events(tmp_path / "a.h5")
    np.testing.assert_array_equal(found.multiplicity, np.minimum(events.multiplicity, 5))
    np.testing.assert_array_equal(found.columns["multiplicity"], events.multiplicity)
    softest = found.p4[found.offsets[1:] - 1]
    rows = events.offsets[:-1] + found.multiplicity - 1
    np.testing.assert_allclose(
        np.hypot(softest[:, 1], softest[:, 2]), np.hypot(*events.p4[rows, 1:3].T), rtol=1e-5
    )


@pytest.mark.parametrize(("width", "pid"), [(7, {0}), (8, {0, 211, -211})])
def test_fewer_features_mean_coarser_identities(tmp_path, width, pid):
    events = sample()
    write_omnilearn_events(tmp_path / "a.h5", events)
    edit(tmp_path / "a.h5", "data", lambda data: data[..., :width])
    found = read_omnilearn_events(tmp_path / "a.h5")
    assert set(found.pid) == pid
    np.testing.assert_allclose(features(found)[0][..., :2], features(events)[0][..., :2], atol=1e-5)


def test_two_levels_stay_matched(tmp_path):
    particle, detector = sample(seed=1), sample(seed=2)
    subs = np.random.default_rng(0).random((40, 6))
    levels = {
        "particle": dataclasses.replace(particle, columns={"substructure": subs}),
        "detector": dataclasses.replace(detector, columns={"substructure": 2 * subs}),
    }
    path = tmp_path / "a.h5"
    write_omnilearn_events(path, levels)
    assert omnilearn_levels(path) == ("particle", "detector")
    for level, events in levels.items():
        found = read_omnilearn_events(path, level)
        assert_same(found, events)
        np.testing.assert_array_equal(found.columns["substructure"], events.columns["substructure"])
    with pytest.raises(InputError, match="holds the levels particle, detector; choose one"):
        read_omnilearn_events(path)

    fewest = [read_omnilearn_events(path, level, at_least=15) for level in levels]
    kept = np.minimum(particle.multiplicity, detector.multiplicity) >= 15
    assert 0 < kept.sum() < 40
    for found, events in zip(fewest, levels.values(), strict=True):
        np.testing.assert_array_equal(found.multiplicity, events.multiplicity[kept])
    assert len(read_omnilearn_events(path, "detector", at_least=1000)) == 0


def test_a_folder_is_one_sample_and_parts_can_be_read(tmp_path):
    events = sample()
    for number, part in enumerate((events[:10], events[10:25], events[25:])):
        write_omnilearn_events(tmp_path / "files" / f"part{number}.h5", part)
    found = read_omnilearn_events(tmp_path / "files")
    assert_same(found, events)
    assert_same(read_omnilearn_events(tmp_path / "files", start=8, stop=27), events[8:27])
    with pytest.raises(InputError, match="no events between 50 and None, the end being at 40"):
        read_omnilearn_events(tmp_path / "files", start=50)
    edit(tmp_path / "files" / "part1.h5", "weights", lambda weight: weight * np.inf)
    with pytest.raises(InputError, match="weight is not finite in event 10"):
        read_omnilearn_events(tmp_path / "files")


def test_converting_keeps_events_and_their_levels(tmp_path, capsys):
    events = sample()
    write_omnilearn_events(tmp_path / "a.h5", events)
    data_convert(tmp_path / "a.h5", tmp_path / "b.h5", layout="omnilearn", events=30)
    assert "30 events written" in capsys.readouterr().out
    assert_same(read_events(tmp_path / "b.h5"), events[:30])

    one = Events.from_flat(events.p4[:1], np.array([1]), label=[3], weight=[2.0])
    events = Events.concatenate([events, one])
    write_omnilearn_events(tmp_path / "jetclass" / "a.h5", events, classes=10, signed_eta=True)
    data_convert(tmp_path / "jetclass", tmp_path / "c.h5", layout="omnilearn-jetclass")
    kept = events[events.multiplicity > 1]
    assert 0 < len(kept) < len(events)
    assert_same(read_events(tmp_path / "c.h5"), kept)

    write_omnilearn_events(tmp_path / "two.h5", {"particle": events, "detector": events})
    data_convert(tmp_path / "two.h5", tmp_path / "d.h5", layout="omnilearn")
    for level in ("particle", "detector"):
        assert_same(read_events(tmp_path / "d.h5", level), events)
    with pytest.raises(InputError, match="has names and coordinates of its own"):
        data_convert(
            tmp_path / "a.h5",
            tmp_path / "e.h5",
            SampleOptions(columns={"p4": "data"}),
            layout="omnilearn",
        )
    with pytest.raises(InputError, match="--events is 0, expected at least 1"):
        data_convert(tmp_path / "a.h5", tmp_path / "e.h5", events=0)


def _set(index, value):
    def change(array):
        array = array.astype(np.float64) if isinstance(value, float) else array
        array[index] = value
        return array

    return change


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("data", lambda x: x[..., :9], r"'data' has shape \(40, \d+, 9\), expected \(N, P, 7 or 8"),
        ("data", lambda x: x[:, None], "two jets an event, expected one"),
        ("data", lambda x: x.astype("S4"), r"'data' has dtype \|S4, expected numbers"),
        ("jet", lambda x: x[:, :3], r"'jet' has shape \(40, 3\), expected \(40, 4\)"),
        ("jet", lambda x: x[:39], r"'jet' has shape \(39, 4\), expected \(40, 4\)"),
        ("weights", lambda x: x[:, None], r"'weights' has shape \(40, 1\), expected \(40,\)"),
        ("pid", lambda x: x[:30], r"'pid' has shape \(30, 10\), expected \(40,\) or \(40, classes"),
        ("data", _set((3, 0, 4), np.nan), r"event 3 \(1 such events\) holds features that are not"),
        ("data", _set((3, 0, 2), np.nan), r"event 3 \(1 such events\) holds features that are not"),
        ("data", _set((3, 0, 3), 800.0), "event 3 .* has energies below the momenta"),
        ("data", _set((5, 0, 5), -3.0), "event 5 .* has energies below the momenta"),
        ("data", _set((6, slice(None)), 0.0), r"event 6 \(1 such events\) has no constituents"),
        ("data", _set((2, 0, slice(8, 13)), 1.0), "event 2 .* constituents of several kinds"),
        ("data", _set((..., 7), 0.0), "event 0 .* charged constituents whose charge is 0"),
        ("data", lambda x: x / [*[0.2] * 6, *[1] * 7], "expected values that were not normalised"),
        ("jet", _set((4, 0), -1.0), "event 4 .* has a jet whose pt is not positive"),
        ("jet", _set((4, 2), -9.0), "event 4 .* has a jet of negative mass"),
        ("jet", _set((4, 1), np.inf), "event 4 .* has a jet that is not finite"),
        (
            "pid",
            _set((7, slice(None)), 1),
            "event 7 .* has a label that is not one-hot",
        ),
        (
            "pid",
            _set((8, slice(None)), 0),
            "event 8 .* has a label that is not one-hot",
        ),
        ("pid", lambda x: x[:, 0] + np.int64(2**32), "event 0 .* has a label beyond 32 bits"),
        ("pid", lambda x: x[:, 0] + 0.5, "'pid' holds 1.5, expected integers"),
    ],
)
def test_faults_are_named(tmp_path, monkeypatch, name, change, message):
    events = sample()
    monkeypatch.setattr(omnilearn_blocks, "BLOCK", 3 * 13 * int(events.multiplicity.max()))
    write_omnilearn_events(tmp_path / "a.h5", events, classes=10)
    edit(tmp_path / "a.h5", name, change)
    with pytest.raises(InputError, match=message) as error:
        read_omnilearn_events(tmp_path / "a.h5")
    assert "a.h5" in str(error.value)


def test_missing_datasets_and_files_are_named(tmp_path):
    with pytest.raises(InputError, match=r"absent\.h5: no such file"):
        read_omnilearn_events(tmp_path / "absent.h5")
    with pytest.raises(InputError, match=r"no \*.h5 or \*.hdf5 file"):
        read_omnilearn_events(tmp_path)
    write_omnilearn_events(tmp_path / "a.h5", sample())
    with pytest.raises(InputError, match="level 'detector' is absent; found: one sample"):
        read_omnilearn_events(tmp_path / "a.h5", "detector")
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        del file["jet"]
    with pytest.raises(InputError, match="no dataset 'jet'; found: data, pid, weights"):
        read_omnilearn_events(tmp_path / "a.h5")


def test_signed_eta_that_is_not_undone_is_pointed_out(tmp_path):
    write_omnilearn_events(tmp_path / "a.h5", sample(), signed_eta=True)
    with pytest.raises(InputError, match="multiplied by the sign of the jet's eta"):
        read_omnilearn_events(tmp_path / "a.h5")


def test_levels_and_labels_that_omnilearn_cannot_hold_are_refused(tmp_path):
    events = sample()
    for samples, classes, message in (
        ({"particle": events}, None, "levels are .*'particle'.*, expected particle and detector"),
        ({"particle": events, "detector": events[:3]}, None, "levels differ in their numbers"),
        (events, 9, r"labels lie in \[0, 9\], expected \[0, 8\]"),
    ):
        with pytest.raises(InputError, match=message):
            write_omnilearn_events(tmp_path / "a.h5", samples, classes=classes)
    assert list(tmp_path.iterdir()) == []


def test_what_is_not_read_is_told_or_refused(tmp_path):
    path = tmp_path / "a.h5"
    write_omnilearn_events(path, sample())
    with h5py.File(path, "r+") as file:
        file["trigger"] = np.zeros(40)
    for count in (omnilearn_length, lambda path: len(read_omnilearn_events(path))):
        with pytest.warns(Unread, match=r"a\.h5: not read: trigger$"):
            assert count(path) == 40
    for name in ("weight", "mc_weights", "label", "pass_reco"):
        with h5py.File(path, "r+") as file:
            file[name] = np.ones(40)
        for count in (omnilearn_length, read_omnilearn_events):
            with pytest.raises(InputError, match=rf"found '{name}', .* are read from 'weights'"):
                count(path)
        with h5py.File(path, "r+") as file:
            del file[name]


def test_events_that_fail_a_level_need_nothing_there(tmp_path):
    events = sample()
    path = tmp_path / "a.h5"
    write_omnilearn_events(path, {"particle": events, "detector": events})
    passing = np.arange(40) % 3 > 0
    edit(path, "reco", lambda data: np.where(passing[:, None, None], data, 0))
    edit(path, "reco_jets", lambda jets: np.where(passing[:, None], jets, np.nan))
    with pytest.raises(InputError, match=r"event 0 \(14 such events\) has no constituents"):
        read_omnilearn_events(path, "detector")
    with h5py.File(path, "r+") as file:
        file["pass_reco"] = passing
    found = read_omnilearn_events(path, "detector")
    np.testing.assert_array_equal(found.columns["pass_reco"], passing)
    np.testing.assert_array_equal(found.multiplicity, np.where(passing, events.multiplicity, 0))
    assert_same(found[passing], events[passing])
    particle = read_omnilearn_events(path, "particle")
    assert_same(particle, events)
    assert "pass_gen" not in particle.columns
    fewest = read_omnilearn_events(path, "particle", at_least=15)
    kept = events.multiplicity >= 15
    np.testing.assert_array_equal(fewest.multiplicity, events.multiplicity[kept])
    edit(path, "pass_reco", lambda flags: 2 * flags)
    with pytest.raises(InputError, match=r"a\.h5: pass_reco: found shape \(40,\) with values"):
        read_omnilearn_events(path, "detector")


def test_flags_are_written(tmp_path):
    passing = np.arange(40) % 3 > 0
    levels = {
        "particle": sample(),
        "detector": dataclasses.replace(sample(), columns={"pass_reco": passing}),
    }
    write_omnilearn_events(tmp_path / "a.h5", levels)
    found = read_omnilearn_events(tmp_path / "a.h5", "detector")
    np.testing.assert_array_equal(found.columns["pass_reco"], passing)
