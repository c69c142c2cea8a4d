"""Read tensors by name from PyTorch files, if torch is installed, and from safetensors files."""

from __future__ import annotations

import pickle
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from jaxpriors.errors import InputError
from jaxpriors.models.files import read_metadata, read_safetensors
from jaxpriors.porting import weight_sets
from jaxpriors.run.stored_arrays import regular_file

SUFFIXES = (".pt", ".pth", ".ckpt", ".bin")  # of PyTorch's files that are damaged


def read_tensors(
    path: str | Path, key: str | None = None
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Read the tensors of a safetensors or PyTorch file of any name, and its metadata.

    ``key`` chooses among several state dicts in a PyTorch file, see ``read_torch``, whose second
    value then stands for the metadata. Raises InputError with the file's name.
    """
    path = regular_file(path, "a safetensors file or one of PyTorch")
    with open(path, "rb") as file:
        start = file.read(9)
    of_torch = start.startswith((b"PK\x03\x04", b"\x80"))  # a zip archive, or a pickle
    if start.startswith(b"PK") and not _with_pickle(path):
        raise InputError(f"{path}: found a zip archive that torch.save did not write")
    if start[8:] == b"{" or (path.suffix == ".safetensors" and not of_torch):
        if key is not None:
            raise InputError(f"{path}: found the key {key!r}, a safetensors file holds one dict")
        return read_safetensors(path), read_metadata(path)
    if of_torch or path.suffix in SUFFIXES:
        return read_torch(path, key)
    raise InputError(
        f"{path}: starts with {start!r}, expected a safetensors file or one that torch.save wrote"
    )


def _with_pickle(path: Path) -> bool:
    """Whether a zip archive holds what torch.save writes; of a damaged one PyTorch has the word."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith("data.pkl") for name in archive.namelist())
    except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile):
        return True


def read_torch(
    path: str | Path, key: str | None = None
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Read the state dict of a file written by ``torch.save``; no code in the file is run.

    A dict of tensors is used as it is. In a training checkpoint the state dict is found below its
    keys (``weight_sets.find``); ``key`` ("ema", "ema.shadow_params") chooses another, or a list of
    averaged weights without names. The second value names the one that was read and the others:
    {"state dict": key, "other state dicts": keys}, empty where there is no choice.
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
    except Exception as error:  # a damaged pickle raises whatever its instructions meet
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{path}: not a readable PyTorch file: {reason}") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: found {type(content).__name__}, expected tensors")
    found = weight_sets.find(content, torch.Tensor)
    if not found.named:
        raise InputError(
            f"{path}: found the keys {sorted(map(str, content))[:12]}, expected a dict of tensors, "
            "or one under some key"
        )
    chosen = found.keys[0] if key is None else key
    try:
        tensors = {name: _numbers(name, value) for name, value in found.choose(chosen).items()}
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    choice = {"state dict": chosen} if chosen else {}
    if others := [found.describe(name) for name in found.keys if name != chosen]:
        choice["other state dicts"] = ", ".join(others)
    return tensors, choice


def _numbers(name: str, tensor: Any) -> np.ndarray:
    """Turn a tensor into an array; InputError for one that claims more than the file holds."""
    try:
        if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
            raise InputError(
                f"tensor {name!r} claims shape {tuple(tensor.shape)}, found "
                f"{tensor.untyped_storage().nbytes()} bytes"
            )
        exact = tensor.float() if str(tensor.dtype) == "torch.bfloat16" else tensor
        return exact.detach().contiguous().numpy()
    except (RuntimeError, TypeError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"tensor {name!r} cannot be read: {reason}") from error


def _numpy_scalars() -> list[Any]:
    """List the classes of a pickled NumPy number: harmless, and common beside a state dict."""
    scalar = np.float64(0).__reduce__()[0]
    names = [f"numpy.{core}.multiarray.scalar" for core in ("core", "_core")]
    return [
        *((scalar, name) for name in names),
        np.dtype,
        *{type(np.dtype(code)) for code in "?bhilqBHILQefd"},
    ]
