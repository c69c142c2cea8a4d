"""Events to the tokens that networks see (arXiv:2603.08802, Table 1), and their standardisation.

Each event becomes a row of tokens, padding last:

    class | reference vectors | jet | constituents

Every token has one four-vector and a row of scalars: the standardised features below (a
constituent's or the jet's, zero for the other kinds of token) and a one-hot of the token's kind.
The network's answer is read off the class token.
"""

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxpriors import kinematics
from jaxpriors.algebra import reference_multivectors
from jaxpriors.data.batching import Batch, spread_blocks
from jaxpriors.data.checks import check_inputs
from jaxpriors.data.stored import Sample
from jaxpriors.layers.core import module

CONSTITUENT_FEATURES = (
    "delta_eta_jet",
    "delta_phi_jet",
    "log_pt",
    "log_energy",
    "log_pt_over_jet_pt",
    "log_energy_over_jet_energy",
    "delta_r_jet",
    "identity",
)
JET_FEATURES = ("jet_pt", "jet_eta", "jet_mass", "multiplicity")
KINDS = ("class", "reference", "jet", "constituent")

# f(PID): one number for each identity, those of the EnergyFlow Z+jets samples, and another for
# all identities that are not listed.
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


@dataclass(frozen=True)
class InputConfig:
    """What a network sees of an event.

    features: "full" (Table 1) or "momenta" (four-vectors and token kinds alone).
    beam, time: the reference multivectors that break the Lorentz symmetry to the detector's:
        the beam direction(s), as two vectors or (``xyplane``, L-GATr only) as the plane across
        it, and the time direction.
    """

    features: Literal["full", "momenta"] = "full"
    beam: Beam = "lightlike"
    time: bool = True

    @property
    def scalars(self) -> int:
        """Number of scalars of each token."""
        features = len(CONSTITUENT_FEATURES) + len(JET_FEATURES) if self.features == "full" else 0
        return features + len(KINDS)

    def references(self) -> np.ndarray:
        """The reference multivectors, (R, 16)."""
        beam = None if self.beam == "none" else self.beam
        return np.asarray(reference_multivectors(beam, time=self.time))


@dataclass(frozen=True)
class Standardisation:
    """What was learnt of the training sample's inputs; travels with the weights.

    mean, std: of each of CONSTITUENT_FEATURES and JET_FEATURES. momentum_scale: GeV, one number
    for all components of all four-vectors, so that no symmetry is lost.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    momentum_scale: float

    @classmethod
    def fit(cls, events: Sample, sample: int = 100_000) -> "Standardisation":
        """From (at most ``sample``) events, spread over the whole of them, in float64.

        Raises InputError where a feature is not finite (a constituent along the beam axis).
        """
        blocks = []
        for batch in spread_blocks(events, sample):
            with np.errstate(divide="ignore", invalid="ignore"):  # found below, by name
                constituents, jets = _features(batch, np)
            valid = np.arange(batch.p4.shape[1]) < batch.length[:, None]
            blocks.append((constituents[valid], jets, np.asarray(batch.p4)[valid]))
        constituents, jets, momenta = (np.concatenate(parts) for parts in zip(*blocks, strict=True))
        columns = [*np.moveaxis(constituents, -1, 0), *np.moveaxis(jets, -1, 0)]
        check_inputs((*CONSTITUENT_FEATURES, *JET_FEATURES), columns)
        std = [float(np.std(c, dtype=np.float64)) for c in columns]
        return cls(
            mean=tuple(float(np.mean(c, dtype=np.float64)) for c in columns),
            std=tuple(s if s > 1e-6 else 1.0 for s in std),
            momentum_scale=float(np.sqrt(np.mean(momenta**2.0))),
        )

    def to_json(self) -> dict[str, Any]:
        """Plain lists and numbers."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "Standardisation":
        """The inverse of ``to_json``."""
        return cls(tuple(data["mean"]), tuple(data["std"]), float(data["momentum_scale"]))


