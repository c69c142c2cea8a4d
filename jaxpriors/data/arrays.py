"""Arrays in files (.npy): opened with their faults in one line, and their fingerprints.

A fingerprint tells whether a file was changed, at the cost of opening it. Where all of an array is
read when its sample is opened (`WHOLE`), it is a hash of the whole file. Other arrays may have
hundreds of gigabytes: theirs is a hash of the file's size, of its first and last megabyte and of
blocks spread evenly between them, 16 MiB in all; a change between these blocks is not seen. Times
of change are not looked at, as a copy has others.
"""

from __future__ import annotations

import hashlib
import stat
import tokenize
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxpriors.errors import InputError

DAMAGE = (  # what numpy makes of it, by the parser of the header as well
    OSError,
    ValueError,
    EOFError,
    OverflowError,
    SyntaxError,
    RecursionError,
    tokenize.TokenError,
    zipfile.BadZipFile,
)
WHOLE = ("offsets", "weight", "label")
ENDS, BLOCK, BLOCKS = 2**20, 2**16, 224


def mapped(path: Path) -> np.ndarray:
    """Map an array into memory; raise InputError where there is none, whole and without objects."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise ValueError("it is no regular file")
        array: Any = np.load(path, mmap_mode="r")  # compares the size of the file with the header
        if not isinstance(array, np.ndarray):
            array.close()
            raise ValueError("it is an archive of arrays")
        if array.dtype.kind in "OV":
            raise ValueError(f"its values are of type {array.dtype}")
    except DAMAGE as error:
        why = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{path}: cannot be read: missing, truncated or damaged ({why})") from None
    return array


def check_array(path: Path, array: np.ndarray, dtypes: Sequence[str], *shape: int | None) -> None:
    """Raise InputError unless an array has one of the dtypes and the shape; None is any length."""
    fits = array.ndim == len(shape) and all(
        wanted in (None, found) for wanted, found in zip(shape, array.shape, strict=True)
    )
    if not fits or array.dtype not in [np.dtype(name) for name in dtypes]:
        wanted = ", ".join("n" if length is None else str(length) for length in shape)
        raise InputError(
            f"{path}: found {array.dtype}{list(array.shape)}, expected {' or '.join(dtypes)}"
            f"[{wanted}]"
        )


def fingerprint(path: Path) -> str:
    """Hash the size and the content of a file, of large ones only parts of the content."""
    size = path.stat().st_size
    found = hashlib.blake2b(str(size).encode(), digest_size=16)
    with open(path, "rb") as file:
        if path.stem in WHOLE or size <= 2 * ENDS + BLOCK * BLOCKS:
            while block := file.read(ENDS):
                found.update(block)
            return found.hexdigest()
        between = np.linspace(ENDS, size - ENDS - BLOCK, BLOCKS).astype(np.int64).tolist()
        for start, length in ((0, ENDS), *((s, BLOCK) for s in between), (size - ENDS, ENDS)):
            file.seek(start)
            found.update(file.read(length))
    return found.hexdigest()
