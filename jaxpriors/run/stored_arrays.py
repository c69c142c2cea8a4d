"""Arrays in HDF5 and npz files, measured before they are read: no claim is larger than the file."""

from __future__ import annotations

import math
import os
import tokenize
import zipfile
import zlib
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from jaxpriors.errors import InputError, one_line

DEFLATE = 1032  # bytes that one byte of deflate can hold at most
BLOCK = 2**20  # bytes that are unpacked at once
FORMAT = np.lib.format


def regular_file(path: str | os.PathLike[str], expected: str = "a file") -> Path:
    """Return the path where there is a file; nothing is opened, so that nothing can hang.

    Raises:
        InputError: there is nothing, a link to nothing, a folder, a pipe, a socket or a device.
    """
    path = Path(path)
    try:
        if path.is_file():
            return path
        if path.is_dir():
            raise InputError(f"{path}: is a folder, expected {expected}")
        if path.exists():
            raise InputError(f"{path}: is a pipe, a socket or a device, expected {expected}")
        if path.is_symlink():
            raise InputError(f"{path}: is a link to nothing, expected {expected}")
    except (OSError, ValueError) as error:  # a name that no file can have
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: cannot be looked at ({error}), expected {expected}") from None
    raise InputError(f"{path}: no such file, expected {expected}")


