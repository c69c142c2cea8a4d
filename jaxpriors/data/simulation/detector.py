"""A parametric detector: tracks, calorimeter cells, and energy flow made of both.

Representative numbers of the CMS detector, read from its published performance and rounded:
tracks from arXiv:1405.6569, the electromagnetic calorimeter from arXiv:1306.2016 and
arXiv:1502.02701, the hadron calorimeter and the idea of energy flow from arXiv:1706.04965. It is
no substitute for GEANT: no material, no magnetic deflection, no noise, no pile-up, no mistaken
identity.

Axis names: p particles, t tracks, c calorimeter cells. Energies in GeV, angles in radians.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from jaxpriors.data.clustering import Particles
from jaxpriors.physics.coordinates import pt_eta_phi, to_cartesian
from jaxpriors.physics.particles import is_charged, mass_of

CHARGED_HADRON, ELECTRON, MUON, PHOTON, NEUTRAL_HADRON = 211, 11, 13, 22, 130


@dataclass(frozen=True)
class TrackRegion:
    """Tracks up to |eta| = `eta_max`.

    Efficiencies are plateau values; relative resolution of pt: a and b pt, in quadrature.
    """

    eta_max: float
    hadron_efficiency: float
    electron_efficiency: float
    muon_efficiency: float
    a: float
    b: float


@dataclass(frozen=True)
class CellRegion:
    """Cells of size `cell` up to |eta| = `eta_max`.

    Energy resolution: stochastic / sqrt(E), noise / E and constant, in quadrature. Positions:
    showers spread over neighbouring cells, which resolves a fraction `position` of the cell.
    """

    eta_max: float
    cell: float
    stochastic: float
    noise: float
    constant: float
    position: float


@dataclass(frozen=True)
class Detector:
    """All numbers of the parametrisation; regions are ordered by |eta|."""

    tracker: tuple[TrackRegion, ...] = (
        TrackRegion(0.9, 0.94, 0.95, 0.99, 0.007, 2.5e-4),
        TrackRegion(1.4, 0.90, 0.90, 0.99, 0.011, 3.0e-4),
        TrackRegion(2.5, 0.85, 0.85, 0.99, 0.016, 6.0e-4),
    )
    ecal: tuple[CellRegion, ...] = (
        CellRegion(1.479, 0.0174, 0.028, 0.12, 0.010, 0.1),
        CellRegion(3.0, 0.035, 0.050, 0.20, 0.025, 0.1),
        CellRegion(5.0, 0.175, 2.0, 0.0, 0.10, 0.3),
    )
    hcal: tuple[CellRegion, ...] = (
        CellRegion(1.6, 0.087, 1.10, 0.0, 0.09, 0.25),
        CellRegion(3.0, 0.174, 1.10, 0.0, 0.09, 0.25),
        CellRegion(5.0, 0.175, 2.0, 0.0, 0.10, 0.3),
    )
    track_pt_min: float = 0.2
    track_turn_on: float = 0.15  # GeV; efficiency x (1 - exp(-(pt / turn_on)^2))
    track_core: float = 200.0  # GeV; efficiency / (1 + pt / core): hard tracks lie in dense cores
    angle: tuple[float, float] = (2e-4, 1.5e-3)  # a + b / pt, in quadrature, of eta and phi
    calorimeter_pt_min: float = 0.75  # charged particles below it curl up in the field
    ecal_threshold: tuple[float, float] = (0.4, 1.5)  # GeV, and in units of the cell's resolution
    hcal_threshold: tuple[float, float] = (1.0, 1.5)


def simulate_detector(
    particles: Particles, random: np.random.Generator, detector: Detector | None = None
) -> Particles:
    """Energy-flow candidates of the particles' events.

    Tracks are kept with their smeared momenta. From each calorimeter cell the energy of the tracks
    that point to it is subtracted; what remains is a photon (electromagnetic) or a neutral hadron
    (hadronic cell), if it passes the thresholds.

    Returns:
        Candidates whose identities are classes: +-211, +-11, +-13, 22, 130; on their mass shells.
    """
    detector = detector or Detector()
    pt, eta, phi = pt_eta_phi(particles.p4)
    kind, charged = np.abs(particles.pid), is_charged(particles.pid)
    tracked = find_tracks(pt, eta, particles.pid, random, detector)
    tracks = smear_tracks(particles[tracked], random, detector)

    electromagnetic = (kind == PHOTON) | (kind == ELECTRON)
    reaches = (kind != MUON) & (~charged | (pt > detector.calorimeter_pt_min))
    found = [tracks]
    for code, regions, threshold, showers in (
        (PHOTON, detector.ecal, detector.ecal_threshold, reaches & electromagnetic),
        (NEUTRAL_HADRON, detector.hcal, detector.hcal_threshold, reaches & ~electromagnetic),
    ):
        found.append(
            excess(
                code, particles[showers], eta[showers], phi[showers],
                tracks.p4[showers[tracked], 0], tracked[showers], regions, threshold, random,
            )
        )  # fmt: skip
    event = np.concatenate([part.event for part in found])
    order = np.argsort(event, kind="stable")
    return Particles(
        event[order],
        np.concatenate([part.p4 for part in found])[order],
        np.concatenate([part.pid for part in found])[order],
    )


def find_tracks(
    pt: np.ndarray,
    eta: np.ndarray,
    pid: np.ndarray,
    random: np.random.Generator,
    detector: Detector,
) -> np.ndarray:
    """Tell which particles are found as tracks, (p,) bool."""
    kind = np.abs(pid)
    efficiency = np.zeros(len(pt))
    for region, inside in _regions(eta, detector.tracker):
        plateau = np.full(int(inside.sum()), region.hadron_efficiency)
        plateau[kind[inside] == ELECTRON] = region.electron_efficiency
        plateau[kind[inside] == MUON] = region.muon_efficiency
        efficiency[inside] = plateau
    efficiency *= -np.expm1(-((pt / detector.track_turn_on) ** 2)) / (1 + pt / detector.track_core)
    efficiency[~is_charged(pid) | (pt < detector.track_pt_min)] = 0
    return random.random(len(pt)) < efficiency


def smear_tracks(
    particles: Particles, random: np.random.Generator, detector: Detector
) -> Particles:
    """Tracks with measured momenta; identities are classes, hadrons get the pion's mass."""
    pt, eta, phi = pt_eta_phi(particles.p4)
    width = np.zeros(len(pt))
    for region, inside in _regions(eta, detector.tracker):
        width[inside] = np.hypot(region.a, region.b * pt[inside])
    # The sagitta, hence 1/pt, is measured with a Gaussian error.
    pt = pt / np.maximum(1 + width * random.standard_normal(len(pt)), 0.1)
    angle = np.hypot(detector.angle[0], detector.angle[1] / pt)
    eta = eta + angle * random.standard_normal(len(pt))
    phi = phi + angle * random.standard_normal(len(pt))
    kind = np.abs(particles.pid)
    lepton = (kind == ELECTRON) | (kind == MUON)
    sign = np.where(np.isin(particles.pid, _NEGATIVE), -1, 1)
    pid = np.where(lepton, particles.pid, sign * CHARGED_HADRON).astype(np.int32)
    p4 = to_cartesian(np.stack([pt, eta, phi], axis=-1), "pt,eta,phi", pid)
    return Particles(particles.event, p4, pid)


