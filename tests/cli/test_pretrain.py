"""`jaxpriors pretrain` up to the training itself (see tests/generation/test_pretraining.py)."""

import json

import numpy as np
import pytest

from jaxpriors.cli.main import run
from jaxpriors.data.sample_files import write_events
from jaxpriors.generation import pretraining
from jaxpriors.run import folder
from tests.helpers.jets import random_jets

METRICS = {"test": {"network": {"objective": 1.25}}, "classes": 2}


@pytest.fixture
def sample(tmp_path):
    """A file of both levels, with labels."""
    jets = random_jets(200, 0).with_label(np.arange(200, dtype=np.int32) % 2)
    write_events(tmp_path / "jets.h5", {"particle": jets, "detector": jets}, {})
    return str(tmp_path / "jets.h5")


@pytest.fixture
def trained(monkeypatch):
    """The arguments that the trainings got, in place of them."""
    calls = []

    def pretrain(parts, config, folder, progress):
        calls.append((parts, config))
        return METRICS

    monkeypatch.setattr(pretraining, "pretrain", pretrain)
    monkeypatch.setattr(pretraining, "write_card", lambda folder, sample: None)
    monkeypatch.setattr(folder, "set_up", lambda: None)
    return calls


def test_a_run_and_its_settings(sample, trained, tmp_path, capsys):
    arguments = ["pretrain", sample, "--out", str(tmp_path / "run"), "--level", "detector"]
    arguments += ["--epochs", "3", "--batch-size", "64", "--learning-rate", "1e-4", "--seed", "5"]
    assert run(arguments) == 0
    assert "1.25" in capsys.readouterr().out
    (parts, config), *others = trained
    assert others == []
    assert {name: len(part) for name, part in parts.items()} == {
        "train": 170,
        "validation": 10,
        "test": 20,
    }
    written = json.loads((tmp_path / "run" / "config.json").read_text())
    assert written["network"]["num_classes"] == config.network.num_classes == 2
    assert written["training"]["epochs"] == 3 and written["training"]["batch_size"] == 64
    assert written["training"]["optimizer"]["learning_rate"] == 1e-4
    assert written["training"]["seed"] == 5

    assert run(arguments) == 2
    assert "exists already" in capsys.readouterr().err
    assert run([*arguments, "--resume"]) == 0
    assert run([*arguments, "--resume", "--mode", "generator"]) == 2
    assert "mode: found 'all', asked for 'generator'" in capsys.readouterr().err
    assert len(trained) == 1


def test_what_cannot_be_used(sample, trained, tmp_path, capsys):
    run_folder = ["--out", str(tmp_path / "run")]
    assert run(["pretrain", sample, *run_folder]) == 2
    assert "level" in capsys.readouterr().err
    write_events(tmp_path / "bare.h5", random_jets(20, 0), {})
    assert run(["pretrain", str(tmp_path / "bare.h5"), *run_folder]) == 2
    assert "label: the sample has none" in capsys.readouterr().err
    assert not (tmp_path / "run").exists() and trained == []
