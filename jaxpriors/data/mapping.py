"""A small TOML file that says how files are read, for `--mapping`.

Its keys are the fields of `jaxpriors.data.reading.Reading`:

    coordinates = "pt,eta,phi,m"
    group = "FatJetPFCands_jetIdx"
    cut = "FatJet_pt > 300"
    ignore = ["LHEWeight"]
    identities = { 1 = 130, 2 = 22 }     # or "pdg", "ignore"

    [columns]
    pt = "PFCands_pt[FatJetPFCands_pFCandsIdx]"
    weight = "genWeight"
"""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxpriors.data.checks import located
from jaxpriors.data.reading import Reading
from jaxpriors.errors import InputError

LARGEST = 2**20  # bytes


def read_mapping(path: Path | str, given: Reading = Reading()) -> Reading:
    """Read a mapping.

    Args:
        path: of the TOML file.
        given: what was said elsewhere, such as on a command line: its fields win, but for those
            that are left at their defaults; columns are joined.

    Raises:
        InputError: no such file, no TOML, keys that are not fields of `Reading`, values of another
            kind.

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "ours.toml")
        ...     _ = path.write_text('unit = "MeV"\\n[columns]\\nweight = "w"')
        ...     reading = read_mapping(path, Reading(columns={"pt": "PT"}))
        >>> reading.unit, reading.columns
        ('MeV', {'weight': 'w', 'pt': 'PT'})
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file, expected a mapping (TOML)")
    if path.stat().st_size > LARGEST:
        raise InputError(f"{path}: found {path.stat().st_size} bytes, expected a small TOML file")
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError, OSError) as error:
        raise InputError(f"{path}: is no TOML file ({error})") from None
    fields = {field.name: field for field in dataclasses.fields(Reading)}
    if wrong := sorted(set(content) - set(fields)):
        raise InputError(
            f"{path}: found the key {wrong[0]!r}, expected some of {', '.join(fields)}"
        )
    with located(path):
        found = Reading(**{name: _value(name, value) for name, value in content.items()})
    said = {n: getattr(given, n) for n in fields if getattr(given, n) != getattr(Reading(), n)}
    if "columns" in said:
        said["columns"] = {**found.columns, **given.columns}
    return found.replace(**said)


def _value(name: str, value: Any) -> Any:
    """Bring a TOML value to the type of that field; InputError for one of another kind."""
    expected = "a text"
    if name == "columns":
        if isinstance(value, Mapping) and all(isinstance(x, str) for x in value.values()):
            return dict(value)
        expected = "a table of texts, as in [columns]"
    elif name == "ignore":
        if isinstance(value, list) and all(isinstance(x, str) for x in value):
            return tuple(value)
        expected = "a list of texts"
    elif name == "padding":
        if isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
        expected = "a number"
    elif name == "identities" and isinstance(value, Mapping):
        try:
            if all(type(pdg) is int for pdg in value.values()):
                return {int(code): pdg for code, pdg in value.items()}
        except ValueError:
            pass
        expected = "integers, as in { 1 = 130 }"
    elif isinstance(value, str):
        return value
    raise InputError(f"{name}: found {value!r}, expected {expected}")
