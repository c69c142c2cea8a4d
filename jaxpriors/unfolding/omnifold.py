"""OmniFold: unfolding by two classifiers in turn (arXiv:1911.09107; losses: arXiv:2105.04448).

Simulated events are known at particle level and at detector level, data only at detector level. An
iteration has two steps, each a likelihood ratio by classification (`ratio.classifier`):

1. The step at detector level separates the data from the simulation with its push weights, and
   gives the pull weights: pull = push × p_data / p_simulation.
2. The step at particle level separates the events that have both levels, with pull weights, from
   the same events without, and gives new push weights: the mean pull weight of events that look
   alike at particle level, a function that has a value for every event with a particle level. As
   both classes hold the same events, each event occurs once, in both classes (`ratio.examples`),
   and a batch has half as many events: an epoch has as many updates as with two samples.

Pull and push are factors: event weight × push is the unfolded sample.

Events with only one level also get weights, averages over similar events. An event without a
detector level has the mean pull weight of the events that look alike at particle level, which is
its push weight (until step 2 is done, that of the previous iteration, 1 in the first). As the
detector loses events of both samples of step 2 alike, the losses do not change their ratio. Events
without a particle level (fakes) all look alike there: their push weight is the mean of their pull
weights.

Normalisation: the weighted means of pull and of push over the simulated events with a detector
level are 1. The normalisation of the data is a separate factor (``scale`` of the result).
"""

from __future__ import annotations

import dataclasses
import math
import shutil
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from jaxpriors.data.events import Events
from jaxpriors.data.matched import Simulation
from jaxpriors.data.stored import Sample
from jaxpriors.data.units import check_units
from jaxpriors.data.weights import check_sum
from jaxpriors.errors import InputError
from jaxpriors.ratio.examples import Examples, Split, check_overlap, one_sample, two_samples
from jaxpriors.ratio.model import RatioModel
from jaxpriors.ratio.networks import at_ratio_one
from jaxpriors.run import processes
from jaxpriors.run.folder import PACKAGES, differences, logged, read_log
from jaxpriors.run.storage import exists
from jaxpriors.training.loop import Record
from jaxpriors.unfolding.config import STEPS, Level, OmniFold, describe
from jaxpriors.unfolding.config import later_training as later_training  # for users
from jaxpriors.unfolding.factors import moves, report_step, with_sum
from jaxpriors.unfolding.quality import Gain, measured
from jaxpriors.unfolding.result import Unfolded
from jaxpriors.unfolding.variance import counts

RESULT = "unfolding.h5"


def check_samples(simulation: Simulation, data: Events, config: OmniFold) -> None:
    """Check the samples of an unfolding before it begins.

    Raises InputError where the weights of the data, or of the simulated events with a detector
    level, have no positive sum in one of the replicas, and as `data.units.check_units`.
    """
    levels = {f"the simulation's {level} level": getattr(simulation, level) for level in STEPS}
    check_units(levels | {"the data": data})
    measured = {"data": data.weight, "simulation": simulation.weight * simulation.pass_reco}
    for name, weight in measured.items():
        check_sum(f"{name} at detector level", weight)
        sums = counts(len(weight), config.draws, config.seed, name) @ weight
        if not np.all(sums > 0):
            worst = int(np.argmin(sums))
            raise InputError(
                f"{name} at detector level: {len(weight)} events with weights that sum to "
                f"{sums[worst]:g} in replica {worst}; expected a positive sum: give more events"
            )


