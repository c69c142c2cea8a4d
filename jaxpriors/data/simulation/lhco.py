"""Two-jet events as in the LHC Olympics' R&D set (arXiv:2101.08320), at 13 TeV and two levels.

The background is QCD, the signal W'(3.5 TeV) → X(500 GeV) Y(100 GeV) with X, Y → q q'. Pythia with
a parametric detector stands in for Pythia with Delphes; there are no multiple interactions.
"""

from __future__ import annotations

import numpy as np

from jaxpriors.data import dijets
from jaxpriors.data.clustering import Particles, collect, leading_jets, offsets, to_events
from jaxpriors.data.dijets import Window
from jaxpriors.data.events import Events
from jaxpriors.data.simulation.detector import Detector, simulate_detector
from jaxpriors.data.simulation.generator import Record, records

SIGNAL_REGION: Window = (3300.0, 3700.0)
SIDEBANDS: tuple[Window, Window] = ((2500.0, 3300.0), (3700.0, 5000.0))
X, Y, W_PRIME = 9000001, 9000002, 34

_COMMON = ("Beams:eCM = 13000", "PartonLevel:MPI = off")
VARIANTS: dict[str, tuple[str, ...]] = {
    "background": (
        *_COMMON,
        "HardQCD:all = on",
        "PhaseSpace:pTHatMin = 1000",
        "PhaseSpace:mHatMin = 2800",
        "PhaseSpace:mHatMax = 6000",
    ),
    "signal": (
        *_COMMON,
        "NewGaugeBoson:ffbar2Wprime = on",
        f"{W_PRIME}:m0 = 3500",
        f"{W_PRIME}:mWidth = 10",
        f"{W_PRIME}:doForceWidth = on",
        f"{X}:new = X Xbar 1 3 0 500 1 450 550",
        f"{X}:isResonance = on",
        f"{X}:oneChannel = 1 0.5 101 2 -1",
        f"{X}:addChannel = 1 0.5 101 4 -3",
        f"{Y}:new = Y void 1 0 0 100 1 90 110",
        f"{Y}:isResonance = on",
        f"{Y}:oneChannel = 1 0.25 101 1 -1",
        f"{Y}:addChannel = 1 0.25 101 2 -2",
        f"{Y}:addChannel = 1 0.25 101 3 -3",
        f"{Y}:addChannel = 1 0.25 101 4 -4",
        f"{W_PRIME}:oneChannel = 1 1 101 {X} {Y}",
    ),
    "sidebands": (
        *_COMMON,
        "HardQCD:all = on",
        "PhaseSpace:pTHatMin = 900",
        "PhaseSpace:mHatMin = 2300",
    ),
}
SELECTION = (
    "at detector level: the two hardest anti-kT R = 1.0 jets, the harder with pt > 1200 GeV and "
    "|eta| < 2.5, 3300 < m_jj < 3700 GeV (sidebands: 2500 to 3300 or 3700 to 5000 GeV); at "
    "particle level (visible particles, |eta| < 5) the two hardest such jets of the same events; "
    "jets with pt > 100 GeV"
)
LABELS = ("background", "signal")
CHUNK = 1000
DETECTOR = Detector()
TRIGGER_PT, JET_PT_MIN, JET_ETA, RADIUS = 1200.0, 100.0, 2.5, 1.0
LEAST_ENERGY = 1e-6  # GeV; some of Pythia's photons have none at all


def generate(variant: str, events: int, seed: int, chunk: int) -> dict[str, Events]:
    """Generate a chunk of accepted events, decided by (variant, seed, chunk).

    Fewer events are a prefix of more.

    Returns:
        {"particle": Events, "detector": Events} of two jets (`jaxpriors.data.dijets`), matched
        event by event; label 1 is the signal.
    """
    sequence = np.random.SeedSequence([seed, list(VARIANTS).index(variant), chunk])
    pythia_seed, detector_seed = (int(word) for word in sequence.generate_state(2))
    random = np.random.default_rng(detector_seed)
    made = (_select(record, random, variant) for record in records(VARIANTS[variant], pythia_seed))
    return collect(made, events)


def windows(variant: str) -> tuple[Window, ...]:
    """Give the ranges of m_jj (GeV) that a variant's events are in."""
    return SIDEBANDS if variant == "sidebands" else (SIGNAL_REGION,)


def _select(record: Record, random: np.random.Generator, variant: str) -> dict[str, Events]:
    """Select both jets of the events that pass the selection."""
    particles = record.visible(np.ones(record.n, dtype=bool))
    particles = particles[particles.p4[:, 0] > LEAST_ENERGY]
    measured = simulate_detector(particles, random, DETECTOR)
    found = {
        level: leading_jets(some, record.n, radius=RADIUS, pt_min=JET_PT_MIN, number=dijets.JETS)
        for level, some in (("particle", particles), ("detector", measured))
    }
    both = np.ones(record.n, dtype=bool)
    for jets in found.values():
        both &= np.all(_counts(jets, record.n) > 0, axis=1)
    samples = {level: _events(jets, both, variant) for level, jets in found.items()}
    events = samples["detector"]
    chosen = (events.columns["jet1_pt"] > TRIGGER_PT) & (
        np.abs(events.columns["jet1_eta"]) < JET_ETA
    )
    chosen &= np.any([dijets.inside(events, window) for window in windows(variant)], axis=0)
    return {level: sample[chosen] for level, sample in samples.items()}


def _events(jets: Particles, chosen: np.ndarray, variant: str) -> Events:
    """Make events of the chosen (n,) events, jets 2i and 2i + 1 being those of event i."""
    pairs = to_events(jets, np.repeat(chosen, dijets.JETS), {})
    label = np.full(len(pairs) // dijets.JETS, LABELS.index("signal") * (variant == "signal"))
    return dijets.dijets(pairs, label=label)


def _counts(jets: Particles, n: int) -> np.ndarray:
    """Constituents of both jets of `n` events, (n, 2)."""
    return np.diff(offsets(jets, dijets.JETS * n)).reshape(n, dijets.JETS)
