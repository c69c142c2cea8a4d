"""Which layout a file or folder has, by what is in it; what others are, that hold no events."""

from __future__ import annotations

import re
import tarfile
import zipfile
from pathlib import Path

from jaxpriors.data.catalog import SETS
from jaxpriors.data.catalog.jetclass import is_jetclass
from jaxpriors.data.catalog.toptagging import NAMES as TOP_TAGGING
from jaxpriors.data.events import LEVELS
from jaxpriors.data.formats.pandas_tables import tables
from jaxpriors.data.formats.splits import splits_in
from jaxpriors.data.formats.trees import is_tree
from jaxpriors.data.hdf5 import Source, open_source
from jaxpriors.data.prepared import is_prepared
from jaxpriors.data.unread import listed
from jaxpriors.errors import InputError
from jaxpriors.run.stored_arrays import regular_file

OURS, PREPARED, TREE = "jaxpriors", "prepared", "tree"
LAYOUTS = (OURS, PREPARED, TREE, *SETS)
ROOT = b"root"  # what ROOT files begin with


def recognise(path: Path) -> str:
    """Recognise one of `LAYOUTS`: ours, a prepared folder, or that of a set of the catalogue.

    Of a folder of files, their own. Raises InputError for what is none of these, which says what it
    is where that is known: a run, a network, the result of an unfolding, weights.
    """
    if is_prepared(path):
        return PREPARED
    if path.is_dir():
        if what := _folder_is(path):
            raise InputError(f"{path}: is {what}, expected a sample")
        return recognise(files_in(path)[0])
    regular_file(path, "a sample")
    with open(path, "rb") as file:
        start = file.read(16)
    if start.startswith(ROOT) or tarfile.is_tarfile(path):
        return "jetclass" if is_jetclass(path) else TREE
    if is_tree(path):
        return TREE
    if what := _file_is(path, start):
        raise InputError(f"{path}: is {what}, expected a sample")
    with open_source(path) as source:
        found = _layout(source)
        if found is None and (what := _arrays_are(source)):
            raise InputError(f"{path}: is {what}, expected a sample")
        names = listed(sorted(source.arrays)) or "no array at all"
    if found is None:
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


def _layout(source: Source) -> str | None:
    """Find the layout of an open file by its arrays, if there is one."""
    if _is_unfolding(source):
        return None
    data = tuple(source.arrays["data"].shape) if "data" in source.arrays else ()
    found = _of_arrays({*source.arrays}, len(data))
    if found is None and (some := tables(source)):
        return "toptagging" if set(TOP_TAGGING) <= set(some[0].columns) else "lhco"
    return found


def _of_arrays(names: set[str], axes: int) -> str | None:
    """Find the layout with arrays of these names, and so many axes of `data`, if there is one."""
    if {"gen_particles", "sim_particles"} <= names:
        return "zjets"
    if {"X", "y"} <= names:
        return "quarkgluon"
    if {"particle_features", "jet_features"} <= names:
        return "jetnet"
    if {"gen", "reco"} <= names:
        return "omnilearn-omnifold"
    if {"data", "jet"} <= names:
        return "omnilearn-dijets" if axes == 4 else "omnilearn"
    if "data" in names and names & {"pid", "global"}:
        return "omnilearned"
    ours = ("p4", "pt", "E", "px")
    if any(
        f"{prefix}{name}" in names for prefix in ("", *(f"{x}/" for x in LEVELS)) for name in ours
    ):
        return OURS
    return None


def _is_unfolding(source: Source) -> bool:
    found = source.attributes[""].get("format")
    return isinstance(found, str) and found == "jaxpriors-unfolding"


def _folder_is(folder: Path) -> str | None:
    """Say what a folder is, of those that hold no sample."""
    here = {path.name for path in folder.iterdir()}
    if parts := splits_in(folder):
        names = [f"{p.name}/" if p.is_dir() else p.name for p in parts.values()]
        return f"a folder of {', '.join(names)}, which are given one by one"
    if "model.json" in here:
        return "a trained network"
    if {"config.json", "environment.json"} <= here:
        return "the folder of a run"
    return None


def _file_is(path: Path, start: bytes) -> str | None:
    """Say what a file is by how it begins, of those that hold no sample."""
    if zipfile.is_zipfile(path):
        try:
            with zipfile.ZipFile(path) as archive:
                names = archive.namelist()
        except (OSError, RuntimeError, ValueError, zipfile.BadZipFile):  # its reader will tell
            return None
        if any(name.split("/")[-1] == "data.pkl" for name in names):
            return "a checkpoint of PyTorch"
        if "model.weights.h5" in names:
            return "a network of Keras"
    if path.suffix == ".safetensors" or start[8:10] == b'{"':
        return "a network's tensors (safetensors)"
    return None


def _arrays_are(source: Source) -> str | None:
    """Say what an open file of arrays is, of those that hold no sample."""
    names = set(source.arrays)
    if _is_unfolding(source):
        return "the result of an unfolding"
    if any(re.search(r"(^|/)vars/\d+$", name) for name in names):
        return "weights of a Keras network"
    if "layer_names" in source.attributes[""] or "model_weights" in source.attributes:
        return "weights of a Keras network"
    if any(name.split("/")[-1] == "log_ratio" for name in names):
        return "the weights that a reweighting gave"
    return None
