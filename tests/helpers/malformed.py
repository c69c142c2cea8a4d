"""Mutations that make valid files malformed, by families; each is a function of a file and a rng.

Those of paths, bytes, HDF5 and npz are here, those of JSON and safetensors in
`tests.helpers.malformed_texts`. A mutation changes one thing and returns a few words on it.
Families in `LENIENT` may leave another valid file behind: of numbers without a checksum, a changed
byte is just another number.
"""

from __future__ import annotations

import io
import os
import re
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

Mutation = Callable[[Path, np.random.Generator], str]

DEEP = "[" * 20_000 + "]" * 20_000
LENIENT = {"flipped bytes", "cut short"}
HARMLESS = "notes about the sample"  # a name that means nothing to anyone
OF_NUMBERS = ("x", [], {}, True, float("nan"), float("inf"), 2**70, 10**400)
OF_OTHERS = (5, "x", [], {}, None, DEEP)


# --- paths and bytes


def gone(path: Path, rng: np.random.Generator) -> str:
    path.unlink()
    return f"{path.name} is gone"


def folder(path: Path, rng: np.random.Generator) -> str:
    path.unlink()
    path.mkdir()
    return f"{path.name} is a folder"


def pipe(path: Path, rng: np.random.Generator) -> str:
    path.unlink()
    os.mkfifo(path)
    return f"{path.name} is a pipe that nobody writes to"


def dangling(path: Path, rng: np.random.Generator) -> str:
    path.unlink()
    path.symlink_to("nowhere")
    return f"{path.name} is a link to nothing"


def truncated(path: Path, rng: np.random.Generator) -> str:
    content = path.read_bytes()
    keep = int(rng.integers(0, len(content)))
    path.write_bytes(content[:keep])
    return f"{path.name} ends after {keep} of {len(content)} bytes"


def flipped(path: Path, rng: np.random.Generator) -> str:
    content = bytearray(path.read_bytes())
    places = rng.integers(0, min(len(content), int(rng.choice([100, 2000, 10**9]))), 3)
    for place in places:
        content[place] ^= int(rng.integers(1, 256))
    path.write_bytes(content)
    return f"{path.name}: bytes {places.tolist()} changed"


def emptied(path: Path, rng: np.random.Generator) -> str:
    path.write_bytes(b"")
    return f"{path.name} is empty"


def garbage(path: Path, rng: np.random.Generator) -> str:
    start = [b"", b"\x89HDF\r\n\x1a\n", b"PK\x03\x04", b"root", b"\x80\x02", b"{", bytes(8)]
    chosen = start[int(rng.integers(len(start)))]
    path.write_bytes(chosen + rng.integers(0, 256, 500, dtype=np.uint8).tobytes())
    return f"{path.name} is {chosen!r} and noise"


PATHS: dict[str, Mutation] = {
    "gone": gone,
    "folder": folder,
    "pipe": pipe,
    "dangling link": dangling,
    "empty file": emptied,
    "noise": garbage,
}
BYTES: dict[str, Mutation] = {"cut short": truncated, "flipped bytes": flipped}


# --- arrays, whatever holds them


def wrong_kind(array: np.ndarray, rng: np.random.Generator) -> Any:
    kinds = ["S8", "complex128", "M8[s]", [("a", "f4"), ("b", "f4")]]
    return np.zeros(array.shape, kinds[int(rng.integers(len(kinds)))])


def objects(array: np.ndarray, rng: np.random.Generator) -> Any:
    found = np.empty(array.shape, object)
    found[...] = "x"
    return found


def other_rank(array: np.ndarray, rng: np.random.Generator) -> Any:
    made = [lambda a: a[..., None], lambda a: a[None], lambda a: np.asarray(a.reshape(-1)[:1])[0]]
    return np.asarray(made[int(rng.integers(3))](array))


def shorter(array: np.ndarray, rng: np.random.Generator) -> Any:
    return array[:-1] if rng.integers(2) else array[:0]


def longer(array: np.ndarray, rng: np.random.Generator) -> Any:
    return np.concatenate([array, array[-1:]])


def not_finite(array: np.ndarray, rng: np.random.Generator) -> Any:
    found = array.copy()
    found[(0,) * found.ndim] = [np.nan, np.inf, -np.inf][int(rng.integers(3))]
    return found


def negative(array: np.ndarray, rng: np.random.Generator) -> Any:
    found = array.astype(np.int64)
    found[int(rng.integers(len(found)))] = [-1, -(2**40), 2**62][int(rng.integers(3))]
    return found


ARRAYS: dict[str, Callable[[np.ndarray, np.random.Generator], Any]] = {
    "kind of numbers": wrong_kind,
    "objects": objects,
    "rank": other_rank,
    "fewer rows": shorter,
    "more rows": longer,
    "not finite": not_finite,
    "counts out of range": negative,
}
COUNTS = re.compile(r"(offsets|multiplicity|replicas)$")


def fits(family: str, name: str, array: np.ndarray) -> bool:
    """Whether a family says anything about such an array."""
    if not array.size or not array.ndim:
        return False
    if family == "not finite":
        return array.dtype.kind == "f"
    if family == "counts out of range":
        return COUNTS.search(name) is not None
    return array.dtype.kind in "biuf"


def choose(rng: np.random.Generator, names: list[str]) -> str:
    return sorted(names)[int(rng.integers(len(names)))]


# --- HDF5


def datasets(path: Path) -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = {}

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and item.dtype.kind in "biuf":
            found[name] = item[()]

    with h5py.File(path) as file:
        file.visititems(visit)
    return found


