"""Damaged checkpoints: the last good one is taken, or it is said which folder to delete."""

import resource
import shutil

import numpy as np
import pytest

from jaxpriors.errors import InputError
from tests.training.test_loop import Killed, _train

LOSSES = (2.0, 1.0, 3.0, 4.0)  # of the epochs, which end at steps 6, 12, 18 and 24


def _validate(first=0):
    losses = iter(LOSSES[first:])
    return lambda params: next(losses)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return _train(tmp_path_factory.mktemp("whole") / "run", validate=_validate())


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """A training that was killed in epoch 4: it has the checkpoints 12, the best one, and 20."""
    folder = tmp_path_factory.mktemp("killed") / "run"

    def kill(record):
        if (record.get("epoch"), record.get("step")) == (4, 3):
            raise Killed

    with pytest.raises(Killed):
        _train(folder, validate=_validate(), progress=kill)
    assert sorted(p.name for p in folder.iterdir()) == ["12", "20"]
    return folder


@pytest.fixture
def run(killed, tmp_path):
    return shutil.copytree(killed, tmp_path / "run")


def _halve(path):
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


@pytest.mark.parametrize(
    ("file", "damage"),
    [
        ("progress/metadata", _halve),
        ("progress/metadata", lambda path: path.write_text('{"history": [{}]}')),
        ("progress/metadata", lambda path: path.unlink()),
        ("state/_METADATA", _halve),
        ("state/_METADATA", lambda path: path.unlink()),
        ("state/manifest.ocdbt", _halve),
        ("state/manifest.ocdbt", lambda path: path.unlink()),
        ("state/_sharding", _halve),
        ("state/d", shutil.rmtree),
    ],
)
def test_the_last_good_one_is_taken(run, whole, file, damage):
    damage(run / "20" / file)
    told = []
    again = _train(run, validate=_validate(2), progress=told.append)
    stages = [record["stage"] for record in told if "stage" in record]
    assert stages[0].startswith(f"  checkpoint {run / '20'}: damaged (")
    assert stages[0].endswith("; going on from that of step 12")
    assert [r["train_loss"] for r in again.history] == [r["train_loss"] for r in whole.history]
    np.testing.assert_array_equal(again.params["weight"], whole.params["weight"])
    assert (run / "damaged-20").is_dir()
    finished = _train(run, validate=lambda params: pytest.fail("validated again"))
    assert len(finished.history) == len(whole.history)


def test_without_a_good_one_it_is_said_what_to_delete(run):
    for step in ("12", "20"):
        _halve(run / step / "progress" / "metadata")
    with pytest.raises(InputError, match=f"checkpoint {run}/12: damaged .*; delete {run} to train"):
        _train(run)


def test_a_damaged_best_one_is_told_before_the_training_goes_on(run):
    _halve(run / "12" / "state" / "manifest.ocdbt")
    with pytest.raises(
        InputError, match=f"checkpoint {run}/12: damaged .*; it is that of the best epoch: delete"
    ):
        _train(run, validate=lambda params: pytest.fail("went on"))


def test_a_best_one_that_is_gone_is_told(run):
    shutil.rmtree(run / "12")
    with pytest.raises(InputError, match=r"checkpoint of the best epoch is not there; delete the"):
        _train(run, validate=_validate(3))


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"validation_loss": "x"}'])
def test_a_damaged_loss_names_the_checkpoint_to_delete(run, text):
    (run / "20" / "metrics" / "metrics").write_text(text)
    with pytest.raises(InputError, match=f"checkpoint {run}/20: damaged .*; delete this folder"):
        _train(run)


def test_a_full_disk_is_one_line_and_the_training_goes_on_later(tmp_path, whole, capfd):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(record):
        if (record.get("epoch"), record.get("step")) == (4, 1):
            resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))

    try:
        with pytest.raises(
            InputError, match=r"run: a checkpoint cannot be written \(.*\); the one before stays$"
        ):
            _train(tmp_path / "run", validate=_validate(), progress=fill)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert capfd.readouterr().err == ""
    again = _train(tmp_path / "run", validate=lambda params: 4.0)
    np.testing.assert_array_equal(again.params["weight"], whole.params["weight"])
