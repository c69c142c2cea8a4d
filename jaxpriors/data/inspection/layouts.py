"""Which layout a file or folder has, by what is in it."""

from __future__ import annotations

import tarfile
from pathlib import Path

from jaxpriors.data.catalog import SETS
from jaxpriors.data.events import LEVELS
from jaxpriors.data.hdf5 import open_source
from jaxpriors.data.prepared import is_prepared
from jaxpriors.errors import InputError

OURS, PREPARED, TREE = "jaxpriors", "prepared", "tree"
LAYOUTS = (OURS, PREPARED, TREE, *SETS)
ROOT = b"root"  # what ROOT files begin with


def recognise(path: Path) -> str:
    """Recognise one of `LAYOUTS`: ours, a prepared folder, or that of a set of the catalogue.

    Of a folder of files, their own. Raises InputError for what is none of these.
    """
    if is_prepared(path):
        return PREPARED
    if path.is_dir():
        return recognise(files_in(path)[0])
    if not path.exists():
        raise InputError(f"{path}: no such file")
    with open(path, "rb") as file:
        start = file.read(4)
    if start == ROOT or tarfile.is_tarfile(path):
        return "jetclass"
    with open_source(path) as source:
        if source.attributes[""].get("format") == "jaxpriors-unfolding":
            raise InputError(f"{path}: is the result of an unfolding, expected a sample")
        shapes = {name: tuple(getattr(array, "shape", ())) for name, array in source.arrays.items()}
        found = _of_arrays(shapes)
    if found is None:
        names = ", ".join(sorted(shapes)) or "no array at all"
        raise InputError(
            f"{path}: found {names}; expected one of the layouts {', '.join(LAYOUTS)} (`jaxpriors "
            "data convert` reads files with other names)"
        )
    return found


def files_in(folder: Path) -> list[Path]:
    """List the files of a folder that may hold events, by name; InputError where there is none."""
    suffixes = {suffix for entry in SETS.values() for suffix in entry.suffixes}
    found = sorted(path for path in folder.iterdir() if path.suffix in suffixes)
    if not found:
        raise InputError(f"{folder}: holds no {', '.join(sorted(suffixes))} file")
    return found


def _of_arrays(shapes: dict[str, tuple[int, ...]]) -> str | None:
    """Find the layout with arrays of these names and shapes, if there is one."""
    names = set(shapes)
    if {"gen_particles", "sim_particles"} <= names:
        return "zjets"
    if {"X", "y"} <= names:
        return "quarkgluon"
    if {"particle_features", "jet_features"} <= names:
        return "jetnet"
    if {"gen", "reco"} <= names:
        return "omnilearn-omnifold"
    if {"data", "jet"} <= names:
        return "omnilearn-dijets" if len(shapes["data"]) == 4 else "omnilearn"
    if "table/table" in names:
        return "toptagging"
    if any(name.split("/")[-1] == "block0_values" for name in names):
        return "lhco"
    ours = ("p4", "pt", "E")
    if any(
        f"{prefix}{name}" in names for prefix in ("", *(f"{x}/" for x in LEVELS)) for name in ours
    ):
        return OURS
    return None
