"""The jets and constituents of two-jet events, for tokens and point clouds.

The columns of a batch, `data.dijets.COLUMNS`, describe the jets. Identities are not used: the LHC
Olympics do not give them, and generated events have none.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from jaxpriors.data import dijets
from jaxpriors.data.batching import Batch
from jaxpriors.data.dijets import COLUMNS, JET_COLUMNS, JETS
from jaxpriors.data.events import Events
from jaxpriors.data.stored import Sample
from jaxpriors.run.ranges import check_whole


def check_constituents(number: int | None) -> None:
    """Raise InputError for a number of constituents of each jet that is below one."""
    if number is not None:
        check_whole("constituents", number, 1)


def select(events: Sample, constituents: int | None) -> Events:
    """Read the events without identities, with their `COLUMNS`, and cut their jets.

    constituents: hardest of each jet, None for all. Raises InputError unless they are of two jets.
    """
    read = events.read()
    dijets.check(read)
    if constituents is not None:
        read = dijets.leading(read, constituents)
    return dataclasses.replace(read, pid=np.zeros_like(read.pid)).with_columns(COLUMNS)


def jet_columns(batch: Batch) -> Any:
    """Give the `JET_COLUMNS` of both jets, not normalised, (B, 2, 5)."""
    return batch.columns[:, 1:].reshape(-1, JETS, len(JET_COLUMNS))


def jet_momenta(batch: Batch, xp: Any) -> Any:
    """Give (E, px, py, pz) of both jets in GeV, (B, 2, 4)."""
    pt, eta, phi, mass, _ = xp.moveaxis(jet_columns(batch), -1, 0)
    energy = xp.hypot(pt * xp.cosh(eta), mass)
    return xp.stack([energy, pt * xp.cos(phi), pt * xp.sin(phi), pt * xp.sinh(eta)], axis=-1)


def owner(batch: Batch, xp: Any) -> Any:
    """Give the jet, 0 or 1, of each constituent, (B, P)."""
    return (xp.arange(batch.p4.shape[1]) >= batch.columns[:, :1]).astype(xp.int32)


def by_jet(batch: Batch, most: int | None, xp: Any) -> tuple[Any, Any]:
    """Give momenta (B, 2, P, 4) and number (B, 2) of the constituents of each jet, padded.

    P is the smaller of ``most`` and the length of a row of the batch.
    """
    rows, width = batch.p4.shape[:2]
    slots = xp.arange(width if most is None else min(most, width))
    first = batch.columns[:, 0].astype(xp.int32)
    counts = xp.stack([first, batch.length - first], axis=1)
    start = xp.stack([xp.zeros_like(first), first], axis=1)
    index = xp.minimum(start[..., None] + slots, width - 1).reshape(rows, -1)
    p4 = xp.take_along_axis(batch.p4, index[..., None], axis=1)
    return p4.reshape(rows, JETS, len(slots), 4), xp.clip(counts, 0, len(slots))
