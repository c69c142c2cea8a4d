"""A few numbers of an event, such as observables of its jet, as inputs of an MLP.

They are columns of the events (`Events.columns`), shifted and scaled by the mean and standard
deviation of the sample that is trained on.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxpriors.data.batching import Batch
from jaxpriors.data.events import Events
from jaxpriors.errors import InputError


@dataclass(frozen=True)
class NumbersConfig:
    """columns: the names of the columns. Raises InputError for none, or one twice."""

    columns: tuple[str, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "columns", tuple(self.columns))
        if not self.columns or len(set(self.columns)) < len(self.columns):
            raise InputError(f"columns: found {self.columns}, expected one or several different")


@dataclass(frozen=True)
class NumbersStandardisation:
    """mean and std of each column."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def fit(cls, config: NumbersConfig, events: Events) -> NumbersStandardisation:
        """Of all events alike, whatever their weights; a constant column is shifted alone.

        Raises InputError for a column that is missing or not finite.
        """
        means, stds = [], []
        for name, column in events.with_columns(config.columns).columns.items():
            bad = np.flatnonzero(~np.isfinite(column))
            if len(bad):
                raise InputError(
                    f"column {name!r}: {len(bad)} of {len(column)} values are not finite, first "
                    f"that of event {bad[0]}: found {column[bad[0]]}"
                )
            means.append(float(column.mean()))
            stds.append(float(column.std()) or 1.0)
        return cls(tuple(means), tuple(stds))

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> NumbersStandardisation:
        """The inverse of ``to_json``."""
        return cls(tuple(data["mean"]), tuple(data["std"]))


def build_numbers(batch: Batch, standardisation: NumbersStandardisation) -> Array:
    """(B, F) of a batch whose columns are the configuration's; runs under jit."""
    mean, std = (jnp.asarray(x, jnp.float32) for x in (standardisation.mean, standardisation.std))
    return (jnp.asarray(batch.columns) - mean) / std
