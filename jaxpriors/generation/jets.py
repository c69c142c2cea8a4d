"""Generation of jets by PET, given the class and the kinematics of each jet.

OmniLearn's generator (arXiv:2404.16091) makes the constituents of a jet from its class, pT, η, mass
and number of constituents. The diffusion gives three features of each constituent, Δη, Δφ and
log(1 − pT/pT_jet), which become massless four-momenta. It generates no identities.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxpriors.data.batching import plan_buckets
from jaxpriors.data.events import Events
from jaxpriors.errors import InputError
from jaxpriors.generation.diffusion import EVALUATIONS, Sampler, sample
from jaxpriors.models.files import load_network
from jaxpriors.models.pet import PET
from jaxpriors.models.pet_dijet import PETTwoJetGenerator
from jaxpriors.physics import kinematics
from jaxpriors.physics.jet_features import JET_FEATURES, LEAST_REMAINDER
from jaxpriors.preprocessing.clouds import PointCloudConfig
from jaxpriors.preprocessing.normalisation import NORMALISATION
from jaxpriors.preprocessing.registry import Preprocessing
from jaxpriors.preprocessing.standardisation import Standardisation
from jaxpriors.run.ranges import LARGEST_BATCH, MOST_NETWORKS, check_whole
from jaxpriors.run.storage import read_json
from jaxpriors.training.parallel import data_mesh, map_batches
from jaxpriors.training.step import Precision

GENERATED = 3
"""Features that are generated, the first of ``physics.jet_features.FEATURES``."""
OMNILEARN_LENGTH = 150
"""Padded length in OmniLearn's trainings, on which the outputs of its networks depend."""
NETWORKS = ("network-ema.safetensors", "network.safetensors")
"""The networks of a run's folder, the preferred one first."""


@dataclass(frozen=True)
class SamplingConfig:
    """Configure the sampling. steps: of the sampler; batch_size: jets at a time."""

    sampler: Sampler = "dpm-solver++"
    steps: int = 100
    batch_size: int = 256
    seed: int = 0

    def __post_init__(self) -> None:
        check_whole("steps", self.steps, 1, MOST_NETWORKS)
        check_whole("batch_size", self.batch_size, 1, LARGEST_BATCH)
        check_whole("seed", self.seed, 0)
        if self.sampler not in EVALUATIONS:
            known = ", ".join(EVALUATIONS)
            raise InputError(f"sampler: found {self.sampler!r}, expected one of {known}")


@dataclass(frozen=True)
class Conditions:
    """Hold the conditions of n jets.

    jet (n, 4) float64: pT (GeV), η, mass (GeV), number of constituents. phi (n,), label (n,)
    class, weight (n,). least_pt: smallest pT of a constituent in GeV.
    """

    jet: np.ndarray
    phi: np.ndarray
    label: np.ndarray
    weight: np.ndarray
    least_pt: float

    def __len__(self) -> int:
        return len(self.phi)

    @property
    def multiplicity(self) -> np.ndarray:
        """Give the number of constituents, (n,) int64."""
        return self.jet[:, 3].astype(np.int64)


