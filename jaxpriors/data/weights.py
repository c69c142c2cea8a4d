"""Sums of weights, by which densities are normalised: they must be positive numbers."""

from __future__ import annotations

import numpy as np

from jaxpriors.errors import InputError

LEAST, MOST = 1e-100, 1e100  # of sums, so that squares and ratios of weights are numbers as well


def check_sum(name: str, weight: np.ndarray, part: str = "") -> float:
    """Return the sum of the weights (n,) of a sample, or of one part of it.

    part: what its events are for, such as validation. Raises InputError where the sum is not
    positive, and where weights are too large or small to compute with.

    >>> check_sum("data", np.array([2.0, -0.5]))
    1.5
    >>> check_sum("data", np.array([1.0, -2.0]), "validation")
    Traceback (most recent call last):
    jaxpriors.errors.InputError: data, validation part: 2 events with weights that sum to -1 \
(1 negative); expected at least one event and a positive sum: give more events or that part a \
larger share
    """
    where = f"{name}, {part} part" if part else name
    with np.errstate(over="ignore"):
        total, size = float(np.sum(weight)), float(np.sum(np.abs(weight)))
    if size and not LEAST <= size <= MOST:
        raise InputError(
            f"{where}: {len(weight)} events with weights whose sizes sum to {size:g}, expected "
            f"{LEAST:g} … {MOST:g}: scale them"
        )
    if not total > 0:
        negative = int(np.sum(weight < 0))
        mixed = f" ({negative} negative)" if negative else ""
        way_out = ": give more events or that part a larger share" if part else ""
        raise InputError(
            f"{where}: {len(weight)} events with weights that sum to {total:g}{mixed}; expected at "
            f"least one event and a positive sum{way_out}"
        )
    return total
