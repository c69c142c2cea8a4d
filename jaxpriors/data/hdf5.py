"""The columns of a sample on disk: HDF5 (and npz) read, HDF5 written, whole or not at all."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from jaxpriors.data import prepared
from jaxpriors.data.events import LEVELS
from jaxpriors.errors import InputError
from jaxpriors.physics.coordinates import components
from jaxpriors.run.storage import written_whole

FORMAT, VERSION = "jaxpriors-events", 1
CHUNK = 2**16  # rows of an HDF5 chunk, which are compressed together
NAMES = ("p4", "pid", "offsets", "multiplicity", "mask", "jet_p4", "weight", "label")


@dataclass(frozen=True)
class Source:
    """Hold an open file: its arrays by full name (`group/name`), its groups' attributes."""

    path: Path
    arrays: Mapping[str, Any]
    attributes: Mapping[str, Mapping[str, Any]]

    @property
    def levels(self) -> tuple[str, ...]:
        """Name the levels that the file holds; none where its one sample stands at the root."""
        return tuple(x for x in LEVELS if any(name.startswith(f"{x}/") for name in self.arrays))

    @property
    def found(self) -> str:
        """Join the names of all datasets, for messages."""
        return ", ".join(sorted(self.arrays)) or "no dataset at all"

    def datasets(self, *names: str) -> list[Any]:
        """Find the datasets of these names, which are not yet read.

        Raises:
            InputError: there is none of a name; the message lists what there is.
        """
        for name in names:
            if name not in self.arrays:
                raise InputError(f"{self.path}: no dataset {name!r}; found: {self.found}")
        return [self.arrays[name] for name in names]

    def read(self, name: str) -> np.ndarray:
        """Read the array of that name.

        Raises:
            InputError: there is none (the message lists what there is), or it is not numeric.
        """
        [dataset] = self.datasets(name)
        try:
            array = np.asarray(dataset[()])
        except ValueError as error:
            raise InputError(f"{self.path}: {name!r} cannot be read ({error})") from error
        if array.dtype.kind not in "biuf":
            raise InputError(f"{self.path}: {name!r} has dtype {array.dtype}, expected numbers")
        return array


Opened = str | os.PathLike[str] | Source  # a file by its path, or one that is open already


def loaded(path: Opened, names: Sequence[str]) -> Source:
    """Read some arrays of a file into memory; raises InputError as `Source.read` does."""
    with open_source(path) as source:
        return Source(source.path, {name: source.read(name) for name in names}, {"": {}})


@contextlib.contextmanager
def open_source(path: Opened) -> Iterator[Source]:
    """Open an HDF5 or npz file, or the folder of a prepared sample, for reading.

    What is open already is passed on, and stays open.

    Raises:
        InputError: no such file, a file of another kind, truncated or damaged; also while its
            arrays are read within the context.
    """
    where = path.path if isinstance(path, Source) else Path(path)
    if not where.exists():
        raise InputError(f"{where}: no such file")
    try:
        if isinstance(path, Source):
            yield path
        elif where.is_dir():
            if not prepared.is_prepared(where):
                raise InputError(
                    f"{where}: is a folder without a prepared sample, expected one, an HDF5 or npz "
                    "file"
                )
            yield Source(where, prepared.mapped_arrays(where), prepared.attributes(where))
        elif h5py.is_hdf5(where):
            with h5py.File(where, "r") as file:
                names: list[str] = []
                file.visit(names.append)
                items = {name: file[name] for name in names}
                arrays = {n: item for n, item in items.items() if isinstance(item, h5py.Dataset)}
                groups = {n: dict(item.attrs) for n, item in items.items() if n not in arrays}
                yield Source(where, arrays, {"": dict(file.attrs), **groups})
        elif zipfile.is_zipfile(where):
            with np.load(where, allow_pickle=False) as archive:
                yield Source(where, archive, {"": {}})
        else:
            with open(where, "rb") as raw:
                start = raw.read(8)
            raise InputError(f"{where}: starts with {start!r}, expected an HDF5 or npz file")
    except (OSError, RuntimeError, KeyError, EOFError, zlib.error, zipfile.BadZipFile) as error:
        raise InputError(
            f"{where}: cannot be read: truncated, damaged or forbidden ({error})"
        ) from error


def check_filters(path: Path, array: h5py.Dataset) -> None:
    """Raise InputError where a dataset's compression needs hdf5plugin, which is missing."""
    if importlib.util.find_spec("hdf5plugin") is not None:
        import hdf5plugin  # noqa: F401 (makes h5py read more of them, blosc among them)
    filters = array.id.get_create_plist()
    used = [filters.get_filter(i) for i in range(filters.get_nfilters())]
    missing = [name.decode() for number, _, _, name in used if not h5py.h5z.filter_avail(number)]
    if missing:
        raise InputError(
            f"{path}: is compressed with {', '.join(missing)}, which needs hdf5plugin: "
            "pip install 'jaxpriors[data]'"
        )


