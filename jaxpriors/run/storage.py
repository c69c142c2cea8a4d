"""Files that are written whole or not at all, JSON, digests, and the cache folder.

Of several processes (`jaxpriors.run.processes`), the first reads and writes for all.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from jaxpriors.errors import InputError
from jaxpriors.run import processes
from jaxpriors.run.forms import parse_json
from jaxpriors.run.stored_arrays import regular_file


@contextlib.contextmanager
def written_whole(path: str | os.PathLike[str], *, overwrite: bool = False) -> Iterator[Path]:
    """Give a temporary path beside `path`, which takes its place when the context ends well.

    Of several processes, the first alone writes; the others' paths are of no consequence.

    Raises:
        InputError: the file exists and `overwrite` is false, or its folder cannot be made.
    """
    path = Path(path)
    if processes.index() > 0:
        with tempfile.TemporaryDirectory(prefix="jaxpriors-") as scratch:
            yield Path(scratch) / path.name
        return
    if path.is_dir() or (path.exists() and not overwrite):
        raise InputError(f"{path}: exists already; choose another name or allow overwriting")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{path.parent}: this folder cannot be made ({error})") from error
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror or error})") from error
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, content: Any) -> None:
    """Write whole or not at all; NaN and infinity are errors (ValueError)."""
    with written_whole(path, overwrite=True) as scratch:
        scratch.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n")


def read_json(path: Path, expected: str = "that of a finished run") -> dict[str, Any]:
    """Read the JSON object in a file.

    Raises InputError where there is no file, saying what was ``expected``, or where it is damaged
    (`forms.parse_json`), or holds no object.
    """
    content, problem = None, ""
    if processes.index() == 0:
        try:
            content = parse_json(regular_file(path, expected).read_bytes(), str(path))
        except InputError as error:
            problem = str(error)
        except OSError as error:
            problem = f"{path}: cannot be read ({error.strerror})"
        if not problem and not isinstance(content, dict):
            problem = f"{path}: found {type(content).__name__}, expected a JSON object"
    content, problem = processes.gather((content, problem))[0]
    if problem:
        raise InputError(problem)
    return content


def check_output(out: str | os.PathLike[str], *inputs: str | os.PathLike[str] | None) -> None:
    """Raise InputError where a file or folder to be written is one of the inputs.

    By whatever path or link; inputs that are None do not count.
    """
    for path in inputs:
        if path is None or not (os.path.exists(out) and os.path.exists(path)):
            continue
        if os.path.samefile(out, path):
            raise InputError(f"{out}: is the input {path} itself; choose another name to write to")


def digest(*parts: Any) -> str:
    """Return a hash of texts and of the numbers in arrays, one after another; None adds nothing."""
    found = hashlib.blake2b(digest_size=16)
    for part in parts:
        if isinstance(part, str):
            found.update(part.encode())
        elif part is not None:
            found.update(np.ascontiguousarray(part).reshape(-1).view(np.uint8).data)
    return found.hexdigest()


def exists(path: Path) -> bool:
    """Tell whether there is such a file, or folder."""
    return processes.gather(path.exists())[0]


def cache_folder() -> Path:
    """Where compiled programs are kept: $JAXPRIORS_CACHE, else jaxpriors in the user's cache."""
    chosen = os.environ.get("JAXPRIORS_CACHE")
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "jaxpriors"
