"""OmniFold: unfolding by two classifiers in turn (arXiv:1911.09107; losses: arXiv:2105.04448).

Simulated events are known at particle level and at detector level, the data at detector level
alone. An iteration has two steps, each a likelihood ratio by classification
(`methods.classifier`):

1. at detector level, data against the simulation with its push weights, gives the pull weights:
   pull = push × p_data / p_simulation;
2. at particle level, the events that have both levels with pull weights against the same events
   without gives new push weights: the mean pull weight of the events that look alike at particle
   level, a function that every event with a particle level has a value of. As they are the same
   events, each is there once, in both roles at once (`methods.labels`), and batches have half as
   many events: an epoch has as many updates as one of two samples.

Pull and push are factors: event weight × push is the unfolded sample.

Events that have one level alone have a weight of their own all the same, the average over what is
like them. An event without a detector level has the mean pull weight of the events alike at
particle level, which is its push weight (until a step 2 is done, that of the iteration before, 1 in
the first). As the detector loses both samples of step 2 alike, their
ratio owes nothing to the losses. Events without a particle level (fakes) are all alike there, and
their push weight is the mean of their pull weights.

Normalisation: the mean of pull, and that of push, over the simulated events with a detector level,
weighted by the event weights, is 1. The data's normalisation is a number beside them (``scale`` of
the result).
"""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np

from jaxpriors import processes
from jaxpriors.data.batching import UNITS
from jaxpriors.data.events import Events
from jaxpriors.data.matched import Simulation
from jaxpriors.data.unfolded import Unfolded
from jaxpriors.errors import InputError
from jaxpriors.evaluation.metrics import effective_sample_size, weight_report
from jaxpriors.methods.classifier import RatioClassifier
from jaxpriors.methods.labels import Parts, check_overlap, one_sample, two_samples
from jaxpriors.methods.ratio import RatioModel
from jaxpriors.methods.trainings import LATER
from jaxpriors.preprocessing import columns_of
from jaxpriors.training.loop import Record, TrainingConfig
from jaxpriors.training.runs import PACKAGES, differences, exists, write_lines

Level = Literal["detector", "particle"]
STEPS: tuple[Level, Level] = ("detector", "particle")
RESULT = "unfolding.h5"
LEAST_SIZE = 0.01  # effective sample size, as a share of what it is without pull or push
PATIENCE = 3  # epochs without a better validation loss, in every step


def later_training(classifier: RatioClassifier) -> TrainingConfig:
    """How a classifier that goes on from the iteration before is trained: at a constant rate."""
    training = classifier.resolved().training
    assert training is not None
    rate, epochs = LATER[classifier.model][classifier.size]
    constant = dataclasses.replace(
        training.optimizer, learning_rate=rate, warmup=0.0, final_rate=1.0, body_factor=1.0
    )
    return dataclasses.replace(training, optimizer=constant, epochs=min(epochs, training.epochs))


