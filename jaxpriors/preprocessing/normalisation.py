"""The tables that shift and scale OmniLearn's inputs (arXiv:2404.16091), by sample.

A named row scales the constituents, so that pretrained weights fit every sample.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from jaxpriors.physics.jet_features import FEATURES


@dataclass(frozen=True)
class Normalisation:
    """Hold mean and standard deviation of the inputs of a sample, as in OmniLearn.

    mean, std: of the first six FEATURES; the others stay as they are. jet_mean, jet_std: of the
    JET_FEATURES (of the LHC Olympics: pT, η, φ, mass, multiplicity).
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    jet_mean: tuple[float, ...]
    jet_std: tuple[float, ...]

    def constituents(self) -> tuple[np.ndarray, np.ndarray]:
        """Give mean and standard deviation of all FEATURES, (13,) float64 each."""
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


def normalised(features: Any, mask: Any, normalisation: str, xp: Any = np) -> Any:
    """Shift and scale features (B, P, 13) by a row of NORMALISATION; zero on padding."""
    mean, std = (xp.asarray(x, features.dtype) for x in NORMALISATION[normalisation].constituents())
    return xp.where(mask[..., None], (features - mean) / std, xp.zeros((), features.dtype))


def relative_normalisation(
    sample: str = "lhco", pretraining: str = "jetclass", count: int = 3
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Give feature_mean and feature_std of a row relative to another, for ``count`` features.

    The defaults are those of OmniLearn with ``use_mean``.
    """
    new, old = NORMALISATION[sample], NORMALISATION[pretraining]
    rows = list(zip(new.mean, old.mean, new.std, old.std, strict=True))[:count]
    return tuple((m - m0) / s0 for m, m0, _, s0 in rows), tuple(s / s0 for *_, s, s0 in rows)
