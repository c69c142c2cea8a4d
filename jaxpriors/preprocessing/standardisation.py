"""Mean and standard deviation of a network's inputs, learnt from the training sample."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from jaxpriors.errors import InputError

SAMPLE = 100_000  # most events to learn from, spread over the sample
CONSTANT = 1e-6  # a feature that varies less is only shifted


@dataclass(frozen=True)
class Standardisation:
    """Hold mean and standard deviation of each input; saved with the weights.

    momentum_scale: in GeV, one for all components of all four-vectors, so that no symmetry is lost;
    1 where a network sees no four-vectors.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    momentum_scale: float = 1.0

    def __post_init__(self) -> None:
        """Raise InputError for numbers that standardise nothing."""
        if len(self.mean) != len(self.std):
            raise InputError(f"std: found {len(self.std)} numbers, expected {len(self.mean)}")
        for name, values in (("std", self.std), ("momentum_scale", (self.momentum_scale,))):
            if wrong := [x for x in values if not 0 < x < math.inf]:
                raise InputError(f"{name}: found {wrong[0]:g}, expected a positive number")

    @classmethod
    def of(
        cls,
        names: Sequence[str],
        columns: Sequence[np.ndarray],
        momentum_scale: float = 1.0,
        constant: float = CONSTANT,
    ) -> Standardisation:
        """Learn from columns of any shape, in float64.

        A column that varies less than ``constant`` is only shifted.

        Raises InputError, with the column's name, for a value that is not finite.
        """
        for name, column in zip(names, columns, strict=True):
            bad = int(np.sum(~np.isfinite(column)))
            if bad:
                raise InputError(
                    f"input {name}: found {bad} values that are not finite, expected none; "
                    "is there a constituent or jet along the beam axis?"
                )
        std = [float(np.std(column, dtype=np.float64)) for column in columns]
        return cls(
            tuple(float(np.mean(column, dtype=np.float64)) for column in columns),
            tuple(s if s > constant else 1.0 for s in std),
            momentum_scale,
        )
