"""Sets prepared from files that are there, from downloads, in pieces, by several processes."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from jaxpriors.cli.main import run
from jaxpriors.data import catalog
from jaxpriors.data.catalog import download
from jaxpriors.data.catalog import prepare as module
from jaxpriors.data.catalog.download import digest_of
from jaxpriors.data.catalog.prepare import prepare
from jaxpriors.data.catalog.sets import File
from jaxpriors.data.formats.omnilearn import read_omnilearn_events, write_omnilearn_events
from jaxpriors.data.parts import pieces
from jaxpriors.data.prepared import open_prepared
from jaxpriors.data.sample_files import read_events
from jaxpriors.errors import InputError
from tests.helpers import published


@pytest.fixture(autouse=True)
def hurried(monkeypatch):
    """No pause between the tries of a download."""
    monkeypatch.setattr(download, "PAUSE", 0.0)


@pytest.fixture
def quarks(tmp_path, monkeypatch):
    """A set of two published files in a folder; its events."""
    folder = tmp_path / "published"
    folder.mkdir()
    events = [published.jets(20, seed, codes=published.ZJETS_CODES) for seed in (0, 1)]
    files = []
    for number, some in enumerate(events):
        path = folder / f"QG_jets_{number}.npz"
        published.write_quarkgluon(path, some)
        size = path.stat().st_size
        files.append(File(path.name, "http://127.0.0.1:1/none", size, digest_of(path, "md5")))
    entry = dataclasses.replace(
        catalog.SETS["quarkgluon"], samples={"pythia": tuple(files), "herwig": ()}
    )
    monkeypatch.setitem(catalog.SETS, "quarkgluon", entry)
    return folder, events


def metadata(folder):
    return json.loads((folder / "prepared.json").read_text())["request"]["metadata"]


def test_published_files_in_a_folder_are_verified_and_converted_once(quarks, tmp_path):
    folder, (one, two) = quarks
    told = []
    out = prepare(
        "quarkgluon",
        tmp_path / "out",
        sample="pythia",
        files=[folder],
        processes=2,
        progress=lambda *pieces: told.append(pieces),
    )
    events = open_prepared(out)
    np.testing.assert_array_equal(events.label, np.concatenate([one.label, two.label]))
    np.testing.assert_array_equal(events[20:].read().pid, two.pid)
    assert told[0] == (0, 2) and told[-1] == (2, 2)
    found = metadata(out)
    assert found["labels"] == ["gluon", "quark"] and found["sample"] == "pythia"
    assert [file["digest"][:4] for file in found["files"]] == ["md5:", "md5:"]
    told.clear()
    prepare("quarkgluon", out, sample="pythia", files=[folder], progress=told.append)
    assert not told  # it was there
    with pytest.raises(InputError, match="holds another prepared sample"):
        prepare("quarkgluon", out, sample="pythia", files=[folder], events=5)


def test_files_that_are_missing_are_downloaded(quarks, tmp_path, monkeypatch):
    folder, (one, two) = quarks
    entry = catalog.SETS["quarkgluon"]
    files = [
        dataclasses.replace(file, url=(folder / file.name).as_uri())
        for file in entry.samples["pythia"]
    ]
    entry = dataclasses.replace(entry, samples={"pythia": tuple(files)})
    monkeypatch.setitem(catalog.SETS, "quarkgluon", entry)
    told = []
    out = prepare(
        "quarkgluon", tmp_path / "sets" / "qg", downloads=lambda *record: told.append(record)
    )
    assert {path.name for path in (tmp_path / "sets" / "qg.files").iterdir()} == {
        file.name for file in files
    }
    assert {(file.name, file.size, file.size) for file in files} <= set(told)
    events = read_events(out)  # the folder is read as files are
    np.testing.assert_array_equal(events.pid, np.concatenate([one.pid, two.pid]))
    shutil.rmtree(tmp_path / "sets" / "qg.files")  # which is needed no more
    told.clear()
    again = prepare("quarkgluon", out, downloads=lambda *record: told.append(record))
    assert again == out and not told
    with pytest.raises(InputError, match="holds another prepared sample"):
        prepare("quarkgluon", out, events=3)


def test_a_place_that_is_taken_is_refused_before_anything_is_downloaded(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="exists and is not a prepared sample"):
        prepare("jetclass", tmp_path, sample="val")
    with pytest.raises(InputError, match="processes: found 0, expected at least 1"):
        prepare("jetclass", tmp_path / "new", sample="val", processes=0)


def test_the_command_prepares_in_several_processes(tmp_path, capsys):
    jets = published.jets(20, 0)
    write_omnilearn_events(tmp_path / "mine.h5", jets)
    files, out = str(tmp_path / "mine.h5"), str(tmp_path / "out")
    command = ["data", "prepare", "omnilearn", "--files", files, "--folder", out]
    assert run([*command, "--processes", "2"]) == 0, capsys.readouterr().err
    assert len(open_prepared(out)) == 20


def test_the_first_events_need_the_first_files_alone(quarks, tmp_path):
    folder, (one, _) = quarks
    (folder / "QG_jets_1.npz").unlink()
    out = prepare("quarkgluon", tmp_path / "a", sample="pythia", files=[folder], events=13)
    np.testing.assert_array_equal(open_prepared(out).read().pid, one[:13].pid)
    with pytest.raises(InputError, match=r"none: cannot be downloaded .* put QG_jets_1\.npz into"):
        prepare("quarkgluon", tmp_path / "b", sample="pythia", files=[folder], events=21)
    assert not (tmp_path / "b").exists()


def test_files_that_are_not_what_was_published_are_refused(quarks, tmp_path):
    folder, (_, two) = quarks
    published.write_quarkgluon(folder / "QG_jets_1.npz", two[:19])
    for files in ([folder], sorted(folder.iterdir())):
        with pytest.raises(InputError, match=r"QG_jets_1\.npz: found .* as published"):
            prepare("quarkgluon", tmp_path / "out", sample="pythia", files=files)
    assert not (tmp_path / "out").exists()
    # one with a name of its own is nobody's
    own = shutil.move(folder / "QG_jets_1.npz", folder / "mine.npz")
    out = prepare("quarkgluon", tmp_path / "out", files=[own])
    assert len(open_prepared(out)) == 19
    assert metadata(out)["files"][0]["digest"].startswith("sha256:")


def test_a_conversion_that_failed_goes_on(quarks, tmp_path, monkeypatch):
    folder, (one, two) = quarks
    real = catalog.SETS["quarkgluon"].parts
    broken = dataclasses.replace(
        catalog.SETS["quarkgluon"], parts=lambda path: _missing(real(path))
    )
    with monkeypatch.context() as patched:
        patched.setitem(catalog.SETS, "quarkgluon", broken)
        with pytest.raises(InputError, match="absent"):
            prepare("quarkgluon", tmp_path / "out", sample="pythia", files=[folder])
    told = []
    prepare(
        "quarkgluon",
        tmp_path / "out",
        sample="pythia",
        files=[folder],
        progress=lambda *pieces: told.append(pieces),
    )
    assert told[0] == (1, 2)
    whole = open_prepared(tmp_path / "out").read()
    np.testing.assert_array_equal(whole.pid, np.concatenate([one.pid, two.pid]))


def _missing(parts):
    """The parts of a file, the second file's being gone when it is read."""
    return [
        dataclasses.replace(part, open=_absent) if part.name == "QG_jets_1.npz" else part
        for part in parts
    ]


