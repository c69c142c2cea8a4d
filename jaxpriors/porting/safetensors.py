"""Read and write tensors by name: safetensors files with numpy alone, PyTorch files where torch is.

A safetensors file is eight bytes (little-endian length of the header), a JSON header
``{name: {"dtype", "shape", "data_offsets"}, "__metadata__": {str: str}}`` and the tensors' bytes.
"""

from __future__ import annotations

import json
import math
import os
import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxpriors import processes
from jaxpriors.errors import InputError

DTYPES: dict[str, np.dtype] = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "I64": np.dtype("<i8"),
    "I32": np.dtype("<i4"),
    "I16": np.dtype("<i2"),
    "I8": np.dtype("i1"),
    "U64": np.dtype("<u8"),
    "U32": np.dtype("<u4"),
    "U16": np.dtype("<u2"),
    "U8": np.dtype("u1"),
    "BOOL": np.dtype("?"),
}
HEADER_LIMIT = 100_000_000
WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "module")
NETWORK = "linear_in."  # a part of some name in every network's state dict


def read_tensors(
    path: str | Path, key: str | None = None
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The tensors of a ``.safetensors``, ``.pt`` or ``.pth`` file and its metadata.

    ``key`` chooses among several state dicts in a PyTorch file, see ``read_torch``; then the
    metadata is what it tells. Raises InputError naming the file and the tensor.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    if path.suffix == ".safetensors":
        if key is not None:
            raise InputError(f"{path}: found the key {key!r}, a safetensors file holds one dict")
        return read_safetensors(path), read_metadata(path)
    if path.suffix in (".pt", ".pth", ".ckpt", ".bin"):
        return read_torch(path, key)
    raise InputError(f"{path}: found suffix {path.suffix!r}, expected .safetensors, .pt or .pth")


def read_safetensors(path: str | Path) -> dict[str, np.ndarray]:
    """Every tensor of a safetensors file; bfloat16 becomes float32, which holds it exactly.

    Raises InputError naming the file and the tensor where the file is truncated, the header is
    not valid, or a tensor's range, size or type is wrong.
    """
    path = Path(path)
    header, start = _header(path)
    data = np.fromfile(path, dtype=np.uint8, offset=start)
    ranges: list[tuple[int, int, str]] = []
    tensors = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        dtype, shape, begin, end = _entry(path, name, entry, data.size)
        ranges.append((begin, end, name))
        raw = data[begin:end]
        if dtype == "BF16":
            words = raw.view("<u2").astype(np.uint32) << np.uint32(16)
            tensors[name] = words.view(np.float32).reshape(shape)
        else:
            if dtype == "BOOL" and raw.size and int(raw.max()) > 1:
                raise InputError(f"{path}: tensor {name!r}: found a byte above 1 in a BOOL tensor")
            tensors[name] = raw.view(DTYPES[dtype]).reshape(shape)
    position = 0
    for begin, end, name in sorted(ranges):
        if begin != position:
            what = "overlaps the one before" if begin < position else "leaves a gap before it"
            raise InputError(
                f"{path}: tensor {name!r}: its bytes {begin}:{end} {what}, expected {position}"
            )
        position = end
    if position != data.size:
        raise InputError(f"{path}: found {data.size} bytes of tensors, the header tells {position}")
    return tensors


def read_metadata(path: str | Path) -> dict[str, str]:
    """The ``__metadata__`` of a safetensors file (text to text), empty where there is none."""
    metadata = _header(Path(path))[0].get("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise InputError(f"{path}: __metadata__ is not a table of text")
    return metadata


def write_safetensors(
    path: str | Path, tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str] | None = None
) -> None:
    """Write ``tensors`` and ``metadata`` (text to text); the file is complete or absent.

    Raises InputError where the place cannot be written to.
    """
    names = {dtype: name for name, dtype in DTYPES.items()}
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    arrays, position = [], 0
    for name, value in tensors.items():
        array = np.asarray(value)
        dtype = names.get(array.dtype.newbyteorder("<"))
        if dtype is None:
            raise TypeError(f"tensor {name!r}: {array.dtype} cannot be stored")
        array = np.asarray(array, dtype=DTYPES[dtype], order="C")
        offsets = [position, position + array.nbytes]
        header[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": offsets}
        arrays.append(array)
        position = offsets[1]
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path = Path(path)
    if not processes.is_first():
        return
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with open(temporary, "wb") as file:
            file.write(len(text).to_bytes(8, "little") + text)
            for array in arrays:
                file.write(array.tobytes())
        os.replace(temporary, path)
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror or error}") from error
    finally:
        temporary.unlink(missing_ok=True)


def read_torch(
    path: str | Path, key: str | None = None
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The state dict of a file written by ``torch.save``; no code in the file is run.

    A dict of tensors is taken as it is; in a training checkpoint the state dict is found below its
    keys, a network's before others, the usual names (``state_dict``, ``model``, …) before others;
    ``key`` ("ema", "ema.state_dict") chooses another. The second value tells which one was taken
    and which were not: {"state dict": key, "other state dicts": keys}, empty where there is no
    choice.
    """
    path = Path(path)
    try:
        import torch
    except ImportError as error:
        raise InputError(
            f"{path}: PyTorch is needed to read this file and is not installed; install torch or "
            "save the state dict with safetensors.torch.save_file"
        ) from error
    try:
        with torch.serialization.safe_globals(_numpy_scalars()):
            content = torch.load(path, weights_only=True, map_location="cpu")
    except pickle.UnpicklingError as error:
        named = re.search(r"GLOBAL (\S+)", str(error))
        what = f"{named[1]}, which needs code to load" if named else "what needs code, or damage"
        raise InputError(
            f"{path}: the file holds more than tensors ({what}); save model.state_dict() alone"
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{path}: not a readable PyTorch file: {reason}") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: found {type(content).__name__}, expected tensors")
    found = _state_dicts(content, torch.Tensor)
    if not found:
        raise InputError(
            f"{path}: found the keys {sorted(map(str, content))[:12]}, expected a dict of tensors, "
            "or one under some key"
        )
    chosen = next(iter(found)) if key is None else key
    if chosen not in found:
        raise InputError(f"{path}: no state dict {key!r}, found {', '.join(map(repr, found))}")
    told = {"state dict": chosen} if chosen else {}
    if others := [name for name in found if name != chosen]:
        told["other state dicts"] = ", ".join(others)
    return {
        str(name): (value.float() if value.dtype == torch.bfloat16 else value)
        .detach()
        .contiguous()
        .numpy()
        for name, value in found[chosen].items()
    }, told


def _state_dicts(content: dict, tensor: type) -> dict[str, dict]:
    """Every dict of nothing but tensors by its keys joined with dots, the likeliest first."""
    found: dict[str, dict] = {}

    def search(table: dict, where: tuple[str, ...]) -> None:
        if table and all(isinstance(value, tensor) for value in table.values()):
            found[".".join(where)] = table
            return
        for name, value in table.items():
            if isinstance(name, str) and isinstance(value, dict):
                search(value, (*where, name))

    search(content, ())

    def rank(where: str) -> tuple[bool, list[int]]:
        parts = where.split(".")
        places = [WRAPPERS.index(p) if p in WRAPPERS else len(WRAPPERS) for p in parts]
        return not any(NETWORK in str(name) for name in found[where]), places

    ordered = {where: found[where] for where in sorted(found, key=rank)}
    networks = {where: table for where, table in ordered.items() if not rank(where)[0]}
    return networks or ordered


def _numpy_scalars() -> list[Any]:
    """What a pickled numpy number consists of: harmless, and common beside a state dict."""
    scalar = np.float64(0).__reduce__()[0]
    names = [f"numpy.{core}.multiarray.scalar" for core in ("core", "_core")]
    return [
        *((scalar, name) for name in names),
        np.dtype,
        *{type(np.dtype(code)) for code in "?bhilqBHILQefd"},
    ]


def _header(path: Path) -> tuple[dict[str, Any], int]:
    """The header of a safetensors file and the position of the first tensor's bytes."""
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    size = path.stat().st_size
    if size < 8:
        raise InputError(f"{path}: found {size} bytes, expected a safetensors file")
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > HEADER_LIMIT or length > size - 8:
            raise InputError(
                f"{path}: the header claims {length} bytes in a file of {size}; "
                "truncated or not a safetensors file"
            )
        text = file.read(length)
    try:
        header = json.loads(text.decode(), object_pairs_hook=_unique)
    except ValueError as error:  # JSON and Unicode errors are ValueErrors
        raise InputError(f"{path}: the header is not valid JSON: {error}") from error
    if not isinstance(header, dict):
        raise InputError(f"{path}: the header is {type(header).__name__}, expected a JSON object")
    return header, 8 + length


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(n for n in names if names.count(n) > 1)!r} is given twice")
    return table


def _entry(path: Path, name: str, entry: Any, size: int) -> tuple[str, list[int], int, int]:
    """dtype, shape, first and last byte of one tensor, all checked against the file's size."""

    def naturals(value: Any) -> bool:
        return isinstance(value, list) and all(type(n) is int and n >= 0 for n in value)

    where = f"{path}: tensor {name!r}"
    if not isinstance(entry, dict) or not {"dtype", "shape", "data_offsets"} <= entry.keys():
        raise InputError(f"{where}: expected dtype, shape and data_offsets, found {entry!r:.120}")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if dtype not in DTYPES and dtype != "BF16":
        raise InputError(f"{where}: found dtype {dtype!r}, expected one of {[*DTYPES, 'BF16']}")
    if not naturals(shape) or not naturals(offsets) or len(offsets) != 2:
        raise InputError(f"{where}: shape {shape!r:.80} or data_offsets {offsets!r:.80} not valid")
    begin, end = offsets
    if begin > end or end > size:
        raise InputError(
            f"{where}: bytes {begin}:{end} lie outside of the {size} bytes of tensors; "
            "truncated or damaged"
        )
    width = 2 if dtype == "BF16" else DTYPES[dtype].itemsize
    if end - begin != math.prod(shape) * width:
        raise InputError(
            f"{where}: found {end - begin} bytes, expected {math.prod(shape) * width} "
            f"for {dtype} of shape {shape}"
        )
    return dtype, shape, begin, end
