"""Events to the point clouds that OmniLearn's PET sees (arXiv:2404.16091), and their normalisation.

A jet is a cloud of constituents with 13 features each, the first two of which are the points'
coordinates, and has four features of its own. Both are shifted and scaled: the constituents' by
numbers of a named table, so that pretrained weights fit every sample; the jets' by the mean and
standard deviation of the sample that is trained on.
"""

import dataclasses
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxpriors import kinematics
from jaxpriors.data.batching import Batch, spread_blocks
from jaxpriors.data.checks import check_inputs
from jaxpriors.data.identities import CHARGED_HADRONS, CHARGES, NEUTRAL_HADRONS
from jaxpriors.data.stored import Sample
from jaxpriors.errors import InputError
from jaxpriors.layers.core import module

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


@dataclass(frozen=True)
class Normalisation:
    """Mean and standard deviation of a sample's inputs, as OmniLearn has them.

    mean, std: of the first six FEATURES; the others stay as they are. jet_mean, jet_std: of the
    JET_FEATURES (of the LHC Olympics: pT, η, φ, mass, multiplicity).
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    jet_mean: tuple[float, ...]
    jet_std: tuple[float, ...]

    def constituents(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation of all FEATURES, (13,) float64 twice."""
        rest = len(FEATURES) - len(self.mean)
        return np.array([*self.mean, *[0.0] * rest]), np.array([*self.std, *[1.0] * rest])


_MEAN = (0.0, 0.0, -0.0278, 1.8999407, -0.027, 2.244736)
_STD = (0.215, 0.215, 0.070, 1.2212526, 0.069, 1.2334691)

NORMALISATION: dict[str, Normalisation] = {
    "jetclass": Normalisation(
        _MEAN,
        _STD,
        (618.22492, 0.0, 120.64709, 39.4133173),
        (106.71761, 0.88998157, 40.196922, 15.096386),
    ),
    "omnifold": Normalisation(
        _MEAN,
        _STD,
        (225.826286, 0.00125739745, 18.396352, 18.8828832),
        (90.39824296, 1.34598289, 10.73467645, 8.45697634),
    ),
    "atlas": Normalisation(
        _MEAN,
        _STD,
        (1739.33684, 0.00049438087, 221.667582, 55.2376512),
        (975.164004, 0.831232765, 203.67242, 25.1242747),
    ),
    "h1": Normalisation(
        (0.031, 0.0, -0.10, -0.23, -0.10, 0.27),
        (0.35, 0.35, 0.178, 1.2212526, 0.169, 1.17),
        (19.15986358, 0.57154217, 6.00354102, 11.730992),
        (9.18613789, 0.80465287, 2.99805704, 5.14910232),
    ),
    "lhco": Normalisation(
        (0.0, 0.0, -0.019, 1.83, -0.019, 2.068),
        (0.26, 0.26, 0.066, 1.452, 0.064, 1.46),
        (1287.24651, -4.81260266e-5, 0.0, 205.052711, 57.2253125),
        (244.15460668, 0.74111563, 1.0, 151.10313677, 29.44343823),
    ),
    "jetnet30": Normalisation(
        (0.0, 0.0, -0.035, 2.791, -0.035, 3.03),
        (0.09, 0.09, 0.067, 1.241, 0.067, 1.26),
        (1045.8962, 0.0036804923, 94.020386, 29.03636),
        (123.23525, 0.7678173, 43.103817, 2.76302),
    ),
    # the negative number is what OmniLearn divides by
    "jetnet150": Normalisation(
        (0.0, 0.0, -0.0217, 1.895, -0.022, 2.13),
        (0.115, 0.115, -0.054, 1.549, 0.054, 1.57),
        (1045.8962, 0.0036804923, 94.020386, 49.398304),
        (123.23525, 0.7678173, 43.103817, 20.772703),
    ),
    "tau": Normalisation(
        (0.0, 0.0, -0.0468198519, 0.220178221, -0.0748168704, 0.256480441),
        (0.03927566, 0.04606768, 0.25982114, 0.82466037, 0.7541279, 0.86455974),
        (61.6614813, 0.00205619964, 3.52885518, 4.2875568),
        (34.22578952, 0.68952567, 4.54982729, 3.20547624),
    ),
}


