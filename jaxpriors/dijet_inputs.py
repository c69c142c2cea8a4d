"""Events of two jets to what networks see (arXiv:2603.08802, Table 5; PET: arXiv:2404.16091).

For L-GATr and L-GATr-slim an event is a row of tokens, padding last:

    class | reference vectors | harder jet | other jet | constituents of both

Every token has one four-vector and a row of scalars: a constituent's features or a jet's (zero for
the other kinds of token), m_jj, a one-hot of the token's kind and one of the jet it belongs to.

PET reads two point clouds, five features of each jet, and m_jj. Identities are not used: those of
the LHC Olympics are not known. All numbers are standardised to the sample that is trained on, but
for PET's constituents, which are scaled by a named table (`features.NORMALISATION`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.scipy.special import ndtri
from scipy import special

from jaxpriors import features, kinematics
from jaxpriors.algebra import reference_multivectors
from jaxpriors.data.batching import Batch, spread
from jaxpriors.data.checks import check_inputs
from jaxpriors.data.dijets import COLUMNS, JET_COLUMNS, JETS
from jaxpriors.data.events import Events
from jaxpriors.errors import InputError
from jaxpriors.features import PointCloudStandardisation, normalised, raw_features
from jaxpriors.inputs import Beam, Inputs, Standardisation, relative_kinematics
from jaxpriors.layers.core import module

CONSTITUENT_FEATURES = (
    "delta_eta_jet",
    "delta_phi_jet",
    "log_pt",
    "log_energy",
    "log_pt_over_jet_pt",
    "log_energy_over_jet_energy",
    "delta_r_jet",
)
JET_FEATURES = tuple(f"jet_{name}" for name in ("pt", "eta", "mass", "multiplicity"))
MASS = "m_jj"
KINDS = ("class", "reference", "jet", "constituent")
_SHOWN = [JET_COLUMNS.index(name.removeprefix("jet_")) for name in JET_FEATURES]
_PHI = JET_COLUMNS.index("phi")
_EDGE = 1e-6  # how far an azimuth stays from ±π, as a share of 2π: its normal quantile is finite


@dataclass(frozen=True)
class DijetConfig:
    """What L-GATr and L-GATr-slim see of an event of two jets.

    beam, time: as in `inputs.InputConfig`. constituents: so many of each jet, those of largest pT;
    None for all.
    """

    beam: Beam = "lightlike"
    time: bool = True
    constituents: int | None = None

    def __post_init__(self) -> None:
        _check_constituents(self.constituents)

    @property
    def scalars(self) -> int:
        """Number of scalars of each token."""
        return len(CONSTITUENT_FEATURES) + len(JET_FEATURES) + 1 + len(KINDS) + JETS

    def references(self) -> np.ndarray:
        """The reference multivectors, (R, 16)."""
        beam = None if self.beam == "none" else self.beam
        return np.asarray(reference_multivectors(beam, time=self.time))


@dataclass(frozen=True)
class DijetCloudConfig:
    """What PET sees of an event of two jets.

    normalisation: of the constituents, a row of `features.NORMALISATION`. constituents: so many of
    each jet, those of largest pT; None for all.
    """

    normalisation: str = "lhco"
    constituents: int | None = None

    def __post_init__(self) -> None:
        _check_constituents(self.constituents)
        features.PointCloudConfig(self.normalisation)


def _check_constituents(number: int | None) -> None:
    if number is not None and number < 1:
        raise InputError(f"constituents: found {number}, expected at least 1 of each jet")


@module
class DijetCloud:
    """A batch of events as PET reads them: features (B, 2, P, 13), mask (B, 2, P) bool, jets
    (B, 2, 5) and mass (B,) of the dijet, all normalised."""

    features: Array
    mask: Array
    jets: Array
    mass: Array


def fit_tokens(events: Events, sample: int = 100_000) -> Standardisation:
    """Mean and standard deviation of CONSTITUENT_FEATURES, JET_FEATURES and m_jj, in this order.

    From (at most ``sample``) events. Raises InputError where a feature is not finite.
    """
    batch = spread(events.with_columns(COLUMNS), sample)
    with np.errstate(divide="ignore", invalid="ignore"):  # found below, by name
        constituents, jets, mass = _token_features(batch, np)
    valid = np.arange(batch.p4.shape[1]) < batch.length[:, None]
    columns = [*np.moveaxis(constituents[valid], -1, 0), *np.moveaxis(jets, -1, 0), mass]
    check_inputs((*CONSTITUENT_FEATURES, *JET_FEATURES, MASS), columns)
    scale = float(np.sqrt(np.mean(np.asarray(batch.p4)[valid] ** 2.0)))
    return Standardisation(*_moments(columns), scale)


def fit_clouds(events: Events, sample: int = 100_000) -> PointCloudStandardisation:
    """Mean and standard deviation of a jet's five features and of m_jj.

    From (at most ``sample``) events. Raises InputError where a feature is not finite.
    """
    batch = spread(events.with_columns(COLUMNS), sample)
    jets, mass = jet_features(batch, np), kinematics.mass(batch.jet_p4)
    columns = [*np.moveaxis(jets, -1, 0), mass]
    check_inputs((*(f"jet_{name}" for name in JET_COLUMNS), MASS), columns)
    return PointCloudStandardisation(*_moments(columns))


def _moments(columns: list[np.ndarray]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    std = [float(np.std(c, dtype=np.float64)) for c in columns]
    mean = tuple(float(np.mean(c, dtype=np.float64)) for c in columns)
    return mean, tuple(s if s > 1e-6 else 1.0 for s in std)


def build_tokens(batch: Batch, config: DijetConfig, standardisation: Standardisation) -> Inputs:
    """Tokens of a batch whose columns are `dijets.COLUMNS`; runs under jit. Padding is zero."""
    rows, width = batch.p4.shape[:2]
    references = jnp.asarray(config.references(), jnp.float32)
    before = 1 + len(references)  # the class token and the references
    fixed = before + JETS
    scale = standardisation.momentum_scale
    valid = (jnp.arange(width) < batch.length[:, None])[..., None]
    vectors = jnp.concatenate(
        [
            jnp.zeros((rows, before, 4)),
            jet_momenta(batch, jnp) / scale,
            jnp.where(valid, batch.p4 / scale, 0.0),
        ],
        axis=1,
    )
    mean = jnp.asarray(standardisation.mean, jnp.float32)
    std = jnp.asarray(standardisation.std, jnp.float32)
    split = len(CONSTITUENT_FEATURES)
    constituents, jets, mass = _token_features(batch, jnp)
    constituents = (constituents - mean[:split]) / std[:split]
    jets = (jets - mean[split:-1]) / std[split:-1]
    mass = (mass - mean[-1]) / std[-1]
    kinds = np.repeat(np.eye(len(KINDS)), [1, len(references), JETS, width], axis=0)
    owner = jnp.concatenate(
        [
            jnp.full((rows, before), -1),
            jnp.broadcast_to(jnp.arange(JETS), (rows, JETS)),
            _owner(batch, jnp),
        ],
        axis=1,
    )
    scalars = jnp.concatenate(
        [
            jnp.pad(constituents, ((0, 0), (fixed, 0), (0, 0))),
            jnp.pad(jets, ((0, 0), (before, width), (0, 0))),
            jnp.broadcast_to(mass[:, None, None], (rows, fixed + width, 1)),
            jnp.broadcast_to(jnp.asarray(kinds, jnp.float32), (rows, *kinds.shape)),
            (owner[..., None] == jnp.arange(JETS)).astype(jnp.float32),
        ],
        axis=-1,
    )
    real = jnp.arange(fixed + width) < (batch.length + fixed)[:, None]
    scalars = jnp.where(real[..., None], scalars, 0.0)
    return Inputs(vectors, references, scalars, jnp.asarray(batch.length) + fixed)


def build_clouds(
    batch: Batch, config: DijetCloudConfig, standardisation: PointCloudStandardisation
) -> DijetCloud:
    """The point clouds of a batch whose columns are `dijets.COLUMNS`; runs under jit."""
    p4, counts = by_jet(batch, config.constituents, jnp)
    flat, rows = p4.reshape(-1, *p4.shape[2:]), len(p4)
    jets = jet_momenta(batch, jnp).reshape(-1, 4)
    unknown = jnp.zeros(flat.shape[:2], jnp.int32)
    found, mask, _ = raw_features(flat, unknown, counts.reshape(-1), jets, jnp)
    found = normalised(found, mask, config.normalisation, jnp)
    mean = jnp.asarray(standardisation.mean, jnp.float32)
    std = jnp.asarray(standardisation.std, jnp.float32)
    mass = kinematics.mass(batch.jet_p4, jnp)
    return DijetCloud(
        found.reshape(rows, JETS, *found.shape[1:]),
        mask.reshape(rows, JETS, -1),
        (jet_features(batch, jnp) - mean[:-1]) / std[:-1],
        (mass - mean[-1]) / std[-1],
    )


def jet_numbers(batch: Batch) -> Any:
    """(B, 2, 5): the `dijets.JET_COLUMNS` of both jets, as they are."""
    return batch.columns[:, 1:].reshape(-1, JETS, len(JET_COLUMNS))


def jet_momenta(batch: Batch, xp: Any) -> Any:
    """(E, px, py, pz) of both jets in GeV, (B, 2, 4)."""
    pt, eta, phi, mass, _ = xp.moveaxis(jet_numbers(batch), -1, 0)
    energy = xp.hypot(pt * xp.cosh(eta), mass)
    return xp.stack([energy, pt * xp.cos(phi), pt * xp.sin(phi), pt * xp.sinh(eta)], axis=-1)


def jet_features(batch: Batch, xp: Any) -> Any:
    """(B, 2, 5): the `dijets.JET_COLUMNS` of both jets, azimuths as normal quantiles."""
    numbers = jet_numbers(batch)
    share = xp.clip(0.5 * (1 + numbers[..., _PHI] / np.pi), _EDGE, 1 - _EDGE)
    quantile = (special.ndtri if xp is np else ndtri)(share)
    return xp.stack(
        [quantile if i == _PHI else numbers[..., i] for i in range(len(JET_COLUMNS))], axis=-1
    )


def by_jet(batch: Batch, most: int | None, xp: Any) -> tuple[Any, Any]:
    """Momenta (B, 2, P, 4) and numbers (B, 2) of each jet's constituents; the rest is padding.

    P is ``most``, and no more than a row of the batch has.
    """
    rows, width = batch.p4.shape[:2]
    slots = xp.arange(width if most is None else min(most, width))
    first = batch.columns[:, 0].astype(xp.int32)
    counts = xp.stack([first, batch.length - first], axis=1)
    start = xp.stack([xp.zeros_like(first), first], axis=1)
    index = xp.minimum(start[..., None] + slots, width - 1).reshape(rows, -1)
    p4 = xp.take_along_axis(batch.p4, index[..., None], axis=1)
    return p4.reshape(rows, JETS, len(slots), 4), xp.clip(counts, 0, len(slots))


def _owner(batch: Batch, xp: Any) -> Any:
    """The jet, 0 or 1, of each constituent, (B, P)."""
    return (xp.arange(batch.p4.shape[1]) >= batch.columns[:, :1]).astype(xp.int32)


def _token_features(batch: Batch, xp: Any) -> tuple[Any, Any, Any]:
    """Raw features of constituents (B, P, 7), jets (B, 2, 4) and m_jj (B,)."""
    valid = xp.arange(batch.p4.shape[1]) < batch.length[:, None]
    jets = jet_momenta(batch, xp)
    own = xp.take_along_axis(jets, _owner(batch, xp)[..., None], axis=1)
    # padding takes its jet's momentum: every logarithm and ratio is finite
    p4 = xp.where(valid[..., None], batch.p4, own)
    shown = jet_numbers(batch)[..., np.array(_SHOWN)]
    return relative_kinematics(p4, own, xp), shown, kinematics.mass(batch.jet_p4, xp)
