"""Whether a sample of jets is in MeV although GeV are expected."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np

from jaxpriors.physics import kinematics

LARGEST_PT = 7000.0  # GeV; half of the 14 TeV of the LHC: no jet in GeV has more
USUAL_PT = 200.0  # GeV; the constituents of jets of 7 TeV have less, most of them
PION_MASS = 139.57  # MeV
FEWEST = 0.1  # the share of charged pions among constituents that is above chance
ROWS = 100_000  # of jets and of constituents that are looked at, spread over the sample
APART = 300.0, 3000.0  # ratios of two samples' jet pT that a factor of 1000 explains best


class Scale(NamedTuple):
    """Energies of a sample, in its own unit: medians of pT, and the share of pions in MeV.

    Values that are not finite or not above zero do not count; a median is 0 where there are none.
    """

    jet_pt: float
    constituent_pt: float
    pions: float

    @classmethod
    def of(cls, jet_p4: np.ndarray, p4: np.ndarray) -> Scale:
        """Look at jets (n, 4) and constituents (m, 4), as (E, px, py, pz)."""
        jets, constituents = (
            np.asarray(x[:: 1 + len(x) // ROWS], np.float64) for x in (jet_p4, p4)
        )
        with np.errstate(all="ignore"):
            mass = kinematics.mass(constituents)
            pions = np.abs(mass / PION_MASS - 1) < 0.01
            return cls(
                _median(kinematics.pt(jets)),
                _median(kinematics.pt(constituents)),
                float(np.mean(pions)) if len(pions) else 0.0,
            )


def unit_of(scale: Scale) -> Literal["MeV"] | None:
    """Say where a sample, expected in GeV, is very probably in MeV.

    So it is where a tenth of the constituents weigh 139.6 within 1 %, the mass of charged pions in
    MeV; or, for constituents without mass, where the median jet pT is above 7000, half of the LHC's
    energy in GeV, and that of the constituents above 200, which is more than in jets of 7 TeV.
    Low-energetic jets of massless constituents are not recognised, nor is any other unit.

    >>> jets = np.array([[60e3, 50e3, 0.0, 0.0]])
    >>> constituents = np.array([[30e3, 30e3, 0.0, 0.0], [30e3, 20e3, 10e3, 0.0]])
    >>> unit_of(Scale.of(jets, constituents)), unit_of(Scale.of(jets / 1e3, constituents / 1e3))
    ('MeV', None)
    """
    hard = scale.jet_pt > LARGEST_PT and scale.constituent_pt > USUAL_PT
    return "MeV" if hard or scale.pions >= FEWEST else None


def thousandfold(one: Scale, other: Scale) -> bool:
    """Tell whether the median jet pT of two samples differ by a factor between 300 and 3000.

    >>> thousandfold(Scale(250.0, 2.0, 0.0), Scale(240e3, 2e3, 0.0))
    True
    """
    low, high = sorted((one.jet_pt, other.jet_pt))
    return low > 0 and APART[0] <= high / low <= APART[1]


def _median(values: np.ndarray) -> float:
    good = values[np.isfinite(values) & (values > 0)]
    return float(np.median(good)) if len(good) else 0.0
