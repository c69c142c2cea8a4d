"""The columns of a sample on disk: HDF5 (and npz) read, HDF5 written, whole or not at all."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from jaxpriors import processes
from jaxpriors.data.columns import components
from jaxpriors.errors import InputError

FORMAT, VERSION = "jaxpriors-events", 1
LEVELS = ("particle", "detector")
CHUNK = 2**16  # rows that are compressed together
NAMES = ("p4", "pid", "offsets", "multiplicity", "mask", "jet_p4", "weight", "label")


@dataclass(frozen=True)
class Source:
    """An open file: its arrays by full name (`group/name`), and the attributes of its groups."""

    path: Path
    arrays: Mapping[str, Any]
    attributes: Mapping[str, Mapping[str, Any]]

    def read(self, name: str) -> np.ndarray:
        """The array of that name.

        Raises:
            InputError: there is none (the message lists what there is), or it is not numeric.
        """
        if name not in self.arrays:
            found = ", ".join(sorted(self.arrays)) or "no dataset at all"
            raise InputError(f"{self.path}: no dataset {name!r}; found: {found}")
        try:
            array = np.asarray(self.arrays[name][()])
        except ValueError as error:
            raise InputError(f"{self.path}: {name!r} cannot be read ({error})") from error
        if array.dtype.kind not in "biuf":
            raise InputError(f"{self.path}: {name!r} has dtype {array.dtype}, expected numbers")
        return array


def loaded(path: str | os.PathLike[str], names: Sequence[str]) -> Source:
    """Some arrays of a file, in memory; raises InputError as `open_source` and `Source.read`."""
    with open_source(path) as source:
        return Source(source.path, {name: source.read(name) for name in names}, {"": {}})


@contextlib.contextmanager
def open_source(path: str | os.PathLike[str]) -> Iterator[Source]:
    """Open an HDF5 or npz file, or the folder of a prepared sample, for reading.

    Raises:
        InputError: no such file, a file of another kind, truncated or damaged; also while its
            arrays are read within the context.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path}: no such file")
    if path.is_dir():
        from jaxpriors.data import prepared  # which is written in terms of this module

        if not prepared.is_prepared(path):
            raise InputError(
                f"{path}: is a folder without a prepared sample, expected one, an HDF5 or npz file"
            )
        yield Source(path, prepared.mapped_arrays(path), prepared.attributes(path))
        return
    try:
        if h5py.is_hdf5(path):
            with h5py.File(path, "r") as file:
                yield _source(path, file)
        elif zipfile.is_zipfile(path):
            with np.load(path, allow_pickle=False) as archive:
                yield Source(path, archive, {"": {}})
        else:
            with open(path, "rb") as raw:
                start = raw.read(8)
            raise InputError(f"{path}: starts with {start!r}, expected an HDF5 or npz file")
    except (OSError, RuntimeError, KeyError, EOFError, zlib.error, zipfile.BadZipFile) as error:
        raise InputError(
            f"{path}: cannot be read: truncated, damaged or forbidden ({error})"
        ) from error


def _source(path: Path, file: h5py.File) -> Source:
    arrays: dict[str, Any] = {}
    attributes: dict[str, Mapping[str, Any]] = {"": dict(file.attrs)}

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            arrays[name] = item
        else:
            attributes[name] = dict(item.attrs)

    file.visititems(visit)
    return Source(path, arrays, attributes)


def check_filters(path: Path, array: h5py.Dataset) -> None:
    """InputError where a dataset is compressed so that it needs hdf5plugin, which is missing."""
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


def levels(path: str | os.PathLike[str]) -> tuple[str, ...]:
    """The levels that a file holds; none where its one sample stands at the root."""
    with open_source(path) as source:
        return _levels(source)


