"""Random jets for tests."""

from __future__ import annotations

import numpy as np

from jaxpriors.data.events import Events


def random_jets(number: int, seed: int, mean_multiplicity: float = 20.0) -> Events:
    """Jets of radius about 0.4 anywhere in azimuth, of pions and photons, from one constituent up.

    Transverse momenta fall steeply and angles crowd at the axis, so that the jets have prongs,
    masses and soft wide-angle radiation about as QCD jets do.
    """
    rng = np.random.default_rng(seed)
    counts = 1 + rng.negative_binomial(4, 4 / (3 + mean_multiplicity), number)
    jet = np.repeat(np.arange(number), counts)
    pt = 0.3 + 5 * rng.exponential(1, len(jet)) ** 2
    radius, angle = 0.4 * rng.beta(0.7, 2, len(jet)), rng.uniform(-np.pi, np.pi, len(jet))
    eta = rng.uniform(-2, 2, number)[jet] + radius * np.cos(angle)
    phi = rng.uniform(-np.pi, np.pi, number)[jet] + radius * np.sin(angle)
    mass = rng.choice([0.0, 0.13957], len(jet))
    energy = np.sqrt((pt * np.cosh(eta)) ** 2 + mass**2)
    p4 = np.stack([energy, pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta)], axis=1)
    return Events.from_flat(p4.astype(np.float32), counts)