# Codes of negative hadrons: antiparticles, except for the negative baryons with positive codes.
_NEGATIVE = np.array([-211, -321, -2212, 3112, -3222, 3312, 3334])


def excess(
    code: int,
    showers: Particles,
    eta: np.ndarray,
    phi: np.ndarray,
    track_energy: np.ndarray,
    has_track: np.ndarray,
    regions: tuple[CellRegion, ...],
    threshold: tuple[float, float],
    random: np.random.Generator,
) -> Particles:
    """Neutral candidates of one calorimeter: cell energies that tracks do not account for.

    Args:
        code: identity of the candidates.
        showers: (p) particles that deposit their energy, at `eta`, `phi` (p,).
        track_energy: (t,) measured energies of those with `has_track` (p,) bool.
        regions: granularity and resolution.
        threshold: least energy in GeV, and least excess in units of the cell's resolution.
        random: generator of the fluctuations.
    """
    parts = []
    tracks = np.zeros(len(eta))
    tracks[has_track] = track_energy
    for region, inside in _regions(eta, regions):
        column = np.floor((eta[inside] + 8) / region.cell).astype(np.int64)
        row = np.floor((phi[inside] + np.pi) / region.cell).astype(np.int64)
        number = (showers.event[inside] * 4096 + column) * 4096 + row
        cells, cell = np.unique(number, return_inverse=True)
        energy, eta_true, phi_true, subtract = (
            np.bincount(cell, values, minlength=len(cells))
            for values in (
                showers.p4[inside, 0],
                showers.p4[inside, 0] * eta[inside],
                showers.p4[inside, 0] * phi[inside],
                tracks[inside],
            )
        )
        width = resolution(energy, region)
        measured = energy * log_normal(width, random)
        remaining = measured - subtract
        kept = (remaining > threshold[0]) & (
            (subtract == 0) | (remaining > threshold[1] * width * energy)
        )
        angle = region.position * region.cell * random.standard_normal((2, len(cells)))
        centre = np.stack([eta_true, phi_true]) / energy + angle
        momentum = np.sqrt(np.maximum(remaining**2 - mass_of(np.array(code)) ** 2, 0))
        kept &= momentum > 0
        values = np.stack([momentum / np.cosh(centre[0]), centre[0], centre[1]], axis=-1)[kept]
        pid = np.full(len(values), code, dtype=np.int32)
        parts.append(
            Particles(cells[kept] // 4096**2, to_cartesian(values, "pt,eta,phi", pid), pid)
        )
    return Particles(
        np.concatenate([part.event for part in parts]),
        np.concatenate([part.p4 for part in parts]),
        np.concatenate([part.pid for part in parts]),
    )


def resolution(energy: np.ndarray, region: CellRegion) -> np.ndarray:
    """Relative energy resolution of cells with these energies (c,)."""
    return np.sqrt(
        region.stochastic**2 / energy + (region.noise / energy) ** 2 + region.constant**2
    )


def log_normal(width: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Factors (c,) with mean 1 and standard deviation `width`, never negative."""
    sigma = np.sqrt(np.log1p(width**2))
    return np.exp(sigma * random.standard_normal(len(width)) - sigma**2 / 2)


def _regions(eta: np.ndarray, regions: tuple) -> list[tuple]:
    """Pairs of a region and the particles inside of it, (p,) bool."""
    edges = [0.0, *(region.eta_max for region in regions)]
    distance = np.abs(eta)
    return [
        (region, (distance >= low) & (distance < high))
        for region, low, high in zip(regions, edges[:-1], edges[1:], strict=True)
    ]
