"""Random events of two jets for tests."""

from __future__ import annotations

import numpy as np

from jaxpriors.data.dijets import dijets
from jaxpriors.data.events import Events
from jaxpriors.physics.coordinates import to_cartesian


def random_dijets(number: int, seed: int, width: float = 0.1, constituents: int = 8) -> Events:
    """Back-to-back jets of about 1.75 TeV with 1 to 2 × ``constituents`` pions and photons.

    Constituents lie about ``width`` from the axis: the jets' masses grow with it.
    """
    rng = np.random.default_rng(seed)
    counts = 1 + rng.binomial(2 * constituents - 1, 0.5, 2 * number)
    jet = np.repeat(np.arange(2 * number), counts)
    share = rng.exponential(1, len(jet)) + 0.01
    share /= np.bincount(jet, share)[jet]
    pt = np.repeat(rng.normal(1750, 40, number), 2)[jet] * share
    eta = rng.normal(0, 0.3, 2 * number)[jet] + rng.normal(0, width, len(jet))
    azimuth = rng.uniform(-np.pi, np.pi, number)
    phi = np.stack([azimuth, azimuth + np.pi], axis=1).reshape(-1)
    phi = phi[jet] + rng.normal(0, width, len(jet))
    pid = rng.choice([211, -211, 22], len(jet)).astype(np.int32)
    p4 = to_cartesian(np.stack([pt, eta, phi], axis=1), "pt,eta,phi", pid)
    return dijets(Events.from_flat(p4, counts, pid=pid).sorted_by_pt())
