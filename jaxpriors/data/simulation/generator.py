"""Pythia 8 (arXiv:2203.11601) as the recipes use it: started from settings, read in batches."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from jaxpriors.data.clustering import Particles
from jaxpriors.errors import InputError
from jaxpriors.physics import coordinates as col

BATCH = 250
NEUTRINOS = (12, 14, 16)
PARTICLE_ETA_MAX = 5.0
VARIATIONS = {
    "fsr_mur_half": "fsr:muRfac=0.5",
    "fsr_mur_double": "fsr:muRfac=2.0",
    "isr_mur_half": "isr:muRfac=0.5",
    "isr_mur_double": "isr:muRfac=2.0",
}
"""Other renormalisation scales of the showers, final and initial, by name."""


@dataclass(frozen=True)
class Record:
    """The event records of n events, entries of all events one after another.

    Args:
        n: number of events.
        event: (entries,) int64, the event an entry belongs to, rising.
        pid: (entries,) PDG codes.
        status: (entries,) status codes of Pythia, positive for final particles.
        daughter: (entries,) place in the record of an entry's first daughter, its event's first
            entry where there is none.
        p4: (entries, 4) float64 (E, px, py, pz) in GeV.
        weights: named event weights (n,) float64.
    """

    n: int
    event: np.ndarray
    pid: np.ndarray
    status: np.ndarray
    daughter: np.ndarray
    p4: np.ndarray
    weights: dict[str, np.ndarray]

    def visible(self, accepted: np.ndarray, but: np.ndarray | None = None) -> Particles:
        """Final particles but neutrinos, |eta| < 5, of the accepted (n,) events, numbered anew.

        but: places in the record of particles that are left out as well.
        """
        final = (self.status > 0) & ~np.isin(np.abs(self.pid), NEUTRINOS) & accepted[self.event]
        if but is not None:
            final[but] = False
        particles = Particles(
            (np.cumsum(accepted) - 1)[self.event[final]], self.p4[final], self.pid[final]
        )
        return particles[np.abs(col.pt_eta_phi(particles.p4)[1]) < PARTICLE_ETA_MAX]

    def variations(self, accepted: np.ndarray) -> dict[str, np.ndarray]:
        """Collect the columns `weight_...` of accepted (n,) events, where ``varied`` made them."""
        found = {name: self.weights[name] for name in VARIATIONS if name in self.weights}
        return {f"weight_{name}": weight[accepted] for name, weight in found.items()}


def varied(changes: dict[str, str]) -> tuple[str, str]:
    """Settings: each event carries the weights that these changes of its showers would give it."""
    listed = ", ".join(f"{name} {change}" for name, change in changes.items())
    return "UncertaintyBands:doVariations = on", f"UncertaintyBands:List = {{{listed}}}"


def records(
    settings: tuple[str, ...], seed: int, products: tuple[tuple[int, ...], int] | None = None
) -> Iterator[Record]:
    """Records of `BATCH` events at a time, without end.

    Args:
        settings: lines for Pythia.
        seed: any number that is not negative.
        products: (codes, number): the hard process and the decays of its resonances must hold
            exactly this number of particles with these PDG codes (of either sign).

    Raises:
        InputError: Pythia refuses the settings, or has no weights of a variation that they ask for:
            VINCIA (Pythia 8.317) takes `UncertaintyBands` and gives one weight of 1, and a misspelt
            change gives a name whose weights are all 1.
    """
    import pythia8mc

    pythia = pythia8mc.Pythia("", False)
    seed = 1 + seed % 900_000_000  # the range of Pythia's seeds
    for line in (*settings, "Print:quiet = on", "Random:setSeed = on", f"Random:seed = {seed}"):
        if not pythia.readString(line):
            raise InputError(f"Pythia does not know the setting {line!r}")
    if products is not None:
        hook = _product_filter(*products)  # Pythia does not keep it alive
        pythia.setUserHooksPtr(hook)
    if not pythia.init():
        raise InputError(f"Pythia cannot start with these settings: {settings}")
    info = pythia.infoPython()
    names = [info.weightNameByIndex(i) for i in range(info.numberOfWeights())]
    wanted = _variations(settings)
    if missing := [name for name in wanted if name not in names]:
        raise InputError(
            f"Pythia: asked for the weights of the variations {', '.join(wanted)}, found only "
            f"{', '.join(names)}: this shower gives none for {', '.join(missing)}"
        )
    record = _record(pythia.nextBatch(BATCH), names)
    if without := [name for name in wanted if np.all(record.weights[name] == 1)]:
        raise InputError(
            f"Pythia: the variations {', '.join(without)} leave all weights of {record.n} events "
            "at 1; expected changes of the shower that these events have"
        )
    while True:
        yield record
        record = _record(pythia.nextBatch(BATCH), names)


def _variations(settings: tuple[str, ...]) -> list[str]:
    """Find the names of the variations that the settings ask for, as ``varied`` writes them."""
    if not any(re.fullmatch(r"UncertaintyBands:doVariations *= *on *", s) for s in settings):
        return []
    lists = [s[s.index("{") + 1 : s.index("}")] for s in settings if "UncertaintyBands:List" in s]
    return [part.split()[0] for listed in lists for part in listed.split(",") if part.strip()]


def _product_filter(codes: tuple[int, ...], number: int) -> Any:
    import pythia8mc

    class ProductFilter(pythia8mc.UserHooks):
        def canVetoResonanceDecays(self) -> bool:
            return True

        def doVetoResonanceDecays(self, process: Any) -> bool:
            found = (abs(process[i].id()) in codes for i in range(process.size()))
            return sum(found) != number

    return ProductFilter()


def _record(batch: Any, names: list[str]) -> Record:
    import awkward as ak

    counts = ak.num(batch.prt.id).to_numpy()
    starts = np.cumsum(counts) - counts
    event = np.repeat(np.arange(len(counts)), counts)
    pid, status, daughter = (
        ak.flatten(column).to_numpy()
        for column in (batch.prt.id, batch.prt.status, batch.prt.daughter1)
    )
    momentum = ak.flatten(batch.prt.p)
    p4 = np.stack([momentum[name].to_numpy() for name in ("e", "px", "py", "pz")], axis=-1)
    weights = {
        name: batch.info.weights[:, place].to_numpy().astype(np.float64)
        for place, name in enumerate(names)
    }
    return Record(len(counts), event, pid, status, starts[event] + daughter, p4, weights)
