"""Samples of events in files: read, and written whole or not at all.

Layout of a file (HDF5). A file holds one sample at its root, or the groups `particle` and
`detector`, whose events match one by one.

| dataset            | shape     | dtype   | meaning                                              |
|--------------------|-----------|---------|------------------------------------------------------|
| `p4`               | (total,4) | float32 | (E, px, py, pz) in GeV of all constituents, in order |
| `pt`, `eta`, `phi` | (total,)  | float32 | instead of `p4` (GeV, rad); the mass follows from    |
|                    |           |         | `pid` (`jaxpriors.physics.particles`)                |
| `pid`              | (total,)  | int32   | PDG code; absent: 0, unknown                         |
| `offsets`          | (n+1,)    | int64   | event i holds constituents offsets[i]:offsets[i+1]   |
| `jet_p4`           | (n,4)     | float32 | (E, px, py, pz) in GeV; absent: the constituents' sum|
| `weight`           | (n,)      | float64 | event weight, of either sign; absent: 1              |
| `label`            | (n,)      | int32   | class of the event; may be absent                    |
| `columns/<name>`   | (n, ...)  | any     | further event-level columns                          |

Attributes of the root: `format` = "jaxpriors-events", `version` = 1, `metadata` = JSON (command,
settings, versions, seed, date, ...); of each sample: `coordinates` (one of `COORDINATES`), which
hold for `jet_p4` as well (with a mass). Instead of `offsets`, `multiplicity` (n,) is read too;
momenta may also be padded: p4 (n, P, 4) with `mask` (n, P) or `multiplicity`, or rows of zeros.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxpriors.data import checks
from jaxpriors.data.events import Events
from jaxpriors.data.hdf5 import Opened, open_source, read_columns, write_columns
from jaxpriors.errors import InputError
from jaxpriors.physics import coordinates as col
from jaxpriors.physics import kinematics


def read_events(
    path: Opened,
    level: str | None = None,
    columns: Mapping[str, str] | None = None,
    coordinates: str | None = None,
    chosen: np.ndarray | None = None,
    validated: bool = True,
) -> Events:
    """Read validated events from an HDF5 file, or from an npz file with the same names.

    Args:
        path: the file, or a prepared folder; or what `hdf5.open_source` opened of either.
        level: `particle` or `detector`; may be left out where the file holds only one sample.
        columns: our names → the file's datasets (full names), for files with another layout, such
            as {"p4": "jets/momenta", "mask": "jets/valid"}. Momenta may also be named by component
            ({"pt": ..., "eta": ..., "phi": ...}), flat or padded. Names that are not in the table
            above become event-level columns. Names left out are looked up as in the table.
        coordinates: of the momenta, one of `coordinates.COORDINATES`; default: what the file says,
            otherwise (E, px, py, pz).
        chosen: (n,) bool, the events that are wanted, None for all; the others may hold anything.
        validated: false leaves the values to `Events.faults`.

    Raises:
        InputError: the file is absent, foreign, truncated or damaged; the level or a column is
            absent (the message lists what was found); anything that `Events.validate` refuses.

    Examples:
        >>> import os, tempfile
        >>> one, other = [5.0, 3.0, 0.0, 4.0], [2.0, 0.0, 2.0, 0.0]
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = os.path.join(folder, "jets.npz")
        ...     np.savez(path, momenta=[[one, other], [other, 4 * [0.0]]])
        ...     events = read_events(path, columns={"p4": "momenta"})
        >>> events.multiplicity.tolist()
        [2, 1]
    """
    with open_source(path) as source:
        coordinates, found, event_columns = read_columns(source, level, columns, coordinates)
    p4, offsets = found.pop("p4"), found.pop("offsets", None)
    mask, multiplicity = found.pop("mask", None), found.pop("multiplicity", None)
    with checks.located(f"{source.path}{f' ({level} level)' if level else ''}"):
        counts = mask if mask is not None and p4.ndim == 3 else multiplicity
        if offsets is not None and p4.ndim != 3:
            checks.check_offsets(offsets, len(p4))
            counts = np.diff(offsets.astype(np.int64))
        if counts is None and p4.ndim != 3:
            raise InputError(
                f"p4 has shape {p4.shape} and there is neither `offsets` nor `multiplicity`; "
                "expected one of them, or padded momenta (n, P, 4)"
            )
        if chosen is not None:
            rows = _rows_of(chosen, p4, counts)
            p4, counts = p4[rows], None if counts is None else counts[chosen]
            found = {k: _only(k, a, rows if k == "pid" else chosen) for k, a in found.items()}
            event_columns = {k: _only(k, a, chosen) for k, a in event_columns.items()}
        make: Any = Events.from_padded if p4.ndim == 3 else Events.from_flat
        return make(
            p4,
            counts,
            coordinates=coordinates,
            columns=event_columns,
            validated=validated,
            **found,
        )


def read_sample(
    path: Opened,
    level: str | None = None,
    columns: Mapping[str, str] | None = None,
    coordinates: str | None = None,
) -> Events:
    """Read validated events as `read_events` does; `level` counts for files that hold several.

    Raises InputError as `read_events` does.
    """
    with open_source(path) as source:
        return read_events(source, level if source.levels else None, columns, coordinates)


def _rows_of(chosen: np.ndarray, p4: np.ndarray, counts: np.ndarray | None) -> np.ndarray:
    """Tell which rows of momenta the chosen events (n,) have; counts: multiplicities, if flat."""
    n = len(p4) if p4.ndim == 3 or counts is None else len(counts)
    if chosen.shape != (n,):
        raise InputError(f"chosen: found shape {chosen.shape}, expected ({n},), the events")
    if p4.ndim == 3 or counts is None:
        return chosen
    checks.check_integers("multiplicity", counts)
    checks.check_offsets(col.offsets_of(counts), len(p4))
    return np.repeat(chosen, counts)


def _only(name: str, array: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Keep the rows that are true; InputError for an array of another length."""
    if len(array) != len(rows):
        raise InputError(f"{name} has shape {array.shape}, expected ({len(rows)}, ...)")
    return array[rows]


