"""Read and write weights of Keras (version 3 of the format, ``.weights.h5``) by h5py alone.

The file is HDF5 without attributes: a dataset ``<layer's path>/vars/<i>`` for every variable and an
empty group ``vars`` for every layer without. The layers of a functional model lie below
``<model>/_layer_checkpoint_dependencies`` (TensorFlow 2.12 to 2.14) or ``<model>/layers`` (2.15)
as ``<class>`` or ``<class>_<n>``. Their numbers count layers of one class in the model's order;
2.14 and 2.15 count 0, 1, 2, …, but 2.12 and 2.13 also count layers that another model has already
written, so that only the order of the numbers has a meaning. This module gives every layer the
name it has in 2.14: ``dense``, ``dense_1``, ….
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import h5py
import numpy as np

from jaxpriors.errors import InputError, one_line
from jaxpriors.run.hdf5 import written_hdf5
from jaxpriors.run.stored_arrays import read_numbers, regular_file

CONTAINER = "_layer_checkpoint_dependencies"
_LAYER = (
    rf"(?P<container>{CONTAINER}|layers)/(?P<cls>[A-Za-z][A-Za-z0-9_]*?)"
    r"(?:_(?P<number>\d{1,9}))?(?P<rest>(?:/\w+)?/vars/\d+)$"
)
ALONE = re.compile(rf"^{_LAYER}")
VARIABLE = re.compile(rf"^(?P<model>.+)/{_LAYER}")


def read_keras(path: str | Path) -> dict[str, np.ndarray]:
    """Read every dataset of a ``.weights.h5`` file by its path.

    Raises InputError where the file is absent, damaged, not HDF5, or written in the older format
    of Keras.
    """
    path = regular_file(path, "weights of Keras")
    if not h5py.is_hdf5(path):
        what = "a zip archive; the weights of a .keras file are its model.weights.h5"
        found = what if zipfile.is_zipfile(path) else f"{path.stat().st_size} bytes"
        raise InputError(f"{path}: not an HDF5 file, found {found}")
    found_arrays: dict[str, np.ndarray] = {}

    def visit(name: str, item: h5py.Group | h5py.Dataset) -> None:
        if isinstance(item, h5py.Dataset):
            found_arrays[name] = read_numbers(item, f"{path}: {name!r}")

    try:
        with h5py.File(path, "r") as file:
            _refuse_older_format(path, file)
            file.visititems(visit)
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
        if isinstance(error, InputError):
            raise
        reason = one_line(error)
        raise InputError(f"{path}: truncated or damaged HDF5 file: {reason}") from error
    if not found_arrays:
        raise InputError(f"{path}: no dataset in the file")
    return found_arrays


def _refuse_older_format(path: Path, file: h5py.File) -> None:
    weights = file.get("model_weights", file)
    if "layer_names" in weights.attrs or "keras_version" in weights.attrs:
        raise InputError(
            f"{path}: weights in the older format of Keras (with the attribute layer_names), which "
            "TensorFlow 2.11 and before write; expected a .weights.h5 file of TensorFlow 2.12 to "
            "2.15"
        )


def write_keras(
    path: str | Path, arrays: Mapping[str, np.ndarray], groups: Iterable[str] = ()
) -> None:
    """Write datasets by path and empty groups; the file is complete or absent.

    Raises InputError where the place cannot be written to.
    """
    with written_hdf5(path, overwrite=True) as file:
        for name, value in arrays.items():
            file.create_dataset(name, data=value)
        for name in groups:
            file.require_group(name)


def alone(paths: Iterable[str]) -> dict[str, int]:
    """Count the layers by class of a file that holds one functional or sequential model alone.

    >>> alone(["layers/dense/vars/0", "layers/dense_1/vars/0", "layers/dense_1/vars/1"])
    {'dense': 2}
    """
    matches = (ALONE.match(path) for path in paths)
    layers = {(match["cls"], match["number"]) for match in matches if match}
    return {cls: [c for c, _ in layers].count(cls) for cls in sorted({c for c, _ in layers})}


def layer_name(cls: str, rank: int) -> str:
    """Return the name of a layer by its rank in its class: ``dense``, ``dense_1``, …."""
    return f"{cls}_{rank}" if rank else cls


def rank_layers(paths: Iterable[str]) -> dict[str, dict[str, str]]:
    """Find the variables of each functional model: {model: {name as in 2.14: path in the file}}.

    Names are below the model, ``dense_3/vars/0``. Paths of other form are left out.
    """
    matches = {path: match for path in paths if (match := VARIABLE.match(path))}
    numbers: dict[tuple[str, str], set[int]] = {}
    for match in matches.values():
        numbers.setdefault((match["model"], match["cls"]), set()).add(int(match["number"] or 0))
    ranks = {key: {n: i for i, n in enumerate(sorted(found))} for key, found in numbers.items()}
    models: dict[str, dict[str, str]] = {}
    for path, match in matches.items():
        rank = ranks[match["model"], match["cls"]][int(match["number"] or 0)]
        name = layer_name(match["cls"], rank) + match["rest"]
        models.setdefault(match["model"], {})[name] = path
    return models


def count_layers(names: Iterable[str]) -> dict[str, int]:
    """Count the layers of each class among names of ``rank_layers``."""
    layers = {name.split("/")[0] for name in names}
    classes = [re.sub(r"_\d+$", "", layer) for layer in layers]
    return {cls: classes.count(cls) for cls in sorted(set(classes))}


def gaps(paths: Iterable[str]) -> list[str]:
    """List the layers that the numbering in a model leaves out, as ``body/…/dense_2``."""
    numbers: dict[str, set[int]] = {}
    for path in paths:
        if match := VARIABLE.match(path):
            layer = f"{match['model']}/{match['container']}/{match['cls']}"
            numbers.setdefault(layer, set()).add(int(match["number"] or 0))
    return [
        layer_name(layer, n)
        for layer, found in numbers.items()
        for n in range(max(found))
        if n not in found
    ]
