"""Samples of events in files: read, and written whole or not at all.

Layout of a file (HDF5). A file holds one sample at its root, or the groups `particle` and
`detector`, whose events match one by one.

| dataset            | shape     | dtype   | meaning                                              |
|--------------------|-----------|---------|------------------------------------------------------|
| `p4`               | (total,4) | float   | (E, px, py, pz) in GeV of all constituents, in order |
| `pt`, `eta`, `phi` | (total,)  | float   | instead of `p4` (GeV, rad), or other components; the |
|                    |           |         | mass is `m`, or follows from `E`, or from `pid`      |
| `pid`              | (total,)  | int32   | PDG code; absent: 0, unknown                         |
| `offsets`          | (n+1,)    | int64   | event i holds constituents offsets[i]:offsets[i+1]   |
| `jet_p4`           | (n,4)     | float64 | (E, px, py, pz) in GeV; absent: the constituents' sum|
| `weight`           | (n,)      | float64 | event weight, of either sign; absent: 1              |
| `label`            | (n,)      | int32   | class of the event; may be absent                    |
| `columns/<name>`   | (n, ...)  | any     | further event-level columns; `pass_reco` (detector   |
|                    |           |         | level, or a single sample) and `pass_gen` (particle  |
|                    |           |         | level): which events have that level                 |

Attributes of the root: `format` = "jaxpriors-events", `version` = 1, `metadata` = JSON (command,
settings, versions, seed, date, ...); of each sample: `coordinates` (`coordinates.components`),
which hold for `jet_p4` as well (with a mass). Instead of `offsets`, `multiplicity` (n,) is read
too; momenta may also be padded: p4 (n, P, 4) with `mask` (n, P) or `multiplicity`, or rows of
zeros. Links and virtual datasets are followed. What a file holds beside that is told (`Unread`),
or refused where its name looks like weights, flags or labels.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxpriors.data import named, named_unread, unread
from jaxpriors.data.event_writer import EventWriter
from jaxpriors.data.events import Events
from jaxpriors.data.hdf5 import Opened, open_source
from jaxpriors.data.named_sample import NamedSample
from jaxpriors.data.reading import Reading
from jaxpriors.errors import InputError
from jaxpriors.physics import coordinates as col
from jaxpriors.run.forms import parse_json

ENTRY = "entry"  # column with the number of an event in its file, where some were left out


def read_events(
    path: Opened,
    level: str | None = None,
    columns: Mapping[str, str] | None = None,
    coordinates: str | None = None,
    **rest: Any,
) -> Events:
    """Read validated events from an HDF5 file, or from an npz file with the same names.

    Events that do not pass the flag of their level (`pass_reco`, `pass_gen`) are left out; the
    column `entry` then has the numbers of those that are there.

    Args:
        path: the file, or a prepared folder; or what `hdf5.open_source` opened of either.
        level: `particle` or `detector`; may be left out where the file holds only one sample.
        columns: our names → the file's datasets (full names), for files with another layout, such
            as {"p4": "jets/momenta", "mask": "jets/valid"}. Momenta may also be named by component
            ({"pt": ..., "eta": ..., "phi": ...}), flat or padded. Names that are not in the table
            above become event-level columns. Names left out are looked up as in the table.
        coordinates: of the momenta, as `coordinates.components` takes them; default: what the file
            or the names of the components say, otherwise (E, px, py, pz).
        rest: further fields of a `Reading`: ignore, padding, identities, unit.

    Raises:
        InputError: the file is absent, foreign, truncated or damaged; the level or a column is
            absent (the message lists what was found); anything that `Events.from_flat` refuses; a
            name that looks like weights, flags or labels and was not read.

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
    return read_named(path, Reading(level, columns or {}, coordinates, **rest))


def read_named(path: Opened, reading: Reading) -> Events:
    """Read validated events as `read_events` does; how is said by one value."""
    with open_source(path) as source:
        sample = named.find_sample(source, reading)
        unread.tell(sample.place, named_unread.unread_names([sample]))
        return numbered(sample.read(), sample)


def numbered(events: Events, sample: NamedSample, start: int = 0) -> Events:
    """Add the column `entry` to the passing events of a range from `start`, if others do not."""
    if sample.flags is None or sample.flags.all() or ENTRY in events.columns:
        return events
    entry = start + np.flatnonzero(sample.flags[start:])[: len(events)]
    return dataclasses.replace(events, columns=events.columns | {ENTRY: entry})


def read_metadata(path: Opened) -> dict[str, Any]:
    """Read the metadata that `write_events` stored; empty for a file of another origin."""
    with open_source(path) as source:
        text = source.attributes.get("", {}).get("metadata", "{}")
        place = f"{source.path}: attribute `metadata`"
    if not isinstance(text, (str, bytes)):
        raise InputError(f"{place}: found {type(text).__name__}, expected JSON")
    content = parse_json(text, place)
    if not isinstance(content, dict):
        raise InputError(f"{place}: found a JSON {type(content).__name__}, expected an object")
    return content


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
    for events in groups.values():
        events.validate()
    with EventWriter.open(
        path, tuple(groups), metadata or {}, overwrite=overwrite, compact=compact, lean=groups
    ) as writer:
        writer.append(groups)


def grid_rounded(events: Events) -> Events:
    """Round the events as a compact file does, jets made of the rounded constituents."""
    p4 = col.to_grid(events.p4, events.pid)[1]
    return dataclasses.replace(events, p4=p4, jet_p4=col.sums(p4, events.offsets))
