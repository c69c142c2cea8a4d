"""Anomaly detection without labels: data against a template of their background.

Data in a window of the dijet mass are background and, perhaps, a few signal events. A classifier
separates them (label 1) from a template of background only (label 0), each class with the same sum
of weights. It learns their likelihood ratio, which rises with that of signal and background
(arXiv:1708.02949; arXiv:2603.08802, Section 3.3). Several networks train as one program; each keeps
the epoch of its own smallest validation loss.

In the idealised mode the template holds independent simulated background events, in the realistic
mode generated ones (`jaxpriors.generation.dijets`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import h5py
import numpy as np

from jaxpriors.data import dijets
from jaxpriors.data.batching import split
from jaxpriors.data.dijets import Window
from jaxpriors.data.events import Events
from jaxpriors.errors import InputError
from jaxpriors.evaluation.metrics import auc
from jaxpriors.preprocessing.clouds import DijetCloudConfig
from jaxpriors.ratio import finetuning, published, settings
from jaxpriors.ratio.classifier import RatioClassifier
from jaxpriors.ratio.examples import PARTS, Examples, Split, check_trainable
from jaxpriors.ratio.model import RatioModel
from jaxpriors.ratio.names import FINE_TUNED
from jaxpriors.ratio.networks import NetworkConfig
from jaxpriors.ratio.presets import MODELS, find_model
from jaxpriors.run.folder import logged
from jaxpriors.run.hdf5 import written_hdf5
from jaxpriors.run.stored_arrays import read_numbers, regular_file
from jaxpriors.training.loop import Record, TrainingConfig
from jaxpriors.training.optimizers import OptimizerConfig

LOG = "log.jsonl"
LEAKING = 0.99  # AUC of a single input above which the input leaks the label

# of size "small", in minutes on two cores; size "paper" is in `ratio.published`
SMALL = TrainingConfig(
    OptimizerConfig("adamw", 2e-3, 0.01, warmup=0.05, clip=1.0),
    batch_size=256,
    epochs=20,
    patience=5,
    buckets=2,
)
BODY_FACTOR = settings.published("anomaly", FINE_TUNED)["body_factor"]


def search_classifier(
    model: str,
    size: Literal["small", "paper"] = "small",
    networks: int = 10,
    constituents: int | None = None,
    seed: int | None = None,
    *,
    training: TrainingConfig | None = None,
    network: NetworkConfig | None = None,
    pretrained: str | Path | None = None,
) -> RatioClassifier:
    """Make the classifier of ``networks`` that separates data from a template of two-jet events.

    constituents: number of each jet, the hardest; None for all. seed: None for that of the
    training. training, network: None for those of the size; the body of a fine-tuned PET learns
    `BODY_FACTOR` times slower in any. pretrained: as in `RatioClassifier`.
    Raises InputError for a model without inputs of two-jet events and for missing weights.
    """
    chosen = find_model(model)
    if chosen.dijet_inputs is None:
        known = [name for name, one in MODELS.items() if one.dijet_inputs is not None]
        raise InputError(f"model: found {model!r}, expected one of {', '.join(known)}")
    if size == "paper":
        found = published.classifier(
            "anomaly", model, pretrained=pretrained, networks=networks, constituents=constituents
        )
    else:
        inputs, source, rule = chosen.dijet_inputs(constituents=constituents), None, SMALL.optimizer
        if chosen.pretrained:  # body and head keep the units of their pretraining
            source = finetuning.find(pretrained)
            units = finetuning.inputs_config(source).normalisation
            inputs = DijetCloudConfig(units, constituents)
            rule = dataclasses.replace(rule, body_factor=BODY_FACTOR)
        found = RatioClassifier(
            model,
            size,
            inputs,
            training=dataclasses.replace(SMALL, optimizer=rule),
            pretrained=source,
            ensemble=networks,
            each_best=True,
        )
    if training is None:
        training = found.training
    factor = found.training.optimizer.body_factor
    rule = dataclasses.replace(training.optimizer, body_factor=factor)
    training = dataclasses.replace(training, optimizer=rule)
    training = training if seed is None else dataclasses.replace(training, seed=seed)
    network = found.network if network is None else network
    return dataclasses.replace(found, training=training, network=network)


def select(
    data: Events, template: Events, window: Window | None, constituents: int | None = None
) -> tuple[Events, Events]:
    """Select both samples in the signal region, and check that a training can learn from them.

    window: m_jj in GeV, None for all events. constituents: number that networks see of a jet.

    Raises InputError for events that are not of two jets, a region without events, a template with
    signal, samples with jets cut to different numbers of constituents, and a single input that
    separates data from template: samples without overlap, or a leaked label.
    """
    for name, events in (("data", data), ("template", template)):
        dijets.check(events, name)
    if window is not None:
        data = in_region(data, "data", window)
        template = in_region(template, "template", window)
    for name, events in (("data", data), ("template", template)):
        check_trainable(events, name)
    if template.label is not None and template.label.any():
        raise InputError(
            f"template: {int(np.sum(template.label != 0))} events have a label other than 0, "
            "expected background alone"
        )
    check_held(data, template, "template", constituents)
    _check_overlap(
        *(e if constituents is None else dijets.leading(e, constituents) for e in (data, template))
    )
    return data, template


def in_region(events: Events, name: str, window: Window) -> Events:
    """Select the events with m_jj (GeV) in the window; raise InputError where there are none."""
    found = events[dijets.inside(events, window)]
    if not len(found):
        mass = dijets.dijet_mass(events)
        within = f"{mass.min():.0f} to {mass.max():.0f}" if len(mass) else "none"
        raise InputError(
            f"{name}: no event in the signal region {window[0]:g} < m_jj < {window[1]:g} "
            f"GeV; found m_jj of {within} GeV"
        )
    return found


def check_held(data: Events, other: Events, name: str, constituents: int | None = None) -> None:
    """Raise InputError where one sample has jets cut to fewer constituents than the other has.

    name: of the other sample. constituents: number that networks see of a jet, None for all.
    """
    most, cut = zip(*(_held(events, constituents) for events in (data, other)), strict=True)
    if any(limit is not None and n > limit for n, limit in zip(most, cut[::-1], strict=True)):
        of_each = [f"{'all' if c is None else f'at most {c}'} constituents" for c in cut]
        raise InputError(
            f"{name}: found {of_each[1]} of its jets and {of_each[0]} of those of the data; "
            "expected the same: let networks see as many of both (--constituents)"
        )


def _held(events: Events, constituents: int | None) -> tuple[int, int | None]:
    """Find the largest multiplicity, and the number that jets are cut to (None: all are whole)."""
    if not len(events):
        return 0, None
    jets = dijets.jets_of(events if constituents is None else dijets.leading(events, constituents))
    most = int(jets.multiplicity.max())
    cut = jets.multiplicity < jets.columns["multiplicity"]
    return most, most if cut.any() else None


def _check_overlap(data: Events, template: Events) -> None:
    """Raise InputError where a single input separates the samples."""
    inputs = {"m_jj": (dijets.dijet_mass(data), dijets.dijet_mass(template))}
    inputs |= {name: (data.columns[name], template.columns[name]) for name in dijets.COLUMNS}
    for name, (of_data, of_template) in inputs.items():
        ranges = [(float(v.min()), float(v.max())) for v in (of_data, of_template)]
        of = f"{ranges[0][0]:g} to {ranges[0][1]:g} in data, {ranges[1][0]:g} to {ranges[1][1]:g}"
        if ranges[0][1] < ranges[1][0] or ranges[1][1] < ranges[0][0]:
            raise InputError(
                f"{name}: data and template have no overlap, found {of} in the template; a network "
                "would tell them apart by that alone"
            )
        if ranges[0][0] == ranges[0][1] and ranges[1][0] == ranges[1][1]:
            continue
        label = np.repeat([1, 0], [len(of_data), len(of_template)])
        area = auc(np.concatenate([of_data, of_template]), label).value
        if max(area, 1 - area) > LEAKING:
            raise InputError(
                f"{name}: tells data from template with an AUC of {max(area, 1 - area):.4f} by "
                f"itself (found {of} in the template): it leaks which sample an event is of; "
                "expected the same quantity in both"
            )


def train(
    data: Events,
    template: Events,
    config: RatioClassifier,
    folder: Path,
    progress: Callable[[Record], None] = lambda record: None,
) -> RatioModel:
    """Train networks that separate data from template, and save them in the folder.

    The folder has ``model/``, the records of the epochs in ``log.jsonl``, and ``checkpoints/``,
    from which a call resumes a killed one.
    """
    return _trained(config.examples(template, data), config, folder, progress)


def train_null(
    data: Events,
    template: Events,
    config: RatioClassifier,
    folder: Path,
    progress: Callable[[Record], None] = lambda record: None,
) -> RatioModel:
    """Train networks on random labels, from which they can learn nothing.

    Data and template form one pool of events. Each network draws which events count as data, as
    many as there were. For samples of one distribution, ``train`` gives similar networks.
    """
    return _trained(shuffled(data, template, config), config, folder, progress)


def _trained(
    examples: Split, config: RatioClassifier, folder: Path, progress: Callable[[Record], None]
) -> RatioModel:
    log = logged(folder / LOG, progress)
    model, _ = config.train(*examples, folder / "checkpoints", log)
    model.save(folder / "model")
    return model


def shuffled(data: Events, template: Events, config: RatioClassifier) -> Split:
    """Split events to train and to validate on, with random labels for each network."""
    assert config.ensemble is not None
    pool = Events.concatenate(
        [dataclasses.replace(config.inputs.select(e).read(), label=None) for e in (template, data)]
    )
    seed = config.training.seed
    rng = np.random.default_rng([seed, len(pool), 2])  # independent of the split of the events
    parts = []
    shares = split(len(pool), (1 - config.validation, config.validation), seed)
    for part, index in zip(PARTS, shares, strict=True):
        chosen = pool[index]
        ones = round(len(index) * len(data) / len(pool))
        place = np.stack([rng.permutation(len(index)) for _ in range(config.ensemble)], axis=1)
        label = (place < ones).astype(np.float64)
        weight = chosen.weight[:, None]
        half = len(index) / 2
        sums = [(weight * side).sum(0) for side in (1 - label, label)]
        if not min(s.min() for s in sums) > 0:
            raise InputError(
                f"null, {part} part: {len(index)} events leave a class without a positive sum of "
                "weights; give more events"
            )
        parts.append(
            Examples(chosen, weight * np.where(label, half / sums[1], half / sums[0]), label)
        )
    return parts[0], parts[1]


def write_scores(path: Path, scores: np.ndarray, columns: dict[str, np.ndarray]) -> None:
    """Write scores (k, n) as float32, and arrays that belong to them; whole or not at all."""
    with written_hdf5(path, overwrite=True) as file:
        for name, array in {"log_ratios": scores.astype(np.float32), **columns}.items():
            file.create_dataset(name, data=array, compression="gzip", shuffle=True)


def read_scores(path: Path) -> np.ndarray:
    """Read the scores (k, n) that ``write_scores`` wrote, as float64; InputError for others."""
    try:
        with h5py.File(regular_file(path, "the scores of a run")) as file:
            return read_numbers(file["log_ratios"], f"{path}: 'log_ratios'").astype(np.float64)
    except (OSError, RuntimeError, KeyError) as error:
        raise InputError(f"{path}: truncated, damaged or without scores ({error})") from None
