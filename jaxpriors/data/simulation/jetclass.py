"""Ten classes of boosted jets at 13 TeV, after JetClass (arXiv:2202.03772): data for pretraining.

Each class has its own hard process; the jet is the one along the resonance that gives the class
its name (the hard parton for QCD). Leptons of the resonance's decay are among the constituents.
Where JetClass has Delphes, leading-order matrix elements of MadGraph and multiparton interactions,
this has a parametric detector, Pythia alone, and no multiparton interactions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from jaxpriors.data.clustering import collect, leading_jets, to_events, within
from jaxpriors.data.events import Events
from jaxpriors.data.simulation.detector import Detector, simulate_detector
from jaxpriors.data.simulation.generator import NEUTRINOS, Record, records
from jaxpriors.physics import coordinates as col

QUARKS, LEPTONS = (1, 2, 3, 4, 5), (11, 13)
_COMMON = (
    "Beams:eCM = 13000",
    "PhaseSpace:pTHatMin = 450",
    "PhaseSpace:pTHatMax = 1100",
    "PartonLevel:MPI = off",
    "WeakZ0:gmZmode = 2",
    "25:m0 = 125",
)


def _decays(code: int, *products: int) -> tuple[str, str]:
    """Settings: decays of particle `code` that contain any of the products, and no others."""
    return f"{code}:onMode = off", f"{code}:onIfAny = {' '.join(map(str, products))}"


def _higgs(products: str) -> tuple[str, ...]:
    """Settings: ZH production, Z to neutrinos, H to these two products."""
    higgs = ("25:onMode = off", f"25:onIfMatch = {products}")
    return ("HiggsSM:ffbar2HZ = on", *_decays(23, *NEUTRINOS), *higgs)


_Z_JET = ("WeakBosonAndParton:qqbar2gmZg = on", "WeakBosonAndParton:qg2gmZq = on")
_TOP_PAIR = ("Top:gg2ttbar = on", "Top:qqbar2ttbar = on")


@dataclass(frozen=True)
class Process:
    """One class: settings of Pythia, and the PDG codes (without sign) that the jet may come from.

    `products`: number of particles with certain codes that the hard process and its decays must
    hold, where the settings alone do not decide it.
    """

    settings: tuple[str, ...]
    origin: tuple[int, ...]
    products: tuple[tuple[int, ...], int] | None = None


PROCESSES: dict[str, Process] = {
    "QCD": Process((*_Z_JET, *_decays(23, *NEUTRINOS)), (*QUARKS, 21)),
    "Hbb": Process(_higgs("5 -5"), (25,)),
    "Hcc": Process(_higgs("4 -4"), (25,)),
    "Hgg": Process(_higgs("21 21"), (25,)),
    "H4q": Process((*_higgs("24 -24"), *_decays(24, *QUARKS)), (25,)),
    "Hqql": Process((*_higgs("24 -24"), *_decays(24, *QUARKS, *LEPTONS)), (25,), (LEPTONS, 1)),
    "Zqq": Process(
        ("WeakDoubleBoson:ffbar2gmZgmZ = on", *_decays(23, *QUARKS, *NEUTRINOS)),
        (23,),
        (NEUTRINOS, 2),
    ),
    "Wqq": Process(
        ("WeakDoubleBoson:ffbar2ZW = on", *_decays(23, *NEUTRINOS), *_decays(24, *QUARKS)), (24,)
    ),
    "Tbqq": Process((*_TOP_PAIR, *_decays(24, *QUARKS)), (6,)),
    "Tbl": Process((*_TOP_PAIR, *_decays(24, *LEPTONS)), (6,)),
}
LABELS = tuple(PROCESSES)
VARIANTS: dict[str, dict[str, tuple[str, ...]]] = {
    "simulation": {name: (*_COMMON, *process.settings) for name, process in PROCESSES.items()}
}
SELECTION = (
    "label i % 10 of event i; Hqql: one W boson to e or mu; Zqq: one Z boson to neutrinos; hardest "
    "anti-kT R = 0.8 jet within Delta R < 0.6 of the resonance before its decay (the harder of two "
    "tops; QCD: the hard parton) with 500 < pt < 1000 GeV and |eta| < 2, separately at particle "
    "level (visible particles, |eta| < 5) and detector level"
)
CHUNK = 10_000
DETECTOR = Detector()
JET_PT_MIN, JET_PT_MAX, JET_ETA, RADIUS, DISTANCE = 500.0, 1000.0, (-2.0, 2.0), 0.8, 0.6


def generate(variant: str, events: int, seed: int, chunk: int) -> dict[str, Events]:
    """Generate a chunk of accepted events, decided by (variant, seed, chunk).

    Fewer events are a prefix of more.

    Returns:
        {"particle": Events, "detector": Events}, matched event by event, with labels: event i has
        i % 10, the place of its class in `LABELS`. Columns: `resonance` (PDG code of what the jet
        comes from, of the hard parton for QCD) and `resonance_pt` (GeV).
    """
    classes = [
        _generate_class(variant, label, len(range(label, events, len(LABELS))), seed, chunk)
        for label in range(min(events, len(LABELS)))
    ]
    place = np.concatenate([np.arange(len(x["particle"])) * len(LABELS) for x in classes])
    label = np.concatenate([found["particle"].label for found in classes])
    order = np.argsort(place + label)
    return {
        level: Events.concatenate([found[level] for found in classes])[order]
        for level in ("particle", "detector")
    }


def _generate_class(
    variant: str, label: int, events: int, seed: int, chunk: int
) -> dict[str, Events]:
    """Generate the chunk's events of one class."""
    sequence = np.random.SeedSequence([seed, list(VARIANTS).index(variant), chunk, label])
    pythia_seed, detector_seed = (int(word) for word in sequence.generate_state(2))
    random = np.random.default_rng(detector_seed)
    process = PROCESSES[LABELS[label]]
    made = (
        {level: sample.with_label(label) for level, sample in _select(one, process, random).items()}
        for one in records(VARIANTS[variant][LABELS[label]], pythia_seed, process.products)
    )
    return collect(made, events)