def _absent():
    raise InputError("absent")


def test_files_in_omnilearns_layout_in_pieces(tmp_path, monkeypatch):
    events = published.jets(50, 0)
    write_omnilearn_events(tmp_path / "a.h5", events[:30])
    # the second file's jets count more constituents than it holds
    write_omnilearn_events(tmp_path / "b.h5", events[30:], constituents=3)
    whole = read_omnilearn_events(tmp_path)
    monkeypatch.setattr(
        module, "pieces", lambda parts, events: [p for x in parts for p in _by_seven(x)]
    )
    out = prepare("omnilearn", tmp_path / "out", files=[tmp_path])
    found = open_prepared(out).read()
    for name in ("p4", "offsets", "jet_p4", "label"):
        np.testing.assert_array_equal(getattr(found, name), getattr(whole, name))
    np.testing.assert_array_equal(found.columns["multiplicity"], events.multiplicity)


def _by_seven(part):
    return pieces([dataclasses.replace(part, piece=7)])


def test_both_levels_in_omnilearns_layout(tmp_path):
    particle, detector = published.jets(20, 0), published.jets(20, 1)
    write_omnilearn_events(tmp_path / "a.h5", {"particle": particle, "detector": detector})
    out = prepare("omnilearn-omnifold", tmp_path / "out", files=[tmp_path / "a.h5"])
    for level, events in (("particle", particle), ("detector", detector)):
        np.testing.assert_array_equal(open_prepared(out, level).multiplicity, events.multiplicity)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "omnilearn"}, "files: found none; omnilearn has no published files"),
        ({"name": "omnilearn", "sample": "a", "files": ["."]}, "sample: found 'a'; omnilearn has"),
        ({"name": "zjets"}, "sample: found None, expected one of zjets: pythia21"),
        ({"name": "zjets", "sample": "herwig", "events": 0}, "events: found 0"),
        ({"name": "zjets", "files": ["no.npz"]}, "no.npz: no such file"),
    ],
)
def test_arguments_that_do_not_fit(tmp_path, monkeypatch, arguments, message):
    arguments = arguments | {"files": [Path(file) for file in arguments.get("files", ())]}
    with pytest.raises(InputError, match=message):
        prepare(folder=tmp_path / "out", **arguments)
    assert not (tmp_path / "out").exists()
