"""Jets by anti-kT (arXiv:0802.1189) or kT (hep-ph/9305266) of generated or measured particles."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

import numpy as np

from jaxpriors import kinematics
from jaxpriors.data import columns as col
from jaxpriors.data.events import Events, grid_rounded
from jaxpriors.data.simulation.detector import Particles


def leading_jets(
    particles: Particles,
    n: int,
    *,
    radius: float,
    pt_min: float,
    algorithm: Literal["antikt", "kt"] = "antikt",
    near: np.ndarray | None = None,
    distance: float = np.inf,
    number: int = 1,
) -> Particles:
    """The constituents of the hardest jets of each of `n` events; none where there is no jet.

    Jet k of event i is number `number` i + k in what is returned.

    Args:
        particles: what is clustered.
        n: number of events.
        radius: R of the algorithm.
        pt_min: least transverse momentum in GeV.
        algorithm: antikt or kt.
        near: (n, 4) momenta; only jets within `distance` (Delta R) of them are looked at.
        distance: see `near`.
        number: of jets of each event.
    """
    import awkward as ak
    import fastjet

    starts = offsets(particles, n)
    energy, px, py, pz = particles.p4.T
    events = ak.unflatten(ak.zip({"px": px, "py": py, "pz": pz, "E": energy}), np.diff(starts))
    kind = {"antikt": fastjet.antikt_algorithm, "kt": fastjet.kt_algorithm}[algorithm]
    clusters = fastjet.ClusterSequence(events, fastjet.JetDefinition(kind, radius))
    jets = clusters.inclusive_jets(pt_min)
    rank = jets.px**2 + jets.py**2
    if near is not None:
        counts = ak.num(jets.px).to_numpy()
        flat = np.stack([ak.flatten(jets[name]).to_numpy() for name in ("E", "px", "py", "pz")], -1)
        matched = kinematics.delta_r(flat, np.repeat(near, counts, axis=0)) < distance
        rank = ak.where(ak.unflatten(matched, counts), rank, -1.0)
    order = ak.argsort(rank, axis=1, ascending=False)[:, :number]
    order = order[rank[order] >= 0]
    inside = clusters.constituent_index(pt_min)[order]
    rows = ak.flatten(inside, axis=None).to_numpy()
    sizes = ak.flatten(ak.num(inside, axis=2)).to_numpy()
    event = np.repeat(np.arange(n), ak.num(order, axis=1).to_numpy())
    place = np.arange(len(event)) - np.searchsorted(event, event)
    found = particles[np.repeat(starts[event], sizes) + rows]
    return Particles(np.repeat(number * event + place, sizes), found.p4, found.pid)


def within(
    jet: Particles, n: int, *, eta: tuple[float, float], pt_min: float, pt_max: float = np.inf
) -> np.ndarray:
    """Which of the `n` events' jets have pt_min < pt < pt_max and eta in that range; (n,) bool."""
    pt, found, _ = col.pt_eta_phi(col.sums(jet.p4, offsets(jet, n)))
    return (pt > pt_min) & (pt < pt_max) & (found > eta[0]) & (found < eta[1])


def offsets(particles: Particles, n: int) -> np.ndarray:
    """Where the particles of each of `n` events begin, (n+1,)."""
    return col.offsets_of(np.bincount(particles.event, minlength=n))


def to_events(jet: Particles, chosen: np.ndarray, columns: Mapping[str, np.ndarray]) -> Events:
    """The jets of the chosen (n,) events, hardest constituents first, as a compact file has them.

    `columns` are (n, ...) arrays of all events.
    """
    kept = jet[chosen[jet.event]]
    multiplicity = np.bincount(jet.event, minlength=len(chosen))[chosen]
    events = Events.from_flat(
        kept.p4,
        multiplicity,
        pid=kept.pid,
        columns={name: column[chosen] for name, column in columns.items()},
    )
    return grid_rounded(events.sorted_by_pt())


def collect(made: Iterable[dict[str, Events]], events: int) -> dict[str, Events]:
    """The first `events` of what is made, level by level; `made` must not end before."""
    parts: dict[str, list[Events]] = {}
    accepted = 0
    for levels in made:
        for level, sample in levels.items():
            parts.setdefault(level, []).append(sample)
        accepted += len(sample)
        if accepted >= events:
            return {level: Events.concatenate(some)[:events] for level, some in parts.items()}
    raise AssertionError(f"{accepted} events were made, expected {events}")
