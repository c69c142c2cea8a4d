"""Anomaly detection without labels: data against a template of their background.

Data in a window of the dijet mass are background and, perhaps, a few signal events. A classifier
that separates them (label 1) from a template, which is background alone (label 0), each class with
the same sum of weights, learns their likelihood ratio, which rises with that of signal and
background (arXiv:1708.02949; arXiv:2603.08802, Section 3.3). Several networks are trained as one
program; each keeps the epoch of its own least validation loss.

In the idealised mode the template are independent simulated background events; in the realistic
one they are generated (`jaxpriors.methods.dijet_generation`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import h5py
import numpy as np

from jaxpriors.data import dijets
from jaxpriors.data.dijets import Window
from jaxpriors.data.events import Events
from jaxpriors.data.files import written_whole
from jaxpriors.data.splitting import split
from jaxpriors.dijet_inputs import DijetCloudConfig, DijetConfig
from jaxpriors.errors import InputError
from jaxpriors.evaluation.metrics import auc
from jaxpriors.methods import finetuning
from jaxpriors.methods.classifier import RatioClassifier
from jaxpriors.methods.labels import Labelled, Parts, check
from jaxpriors.methods.ratio import RatioModel
from jaxpriors.methods.trainings import FINE_TUNED
from jaxpriors.models.presets import NetworkConfig
from jaxpriors.preprocessing import InputsConfig, seen
from jaxpriors.training.loop import Record, TrainingConfig
from jaxpriors.training.optimizers import OptimizerConfig
from jaxpriors.training.runs import write_lines

MODELS = ("lgatr-slim", "lgatr", "pet", FINE_TUNED)
LOG = "log.jsonl"
LEAKING = 0.99  # AUC of one input by itself, above which it is no property of the events

# arXiv:2603.08802, Section 3.3, is "paper"; "small" is for minutes on two cores
_PAPER = TrainingConfig(
    OptimizerConfig("adamw", 5e-4, 0.01), batch_size=256, epochs=60, patience=10
)
_SMALL = TrainingConfig(
    OptimizerConfig("adamw", 2e-3, 0.01, warmup=0.05, clip=1.0),
    batch_size=256,
    epochs=20,
    patience=5,
    buckets=2,
)
TRAINING: dict[str, TrainingConfig] = {"small": _SMALL, "paper": _PAPER}
BODY_FACTOR = 10.0  # how much slower the body of a fine-tuned PET learns, as in OmniLearn


def search(
    model: str,
    size: Literal["small", "paper"] = "small",
    networks: int = 10,
    constituents: int | None = None,
    seed: int = 0,
    *,
    training: TrainingConfig | None = None,
    network: NetworkConfig | None = None,
    pretrained: str | Path | None = None,
) -> RatioClassifier:
    """How so many networks are trained to tell data from a template of two-jet events.

    constituents: of each jet, the hardest; None for all. training, network: others than the size's
    own. pretrained: as `RatioClassifier` has it. Raises InputError for an unknown model or weights
    that are missing.
    """
    if model not in MODELS:
        raise InputError(f"model: found {model!r}, expected one of {', '.join(MODELS)}")
    inputs: InputsConfig = DijetConfig(constituents=constituents)
    training = training or TRAINING[size]
    if model.startswith("pet"):
        inputs = DijetCloudConfig(constituents=constituents)
    source = None
    if model == FINE_TUNED:  # body and head go on in the units that they were trained in
        source = finetuning.find(pretrained)
        units = finetuning.inputs_config(source).normalisation
        inputs = DijetCloudConfig(units, constituents)
        rule = dataclasses.replace(training.optimizer, body_factor=BODY_FACTOR)
        training = dataclasses.replace(training, optimizer=rule)
    return RatioClassifier(
        model,
        size,
        inputs,
        network,
        dataclasses.replace(training, seed=seed),
        pretrained=source,
        ensemble=networks,
        each_best=True,
    ).resolved()


def select(
    data: Events, template: Events, window: Window | None, constituents: int | None = None
) -> tuple[Events, Events]:
    """Both samples in the signal region, of which a training can learn something.

    window: m_jj in GeV, None for the samples as they are. constituents: that networks see of a jet.

    Raises InputError for events that are not of two jets, a region without events, a template
    with signal, samples of which one holds fewer constituents of its jets than the other, and an
    input that tells data from template by itself: samples without overlap, or a leaked label.
    """
    for name, events in (("data", data), ("template", template)):
        dijets.check(events, name)
    if window is not None:
        data = in_region(data, "data", window)
        template = in_region(template, "template", window)
    for name, events in (("data", data), ("template", template)):
        check(events, name)
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
    """The events with m_jj (GeV) in the window; InputError, with the name, where there is none."""
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
    """Raise InputError where jets of one sample are cut to fewer constituents than another's have.

    name: of the other sample. constituents: that networks see of a jet, None for all.
    """
    most, cut = zip(*(_held(events, constituents) for events in (data, other)), strict=True)
    if any(limit is not None and n > limit for n, limit in zip(most, cut[::-1], strict=True)):
        of_each = [f"{'all' if c is None else f'at most {c}'} constituents" for c in cut]
        raise InputError(
            f"{name}: found {of_each[1]} of its jets and {of_each[0]} of those of the data; "
            "expected the same: let networks see as many of both (--constituents)"
        )


def _held(events: Events, constituents: int | None) -> tuple[int, int | None]:
    """The most constituents of a jet, and the number that jets are cut to (None: all are whole)."""
    if not len(events):
        return 0, None
    jets = dijets.jets_of(events if constituents is None else dijets.leading(events, constituents))
    most = int(jets.multiplicity.max())
    cut = jets.multiplicity < jets.columns["multiplicity"]
    return most, most if cut.any() else None


def _check_overlap(data: Events, template: Events) -> None:
    """Raise InputError where one input is enough to tell the samples apart."""
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
    """The networks that tell data from template, from a folder that they are kept in.

    It has ``model/``, the epochs' records in ``log.jsonl``, and ``checkpoints/``, with which a call
    goes on where an earlier one was killed.
    """
    log = _Log(folder, progress)
    fitted = config.fit_with_history(template, data, None, folder / "checkpoints", log)
    fitted[0].save(folder / "model")
    return fitted[0]


def train_null(
    data: Events,
    template: Events,
    config: RatioClassifier,
    folder: Path,
    progress: Callable[[Record], None] = lambda record: None,
) -> RatioModel:
    """The same where nothing is to be learnt: each network has labels drawn anew.

    Data and template are one pool of events, of which each network takes others for data, as many
    as there were. Of samples of one distribution, ``train`` gives networks that are alike to these.
    """
    log = _Log(folder, progress)
    parts = shuffled(data, template, config)
    fitted = config.fit_labelled(*parts, folder / "checkpoints", log)
    fitted[0].save(folder / "model")
    return fitted[0]


class _Log:
    """Keeps the records of epochs in a training's folder, and passes all on."""

    def __init__(self, folder: Path, progress: Callable[[Record], None]) -> None:
        self._path, self._progress = folder / LOG, progress
        self._records: list[Record] = []
        folder.mkdir(parents=True, exist_ok=True)

    def __call__(self, record: Record) -> None:
        if "validation_loss" in record:
            self._records.append(record)
            write_lines(self._path, self._records)
        self._progress(record)


