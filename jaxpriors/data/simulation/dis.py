"""Deep-inelastic ep scattering at HERA: the leading jet of each event, at two levels.

Electrons of 27.6 GeV on protons of 920 GeV, neutral currents of high Q². The variants stand in for
two generators of nearly the same physics, Rapgap and Djangoh; all are Pythia. ``data`` has an
antenna shower (VINCIA), as Djangoh's colour dipoles radiate from antennae.
"""

from __future__ import annotations

import numpy as np

from jaxpriors.data.clustering import Particles, collect, leading_jets, passing
from jaxpriors.data.events import Events
from jaxpriors.data.simulation.detector import CellRegion, Detector, TrackRegion, simulate_detector
from jaxpriors.data.simulation.generator import VARIATIONS, Record, records, varied
from jaxpriors.physics.coordinates import pt_eta_phi

ELECTRON, PROTON = 11, 2212
_COMMON = (
    f"Beams:idA = {PROTON}",
    f"Beams:idB = {ELECTRON}",
    "Beams:frameType = 2",
    "Beams:eA = 920",
    "Beams:eB = 27.6",
    "WeakBosonExchange:ff2ff(t:gmZ) = on",
    "PhaseSpace:Q2Min = 100",
    "PDF:lepton = off",
    "TimeShower:QEDshowerByL = off",
)
_SIMPLE = (*_COMMON, "SpaceShower:dipoleRecoil = on", "SpaceShower:pTmaxMatch = 2")
VARIANTS: dict[str, tuple[str, ...]] = {
    "simulation": _SIMPLE,
    "data": (*_COMMON, "PartonShowers:model = 2"),
    "simulation-variations": (*_SIMPLE, *varied(VARIATIONS)),
}
SELECTION = (
    "Q2 > 150 GeV2 and 0.08 < y < 0.7 (generated); particles but the scattered electron with "
    "pt > 0.1 GeV and -1.5 < eta < 2.75; hardest kT R = 1 jet with pt > 10 GeV and "
    "-1 < eta < 2.5, separately at particle level and detector level"
)
LABELS: tuple[str, ...] = ()
CHUNK = 5000
Q2_MIN, INELASTICITY = 150.0, (0.08, 0.7)
PARTICLE_PT_MIN, PARTICLE_ETA = 0.1, (-1.5, 2.75)
JET_PT_MIN, JET_ETA, RADIUS = 10.0, (-1.0, 2.5), 1.0
# Read from the papers of H1 (such as arXiv:2108.12376, Section 2) and rounded: drift chambers in
# 1.16 T, and a calorimeter of liquid argon, which is finer and better than that of CMS for hadrons.
DETECTOR = Detector(
    tracker=(
        TrackRegion(1.7, 0.95, 0.95, 0.97, 0.015, 2e-3),
        TrackRegion(2.0, 0.85, 0.85, 0.95, 0.030, 5e-3),
    ),
    ecal=(CellRegion(3.4, 0.06, 0.11, 0.15, 0.01, 0.2),),
    hcal=(CellRegion(3.4, 0.12, 0.50, 0.30, 0.02, 0.2),),
    track_pt_min=0.12,
    track_turn_on=0.10,
    angle=(1e-3, 2e-3),
    calorimeter_pt_min=0.2,
    ecal_threshold=(0.2, 1.5),
    hcal_threshold=(0.4, 1.5),
)


def generate(variant: str, events: int, seed: int, chunk: int) -> dict[str, Events]:
    """Generate a chunk of accepted events, decided by (variant, seed, chunk).

    Fewer events are a prefix of more.

    Returns:
        {"particle": Events, "detector": Events}, matched event by event. Columns: `q2` (GeV²) and
        `y` of the generated electron, and for simulation-variations the `weight_...` of the varied
        showers.
    """
    sequence = np.random.SeedSequence([seed, list(VARIANTS).index(variant), chunk])
    pythia_seed, detector_seed = (int(word) for word in sequence.generate_state(2))
    random = np.random.default_rng(detector_seed)
    made = (_select(record, random) for record in records(VARIANTS[variant], pythia_seed))
    return collect(made, events)


def kinematics_of(record: Record) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Q² (GeV²) and y of each event, (n,) both, and where its final electron is in the record."""
    before, after, proton = (
        _one_each(record, (record.pid == pid) & (np.abs(record.status) == status))
        for pid, status in ((ELECTRON, 21), (ELECTRON, 23), (PROTON, 12))
    )
    photon = record.p4[before] - record.p4[after]
    transfer = -_product(photon, photon)
    inelasticity = _product(record.p4[proton], photon) / _product(
        record.p4[proton], record.p4[before]
    )
    final = after
    while (record.status[final] < 0).any():  # copies, whose momenta the showers may have changed
        final = np.where(record.status[final] < 0, record.daughter[final], final)
    return transfer, inelasticity, final


def _one_each(record: Record, entries: np.ndarray) -> np.ndarray:
    """Places of the chosen entries (bool), of which every event has one."""
    found = np.flatnonzero(entries)
    assert np.array_equal(record.event[found], np.arange(record.n)), "one entry in each event"
    return found


def _product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a[:, 0] * b[:, 0] - np.sum(a[:, 1:] * b[:, 1:], axis=1)


def _select(record: Record, random: np.random.Generator) -> dict[str, Events]:
    """Select the leading jets of the events that pass the selection at both levels."""
    q2, y, electron = kinematics_of(record)
    accepted = (q2 > Q2_MIN) & (y > INELASTICITY[0]) & (y < INELASTICITY[1])
    n = int(accepted.sum())
    columns = {name: value[accepted].astype(np.float32) for name, value in (("q2", q2), ("y", y))}
    columns |= record.variations(accepted)
    particles = record.visible(accepted, but=electron)
    jets = {
        level: leading_jets(_measured(found), n, radius=RADIUS, pt_min=JET_PT_MIN, algorithm="kt")
        for level, found in (
            ("particle", particles),
            ("detector", simulate_detector(particles, random, DETECTOR)),
        )
    }
    return passing(jets, columns, pt_min=JET_PT_MIN, eta=JET_ETA)


def _measured(particles: Particles) -> Particles:
    """Those that jets are made of."""
    pt, eta, _ = pt_eta_phi(particles.p4)
    low, high = PARTICLE_ETA
    return particles[(pt > PARTICLE_PT_MIN) & (eta > low) & (eta < high)]
