"""Bins and errors of the published tables, beside our own.

OmniLearn's evaluation (arXiv:2404.16091, `evaluate_omnifold.py`; 2603.08802, Tables 2 and 3, take
it over) counts the six observables in 49 bins each, the multiplicity in 79 bins of 80/79, and takes
as error of a triangular discriminator the spread of 100 trials: the content of each bin of both
samples is drawn uniformly within plus or minus its statistical error, and divided by the sum that
the sample has without that. A uniform distribution has a standard deviation of 1/√3 of its half
width: this error is smaller than that of a bootstrap, with which our own bins come.

What is undefined lies where it does there: z_g and τ21 are 0, in the first bin, and ln ρ of jets
that fail SoftDrop is outside of the range (there 0, here −20).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from jaxpriors.errors import InputError
from jaxpriors.evaluation.discriminators import DISCRIMINATOR_UNIT, discriminator_error
from jaxpriors.evaluation.histograms import histogram
from jaxpriors.evaluation.observables import OBSERVABLES, Observable

Bins = Literal["own", "published"]
PUBLISHED: tuple[Observable, ...] = tuple(
    dataclasses.replace(o, low=0.0, high=80.0, bins=79)
    if o.name == "multiplicity"
    else dataclasses.replace(o, bins=49)
    for o in OBSERVABLES.values()
)  # the other ranges are the same


def uniform_error(
    p_values: np.ndarray,
    q_values: np.ndarray,
    edges: np.ndarray,
    p_weights: np.ndarray | None = None,
    q_weights: np.ndarray | None = None,
    *,
    replicas: int = 100,
    seed: int = 0,
) -> float:
    """Estimate the error of a triangular discriminator as OmniLearn does (see above).

    Values (n,), (m,) within edges (K + 1,), and their weights, none of them negative: a bin may
    have no content to divide by otherwise. Same seed, same result.
    """
    check_bins("published", *(w for w in (p_weights, q_weights) if w is not None))
    rng = np.random.default_rng(seed)
    drawn = []
    for values, weights in ((p_values, p_weights), (q_values, q_weights)):
        found = histogram(values, edges, weights)
        error = np.sqrt(found.variance)
        trials = rng.uniform(-error, error, (replicas, len(error))) + found.content
        drawn.append(trials / found.content.sum())
    p, q = drawn
    terms = np.divide((p - q) ** 2, p + q, out=np.zeros_like(p), where=p + q > 0)
    return float(np.std(0.5 * DISCRIMINATOR_UNIT * terms.sum(axis=1)))


@dataclass(frozen=True)
class Binning:
    """Say in which bins observables are compared, and what their error is.

    error: a function with the arguments of ``uniform_error``. note: what a table says of both.
    """

    observables: tuple[Observable, ...]
    error: Callable[..., float]
    note: str


BINNINGS: dict[str, Binning] = {
    "own": Binning(
        tuple(OBSERVABLES.values()),
        discriminator_error,
        "own bins, 20 each; errors: bootstrap of the events",
    ),
    "published": Binning(
        PUBLISHED,
        uniform_error,
        "published bins, 49 each, 79 of the multiplicity; errors: 100 uniform variations",
    ),
}


def check_bins(bins: Bins, *weights: np.ndarray) -> None:
    """Raise InputError for negative weights (n,) in bins whose error is not defined for them."""
    if bins == "published" and any(np.any(each < 0) for each in weights):
        raise InputError("bins: found published, and negative weights; expected own for these")