def shuffled(data: Events, template: Events, config: RatioClassifier) -> Parts:
    """Events to train on and to validate on, with labels of each network drawn at random."""
    assert config.inputs is not None and config.training is not None and config.ensemble is not None
    pool = Events.concatenate(
        [dataclasses.replace(seen(config.inputs, e).read(), label=None) for e in (template, data)]
    )
    seed = config.training.seed
    rng = np.random.default_rng([seed, len(pool), 2])  # apart from what splits the events
    parts = []
    for index in split(len(pool), (1 - config.validation, config.validation), seed):
        chosen = pool[index]
        ones = round(len(index) * len(data) / len(pool))
        place = np.stack([rng.permutation(len(index)) for _ in range(config.ensemble)], axis=1)
        label = (place < ones).astype(np.float64)
        weight = chosen.weight[:, None]
        half = len(index) / 2
        sums = [(weight * side).sum(0) for side in (1 - label, label)]
        if not min(s.min() for s in sums) > 0:
            raise InputError(
                f"null: {len(pool)} events leave a class without positive weight, expected more"
            )
        parts.append(
            Labelled(chosen, weight * np.where(label, half / sums[1], half / sums[0]), label)
        )
    return parts[0], parts[1]


def write_scores(path: Path, scores: np.ndarray, columns: dict[str, np.ndarray]) -> None:
    """Write scores (k, n), and columns (n,) of the same events; whole or not at all."""
    with written_whole(path, overwrite=True) as scratch, h5py.File(scratch, "w") as file:
        for name, array in {"log_ratios": scores.astype(np.float32), **columns}.items():
            file.create_dataset(name, data=array, compression="gzip", shuffle=True)


def read_scores(path: Path) -> np.ndarray:
    """The scores (k, n) float64 that ``write_scores`` wrote."""
    with h5py.File(path) as file:
        return np.asarray(file["log_ratios"][:], np.float64)