def conditions_like(events: Events, number: int, seed: int) -> Conditions:
    """Draw the conditions of ``number`` jets of a labelled sample, with their weights.

    Every jet occurs once before one occurs again. The softest constituent of the sample sets
    ``least_pt``.

    Raises InputError where there is no jet or no label.
    """
    if len(events) == 0 or events.label is None:
        raise InputError(
            f"conditions: found {len(events)} jets with{'out' if events.label is None else ''} "
            "labels, expected at least one, labelled"
        )
    rng = np.random.default_rng([seed, len(events)])
    rounds = -(-number // len(events))
    index = np.concatenate([rng.permutation(len(events)) for _ in range(rounds)])[:number]
    p4 = events.jet_p4[index].astype(np.float64)
    columns = kinematics.pt(p4), kinematics.eta(p4), kinematics.mass(p4), events.multiplicity[index]
    return Conditions(
        jet=np.stack(columns, axis=-1),
        phi=kinematics.phi(p4),
        label=events.label[index],
        weight=events.weight[index],
        least_pt=float(kinematics.pt(events.p4.astype(np.float64)).min()),
    )


def normal_conditions(learnt: Standardisation, labels: np.ndarray, seed: int) -> Conditions:
    """Draw conditions without a sample: jets with independent normal features.

    Means and widths are those of the training sample, except that pT, mass and the number of
    constituents stay above a tenth of their means (one constituent at least). They are a surrogate,
    without correlations and differences between classes. labels (n,).
    """
    rng = np.random.default_rng([seed, len(labels)])
    mean, std = np.asarray(learnt.mean), np.asarray(learnt.std)
    jet = rng.normal(mean, std, (len(labels), len(JET_FEATURES)))
    positive = [0, 2, 3]
    jet[:, positive] = np.maximum(jet[:, positive], mean[positive] / 10)
    jet[:, 3] = np.maximum(np.round(jet[:, 3]), 1)
    return Conditions(
        jet=jet,
        phi=rng.uniform(-np.pi, np.pi, len(labels)),
        label=labels,
        weight=np.ones(len(labels)),
        least_pt=float(mean[0] * LEAST_REMAINDER),
    )


@dataclass(frozen=True)
class Generator:
    """Hold a PET with a generator head and all that it needs to make events."""

    network: PET
    preprocessing: Preprocessing[PointCloudConfig]
    source: str = field(default="", compare=False)

    @classmethod
    def load(cls, path: str | Path, normalisation: str = "jetclass") -> Generator:
        """Load the folder of a trained model, or the file of a ported network.

        From a folder it takes the averaged network, where there is one. A file has no
        preprocessing: ``normalisation`` names the row of ``NORMALISATION`` of its training.

        Raises InputError for other files, and for a network that cannot generate.
        """
        path = Path(path)
        if path.is_dir():
            path = path / "model" if (path / "model" / "model.json").exists() else path
            model = path / "model.json"
            preprocessing = Preprocessing.from_json(read_json(model), str(model))
            file = next((path / n for n in NETWORKS if (path / n).exists()), path / NETWORKS[-1])
        else:
            if normalisation not in NORMALISATION:
                raise InputError(
                    f"normalisation: found {normalisation!r}, expected one of {list(NORMALISATION)}"
                )
            row, file = NORMALISATION[normalisation], path
            preprocessing = Preprocessing(
                PointCloudConfig(normalisation), Standardisation(row.jet_mean, row.jet_std)
            )
        network = load_network(file)
        if not isinstance(network, PET) or network.gen is None:
            what = type(network).__name__
            raise InputError(f"{file}: found {what} without a generator, expected a PET with one")
        if not isinstance(preprocessing.config, PointCloudConfig):
            raise InputError(
                f"{path}: is trained on {preprocessing.config.KIND}, expected on point clouds"
            )
        found = network.config.num_diffusion, network.config.num_jet_features
        if found != (GENERATED, len(JET_FEATURES)):
            raise InputError(
                f"{file}: generates {found[0]} features from {found[1]} of the jet, expected "
                f"{GENERATED} from {len(JET_FEATURES)}"
            )
        return cls(network, preprocessing, str(file))

    @property
    def classes(self) -> int:
        """Give the number of classes that it can generate."""
        return self.network.config.num_classes


@dataclass(frozen=True)
class GeneratedJets:
    """Hold generated events, and the number of constituents raised to the least pT."""

    events: Events
    raised: int


def generate_jets(
    generator: Generator,
    conditions: Conditions,
    config: SamplingConfig = SamplingConfig(),
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> GeneratedJets:
    """Generate one jet for each condition, in their order; ``progress(done, total)`` in jets.

    Constituents are sorted by falling pT, jets are their sums, and the conditions become the
    columns ``condition_<jet feature>``. The batch size only changes the rounding.

    Raises:
        InputError: a class that the network does not have, or a jet without constituents.
        FloatingPointError: samples that are not finite.
    """
    label, multiplicity = conditions.label, conditions.multiplicity
    if len(label) and not 0 <= label.min() <= label.max() < generator.classes:
        raise InputError(
            f"class: found {label.min()} to {label.max()}, expected 0 to {generator.classes - 1}"
        )
    if multiplicity.min(initial=1) < 1:
        raise InputError(f"multiplicity: found {multiplicity.min()}, expected at least 1")
    learnt = generator.preprocessing.standardisation
    jet = (conditions.jet - learnt.mean) / learnt.std
    wanted = np.eye(generator.classes)[label]
    features = sample_features(generator.network, multiplicity, jet, wanted, config, progress)
    mean, std = NORMALISATION[generator.preprocessing.config.normalisation].constituents()
    p4, raised = momenta(features * std[:GENERATED] + mean[:GENERATED], conditions)
    bad = np.flatnonzero(~np.isfinite(p4).all(axis=-1))
    if len(bad):
        first = int(np.repeat(np.arange(len(label)), multiplicity)[bad[0]])
        raise FloatingPointError(
            f"the network's samples give {len(bad)} of {len(p4)} constituents momenta that are not "
            f"finite, the first in jet {first}"
        )
    names = [f"condition_{name}" for name in JET_FEATURES]
    events = Events.from_flat(
        p4,
        multiplicity,
        weight=conditions.weight,
        label=label,
        columns=dict(zip(names, conditions.jet.T, strict=True)),
    )
    return GeneratedJets(events.sorted_by_pt(), raised)


def sample_features(
    network: PET | PETTwoJetGenerator,
    multiplicity: np.ndarray,
    jet: np.ndarray,
    label: np.ndarray,
    config: SamplingConfig,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> np.ndarray:
    """Sample normalised features (total, 3) float64 of the constituents of n jets in order.

    multiplicity (n,); jet (n, J), standardised features; label (n, Y), the condition of the
    network.
    """
    offsets = np.concatenate([[0], np.cumsum(multiplicity)])
    noise = np.random.default_rng(config.seed).standard_normal((offsets[-1], GENERATED), np.float32)
    jet, label = jet.astype(np.float32), label.astype(np.float32)
    mesh = data_mesh()
    rows = -(-max(min(config.batch_size, len(jet)), 1) // mesh.size) * mesh.size

    def batches() -> Iterator[tuple[tuple[int, np.ndarray, np.ndarray], Any]]:
        for index, length in _batches(multiplicity, rows, network.config.mode):
            chosen = np.resize(index, rows)  # the last batch is filled up with some jets once more
            valid = np.arange(length) < multiplicity[chosen, None]
            flat = np.where(valid, offsets[chosen, None] + np.arange(length), 0)
            start = np.where(valid[..., None], noise[flat], 0)
            yield (len(index), flat, valid), (start, valid, jet[chosen], label[chosen])

    features = np.full((offsets[-1], GENERATED), np.nan)
    done = 0
    sampled = partial(_samples, steps=config.steps, sampler=config.sampler)
    for (number, flat, valid), samples in map_batches(sampled, network, batches(), mesh):
        features[flat[valid]] = samples[valid]
        done += number
        progress(done, len(jet))
    return features


def momenta(features: np.ndarray, conditions: Conditions) -> tuple[np.ndarray, int]:
    """Give (E, px, py, pz) in GeV of massless constituents, (total, 4) float32.

    features (total, 3) of all jets in order: Δη, Δφ, log(1 − pT/pT_jet), as in
    `jet_features.raw_features`. A pT below the ``least_pt`` of the conditions, perhaps negative, is
    raised to it; the second result counts these. Momenta too large for float32 become infinite,
    infinite features give NaN.
    """
    jet = np.repeat(
        np.column_stack([conditions.jet[:, :2], conditions.phi]), conditions.multiplicity, axis=0
    )
    remainder = np.exp(np.minimum(features[:, 2], 1.0))  # the pT is negative well below 1
    pt = (1 + LEAST_REMAINDER - remainder) * jet[:, 0]
    raised = int(np.sum(pt < conditions.least_pt))
    pt = np.maximum(pt, conditions.least_pt)
    eta, phi = jet[:, 1] + features[:, 0], jet[:, 2] + features[:, 1]
    with np.errstate(over="ignore", invalid="ignore"):
        p4 = [pt * np.cosh(eta), pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta)]
        return np.stack(p4, axis=-1).astype(np.float32), raised


def _batches(multiplicity: np.ndarray, rows: int, mode: str) -> Iterator[tuple[np.ndarray, int]]:
    """Yield indices of jets and padded lengths; one length where padding changes the outputs."""
    longest = int(multiplicity.max(initial=0))
    lengths: tuple[int, ...] = (max(OMNILEARN_LENGTH, longest),)
    if mode == "masked" and len(multiplicity):
        lengths = plan_buckets(multiplicity).lengths
    bucket = np.searchsorted(lengths, multiplicity)
    for number, length in enumerate(lengths):
        members = np.flatnonzero(bucket == number)
        for start in range(0, len(members), rows):
            yield members[start : start + rows], length


@partial(jax.jit, static_argnames=("steps", "sampler"))
def _samples(
    network: PET | PETTwoJetGenerator,
    rows: tuple[Array, Array, Array, Array],
    steps: int,
    sampler: Sampler,
) -> Array:
    """Sample normalised features (B, P, 3), zero on padding.

    rows: noise (B, P, 3), mask (B, P), jet (B, J) and label (B, Y).
    """
    noise, mask, jet, label = rows
    rest = ((0, 0), (0, 0), (0, network.config.num_features - GENERATED))

    def velocity(x: Array, t: Array) -> Array:
        with Precision().products():
            v = network.velocity(jnp.pad(x, rest), mask, jet, t, label)
        return jnp.where(mask[..., None], v[..., :GENERATED], 0)

    return sample(velocity, noise, steps, sampler)
