"""Published files brought to a folder: downloaded where they are missing, and verified."""

from __future__ import annotations

import hashlib
import http.client
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from jaxpriors.data.catalog.sets import File
from jaxpriors.errors import InputError

BLOCK = 2**20  # bytes that are read at once
TRIES = 5  # connections in turn that bring nothing
PAUSE = 2.0  # seconds before the second of them, twice as many before each further
BUSY = {429, 500, 502, 503, 504}  # what a server says that may have another answer later
TIMEOUT = 60.0  # seconds without a byte
DIGEST = "sha256"  # of files whose digest nobody published

# What is done, as the name of a file; bytes that are done, bytes in all (None: not known).
Progress = Callable[[str, int, int | None], None]


def quiet(name: str, done: int, total: int | None) -> None:
    """No progress."""


def obtain(file: File, folder: Path, progress: Progress = quiet) -> Path:
    """Find the file in this folder, downloaded if it is not there, verified in either case.

    A download that was interrupted goes on where it was (`.NAME.partial`).

    Raises:
        InputError: it cannot be downloaded, or has another size or digest than was published.
    """
    path = folder / file.name
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        _download(file, path, progress)
    else:
        verify(path, file, progress)
    return path


def verify(path: Path, file: File, progress: Progress = quiet) -> str:
    """Compute the digest of a file; InputError where size or digest are not the published."""
    size = path.stat().st_size
    if file.size not in (None, size):
        raise InputError(f"{path}: found {size} bytes, expected {file.size}, as published")
    digest = digest_of(path, (file.digest or DIGEST).split(":")[0], progress)
    if file.digest not in (None, digest):
        raise InputError(
            f"{path}: found {digest}, expected {file.digest}, as published; the file is damaged or "
            "of another version"
        )
    return digest


def digest_of(path: Path, algorithm: str = DIGEST, progress: Progress = quiet) -> str:
    """Algorithm and digest of a file's bytes, as in "md5:d41d8…"."""
    found, done, size = hashlib.new(algorithm), 0, path.stat().st_size
    with open(path, "rb") as file:
        while block := file.read(BLOCK):
            found.update(block)
            done += len(block)
            progress(f"verifying {path.name}", done, size)
    return f"{algorithm}:{found.hexdigest()}"


def _download(file: File, path: Path, progress: Progress) -> None:
    """Download to `.NAME.partial`, verify, and give it its name."""
    partial = path.with_name(f".{path.name}.partial")
    failed = 0
    while True:
        before = _size(partial)
        try:
            total = _fetch(file, partial, progress)
            fault = f"the connection ended after {_size(partial) - before} bytes"
            if total is None or _size(partial) >= total:
                break
        except urllib.error.HTTPError as error:
            fault = f"the server says {error.code} {error.reason}"
            if error.code not in BUSY:
                raise InputError(f"{file.url}: {fault}") from None
        except (OSError, http.client.HTTPException) as error:
            fault = str(error) or type(error).__name__
        failed = failed + 1 if _size(partial) <= before else 1
        if failed == TRIES:
            raise InputError(
                f"{file.url}: cannot be downloaded ({fault}); {before} bytes are kept in "
                f"{partial}, the same command goes on there; or put {file.name} into "
                f"{path.parent} yourself"
            )
        time.sleep(PAUSE * 2 ** (failed - 1))
    try:
        verify(partial, file, progress)
    except InputError:
        partial.unlink()
        raise
    os.replace(partial, path)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _fetch(file: File, partial: Path, progress: Progress) -> int | None:
    """Bring the bytes that are missing, as far as the connection goes; gives the size in all."""
    have = _size(partial)
    if file.size is not None and have >= file.size:
        return file.size
    headers = {"User-Agent": "jaxpriors"} | ({"Range": f"bytes={have}-"} if have else {})
    request = urllib.request.Request(file.url, headers=headers)
    try:
        answer = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code == 416 and have:  # nothing is missing
            return have
        raise
    with answer:
        goes_on = answer.status == 206
        have = have if goes_on else 0
        length = answer.headers.get("Content-Length")
        total = file.size if length is None else have + int(length)
        with open(partial, "ab" if goes_on else "wb") as out:
            while block := answer.read(BLOCK):
                out.write(block)
                have += len(block)
                progress(file.name, have, total)
    return total
