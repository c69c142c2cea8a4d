"""A background template from the sidebands: PET's generator of two-jet events (arXiv:2404.16091).

Two diffusion models train on events outside of the signal region, both conditioned on m_jj: one
generates the five features of both jets, the other the constituents of a jet from its features.
With the values of m_jj of the data in the signal region, they generate the background there. A
common factor near 1 then scales the jets and their constituents to the requested dijet mass.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from scipy import special

from jaxpriors.data import dijets
from jaxpriors.data.batching import Batch, TrainingBatches, plan_buckets, split
from jaxpriors.data.dijets import JET_COLUMNS, JETS
from jaxpriors.data.events import Events
from jaxpriors.data.weights import check_sum
from jaxpriors.errors import InputError
from jaxpriors.generation.diffusion import Sampler, perturb, sample
from jaxpriors.generation.jets import (
    GENERATED,
    Conditions,
    SamplingConfig,
    momenta,
    sample_features,
)
from jaxpriors.generation.pretraining import EVALUATION_SEED, ROWS, Rows
from jaxpriors.models.files import load_network, save_network
from jaxpriors.models.pet_dijet import PETTwoJetGenerator, PETTwoJetGeneratorConfig
from jaxpriors.physics import coordinates as col
from jaxpriors.physics import kinematics
from jaxpriors.physics.jet_features import FEATURES
from jaxpriors.preprocessing.clouds import DijetCloud, DijetCloudConfig
from jaxpriors.preprocessing.normalisation import NORMALISATION
from jaxpriors.preprocessing.registry import Preprocessing
from jaxpriors.ratio.examples import PARTS, check_trainable
from jaxpriors.run.forms import checked
from jaxpriors.run.storage import read_json, write_json
from jaxpriors.training.loop import Record, TrainingConfig, train
from jaxpriors.training.optimizers import OptimizerConfig
from jaxpriors.training.parallel import data_mesh, map_batches, map_rows, predict
from jaxpriors.training.step import Loss, Precision, by_rows

CONDITIONS = 2  # m_jj, standardised, and 1
SAMPLING = SamplingConfig()
_PT, _ETA, _PHI, _MASS, _NUMBER = range(len(JET_COLUMNS))
# size → network and training; "paper": those of OmniLearn for the LHC Olympics, on one device
NETWORKS: dict[str, PETTwoJetGeneratorConfig] = {
    "small": PETTwoJetGeneratorConfig(
        hidden_channels=48,
        num_layers=3,
        neighbours=5,
        layer_scale=0.1,
        feature_drop=0.0,
        num_jet_layers=3,
    ),
    "paper": PETTwoJetGeneratorConfig(feature_drop=0.0),
}
TRAINING: dict[str, TrainingConfig] = {
    "small": TrainingConfig(
        OptimizerConfig("adamw", 2e-3, 0.01, warmup=0.05, clip=1.0),
        batch_size=256,
        epochs=20,
        buckets=2,
        ema=0.99,
    ),
    "paper": TrainingConfig(
        OptimizerConfig(
            "lion",
            3e-5,
            1e-5,
            warmup=10 / 99,
            cosine=1.0,
            initial_rate=1.0,
            clip=1.0,
            betas=(0.95, 0.97),
            decay_all=True,
        ),
        batch_size=128,
        epochs=99,
        patience=40,
        ema=0.999,
    ),
}


@dataclass(frozen=True)
class TemplateConfig:
    """Configure a generator: its network, inputs and training.

    inputs.constituents: how many of each jet to generate, the hardest. validation: share of the
    events that select the best epoch.
    """

    network: PETTwoJetGeneratorConfig = NETWORKS["small"]
    inputs: DijetCloudConfig = field(default_factory=DijetCloudConfig)
    training: TrainingConfig = TRAINING["small"]
    validation: float = 0.1

    def __post_init__(self) -> None:
        wanted = len(FEATURES), len(JET_COLUMNS), CONDITIONS, GENERATED
        network = self.network
        found = network.num_features, network.num_jet_features, network.num_classes
        if (*found, network.num_diffusion) != wanted or network.mode != "masked":
            raise InputError(
                "network: found (features, jet features, conditions, generated features) = "
                f"{(*found, network.num_diffusion)} in mode {network.mode!r}, expected {wanted} in "
                "mode 'masked'"
            )


@dataclass(frozen=True)
class DijetGenerator:
    """Hold a trained generator and all that it needs. least_pt: GeV, of constituents."""

    network: PETTwoJetGenerator
    preprocessing: Preprocessing[DijetCloudConfig]
    least_pt: float

    def save(self, folder: Path) -> None:
        """Write ``network.safetensors`` and ``model.json``."""
        folder.mkdir(parents=True, exist_ok=True)
        save_network(folder / "network.safetensors", self.network)
        content = self.preprocessing.to_json() | {"least_pt": self.least_pt}
        write_json(folder / "model.json", content)

    @classmethod
    def load(cls, folder: Path) -> DijetGenerator:
        """Load the generator that ``save`` wrote; raise InputError for other files."""
        place = str(folder / "model.json")
        content = read_json(folder / "model.json")
        preprocessing = Preprocessing.from_json(content, place)
        least = checked(content.get("least_pt"), float, f"{place}: least_pt")
        network = load_network(folder / "network.safetensors")
        kind = preprocessing.config.KIND
        if not isinstance(network, PETTwoJetGenerator) or kind != DijetCloudConfig.KIND:
            raise InputError(
                f"{folder}: found {type(network).__name__}, expected a generator of two-jet events"
            )
        return cls(network, preprocessing, least)


def dijet_terms(
    network: PETTwoJetGenerator,
    cloud: DijetCloud,
    times: tuple[Array, Array],
    noises: tuple[Array, Array],
    constituents: float,
    key: Array | None = None,
) -> dict[str, Array]:
    """Give the errors of the two velocities, "jets" and "constituents", (B,) each.

    times: (B,) of the jets and (B, 2) of their constituents; noises (B, 2, 5) and (B, 2, P, 3).
    ``constituents``, the mean number in a jet, divides the error of the constituents.
    """
    keys = (None, None) if key is None else jax.random.split(key)
    label = jnp.stack([cloud.mass, jnp.ones_like(cloud.mass)], axis=-1)
    noisy, velocity = perturb(cloud.jets, noises[0], times[0])
    found = network.jet_velocity(noisy, times[0], label, key=keys[0])
    of_jets = jnp.square(found - velocity).mean((1, 2))

    def flat(x: Array) -> Array:
        return x.reshape(-1, *x.shape[2:])

    mask = flat(cloud.mask)
    real = mask[..., None].astype(cloud.features.dtype)
    time = flat(times[1])
    noisy, velocity = perturb(flat(cloud.features)[..., :GENERATED], flat(noises[1]) * real, time)
    rest = cloud.features.shape[-1] - GENERATED
    noisy = jnp.pad(noisy, ((0, 0), (0, 0), (0, rest)))
    given = flat(cloud.jets), time, jnp.repeat(label, JETS, axis=0)
    found = network.velocity(noisy, mask, *given, key=keys[1])[..., :GENERATED]
    error = (jnp.square(found - velocity) * real).sum((1, 2)) / (GENERATED * constituents)
    return {"jets": of_jets, "constituents": error.reshape(-1, JETS).sum(1)}


def _drawn(key: Array, cloud: DijetCloud, step: float) -> tuple[DijetCloud, Any, Any]:
    """Draw times and noises; spread the multiplicities over their rounding, ``step`` wide."""
    keys = jax.random.split(key, 5)
    shape = cloud.mask.shape
    times = jax.random.uniform(keys[0], shape[:1]), jax.random.uniform(keys[1], shape[:2])
    noises = (
        jax.random.normal(keys[2], cloud.jets.shape),
        jax.random.normal(keys[3], (*shape, GENERATED)),
    )
    spread = jax.random.uniform(keys[4], shape[:2], minval=-0.5, maxval=0.5) * step
    jets = cloud.jets.at[..., _NUMBER].add(spread)
    return dataclasses.replace(cloud, jets=jets), times, noises


@lru_cache(maxsize=8)
def make_dijet_loss(
    preprocessing: Preprocessing, constituents: float, precision: Precision
) -> Loss:
    """Make the loss of a batch: Σ weight × (error of the jets + error of the constituents)."""
    step = 1 / preprocessing.standardisation.std[_NUMBER]

    def loss(network: PETTwoJetGenerator, batch: Batch, key: Array) -> Array:
        draw_key, drop_key = jax.random.split(key)
        cloud, times, noises = _drawn(draw_key, preprocessing(batch), step)
        with precision.products():
            errors = dijet_terms(network, cloud, times, noises, constituents, drop_key)
        return (batch.weight * (errors["jets"] + errors["constituents"])).sum()

    return by_rows(loss)


@lru_cache(maxsize=8)
def make_dijet_forward(
    preprocessing: Preprocessing, constituents: float, precision: Precision
) -> Callable[[Any, Rows], dict[str, Array]]:
    """Make f(network, (batch, number (B,))): ``dijet_terms`` with noise given by the number."""
    step = 1 / preprocessing.standardisation.std[_NUMBER]

    def forward(network: PETTwoJetGenerator, rows: Rows) -> dict[str, Array]:
        batch, number = rows
        cloud = preprocessing(batch)

        def one(number: Array, cloud: DijetCloud) -> Any:
            key = jax.random.fold_in(jax.random.key(EVALUATION_SEED), number)
            single = jax.tree.map(lambda x: x[None], cloud)
            return jax.tree.map(lambda x: x[0], _drawn(key, single, step))

        cloud, times, noises = jax.vmap(one)(number, cloud)
        with precision.products():
            return dijet_terms(network, cloud, times, noises, constituents)

    return map_rows(forward)


def fit_generator(
    sidebands: Events,
    config: TemplateConfig,
    folder: Path,
    progress: Callable[[Record], None] = lambda record: None,
) -> DijetGenerator:
    """Train on events outside of the signal region; resume an earlier call that was killed.

    The network is the moving average at the end of the best epoch, where the training keeps one.
    Raises InputError for events that are not of two jets or cannot be trained on.
    """
    dijets.check(sidebands, "sidebands")
    total = check_trainable(sidebands, "sidebands")
    training = config.training
    least = float(kinematics.pt(sidebands.p4.astype(np.float64)).min())
    shares = (1 - config.validation, config.validation)
    events = dataclasses.replace(config.inputs.select(sidebands), label=None)
    index = split(len(events), shares, training.seed)
    for part, chosen in zip(PARTS, index, strict=True):
        check_sum("sidebands", sidebands.weight[chosen], part)
    events = events.with_weight(events.weight * (len(events) / total))
    on, validated = (events[chosen] for chosen in index)
    preprocessing = Preprocessing(config.inputs, config.inputs.learn(on))
    constituents = float(on.multiplicity.mean() / JETS)
    buckets = plan_buckets(on.multiplicity, training.buckets)
    forward = make_dijet_forward(preprocessing, constituents, training.precision)

    def validation_loss(network: PETTwoJetGenerator) -> float:
        found = predict(forward, network, validated, buckets.lengths, ROWS, numbered=True)
        total = found["jets"] + found["constituents"]
        return float(validated.weight @ total / validated.weight.sum())

    trained = train(
        PETTwoJetGenerator.init(jax.random.key(training.seed), config.network),
        make_dijet_loss(preprocessing, constituents, training.precision),
        TrainingBatches(on, buckets, training.batch_size, training.seed),
        validation_loss,
        training,
        folder,
        progress,
        identity=f"{config!r} on {on.digest()}, {validated.digest()}",
    )
    network = trained.params if trained.average is None else trained.average
    return DijetGenerator(network, preprocessing, least)


@dataclass(frozen=True)
class GeneratedDijets:
    """Hold generated events, the scale factor (n,) of each, and the number of raised constituents.

    A raised constituent had a pT below the smallest of the sidebands, and gets that pT.
    """

    events: Events
    scale: np.ndarray
    raised: int


def generate_dijets(
    generator: DijetGenerator,
    mass: np.ndarray,
    config: SamplingConfig = SAMPLING,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> GeneratedDijets:
    """Generate one event for each dijet mass (n,), in GeV; ``progress(done, total)`` in jets.

    Raises FloatingPointError for samples that are not finite.
    """
    learnt = generator.preprocessing.standardisation
    mean, std = np.asarray(learnt.mean), np.asarray(learnt.std)
    given = (np.asarray(mass, np.float64) - mean[-1]) / std[-1]
    label = np.stack([given, np.ones(len(given))], axis=-1)
    jets = _sample_jets(generator.network, label, config) * std[:-1] + mean[:-1]
    jets[..., _PHI] = np.pi * (2 * special.ndtr(jets[..., _PHI]) - 1)
    for place, least in ((_PT, 1.0), (_MASS, 0.0), (_NUMBER, 1.0)):
        jets[..., place] = np.maximum(jets[..., place], least)
    jets[..., _NUMBER] = np.round(jets[..., _NUMBER])
    jets = jets.reshape(-1, len(JET_COLUMNS))
    most = generator.preprocessing.config.constituents
    counts = jets[:, _NUMBER].astype(np.int64)
    held = counts if most is None else np.minimum(counts, most)

    standard = jets.copy()
    standard[:, _PHI] = special.ndtri(np.clip(0.5 * (1 + jets[:, _PHI] / np.pi), 1e-6, 1 - 1e-6))
    standard = (standard - mean[:-1]) / std[:-1]
    wanted = np.repeat(label, JETS, axis=0)
    features = sample_features(generator.network, held, standard, wanted, config, progress)
    scales = NORMALISATION[generator.preprocessing.config.normalisation].constituents()
    conditions = Conditions(
        jet=np.column_stack([jets[:, _PT], jets[:, _ETA], jets[:, _MASS], held]),
        phi=jets[:, _PHI],
        label=np.zeros(len(jets), np.int32),
        weight=np.ones(len(jets)),
        least_pt=generator.least_pt,
    )
    p4, raised = momenta(features * scales[1][:GENERATED] + scales[0][:GENERATED], conditions)
    kinematic = jets[:, [_PT, _ETA, _PHI, _MASS]]
    jet_p4 = col.to_cartesian(kinematic, "pt,eta,phi,m")
    total = kinematics.mass(jet_p4.reshape(-1, JETS, 4).sum(1))
    scale = np.asarray(mass, np.float64) / np.maximum(total, 1e-3)
    each = np.repeat(scale, JETS)
    p4 = p4 * np.repeat(each, held)[:, None]
    if not np.isfinite(p4).all() or not np.isfinite(jet_p4).all():
        raise FloatingPointError("the generator's samples give momenta that are not finite")
    pairs = Events(
        p4=p4,
        pid=np.zeros(len(p4), np.int32),
        offsets=col.offsets_of(held),
        jet_p4=jet_p4 * each[:, None],
        weight=np.ones(len(jets)),
    )
    events = dijets.dijets(pairs.sorted_by_pt(), counts, label=np.zeros(len(given), np.int32))
    return GeneratedDijets(events.validate(), scale, raised)


def _sample_jets(
    network: PETTwoJetGenerator, label: np.ndarray, config: SamplingConfig
) -> np.ndarray:
    """Sample standardised features (n, 2, 5) float64 of both jets, for labels (n, 2)."""
    shape = (len(label), JETS, len(JET_COLUMNS))
    noise = np.random.default_rng([config.seed, 1]).standard_normal(shape, np.float32)
    mesh = data_mesh()
    rows = -(-max(min(config.batch_size, len(label)), 1) // mesh.size) * mesh.size
    found = np.empty(shape)
    starts = range(0, len(label), rows)
    chosen = (np.resize(np.arange(i, min(i + rows, len(label))), rows) for i in starts)
    batches = ((index, (noise[index], label[index].astype(np.float32))) for index in chosen)
    sampled = partial(_jets_of, steps=config.steps, sampler=config.sampler)
    for index, samples in map_batches(sampled, network, batches, mesh):
        found[index] = samples
    return found


@partial(jax.jit, static_argnames=("steps", "sampler"))
def _jets_of(
    network: PETTwoJetGenerator, rows: tuple[Array, Array], steps: int, sampler: Sampler
) -> Array:
    """Sample standardised features (B, 2, 5) for rows of (noise, label)."""
    noise, label = rows

    def velocity(x: Array, t: Array) -> Array:
        with Precision().products():
            return network.jet_velocity(x, t, label)

    return sample(velocity, noise, steps, sampler)
