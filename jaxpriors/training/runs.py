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
    started = folder / "config.json"
    if folder.exists() and not started.is_file() and _has_content(folder):
        raise InputError(f"{folder}: exists and is not the folder of a run; give another")
    if started.is_file():
        if not resume:
            raise InputError(
                f"{folder}: exists already; give another folder, or --resume to go on with it"
            )
        other = differences(read_json(started), config)
        if other:
            raise InputError(f"{folder}: is a run with another configuration ({'; '.join(other)})")
    folder.mkdir(parents=True, exist_ok=True)
    write_json(started, config)
    if not (folder / "environment.json").exists():
        write_json(folder / "environment.json", environment())
    return folder


def differences(found: Any, asked: Any) -> list[str]:
    """What two JSON documents differ in, as texts."""
    first, second = _leaves(found), _leaves(asked)
    return [
        f"{name}: found {first.get(name)!r}, asked for {second.get(name)!r}"
        for name in sorted(first | second)
        if first.get(name) != second.get(name)
    ]


def _has_content(folder: Path) -> bool:
    """Whether there is more than what a start that was killed leaves."""
    return not folder.is_dir() or any(p.suffix != ".partial" for p in folder.iterdir())


def _leaves(tree: Any, name: str = "") -> dict[str, Any]:
    """Numbers and texts of nested JSON by the path that leads to them."""
    if isinstance(tree, dict | list) and tree:
        pairs = tree.items() if isinstance(tree, dict) else enumerate(tree)
        inner = [_leaves(v, f"{name}.{k}".lstrip(".")) for k, v in pairs]
        return {key: value for leaves in inner for key, value in leaves.items()}
    return {name: tree}


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
