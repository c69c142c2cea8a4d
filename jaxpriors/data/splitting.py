"""Sharing events out at random."""

from itertools import pairwise

import numpy as np

from jaxpriors.errors import InputError


def split(n: int, fractions: tuple[float, ...], seed: int) -> list[np.ndarray]:
    """Random, disjoint, sorted numbers of events. InputError unless the fractions sum to 1."""
    if min(fractions) < 0 or abs(sum(fractions) - 1) > 1e-9:
        raise InputError(f"fractions: found {fractions}, expected shares that sum to 1")
    order = np.random.default_rng([seed, n]).permutation(n)
    edges = np.round(np.cumsum((0.0, *fractions)) * n).astype(int)
    return [np.sort(order[a:b]) for a, b in pairwise(edges)]
