"""Read tensors by name from PyTorch files, if torch is installed, and from safetensors files."""

from __future__ import annotations

import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np

from jaxpriors.errors import InputError
from jaxpriors.models.files import read_metadata, read_safetensors

WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "module")
NETWORK = "linear_in."  # a part of some name in every network's state dict


def read_tensors(
    path: str | Path, key: str | None = None
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Read the tensors of a ``.safetensors``, ``.pt`` or ``.pth`` file, and its metadata.

    ``key`` chooses among several state dicts in a PyTorch file, see ``read_torch``, whose second
    value then stands for the metadata. Raises InputError with the file's name.
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


def read_torch(
    path: str | Path, key: str | None = None
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Read the state dict of a file written by ``torch.save``; no code in the file is run.

    A dict of tensors is used as it is. In a training checkpoint the state dict is found below its
    keys, a network's before others, the usual names (``state_dict``, ``model``, …) before others;
    ``key`` ("ema", "ema.state_dict") chooses another. The second value names the one that was read
    and the others: {"state dict": key, "other state dicts": keys}, empty where there is no choice.
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
    choice = {"state dict": chosen} if chosen else {}
    if others := [name for name in found if name != chosen]:
        choice["other state dicts"] = ", ".join(others)
    return {
        str(name): (value.float() if value.dtype == torch.bfloat16 else value)
        .detach()
        .contiguous()
        .numpy()
        for name, value in found[chosen].items()
    }, choice


def _state_dicts(content: dict, tensor: type) -> dict[str, dict]:
    """Find every dict of nothing but tensors, by its keys joined with dots, the likeliest first."""
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
    """List the classes of a pickled NumPy number: harmless, and common beside a state dict."""
    scalar = np.float64(0).__reduce__()[0]
    names = [f"numpy.{core}.multiarray.scalar" for core in ("core", "_core")]
    return [
        *((scalar, name) for name in names),
        np.dtype,
        *{type(np.dtype(code)) for code in "?bhilqBHILQefd"},
    ]