def stored_whole(dataset: h5py.Dataset, place: str) -> None:
    """Compare what an HDF5 dataset claims with what was written of it; nothing is read.

    place: for messages, the file and the name. Of virtual datasets and external files, the sources
    are looked at.

    Raises:
        InputError: the dataset has no data space, or claims more than the file can hold or was
            ever written.
    """
    if dataset.shape is None:
        raise InputError(f"{place} has a null data space, expected an array")
    size = dataset.size * dataset.dtype.itemsize
    claim = f"{place} claims {dataset.dtype} of shape {dataset.shape}"
    if not size:
        return
    if dataset.is_virtual:
        _virtual_whole(dataset, claim)
        return
    if dataset.external is not None:
        _external_whole(dataset, claim)
        return
    file = os.stat(dataset.file.filename).st_size
    stored = dataset.id.get_storage_size()
    if dataset.chunks is not None:
        pairs = zip(dataset.shape, dataset.chunks, strict=True)
        chunks, written = math.prod(-(-n // c) for n, c in pairs), dataset.id.get_num_chunks()
        if written < chunks:
            raise InputError(
                f"{claim}, found {written} of its {chunks} chunks, expected all to be written"
            )
    if stored > file or size > _most(dataset) * stored:
        raise InputError(
            f"{claim}, {size} bytes, found {min(stored, file)} bytes of it in the file of {file}, "
            "expected all to be written"
        )


def _most(dataset: h5py.Dataset) -> float:
    """Give the most bytes that a stored byte can stand for."""
    filters = dataset.id.get_create_plist()
    used = [filters.get_filter(i)[0] for i in range(filters.get_nfilters())]
    packed = [n for n in used if n not in (h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32)]
    if not packed:
        return 1.0
    return DEFLATE if packed == [h5py.h5z.FILTER_DEFLATE] else math.inf


def _external_whole(dataset: h5py.Dataset, claim: str) -> None:
    folder = Path(dataset.file.filename).parent
    for name, offset, length in dataset.external:
        path = regular_file(folder / name, f"the numbers of {claim.split(' claims ')[0]}")
        if length != h5py.h5f.UNLIMITED and path.stat().st_size < offset + length:
            raise InputError(f"{claim}, expected {offset + length} bytes in {path}")


def _virtual_whole(dataset: h5py.Dataset, claim: str) -> None:
    folder, covered = Path(dataset.file.filename).parent, 0
    for source in dataset.virtual_sources():
        own = source.file_name == "."
        path = Path(dataset.file.filename) if own else folder / source.file_name
        what = f"{claim} from {path}: {source.dset_name!r}"
        if not own:
            regular_file(path, f"a source of {claim.split(' claims ')[0]}")
        try:
            file = dataset.file if own else h5py.File(path, "r")
            try:
                found = file[source.dset_name]
                stored_whole(found, f"{path}: {source.dset_name!r}")
                if not _holds(found, source):
                    raise InputError(f"{what}, found too small a shape {found.shape} there")
            finally:
                if not own:
                    file.close()
        except (OSError, RuntimeError, KeyError, AttributeError) as error:
            raise InputError(f"{what}, which cannot be read ({error})") from None
        covered += source.vspace.get_select_npoints()
    if covered < dataset.size:
        raise InputError(f"{claim}, found sources of {covered} of its {dataset.size} numbers")


def _holds(found: h5py.Dataset, source: Any) -> bool:
    """Tell whether a dataset is as large as what a virtual one takes of it."""
    space = source.src_space
    if space.get_select_type() == h5py.h5s.SEL_ALL:
        return found.size >= source.vspace.get_select_npoints()
    last = space.get_select_bounds()[1]
    return len(last) == found.ndim and all(
        place < n for place, n in zip(last, found.shape, strict=True)
    )


def read_numbers(dataset: h5py.Dataset, place: str) -> np.ndarray:
    """Read an HDF5 dataset of numbers or booleans, whole.

    Raises:
        InputError: it holds something else, or `stored_whole` refuses it, or it is damaged.
    """
    if not isinstance(dataset, h5py.Dataset):
        raise InputError(f"{place} is a {type(dataset).__name__.lower()}, expected a dataset")
    try:
        dtype = dataset.dtype
        if dtype.kind not in "biuf":
            raise InputError(f"{place} has dtype {dtype}, expected numbers")
        stored_whole(dataset, place)
        return np.asarray(dataset[()])
    except (OSError, RuntimeError, KeyError, TypeError, ValueError, MemoryError) as error:
        if isinstance(error, InputError):
            raise
        reason = one_line(error)
        raise InputError(f"{place} cannot be read: truncated or damaged ({reason})") from None


def read_npz(path: str | os.PathLike[str], expected: str = "an npz file") -> dict[str, np.ndarray]:
    """Read all arrays of an npz file; raise InputError for another file, and as `npz_array`."""
    try:
        with zipfile.ZipFile(regular_file(path, expected)) as archive:
            return {n: npz_array(archive, n, f"{path}: {n!r}") for n in npz_names(archive)}
    except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: not a readable .npz file: {error}") from None


def npz_names(archive: zipfile.ZipFile) -> list[str]:
    """List the arrays of an npz file, without the ending .npy."""
    return [name.removesuffix(".npy") for name in archive.namelist()]


def npz_array(archive: zipfile.ZipFile, name: str, place: str) -> np.ndarray:
    """Read an array of an npz file, whose header is compared with the size of its member first.

    Raises:
        InputError: there is none of that name, it is no array, one of objects, damaged, or claims
            another size than the archive holds.
    """
    try:
        member = f"{name}.npy" if f"{name}.npy" in archive.namelist() else name
        info = archive.getinfo(member)
        with archive.open(info) as file:
            version = FORMAT.read_magic(file)
            reader = FORMAT.read_array_header_1_0
            if version != (1, 0):
                reader = FORMAT.read_array_header_2_0
            shape, column_major, dtype = reader(file)
            if dtype.hasobject:
                raise InputError(f"{place} is an array of objects, expected numbers")
            size, held = math.prod(shape) * dtype.itemsize, info.file_size - file.tell()
            if min(shape, default=0) < 0 or size != held:
                raise InputError(
                    f"{place} claims {dtype} of shape {shape}, {size} bytes, found {held} bytes"
                )
            if info.file_size > DEFLATE * max(info.compress_size, 1):
                raise InputError(
                    f"{place} claims {size} bytes, found {info.compress_size} bytes, which cannot "
                    "hold them"
                )
            if info.compress_size > os.stat(archive.filename or "").st_size:
                raise InputError(f"{place} claims more bytes than the file has")
            flat = np.empty(math.prod(shape), dtype)
            memory, done = flat.view(np.uint8), 0
            while done < size:  # the last piece also compares the checksum
                found = file.read(BLOCK)
                if not found:
                    raise EOFError(f"ends after {done} bytes")
                memory[done : done + len(found)] = np.frombuffer(found, np.uint8)
                done += len(found)
            return flat.reshape(shape, order="F" if column_major else "C")
    except KeyError:
        names = ", ".join(npz_names(archive)) or "none"
        raise InputError(f"{place}: no such array, found {names}") from None
    except (
        OSError,
        ValueError,
        TypeError,
        SyntaxError,
        tokenize.TokenError,
        EOFError,
        RecursionError,
        MemoryError,
        OverflowError,
        NotImplementedError,
        RuntimeError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{place} cannot be read: no array, or damaged ({error})") from None
