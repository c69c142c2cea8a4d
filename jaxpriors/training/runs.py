"""A run is a folder: configuration, environment, log, checkpoints, weights, metrics, figures.

| file               | content                                                          |
|--------------------|------------------------------------------------------------------|
| `config.json`      | what was asked for, every default resolved                       |
| `environment.json` | versions, devices, command and date                              |
| `log.jsonl`        | one line an epoch                                                |
| `checkpoints/`     | the last and the best training state of each network             |
| `model/`           | the best network, ready for use                                  |
| `metrics.json`     | the results; tables and reports are read from it                 |
| `figures/`         | figures                                                          |
"""

import json
import os
import platform
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from jaxpriors.errors import InputError

PACKAGES = ("jaxpriors", "jax", "jaxlib", "optax", "orbax-checkpoint", "numpy", "h5py")


def write_json(path: Path, content: Any) -> None:
    """Write whole or not at all; NaN and infinity are errors (ValueError)."""
    text = json.dumps(content, indent=2, allow_nan=False) + "\n"
    scratch = path.with_name(f".{path.name}.partial")
    scratch.write_text(text)
    os.replace(scratch, path)


def read_json(path: Path) -> Any:
    """The content of a JSON file; InputError where it is missing or damaged."""
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        raise InputError(f"{path}: no such file, expected that of a finished run") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: found {error}, expected JSON") from None


def open_run(folder: Path, config: dict[str, Any], resume: bool) -> Path:
    """Make a run's folder, or with ``resume`` go on with the one that has the same configuration.

    Raises InputError where the folder exists and ``resume`` is not given, is not a run, or has
    another configuration; nothing is changed then.
    """
    config = json.loads(json.dumps(config, allow_nan=False))
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        if not resume:
            raise InputError(
                f"{folder}: exists already; give another folder, or --resume to go on with it"
            )
        if not (folder / "config.json").is_file():
            raise InputError(f"{folder}: has no config.json, expected the folder of a run")
        found = read_json(folder / "config.json")
        if found != config:
            differences = ", ".join(
                f"{k}: found {found.get(k)!r}, asked for {config.get(k)!r}"
                for k in sorted(set(found) | set(config))
                if found.get(k) != config.get(k)
            )
            raise InputError(f"{folder}: is a run with another configuration ({differences})")
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "environment.json", environment())
    write_json(folder / "config.json", config)
    return folder


def environment() -> dict[str, Any]:
    """Versions, devices, command and date of this process."""
    import jax

    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cores": os.cpu_count(),
        "devices": [str(d) for d in jax.devices()],
        "versions": {name: version(name) for name in PACKAGES},
    }


def write_lines(path: Path, records: list[Any]) -> None:
    """Write one JSON document a line, whole or not at all."""
    scratch = path.with_name(f".{path.name}.partial")
    scratch.write_text("".join(json.dumps(r, allow_nan=False) + "\n" for r in records))
    os.replace(scratch, path)