@dataclass(frozen=True)
class PointCloudConfig:
    """What PET sees of an event. normalisation: of the constituents, a row of NORMALISATION."""

    normalisation: str = "jetclass"

    def __post_init__(self) -> None:
        if self.normalisation not in NORMALISATION:
            raise InputError(
                f"normalisation: found {self.normalisation!r}, "
                f"expected one of {sorted(NORMALISATION)}"
            )


@dataclass(frozen=True)
class PointCloudStandardisation:
    """Mean and standard deviation of the training sample's JET_FEATURES, (4,) each."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def fit(cls, events: Sample, sample: int = 100_000) -> "PointCloudStandardisation":
        """From (at most ``sample``) events, spread over the whole of them, in float64.

        Raises InputError where a feature is not finite (a constituent along the beam axis).
        """
        blocks = []
        for batch in spread_blocks(events, sample):
            with np.errstate(divide="ignore", invalid="ignore"):  # found below, by name
                found = raw_features(batch.p4, batch.pid, batch.length, batch.jet_p4)
            features, mask, jets = found
            blocks.append((features[mask], jets))
        features, jets = (np.concatenate(parts) for parts in zip(*blocks, strict=True))
        columns = [*np.moveaxis(features, -1, 0), *np.moveaxis(jets, -1, 0)]
        check_inputs((*FEATURES, *JET_FEATURES), columns)
        mean, std = jets.mean(0, dtype=np.float64), jets.std(0, dtype=np.float64)
        return cls(tuple(mean.tolist()), tuple(np.where(std > 1e-6, std, 1.0).tolist()))

    def to_json(self) -> dict[str, Any]:
        """Plain lists."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "PointCloudStandardisation":
        """The inverse of ``to_json``."""
        return cls(tuple(data["mean"]), tuple(data["std"]))


@module
class PointCloud:
    """A batch of jets as PET reads them.

    features (B, P, 13), normalised, zero on padding; mask (B, P) bool, True for constituents;
    jet (B, 4), standardised.
    """

    features: Array
    mask: Array
    jet: Array


def build_point_cloud(
    batch: Batch, config: PointCloudConfig, standardisation: PointCloudStandardisation
) -> PointCloud:
    """The point clouds of a batch; runs under jit."""
    features, mask, jets = raw_features(batch.p4, batch.pid, batch.length, batch.jet_p4, jnp)
    features = normalised(features, mask, config.normalisation, jnp)
    mean = jnp.asarray(standardisation.mean, jets.dtype)
    std = jnp.asarray(standardisation.std, jets.dtype)
    return PointCloud(features, mask, (jets - mean) / std)


def normalised(features: Any, mask: Any, normalisation: str, xp: Any = np) -> Any:
    """Features (B, P, 13) shifted and scaled by a row of NORMALISATION, zero on padding."""
    mean, std = (xp.asarray(x, features.dtype) for x in NORMALISATION[normalisation].constituents())
    return xp.where(mask[..., None], (features - mean) / std, xp.zeros((), features.dtype))


def raw_features(p4: Any, pid: Any, length: Any, jet_p4: Any, xp: Any = np) -> tuple[Any, Any, Any]:
    """FEATURES of constituents (B, P, 13), their mask (B, P) and JET_FEATURES (B, 4).

    p4 (B, P, 4) and jet_p4 (B, 4) as (E, px, py, pz) in GeV, in whose dtype all is computed;
    pid (B, P) PDG codes, an unknown one (0) has neither charge nor kind; length (B,) constituents,
    the rest is padding and gives zero.

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
            kinematics.mass(jet_p4, xp),
            length.astype(p4.dtype),
        ],
        axis=-1,
    )
    return xp.where(mask[..., None], features, xp.zeros((), p4.dtype)), mask, jets


def _log_remainder(share: Any, xp: Any) -> Any:
    """log(1 − share + LEAST_REMAINDER), where more than the whole counts as the whole."""
    return xp.log(xp.maximum(1 - share, 0) + LEAST_REMAINDER)


def _among(kind: Any, codes: tuple[int, ...]) -> Any:
    """Whether each code is one of these."""
    found = kind == codes[0]
    for code in codes[1:]:
        found = found | (kind == code)
    return found
