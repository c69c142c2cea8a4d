"""Pretraining of PET on labelled jets; the objective is that of `jaxpriors.methods.objective`."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
from jax import Array

from jaxpriors import processes
from jaxpriors.data.batching import Batch, TrainingBatches, plan_buckets, prediction_batches
from jaxpriors.data.splitting import split
from jaxpriors.data.stored import Sample
from jaxpriors.errors import InputError
from jaxpriors.evaluation.metrics import auc_one_vs_one
from jaxpriors.evaluation.plots import save_figure, training_figure
from jaxpriors.features import PointCloudConfig, PointCloudStandardisation
from jaxpriors.methods.objective import Mode, objective, terms
from jaxpriors.models.pet import PET, PETConfig
from jaxpriors.models.presets import preset
from jaxpriors.porting.networks import save_network
from jaxpriors.preprocessing import PointCloudPreprocessing, preprocessing_to_json
from jaxpriors.training.checkpoints import count_parameters
from jaxpriors.training.loop import Record, TrainingConfig, train
from jaxpriors.training.optimizers import OptimizerConfig
from jaxpriors.training.parallel import data_mesh, map_rows, replicate, shard_rows
from jaxpriors.training.precision import Precision
from jaxpriors.training.runs import environment, write_json, write_lines
from jaxpriors.training.step import Loss, by_rows

HEADS: dict[str, tuple[str, ...]] = {
    "all": ("cls", "gen"),
    "classifier": ("cls",),
    "generator": ("gen",),
}
PARTS = ("train", "validation", "test")
EVALUATION_SEED = 20240
FEATURE_DROP = 0.1  # of events lose their identities, so that samples without them are known too

# size → how PET is trained; "paper": the published settings of OmniLearn, on one device
TRAINING: dict[str, TrainingConfig] = {
    "small": TrainingConfig(
        OptimizerConfig("adamw", 2e-3, 0.01, warmup=0.05, clip=1.0),
        batch_size=256,
        epochs=6,
        buckets=3,
        ema=0.999,
    ),
    "paper": TrainingConfig(
        OptimizerConfig(
            "lion",
            3e-5,
            1e-5,
            warmup=0.015,
            initial_rate=1.0,
            betas=(0.95, 0.99),
            decay_all=True,
        ),
        batch_size=256,
        epochs=20,
        patience=6,
        ema=0.999,
    ),
}


@dataclass(frozen=True)
class Pretraining:
    """What is trained and how; network and training None: those of the size.

    mode: the whole objective, or one head and its unperturbed or its diffusion part alone.
    fractions: shares of the events to train on, to validate on and to test with.
    """

    size: Literal["small", "paper"] = "small"
    mode: Mode = "all"
    inputs: PointCloudConfig = field(default_factory=PointCloudConfig)
    network: PETConfig | None = None
    training: TrainingConfig | None = None
    fractions: tuple[float, float, float] = (0.85, 0.05, 0.1)

    def resolved(self, classes: int) -> "Pretraining":
        """The same with everything filled in, for so many classes."""
        if self.mode not in HEADS:
            raise InputError(f"mode: found {self.mode!r}, expected one of {sorted(HEADS)}")
        network = self.network
        if network is None:
            size = preset("pet", self.size)
            assert isinstance(size, PETConfig)
            network = dataclasses.replace(size, feature_drop=FEATURE_DROP)
        network = dataclasses.replace(network, num_classes=classes)
        training = self.training or TRAINING[self.size]
        return dataclasses.replace(self, network=network, training=training)


def make_loss(
    preprocessing: PointCloudPreprocessing, constituents: float, config: Pretraining
) -> Loss:
    """The loss for `jaxpriors.training.step`: Σ over rows of weight × objective.

    Every event's term is its own: the sum over a batch is that over its chunks. Times are uniform
    in [0, 1] and the noise is normal, of the step's key.
    """
    assert config.training is not None and config.network is not None
    precision, diffused = config.training.precision, config.network.num_diffusion
    classes, mode = config.network.num_classes, config.mode

    def loss(network: PET, batch: Batch, key: Array) -> Array:
        time_key, noise_key, drop_key = jax.random.split(key, 3)
        cloud = preprocessing(batch)
        label = jax.nn.one_hot(batch.label.astype("int32"), classes)
        time = jax.random.uniform(time_key, cloud.mask.shape[:1])
        noise = jax.random.normal(noise_key, (*cloud.mask.shape, diffused))
        with precision.products():
            parts = terms(
                network, cloud, label, time, noise, constituents, mode, precision, drop_key
            )
        return (batch.weight * objective(parts, time)).sum()

    return by_rows(loss)


Rows = tuple[Batch, Array]
Forward = Callable[[Any, Rows], dict[str, Array]]


@lru_cache(maxsize=8)
def make_forward(
    preprocessing: PointCloudPreprocessing, constituents: float, config: Pretraining
) -> Forward:
    """f(network, (batch, number (B,))): each event's terms and "objective" without drops, (B,).

    Time and noise follow from the event's number, so that every evaluation has the same.
    """
    assert config.training is not None and config.network is not None
    precision, diffused = config.training.precision, config.network.num_diffusion
    classes, mode = config.network.num_classes, config.mode

    def forward(network: PET, rows: Rows) -> dict[str, Array]:
        batch, number = rows
        cloud = preprocessing(batch)
        label = jax.nn.one_hot(batch.label.astype("int32"), classes)

        def draw(number: Array) -> tuple[Array, Array]:
            key = jax.random.fold_in(jax.random.key(EVALUATION_SEED), number)
            time_key, noise_key = jax.random.split(key)
            shape = (cloud.mask.shape[1], diffused)
            return jax.random.uniform(time_key), jax.random.normal(noise_key, shape)

        time, noise = jax.vmap(draw)(number)
        with precision.products():
            parts = terms(network, cloud, label, time, noise, constituents, mode, precision)
        return parts | {"objective": objective(parts, time)}

    return map_rows(forward)


@lru_cache(maxsize=8)
def make_probabilities(preprocessing: PointCloudPreprocessing, precision: Precision) -> Forward:
    """f(network, (batch, number)): "probabilities" (B, Y) float32 of the classes."""

    def forward(network: PET, rows: Rows) -> dict[str, Array]:
        batch, _ = rows
        cloud = precision.to_compute(preprocessing(batch))
        classify = precision.to_compute(network).classify
        with precision.products():
            logits, _ = classify(cloud.features, cloud.mask, cloud.jet)
        return {"probabilities": jax.nn.softmax(logits.astype("float32"))}

    return map_rows(forward)


def over_events(
    forward: Forward, network: Any, events: Sample, lengths: tuple[int, ...], rows: int = 128
) -> dict[str, np.ndarray]:
    """``forward`` of every event, in the events' order: name → (n, …) float64.

    Events longer than all ``lengths`` get a length of their own, so that none is cut. Several
    processes share the events out and all get the whole result.

    Raises FloatingPointError for a result that is not finite, naming the first such event.
    """
    mesh = data_mesh()
    network = replicate(network, mesh)
    longest = int(events.multiplicity.max(initial=0))
    own = (longest,) if longest > lengths[-1] else ()
    rows = max(rows // mesh.size, 1) * mesh.size
    numbers = processes.share(len(events))
    mine = events if len(numbers) == len(events) else events[numbers]
    result: dict[str, np.ndarray] = {}
    for index, batch in prediction_batches(mine, (*lengths, *own), rows):
        number = np.resize(numbers[index], rows).astype(np.int32)
        for name, found in forward(network, shard_rows((batch, number), mesh)).items():
            values = np.asarray(found, np.float64)[: len(index)]
            empty = np.full((len(mine), *values.shape[1:]), np.nan)
            result.setdefault(name, empty)[index] = values
    result = {name: processes.merged(result[name], len(events)) for name in sorted(result)}
    for name, values in result.items():
        bad = np.flatnonzero(~np.isfinite(values.reshape(len(values), -1)).all(1))
        if len(bad):
            raise FloatingPointError(
                f"{name} is not finite for {len(bad)} of {len(events)} events, first event {bad[0]}"
            )
    return result


def prepare(events: Sample, config: Pretraining) -> tuple[dict[str, Sample], Pretraining]:
    """The events shared out into ``PARTS``, weights of mean 1, and the configuration filled in.

    Raises InputError for events without labels 0 … Y − 1, for a part that lacks one of them, for
    weights without a positive sum and for momenta without direction in the transverse plane.
    """
    if events.label is None:
        raise InputError("label: the sample has none; expected the class of each event, from 0")
    classes = int(events.label.max(initial=0)) + 1
    found = np.unique(events.label)
    if classes < 2 or not np.array_equal(found, np.arange(classes)):
        raise InputError(f"label: found {found.tolist()}, expected 0 … Y − 1, two at least")
    total = float(events.weight.sum())
    if not total > 0:
        raise InputError(f"weight: the sum is {total:g}, expected a positive number")
    for what, bad in events.undirected().items():
        if bad:
            raise InputError(f"found {bad} {what} with pT or E of 0, expected none")
    config = config.resolved(classes)
    assert config.training is not None
    events = events.with_weight(events.weight * (len(events) / total)).with_columns(())
    shares = split(len(events), config.fractions, config.training.seed)
    parts = {name: events[index] for name, index in zip(PARTS, shares, strict=True)}
    for name, part in parts.items():
        assert part.label is not None
        lacking = sorted({*range(classes)} - {*part.label.tolist()})
        if lacking:
            raise InputError(f"{len(events)} events leave none of {lacking} for {name}; give more")
        if not part.weight.sum() > 0:
            raise InputError(
                f"weight: the sum over the events for {name} is {part.weight.sum():g}, expected a "
                "positive number; give more events"
            )
    return parts, config


def pretrain(
    parts: dict[str, Sample],
    config: Pretraining,
    folder: str | Path,
    progress: Callable[[Record], None] = lambda record: None,
) -> dict[str, Any]:
    """Train on what ``prepare`` gives; write model, figures and metrics into a run's folder.

    ``model/`` holds ``network.safetensors`` (the epoch with the least validation loss),
    ``network-ema.safetensors`` (the moving average at its end) and ``model.json`` (what is needed
    to make inputs of events). Returns the content of ``metrics.json``: the losses, the terms of
    the objective on the test events, accuracy and one-versus-one AUC of the classes, times,
    environment. A call for a folder whose earlier call was killed goes on from its last
    checkpoint. ``progress`` is told {"stage": …} of each stage, and the training loop's records.

    Raises TrainingError for a loss that is not finite in training, FloatingPointError for a term
    that is not on other events.
    """
    folder, training, network = Path(folder), config.training, config.network
    assert training is not None and network is not None
    standardisation = PointCloudStandardisation.fit(parts["train"])
    preprocessing = PointCloudPreprocessing(config.inputs, standardisation)
    buckets = plan_buckets(parts["train"].multiplicity, training.buckets)
    batches = TrainingBatches(parts["train"], buckets, training.batch_size, training.seed)
    constituents = float(parts["train"].multiplicity.mean())
    loss = make_loss(preprocessing, constituents, config)
    forward = make_forward(preprocessing, constituents, config)

    def means(forward: Forward, network: PET, part: str) -> dict[str, float]:
        values = over_events(forward, network, parts[part], buckets.lengths)
        weight = parts[part].weight
        return {n: float(weight @ v / weight.sum()) for n, v in values.items()}

    log: list[Record] = []

    def keep(record: Record) -> None:
        if "validation_loss" in record:
            log.append(record)
            write_lines(folder / "log.jsonl", log)
        progress(record)

    progress({"stage": f"pretraining PET on {len(parts['train'])} events"})
    trained = train(
        PET.init(jax.random.key(training.seed), network, heads=HEADS[config.mode]),
        loss,
        batches,
        lambda params: means(forward, params, "validation")["objective"],
        training,
        folder / "checkpoints" / "pet",
        keep,
        identity=f"{config!r} on {parts['train'].digest()}, {parts['validation'].digest()}",
    )
    networks = {"network": trained.params}
    if trained.average is not None:
        networks["network-ema"] = trained.average
    (folder / "model").mkdir(exist_ok=True)
    for name, params in networks.items():
        save_network(folder / "model" / f"{name}.safetensors", params)
    content = preprocessing_to_json(preprocessing) | {
        "lengths": list(buckets.lengths),
        "precision": dataclasses.asdict(training.precision),
    }
    write_json(folder / "model" / "model.json", content)

    progress({"stage": "testing"})
    probabilities = make_probabilities(preprocessing, training.precision)
    results = {}
    for name, params in networks.items():
        results[name] = means(forward, params, "test")
        if config.mode != "generator":
            found = over_events(probabilities, params, parts["test"], buckets.lengths)
            results[name] |= _classes(found["probabilities"], parts["test"])
    curves = {
        kind: [r[f"{kind}_loss"] for r in trained.history] for kind in ("train", "validation")
    }
    best = min(trained.history, key=lambda r: r["validation_loss"])
    metrics = {
        "test": results,
        "parameters": count_parameters(trained.params),
        "epochs": len(trained.history),
        "best_epoch": best["epoch"],
        "validation_loss": best["validation_loss"],
        "losses": curves,
        "seconds": trained.seconds,
        "events": {name: len(part) for name, part in parts.items()},
        "classes": network.num_classes,
        "constituents": constituents,
        "environment": environment(),
    }
    figures = folder / "figures"
    figures.mkdir(exist_ok=True)
    save_figure(training_figure({"pet": curves}), figures / "training")
    write_json(folder / "metrics.json", metrics)
    return metrics


def _classes(probabilities: np.ndarray, events: Sample) -> dict[str, float]:
    """Accuracy and one-versus-one AUC; every event counts alike."""
    assert events.label is not None
    right = probabilities.argmax(1) == events.label
    return {
        "accuracy": float(right.mean()),
        "auc_one_vs_one": auc_one_vs_one(probabilities, events.label),
    }