def levels(path: Opened) -> tuple[str, ...]:
    """Name the levels that a file holds; none where its one sample stands at the root."""
    with open_source(path) as source:
        return source.levels


def read_metadata(path: Opened) -> dict[str, Any]:
    """Read the metadata that `write_columns` stored; empty for a file of another origin."""
    with open_source(path) as source:
        text = source.attributes[""].get("metadata", "{}")
    try:
        return json.loads(text)
    except (TypeError, json.JSONDecodeError) as error:
        raise InputError(f"{source.path}: attribute `metadata` is not JSON ({error})") from None


def read_columns(
    path: Opened,
    level: str | None,
    columns: Mapping[str, str] | None,
    coordinates: str | None,
) -> tuple[str, dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Read the datasets of one sample: arguments as in `sample_files.read_events`.

    Returns:
        The coordinates; the arrays by our names (`NAMES`), momenta always as `p4`, stacked from
        their components where needed; the event-level columns.
    """
    wanted = dict(columns or {})
    with open_source(path) as source:
        present = source.levels
        if level is None and len(present) > 1 and not wanted.keys() & {"p4", "pt", "E"}:
            raise InputError(f"{source.path}: holds the levels {', '.join(present)}; choose one")
        if level is not None and level not in present:
            there = ", ".join(present) or "one sample at the root, without levels"
            raise InputError(f"{source.path}: level {level!r} is absent; found: {there}")
        chosen = level or (present[0] if len(present) == 1 else "")
        prefix = f"{chosen}/" if chosen else ""
        if coordinates is None:
            group = source.attributes.get(chosen, {})
            coordinates = str(group.get("coordinates", "E,px,py,pz"))
        axes = components(coordinates)
        named = {n: wanted[n] for n in (*NAMES, *axes) if n in wanted}
        at = {n: named.get(n, prefix + n) for n in (*NAMES, *axes)}
        momenta = [n for n in axes if at[n] in source.arrays or n in named]
        if momenta and "p4" not in named and at["p4"] not in source.arrays:
            parts = {n: source.read(at[n]) for n in axes}
            shapes = {n: values.shape for n, values in parts.items()}
            if len(set(shapes.values())) > 1:
                raise InputError(
                    f"{source.path}: components of the momenta differ in shape: {shapes}"
                )
            p4 = np.stack(list(parts.values()), axis=-1)
        else:
            p4 = source.read(at["p4"])
        found = {"p4": p4} | {
            n: source.read(at[n]) for n in NAMES[1:] if n in named or at[n] in source.arrays
        }
        inner = f"{prefix}columns/"
        extra = {n.removeprefix(inner): n for n in source.arrays if n.startswith(inner)}
        extra |= {n: wanted[n] for n in wanted if n not in named}
        return coordinates, found, {n: source.read(where) for n, where in extra.items()}


def read_event_column(path: Opened, level: str | None, name: str) -> np.ndarray | None:
    """Read the event-level column of that name, whole; None where there is none."""
    with open_source(path) as source:
        full = f"{f'{level}/' if level else ''}columns/{name}"
        return source.read(full) if full in source.arrays else None


def write_columns(
    path: str | os.PathLike[str],
    groups: Mapping[str, Mapping[str, np.ndarray]],
    coordinates: str,
    metadata: Mapping[str, Any],
    *,
    overwrite: bool,
) -> None:
    """Write the datasets of one sample {"": ...} or of the levels {"particle": ..., ...}.

    Raises:
        InputError: the file exists (and `overwrite` is false), unknown levels, metadata that JSON
            cannot hold.
    """
    if set(groups) != {""} and not (groups and set(groups) <= set(LEVELS)):
        raise InputError(f"{path}: levels are {list(groups)}, expected some of {list(LEVELS)}")
    try:
        text = json.dumps(dict(metadata))
    except (TypeError, ValueError) as error:
        raise InputError(f"{path}: metadata cannot be written as JSON ({error})") from None
    with written_whole(path, overwrite=overwrite) as scratch, h5py.File(scratch, "w") as file:
        file.attrs.update({"format": FORMAT, "version": VERSION, "metadata": text})
        for level, arrays in groups.items():
            group = file.require_group(level) if level else file
            group.attrs["coordinates"] = coordinates
            for name, array in arrays.items():
                chunks = (min(len(array), CHUNK), *array.shape[1:])
                packed = {"compression": "gzip", "compression_opts": 9, "shuffle": True}
                group.create_dataset(
                    name, data=array, **({"chunks": chunks, **packed} if array.size else {})
                )