def _select(record: Record, process: Process, random: np.random.Generator) -> dict[str, Events]:
    """Select the resonances' jets of the events that pass the selection at both levels."""
    origin = _origins(record, process)
    p4 = record.p4[origin]
    columns = {
        "resonance": record.pid[origin].astype(np.int32),
        "resonance_pt": col.pt_eta_phi(p4)[0].astype(np.float32),
    }
    chosen = np.ones(record.n, dtype=bool)
    particles = record.visible(chosen)
    jets = {}
    for level, found in (
        ("particle", particles),
        ("detector", simulate_detector(particles, random, DETECTOR)),
    ):
        jets[level] = leading_jets(
            found, record.n, radius=RADIUS, pt_min=JET_PT_MIN, near=p4, distance=DISTANCE
        )
        chosen &= within(jets[level], record.n, pt_min=JET_PT_MIN, pt_max=JET_PT_MAX, eta=JET_ETA)
    return {level: to_events(jet, chosen, columns) for level, jet in jets.items()}


def _origins(record: Record, process: Process) -> np.ndarray:
    """Where each event's record (n,) has what the jet comes from, the hardest if there are two.

    Resonances as they are before they decay (status -62), those that decay visibly; the hard
    parton as it is before its shower (-23).
    """
    status = -23 if 21 in process.origin else -62
    found = np.isin(np.abs(record.pid), process.origin) & (record.status == status)
    found &= ~np.isin(np.abs(record.pid[record.daughter]), NEUTRINOS)
    entries = np.flatnonzero(found)
    pt = np.hypot(record.p4[entries, 1], record.p4[entries, 2])
    entries = entries[np.lexsort((pt, record.event[entries]))]
    return entries[np.searchsorted(record.event[entries], np.arange(record.n), side="right") - 1]
