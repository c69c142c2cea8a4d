"""Mutations of JSON, alone or in the metadata of safetensors, and of safetensors.

They are as in `tests.helpers.malformed`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tests.helpers.malformed import BYTES, DEEP, OF_NUMBERS, OF_OTHERS, PATHS, Mutation, choose


def changed_json(content: Any, rng: np.random.Generator, free: re.Pattern[str]) -> tuple[str, str]:
    """Return the text of a document in which one value is of another kind or missing, and where."""
    places: list[tuple[Any, Any, str]] = []

    def walk(node: Any, name: str) -> None:
        pairs = node.items() if isinstance(node, dict) else enumerate(node)
        for key, value in list(pairs):
            where = f"{name}.{key}"
            if not free.search(where):
                places.append((node, key, where))
            if isinstance(value, dict | list):
                walk(value, where)

    walk(content, "")
    node, key, where = places[int(rng.integers(len(places)))]
    old = node[key]
    if isinstance(node, dict) and rng.integers(5) == 0:
        del node[key]
        return json.dumps(content), f"no {where}"
    number = isinstance(old, int | float) and not isinstance(old, bool)
    # nothing that the place could hold as well
    options = OF_NUMBERS if number else [v for v in OF_OTHERS if type(v) is not type(old)]
    new = options[int(rng.integers(len(options)))]
    if new is DEEP:
        node[key] = "DEEP"
        return json.dumps(content).replace('"DEEP"', DEEP), f"{where} is nested without end"
    if isinstance(new, int) and new > 2**64:
        node[key] = "HUGE"
        return json.dumps(content).replace('"HUGE"', "9" * 400), f"{where} has 400 digits"
    node[key] = new
    return json.dumps(content), f"{where} is {new!r}"


def of_json(free: str = "(?!)") -> dict[str, Mutation]:
    """Families of a JSON file; values at places that match ``free`` are left alone."""

    def value(path: Path, rng: np.random.Generator) -> str:
        text, what = changed_json(json.loads(path.read_text()), rng, re.compile(free))
        path.write_text(text)
        return f"{path.name}: {what}"

    def whole(path: Path, rng: np.random.Generator) -> str:
        texts = ["", "[]", "null", "5", '"x"', "{", DEEP, "{}", "NaN", "\x00", '{"a": 1e999}']
        text = texts[int(rng.integers(len(texts)))]
        path.write_text(text)
        return f"{path.name} is {text[:20]!r}"

    return {**PATHS, **BYTES, "value of JSON": value, "other JSON": whole}


# --- safetensors


def _parts(path: Path) -> tuple[dict[str, Any], bytes]:
    content = path.read_bytes()
    size = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + size]), content[8 + size :]


def _join(path: Path, header: Any, data: bytes) -> None:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


def of_header(path: Path, rng: np.random.Generator) -> str:
    header, data = _parts(path)
    name = choose(rng, [n for n in header if n != "__metadata__"])
    entry = header[name]
    options: list[Callable[[], Any]] = [
        lambda: entry.update(dtype="I32"),
        lambda: entry.update(dtype="X"),
        lambda: entry.update(shape=[2**40, 2**40]),
        lambda: entry.update(shape=[*entry["shape"], 2]),
        lambda: entry.update(shape=[-1]),
        lambda: entry.update(data_offsets=[0, 2**60]),
        lambda: header.pop(name),
        lambda: header.update({f"{name}.{10**30}.x": header.pop(name)}),
        lambda: header.update({f"blocks.{10**8}.x": header.pop(name)}),
    ]
    number = int(rng.integers(len(options)))
    options[number]()
    _join(path, header, data)
    return f"{path.name}: {name}: change {number} of the header"


def of_numbers(path: Path, rng: np.random.Generator) -> str:
    header, data = _parts(path)
    name = choose(rng, [n for n, e in header.items() if e.get("dtype") == "F32"])
    start, stop = header[name]["data_offsets"]
    if start == stop:
        return ""
    value = np.float32([np.nan, np.inf][int(rng.integers(2))])
    _join(path, header, data[:start] + value.tobytes() + data[start + 4 :])
    return f"{path.name}: {name} begins with {value}"


def of_metadata(path: Path, rng: np.random.Generator) -> str:
    header, data = _parts(path)
    metadata = header.get("__metadata__", {})
    if "jaxpriors" not in metadata:
        return ""
    texts = ["", "[]", "5", DEEP, "{}", '{"format": 1}', '{"format": 2}', '{"format": true}']
    if rng.integers(3):
        free = re.compile(r"layer_scale|dropout|checkpoint_blocks|None")
        text, what = changed_json(json.loads(metadata["jaxpriors"]), rng, free)
    else:
        text = texts[int(rng.integers(len(texts)))]
        what = f"is {text[:20]!r}"
    metadata["jaxpriors"] = text
    _join(path, header, data)
    return f"{path.name}: metadata: {what}"


SAFETENSORS: dict[str, Mutation] = {
    **PATHS,
    **BYTES,
    "header": of_header,
    "not finite": of_numbers,
    "value of JSON": of_metadata,
}
