"""Samples in OmniLearn's own HDF5 layout (arXiv:2404.16091), read and written.

| dataset         | shape        | meaning                                                      |
|-----------------|--------------|--------------------------------------------------------------|
| `data`          | (N, P, F)    | `physics.jet_features.FEATURES`, not normalised; F = 13, or  |
|                 |              | the first 7, or 8 with the charge (H1)                       |
| `jet`           | (N, 4)       | pt (GeV), eta, mass (GeV), multiplicity                      |
| `pid`           | (N,), (N, Y) | class of the jet, as a number or one-hot; may be absent      |
| `weights`       | (N,)         | event weights (ATLAS); absent: 1                             |
| `reco`, `gen`   | (N, P, F)    | instead of `data`: detector and particle level, matched      |
| `reco_jets`, …  | (N, 4)       | their jets                                                   |
| `reco_subs`, …  | (N, 6)       | their substructure; kept as the column `substructure`        |
| `pass_reco`, …  | (N,)         | whether an event has that level, kept as a column of it; may |
|                 |              | be absent (OmniLearn's own have none): all have              |

A constituent is a row whose third feature is not 0; an event that fails a level has none there,
whatever its rows hold. The azimuth of a jet is not stored: it is 0 in what is read. The LHC
Olympics layout with two jets an event, `data` (N, 2, P, F), is read by
`jaxpriors.data.formats.omnilearn_dijets`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np

from jaxpriors.data import unread
from jaxpriors.data.checks import located, refuse
from jaxpriors.data.events import LEVELS, Events
from jaxpriors.data.formats.omnilearn_blocks import (
    ENERGY_TOLERANCE,
    as_float64,
    check_raw,
    class_labels,
    files_of,
    momenta,
    read_blocks,
    spans,
)
from jaxpriors.data.formats.omnilearn_layout import (
    NAMES,
    Sample,
    names_of,
    open_level,
    unread_datasets,
)
from jaxpriors.data.hdf5 import Source, open_source
from jaxpriors.data.matched import PASS
from jaxpriors.errors import InputError
from jaxpriors.physics import coordinates as col
from jaxpriors.physics.jet_features import FEATURES, JET_FEATURES, raw_features
from jaxpriors.physics.particles import codes_of_classes
from jaxpriors.run.hdf5 import written_hdf5


def omnilearn_levels(path: str | os.PathLike[str]) -> tuple[str, ...]:
    """Name the levels that a file (or the files of a folder) holds; none for a single sample."""
    with open_source(files_of(path)[0]) as source:
        return LEVELS if set(NAMES.values()) <= source.arrays.keys() else ()


def omnilearn_length(path: str | os.PathLike[str]) -> int:
    """Count the events in a file of one of OmniLearn's layouts, and say what is not read of it.

    Raises InputError for a file of another layout, and for datasets that look like weights, labels
    or flags and would not be read (`data.unread`).
    """
    with open_source(path) as source:
        name = next((n for n in ("data", "reco") if n in source.arrays), None)
        if name is None:
            raise InputError(f"{path}: no dataset 'data', nor 'reco'; found: {source.found}")
        unread.tell(source.path, unread_datasets(source))
        return source.rows(name)


def read_omnilearn_events(
    path: str | os.PathLike[str],
    level: str | None = None,
    *,
    signed_eta: bool = False,
    at_least: int | None = None,
    start: int = 0,
    stop: int | None = None,
) -> Events:
    """Read validated events of a file in OmniLearn's layout, or of all such files in a folder.

    Files are read in blocks: beside the result, memory holds `omnilearn_blocks.BLOCK` numbers.
    Four-momenta follow from log pt, log E and the angles, jets from pt, eta and mass. Identities
    are classes: +-211, 130, 22, +-11, +-13 by the flags and the charge; with 8 features +-211 or
    0 by the charge; 0 with 7. Columns: `multiplicity`, if the file counts other constituents than
    it holds; `substructure`.

    Args:
        path: the file, or a folder whose *.h5 files are read in the order of their names.
        level: `particle` (`gen`) or `detector` (`reco`) of a file with both.
        signed_eta: whether the first feature was multiplied by the sign of the jet's
            pseudorapidity, as JetClass's was.
        at_least: events with fewer constituents, at either level, are left out; default: one
            without any is an error.
        start: index of the first event that is read.
        stop: index of the event before which reading ends; default: all.

    Raises:
        InputError: files that are absent or damaged, datasets that are missing or of another
            shape, values that are not finite or were normalised, energies below |p|, labels that
            are neither numbers nor one-hot; with the name of the file and number of the event.
    """

    events = read_range(path, start, stop, level=level, signed_eta=signed_eta, at_least=at_least)
    for file in files_of(path):
        with open_source(file) as source:
            unread.tell(file, unread_datasets(source))
    return events


def read_range(
    path: str | os.PathLike[str],
    start: int,
    stop: int | None,
    *,
    level: str | None = None,
    signed_eta: bool = False,
    at_least: int | None = None,
) -> Events:
    """Read as `read_omnilearn_events` does, without a word on what is not read."""

    def opened(source: Source) -> tuple[Any, Callable[[slice], _Block]]:
        sample = open_level(source, level)
        return sample.data, lambda rows: _read_block(sample, rows, signed_eta, at_least)

    blocks = read_blocks(path, start, stop, opened)
    kinds = {(block.label is None, block.weight is None, *block.columns) for block in blocks}
    if len(kinds) > 1:
        raise InputError(f"{path}: only some of the files hold labels, weights or substructure")

    def joined(arrays: list[Any]) -> Any:
        return None if arrays[0] is None else np.concatenate(arrays)

    multiplicity = np.concatenate([block.multiplicity for block in blocks])
    columns = {n: joined([block.columns[n] for block in blocks]) for n in blocks[0].columns}
    if np.array_equal(columns["multiplicity"], multiplicity):
        del columns["multiplicity"]
    with located(path):
        events = Events.from_flat(
            np.concatenate([block.p4 for block in blocks]),
            multiplicity,
            pid=np.concatenate([block.pid for block in blocks]),
            jet_p4=np.concatenate([block.jet_p4 for block in blocks]),
            weight=joined([block.weight for block in blocks]),
            label=joined([block.label for block in blocks]),
            columns=columns,
            faults=[],  # those that lack the level may hold anything
        )
        flags = columns.get(PASS[level]) if level else None
        if flags is None:
            return events.validate()
        events[flags].validate()
        return events


def write_omnilearn_events(
    path: str | os.PathLike[str],
    samples: Events | Mapping[str, Events],
    *,
    constituents: int | None = None,
    classes: int | None = None,
    signed_eta: bool = False,
    overwrite: bool = False,
) -> None:
    """Write one sample, or the levels particle and detector, in OmniLearn's layout (F = 13).

    Args:
        path: the file; whole or not at all.
        samples: what to write.
        constituents: P, of which the hardest constituents are kept; default: the largest
            multiplicity. The jet's multiplicity counts all.
        classes: write labels one-hot with this many classes; default: as numbers.
        signed_eta: multiply the first feature by the sign of the jet's pseudorapidity.
        overwrite: whether an existing file may be replaced.

    Raises:
        InputError: the file exists, one level without the other, labels beyond the classes.
    """
    groups = {"": samples} if isinstance(samples, Events) else dict(samples)
    if set(groups) not in ({""}, set(LEVELS)):
        raise InputError(f"{path}: levels are {list(groups)}, expected {' and '.join(LEVELS)}")
    if len({len(events) for events in groups.values()}) > 1:
        raise InputError(f"{path}: levels differ in their numbers of events")
    width = max(int(events.multiplicity.max(initial=0)) for events in groups.values())
    with written_hdf5(path, overwrite=overwrite) as file:
        for level, events in groups.items():
            data, jet, subs = names_of(level)
            _write_sample(file, data, jet, events.validate(), constituents or width, signed_eta)
            if "substructure" in events.columns:
                file[subs] = events.columns["substructure"]
            if PASS.get(level) in events.columns:
                file[PASS[level]] = events.columns[PASS[level]]
        events = next(iter(groups.values()))
        if events.label is not None:
            file["pid"] = events.label if classes is None else _one_hot(events.label, classes)
        if np.any(events.weight != 1):
            file["weights"] = events.weight


@dataclass(frozen=True)
class _Block:
    """Hold events of one file, constituents flat, as `Events.from_flat` takes them."""

    p4: np.ndarray
    pid: np.ndarray
    multiplicity: np.ndarray
    jet_p4: np.ndarray
    label: np.ndarray | None
    weight: np.ndarray | None
    columns: dict[str, np.ndarray]


def _read_block(sample: Sample, rows: slice, signed_eta: bool, at_least: int | None) -> _Block:
    """Read some events of a sample as flat columns."""
    data, jet = as_float64(sample.data, rows), as_float64(sample.jet, rows)
    index = np.arange(rows.start, rows.stop)
    passing = sample.passing[rows]
    mask = (data[..., 2] != 0) & passing[:, None]
    multiplicity = mask.sum(axis=1)
    kept = np.ones(len(data), dtype=bool)
    if at_least is None:
        empty = passing & (multiplicity == 0)
        refuse(sample.path, index, empty, "has no constituents, expected at least one")
    else:
        kept = (multiplicity >= at_least) | ~passing
        if sample.partner is not None:
            others = (sample.partner[rows, :, 2] != 0).sum(axis=1)
            kept &= (others >= at_least) | ~sample.partner_passing[rows]
    jet[~passing] = 0
    data, jet, mask, index = data[kept], jet[kept], mask[kept], index[kept]
    multiplicity, passing = multiplicity[kept], passing[kept]

    particles = data[mask]
    event = np.repeat(index, multiplicity)
    refuse(
        sample.path,
        event,
        ~np.isfinite(particles).all(axis=1),
        "holds features that are not finite",
    )
    refuse(sample.path, index, ~np.isfinite(jet).all(axis=1), "has a jet that is not finite")
    check_raw(sample.path, particles)
    refuse(sample.path, index, passing & (jet[:, 0] <= 0), "has a jet whose pt is not positive")
    rounded = jet[:, 2] < -ENERGY_TOLERANCE * jet[:, 0]
    refuse(sample.path, index, rounded, "has a jet of negative mass")
    jets = np.stack([jet[:, 0], jet[:, 1], np.zeros(len(jet)), np.maximum(jet[:, 2], 0)], axis=-1)

    sign = np.where(jet[:, 1] < 0, -1.0, 1.0) if signed_eta else np.ones(len(jet))
    eta = np.repeat(jet[:, 1], multiplicity) + particles[:, 0] * np.repeat(sign, multiplicity)
    p4 = momenta(sample.path, event, particles, eta, particles[:, 1])
    columns = {"multiplicity": jet[:, 3]}
    if sample.flag:
        columns[sample.flag] = passing
    if sample.subs is not None:
        columns["substructure"] = np.asarray(sample.subs[rows])[kept]
    return _Block(
        p4=p4,
        pid=_identities(sample, particles, event),
        multiplicity=multiplicity,
        jet_p4=col.to_cartesian(jets, "pt,eta,phi,m"),
        label=None if sample.label is None else class_labels(sample.path, sample.label, rows)[kept],
        weight=None if sample.weight is None else np.asarray(sample.weight[rows])[kept],
        columns=columns,
    )


def _identities(sample: Sample, particles: np.ndarray, event: np.ndarray) -> np.ndarray:
    """Find classes (total,) by the charge and the flags, as far as there are any."""
    if particles.shape[1] == 7:
        return np.zeros(len(particles), dtype=np.int32)
    charge = np.sign(np.round(particles[:, 7])).astype(np.int32)
    if particles.shape[1] == 8:
        return charge * 211
    flags = particles[:, 8:13] > 0.5
    refuse(sample.path, event, flags.sum(axis=1) > 1, "has constituents of several kinds at once")
    found, charged = codes_of_classes(flags, charge)
    refuse(
        sample.path, event, charged & (charge == 0), "has charged constituents whose charge is 0"
    )
    return found


def _write_sample(
    file: h5py.File, data: str, jet: str, events: Events, width: int, signed_eta: bool
) -> None:
    """Write features and jets of one sample, in blocks."""
    shape = (len(events), width, len(FEATURES))
    packed = {"compression": "gzip", "compression_opts": 4, "shuffle": True}
    features = file.create_dataset(data, shape, np.float32, **(packed if len(events) else {}))
    jets = file.create_dataset(jet, (len(events), len(JET_FEATURES)), np.float32)
    for begin, end in spans(0, len(events), shape):
        some = events[begin:end]
        p4, pid, length = some.sorted_by_pt().padded(width)
        found, mask, found_jets = raw_features(
            p4.astype(np.float64), pid, length, some.jet_p4.astype(np.float64)
        )
        if signed_eta:
            found[..., 0] *= np.where(found_jets[:, 1:2] < 0, -1, 1)
        found = found.astype(np.float32)
        # a third feature of exactly 0 would mark the constituent as padding
        found[mask & (found[..., 2] == 0), 2] = -np.finfo(np.float32).eps
        found_jets[:, 3] = some.columns.get("multiplicity", some.multiplicity)
        features[begin:end], jets[begin:end] = found, found_jets


def _one_hot(label: np.ndarray, classes: int) -> np.ndarray:
    if label.min(initial=0) < 0 or label.max(initial=0) >= classes:
        raise InputError(
            f"labels lie in [{label.min()}, {label.max()}], expected [0, {classes - 1}]"
        )
    return np.eye(classes, dtype=np.int32)[label]
