"""Samples in OmniLearned's HDF5 layout (its package `omnilearned`), read.

A sample is a folder of files, `train`, `val` or `test` of its data set. A file holds

| dataset    | shape        | meaning                                                            |
|------------|--------------|--------------------------------------------------------------------|
| `data`     | (N, P, D)    | delta eta and delta phi to the jet, log pT (GeV), log E; with D > 4|
|            |              | the identity, and further columns, which are not read              |
| `pid`      | (N,), (N, Y) | class of the jet, as a number or one-hot; may be absent            |
| `global`   | (N, J)       | numbers of the jet, kept as the column `global`; may be absent     |

A constituent is a row whose third number is not 0. An identity is a PDG code, or the place of the
code among `RANKS`. Labels are those of the file; OmniLearned subtracts the first one of a data set.

The files hold no axis of a jet: jets are put at pseudorapidity 0 and azimuth 0, which leaves their
transverse momenta and masses as they are. The energies of the file, which belong to other
pseudorapidities, are not used: those of the constituents follow from the masses of the identities.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from jaxpriors.data import unread
from jaxpriors.data.checks import located, refuse
from jaxpriors.data.events import Events
from jaxpriors.data.formats.omnilearn_blocks import as_float64, class_labels, files_of, read_blocks
from jaxpriors.data.hdf5 import Source, open_source
from jaxpriors.errors import InputError
from jaxpriors.physics.jet_features import FEATURES
from jaxpriors.physics.particles import MASSES

RANKS = np.array([-211, -13, -11, 0, 11, 13, 22, 130, 211], np.int32)
PHOTON = 6  # its place, which jets reach; flags and counts of another kind may not
KINEMATIC, IDENTITY = 4, 4  # number of kinematic columns, place of the identity
SAMPLE = 1000  # jets that are looked at in the beginning, the middle and at the end
DISTANCE_MAX = 10.0
READ = ("data", "pid", "global")

Identities = Literal["none", "unknown", "ranks", "codes"]


@dataclass(frozen=True)
class _Sample:
    """Hold an open file, its datasets not yet read, and what its identities are."""

    path: Path
    data: Any
    label: Any
    numbers: Any
    identities: Identities


def read_omnilearned_events(
    path: str | os.PathLike[str],
    *,
    identities: bool = True,
    at_least: int | None = None,
    start: int = 0,
    stop: int | None = None,
) -> Events:
    """Read validated jets of a file, or of the *.h5 and *.hdf5 files of a folder.

    Files are read in blocks: beside the result, memory holds `omnilearn_blocks.BLOCK` numbers.
    Column: `global`, (n, J), if the files hold it.

    Args:
        path: the file, or a folder whose files are read in the order of their names.
        identities: whether to read them; without, those of all constituents are unknown.
        at_least: jets with fewer constituents are left out; default: one without any is an error.
        start: index of the first jet that is read.
        stop: index of the jet before which reading ends; default: all.

    Raises:
        InputError: files that are absent or damaged, datasets that are missing or of another
            shape, identities that are neither PDG codes nor places in `RANKS`, values that are not
            finite or were normalised, labels that are neither numbers nor one-hot, jets without
            constituents.
    """

    def opened(source: Source) -> tuple[Any, Callable[[slice], Events]]:
        sample = _open(source, identities)
        return sample.data, lambda rows: _read_block(sample, rows, at_least)

    blocks = read_blocks(path, start, stop, opened)
    with located(path):
        return Events.concatenate(blocks).validate()


def omnilearned_jets(path: str | os.PathLike[str], *, identities: bool = True) -> int:
    """Count the jets of a file or folder, and say what is not read of it (`unread`).

    Raises InputError as `read_omnilearned_events` does.
    """
    jets = 0
    for file in files_of(path):
        with open_source(file) as source:
            sample = _open(source, identities)
            unread.tell(file, _unread(source, sample))
            jets += len(sample.data)
    return jets


def _open(source: Source, identities: bool) -> _Sample:
    """Find the datasets and compare their shapes."""
    [data] = source.datasets("data")
    label, numbers = (source.arrays.get(name) for name in READ[1:])
    shape = data.shape
    if len(shape) != 3 or shape[2] < KINEMATIC or data.dtype.kind not in "iuf":
        raise InputError(
            f"{source.path}: 'data' is {data.dtype}{list(shape)}, expected numbers (N, P, "
            f"{KINEMATIC} or more)"
        )
    for name, array in (("pid", label), ("global", numbers)):
        if array is None:
            continue
        if array.shape[:1] != shape[:1] or len(array.shape) > 2 or array.dtype.kind not in "biuf":
            raise InputError(
                f"{source.path}: {name!r} is {array.dtype}{list(array.shape)}, expected numbers "
                f"({shape[0]}, …) beside 'data' {list(shape)}"
            )
    unread.account(source.path, source.arrays, READ, places="labels are read from 'pid'")
    some = _some_constituents(data)
    if shape[2] >= len(FEATURES[:7]):
        distance = np.hypot(some[:, 0], some[:, 1])
        if len(some) and np.all(np.abs(some[:, 6] - distance) < 1e-2 * (1 + distance)):
            raise InputError(
                f"{source.path}: column 6 of 'data' is the distance from the jet, as in "
                "OmniLearn's layout, where the dataset 'jet' stands beside it; found none"
            )
    kind = _identities_of(source.path, shape[2], some) if identities else "none"
    return _Sample(source.path, data, label, numbers, kind)


def _unread(source: Source, sample: _Sample) -> list[str]:
    """Name what is not read of a file: datasets, and columns of `data`."""
    width = sample.data.shape[2]
    first = KINEMATIC if sample.identities == "none" else IDENTITY + 1
    found = ["the energies in 'data' (jets are put at eta 0 and phi 0: the file has no axes)"]
    if first < width:
        last = f" to {width - 1}" if first < width - 1 else ""
        found.append(f"column{'s' if last else ''} {first}{last} of 'data'")
    left = unread.account(source.path, source.arrays, READ, places="labels are read from 'pid'")
    return found + list(left)


def _some_constituents(data: Any) -> np.ndarray:
    """Read the constituents (k, D) of some jets."""
    n = len(data)
    starts = sorted({0, max(0, (n - SAMPLE) // 2), max(0, n - SAMPLE)})
    blocks = [as_float64(data, slice(i, min(i + SAMPLE, n))) for i in starts]
    return np.concatenate([block[block[..., 2] != 0] for block in blocks])


def _identities_of(path: Path, width: int, constituents: np.ndarray) -> Identities:
    """Find out what the identities of a file are, by some of its constituents (k, width)."""
    if width <= IDENTITY:
        return "none"
    values = constituents[:, IDENTITY]
    if not values.any():
        return "unknown"
    whole = values == np.round(values)
    if whole.all() and values.min() >= 0 and PHOTON <= values.max() < len(RANKS):
        return "ranks"
    known = whole & np.isin(np.abs(values), list(MASSES))
    if known.all():
        return "codes"
    wrong = values[~known][0]
    raise InputError(
        f"{path}: column {IDENTITY} of 'data' ({width} columns) holds {wrong:g}, which is "
        f"no identity; expected PDG codes, or their places 0 to {len(RANKS) - 1} among "
        f"{', '.join(map(str, RANKS))} (layout omnilearned-momenta reads files without)"
    )


def _read_block(sample: _Sample, rows: slice, at_least: int | None) -> Events:
    """Read some jets of a file."""
    data = as_float64(sample.data, rows)
    index = np.arange(rows.start, rows.stop)
    mask = data[..., 2] != 0
    multiplicity = mask.sum(axis=1)
    if at_least is None:
        refuse(sample.path, index, multiplicity == 0, "has no constituents, expected at least one")
    kept = multiplicity >= (at_least or 0)
    data, mask, index, multiplicity = data[kept], mask[kept], index[kept], multiplicity[kept]
    particles, event = data[mask], np.repeat(index, multiplicity)
    kinematic = particles[:, :KINEMATIC]
    finite = np.isfinite(kinematic).all(axis=1)
    refuse(sample.path, event, ~finite, "holds features that are not finite")
    far = np.abs(kinematic[:, :2]).max(axis=1, initial=0) > DISTANCE_MAX
    refuse(sample.path, event, far, f"has constituents further than {DISTANCE_MAX:g} from the jet")
    below = kinematic[:, 3] < kinematic[:, 2] - 1e-3
    if 2 * below.sum() > len(below):
        raise InputError(
            f"{sample.path}: event {event[np.argmax(below)]}: most energies are below the "
            "transverse momenta; expected log pT and log E as columns 2 and 3 of 'data', not "
            "normalised"
        )
    with np.errstate(over="ignore"):  # found by the validation of the events
        pt = np.exp(kinematic[:, 2])
    return Events.from_flat(
        np.stack([pt, kinematic[:, 0], kinematic[:, 1]], axis=-1),
        multiplicity,
        coordinates="pt,eta,phi",
        pid=_codes(sample, particles, event),
        label=None if sample.label is None else class_labels(sample.path, sample.label, rows)[kept],
        columns={}
        if sample.numbers is None
        else {"global": as_float64(sample.numbers, rows)[kept]},
        faults=[],
    )


def _codes(sample: _Sample, particles: np.ndarray, event: np.ndarray) -> np.ndarray:
    """Turn identities of particles (total, D) into PDG codes (total,) int32."""
    if sample.identities == "none":
        return np.zeros(len(particles), np.int32)
    found = particles[:, IDENTITY]
    if sample.identities == "codes":
        known = np.isin(np.abs(found), list(MASSES))
    else:
        most = 0 if sample.identities == "unknown" else len(RANKS) - 1
        known = (found == np.round(found)) & (found >= 0) & (found <= most)
    refuse(sample.path, event, ~known, "has an identity of another kind than its file's others")
    if sample.identities == "ranks":
        return RANKS[found.astype(np.int64)]
    return found.astype(np.int32)
