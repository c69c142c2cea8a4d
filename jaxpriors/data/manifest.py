"""The manifest of a prepared sample: what it must hold, and that the arrays are those it knows."""

from __future__ import annotations

import reprlib
from pathlib import Path
from typing import Any

from jaxpriors.data.arrays import fingerprint
from jaxpriors.data.events import LEVELS
from jaxpriors.errors import InputError
from jaxpriors.run.storage import read_json

FORMAT, VERSION = "jaxpriors-prepared", 1
MANIFEST, BEGUN = "prepared.json", "begun.json"
PREPARED = "a prepared sample there"
COLUMN = "column-"
REQUIRED = {"p4", "pid", "offsets", "jet_p4", "weight"}
COUNTED = ("constituents", "jets")


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read {"events", "levels", "request"}; raise InputError unless a sample is there, finished."""
    path = folder / MANIFEST
    if (folder / BEGUN).exists() and not path.exists():
        raise InputError(f"{folder}: its preparation is not finished; give the same command again")
    content = read_json(path, PREPARED)
    found = content.get("format"), content.get("version")
    if found != (FORMAT, VERSION) or type(found[1]) is not int:
        raise InputError(
            f"{path}: found format {found[0]!r}, version {found[1]!r}; expected {FORMAT!r}, "
            f"{VERSION}"
        )
    _check(path, "events", content, "a number of events", _is_count(content.get("events")))
    levels: Any = content.get("levels")
    known = isinstance(levels, dict) and bool(levels)
    known = known and ({*levels} == {""} or {*levels} <= {*LEVELS})
    _check(path, "levels", content, f"one sample, or some of {', '.join(LEVELS)}", known)
    for level, facts in levels.items():
        check_facts(path, f"levels.{level}", facts)
    request = content.get("request")
    good = isinstance(request, dict) and isinstance(request.get("metadata"), dict)
    _check(path, "request", content, "an object with metadata", good)
    return content


def check_facts(path: Path, place: str, facts: Any) -> None:
    """Raise InputError unless these are the facts of a level: of a manifest, or of a piece."""
    _check(path, place, {place: facts}, "an object", isinstance(facts, dict))
    arrays, counts, prints = (facts.get(n) for n in ("arrays", "undirected", "fingerprints"))
    named = isinstance(arrays, list) and all(_is_name(name) for name in arrays)
    good = named and len({*arrays}) == len(arrays) and {*arrays} >= REQUIRED
    _check(path, f"{place}.arrays", facts, f"names of arrays, {sorted(REQUIRED)} among them", good)
    _check(path, f"{place}.digest", facts, "a text", isinstance(facts.get("digest"), str))
    counted = isinstance(counts, dict) and [*map(_is_count, map(counts.get, COUNTED))] == [True] * 2
    _check(path, f"{place}.undirected", facts, f"numbers of {' and '.join(COUNTED)}", counted)
    known = type(facts.get("identities")) is bool
    _check(path, f"{place}.identities", facts, "true or false", known)
    good = prints is None or (isinstance(prints, dict) and {*prints} == {*arrays})
    _check(path, f"{place}.fingerprints", facts, "one of each array", good)


def check_fingerprints(place: Path, facts: dict[str, Any]) -> None:
    """Raise InputError for an array of a level that was changed since it was prepared."""
    for name, known in facts.get("fingerprints", {}).items():
        path = place / f"{name}.npy"
        if fingerprint(path) != known:
            raise InputError(
                f"{path}: was changed since the sample was prepared; expected what its fingerprint "
                f"in {MANIFEST} was made of: prepare the sample anew"
            )


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**63


def _is_name(value: Any) -> bool:
    if not isinstance(value, str) or not set(value).isdisjoint("/\0"):
        return False
    return value in REQUIRED | {"label"} or value.startswith(COLUMN)


def _check(path: Path, place: str, content: dict[str, Any], expected: str, good: bool) -> None:
    """Raise InputError where what stands in the last part of a place is not as expected."""
    if not good:
        found = reprlib.repr(content.get(place.rpartition(".")[2], content.get(place)))
        raise InputError(f"{path}: {place}: found {found}, expected {expected}")
