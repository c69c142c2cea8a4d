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

Of several processes (`jaxpriors.processes`), the first reads and writes for all.
"""

import json
import os
import platform
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from jaxpriors import processes
from jaxpriors.errors import InputError

PACKAGES = ("jaxpriors", "jax", "jaxlib", "optax", "orbax-checkpoint", "numpy", "h5py")


def write_json(path: Path, content: Any) -> None:
    """Write whole or not at all; NaN and infinity are errors (ValueError)."""
    _write(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """The content of a JSON file; InputError where it is missing or damaged."""
    content, problem = None, ""
    if processes.is_first():
        try:
            content = json.loads(path.read_text())
        except FileNotFoundError:
            problem = "no such file, expected that of a finished run"
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            problem = f"found {error}, expected JSON"
    content, problem = processes.of_first((content, problem))
    if problem:
        raise InputError(f"{path}: {problem}")
    return content


def exists(path: Path) -> bool:
    """Whether there is such a file, or folder."""
    return processes.of_first(path.exists())


def open_run(folder: Path, config: dict[str, Any], resume: bool) -> Path:
    """Make a run's folder, or with ``resume`` go on with the one that has the same configuration.

    Raises InputError where the folder exists and ``resume`` is not given, is not a run, or has
    another configuration; nothing is changed then.
    """
    config = json.loads(json.dumps(config, allow_nan=False))
    started = folder / "config.json"
    begun, filled = processes.of_first((started.is_file(), _has_content(folder)))
    if filled and not begun:
        raise InputError(f"{folder}: exists and is not the folder of a run; give another")
    if begun:
        if not resume:
            raise InputError(
                f"{folder}: exists already; give another folder, or --resume to go on with it"
            )
        other = differences(read_json(started), config)
        if other:
            raise InputError(f"{folder}: is a run with another configuration ({'; '.join(other)})")
    folder.mkdir(parents=True, exist_ok=True)
    write_json(started, config)
    if not exists(folder / "environment.json"):
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
    if not folder.is_dir():
        return folder.exists()
    return any(p.suffix != ".partial" for p in folder.iterdir())


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
        "processes": processes.count(),
        "versions": {name: version(name) for name in PACKAGES},
    }


def write_lines(path: Path, records: list[Any]) -> None:
    """Write one JSON document a line, whole or not at all."""
    _write(path, "".join(json.dumps(r, allow_nan=False) + "\n" for r in records))


def _write(path: Path, text: str) -> None:
    if processes.is_first():
        scratch = path.with_name(f".{path.name}.partial")
        scratch.write_text(text)
        os.replace(scratch, path)