def unfold(
    simulation: Simulation,
    data: Events,
    config: OmniFold,
    folder: str | Path,
    progress: Callable[[Record], None] = lambda record: None,
) -> Unfolded:
    """Unfold the data; write the result to ``unfolding.h5`` in the folder as well.

    The file exists from the first step on, with the finished steps; ``model`` holds the networks of
    each step (`ratio.model.RatioModel`) and ``log.jsonl`` one line per epoch. A call with the
    folder of a killed call resumes it, to the same result. ``progress`` gets {"stage": …} at each
    step, and the records of the training loop.

    Raises:
        InputError: samples that cannot be trained on, data that hardly overlap with the simulation,
            a folder with an unfolding of other samples or settings.
        TrainingError, FloatingPointError: a loss or a weight that is not finite; the steps before
            it are kept.

    >>> import numpy as np
    >>> from jaxpriors import Events, OmniFold, RatioClassifier, Simulation, unfold
    >>> from jaxpriors.preprocessing.columns import ColumnsConfig
    >>> x = np.random.default_rng(0).normal(size=400)
    >>> truth, smeared = Events.from_columns({"x": x}), Events.from_columns({"x": x + 0.1})
    >>> data = Events.from_columns({"x": x[:300] + 0.3})
    >>> step = RatioClassifier("mlp", inputs=ColumnsConfig(("x",)))
    >>> simulation = Simulation.of(truth, smeared)
    >>> result = unfold(simulation, data, OmniFold(step, step, iterations=1), "unfolded")
    >>> weights = result.weights()[0]  # in the data's normalisation
    >>> weights.shape, round(float(weights.sum()), 6)
    ((400,), 300.0)
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    state = _begin(simulation, data, config, folder)
    drawn = counts(len(data), config.draws, config.seed, "data")
    per_weight = float(np.sum(data.weight**2) / np.sum(data.weight))  # variance
    for iteration in range(1, config.iterations + 1):
        if len(state.pull) < iteration:
            progress({"stage": f"iteration {iteration}, step 1: data at detector level"})
            state = _step_1(state, simulation, data, drawn, config, folder, progress)
        if len(state.push) < iteration:
            progress({"stage": f"iteration {iteration}, step 2: simulation at particle level"})
            state = _step_2(state, simulation, per_weight, config, folder, progress)
    return state


def _begin(simulation: Simulation, data: Events, config: OmniFold, folder: Path) -> Unfolded:
    """Read the state of an earlier call, or make the state before the first step."""
    check_samples(simulation, data, config)
    if processes.index() == 0:
        for left in folder.glob(f".{RESULT}.*"):  # from a call that was killed while it wrote
            left.unlink()
    asked: dict[str, Any] = {
        "configuration": describe(config),
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
    n, draws = len(simulation), config.draws
    drawn = counts(n, draws, config.seed, "simulation")
    found = simulation.weight * simulation.pass_reco
    measured = counts(len(data), draws, config.seed, "data") @ data.weight
    state = Unfolded(
        weight=simulation.weight,
        pass_gen=simulation.pass_gen,
        pass_reco=simulation.pass_reco,
        pull=np.zeros((0, len(draws), n)),
        push=np.zeros((0, len(draws), n)),
        replicas=drawn,
        draws=draws,
        scale=measured / (drawn @ found),
        iterations=config.iterations,
        observables=simulation.particle_columns(),
        metadata={**asked, "versions": {name: version(name) for name in PACKAGES}},
        reports=[],
    )
    state.write(path)
    return state


def _step_1(
    state: Unfolded,
    simulation: Simulation,
    data: Events,
    drawn: np.ndarray,
    config: OmniFold,
    folder: Path,
    progress: Callable[[Record], None],
) -> Unfolded:
    """Find the pull weights, which turn the simulation with push weights into the data."""
    reco = state.pass_reco
    weight = state.weight * state.replicas
    before = state.push[-1] if len(state.push) else np.ones_like(weight)
    weights = _each(config, (weight * before)[:, reco]), _each(config, drawn * data.weight)
    examples = partial(two_samples, simulation.detector, data, weights)
    where = (config, state, folder, progress)
    log_ratios, report = _fit("detector", examples, simulation.detector, *where)
    pull = before.copy()  # events without a detector level keep their push weight
    pull[:, reco], report["normalisation"] = with_sum(
        before[:, reco], log_ratios, weight[:, reco], weight[:, reco].sum(1)
    )
    last = state.pull[-1] if len(state.pull) else np.ones_like(weight)
    report |= report_step("pull", pull[:, reco], last[:, reco], weight[:, reco])
    return _kept(state, folder, report, pull=pull)


def _step_2(
    state: Unfolded,
    simulation: Simulation,
    per_weight: float,
    config: OmniFold,
    folder: Path,
    progress: Callable[[Record], None],
) -> Unfolded:
    """Find the push weights: the pull weights as a function of the particle level."""
    gen, reco = state.pass_gen, state.pass_reco
    weight, pull = state.weight * state.replicas, state.pull[-1]
    both, fakes = gen & reco, reco & ~gen
    pulled = weight * pull
    events = simulation.particle[both[gen]]
    weights = _each(config, weight[:, both]), _each(config, pulled[:, both])
    examples = partial(one_sample, events, weights)
    where = (config, state, folder, progress)
    log_ratios, report = _fit("particle", examples, simulation.particle, *where)
    push = np.ones_like(weight)
    known = np.where(both, weight, 0.0)[:, gen]
    push[:, gen], report["normalisation"] = with_sum(
        np.ones_like(known), log_ratios, known, pulled[:, both].sum(1)
    )
    if fakes.any():
        sums = weight[:, fakes].sum(1), pulled[:, fakes].sum(1)
        if not all(np.all(s > 0) for s in sums):
            raise FloatingPointError(
                f"push weights of the {fakes.sum()} events without a particle level: their weights "
                f"sum to {sums[0].min():g} and, pulled, to {sums[1].min():g}; expected positive "
                "sums, whose ratio they get"
            )
        push[:, fakes] = (sums[1] / sums[0])[:, None]
    last = state.push[-1] if len(state.push) else np.ones_like(weight)
    some = gen | reco
    report |= report_step("push", push[:, some], last[:, some], weight[:, some])
    report |= moves(state, push, per_weight)
    return _kept(state, folder, report, push=push)


def _each(config: OmniFold, weights: np.ndarray) -> np.ndarray:
    """Repeat the weights (R, n) of each replica for its networks, (n, networks)."""
    return np.repeat(weights, config.members, axis=0).T


def _fit(
    level: Level,
    make_split: Callable[..., Split],
    events: Events,
    config: OmniFold,
    state: Unfolded,
    folder: Path,
    progress: Callable[[Record], None],
) -> tuple[np.ndarray, dict[str, Any]]:
    """Fit the log ratios (R, m) of the m events, and report on the training.

    make_split: a function of ``validation``, ``seed`` and ``columns`` to the examples
    (`ratio.examples`).
    """
    iteration = len(state.push) + 1
    name = f"iteration-{iteration}-{level}"
    classifier = config.classifier(level, iteration)
    before = None
    if iteration > 1:
        before = RatioModel.load(folder / "model" / f"iteration-{iteration - 1}-{level}")
    start = before if config.warm_start else None
    if level == "detector":
        if start is not None and config.starts_from_one:
            start = dataclasses.replace(start, classifier=at_ratio_one(start.classifier))
        before = None  # its ratio is in the push weights
    try:
        trained_on, validated_on = make_split(
            validation=classifier.validation,
            seed=config.seed,
            columns=classifier.inputs.columns,
        )
        path, done = folder / "log.jsonl", [(r["iteration"], r["level"]) for r in state.reports]
        earlier = [r for r in read_log(path) if (r.get("iteration"), r.get("level")) in done]
        log = logged(path, progress, earlier, iteration=iteration, level=level)
        model, trained = classifier.train(
            trained_on, validated_on, folder / "checkpoints" / name, log, start
        )
        kept = min(trained.history, key=lambda r: r["validation_loss"])
        if classifier.training.keep == "last":
            kept = trained.history[-1]
        check_overlap(kept["validation_loss"])
    except InputError as error:
        raise InputError(f"iteration {iteration}, {level} level: {error}") from None
    model.save(folder / "model" / name)
    found = log_ratios_of(model, events, config)
    gained = _gain(model, before, validated_on, config)
    report = {
        "iteration": iteration,
        "level": level,
        "epochs": len(trained.history),
        "epoch": kept["epoch"],
        "validation_loss": kept["validation_loss"],
        **gained._asdict(),
        "clipped": 0.0,
    }
    if config.clip is not None:
        limit = math.log(config.clip)
        report["clipped"] = float(np.mean(np.abs(found[0]) > limit))
        found = np.clip(found, -limit, limit)
    return found, report


def _gain(model: RatioModel, before: RatioModel | None, held: Examples, config: OmniFold) -> Gain:
    """Measure the first replica's step on held-out examples; before: None for a ratio of 1."""
    log_ratio = log_ratios_of(model, held.events, config)[0]
    known = np.zeros_like(log_ratio)
    if before is not None:
        known = log_ratios_of(before, held.events, config)[0]
    label = held.events.label if held.label is None else held.label[:, 0]
    assert held.weight is not None and label is not None
    return measured(log_ratio, known, held.weight[:, 0], label)


def log_ratios_of(model: RatioModel, events: Sample, config: OmniFold) -> np.ndarray:
    """Give the log ratio of each replica, the median of its members, (R, n), not clipped."""
    each = model.log_ratios(events)
    return np.median(each.reshape(len(config.draws), config.members, -1), axis=1)


def _kept(state: Unfolded, folder: Path, report: Any, **factors: np.ndarray) -> Unfolded:
    """Add a step's factors (R, n) and report to the state, write it, and remove its checkpoints."""
    grown: Any = {n: np.concatenate([getattr(state, n), x[None]]) for n, x in factors.items()}
    state = dataclasses.replace(state, **grown, reports=[*state.reports, report])
    state.write(folder / RESULT)
    if processes.index() == 0:
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    return state
