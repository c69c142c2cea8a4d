"""From events to what a network takes: tokens for L-GATr, point clouds for PET, numbers for an MLP.

A preprocessing is a pair of what was chosen (``config``) and what was learnt of the training
sample (``standardisation``). It is hashable, and a function: ``preprocessing(batch) -> inputs``.
It travels with the network's weights.
"""

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
from jax import Array

from jaxpriors.data import dijets
from jaxpriors.data.batching import Batch
from jaxpriors.data.events import Events
from jaxpriors.data.stored import Sample
from jaxpriors.dijet_inputs import (
    DijetCloud,
    DijetCloudConfig,
    DijetConfig,
    build_clouds,
    build_tokens,
    fit_clouds,
    fit_tokens,
)
from jaxpriors.errors import InputError
from jaxpriors.features import (
    PointCloud,
    PointCloudConfig,
    PointCloudStandardisation,
    build_point_cloud,
)
from jaxpriors.inputs import InputConfig, Inputs, Standardisation, build_inputs
from jaxpriors.numbers import NumbersConfig, NumbersStandardisation, build_numbers


@dataclass(frozen=True)
class TokenPreprocessing:
    """Events as rows of tokens (`jaxpriors.inputs`)."""

    config: InputConfig
    standardisation: Standardisation

    @classmethod
    def fit(cls, config: InputConfig, events: Sample) -> "TokenPreprocessing":
        """Standardised to these events; InputError where an input is not finite."""
        return cls(config, Standardisation.fit(events))

    def __call__(self, batch: Batch) -> Inputs:
        """The tokens of a batch; runs under jit."""
        return build_inputs(batch, self.config, self.standardisation)


@dataclass(frozen=True)
class PointCloudPreprocessing:
    """Events as point clouds (`jaxpriors.features`)."""

    config: PointCloudConfig
    standardisation: PointCloudStandardisation

    @classmethod
    def fit(cls, config: PointCloudConfig, events: Sample) -> "PointCloudPreprocessing":
        """Standardised to these events; InputError where an input is not finite."""
        return cls(config, PointCloudStandardisation.fit(events))

    def __call__(self, batch: Batch) -> PointCloud:
        """The point clouds of a batch; runs under jit."""
        return build_point_cloud(batch, self.config, self.standardisation)


@dataclass(frozen=True)
class NumbersPreprocessing:
    """Columns of the events (`jaxpriors.numbers`)."""

    config: NumbersConfig
    standardisation: NumbersStandardisation

    @classmethod
    def fit(cls, config: NumbersConfig, events: Events) -> "NumbersPreprocessing":
        """Standardised to these events; InputError where a column is missing or not finite."""
        return cls(config, NumbersStandardisation.fit(config, events))

    def __call__(self, batch: Batch) -> Array:
        """The numbers of a batch (B, F); runs under jit."""
        return build_numbers(batch, self.standardisation)


@dataclass(frozen=True)
class DijetPreprocessing:
    """Events of two jets as rows of tokens (`jaxpriors.dijet_inputs`)."""

    config: DijetConfig
    standardisation: Standardisation

    @classmethod
    def fit(cls, config: DijetConfig, events: Events) -> "DijetPreprocessing":
        """Standardised to these events; InputError where an input is not finite."""
        return cls(config, fit_tokens(events))

    def __call__(self, batch: Batch) -> Inputs:
        """The tokens of a batch; runs under jit."""
        return build_tokens(batch, self.config, self.standardisation)


@dataclass(frozen=True)
class DijetCloudPreprocessing:
    """Events of two jets as two point clouds each (`jaxpriors.dijet_inputs`)."""

    config: DijetCloudConfig
    standardisation: PointCloudStandardisation

    @classmethod
    def fit(cls, config: DijetCloudConfig, events: Events) -> "DijetCloudPreprocessing":
        """Standardised to these events; InputError where an input is not finite."""
        return cls(config, fit_clouds(events))

    def __call__(self, batch: Batch) -> DijetCloud:
        """The point clouds of a batch; runs under jit."""
        return build_clouds(batch, self.config, self.standardisation)