@module
class Inputs:
    """Tokens of a batch of events; T = 1 + R + 1 + constituents.

    vectors (B, T, 4) in units of the momentum scale, zero for the class and reference tokens;
    references (R, 16), multivectors of tokens 1 … R; scalars (B, T, S); length (B,) real tokens.
    """

    vectors: Array
    references: Array
    scalars: Array
    length: Array


def build_inputs(batch: Batch, config: InputConfig, standardisation: Standardisation) -> Inputs:
    """Tokens of a batch; runs under jit. Padding is zero."""
    rows, width = batch.p4.shape[:2]
    references = jnp.asarray(config.references(), jnp.float32)
    fixed = 2 + len(references)  # class, references, jet
    valid = (jnp.arange(width) < batch.length[:, None])[..., None]

    vectors = jnp.concatenate(
        [
            jnp.zeros((rows, fixed - 1, 4)),
            batch.jet_p4[:, None] / standardisation.momentum_scale,
            jnp.where(valid, batch.p4 / standardisation.momentum_scale, 0.0),
        ],
        axis=1,
    )
    kinds = np.eye(len(KINDS), dtype=np.float32)
    kind = jnp.concatenate(
        [
            np.repeat(kinds[:-1], [1, len(references), 1], axis=0),
            jnp.broadcast_to(kinds[-1], (width, len(KINDS))),
        ]
    )
    scalars = jnp.broadcast_to(kind, (rows, *kind.shape))
    if config.features == "full":
        mean = jnp.asarray(standardisation.mean, jnp.float32)
        std = jnp.asarray(standardisation.std, jnp.float32)
        split = len(CONSTITUENT_FEATURES)
        constituents, jets = _features(batch, jnp)
        constituents = (constituents - mean[:split]) / std[:split]
        jets = (jets - mean[split:]) / std[split:]
        features = jnp.concatenate(
            [
                jnp.pad(jets[:, None], ((0, 0), (fixed - 1, 0), (split, 0))),
                jnp.pad(constituents, ((0, 0), (0, 0), (0, len(JET_FEATURES)))),
            ],
            axis=1,
        )
        scalars = jnp.concatenate([features, scalars], axis=-1)
    real = jnp.arange(fixed + width) < (batch.length + fixed)[:, None]
    scalars = jnp.where(real[..., None], scalars, 0.0)
    return Inputs(vectors, references, scalars, jnp.asarray(batch.length) + fixed)


def _features(batch: Batch, xp: Any) -> tuple[Any, Any]:
    """Raw features of constituents (B, P, 8) and jets (B, 4); padding holds harmless numbers."""
    valid = xp.arange(batch.p4.shape[1]) < batch.length[:, None]
    jet = batch.jet_p4[:, None]
    # padding takes the jet's own momentum: every logarithm and ratio below is finite
    p4 = xp.where(valid[..., None], batch.p4, jet)
    identity = xp.full(batch.pid.shape, OTHER_IDENTITY, xp.float32)
    for code, value in IDENTITY.items():
        identity = xp.where(batch.pid == code, xp.float32(value), identity)
    constituents = xp.concatenate([relative_kinematics(p4, jet, xp), identity[..., None]], axis=-1)
    jets = xp.stack(
        [
            kinematics.pt(batch.jet_p4, xp),
            kinematics.eta(batch.jet_p4, xp),
            kinematics.mass(batch.jet_p4, xp),
            batch.length.astype(xp.float32),
        ],
        axis=-1,
    )
    return constituents, jets


def relative_kinematics(p4: Any, jet: Any, xp: Any) -> Any:
    """(B, P, 7), the CONSTITUENT_FEATURES but the identity, of momenta p4 (B, P, 4).

    jet (B, P or 1, 4): that of each constituent.
    """
    jet_pt, pt = kinematics.pt(jet, xp), kinematics.pt(p4, xp)
    delta_eta = kinematics.eta(p4, xp) - kinematics.eta(jet, xp)
    delta_phi = kinematics.delta_phi(kinematics.phi(p4, xp), kinematics.phi(jet, xp), xp)
    return xp.stack(
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
