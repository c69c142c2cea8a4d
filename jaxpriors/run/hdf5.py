"""HDF5 files that are written whole or not at all, also where the disk is full.

HDF5 keeps what it could not write and tries again whenever something is closed, at last when the
process ends, where it crashes. It is therefore told that all went well, and the fault is raised
once the file is closed.
"""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterator
from typing import Any

import h5py

from jaxpriors.run.storage import written_whole


@contextlib.contextmanager
def written_hdf5(path: str | os.PathLike[str], *, overwrite: bool = False) -> Iterator[h5py.File]:
    """Give an empty file, which takes its place when the context ends well.

    Of several processes, the first alone writes. Raises InputError as `storage.written_whole` does.
    """
    with (
        written_whole(path, overwrite=overwrite) as scratch,
        open(scratch, "w+b", buffering=0) as raw,
    ):
        disk = _Disk(raw)
        try:
            with h5py.File(disk, "w") as file:
                yield file
        finally:
            if disk.fault is not None:
                raise disk.fault


class _Disk(io.RawIOBase):
    """A file that keeps the first fault of a write, after which it writes nothing."""

    def __init__(self, raw: io.FileIO) -> None:
        self._raw = raw
        self.fault: OSError | None = None

    def write(self, data: Any) -> int:
        rest = memoryview(data).cast("B")
        try:
            while self.fault is None and rest:  # a call writes 2 GiB at most
                rest = rest[self._raw.write(rest) :]
        except OSError as error:
            self.fault = error
        return memoryview(data).nbytes

    def truncate(self, size: int | None = None) -> int:
        return self._raw.truncate(size) if self.fault is None else 0

    def readinto(self, data: Any) -> int:
        return self._raw.readinto(data)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._raw.seek(offset, whence)

    def tell(self) -> int:
        return self._raw.tell()

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True