def read_metadata(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The metadata that `write_columns` stored; empty for a file of another origin."""
    with open_source(path) as source:
        text = source.attributes[""].get("metadata", "{}")
    try:
        return json.loads(text)
    except (TypeError, json.JSONDecodeError) as error:
        raise InputError(f"{path}: attribute `metadata` is not JSON ({error})") from None


def read_columns(
    path: str | os.PathLike[str],
    level: str | None,
    columns: Mapping[str, str] | None,
    coordinates: str | None,
) -> tuple[str, dict[str, np.ndarray], dict[str, np.ndarray]]:
    """The datasets of one sample: arguments as in `sample_files.read_events`.

    Returns:
        The coordinates; the arrays by our names (`NAMES`), momenta always as `p4`, stacked from
        their components where needed; the event-level columns.
    """
    wanted = dict(columns or {})
    with open_source(path) as source:
        prefix = _prefix(source, level, wanted)
        if coordinates is None:
            group = source.attributes.get(prefix.rstrip("/"), {})
            coordinates = str(group.get("coordinates", "E,px,py,pz"))
        parts = components(coordinates)
        named = {n: wanted[n] for n in (*NAMES, *parts) if n in wanted}
        at = {n: named.get(n, prefix + n) for n in (*NAMES, *parts)}
        momenta = [n for n in parts if at[n] in source.arrays or n in named]
        if momenta and "p4" not in named and at["p4"] not in source.arrays:
            p4 = _stack({n: source.read(at[n]) for n in parts}, source.path)
        else:
            p4 = source.read(at["p4"])
        found = {"p4": p4} | {
            n: source.read(at[n]) for n in NAMES[1:] if n in named or at[n] in source.arrays
        }
        inner = f"{prefix}columns/"
        extra = {n.removeprefix(inner): n for n in source.arrays if n.startswith(inner)}
        extra |= {n: wanted[n] for n in wanted if n not in named}
        return coordinates, found, {n: source.read(where) for n, where in extra.items()}


def read_event_column(
    path: str | os.PathLike[str], level: str | None, name: str
) -> np.ndarray | None:
    """The event-level column of that name, whole, or None where there is none."""
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
    with written_whole(path, overwrite=overwrite) as part, h5py.File(part, "w") as file:
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


def _levels(source: Source) -> tuple[str, ...]:
    return tuple(x for x in LEVELS if any(name.startswith(f"{x}/") for name in source.arrays))


def _prefix(source: Source, level: str | None, columns: Mapping[str, str]) -> str:
    """What the names of the chosen sample begin with: `particle/`, `detector/` or nothing."""
    present = _levels(source)
    if level is None:
        if len(present) > 1 and not columns.keys() & {"p4", "pt", "E"}:
            raise InputError(f"{source.path}: holds the levels {', '.join(present)}; choose one")
        return f"{present[0]}/" if len(present) == 1 else ""
    if level not in present:
        found = ", ".join(present) or "one sample at the root, without levels"
        raise InputError(f"{source.path}: level {level!r} is absent; found: {found}")
    return f"{level}/"


def _stack(parts: Mapping[str, np.ndarray], path: Path) -> np.ndarray:
    shapes = {name: part.shape for name, part in parts.items()}
    if len(set(shapes.values())) > 1:
        raise InputError(f"{path}: components of the momenta differ in shape: {shapes}")
    return np.stack(list(parts.values()), axis=-1)


@contextlib.contextmanager
def written_whole(path: str | os.PathLike[str], *, overwrite: bool = False) -> Iterator[Path]:
    """A temporary path beside `path`, which takes its place when the context ends well.

    Of several processes, the first alone writes; the others' paths are of no consequence.

    Raises:
        InputError: the file exists and `overwrite` is false, or its folder cannot be made.
    """
    path = Path(path)
    if not processes.is_first():
        with tempfile.TemporaryDirectory(prefix="jaxpriors-") as scratch:
            yield Path(scratch) / path.name
        return
    if path.is_dir() or (path.exists() and not overwrite):
        raise InputError(f"{path}: exists already; choose another name or allow overwriting")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{path.parent}: this folder cannot be made ({error})") from error
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error})") from error
    finally:
        temporary.unlink(missing_ok=True)
