"""The model card of a pretrained network: the origin of its weights and their quality."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jaxpriors.run.storage import read_json, write_json

CARD = "card.json"
KEPT_OF_SAMPLE = ("command", "note", "labels", "request", "versions", "date")


def write_card(run: str | Path, sample: dict[str, Any]) -> Path:
    """Write ``model/card.json`` into the folder of a finished pretraining.

        sample: metadata of the sample's file. The card holds ``data`` (file, level, digest, event
    counts, how it was made), ``command``, ``date``, ``network``, ``training``, ``losses`` (of every
    epoch), ``test`` (terms of the objective, accuracy and one-versus-one AUC on events that the
    training has not seen), ``seconds`` and ``environment``. It names files without their folders.
    Raises InputError where the run is not finished.
    """
    run = Path(run)
    config, metrics = read_json(run / "config.json"), read_json(run / "metrics.json")
    environment = read_json(run / "environment.json")
    sources = config["sources"]
    command = [Path(part).name if "/" in part else part for part in environment["command"]]
    card = {
        "data": {
            "file": Path(sources["sample"]).name,
            "level": sources["level"],
            "digest": sources["digest"],
            "events": metrics["events"],
            "made": {name: sample[name] for name in KEPT_OF_SAMPLE if name in sample},
        },
        "command": " ".join(command),
        "date": environment["date"],
        "network": config["network"],
        "parameters": metrics["parameters"],
        "training": config["training"],
        "losses": metrics["losses"],
        "best_epoch": metrics["best_epoch"],
        "test": metrics["test"],
        "seconds": metrics["seconds"],
        "environment": {
            name: environment[name] for name in ("python", "cores", "devices", "versions")
        },
    }
    path = run / "model" / CARD
    write_json(path, card)
    return path
