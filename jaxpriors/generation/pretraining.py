"""Pretraining of PET on labelled jets with the objective of `jaxpriors.generation.objective`."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
from jax import Array

from jaxpriors.data.batching import Batch, TrainingBatches, plan_buckets, split
from jaxpriors.data.hdf5 import open_source
from jaxpriors.data.prepared import is_prepared, open_prepared
from jaxpriors.data.sample_files import read_events, read_metadata
from jaxpriors.data.stored import Sample
from jaxpriors.data.weights import check_sum
from jaxpriors.errors import InputError
from jaxpriors.evaluation.figures import save_figure, training_figure
from jaxpriors.evaluation.roc import auc_one_vs_one
from jaxpriors.generation.card import write_card
from jaxpriors.generation.objective import Mode, objective, terms
from jaxpriors.models.files import save_network
from jaxpriors.models.pet import PET, PETConfig
from jaxpriors.preprocessing.clouds import PointCloudConfig
from jaxpriors.preprocessing.registry import Preprocessing
from jaxpriors.ratio.presets import preset
from jaxpriors.run.folder import Run, logged
from jaxpriors.run.storage import write_json
from jaxpriors.training.loop import Record, TrainingConfig, train
from jaxpriors.training.optimizers import OptimizerConfig
from jaxpriors.training.parallel import map_rows, predict
from jaxpriors.training.step import Loss, Precision, by_rows
from jaxpriors.training.tuned import tuned

HEADS: dict[str, tuple[str, ...]] = {
    "all": ("cls", "gen"),
    "classifier": ("cls",),
    "generator": ("gen",),
}
PARTS = ("train", "validation", "test")
EVALUATION_SEED = 20240
ROWS = 128  # of a batch that is evaluated
FEATURE_DROP = 0.1  # of events lose their identities, so that PET learns samples without them

# size → training of PET; "paper": the published settings of OmniLearn, on one device
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


@dataclass(frozen=True, init=False)
class Pretraining:
    """Configure a pretraining.

    Args:
        size: small or paper.
        mode: the whole objective, or only one head with its unperturbed or its diffusion part.
        inputs: what PET sees.
        network: configuration of the network, instead of the default of the size;
            ``prepare_pretraining`` sets its number of classes.
        training: configuration of the training, instead of the default of the size.
        fractions: shares of the events to train on, to validate on and to test with.

    Raises InputError for an unknown mode.
    """

    size: Literal["small", "paper"]
    mode: Mode
    inputs: PointCloudConfig
    network: PETConfig
    training: TrainingConfig
    fractions: tuple[float, float, float]

    def __init__(
        self,
        size: Literal["small", "paper"] = "small",
        mode: Mode = "all",
        inputs: PointCloudConfig | None = None,
        network: PETConfig | None = None,
        training: TrainingConfig | None = None,
        fractions: tuple[float, float, float] = (0.85, 0.05, 0.1),
    ) -> None:
        if mode not in HEADS:
            raise InputError(f"mode: found {mode!r}, expected one of {sorted(HEADS)}")
        if network is None:
            found: Any = preset("pet", size)
            network = dataclasses.replace(found, feature_drop=FEATURE_DROP)
        values = (
            size,
            mode,
            PointCloudConfig() if inputs is None else inputs,
            network,
            TRAINING[size] if training is None else training,
            fractions,
        )
        for field, value in zip(dataclasses.fields(self), values, strict=True):
            object.__setattr__(self, field.name, value)


def make_pretraining_loss(
    preprocessing: Preprocessing, constituents: float, config: Pretraining
) -> Loss:
    """Make the loss for `jaxpriors.training.step`: Σ over rows of weight × objective.

    The events are independent: the sum over a batch is the sum over its chunks. Times are uniform
    in [0, 1] and the noise is normal, drawn with the key of the step.
    """
    precision, diffused = config.training.precision, config.network.num_diffusion
    classes, mode = config.network.num_classes, config.mode

    def loss(network: PET, batch: Batch, key: Array) -> Array:
        time_key, noise_key, drop_key = jax.random.split(key, 3)
        cloud = preprocessing(batch)
        label = jax.nn.one_hot(batch.label.astype("int32"), classes)
        time = jax.random.uniform(time_key, cloud.mask.shape[:1])
        noise = jax.random.normal(noise_key, (*cloud.mask.shape, diffused))
        with precision.products():
            values = terms(
                network, cloud, label, time, noise, constituents, mode, precision, drop_key
            )
        return (batch.weight * objective(values, time)).sum()

    return by_rows(loss)


Rows = tuple[Batch, Array]
Forward = Callable[[Any, Rows], dict[str, Array]]


@lru_cache(maxsize=8)
def make_pretraining_forward(
    preprocessing: Preprocessing, constituents: float, config: Pretraining
) -> Forward:
    """Make f(network, (batch, number (B,))): terms and "objective" without drops, (B,) each.

    Time and noise follow from the number of the event: they are the same in every evaluation.
    """
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
            values = terms(network, cloud, label, time, noise, constituents, mode, precision)
        return values | {"objective": objective(values, time)}

    return map_rows(forward)


@lru_cache(maxsize=8)
def make_probabilities(
    preprocessing: Preprocessing, precision: Precision
) -> Callable[[Any, Batch], Array]:
    """Return f(network, batch): the probabilities (B, Y) float32 of the classes."""

    def forward(network: PET, batch: Batch) -> Array:
        cloud = precision.to_compute(preprocessing(batch))
        classify = precision.to_compute(network).classify
        with precision.products():
            logits, _ = classify(cloud.features, cloud.mask, cloud.jet)
        return jax.nn.softmax(logits.astype("float32"))

    return map_rows(forward)


def prepare_pretraining(
    events: Sample, config: Pretraining
) -> tuple[dict[str, Sample], Pretraining]:
    """Split the events into ``PARTS`` with weights of mean 1; fill in the number of classes.

    Raises InputError for events without labels 0 … Y − 1, for a part that lacks one of them, for
    weights without a positive sum and for momenta without direction in the transverse plane.
    """
    if events.label is None:
        raise InputError("label: the sample has none; expected the class of each event, from 0")
    classes = int(events.label.max(initial=0)) + 1
    found = np.unique(events.label)
    if classes < 2 or not np.array_equal(found, np.arange(classes)):
        raise InputError(f"label: found {found.tolist()}, expected 0 … Y − 1, two at least")
    total = check_sum("sample", events.weight)
    for what, bad in events.undirected().items():
        if bad:
            raise InputError(f"found {bad} {what} with pT or E of 0, expected none")
    network = dataclasses.replace(config.network, num_classes=classes)
    config = dataclasses.replace(config, network=network)
    shares = split(len(events), config.fractions, config.training.seed)
    for name, index in zip(PARTS, shares, strict=True):
        check_sum("sample", events.weight[index], name)
    events = events.with_weight(events.weight * (len(events) / total)).with_columns(())
    parts = {name: events[index] for name, index in zip(PARTS, shares, strict=True)}
    for name, part in parts.items():
        assert part.label is not None
        lacking = sorted({*range(classes)} - {*part.label.tolist()})
        if lacking:
            raise InputError(f"{len(events)} events leave none of {lacking} for {name}; give more")
    return parts, config


def pretrain(
    parts: dict[str, Sample],
    config: Pretraining,
    folder: str | Path,
    progress: Callable[[Record], None] = lambda record: None,
) -> dict[str, Any]:
    """Train on the prepared parts; write model and figures into the folder of a run.

    ``model/`` holds ``network.safetensors`` (the epoch with the smallest validation loss),
    ``network-ema.safetensors`` (the moving average at its end) and ``model.json`` (the
    preprocessing). Returns the metrics: the losses, the terms of the objective
    on the test events, accuracy and one-versus-one AUC of the classes, times. A call
    with the folder of a killed call resumes from its last checkpoint. ``progress`` gets
    {"stage": …} at each stage, and the records of the training loop.

    Raises TrainingError for a loss that is not finite in training, FloatingPointError for a term
    that is not finite on validation or test events.
    """
    folder, training, network = Path(folder), config.training, config.network
    preprocessing = Preprocessing(config.inputs, config.inputs.learn(parts["train"]))
    buckets = plan_buckets(parts["train"].multiplicity, training.buckets)
    batches = TrainingBatches(parts["train"], buckets, training.batch_size, training.seed)
    constituents = float(parts["train"].multiplicity.mean())
    loss = make_pretraining_loss(preprocessing, constituents, config)
    forward = make_pretraining_forward(preprocessing, constituents, config)

    def means(forward: Forward, network: PET, part: str) -> dict[str, float]:
        values = predict(forward, network, parts[part], buckets.lengths, ROWS, numbered=True)
        weight = parts[part].weight
        return {n: float(weight @ v / weight.sum()) for n, v in values.items()}

    progress({"stage": f"pretraining PET on {len(parts['train'])} events"})
    trained = train(
        PET.init(jax.random.key(training.seed), network, heads=HEADS[config.mode]),
        loss,
        batches,
        lambda params: means(forward, params, "validation")["objective"],
        training,
        folder / "checkpoints" / "pet",
        logged(folder / "log.jsonl", progress),
        identity=f"{config!r} on {parts['train'].digest()}, {parts['validation'].digest()}",
    )
    networks = {"network": trained.params}
    if trained.average is not None:
        networks["network-ema"] = trained.average
    (folder / "model").mkdir(exist_ok=True)
    for name, params in networks.items():
        save_network(folder / "model" / f"{name}.safetensors", params)
    content = preprocessing.to_json() | {
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
            found = predict(probabilities, params, parts["test"], buckets.lengths, ROWS)
            results[name] |= _classes(found, parts["test"])
    curves = {
        kind: [r[f"{kind}_loss"] for r in trained.history] for kind in ("train", "validation")
    }
    best = min(trained.history, key=lambda r: r["validation_loss"])
    metrics = {
        "test": results,
        "parameters": sum(x.size for x in jax.tree.leaves(trained.params)),
        "epochs": len(trained.history),
        "best_epoch": best["epoch"],
        "validation_loss": best["validation_loss"],
        "losses": curves,
        "seconds": trained.seconds,
        "events": {name: len(part) for name, part in parts.items()},
        "classes": network.num_classes,
        "constituents": constituents,
    }
    save_figure(training_figure({"pet": curves}), folder / "figures" / "training")
    return metrics


def _classes(probabilities: np.ndarray, events: Sample) -> dict[str, float]:
    """Measure accuracy and one-versus-one AUC, without event weights."""
    assert events.label is not None
    right = probabilities.argmax(1) == events.label
    return {
        "accuracy": float(right.mean()),
        "auc_one_vs_one": auc_one_vs_one(probabilities, events.label),
    }


def run_pretraining(
    sample: Path, level: str | None, config: Pretraining, run: Run, few: int | None = None
) -> dict[str, Any]:
    """Pretrain on a file in the folder of a run unless that is done; return the metrics.

    sample: file of labelled jets, or the folder of a prepared sample, which stays on disk; level:
    where the file holds several; few: a number of events drawn at random, instead of all. Writes
    the card of the networks as well. Raises InputError as ``prepare_pretraining`` and the readers
    do.
    """
    with open_source(sample) as source:
        level, metadata = level if source.levels else None, read_metadata(source)
        stays = is_prepared(sample)
        events: Sample = open_prepared(sample, level) if stays else read_events(source, level)
        if events.passing is not None:
            events = events[events.passing]
    if few is not None and few < len(events):
        events = events[split(len(events), (few / len(events), 1 - few / len(events)), 0)[0]]
    run.progress({"stage": "looking at the sample"})
    parts, config = prepare_pretraining(events, config)
    training = tuned(
        config.training,
        config.network,
        parts["train"].multiplicity,
        run.begun("training"),
        lambda text: run.progress({"stage": text}),
    )
    config = dataclasses.replace(config, training=training)
    sources = {"sample": str(sample), "level": level, "digest": events.digest()}
    run.open({**dataclasses.asdict(config), "sources": sources})
    metrics = run.results(lambda: pretrain(parts, config, run.folder, run.progress))
    write_card(run.folder, metadata)
    return metrics
