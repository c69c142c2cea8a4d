"""The R&D data set of the LHC Olympics (arXiv:2101.08320, Zenodo 4536377): particles into two jets.

The file is one pandas table of N rows, compressed with blosc: 700 particles as (pT in GeV, η, φ),
zeros where there are fewer, and a label, 1 for signal. Tables of as many other particles as one
likes are read too, by the names of their columns (`particle_rows`). Particles have no mass and no
identity. Jets are anti-kT with R = 1.0; an event is its two hardest.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

from jaxpriors.data import dijets, unread
from jaxpriors.data.checks import refuse
from jaxpriors.data.dijets import Window
from jaxpriors.data.events import Events
from jaxpriors.data.formats.pandas_tables import Name, Table, one_table
from jaxpriors.data.formats.particle_rows import behind_padding, check_triples, particle_columns
from jaxpriors.data.hdf5 import Source, open_source
from jaxpriors.errors import InputError
from jaxpriors.physics import coordinates as col

BLOCK = 1000  # events that are read and clustered together
RADIUS, JET_PT_MIN = 1.0, 20.0


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
            such table, columns that are not (pT, η, φ) by their names or values, values that are
            not finite, labels that are not 0 or 1, no event within the window.
    """
    path = Path(path)
    if importlib.util.find_spec("fastjet") is None:
        raise InputError(f"{path}: clustering needs fastjet: pip install 'jaxpriors[data]'")
    blocks: list[Events] = []
    with open_source(path) as source:
        table = one_table(source)
        columns, label = particle_columns(table)
        last = len(table) if stop is None else min(stop, len(table))
        for begin in range(start, last, BLOCK):
            end = min(begin + BLOCK, last)
            particles = table.read(columns, begin, end).astype(np.float64)
            labels = None if label is None else _labels(table, label, begin, end)
            events = _cluster(path, particles.reshape(end - begin, -1, 3), labels, begin)
            blocks.append(events if window is None else events[dijets.inside(events, window)])
            progress(end - start, last - start)
    if not sum(map(len, blocks)) and not may_be_empty:
        kept = f" with {window[0]:g} < m_jj < {window[1]:g} GeV" if window else ""
        raise InputError(f"{path}: found no event of two jets{kept} in rows {start} to {last}")
    return Events.concatenate(blocks).validate()


def lhco_rows(path: str | os.PathLike[str]) -> int:
    """Count the rows of the table in a file, and say what else it holds (`unread`).

    Raises InputError as `read_lhco_events` does.
    """
    with open_source(path) as source:
        table = one_table(source)
        particle_columns(table)
        unread.tell(source.path, _unread(source, table))
        return len(table)


def _unread(source: Source, table: Table) -> tuple[str, ...]:
    """Name what stands beside the table."""
    own = [name for name in source.arrays if name.startswith(f"{table.name}/") or not table.name]
    return unread.account(source.path, source.arrays, own, places="labels are a column")


def _labels(table: Table, name: Name, start: int, stop: int) -> np.ndarray:
    """Read labels (n,) int32."""
    found = table.read([name], start, stop)[:, 0]
    if not np.isin(found, (0, 1)).all():
        raise InputError(
            f"{table.path}: labels (column {name}) are {np.unique(found)[:5].tolist()}, expected 0 "
            "and 1"
        )
    return found.astype(np.int32)


def _cluster(path: Path, particles: np.ndarray, label: np.ndarray | None, first: int) -> Events:
    """Cluster particles (n, P, 3) into events of two jets; first: index of the first event."""
    from jaxpriors.data.clustering import Particles, leading_jets, offsets

    n = len(particles)
    index = first + np.arange(n)
    finite = np.isfinite(particles).all(axis=(1, 2))
    refuse(path, index, ~finite, "holds values that are not finite")
    check_triples(path, index, particles)
    if label is None:
        hidden = behind_padding(particles)
        refuse(path, index, hidden, "has a last particle behind padding, expected one or a label")
    event, place = np.nonzero(particles[..., 0] > 0)
    p4 = col.to_cartesian(particles[event, place], "pt,eta,phi")
    jets = leading_jets(
        Particles(event, p4, np.zeros(len(p4), np.int32)),
        n,
        radius=RADIUS,
        pt_min=JET_PT_MIN,
        number=dijets.JETS,
    )
    counts = np.diff(offsets(jets, dijets.JETS * n))
    both = np.all(counts.reshape(-1, dijets.JETS) > 0, axis=1)
    kept = np.repeat(both, dijets.JETS)
    inside = kept[jets.event]
    pairs = Events.from_flat(jets.p4[inside], counts[kept]).sorted_by_pt()
    return dijets.dijets(pairs, label=None if label is None else label[both])
