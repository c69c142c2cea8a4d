"""The ranges of options: whole numbers and numbers, each refused in one line outside its range."""

from __future__ import annotations

import math
import numbers
from typing import Any

from jaxpriors.errors import InputError

MOST = 2**31 - 1  # of counts and seeds: what 32 bits hold
LARGEST_BATCH = 2**24  # events that are in memory at once
MOST_NETWORKS = 10_000  # of one program, and steps of a sampler or of an unfolding


def check_whole(name: str, value: Any, least: int, most: int = MOST) -> None:
    """Raise InputError unless an option is a whole number from `least` to `most`.

    >>> check_whole("epochs", 3, 1)
    >>> check_whole("seed", 10**20, 0)
    Traceback (most recent call last):
    jaxpriors.errors.InputError: seed: found 100000000000000000000, expected 0 … 2147483647
    """
    whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if whole and least <= value <= most:
        return
    found = f"{value}" if whole else f"{value!r}, no whole number"
    if whole and value < least:
        raise InputError(f"{name}: found {found}, expected at least {least}")
    raise InputError(f"{name}: found {found}, expected {least} … {most}")


def check_number(
    name: str, value: Any, least: float, most: float = math.inf, *, open_at: tuple[float, ...] = ()
) -> None:
    """Raise InputError unless an option is a finite number from `least` to `most`.

    open_at: those of the two limits that it may not reach.

    >>> check_number("clip", float("inf"), 1, open_at=(1,))
    Traceback (most recent call last):
    jaxpriors.errors.InputError: clip: found inf, expected a finite number greater than 1
    """
    real = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if real and math.isfinite(value) and least <= value <= most and value not in open_at:
        return
    low = f"{'greater than' if least in open_at else 'at least'} {least:g}"
    high = f"{'less than' if most in open_at else 'at most'} {most:g}"
    expected = low if math.isinf(most) else f"{low} and {high}"
    found = f"{value}" if real else repr(value)
    raise InputError(f"{name}: found {found}, expected a finite number {expected}")
