"""Events as the point clouds that OmniLearn's PET sees (arXiv:2404.16091).

A jet is a cloud of constituents with 13 features each, the first two of which are coordinates, and
has four features itself. A named table (`preprocessing.normalisation`) shifts and scales the
constituent features, so that pretrained weights fit every sample; the mean and standard deviation
of the training sample do so for the jets. An event of two jets is two clouds, five features of each
jet, and m_jj, without identities.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.scipy.special import ndtri
from scipy import special

from jaxpriors.data.batching import Batch, spread_blocks
from jaxpriors.data.dijets import COLUMNS, JET_COLUMNS, JETS
from jaxpriors.data.events import Events
from jaxpriors.data.stored import Sample
from jaxpriors.errors import InputError
from jaxpriors.layers.core import module
from jaxpriors.physics.jet_features import FEATURES, JET_FEATURES, raw_features
from jaxpriors.preprocessing import dijets
from jaxpriors.preprocessing.normalisation import NORMALISATION, normalised
from jaxpriors.preprocessing.standardisation import SAMPLE, Standardisation

SEEN = {"full": len(FEATURES), "charge": 8, "momenta": 7}
"""How many of FEATURES a PET sees, by `PointCloudConfig.features`."""
_PHI = JET_COLUMNS.index("phi")
_EDGE = 1e-6  # distance of azimuths from ±π as a share of 2π, for finite normal quantiles


@module
class PointCloud:
    """Hold a batch of jets as PET reads them.

    features (B, P, 13), normalised, zero on padding; mask (B, P) bool, True for constituents;
    jet (B, 4), standardised.
    """

    features: Array
    mask: Array
    jet: Array


@module
class DijetCloud:
    """Hold a batch of two-jet events as PET reads them.

    features (B, 2, P, 13), mask (B, 2, P) bool, jets (B, 2, 5), and mass (B,) of the dijet, all
    normalised.
    """

    features: Array
    mask: Array
    jets: Array
    mass: Array


@dataclass(frozen=True)
class PointCloudConfig:
    """Choose what PET sees of a jet.

    normalisation: of the constituents, a row of NORMALISATION. features: "full" (all 13), "charge"
    (the kinematics and the charge, as OmniLearn has them for H1) or "momenta" (the seven that
    follow from four-momenta alone); the others are zero, so that pretrained weights fit.
    """

    normalisation: str = "jetclass"
    features: Literal["full", "charge", "momenta"] = "full"
    KIND: ClassVar[str] = "point cloud"
    columns: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        _check(self.normalisation)

    def select(self, events: Sample) -> Sample:
        """Drop the columns of the events: a network sees only their constituents."""
        return events.with_columns(())

    def learn(self, events: Sample) -> Standardisation:
        """Learn the JET_FEATURES of at most `SAMPLE` events, spread over the sample.

        Raises InputError where a feature is not finite (a constituent along the beam axis).
        """
        blocks = []
        for batch in spread_blocks(events, SAMPLE):
            with np.errstate(divide="ignore", invalid="ignore"):  # reported below, by name
                found = raw_features(
                    batch.p4, batch.pid, batch.length, batch.jet_p4, jet_mass=batch.jet_mass
                )
            features, mask, jets = found
            blocks.append((features[mask], jets))
        features, jets = (np.concatenate(parts) for parts in zip(*blocks, strict=True))
        Standardisation.of(FEATURES, list(np.moveaxis(features, -1, 0)))  # all finite?
        return Standardisation.of(JET_FEATURES, list(np.moveaxis(jets, -1, 0)))

    def build(self, batch: Batch, learnt: Standardisation) -> PointCloud:
        """Make the point clouds of a batch; runs under jit."""
        features, mask, jets = raw_features(
            batch.p4, batch.pid, batch.length, batch.jet_p4, jnp, batch.jet_mass
        )
        features = normalised(features, mask, self.normalisation, jnp)
        features = features.at[..., SEEN[self.features] :].set(0)
        mean, std = (jnp.asarray(x, jets.dtype) for x in (learnt.mean, learnt.std))
        return PointCloud(features, mask, (jets - mean) / std)


@dataclass(frozen=True)
class DijetCloudConfig:
    """Choose what PET sees of an event of two jets.

    normalisation: of the constituents, a row of NORMALISATION. constituents: number of each jet,
    those of largest pT; None for all.
    """

    normalisation: str = "lhco"
    constituents: int | None = None
    KIND: ClassVar[str] = "dijet point clouds"
    columns: ClassVar[tuple[str, ...]] = COLUMNS

    def __post_init__(self) -> None:
        dijets.check_constituents(self.constituents)
        _check(self.normalisation)

    def select(self, events: Sample) -> Events:
        """Read what a network sees of the events; raise InputError unless they are of two jets."""
        return dijets.select(events, self.constituents)

    def learn(self, events: Sample) -> Standardisation:
        """Learn the five features of the jets and m_jj of at most `SAMPLE` events.

        Raises InputError where a feature is not finite.
        """
        batches = list(spread_blocks(events.with_columns(COLUMNS), SAMPLE))
        jets = np.concatenate([jet_features(batch, np) for batch in batches])
        mass = np.concatenate([batch.jet_mass for batch in batches])
        names = (*(f"jet_{name}" for name in JET_COLUMNS), "m_jj")
        return Standardisation.of(names, [*np.moveaxis(jets, -1, 0), mass])

    def build(self, batch: Batch, learnt: Standardisation) -> DijetCloud:
        """Make the point clouds of a batch whose columns are `dijets.COLUMNS`; runs under jit."""
        p4, counts = dijets.by_jet(batch, self.constituents, jnp)
        flat, rows = p4.reshape(-1, *p4.shape[2:]), len(p4)
        jets = dijets.jet_momenta(batch, jnp).reshape(-1, 4)
        unknown = jnp.zeros(flat.shape[:2], jnp.int32)
        found, mask, _ = raw_features(flat, unknown, counts.reshape(-1), jets, jnp)
        found = normalised(found, mask, self.normalisation, jnp)
        mean, std = (jnp.asarray(x, jnp.float32) for x in (learnt.mean, learnt.std))
        return DijetCloud(
            found.reshape(rows, JETS, *found.shape[1:]),
            mask.reshape(rows, JETS, -1),
            (jet_features(batch, jnp) - mean[:-1]) / std[:-1],
            (jnp.asarray(batch.jet_mass) - mean[-1]) / std[-1],
        )


def jet_features(batch: Batch, xp: Any) -> Any:
    """Give the `JET_COLUMNS` of both jets (B, 2, 5), azimuths as normal quantiles."""
    columns = dijets.jet_columns(batch)
    share = xp.clip(0.5 * (1 + columns[..., _PHI] / np.pi), _EDGE, 1 - _EDGE)
    quantile = (special.ndtri if xp is np else ndtri)(share)
    return xp.stack(
        [quantile if i == _PHI else columns[..., i] for i in range(len(JET_COLUMNS))], axis=-1
    )


def _check(normalisation: str) -> None:
    if normalisation not in NORMALISATION:
        raise InputError(
            f"normalisation: found {normalisation!r}, expected one of {sorted(NORMALISATION)}"
        )
