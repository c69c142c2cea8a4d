"""The R&D data set of the LHC Olympics (arXiv:2101.08320, Zenodo 4536377): particles into two jets.

The file is one pandas table of N rows (PyTables' fixed format, compressed with blosc): 700
particles as (pT in GeV, η, φ), zeros where there are fewer, and a label, 1 for signal. Particles
have no mass and no identity. Jets are anti-kT with R = 1.0; an event is its two hardest.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from jaxpriors.data import dijets
from jaxpriors.data.checks import refuse
from jaxpriors.data.dijets import Window
from jaxpriors.data.events import Events
from jaxpriors.data.hdf5 import Source, check_filters, open_source
from jaxpriors.errors import InputError
from jaxpriors.physics import coordinates as col

BLOCK = 1000  # events that are read and clustered together
RADIUS, JET_PT_MIN = 1.0, 20.0
VALUES = "block0_values"


def read_lhco_events(
    path: str | os.PathLike[str],
    *,
    window: Window | None = None,
    start: int = 0,
    stop: int | None = None,
    may_be_empty: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Events:
    """Read validated events of two jets (`jaxpriors.data.dijets`), label 1 for signal.

    The table is read and clustered in blocks: beside the result, memory holds `BLOCK` events.

    Args:
        path: the file.
        window: m_jj of the events that are kept, (low, high) in GeV; None for all.
        start: index of the first event that is read.
        stop: index of the event before which reading ends; default: all.
        may_be_empty: whether rows without any event of two jets give none, or are an error.
        progress: called with (events read, all events to read).

    Raises:
        InputError: fastjet or hdf5plugin is missing, the file is absent or damaged or holds no
            such table, values that are not finite, labels that are not 0 or 1, no event within the
            window.
    """
    path = Path(path)
    if importlib.util.find_spec("fastjet") is None:
        raise InputError(f"{path}: clustering needs fastjet: pip install 'jaxpriors[data]'")
    blocks: list[Events] = []
    with open_source(path) as source:
        values, labelled = _table(source)
        last = len(values) if stop is None else min(stop, len(values))
        for begin in range(start, last, BLOCK):
            end = min(begin + BLOCK, last)
            events = _cluster(path, np.asarray(values[begin:end], np.float64), labelled, begin)
            blocks.append(events if window is None else events[dijets.inside(events, window)])
            progress(end - start, last - start)
    if not sum(map(len, blocks)) and not may_be_empty:
        kept = f" with {window[0]:g} < m_jj < {window[1]:g} GeV" if window else ""
        raise InputError(f"{path}: found no event of two jets{kept} in rows {start} to {last}")
    return Events.concatenate(blocks).validate()


def lhco_rows(path: str | os.PathLike[str]) -> int:
    """Count the rows of the table in a file; raises InputError as `read_lhco_events`."""
    with open_source(path) as source:
        return len(_table(source)[0])


def _table(source: Source) -> tuple[Any, bool]:
    """Find the table (N, 3 P or 3 P + 1), not yet read, and whether its last column is a label."""
    names = [name for name in source.arrays if name.split("/")[-1] == VALUES]
    if len(names) != 1:
        raise InputError(
            f"{source.path}: found {source.found}; expected one pandas table, with a dataset "
            f"{VALUES!r}"
        )
    table = source.arrays[names[0]]
    if table.ndim != 2 or table.shape[1] % 3 == 2 or table.dtype.kind not in "iuf":
        raise InputError(
            f"{source.path}: {names[0]!r} is {table.dtype}{list(table.shape)}, expected numbers "
            "(N, 3 P + 1): pT, eta, phi of each particle, and a label"
        )
    check_filters(source.path, table)
    return table, table.shape[1] % 3 == 1


def _cluster(path: Path, rows: np.ndarray, labelled: bool, first: int) -> Events:
    """Cluster rows into events of two jets; first: index of the first row."""
    from jaxpriors.data.clustering import Particles, leading_jets, offsets

    finite = np.isfinite(rows).all(axis=1)
    index = first + np.arange(len(rows))
    refuse(path, index, ~finite, "holds values that are not finite")
    label = rows[:, -1] if labelled else np.zeros(len(rows))
    if not np.isin(label, (0, 1)).all():
        raise InputError(
            f"{path}: labels (the last column) are {np.unique(label)[:5].tolist()}, expected 0 "
            "and 1"
        )
    particles = rows[:, : rows.shape[1] // 3 * 3].reshape(len(rows), -1, 3)
    event, place = np.nonzero(particles[..., 0] > 0)
    p4 = col.to_cartesian(particles[event, place], "pt,eta,phi")
    jets = leading_jets(
        Particles(event, p4, np.zeros(len(p4), np.int32)),
        len(rows),
        radius=RADIUS,
        pt_min=JET_PT_MIN,
        number=dijets.JETS,
    )
    counts = np.diff(offsets(jets, dijets.JETS * len(rows)))
    both = np.all(counts.reshape(-1, dijets.JETS) > 0, axis=1)
    kept = np.repeat(both, dijets.JETS)
    inside = kept[jets.event]
    pairs = Events.from_flat(jets.p4[inside], counts[kept]).sorted_by_pt()
    own = label[both].astype(np.int32) if labelled else None
    return dijets.dijets(pairs, label=own)