def of_hdf5(family: str, free: re.Pattern[str]) -> Mutation:
    """Change one dataset of an HDF5 file; those whose names are ``free`` may hold anything."""

    def mutation(path: Path, rng: np.random.Generator) -> str:
        arrays = {n: a for n, a in datasets(path).items() if not free.search(n)}
        names = [n for n, a in arrays.items() if family not in ARRAYS or fits(family, n, a)]
        if not names:
            return ""
        name = choose(rng, names)
        array = arrays[name]
        with h5py.File(path, "a") as file:
            if family in ARRAYS:
                value = ARRAYS[family](array, rng)
                del file[name]
                if value.dtype.kind == "M":
                    value = value.astype(np.int64).astype("S8")
                kind = h5py.string_dtype() if value.dtype == object else value.dtype
                file.create_dataset(name, data=value, dtype=kind)
            elif family == "null data space":
                del file[name]
                file[name] = h5py.Empty(array.dtype)
            elif family == "claimed size":
                rows = int(rng.choice([2**33, 2**40, 2**50]))
                del file[name]
                shape = (rows, *array.shape[1:])
                chunks = (1024, *array.shape[1:])
                packed: dict[str, Any] = {"chunks": chunks, "compression": "gzip"}
                made = file.create_dataset(
                    name, shape, array.dtype, **(packed if rng.integers(2) else {"chunks": chunks})
                )
                if rng.integers(2):
                    made[: len(array)] = array
            elif family == "never written":
                del file[name]
                file.create_dataset(name, array.shape, array.dtype)
            elif family == "link to nothing":
                del file[name]
                soft = rng.integers(2)
                file[name] = h5py.SoftLink("/no/where") if soft else h5py.ExternalLink("no.h5", "x")
            elif family == "link to itself":
                del file[name]
                file[name] = h5py.SoftLink(f"/{name}")
            elif family == "group in its place":
                del file[name]
                file.create_group(name)
            elif family == "link that leads there":
                file[f"{HARMLESS}/{name}"] = file[name]
                del file[name]
                file[name] = h5py.SoftLink(f"/{HARMLESS}/{name}")
            elif family == "partly virtual":
                del file[name]
                layout = h5py.VirtualLayout(array.shape, array.dtype)
                file[f"{HARMLESS}/part"] = array[:1]
                layout[:1] = h5py.VirtualSource(".", f"{HARMLESS}/part", array[:1].shape)
                file.create_virtual_dataset(name, layout)
            else:  # a harmless name more
                file[HARMLESS] = np.arange(3)
        return f"{path.name}: {name}: {family}"

    return mutation


def attribute(path: Path, rng: np.random.Generator) -> str:
    with h5py.File(path, "a") as file:
        places = {"": file} | {n: item for n, item in file.items() if isinstance(item, h5py.Group)}
        where = choose(rng, list(places))
        held = places[where].attrs
        known = list(held) or ["format"]
        name = choose(rng, known)
        values = [
            np.arange(3),
            np.bytes_(b"\xff\xfe"),
            h5py.Empty("f8"),
            DEEP,
            "[1, 2]",
            "{",
            '{"a": NaN}',
            -1.5,
            "",
            np.int64(-1),
        ]
        number = int(rng.integers(len(values)))
        held[name] = values[number] if len(str(values[number])) < 30_000 else "{}"
        if values[number] is DEEP:
            held[name] = "[" * 15_000 + "]" * 15_000  # an attribute holds 64 kB
    return f"{path.name}: attribute {name!r} of {where or 'the root'!r} is value {number}"


HDF5 = (
    *ARRAYS,
    "null data space",
    "claimed size",
    "never written",
    "link to nothing",
    "link to itself",
    "group in its place",
    "link that leads there",
    "partly virtual",
    "name more",
)


def hdf5(free: str = "(?!)") -> dict[str, Mutation]:
    """Families of an HDF5 file; names that match ``free`` are left alone."""
    families = {family: of_hdf5(family, re.compile(free)) for family in HDF5}
    return {**PATHS, **BYTES, **families, "attribute": attribute}


# --- npz


def of_npz(family: str) -> Mutation:
    def mutation(path: Path, rng: np.random.Generator) -> str:
        with np.load(path) as file:
            arrays: dict[str, Any] = {name: file[name] for name in file.files}
        names = [n for n, a in arrays.items() if family not in ARRAYS or fits(family, n, a)]
        if not names:
            return ""
        name = choose(rng, names)
        members = {n: _npy(array) for n, array in arrays.items()}
        if family in ARRAYS:
            members[name] = _npy(ARRAYS[family](arrays[name], rng))
        elif family == "claimed size":
            array = arrays[name]
            header = {"descr": array.dtype.str, "fortran_order": False}
            header["shape"] = (int(rng.choice([2**33, 2**50])), *array.shape[1:])
            buffer = io.BytesIO()
            np.lib.format.write_array_header_1_0(buffer, header)
            members[name] = buffer.getvalue() + array.tobytes()
        elif family == "no array":
            members[name] = b"not an array"
        elif family == "name more":
            members[HARMLESS] = _npy(np.array({"tune": 5}, object))
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for each, content in members.items():
                archive.writestr(f"{each}.npy", content)
        return f"{path.name}: {name}: {family}"

    return mutation


def _npy(array: Any) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.asanyarray(array))
    return buffer.getvalue()


NPZ = {**PATHS, **BYTES} | {
    family: of_npz(family) for family in (*ARRAYS, "claimed size", "no array", "name more")
}


def copied(source: Path, place: Path) -> Path:
    """Copy a file or folder to a new place."""
    if source.is_dir():
        shutil.copytree(source, place)
    else:
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, place)
    return place
