"""What OmniLearn's layouts have in common: files read in blocks, features made momenta."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from jaxpriors.data.checks import check_integers, refuse
from jaxpriors.data.formats.splits import SUFFIXES, splits_in
from jaxpriors.data.hdf5 import Source, open_source
from jaxpriors.data.unread import listed
from jaxpriors.errors import InputError
from jaxpriors.physics.jet_features import FEATURES

T = TypeVar("T")
ENERGY_TOLERANCE = 1e-3  # energies this much below |p|, relative to it, are put down to rounding
BLOCK = 2**24  # values of `data` that are read or written at once


def read_blocks(
    path: str | os.PathLike[str],
    start: int,
    stop: int | None,
    opened: Callable[[Source], tuple[Any, Callable[[slice], T]]],
) -> list[T]:
    """Read the events start to stop of a file, or of all files of a folder, in blocks.

    opened: from an open file, the dataset (N, …) of constituents and the reader of its rows. Raises
    InputError where there are no such events.
    """
    blocks, first = [], 0
    for file in files_of(path):
        with open_source(file) as source:
            data, read = opened(source)
            last = len(data) if stop is None else min(stop - first, len(data))
            for begin, end in spans(max(start - first, 0), last, data.shape):
                blocks.append(read(slice(begin, end)))
            first += len(data)
    if not blocks:
        raise InputError(f"{path}: no events between {start} and {stop}, the end being at {first}")
    return blocks


def files_of(path: str | os.PathLike[str]) -> list[Path]:
    """List the *.h5 and *.hdf5 files of a folder by their names, or the file itself.

    Raises InputError where there is none, and where they are the parts of a split.
    """
    path = Path(path)
    if not path.is_dir():
        return [path]
    if parts := splits_in(path):
        names = listed([p.name for p in parts.values()])
        raise InputError(f"{path}: holds {names}, which are given one by one")
    files = sorted(file for file in path.iterdir() if file.suffix in SUFFIXES)
    if not files:
        raise InputError(f"{path}: no *.h5 or *.hdf5 file in this folder")
    return files


def spans(start: int, stop: int, shape: tuple[int, ...]) -> Iterator[tuple[int, int]]:
    """Yield consecutive ranges of events whose constituents have at most `BLOCK` features."""
    rows = max(1, BLOCK // max(1, int(np.prod(shape[1:]))))
    for begin in range(start, stop, rows):
        yield begin, min(begin + rows, stop)


def momenta(
    path: Path, event: np.ndarray, particles: np.ndarray, eta: np.ndarray, phi: np.ndarray
) -> np.ndarray:
    """Compute (E, px, py, pz) in GeV, (total, 4) float32, of log pt, log E and angles (total,).

    Raises InputError for energies below |p|; event (total,): the index of each one's event.
    """
    with np.errstate(over="ignore", invalid="ignore"):  # found by the validation of the events
        pt, energy = np.exp(particles[:, 3]), np.exp(particles[:, 5])
        momentum = pt * np.cosh(eta)
        p4 = np.stack(
            [np.maximum(energy, momentum), pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta)],
            axis=-1,
        ).astype(np.float32)
    refuse(
        path,
        event,
        energy < (1 - ENERGY_TOLERANCE) * momentum,
        "has energies below the momenta that follow from log pt and eta, expected E >= |p| "
        "(was delta eta multiplied by the sign of the jet's eta, as in JetClass?)",
    )
    return p4


def as_float64(array: Any, rows: slice) -> np.ndarray:
    """Read rows of a dataset as float64."""
    return np.asarray(array[rows]).astype(np.float64)


def check_raw(path: Path, particles: np.ndarray) -> None:
    """Raise InputError unless the seventh feature is the distance from the jet.

    It is not where features were normalised.
    """
    distance = np.hypot(particles[:, 0], particles[:, 1])
    wrong = np.abs(particles[:, 6] - distance) > 1e-2 * (1 + distance)
    if 2 * wrong.sum() > len(wrong):
        raise InputError(
            f"{path}: the seventh feature is not the distance that follows from the first "
            f"two; expected values that were not normalised, in the order {', '.join(FEATURES[:7])}"
        )


def class_labels(path: Path, label: Any, rows: slice) -> np.ndarray:
    """Read labels (n,) int32 of the dataset `pid`: integers, or one-hot rows.

    Raises InputError for others.
    """
    found = np.asarray(label[rows])
    if found.ndim == 1 or found.shape[1] == 1:
        check_integers(f"{path}: 'pid'", found)
        most = np.iinfo(np.int32).max
        large = (found.reshape(-1) > most) | (found.reshape(-1) < -most)
        refuse(path, np.arange(rows.start, rows.stop), large, "has a label beyond 32 bits")
        return found.reshape(-1).astype(np.int32)
    wrong = ~np.isin(found, (0, 1)).all(axis=1) | (found.sum(axis=1) != 1)
    refuse(path, np.arange(rows.start, rows.stop), wrong, "has a label that is not one-hot")
    return found.argmax(axis=1).astype(np.int32)
