"""Features of jets and their constituents that OmniLearn's PET reads (arXiv:2404.16091)."""

from typing import Any

import numpy as np

from jaxpriors.physics import kinematics
from jaxpriors.physics.particles import CHARGED_HADRONS, CHARGES, NEUTRAL_HADRONS

FEATURES = (
    "delta_eta_jet",
    "delta_phi_jet",
    "log_one_minus_pt_over_jet_pt",
    "log_pt",
    "log_one_minus_energy_over_jet_energy",
    "log_energy",
    "delta_r_jet",
    "charge",
    "is_charged_hadron",
    "is_neutral_hadron",
    "is_photon",
    "is_electron",
    "is_muon",
)
JET_FEATURES = ("jet_pt", "jet_eta", "jet_mass", "multiplicity")

# What is left of a jet without a constituent is at least this share of it: the logarithm stays
# finite for a constituent that carries all of the jet (or more, where the jet was groomed).
LEAST_REMAINDER = 1e-6


def raw_features(
    p4: Any, pid: Any, length: Any, jet_p4: Any, xp: Any = np, jet_mass: Any = None
) -> tuple[Any, Any, Any]:
    """FEATURES of constituents (B, P, 13), their mask (B, P) and JET_FEATURES (B, 4).

    p4 (B, P, 4) and jet_p4 (B, 4) as (E, px, py, pz) in GeV, in whose dtype all is computed;
    pid (B, P) PDG codes, an unknown one (0) has neither charge nor kind; length (B,) constituents,
    the rest is padding and gives zero; jet_mass (B,) in GeV, where single precision of jet_p4 would
    lose it.

    Charges are the particles' own. (OmniLearn's Z+jets samples take the sign of the PDG code: +1
    for neutrons and electrons there.)
    """
    mask = xp.arange(p4.shape[1]) < length[:, None]
    jet = jet_p4[:, None]
    # padding takes the jet's own momentum: every logarithm and ratio below is finite
    p4 = xp.where(mask[..., None], p4, jet)
    jet_pt, pt = kinematics.pt(jet, xp), kinematics.pt(p4, xp)
    delta_eta = kinematics.eta(p4, xp) - kinematics.eta(jet, xp)
    delta_phi = kinematics.delta_phi(kinematics.phi(p4, xp), kinematics.phi(jet, xp), xp)
    kind = xp.abs(pid)
    size = sum(xp.where(kind == code, charge, 0) for code, charge in CHARGES.items())
    features = xp.stack(
        [
            delta_eta,
            delta_phi,
            _log_remainder(pt / jet_pt, xp),
            xp.log(pt),
            _log_remainder(p4[..., 0] / jet[..., 0], xp),
            xp.log(p4[..., 0]),
            xp.hypot(delta_eta, delta_phi),
            *(
                flag.astype(p4.dtype)
                for flag in (
                    xp.sign(pid) * size,
                    _among(kind, CHARGED_HADRONS),
                    _among(kind, NEUTRAL_HADRONS),
                    kind == 22,
                    kind == 11,
                    kind == 13,
                )
            ),
        ],
        axis=-1,
    )
    jets = xp.stack(
        [
            jet_pt[:, 0],
            kinematics.eta(jet_p4, xp),
            kinematics.mass(jet_p4, xp) if jet_mass is None else jet_mass,
            length.astype(p4.dtype),
        ],
        axis=-1,
    )
    return xp.where(mask[..., None], features, xp.zeros((), p4.dtype)), mask, jets


def _log_remainder(share: Any, xp: Any) -> Any:
    """log(1 − share + LEAST_REMAINDER), where more than the whole counts as the whole."""
    return xp.log(xp.maximum(1 - share, 0) + LEAST_REMAINDER)


def _among(kind: Any, codes: tuple[int, ...]) -> Any:
    """Tell whether each code is one of these."""
    found = kind == codes[0]
    for code in codes[1:]:
        found = found | (kind == code)
    return found
