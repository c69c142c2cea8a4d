"""Events of two jets: `Events` whose constituents are those of the harder jet, then of the other.

What the jets are as a whole stands in columns (`COLUMNS`), one value of an event each, as
OmniLearn has them for the LHC Olympics (arXiv:2404.16091): transverse momentum and mass in GeV,
pseudorapidity, azimuth and the number of constituents that the jet had, of which an event may hold
the hardest ones alone (`leading`). ``jet1_constituents`` is how many the event holds of the first
jet. ``jet_p4`` is the sum of both jets: its mass is the dijet mass m_jj.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from jaxpriors.data.events import Events
from jaxpriors.errors import InputError
from jaxpriors.physics import coordinates as col
from jaxpriors.physics import kinematics

JETS = 2
JET_COLUMNS = ("pt", "eta", "phi", "mass", "multiplicity")
FIRST = "jet1_constituents"
COLUMNS = (FIRST, *(f"jet{j}_{name}" for j in (1, 2) for name in JET_COLUMNS))
Window = tuple[float, float]


def dijets(
    jets: Events,
    multiplicity: np.ndarray | None = None,
    *,
    label: np.ndarray | None = None,
) -> Events:
    """Make n events of 2n jets, jets 2i and 2i + 1 being those of event i, in any order.

    multiplicity (2n,): of the jets, where `jets` hold fewer of their constituents. label (n,): of
    the events, whose weights are 1. Raises InputError for an odd number of jets.
    """
    if len(jets) % JETS:
        raise InputError(f"dijets: found {len(jets)} jets, expected two of each event")
    counts = jets.multiplicity if multiplicity is None else np.asarray(multiplicity)
    pt = kinematics.pt(jets.jet_p4.astype(np.float64)).reshape(-1, JETS)
    order = np.arange(len(jets)).reshape(-1, JETS)
    order[pt[:, 1] > pt[:, 0]] = order[pt[:, 1] > pt[:, 0], ::-1]
    jets, counts = jets[order.reshape(-1)], counts[order.reshape(-1)]
    p4 = jets.jet_p4.astype(np.float64)
    kinematic = (*col.pt_eta_phi(p4), kinematics.mass(p4), counts)
    own = {
        f"jet{j + 1}_{name}": values[j::JETS].astype(np.float32)
        for j in range(JETS)
        for name, values in zip(JET_COLUMNS, kinematic, strict=True)
    }
    return Events(
        p4=jets.p4,
        pid=jets.pid,
        offsets=jets.offsets[::JETS],
        jet_p4=p4.reshape(-1, JETS, 4).sum(1),
        weight=np.ones(len(pt)),
        label=label,
        columns={FIRST: jets.multiplicity[::JETS], **own},
    )


def jets_of(events: Events) -> Events:
    """Take n events apart into 2n jets, those of event i being 2i and 2i + 1.

    Column: multiplicity. Weights and labels are those of the events. Raises InputError for events
    that are no dijets.
    """
    check(events)
    first = events.columns[FIRST].astype(np.int64)
    offsets = np.empty(JETS * len(events) + 1, np.int64)
    offsets[::JETS], offsets[1::JETS] = events.offsets, events.offsets[:-1] + first
    columns = {
        name: np.stack([events.columns[f"jet{j}_{name}"] for j in (1, 2)], axis=1).reshape(-1)
        for name in JET_COLUMNS
    }
    kinematic = np.stack([columns[name] for name in ("pt", "eta", "phi", "mass")], axis=-1)
    return Events(
        p4=events.p4,
        pid=events.pid,
        offsets=offsets,
        jet_p4=col.to_cartesian(kinematic, "pt,eta,phi,m"),
        weight=np.repeat(events.weight, JETS),
        label=None if events.label is None else np.repeat(events.label, JETS),
        columns={"multiplicity": columns["multiplicity"]},
    )


def leading(events: Events, constituents: int) -> Events:
    """Keep at most so many constituents of each jet, those of largest pT.

    The columns stay as they are but for how many there are of the first jet.
    """
    jets = jets_of(events).hardest(constituents)
    return dataclasses.replace(
        events,
        p4=jets.p4,
        pid=jets.pid,
        offsets=jets.offsets[::JETS],
        columns=events.columns | {FIRST: jets.multiplicity[::JETS]},
    )


def dijet_mass(events: Events) -> np.ndarray:
    """Compute m_jj of each event in GeV, (n,) float64."""
    return kinematics.mass(events.jet_p4.astype(np.float64))


def inside(events: Events, window: Window) -> np.ndarray:
    """Tell which events have window[0] < m_jj < window[1] (GeV), (n,) bool."""
    mass = dijet_mass(events)
    return (mass > window[0]) & (mass < window[1])


def check(events: Events, name: str = "sample") -> None:
    """Raise InputError, with the sample's name, unless these are events of two jets."""
    missing = [c for c in COLUMNS if c not in events.columns]
    if missing:
        raise InputError(
            f"{name}: found no columns {missing}, expected events of two jets; `jaxpriors data "
            "convert --layout lhco` makes them of the LHC Olympics' file"
        )
    first = events.columns[FIRST]
    bad = np.flatnonzero((first < 1) | (first >= events.multiplicity))
    if len(bad):
        raise InputError(
            f"{name}: {FIRST} is {first[bad[0]]:g} in event {bad[0]}, which has "
            f"{events.multiplicity[bad[0]]} constituents ({len(bad)} such events); expected at "
            "least one constituent of each jet"
        )
