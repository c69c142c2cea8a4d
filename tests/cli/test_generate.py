"""`jaxpriors generate`, as a user types it."""

import dataclasses
import json

import h5py
import numpy as np
import pytest

from jaxpriors.cli import generate as command
from jaxpriors.cli.main import run
from jaxpriors.data.sample_files import read_events, read_metadata, write_events
from jaxpriors.evaluation.metrics import AUC
from jaxpriors.generation import jets as generation
from tests.helpers.generators import labelled_jets, write_generator


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("generate")
    write_generator(folder / "model")
    write_events(folder / "like.h5", labelled_jets(60, 3))
    unlabelled = dataclasses.replace(labelled_jets(60, 3), label=None)
    write_events(folder / "unlabelled.h5", unlabelled)
    write_events(folder / "one.h5", labelled_jets(1, 3))
    return folder


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path_factory):
    monkeypatch.setattr("jaxpriors.run.launch.set_up", lambda: None)


def arguments(folder, out, *more):
    model = ["--checkpoint", str(folder / "model"), "--out", str(out)]
    quick = ["--sampler", "ddim", "--steps", "2", "--batch-size", "16"]
    return ["generate", *model, *quick, "--events", "24", *map(str, more)]


def test_events_and_metrics(folder, tmp_path, capsys):
    out = tmp_path / "events.h5"
    assert run(arguments(folder, out, "--like", folder / "like.h5", "--seed", 3)) == 0
    text = capsys.readouterr().out
    for part in ("24 jets of", "raised to the least pT", "without identities", "tau21", "floor"):
        assert part in text
    events = read_events(out)
    assert len(events) == 24 and set(events.label) == {0, 1, 2} and not events.pid.any()
    metadata = read_metadata(out)
    assert metadata["generated"]["seed"] == 3 and metadata["generated"]["sampler"] == "ddim"
    assert metadata["command"] and "identities are not generated" in metadata["notes"]
    metrics = json.loads((tmp_path / "events.json").read_text())
    assert set(metrics["wasserstein1"]) == {"mass", "multiplicity", "tau21"}
    assert metrics["simulated"] == 30
    assert sorted(p.name for p in tmp_path.iterdir()) == ["events.h5", "events.json"]


def test_same_seed_same_events(folder, tmp_path):
    more = {"a": (), "b": (), "c": ("--seed", 1)}
    for name, rest in more.items():
        assert run(arguments(folder, tmp_path / f"{name}.h5", *rest)) == 0
    first, again, other = (read_events(tmp_path / f"{name}.h5").digest() for name in more)
    assert first == again != other


def test_classes_are_those_asked_for_or_all_in_turn(folder, tmp_path):
    for name, like in (("a", "like.h5"), ("b", "unlabelled.h5")):
        out = tmp_path / f"{name}.h5"
        assert run(arguments(folder, out, "--class", 2, "--like", folder / like)) == 0
        assert set(read_events(out).label) == {2}
    assert json.loads((tmp_path / "a.json").read_text())["simulated"] == 10
    assert run(arguments(folder, tmp_path / "c.h5")) == 0  # without a sample: all in turn
    assert read_events(tmp_path / "c.h5").label.tolist() == [0, 1, 2] * 8


def test_names_of_classes():
    assert command._label("Tbl", 10) == 9 and command._label("3", 10) == 3
    with pytest.raises(Exception, match="expected 0 to 9 or one of QCD, Hbb"):
        command._label("Ttt", 10)


def test_classifier_test_is_written(folder, tmp_path, monkeypatch, capsys):
    name = "jaxpriors.generation.comparison.classifier_test"
    monkeypatch.setattr(name, lambda *events, seed, progress: AUC(0.75, 0.01))
    more = ("--like", folder / "like.h5", "--classifier-test")
    assert run(arguments(folder, tmp_path / "a.h5", *more)) == 0
    assert "AUC 0.7500 ± 0.0100" in capsys.readouterr().out
    metrics = json.loads((tmp_path / "a.json").read_text())
    assert metrics["classifier_test"] == {"auc": 0.75, "error": 0.01}


@pytest.mark.parametrize(("error", "code"), [
    (KeyboardInterrupt(), 130), (FloatingPointError("not finite"), 1)
])  # fmt: skip
def test_nothing_is_left_of_what_did_not_finish(folder, tmp_path, monkeypatch, error, code):
    def stopped(*arguments, **options):
        raise error

    monkeypatch.setattr(generation, "_samples", stopped)
    assert run(arguments(folder, tmp_path / "a.h5")) == code
    assert not list(tmp_path.iterdir())


def test_nothing_is_left_of_what_was_half_written(folder, tmp_path, monkeypatch):
    def full(self, name, *rest, **options):
        if name == "weight":
            raise OSError("no space left on device")
        return create(self, name, *rest, **options)

    create = h5py.Group.create_dataset
    monkeypatch.setattr(h5py.Group, "create_dataset", full)
    assert run(arguments(folder, tmp_path / "a.h5")) == 2
    assert not list(tmp_path.iterdir())


def test_existing_files_are_kept(folder, tmp_path, capsys):
    out = tmp_path / "a.h5"
    out.write_text("mine")
    assert run(arguments(folder, out)) == 2
    assert "exists already" in capsys.readouterr().err and out.read_text() == "mine"
    assert run(arguments(folder, out, "--overwrite")) == 0
    (tmp_path / "b.json").write_text("mine")
    assert run(arguments(folder, tmp_path / "b.h5", "--like", folder / "like.h5")) == 2
    assert (tmp_path / "b.json").read_text() == "mine" and not (tmp_path / "b.h5").exists()
    capsys.readouterr()
    assert run(arguments(folder, tmp_path / "c.json", "--like", folder / "like.h5")) == 2
    assert "is the name of the metrics" in capsys.readouterr().err
    assert not (tmp_path / "c.json").exists()


@pytest.mark.parametrize(("more", "message"), [
    (["--events", "0"], "events: found 0"),
    (["--steps", "0"], "steps: found 0"),
    (["--class", "top"], "class: found 'top', expected 0 to 2"),
    (["--class", "3"], "class: found '3', expected 0 to 2"),
    (["--classifier-test"], "give one with --like"),
    (["--like", "{}/unlabelled.h5"], "has no labels; name the class of its jets with --class"),
    (["--like", "{}/one.h5"], "found 1 jet, expected at least 2"),
    (["--like", "{}/one.h5", "--class", "1"], "no jets of class 1; found the classes [0]"),
    (["--like", "{}/absent.h5"], "absent.h5: no such file"),
    (["--checkpoint", "{}/absent"], "absent"),
    (["--checkpoint", "{}"], "model.json: no such file"),
])  # fmt: skip
def test_bad_arguments_are_named_and_leave_nothing(folder, tmp_path, capsys, more, message):
    given = arguments(folder, tmp_path / "a.h5", *(m.format(folder) for m in more))
    for flag in ("--events", "--steps", "--checkpoint"):  # the later one counts
        while given.count(flag) > 1:
            del given[given.index(flag) : given.index(flag) + 2]
    if more[0] == "--checkpoint" and more[1] == "{}":
        given[given.index("--checkpoint") + 1] = str(tmp_path)
    assert run(given) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and message in error and "Traceback" not in error
    assert np.count_nonzero([p.suffix == ".h5" for p in tmp_path.iterdir()]) == 0
