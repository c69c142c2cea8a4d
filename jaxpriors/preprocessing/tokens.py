"""Events as the tokens that L-GATr and L-GATr-slim see (arXiv:2603.08802, Tables 1 and 5).

Each event becomes a row of tokens, padding last:

    class | reference vectors | jet, or harder and other jet | constituents

Every token has one four-vector and a row of scalars, zero where they belong to another kind of
token: the standardised features of a constituent and of a jet, a one-hot of the token's kind, and
for events of two jets m_jj and a one-hot of the jet of the token. The class token gives the output
of the network.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxpriors.data.batching import Batch, spread_blocks
from jaxpriors.data.dijets import COLUMNS, JET_COLUMNS, JETS
from jaxpriors.data.events import Events
from jaxpriors.data.stored import Sample
from jaxpriors.errors import InputError
from jaxpriors.layers.core import module
from jaxpriors.physics import kinematics
from jaxpriors.physics.algebra import reference_multivectors
from jaxpriors.preprocessing import dijets
from jaxpriors.preprocessing.standardisation import SAMPLE, Standardisation

KINEMATICS = (
    "delta_eta_jet",
    "delta_phi_jet",
    "log_pt",
    "log_energy",
    "log_pt_over_jet_pt",
    "log_energy_over_jet_energy",
    "delta_r_jet",
)
"""Features of a constituent; in events of one jet it has an identity as well."""
CONSTITUENT_FEATURES = (*KINEMATICS, "identity")
JET_FEATURES = ("jet_pt", "jet_eta", "jet_mass", "multiplicity")
KINDS = ("class", "reference", "jet", "constituent")
DIJET_FEATURES = ("pt", "eta", "phi", "energy", "mass")
"""Features of each jet of an event of two, by default (arXiv:2603.08802, Table 5)."""

# f(PID): codes of the 14 particles of the EnergyFlow Z+jets samples, and one code for all others.
# The files of those samples have other codes of the same particles, in another order
# (`data.formats.energyflow.IDENTITIES`).
IDENTITY = {
    22: 0.0,
    211: 0.1,
    -211: 0.2,
    321: 0.3,
    -321: 0.4,
    130: 0.5,
    2112: 0.6,
    -2112: 0.7,
    2212: 0.8,
    -2212: 0.9,
    11: 1.0,
    -11: 1.1,
    13: 1.2,
    -13: 1.3,
}
OTHER_IDENTITY = 1.4

Beam = Literal["lightlike", "spacelike", "timelike", "xyplane", "none"]


@module
class Inputs:
    """Hold the tokens of a batch of events; T = 1 + R + jets + constituents.

    vectors (B, T, 4) in units of the momentum scale, zero for the class and reference tokens;
    references (R, 16), multivectors of tokens 1 … R; scalars (B, T, S); length (B,) real tokens.
    """

    vectors: Array
    references: Array
    scalars: Array
    length: Array


# The methods of both configurations below.


def learn(config: Any, events: Sample) -> Standardisation:
    """Learn from at most `SAMPLE` events, spread over the sample, in float64.

    Raises InputError where a feature is not finite (a constituent along the beam axis).
    """
    events = events.with_columns(config.columns)
    blocks = []
    for batch in spread_blocks(events, SAMPLE):
        with np.errstate(divide="ignore", invalid="ignore"):  # reported below, by name
            constituents, jets, event = _features(config, batch, np)
        valid = np.arange(batch.p4.shape[1]) < batch.length[:, None]
        blocks.append((constituents[valid], jets, event, np.asarray(batch.p4)[valid]))
    constituents, jets, event, momenta = (np.concatenate(b) for b in zip(*blocks, strict=True))
    columns = [c for part in (constituents, jets, event) for c in np.moveaxis(part, -1, 0)]
    scale = np.sqrt(np.mean(np.square(momenta, dtype=np.float64)))
    return Standardisation.of(config.learnt, columns, float(scale))


def build(config: Any, batch: Batch, learnt: Standardisation) -> Inputs:
    """Make the tokens of a batch with the configuration's columns; runs under jit.

    Padding is zero.
    """
    rows, width = batch.p4.shape[:2]
    beam = None if config.beam == "none" else config.beam
    references = jnp.asarray(reference_multivectors(beam, time=config.time))
    before = 1 + len(references)
    fixed = before + config.jets
    jet_p4 = batch.jet_p4[:, None] if config.jets == 1 else dijets.jet_momenta(batch, jnp)
    valid = (jnp.arange(width) < batch.length[:, None])[..., None]
    vectors = jnp.concatenate(
        [
            jnp.zeros((rows, before, 4)),
            jet_p4 / learnt.momentum_scale,
            jnp.where(valid, batch.p4 / learnt.momentum_scale, 0.0),
        ],
        axis=1,
    )
    scalars = []
    if config.features != "momenta":
        mean = jnp.asarray(learnt.mean, jnp.float32)
        std = jnp.asarray(learnt.std, jnp.float32)
        constituents, jets, event = _features(config, batch, jnp)
        split = constituents.shape[-1]
        end = split + jets.shape[-1]
        constituents = (constituents - mean[:split]) / std[:split]
        jets = (jets - mean[split:end]) / std[split:end]
        event = (event - mean[end:]) / std[end:]
        if config.features == "kinematics":
            constituents = constituents[..., : len(KINEMATICS)]
        scalars += [
            jnp.pad(constituents, ((0, 0), (fixed, 0), (0, 0))),
            jnp.pad(jets, ((0, 0), (before, width), (0, 0))),
            jnp.broadcast_to(event[:, None], (rows, fixed + width, event.shape[-1])),
        ]
    kinds = np.eye(len(KINDS), dtype=np.float32)
    kind = jnp.concatenate(
        [
            np.repeat(kinds[:-1], [1, len(references), config.jets], axis=0),
            jnp.broadcast_to(kinds[-1], (width, len(KINDS))),
        ]
    )
    scalars.append(jnp.broadcast_to(kind, (rows, *kind.shape)))
    if config.jets > 1:
        owner = jnp.concatenate(
            [
                jnp.full((rows, before), -1),
                jnp.broadcast_to(jnp.arange(config.jets), (rows, config.jets)),
                dijets.owner(batch, jnp),
            ],
            axis=1,
        )
        scalars.append((owner[..., None] == jnp.arange(config.jets)).astype(jnp.float32))
    real = jnp.arange(fixed + width) < (batch.length + fixed)[:, None]
    found = jnp.where(real[..., None], jnp.concatenate(scalars, axis=-1), 0.0)
    return Inputs(vectors, references, found, jnp.asarray(batch.length) + fixed)


def _features(config: Any, batch: Batch, xp: Any) -> tuple[Any, Any, Any]:
    """Give raw features of constituents (B, P, F), jets (B, jets, J) and events (B, 0 or 1)."""
    jets = config.jets
    valid = xp.arange(batch.p4.shape[1]) < batch.length[:, None]
    jet = batch.jet_p4[:, None]
    if jets > 1:
        owner = dijets.owner(batch, xp)[..., None]
        jet = xp.take_along_axis(dijets.jet_momenta(batch, xp), owner, axis=1)
    # padding takes its jet's momentum: every logarithm and ratio is finite
    p4 = xp.where(valid[..., None], batch.p4, jet)
    jet_pt, pt = kinematics.pt(jet, xp), kinematics.pt(p4, xp)
    delta_eta = kinematics.eta(p4, xp) - kinematics.eta(jet, xp)
    delta_phi = kinematics.delta_phi(kinematics.phi(p4, xp), kinematics.phi(jet, xp), xp)
    found = xp.stack(  # KINEMATICS
        [
            delta_eta,
            delta_phi,
            xp.log(pt),
            xp.log(p4[..., 0]),
            xp.log(pt / jet_pt),
            xp.log(p4[..., 0] / jet[..., 0]),
            xp.hypot(delta_eta, delta_phi),
        ],
        axis=-1,
    )
    if jets > 1:
        return found, _jets(config.jet_features, batch, xp), batch.jet_mass[:, None]
    identity = xp.full(batch.pid.shape, OTHER_IDENTITY, xp.float32)
    for code, value in IDENTITY.items():
        identity = xp.where(batch.pid == code, xp.float32(value), identity)
    of_jet = xp.stack(
        [
            kinematics.pt(batch.jet_p4, xp),
            kinematics.eta(batch.jet_p4, xp),
            batch.jet_mass,
            batch.length.astype(xp.float32),
        ],
        axis=-1,
    )
    none = xp.zeros((p4.shape[0], 0), xp.float32)
    return xp.concatenate([found, identity[..., None]], axis=-1), of_jet[:, None], none


def _jets(names: tuple[str, ...], batch: Batch, xp: Any) -> Any:
    """Give these features of both jets of an event, (B, 2, J)."""
    columns = dijets.jet_columns(batch)
    energy = dijets.jet_momenta(batch, xp)[..., 0]
    known = {name: columns[..., i] for i, name in enumerate(JET_COLUMNS)} | {"energy": energy}
    return xp.stack([known[name] for name in names], axis=-1)


@dataclass(frozen=True)
class InputConfig:
    """Choose what L-GATr and L-GATr-slim see of a jet.

    features: "full" (Table 1), "kinematics" (without identities, which Table 1 has for Z+jets
        alone) or "momenta" (only four-vectors and token kinds).
    beam, time: the reference multivectors that break the Lorentz symmetry to the detector's:
        the beam direction(s), as two vectors or (``xyplane``, L-GATr only) as the plane across
        it, and the time direction.
    """

    features: Literal["full", "kinematics", "momenta"] = "full"
    beam: Beam = "lightlike"
    time: bool = True
    KIND: ClassVar[str] = "tokens"
    columns: ClassVar[tuple[str, ...]] = ()
    jets: ClassVar[int] = 1
    learnt: ClassVar[tuple[str, ...]] = (*CONSTITUENT_FEATURES, *JET_FEATURES)
    learn, build = learn, build

    @property
    def scalars(self) -> int:
        """Give the number of scalars of a token."""
        without = {"full": 0, "kinematics": 1, "momenta": len(self.learnt)}
        return len(self.learnt) - without[self.features] + len(KINDS)

    def select(self, events: Sample) -> Sample:
        """Drop the columns of the events: a network sees only their constituents."""
        return events.with_columns(())


@dataclass(frozen=True)
class DijetConfig:
    """Choose what L-GATr and L-GATr-slim see of an event of two jets, whose identities are unknown.

    beam, time: as in `InputConfig`. constituents: number of each jet, those of largest pT; None
    for all. jet_features: of each jet, any of pt, eta, phi, energy, mass and multiplicity.
    """

    beam: Beam = "lightlike"
    time: bool = True
    constituents: int | None = None
    jet_features: tuple[str, ...] = DIJET_FEATURES
    KIND: ClassVar[str] = "dijet tokens"
    features: ClassVar[str] = "full"
    columns: ClassVar[tuple[str, ...]] = COLUMNS
    jets: ClassVar[int] = JETS
    learn, build = learn, build

    def __post_init__(self) -> None:
        dijets.check_constituents(self.constituents)
        known = (*JET_COLUMNS, "energy")
        if not self.jet_features or not set(self.jet_features) <= set(known):
            raise InputError(
                f"jet_features: found {self.jet_features}, expected some of {', '.join(known)}"
            )

    @property
    def learnt(self) -> tuple[str, ...]:
        """Name the standardised scalars."""
        return (*KINEMATICS, *(f"jet_{name}" for name in self.jet_features), "m_jj")

    @property
    def scalars(self) -> int:
        """Give the number of scalars of a token."""
        return len(self.learnt) + len(KINDS) + JETS

    def select(self, events: Sample) -> Events:
        """Read what a network sees of the events; raise InputError unless they are of two jets."""
        return dijets.select(events, self.constituents)


TokenConfig = InputConfig | DijetConfig
