"""Jets by anti-kT (arXiv:0802.1189) or kT (hep-ph/9305266) of generated or measured particles."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from jaxpriors.data.events import Events
from jaxpriors.data.sample_files import grid_rounded
from jaxpriors.errors import InputError
from jaxpriors.physics import coordinates as col
from jaxpriors.physics import kinematics


@dataclass(frozen=True)
class Particles:
    """Particles of many events, in the order of their events.

    Args:
        event: (p,) int64, rising.
        p4: (p, 4) float64 (E, px, py, pz) in GeV.
        pid: (p,) int32 PDG codes.
    """

    event: np.ndarray
    p4: np.ndarray
    pid: np.ndarray

    def __getitem__(self, chosen: np.ndarray) -> Particles:
        """Choose particles: booleans (p,) or indices."""
        return Particles(self.event[chosen], self.p4[chosen], self.pid[chosen])


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
    """Find the constituents of the hardest jets of each of `n` events; none where there is no jet.

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

    Raises InputError for momenta that are not finite: awkward 2.14 sorts NaN before all numbers, in
    rising and in falling order, so that such a jet would stand in the place of the hardest.
    """
    import awkward as ak
    import fastjet

    finite = np.isfinite(particles.p4).all(axis=1)
    if not finite.all():
        first = int(np.argmin(finite))
        raise InputError(
            f"particles: {np.sum(~finite)} of {len(finite)} have momenta that are not finite, "
            f"first number {first}: found {particles.p4[first].tolist()}"
        )
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
    """Tell which of `n` events' jets have pt_min < pt < pt_max and eta in the range; (n,) bool."""
    pt, found, _ = col.pt_eta_phi(col.sums(jet.p4, offsets(jet, n)))
    return (pt > pt_min) & (pt < pt_max) & (found > eta[0]) & (found < eta[1])


def offsets(particles: Particles, n: int) -> np.ndarray:
    """Count where the particles of each of `n` events begin, (n+1,)."""
    return col.offsets_of(np.bincount(particles.event, minlength=n))


def to_events(jet: Particles, chosen: np.ndarray, columns: Mapping[str, np.ndarray]) -> Events:
    """Make events of the jets of the chosen (n,) events, hardest constituents first.

    They are as a compact file has them. `columns` are (n, ...) arrays of all events.
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


def passing(
    jets: Mapping[str, Particles],
    columns: Mapping[str, np.ndarray],
    *,
    eta: tuple[float, float],
    pt_min: float,
) -> dict[str, Events]:
    """Make events, level by level, of the jets that are `within` the range at all levels.

    `columns` are (n, ...) arrays of all events.
    """
    n = len(next(iter(columns.values())))
    chosen = np.ones(n, dtype=bool)
    for jet in jets.values():
        chosen &= within(jet, n, pt_min=pt_min, eta=eta)
    return {level: to_events(jet, chosen, columns) for level, jet in jets.items()}


def collect(made: Iterable[dict[str, Events]], events: int) -> dict[str, Events]:
    """Collect the first `events` of what is made, level by level; `made` must not end before."""
    pieces: dict[str, list[Events]] = {}
    accepted = 0
    for levels in made:
        for level, sample in levels.items():
            pieces.setdefault(level, []).append(sample)
        accepted += len(sample)
        if accepted >= events:
            return {level: Events.concatenate(some)[:events] for level, some in pieces.items()}
    raise AssertionError(f"{accepted} events were made, expected {events}")