@dataclass(frozen=True)
class OmniFold:
    """How an unfolding is done; ``unfold`` does it.

    detector, particle: the classifiers of step 1 and step 2, of any model each. A batch of step 2
    has half of the ``batch_size`` events, each of them in both samples.
    warm_start: whether the networks go on from those of the iteration before, trained as ``later``
    says (detector, particle; None: `later_training`); otherwise every step starts anew.
    members: networks of each step, whose median log ratio counts. replicas: repetitions of the
    whole on bootstrap samples of data and simulation. All networks of a step are one program.
    clip: the largest ratio of a step, and one over the smallest; None for no limits.
    seed: of the bootstrap; the networks' are those of the classifiers' trainings.
    """

    detector: RatioClassifier
    particle: RatioClassifier
    iterations: int = 5
    warm_start: bool = True
    later: tuple[TrainingConfig, TrainingConfig] | None = None
    members: int = 1
    replicas: int = 0
    clip: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        """Raise InputError for numbers out of their range and ensembles within the classifiers."""
        for name, least in {"iterations": 1, "members": 1, "replicas": 0, "seed": 0}.items():
            if getattr(self, name) < least:
                raise InputError(f"{name}: found {getattr(self, name)}, expected at least {least}")
        if self.clip is not None and not self.clip > 1:
            raise InputError(f"clip: found {self.clip}, expected a ratio above 1, or none")
        if self.detector.ensemble is not None or self.particle.ensemble is not None:
            raise InputError("ensemble: found one in a classifier, expected `members` in its place")

    def classifier(self, level: Level, iteration: int) -> RatioClassifier:
        """That of a step; iteration from 1."""
        first: RatioClassifier = getattr(self, level)
        training = first.resolved().training
        assert training is not None
        if iteration > 1 and self.warm_start:
            known = self.later and self.later[STEPS.index(level)]
            training = known or later_training(first)
        if training.patience is None:
            training = dataclasses.replace(training, patience=PATIENCE)
        if level == "particle":  # each event is in both samples
            half = -(-training.batch_size // (2 * UNITS)) * UNITS
            training = dataclasses.replace(training, batch_size=half)
        networks = self.members * (1 + self.replicas)
        return dataclasses.replace(
            first, training=training, ensemble=networks if networks > 1 else None
        )


def resolved(config: OmniFold) -> dict[str, Any]:
    """The configuration as plain data, with every default filled in and the trainings as done."""

    def used(level: Level, iteration: int) -> RatioClassifier:
        return dataclasses.replace(config.classifier(level, iteration).resolved(), ensemble=None)

    whole = dataclasses.asdict(
        dataclasses.replace(config, detector=used("detector", 1), particle=used("particle", 1))
    )
    later = [dataclasses.asdict(used(level, 2))["training"] for level in STEPS]
    whole["later"] = later if config.warm_start else None
    found = json.loads(json.dumps(whole))
    for level in STEPS:  # a file is known by its content, wherever it is
        if found[level]["pretrained"] is not None:
            del found[level]["pretrained"]["file"]
    return found


def check(simulation: Simulation, data: Events, config: OmniFold) -> None:
    """Find what would stop an unfolding before it begins.

    Raises InputError for data, or simulated events with a detector level, whose weights do not sum
    to a positive number, in any of the replicas.
    """
    for name, events in (("data", data.weight), ("simulation", simulation.weight)):
        own = events if name == "data" else events * simulation.pass_reco
        sums = _counts(len(events), config, name) @ own
        if not np.all(sums > 0):
            worst = int(np.argmin(sums))
            raise InputError(
                f"{name}: {len(events)} events with weights that sum to {sums[worst]:g} at "
                f"detector level{f' in replica {worst}' if worst else ''}; expected at least one "
                "event and a positive sum"
            )


def unfold(
    simulation: Simulation,
    data: Events,
    config: OmniFold,
    folder: str | Path,
    progress: Callable[[Record], None] = lambda record: None,
) -> Unfolded:
    """Unfold the data; the result is also written to ``unfolding.h5`` in the folder.

    The file is there from the first step on, with the steps that are done; ``model`` holds the
    networks of each step (`methods.ratio.RatioModel`) and ``log.jsonl`` one line an epoch. A call
    for a folder whose earlier call was killed goes on with it, to the same result. ``progress`` is
    told {"stage": …} of each step, and the training loop's records.

    Raises:
        InputError: samples that cannot be trained on, data that hardly overlap with the simulation,
            a folder with an unfolding of other samples or settings.
        TrainingError, FloatingPointError: a loss or a weight that is not finite; all steps before
            it are kept.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    state = _begin(simulation, data, config, folder)
    counts = _counts(len(data), config, "data")
    for iteration in range(1, config.iterations + 1):
        if len(state.pull) < iteration:
            progress({"stage": f"iteration {iteration}, step 1: data at detector level"})
            state = _step_1(state, simulation, data, counts, config, folder, progress)
        if len(state.push) < iteration:
            progress({"stage": f"iteration {iteration}, step 2: simulation at particle level"})
            state = _step_2(state, simulation, config, folder, progress)
    return state


def _begin(simulation: Simulation, data: Events, config: OmniFold, folder: Path) -> Unfolded:
    """The state that an earlier call left, or that before the first step."""
    check(simulation, data, config)
    if processes.is_first():
        for left in folder.glob(f".{RESULT}.*.tmp"):  # by a call that was killed while it wrote
            left.unlink()
    asked: dict[str, Any] = {
        "configuration": resolved(config),
        "samples": {
            "simulation": simulation.digest(),
            **{level: getattr(simulation, level).digest() for level in STEPS},
            "data": data.digest(),
        },
    }
    path = folder / RESULT
    if exists(path):
        state = Unfolded.read(path)
        other = differences({name: state.metadata.get(name) for name in asked}, asked)
        if other:
            raise InputError(
                f"{path}: is an unfolding of other samples or with other settings "
                f"({'; '.join(other)}); expected that of these, or a folder without one"
            )
        return state
    n, replicas = len(simulation), 1 + config.replicas
    counts = _counts(n, config, "simulation")
    found = simulation.weight * simulation.pass_reco
    measured = _counts(len(data), config, "data") @ data.weight
    state = Unfolded(
        weight=simulation.weight,
        pass_gen=simulation.pass_gen,
        pass_reco=simulation.pass_reco,
        pull=np.zeros((0, replicas, n)),
        push=np.zeros((0, replicas, n)),
        replicas=counts,
        scale=measured / (counts @ found),
        iterations=config.iterations,
        observables=simulation.particle_columns(),
        metadata={**asked, "versions": {name: version(name) for name in PACKAGES}},
        reports=[],
    )
    state.write(path)
    return state


def _counts(n: int, config: OmniFold, sample: str) -> np.ndarray:
    """How often each of n events is in each replica, (R, n) int8; once in the first."""
    rng = np.random.default_rng([config.seed, n, ["simulation", "data"].index(sample)])
    drawn = [np.minimum(rng.poisson(1.0, n), 127) for _ in range(config.replicas)]
    return np.stack([np.ones(n, np.int8), *drawn]).astype(np.int8)


def _step_1(
    state: Unfolded,
    simulation: Simulation,
    data: Events,
    counts: np.ndarray,
    config: OmniFold,
    folder: Path,
    progress: Callable[[Record], None],
) -> Unfolded:
    """Pull weights: the simulation, as it was pushed, is made to look like the data."""
    reco = state.pass_reco
    own = state.weight * state.replicas
    before = state.push[-1] if len(state.push) else np.ones_like(own)
    weights = _each(config, (own * before)[:, reco]), _each(config, counts * data.weight)
    log_ratios, report = _fit(
        "detector",
        partial(two_samples, simulation.detector, data, weights),
        simulation.detector,
        config,
        state,
        folder,
        progress,
    )
    pull = before.copy()  # for events without a detector level, what stands for it
    pull[:, reco], report["normalisation"] = _with_sum(
        before[:, reco], log_ratios, own[:, reco], own[:, reco].sum(1)
    )
    last = state.pull[-1] if len(state.pull) else np.ones_like(own)
    report |= _report("pull", pull[:, reco], last[:, reco], own[:, reco])
    return _kept(state.with_pull(pull, report), folder)


def _step_2(
    state: Unfolded,
    simulation: Simulation,
    config: OmniFold,
    folder: Path,
    progress: Callable[[Record], None],
) -> Unfolded:
    """Push weights: pull weights become a function of the particle level."""
    gen, reco = state.pass_gen, state.pass_reco
    own, pull = state.weight * state.replicas, state.pull[-1]
    both, fakes = gen & reco, reco & ~gen
    pulled = own * pull
    events = simulation.particle[both[gen]]
    weights = _each(config, own[:, both]), _each(config, pulled[:, both])
    log_ratios, report = _fit(
        "particle",
        partial(one_sample, events, weights),
        simulation.particle,
        config,
        state,
        folder,
        progress,
    )
    push = np.ones_like(own)
    known = np.where(both, own, 0.0)[:, gen]
    push[:, gen], report["normalisation"] = _with_sum(
        np.ones_like(known), log_ratios, known, pulled[:, both].sum(1)
    )
    if fakes.any():
        sums = own[:, fakes].sum(1), pulled[:, fakes].sum(1)
        if not all(np.all(s > 0) for s in sums):
            raise FloatingPointError(
                f"push weights of the {fakes.sum()} events without a particle level: their weights "
                f"sum to {sums[0].min():g} and, pulled, to {sums[1].min():g}; expected positive "
                "sums, whose ratio they get"
            )
        push[:, fakes] = (sums[1] / sums[0])[:, None]
    last = state.push[-1] if len(state.push) else np.ones_like(own)
    some = gen | reco
    report |= _report("push", push[:, some], last[:, some], own[:, some])
    return _kept(state.with_push(push, report), folder)


def _each(config: OmniFold, weights: np.ndarray) -> np.ndarray:
    """Weights (n, networks) of each network from those of each replica (R, n)."""
    return np.repeat(weights, config.members, axis=0).T


def _fit(
    level: Level,
    parts: Callable[..., Parts],
    events: Events,
    config: OmniFold,
    state: Unfolded,
    folder: Path,
    progress: Callable[[Record], None],
) -> tuple[np.ndarray, dict[str, Any]]:
    """Log ratios (R, m) of the m events, and what is known of the training.

    parts: a function of ``validation``, ``seed`` and ``columns`` to what is trained on
    (`methods.labels`).
    """
    iteration = len(state.push) + 1
    name = f"iteration-{iteration}-{level}"
    classifier = config.classifier(level, iteration)
    start = None
    if config.warm_start and iteration > 1:
        start = RatioModel.load(folder / "model" / f"iteration-{iteration - 1}-{level}")
    records: list[Record] = []

    def tell(record: Record) -> None:
        if "validation_loss" in record:
            records.append({"iteration": iteration, "level": level, **record})
            _log(folder, iteration, level, records)
        progress(record)

    try:
        inputs = classifier.resolved().inputs
        assert inputs is not None and classifier.training is not None
        trained_on, validated_on = parts(
            validation=classifier.validation,
            seed=classifier.training.seed,
            columns=columns_of(inputs),
        )
        model, trained = classifier.fit_labelled(
            trained_on, validated_on, folder / "checkpoints" / name, tell, start
        )
        best = min(trained.history, key=lambda r: r["validation_loss"])
        check_overlap(best["validation_loss"])
    except InputError as error:
        raise InputError(f"iteration {iteration}, {level} level: {error}") from None
    model.save(folder / "model" / name)
    found = log_ratios_of(model, events, config)
    report = {
        "iteration": iteration,
        "level": level,
        "epochs": len(trained.history),
        "best_epoch": best["epoch"],
        "validation_loss": best["validation_loss"],
        "clipped": 0.0,
    }
    if config.clip is not None:
        limit = math.log(config.clip)
        report["clipped"] = float(np.mean(np.abs(found[0]) > limit))
        found = np.clip(found, -limit, limit)
    return found, report


def log_ratios_of(model: RatioModel, events: Events, config: OmniFold) -> np.ndarray:
    """The log ratio of each replica, the median of its members' (R, n), before any clipping."""
    each = model.log_ratios(events)
    return np.median(each.reshape(1 + config.replicas, config.members, -1), axis=1)


def _with_sum(
    factor: np.ndarray, log_ratios: np.ndarray, weight: np.ndarray, total: np.ndarray
) -> tuple[np.ndarray, float]:
    """factor × ratio (R, m), scaled so that Σ weight × it is ``total`` (R,), and the mean ratio.

    That is the first replica's before it is scaled, weighted by weight × factor: near 1 for a ratio
    of densities. Raises FloatingPointError where a sum is not positive or a factor not finite.
    """
    shift = log_ratios.max(1, keepdims=True)
    ratio = factor * np.exp(log_ratios - shift)
    sums = np.sum(weight * ratio, axis=1)
    if not np.all(sums > 0):
        raise FloatingPointError(
            f"weights: their sum is {sums.min():g} with log ratios from {log_ratios.min():g} to "
            f"{log_ratios.max():g}; expected a positive sum"
        )
    result = ratio * (total / sums)[:, None]
    if not np.all(np.isfinite(result)):
        raise FloatingPointError(
            f"weights: {np.sum(~np.isfinite(result))} are not finite with log ratios from "
            f"{log_ratios.min():g} to {log_ratios.max():g}; expected finite weights"
        )
    before = np.sum(weight[0] * factor[0])
    return result, float(np.exp(shift[0, 0] + np.log(sums[0] / before)))


def _report(name: str, factor: np.ndarray, last: np.ndarray, weight: np.ndarray) -> dict[str, Any]:
    """What a step made of the factors (R, m) of the first replica; InputError where few count."""
    new, old, own = factor[0], last[0], weight[0]
    found = weight_report(new)
    size, before = effective_sample_size(own * new), effective_sample_size(own)
    if size < LEAST_SIZE * before:
        raise InputError(
            f"{name} weights: their effective sample size is {size:.1f} where that of the "
            f"simulation is {before:.1f}; expected data that overlap with the simulation"
        )
    known = (new > 0) & (old > 0)
    change = np.log(new[known] / old[known])
    return {
        "weights": name,
        "finite": found.finite,
        "minimum": found.minimum,
        "maximum": found.maximum,
        "effective_size": size,
        "effective_size_before": before,
        "change": float(np.sqrt(np.mean(change**2))) if known.any() else 0.0,
    }


def _kept(state: Unfolded, folder: Path) -> Unfolded:
    """Write the state; checkpoints within the step are of no use then."""
    state.write(folder / RESULT)
    if processes.is_first():
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    return state


def _log(folder: Path, iteration: int, level: Level, records: list[Record]) -> None:
    """Write the epochs of a step behind those of the steps before."""
    if not processes.is_first():
        return
    path = folder / "log.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    earlier = [json.loads(line) for line in lines]
    place = (iteration, STEPS.index(level))
    kept = [r for r in earlier if (r["iteration"], STEPS.index(r["level"])) < place]
    write_lines(path, [*kept, *records])