def write_events(
    path: str | os.PathLike[str],
    samples: Events | Mapping[str, Events],
    metadata: Mapping[str, Any] | None = None,
    *,
    overwrite: bool = False,
    compact: bool = False,
) -> None:
    """Write one sample, or the levels {"particle": ..., "detector": ...}; whole or not at all.

    Args:
        path: the file; its folder is made.
        samples: what to write; levels must match event by event.
        metadata: whatever JSON can hold.
        overwrite: whether an existing file may be replaced.
        compact: store pt, eta and phi on the grid of `coordinates.to_grid`, about five bytes a
            constituent; the energy then follows from the mass of the identity.

    Raises:
        InputError: the file exists, levels are unknown or differ in length, values that
            `Events.validate` refuses, masses that do not follow from the identities (compact).

    Examples:
        >>> import os, tempfile
        >>> events = Events.from_flat([[5.0, 3.0, 0.0, 4.0], [2.0, 0.0, 2.0, 0.0]], [1, 1])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = os.path.join(folder, "jets.h5")
        ...     write_events(path, events, {"seed": 7})
        ...     found = read_events(path)
        >>> found.p4.tolist()
        [[5.0, 3.0, 0.0, 4.0], [2.0, 0.0, 2.0, 0.0]]
    """
    groups = {"": samples} if isinstance(samples, Events) else dict(samples)
    if len({len(events) for events in groups.values()}) > 1:
        sizes = {level: len(events) for level, events in groups.items()}
        raise InputError(f"{path}: levels differ in their numbers of events: {sizes}")
    arrays = {level: _to_columns(events.validate(), compact) for level, events in groups.items()}
    coordinates = "pt,eta,phi" if compact else "E,px,py,pz"
    write_columns(path, arrays, coordinates, metadata or {}, overwrite=overwrite)


def _to_columns(events: Events, compact: bool) -> dict[str, np.ndarray]:
    """Make the datasets of one sample; what a reader would fill in is left out."""
    columns = {"p4": events.p4, "pid": events.pid, "offsets": events.offsets}
    jet_p4, total = events.jet_p4, col.sums(events.p4, events.offsets)
    tolerance = 1e-5 * np.abs(jet_p4[:, :1]) if compact else 0.0
    if np.any(np.abs(total.astype(np.float32) - jet_p4) > tolerance):
        columns["jet_p4"] = jet_p4
    if compact:
        grid, p4 = col.to_grid(columns.pop("p4"), events.pid)
        if np.any(np.abs(p4[:, 0] - events.p4[:, 0]) > 2e-3 * events.p4[:, 0]):
            raise InputError("compact form: energies do not follow from the masses of `pid`")
        columns |= dict(zip(("pt", "eta", "phi"), grid.T, strict=True))
        if "jet_p4" in columns:
            columns["jet_p4"] = np.stack(
                [*col.pt_eta_phi(jet_p4), kinematics.mass(jet_p4.astype(np.float64))], axis=-1
            )
    if not events.pid.any():
        del columns["pid"]
    columns["weight"] = events.weight
    if events.label is not None:
        columns["label"] = events.label
    return columns | {f"columns/{name}": array for name, array in events.columns.items()}


def grid_rounded(events: Events) -> Events:
    """Round the events as a compact file does, jets made of the rounded constituents."""
    p4 = col.to_grid(events.p4, events.pid)[1].astype(np.float32)
    return dataclasses.replace(events, p4=p4, jet_p4=col.sums(p4, events.offsets))
