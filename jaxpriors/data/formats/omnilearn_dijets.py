"""Events of two jets in OmniLearn's HDF5 layout for the LHC Olympics (arXiv:2404.16091), read.

| dataset | shape        | meaning                                                              |
|---------|--------------|----------------------------------------------------------------------|
| `data`  | (N, 2, P, F) | F = 7: the first 7 `physics.jet_features.FEATURES`, not normalised;  |
|         |              | F = 3: the first 3 alone, of constituents without mass               |
| `jet`   | (N, 2, 5)    | pt (GeV), eta, phi, mass (GeV), multiplicity                         |
| `pid`   | (N,)         | m_jj (GeV); may be absent, as it follows from the jets               |

A constituent is a row whose third feature is not 0. Labels are not in these files: background and
signal have files of their own.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from jaxpriors.data import dijets, unread
from jaxpriors.data.checks import located, refuse
from jaxpriors.data.dijets import JET_COLUMNS, JETS
from jaxpriors.data.events import Events
from jaxpriors.data.formats.omnilearn_blocks import (
    as_float64,
    check_raw,
    files_of,
    momenta,
    read_blocks,
)
from jaxpriors.data.formats.omnilearn_layout import unread_datasets
from jaxpriors.data.hdf5 import Source, open_source
from jaxpriors.errors import InputError
from jaxpriors.physics import coordinates as col
from jaxpriors.physics.jet_features import FEATURES

WIDTHS = (7, 3)
MASS_TOLERANCE = 1e-2  # between m_jj of the file and that of its jets, relative


def read_omnilearn_dijets(
    path: str | os.PathLike[str],
    *,
    label: int | None = None,
    start: int = 0,
    stop: int | None = None,
) -> Events:
    """Read validated events (`jaxpriors.data.dijets`) of a file, or of a folder's *.h5 files.

    Files are read in blocks: beside the result, memory holds `omnilearn_blocks.BLOCK` numbers.

    Args:
        path: the file, or a folder whose *.h5 files are read in the order of their names.
        label: of all events, None for none.
        start: index of the first event that is read.
        stop: index of the event before which reading ends; default: all.

    Raises:
        InputError: files that are absent or damaged, datasets that are missing or of another
            shape, jets without constituents, values that are not finite or were normalised, a
            `pid` that is not the jets' mass.
    """

    events = read_range(path, start, stop)
    for file in files_of(path):
        with open_source(file) as source:
            unread.tell(file, unread_datasets(source))
    return events if label is None else events.with_label(label)


def read_range(path: str | os.PathLike[str], start: int, stop: int | None) -> Events:
    """Read as `read_omnilearn_dijets` does, without labels or a word on what is not read."""

    def opened(source: Source) -> tuple[Any, Callable[[slice], Events]]:
        data, jet, mass = _open(source)
        return data, lambda rows: _read_block(source.path, data, jet, mass, rows)

    blocks = read_blocks(path, start, stop, opened)
    with located(path):
        return Events.concatenate(blocks).validate()


def _open(source: Source) -> tuple[Any, Any, Any]:
    """Find the datasets data, jet and pid (or None) and compare their shapes."""
    arrays = source.arrays
    shape = source.datasets("data", "jet")[0].shape
    if len(shape) != 4 or shape[1] != JETS or shape[3] not in WIDTHS:
        widths = " or ".join(map(str, WIDTHS))
        raise InputError(
            f"{source.path}: 'data' has shape {shape}, expected (N, {JETS}, P, {widths})"
        )
    expected = {"jet": (shape[0], JETS, len(JET_COLUMNS)), "pid": (shape[0],)}
    for name, wanted in expected.items():
        if name in arrays and arrays[name].shape != wanted:
            raise InputError(
                f"{source.path}: {name!r} has shape {arrays[name].shape}, expected {wanted} beside "
                f"'data' {shape}"
            )
    unread_datasets(source)
    return arrays["data"], arrays["jet"], arrays.get("pid")


def _read_block(path: Path, data: Any, jet: Any, mass: Any, rows: slice) -> Events:
    """Read some events of a file."""
    features = as_float64(data, rows)
    jets = as_float64(jet, rows).reshape(-1, len(JET_COLUMNS))
    features = features.reshape(-1, *features.shape[2:])
    index = np.repeat(np.arange(rows.start, rows.stop), JETS)
    mask = features[..., 2] != 0
    counts = mask.sum(axis=1)
    refuse(path, index, ~np.isfinite(jets).all(axis=1), "has a jet that is not finite")
    refuse(path, index, jets[:, 0] <= 0, "has a jet whose pt is not positive")
    refuse(path, index, counts == 0, "has a jet without constituents, expected at least one")
    particles, owner = features[mask], np.repeat(np.arange(len(jets)), counts)
    event = index[owner]
    finite = np.isfinite(particles).all(axis=1)
    refuse(path, event, ~finite, "holds features that are not finite")
    eta, phi = jets[owner, 1] + particles[:, 0], jets[owner, 2] + particles[:, 1]
    if particles.shape[1] == len(FEATURES[:7]):
        check_raw(path, particles)
        p4 = momenta(path, event, particles, eta, phi)
    else:
        pt = -np.expm1(particles[:, 2]) * jets[owner, 0]
        refuse(path, event, pt <= 0, "holds constituents whose pt is not positive")
        p4 = col.to_cartesian(np.stack([pt, eta, phi], axis=-1), "pt,eta,phi")
    kinematic = np.column_stack([jets[:, :3], np.maximum(jets[:, 3], 0)])
    found = dijets.dijets(
        Events(
            p4=p4,
            pid=np.zeros(len(p4), np.int32),
            offsets=col.offsets_of(counts),
            jet_p4=col.to_cartesian(kinematic, "pt,eta,phi,m"),
            weight=np.ones(len(jets)),
        ).sorted_by_pt(),
        jets[:, 4],
    )
    if mass is not None:
        wrong = np.abs(as_float64(mass, rows) / dijets.dijet_mass(found) - 1) > MASS_TOLERANCE
        refuse(path, index[::JETS], wrong, "has a 'pid' that is not the mass of its two jets")
    return found
