"""Particle identities (PDG codes) that a sample may hold, with their masses.

At particle level a constituent carries the code of a long-lived particle. At detector level it
carries the code of a class: 211/-211 charged hadron, 11/-11 electron, 13/-13 muon, 22 photon,
130 neutral hadron. 0 means unknown.

Masses in GeV: Particle Data Group, Review of Particle Physics (2022), rounded.
"""

from __future__ import annotations

import numpy as np

# Without sign: the antiparticle, where there is one, has the same mass.
MASSES: dict[int, float] = {
    0: 0.0,
    11: 0.000511,
    12: 0.0,
    13: 0.105658,
    14: 0.0,
    15: 1.77686,
    16: 0.0,
    22: 0.0,
    111: 0.134977,
    130: 0.497611,
    211: 0.139570,
    310: 0.497611,
    311: 0.497611,
    321: 0.493677,
    2112: 0.939565,
    2212: 0.938272,
    3112: 1.197449,
    3122: 1.115683,
    3212: 1.192642,
    3222: 1.18937,
    3312: 1.32171,
    3322: 1.31486,
    3334: 1.67245,
    1000010020: 1.875613,
    1000010030: 2.808921,
    1000020030: 2.808391,
    1000020040: 3.727379,
}

# Of the particle, in units of the positron's; the antiparticle has the opposite.
CHARGES: dict[int, int] = {
    11: -1,
    13: -1,
    15: -1,
    211: 1,
    321: 1,
    2212: 1,
    3112: -1,
    3222: 1,
    3312: -1,
    3334: -1,
    1000010020: 1,
    1000010030: 1,
    1000020030: 2,
    1000020040: 2,
}
CHARGED_HADRONS = tuple(code for code in CHARGES if code not in (11, 13, 15))
NEUTRAL_HADRONS = (111, 130, 310, 311, 2112, 3122, 3212, 3322)

# Codes of the classes that detectors tell apart; those of charged particles have a sign.
CLASSES = (211, 130, 22, -11, -13)
CHARGED_CLASSES = (211, -11, -13)

_CODES = np.array(sorted(MASSES), dtype=np.int64)
_MASSES = np.array([MASSES[code] for code in sorted(MASSES)])


def mass_of(pid: np.ndarray) -> np.ndarray:
    """Look up the mass in GeV of each known PDG code; shape of `pid`, float64.

    >>> mass_of(np.array([22, -211])).tolist()
    [0.0, 0.13957]
    """
    index = np.searchsorted(_CODES, np.abs(pid.astype(np.int64)))
    return _MASSES[np.minimum(index, len(_CODES) - 1)]


def is_charged(pid: np.ndarray) -> np.ndarray:
    """Tell whether each PDG code is that of a charged particle (`CHARGES`); bool.

    >>> is_charged(np.array([22, -211, 2112])).tolist()
    [False, True, False]
    """
    return np.isin(np.abs(pid.astype(np.int64)), list(CHARGES))


def codes_of_classes(flags: np.ndarray, charge: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Turn flags (total, 5) of `CLASSES` and charges (total,) into PDG codes.

    Returns the codes (total,) int32, 0 where no flag is set, and which classes need a charge,
    (total,) bool.
    """
    charged = flags @ np.isin(CLASSES, CHARGED_CLASSES)
    return (flags @ np.array(CLASSES) * np.where(charged, charge, 1)).astype(np.int32), charged