InputsConfig = InputConfig | PointCloudConfig | NumbersConfig | DijetConfig | DijetCloudConfig
Preprocessing = (
    TokenPreprocessing
    | PointCloudPreprocessing
    | NumbersPreprocessing
    | DijetPreprocessing
    | DijetCloudPreprocessing
)


def columns_of(config: InputsConfig) -> tuple[str, ...]:
    """The columns of the events that a network with these inputs reads."""
    if isinstance(config, DijetConfig | DijetCloudConfig):
        return dijets.COLUMNS
    return config.columns if isinstance(config, NumbersConfig) else ()


def seen(config: InputsConfig, events: Sample) -> Sample:
    """What a network with these inputs sees of events: their constituents and columns.

    Inputs of two jets have no identities, as generated events have none. Events on disk are read
    where columns or pairs of jets are looked at. Raises InputError where a column is missing.
    """
    if isinstance(config, InputConfig | PointCloudConfig):
        return events.with_columns(())
    read = events.read()
    if isinstance(config, DijetConfig | DijetCloudConfig):
        dijets.check(read)
        if config.constituents is not None:
            read = dijets.leading(read, config.constituents)
        read = dataclasses.replace(read, pid=np.zeros_like(read.pid))
    return read.with_columns(columns_of(config))


def fit_preprocessing(config: InputsConfig, events: Sample) -> Preprocessing:
    """The preprocessing of that configuration, standardised to these events.

    Raises InputError where an input is not finite.
    """
    if isinstance(config, PointCloudConfig):
        return PointCloudPreprocessing.fit(config, events)
    if isinstance(config, NumbersConfig):
        return NumbersPreprocessing.fit(config, events.read())
    if isinstance(config, DijetConfig):
        return DijetPreprocessing.fit(config, events.read())
    if isinstance(config, DijetCloudConfig):
        return DijetCloudPreprocessing.fit(config, events.read())
    return TokenPreprocessing.fit(config, events)


KINDS = {
    TokenPreprocessing: "tokens",
    PointCloudPreprocessing: "point cloud",
    NumbersPreprocessing: "numbers",
    DijetPreprocessing: "dijet tokens",
    DijetCloudPreprocessing: "dijet point clouds",
}


def preprocessing_to_json(preprocessing: Preprocessing) -> dict[str, Any]:
    """Plain data: {"kind", "inputs", "standardisation"}."""
    return {
        "kind": KINDS[type(preprocessing)],
        "inputs": dataclasses.asdict(preprocessing.config),
        "standardisation": preprocessing.standardisation.to_json(),
    }


def preprocessing_from_json(data: dict[str, Any]) -> Preprocessing:
    """The inverse of ``preprocessing_to_json``; without a kind it is "tokens".

    Raises KeyError, TypeError or ValueError for other data.
    """
    kind, inputs, learnt = data.get("kind", "tokens"), data["inputs"], data["standardisation"]
    if kind == "tokens":
        return TokenPreprocessing(InputConfig(**inputs), Standardisation.from_json(learnt))
    if kind == "point cloud":
        return PointCloudPreprocessing(
            PointCloudConfig(**inputs), PointCloudStandardisation.from_json(learnt)
        )
    if kind == "numbers":
        return NumbersPreprocessing(
            NumbersConfig(**inputs), NumbersStandardisation.from_json(learnt)
        )
    if kind == "dijet tokens":
        return DijetPreprocessing(DijetConfig(**inputs), Standardisation.from_json(learnt))
    if kind == "dijet point clouds":
        return DijetCloudPreprocessing(
            DijetCloudConfig(**inputs), PointCloudStandardisation.from_json(learnt)
        )
    raise InputError(f"kind: found {kind!r}, expected one of {sorted(KINDS.values())}")
