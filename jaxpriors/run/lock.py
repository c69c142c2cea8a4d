"""One run at a time in a folder: a lock that ends with the process that holds it.

The operating system keeps it (flock), so that no crash leaves one behind. On file systems shared by
machines (NFS, Lustre) it holds between machines where they are mounted with locks; where there are
none at all, nothing is locked.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from jaxpriors.errors import InputError
from jaxpriors.run import processes

LOCK = ".run.lock"  # in the folder; holds the process that had it last


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder that exists; of the processes of one run, the first does.

    Raises InputError where another run holds it.
    """
    with contextlib.ExitStack() as held:
        holder = ""
        if processes.index() == 0:
            holder = held.enter_context(_held(folder / LOCK))
        if holder := processes.gather(holder)[0]:
            raise InputError(
                f"{folder}: another run works there ({holder}); wait until it ends, or end it"
            )
        yield


@contextlib.contextmanager
def _held(path: Path) -> Iterator[str]:
    """Lock a file and give "", or give who holds it."""
    import fcntl

    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                yield os.read(file, 200).decode(errors="replace") or "another process"
                return
        else:
            os.ftruncate(file, 0)
            os.pwrite(file, f"process {os.getpid()} on {socket.gethostname()}".encode(), 0)
        yield ""
    finally:
        os.close(file)
