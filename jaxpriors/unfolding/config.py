"""The configuration of an unfolding: networks of both steps, iterations, replicas, warm starts."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from jaxpriors.data.batching import UNITS
from jaxpriors.errors import InputError
from jaxpriors.ratio.classifier import RatioClassifier
from jaxpriors.ratio.presets import find_model
from jaxpriors.run.ranges import MOST_NETWORKS, check_number, check_whole
from jaxpriors.training.loop import TrainingConfig
from jaxpriors.unfolding.variance import design

Level = Literal["detector", "particle"]
STEPS: tuple[Level, Level] = ("detector", "particle")
PATIENCE = 3  # epochs without a better validation loss, in every step


def later_training(classifier: RatioClassifier) -> TrainingConfig:
    """Configure the training that continues the previous iteration, at a constant rate.

    That of size small is short, and its last epoch counts: held-out events are too few to tell
    apart epochs with little left to learn, the first of which would often be taken for the best.
    """
    training = classifier.training
    rate, epochs = find_model(classifier.model).later[classifier.size]
    constant = dataclasses.replace(
        training.optimizer, learning_rate=rate, warmup=0.0, final_rate=1.0, body_factor=1.0
    )
    changed: Any = {"optimizer": constant, "epochs": min(epochs, training.epochs)}
    if classifier.size == "small":
        changed |= {"keep": "last", "patience": None}
    return dataclasses.replace(training, **changed)


@dataclass(frozen=True)
class OmniFold:
    """Configure an unfolding; ``unfold`` runs it.

    detector, particle: the classifiers of step 1 and step 2, each of any model. A batch of step 2
    has half of the ``batch_size`` events, each of them in both classes.
    warm_start: whether the networks continue from those of the previous iteration, trained as in
    ``later`` (detector, particle; None: `later_training`); otherwise every step starts anew.
    from_one: whether those of step 1 then start with a ratio of 1, their output layer at zero, as
    the push weights hold the ratio that they found by then; otherwise they have it to unlearn, as
    in the published trainings. None: in size small.
    members: networks of each step, whose median log ratio is used. replicas: repetitions of the
    whole unfolding on bootstrap samples of data and simulation, for the errors. starts: unfoldings
    of each bootstrap sample with other first weights; two or more tell apart the variances due to
    data, simulation and first weights (`unfolding.variance`). All networks of a step train as one
    program. clip: largest ratio of a step, and the inverse of the smallest; None for no limits.
    seed: of the bootstrap, and of the split into events to train and to validate on, so that
    networks with other seeds, which the trainings of the classifiers have, can be compared.

    >>> from jaxpriors import OmniFold, RatioClassifier
    >>> step = RatioClassifier("lgatr-slim")
    >>> OmniFold(step, step).classifier("particle", iteration=2).training.epochs
    2
    """

    detector: RatioClassifier
    particle: RatioClassifier
    iterations: int = 5
    warm_start: bool = True
    from_one: bool | None = None
    later: tuple[TrainingConfig, TrainingConfig] | None = None
    members: int = 1
    replicas: int = 0
    starts: int = 1
    clip: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        """Raise InputError for options out of range and classifiers that are ensembles."""
        check_whole("iterations", self.iterations, 1, MOST_NETWORKS)
        check_whole("members", self.members, 1, MOST_NETWORKS)
        check_whole("members × replicas", self.networks, 1, MOST_NETWORKS)
        check_whole("seed", self.seed, 0)
        if self.clip is not None:
            check_number("clip", self.clip, 1, open_at=(1,))
        if self.detector.ensemble is not None or self.particle.ensemble is not None:
            raise InputError("ensemble: found one in a classifier, expected `members` in its place")

    def classifier(self, level: Level, iteration: int) -> RatioClassifier:
        """Give the classifier of a step; iterations count from 1."""
        first: RatioClassifier = getattr(self, level)
        training = first.training
        if iteration > 1 and self.warm_start:
            known = self.later and self.later[STEPS.index(level)]
            training = known or later_training(first)
        if training.patience is None and training.keep == "best":
            training = dataclasses.replace(training, patience=PATIENCE)
        if level == "particle":  # each event is in both samples
            half = -(-training.batch_size // (2 * UNITS)) * UNITS
            training = dataclasses.replace(training, batch_size=half)
        networks = self.networks if self.networks > 1 else None
        return dataclasses.replace(first, training=training, ensemble=networks)

    @property
    def starts_from_one(self) -> bool:
        """Tell whether the networks of step 1 start later iterations with a ratio of 1."""
        return self.detector.size == "small" if self.from_one is None else self.from_one

    @property
    def draws(self) -> np.ndarray:
        """Tell which bootstrap samples each unfolding holds, (R, 2) (`variance.design`)."""
        return design(self.replicas, self.starts)

    @property
    def networks(self) -> int:
        """Count the networks of a step, which train as one program."""
        return self.members * len(self.draws)


def describe(config: OmniFold) -> dict[str, Any]:
    """Give the configuration as plain data, with all defaults and the trainings of both steps."""

    def used(level: Level, iteration: int) -> RatioClassifier:
        return dataclasses.replace(config.classifier(level, iteration), ensemble=None)

    first: Any = {level: used(level, 1) for level in STEPS}
    whole = dataclasses.asdict(dataclasses.replace(config, **first))
    later = [dataclasses.asdict(used(level, 2).training) for level in STEPS]
    whole["later"] = later if config.warm_start else None
    whole["from_one"] = config.warm_start and config.starts_from_one
    found = json.loads(json.dumps(whole))
    for level in STEPS:  # the content identifies a file, wherever it is
        if found[level]["pretrained"] is not None:
            del found[level]["pretrained"]["file"]
    return found
