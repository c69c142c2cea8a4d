"""Samples that come as train, val and test: OmniLearn's H1, OmniLearned's h1, prepared ones."""

import h5py
import numpy as np
import pytest

from jaxpriors.cli.main import run
from jaxpriors.data.catalog.prepare import prepare
from jaxpriors.data.formats.omnilearn import read_omnilearn_events, write_omnilearn_events
from jaxpriors.data.formats.splits import SPLITS, splits_in
from jaxpriors.data.inspection.official import PARTS, read_official
from jaxpriors.data.prepared import open_prepared
from jaxpriors.errors import InputError
from tests.helpers import published

told = pytest.mark.filterwarnings("ignore::jaxpriors.data.unread.Unread")
SIZES = dict(zip(SPLITS, (40, 10, 20), strict=True))
RANKS = (-211, -13, -11, 0, 11, 13, 22, 130, 211)  # of OmniLearned's identities


def samples():
    return {part: published.jets(n, n, pt=20) for part, n in SIZES.items()}


def write_h1(folder, parts):
    """As OmniLearn's script preprocess_h1.py does: eight features, the last one the charge."""
    folder.mkdir()
    for part, events in parts.items():
        write_omnilearn_events(folder / f"{part}.h5", events)
        with h5py.File(folder / f"{part}.h5", "a") as file:
            data = file["data"][:, :, :8]
            del file["data"]
            file["data"] = data


def write_omnilearned(folder, parts):
    """As OmniLearned distributes h1: nine columns, no axis of a jet, one jet of padding alone."""
    for part, events in parts.items():
        p4, pid, mask = published.padded(events)
        jets = events.jet_p4
        eta = np.arcsinh(p4[..., 3] / np.maximum(np.hypot(p4[..., 1], p4[..., 2]), 1e-9))
        axis = np.arcsinh(jets[:, 3] / np.hypot(jets[:, 1], jets[:, 2]))
        turn = np.arctan2(p4[..., 2], p4[..., 1]) - np.arctan2(jets[:, 2], jets[:, 1])[:, None]
        with np.errstate(divide="ignore"):
            columns = [
                eta - axis[:, None],
                np.angle(np.exp(1j * turn)),
                np.log(np.hypot(p4[..., 1], p4[..., 2])),
                np.log(p4[..., 0]),
                np.searchsorted(RANKS, pid),
            ]
        data = np.stack([*columns, *4 * [0 * mask]], -1)
        data = np.where(mask[..., None], data, 0).astype(np.float32)
        data[-1] = 0
        (folder / part).mkdir(parents=True)
        with h5py.File(folder / part / f"{part}_h1.h5", "w") as file:
            file["data"], file["pid"] = data, events.label


def test_omnilearns_three_files_of_h1_are_three_samples(tmp_path, capsys):
    parts = samples()
    write_h1(tmp_path / "H1", parts)
    found = read_official(tmp_path / "H1", constituents=5)
    assert list(found) == list(PARTS)
    for events, expected in zip(found.values(), parts.values(), strict=True):
        np.testing.assert_array_equal(events.label, expected.label)
        assert events.multiplicity.max() == 5
        np.testing.assert_allclose(events.jet_p4[:, 0], expected.jet_p4[:, 0], rtol=1e-4)
        assert set(np.abs(events.pid)) <= {0, 211}
    with pytest.raises(InputError, match=r"holds train\.h5, val\.h5, test\.h5, which are"):
        read_omnilearn_events(tmp_path / "H1")
    out = str(tmp_path / "out.h5")
    assert run(["data", "convert", str(tmp_path / "H1"), out, "--layout", "omnilearn"]) == 2
    assert "which are given one by one" in capsys.readouterr().err
    folder = tmp_path / "prepared"
    given = ["--files", str(tmp_path / "H1"), "--folder", str(folder)]
    for _ in range(2):  # the second time they are there
        assert run(["data", "prepare", "omnilearn", *given]) == 0
    assert f"{folder}/val: 10 events" in capsys.readouterr().out.replace("\n", "")
    again = read_official(folder, constituents=5)
    for name in PARTS:
        np.testing.assert_array_equal(again[name].p4, found[name].p4)
        np.testing.assert_array_equal(again[name].label, found[name].label)


@told
def test_h1_as_omnilearned_distributes_it(tmp_path, capsys):
    parts = samples()
    write_omnilearned(tmp_path / "h1", parts)
    for folder in (tmp_path / "h1", tmp_path / "prepared"):
        if folder.name == "prepared":
            prepare("h1", folder, files=[tmp_path / "h1"])
            assert len(open_prepared(folder / "train")) == SIZES["train"] - 1
        for events, expected in zip(read_official(folder).values(), parts.values(), strict=True):
            np.testing.assert_array_equal(events.label, expected.label[:-1])
            np.testing.assert_array_equal(events.pid, expected[:-1].pid)
            pt = np.hypot(*events.jet_p4[:, 1:3].T)
            np.testing.assert_allclose(pt, np.hypot(*expected.jet_p4[:-1, 1:3].T), rtol=1e-3)
            np.testing.assert_allclose(np.arctan2(*events.jet_p4[:, 2:0:-1].T), 0, atol=1e-3)
    with pytest.raises(InputError, match="files: found none; pip install omnilearned; omnilearned"):
        prepare("h1", tmp_path / "other")
    assert run(["data", "info", "h1"]) == 0
    told = capsys.readouterr().out
    assert "portal.nersc.gov/cfs/dasrepo/omnilearned/h1" in told and "0 Djangoh, 1 Rapgap" in told


def test_what_is_a_split_and_what_is_not(tmp_path):
    for name in ("train_pythia.h5", "train_herwig.h5", "test_pythia.h5", "test_herwig.h5"):
        (tmp_path / name).touch()
    assert splits_in(tmp_path) == {}  # two generators
    for name in ("train_herwig.h5", "test_herwig.h5"):
        (tmp_path / name).unlink()
    assert list(splits_in(tmp_path)) == ["train", "test"]
    with pytest.raises(InputError, match="found no val, expected train, val, test"):
        read_official(tmp_path)
    (tmp_path / "more.h5").touch()
    with pytest.raises(InputError, match=r"found more\.h5 beside train_pythia\.h5, test"):
        splits_in(tmp_path)


def test_labels_are_of_all_parts_or_of_none(tmp_path):
    parts = samples()
    write_h1(tmp_path / "H1", parts)
    with h5py.File(tmp_path / "H1" / "val.h5", "a") as file:
        del file["pid"]
    with pytest.raises(InputError, match="only test, train have labels, expected all"):
        read_official(tmp_path / "H1")
