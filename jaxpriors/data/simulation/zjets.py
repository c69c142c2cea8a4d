"""Z+jets at 14 TeV: the leading jet that recoils against an invisible Z boson, at two levels.

The generator is Pythia 8 (arXiv:2203.11601), jets are anti-kT with R = 0.4 (arXiv:0802.1189).
The variants stand in for two generators of nearly the same physics; all are Pythia.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from jaxpriors.data import columns as col
from jaxpriors.data.events import Events, grid_rounded
from jaxpriors.data.simulation.detector import Particles, simulate_detector
from jaxpriors.errors import InputError

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
_VARIATIONS = {
    "fsr_mur_half": "fsr:muRfac=0.5",
    "fsr_mur_double": "fsr:muRfac=2.0",
    "isr_mur_half": "isr:muRfac=0.5",
    "isr_mur_double": "isr:muRfac=2.0",
}
VARIANTS: dict[str, tuple[str, ...]] = {
    "simulation": (*_COMMON, "Tune:pp = 26"),
    "data": (
        *_COMMON,
        "Tune:pp = 14",
        "Fragmentation:model = 1",
        "SpaceShower:dipoleRecoil = on",
    ),
    "vincia": (*_COMMON, "PartonShowers:model = 2"),
    # Each event carries the weights that other renormalisation scales of its showers would give.
    "simulation-variations": (
        *_COMMON,
        "Tune:pp = 26",
        "UncertaintyBands:doVariations = on",
        "UncertaintyBands:List = {"
        + ", ".join(f"{name} {change}" for name, change in _VARIATIONS.items())
        + "}",
    ),
}
SELECTION = (
    "pt(Z) > 200 GeV (generated); hardest anti-kT R = 0.4 jet with pt > 20 GeV and |eta| < 2.5, "
    "separately at particle level (visible particles, |eta| < 5) and detector level"
)
Z_PT_MIN, JET_PT_MIN, JET_ETA_MAX, PARTICLE_ETA_MAX, RADIUS = 200.0, 20.0, 2.5, 5.0, 0.4
BATCH = 250


def generate(variant: str, events: int, seed: int, chunk: int) -> dict[str, Events]:
    """One chunk of accepted events, decided by (variant, seed, chunk); fewer are a prefix of more.

    Returns:
        {"particle": Events, "detector": Events}, matched event by event. Columns: `z_pt` (GeV,
        generated), `parton` (PDG code of the hard parton), and for simulation-variations the
        `weight_...` of the varied showers.
    """
    sequence = np.random.SeedSequence([seed, list(VARIANTS).index(variant), chunk])
    pythia_seed, detector_seed = (int(word) for word in sequence.generate_state(2))
    random = np.random.default_rng(detector_seed)
    parts: dict[str, list[Events]] = {"particle": [], "detector": []}
    accepted = 0
    for particles, columns in _batches(VARIANTS[variant], 1 + pythia_seed % 900_000_000):
        levels = _select(particles, columns, random)
        accepted += len(levels["particle"])
        for level, sample in levels.items():
            parts[level].append(sample)
        if accepted >= events:
            return {level: Events.concatenate(some)[:events] for level, some in parts.items()}
    raise AssertionError("the generator never ends")


def _batches(
    settings: tuple[str, ...], seed: int
) -> Iterator[tuple[Particles, dict[str, np.ndarray]]]:
    """Visible particles of `BATCH` events at a time that pass the cut on the Z boson."""
    import pythia8mc

    pythia = pythia8mc.Pythia("", False)
    for line in (*settings, "Print:quiet = on", "Random:setSeed = on", f"Random:seed = {seed}"):
        if not pythia.readString(line):
            raise InputError(f"Pythia does not know the setting {line!r}")
    if not pythia.init():
        raise InputError(f"Pythia cannot start with these settings: {settings}")
    info = pythia.infoPython()
    names = [info.weightNameByIndex(i) for i in range(info.numberOfWeights())]
    while True:
        yield _visible(pythia.nextBatch(BATCH), names)


def _visible(batch: Any, names: list[str]) -> tuple[Particles, dict[str, np.ndarray]]:
    import awkward as ak

    counts = ak.num(batch.prt.id).to_numpy()
    event = np.repeat(np.arange(len(counts)), counts)
    pid, status = (ak.flatten(column).to_numpy() for column in (batch.prt.id, batch.prt.status))
    momentum = ak.flatten(batch.prt.p)
    p4 = np.stack([momentum[name].to_numpy() for name in ("e", "px", "py", "pz")], axis=-1)

    z = np.flatnonzero(pid == 23)
    last_z = z[np.searchsorted(event[z], np.arange(len(counts)), side="right") - 1]
    z_pt = np.hypot(p4[last_z, 1], p4[last_z, 2])
    parton = np.zeros(len(counts), dtype=np.int32)
    hard = (status == -23) & (pid != 23)
    parton[event[hard]] = pid[hard]
    columns = {"z_pt": z_pt.astype(np.float32), "parton": parton}
    for name in names:
        if name in _VARIATIONS:
            column = batch.info.weights[:, names.index(name)].to_numpy()
            columns[f"weight_{name}"] = column.astype(np.float64)

    accepted = z_pt > Z_PT_MIN
    final = (status > 0) & ~np.isin(np.abs(pid), (12, 14, 16)) & accepted[event]
    particles = Particles((np.cumsum(accepted) - 1)[event[final]], p4[final], pid[final])
    inside = np.abs(col.pt_eta_phi(particles.p4)[1]) < PARTICLE_ETA_MAX
    return particles[inside], {name: column[accepted] for name, column in columns.items()}


def _select(
    particles: Particles, columns: dict[str, np.ndarray], random: np.random.Generator
) -> dict[str, Events]:
    """The leading jets of the events that pass the selection at both levels."""
    n = len(columns["z_pt"])
    candidates = simulate_detector(particles, random)
    jets = {"particle": leading_jets(particles, n), "detector": leading_jets(candidates, n)}
    central = np.ones(n, dtype=bool)
    for jet in jets.values():
        p4 = col.sums(jet.p4, _offsets(jet, n))
        central &= np.hypot(p4[:, 1], p4[:, 2]) > JET_PT_MIN
        central &= np.abs(col.pt_eta_phi(p4)[1]) < JET_ETA_MAX
    return {level: _to_events(jet, columns, central) for level, jet in jets.items()}


def _offsets(particles: Particles, n: int) -> np.ndarray:
    return col.offsets_of(np.bincount(particles.event, minlength=n))


def _to_events(jet: Particles, columns: dict[str, np.ndarray], chosen: np.ndarray) -> Events:
    kept = jet[chosen[jet.event]]
    multiplicity = np.bincount(jet.event, minlength=len(chosen))[chosen]
    events = Events.from_flat(
        kept.p4,
        multiplicity,
        pid=kept.pid,
        columns={name: column[chosen] for name, column in columns.items()},
    )
    return grid_rounded(events.sorted_by_pt())


def leading_jets(particles: Particles, n: int) -> Particles:
    """The constituents of the hardest jet of each of `n` events; none where there is no jet."""
    import awkward as ak
    import fastjet

    offsets = _offsets(particles, n)
    energy, px, py, pz = particles.p4.T
    events = ak.unflatten(ak.zip({"px": px, "py": py, "pz": pz, "E": energy}), np.diff(offsets))
    clusters = fastjet.ClusterSequence(
        events, fastjet.JetDefinition(fastjet.antikt_algorithm, RADIUS)
    )
    jets = clusters.inclusive_jets(JET_PT_MIN)
    hardest = ak.argmax(jets.px**2 + jets.py**2, axis=1, keepdims=True)
    inside = ak.drop_none(clusters.constituent_index(JET_PT_MIN)[hardest])
    rows = ak.flatten(inside, axis=None).to_numpy()
    owner = np.repeat(np.arange(n), ak.sum(ak.num(inside, axis=2), axis=1).to_numpy())
    return particles[offsets[owner] + rows]
