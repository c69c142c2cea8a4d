"""The card of a pretrained network."""

import json

import pytest

from jaxpriors.errors import InputError
from jaxpriors.generation.card import write_card
from jaxpriors.run.storage import write_json

CONFIG = {
    "network": {"hidden_channels": 8},
    "training": {"epochs": 2},
    "sources": {"sample": "/home/someone/jets.h5", "level": "detector", "digest": "ab12"},
}
METRICS = {
    "test": {"network": {"auc_one_vs_one": 0.9}},
    "parameters": 123,
    "losses": {"train": [3.0, 2.0], "validation": [2.5, 2.25]},
    "best_epoch": 2,
    "seconds": {"train": 1.0},
    "events": {"train": 80, "test": 20},
}
ENVIRONMENT = {
    "date": "2026-01-02T03:04:05+00:00",
    "command": ["pretraining.py", "quick", "--sample", "/home/someone/jets.h5", "--out", "runs/a"],
    "python": "3.11.7",
    "platform": "a machine",
    "cores": 2,
    "devices": ["cpu:0"],
    "versions": {"jax": "0.10.2"},
}


def test_a_card_tells_data_command_losses_date_and_metrics_without_folders(tmp_path):
    (tmp_path / "model").mkdir()
    for name, content in (("config", CONFIG), ("environment", ENVIRONMENT)):
        write_json(tmp_path / f"{name}.json", content)
    with pytest.raises(InputError, match="expected that of a finished run"):
        write_card(tmp_path, {})
    write_json(tmp_path / "metrics.json", METRICS)
    path = write_card(tmp_path, {"command": "jaxpriors data simulate jetclass", "other": 1})
    text = path.read_text()
    assert "/home" not in text and "runs/a" not in text
    card = json.loads(text)
    assert card["command"] == "pretraining.py quick --sample jets.h5 --out a"
    assert card["data"] == {
        "file": "jets.h5",
        "level": "detector",
        "digest": "ab12",
        "events": {"train": 80, "test": 20},
        "made": {"command": "jaxpriors data simulate jetclass"},
    }
    assert card["date"] == ENVIRONMENT["date"]
    assert card["losses"] == METRICS["losses"] and card["test"] == METRICS["test"]
    assert card["network"] == CONFIG["network"] and card["parameters"] == 123
