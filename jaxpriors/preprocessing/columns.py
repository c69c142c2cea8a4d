"""Columns of the events, such as observables of the jet, as inputs of an MLP."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxpriors.data.batching import Batch
from jaxpriors.data.events import Events
from jaxpriors.data.stored import Sample
from jaxpriors.errors import InputError
from jaxpriors.preprocessing.standardisation import Standardisation

COARSEST = 0.01  # rounding to single precision, as a share of a column's standard deviation


@dataclass(frozen=True)
class ColumnsConfig:
    """Name the columns that a network sees; raise InputError for none, or one twice."""

    columns: tuple[str, ...]
    KIND: ClassVar[str] = "numbers"

    def __post_init__(self) -> None:
        object.__setattr__(self, "columns", tuple(self.columns))
        if not self.columns or len(set(self.columns)) < len(self.columns):
            raise InputError(f"columns: found {self.columns}, expected one or several different")

    def select(self, events: Sample) -> Events:
        """Read the events with only these columns; raise InputError where one is missing."""
        return events.read().with_columns(self.columns)

    def learn(self, events: Sample) -> Standardisation:
        """Learn from all events, without their weights; a constant column is only shifted.

        Raises InputError for a column that is missing or not finite, or whose values single
        precision, which networks see, cannot tell apart.
        """
        columns = self.select(events).columns
        for name, column in columns.items():
            bad = np.flatnonzero(~np.isfinite(column))
            if len(bad):
                raise InputError(
                    f"column {name!r}: {len(bad)} of {len(column)} values are not finite, first "
                    f"that of event {bad[0]}: found {column[bad[0]]}"
                )
        learnt = Standardisation.of(self.columns, list(columns.values()), constant=0.0)
        for name, column, std in zip(self.columns, columns.values(), learnt.std, strict=True):
            largest = np.abs(column.astype(np.float64)).max(initial=0)
            single = np.finfo(np.float32)
            rounded = largest * single.eps
            if largest > single.max or (rounded > COARSEST * std and column.min() < column.max()):
                raise InputError(
                    f"column {name!r}: found values up to {largest:g} that spread by {std:g}, "
                    "expected such as single precision can tell apart: subtract their mean"
                )
        return learnt

    def build(self, batch: Batch, learnt: Standardisation) -> Array:
        """Make the inputs (B, F) of a batch whose columns are these; runs under jit."""
        mean, std = (jnp.asarray(x, jnp.float32) for x in (learnt.mean, learnt.std))
        return (jnp.asarray(batch.columns) - mean) / std
