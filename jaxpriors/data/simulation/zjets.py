"""Z+jets at 14 TeV: the leading jet that recoils against an invisible Z boson, at two levels.

The variants stand in for two generators of nearly the same physics; all are Pythia. Those that ship
inside the package differ as generators do, in the shower and in the hadronisation, and enough for
each of the six observables of `evaluation.observables` to show it in some thousand jets:

| variant    | settings of Pythia                                                                 |
|------------|------------------------------------------------------------------------------------|
| simulation | tune 26 (ATLAS A14 Var2-, αS = 0.111 in the final-state shower), and Lund's        |
|            | fragmentation function with a = 0.3, b = 1.2 / GeV² (0.68, 0.98 in the tune):      |
|            | fewer, harder hadrons                                                              |
| data       | tune 14 (Monash 2013, αS = 0.1365 in the final-state shower) as it is              |
"""

from __future__ import annotations

import numpy as np

from jaxpriors.data.clustering import Particles, collect, leading_jets, passing
from jaxpriors.data.events import Events
from jaxpriors.data.simulation.detector import Detector, simulate_detector
from jaxpriors.data.simulation.generator import VARIATIONS, Record, records, varied

_COMMON = (
    "Beams:eCM = 14000",
    "WeakBosonAndParton:qqbar2gmZg = on",
    "WeakBosonAndParton:qg2gmZq = on",
    "WeakZ0:gmZmode = 2",
    "23:onMode = off",
    "23:onIfAny = 12 14 16",
    "PhaseSpace:pTHatMin = 180",
    "PartonLevel:MPI = off",
)
_SIMULATION = (*_COMMON, "Tune:pp = 26", "StringZ:aLund = 0.3", "StringZ:bLund = 1.2")
VARIANTS: dict[str, tuple[str, ...]] = {
    "simulation": _SIMULATION,
    "data": (*_COMMON, "Tune:pp = 14"),
    "vincia": (*_COMMON, "PartonShowers:model = 2"),
    "simulation-variations": (*_SIMULATION, *varied(VARIATIONS)),
}
SELECTION = (
    "pt(Z) > 200 GeV (generated); hardest anti-kT R = 0.4 jet with pt > 20 GeV and |eta| < 2.5, "
    "separately at particle level (visible particles, |eta| < 5) and detector level"
)
LABELS: tuple[str, ...] = ()
CHUNK = 2000
DETECTOR = Detector()
Z_PT_MIN, JET_PT_MIN, JET_ETA, RADIUS = 200.0, 20.0, (-2.5, 2.5), 0.4


def generate(variant: str, events: int, seed: int, chunk: int) -> dict[str, Events]:
    """Generate a chunk of accepted events, decided by (variant, seed, chunk).

    Fewer events are a prefix of more.

    Returns:
        {"particle": Events, "detector": Events}, matched event by event. Columns: `z_pt` (GeV,
        generated), `parton` (PDG code of the hard parton), and for simulation-variations the
        `weight_...` of the varied showers.
    """
    sequence = np.random.SeedSequence([seed, list(VARIANTS).index(variant), chunk])
    pythia_seed, detector_seed = (int(word) for word in sequence.generate_state(2))
    random = np.random.default_rng(detector_seed)
    made = (
        _select(*_boosted(record), random) for record in records(VARIANTS[variant], pythia_seed)
    )
    return collect(made, events)


def _boosted(record: Record) -> tuple[Particles, dict[str, np.ndarray]]:
    """Visible particles and columns of the events that pass the cut on the Z boson."""
    z = np.flatnonzero(record.pid == 23)
    last_z = z[np.searchsorted(record.event[z], np.arange(record.n), side="right") - 1]
    z_pt = np.hypot(record.p4[last_z, 1], record.p4[last_z, 2])
    parton = np.zeros(record.n, dtype=np.int32)
    hard = (record.status == -23) & (record.pid != 23)
    parton[record.event[hard]] = record.pid[hard]
    columns = {"z_pt": z_pt.astype(np.float32), "parton": parton}
    accepted = z_pt > Z_PT_MIN
    kept = {name: column[accepted] for name, column in columns.items()}
    return record.visible(accepted), kept | record.variations(accepted)


def _select(
    particles: Particles, columns: dict[str, np.ndarray], random: np.random.Generator
) -> dict[str, Events]:
    """Select the leading jets of the events that pass the selection at both levels."""
    n = len(columns["z_pt"])
    jets = {
        level: leading_jets(found, n, radius=RADIUS, pt_min=JET_PT_MIN)
        for level, found in (
            ("particle", particles),
            ("detector", simulate_detector(particles, random, DETECTOR)),
        )
    }
    return passing(jets, columns, pt_min=JET_PT_MIN, eta=JET_ETA)
