"""Training examples of a classifier: events with labels and weights, for one or several networks.

Two samples have the labels 0 (simulation) and 1 (data). Where the second sample is the first one
with other weights, each event occurs once: with weight w in one sample and w' in the other, it
counts as one event of weight w + w' and label w' / (w + w'). The loss summed over all events is the
same, at half the cost, and every step sees an event in both classes.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from jaxpriors.data.batching import Batch, split
from jaxpriors.data.events import Events
from jaxpriors.data.stored import Sample, StoredEvents
from jaxpriors.data.weights import check_sum
from jaxpriors.errors import InputError
from jaxpriors.preprocessing.registry import Preprocessing
from jaxpriors.ratio.model import member_logits
from jaxpriors.ratio.networks import Classifier, Ensemble
from jaxpriors.run.storage import digest
from jaxpriors.training.step import Loss, Precision, by_rows


@dataclass(frozen=True)
class Examples:
    """Hold events to classify, with labels and weights (n,).

    weight, label: (n, k) for k networks, where they differ from those of the events.
    """

    events: Sample
    weight: np.ndarray | None = None
    label: np.ndarray | None = None

    def digest(self) -> str:
        """Hash everything that the networks see."""
        arrays = {"weight": self.weight, "label": self.label}
        named = [x for name, array in arrays.items() if array is not None for x in (name, array)]
        return digest(self.events.digest(), *named)


Split = tuple[Examples, Examples]  # to train on and to validate on
CLASSES, PARTS = ("simulation", "data"), ("training", "validation")
LEAST_LOSS = 0.05  # validation loss below which the samples hardly overlap


def two_classes(
    simulation: Sample, data: Sample, columns: Sequence[str] = (), part: str = ""
) -> Sample:
    """Join two samples as the classes 0 and 1; the weights of each sum to half the events.

    columns: the columns to keep. part: of the samples, for messages: training, validation or test.
    The events are in memory where those of one sample are.

    Raises InputError for a class without events or without a positive sum of weights, for momenta
    without direction in the transverse plane, for a missing column, and where only one class has
    identities, which would give the class away.
    """
    half = (len(simulation) + len(data)) / 2
    parts = []
    for label, (name, events) in enumerate(zip(CLASSES, (simulation, data), strict=True)):
        total = check_trainable(events, name, part)
        scaled = events.with_weight(events.weight * (half / total))
        parts.append(scaled.with_label(label))
    if simulation.identities != data.identities:
        without = "data" if simulation.identities else "simulation"
        raise InputError(
            f"pid: the {without} have none and the other sample has; expected identities in both "
            "samples or in none"
        )
    kept = [part.with_columns(columns) for part in parts]
    on_disk = [part for part in kept if isinstance(part, StoredEvents)]
    if len(on_disk) == len(kept):
        return StoredEvents.concatenate(on_disk)
    return Events.concatenate([part.read() for part in kept])


def check_trainable(events: Sample, name: str, part: str = "") -> float:
    """Return the sum of weights; raise InputError for a sample that no network can be trained on.

    It has no events, weights without a positive sum, momenta without transverse direction, or
    events that lack their level. part: as in ``two_classes``.
    """
    total = check_sum(name, events.weight, part)
    passing = events.passing
    if passing is not None:
        raise InputError(
            f"{name}: found {np.sum(~passing)} of {len(passing)} events that lack their level "
            "(pass_reco, pass_gen), expected the others alone: events[events.passing]"
        )
    for what, bad in events.undirected().items():
        if bad:
            raise InputError(f"{name}: found {bad} {what} with pT or E of 0, expected none")
    return total


def two_samples(
    simulation: Events,
    data: Events,
    weights: tuple[np.ndarray, np.ndarray],
    validation: float,
    seed: int,
    columns: Sequence[str] = (),
) -> Split:
    """Split two samples with weights (n, k) and (m, k), labelled as in ``two_classes``.

    validation: the share of both to validate on. In each part, the weights of each class and
    network sum to half the number of events. Raises InputError as ``two_classes`` does, and where a
    network has no positive sum of weights.
    """
    shares = (1 - validation, validation)
    index = [split(len(events), shares, seed) for events in (simulation, data)]
    parts = []
    for part, a, b in zip(PARTS, *index, strict=True):
        label = np.repeat([0, 1], [len(a), len(b)])
        weight = np.concatenate([weights[0][a], weights[1][b]])
        first = simulation[a].with_weight(weights[0][a, 0]), data[b].with_weight(weights[1][b, 0])
        events = two_classes(*first, columns, part)
        parts.append(Examples(events, with_sums(weight, label, [len(label) / 2] * 2, part)))
    return parts[0], parts[1]


def one_sample(
    events: Events,
    weights: tuple[np.ndarray, np.ndarray],
    validation: float,
    seed: int,
    columns: Sequence[str] = (),
) -> Split:
    """Split events that are in both classes, with weights (n, k) in each; else as ``two_samples``.

    The two weights of an event have the same sign. Raises InputError as ``two_samples`` does.
    """
    parts = []
    shares = split(len(events), (1 - validation, validation), seed)
    for part, index in zip(PARTS, shares, strict=True):
        chosen = events[index].with_weight(weights[0][index, 0])
        check_trainable(chosen, "simulation", part)
        n = len(chosen)
        both = np.concatenate([w[index] for w in weights])
        in_both = with_sums(both, np.repeat([0, 1], n), [n / 2] * 2, part).reshape(2, n, -1)
        weight = in_both.sum(0)
        label = np.divide(in_both[1], weight, out=np.full_like(weight, 0.5), where=weight != 0)
        parts.append(Examples(chosen.with_columns(columns), weight, label))
    return parts[0], parts[1]


def bootstrap_weights(events: Sample, seeds: Sequence[int]) -> np.ndarray:
    """Multiply the weights of labelled events by Poisson counts of mean 1, (n, k) float64.

    There is one column for each seed, a bootstrap sample each (Efron, Ann. Statist. 7 (1979) 1).
    Each class keeps its sum of weights, as the ratio compares normalised densities. Raises
    InputError where a class is left without a positive sum.
    """
    assert events.label is not None
    counts = np.stack([poisson(len(events), seed) for seed in seeds], axis=1)
    sums = [events.weight[events.label == label].sum() for label in (0, 1)]
    return with_sums(events.weight[:, None] * counts, events.label, sums, PARTS[0])


def poisson(n: int, seed: int) -> np.ndarray:
    """Draw how often a bootstrap sample holds each of n events, (n,) int64."""
    # the 1 makes these draws independent of those that split the events
    return np.random.default_rng([seed, n, 1]).poisson(1.0, n)


def with_sums(
    weight: np.ndarray, label: np.ndarray, sums: Sequence[float], part: str
) -> np.ndarray:
    """Scale the weights (n, k) of k networks so that each class sums to its entry of ``sums``.

    label (n,): 0 or 1; sums: of class 0 and class 1; part: as in ``two_classes``. Raises InputError
    where a sum is not positive before.
    """
    result = np.array(weight, np.float64)
    for value in (0, 1):
        chosen = label == value
        totals = np.array([result[chosen, i].sum() for i in range(result.shape[1])])
        if not np.all(totals > 0):
            worst = int(np.argmin(totals))
            raise InputError(
                f"{CLASSES[value]}, {part} part: the {int(chosen.sum())} weights of network "
                f"{worst} sum to {totals[worst]:g}, expected a positive number; give more events "
                "or that part a larger share"
            )
        result[chosen] *= sums[value] / totals
    return result


def weighted_cross_entropy(logits: np.ndarray, sample: Examples) -> np.ndarray:
    """Average weight × binary cross-entropy of logits (n, k) over the events; gives (k,)."""
    events = sample.events
    weight = events.weight[:, None] if sample.weight is None else sample.weight
    label = events.label if sample.label is None else sample.label
    assert label is not None
    label = label.reshape(len(logits), -1)
    entropy = np.logaddexp(0.0, logits) - label * logits
    return np.sum(weight * entropy, axis=0) / len(events)


@lru_cache(maxsize=32)
def make_loss(
    preprocessing: Preprocessing, precision: Precision, drops: bool, regression: bool = False
) -> Loss:
    """Make the loss of a batch: Σ weight × binary cross-entropy, averaged over the networks.

    drops: whether the networks drop something in training, so that each row has a key of its own.
    regression: whether a PET's head, not its body, also learns the jet features by their mean
    squared error in each event (OmniLearn, omnifold.py): its gradient is added, not its value.
    """

    def loss(classifier: Classifier | Ensemble, batch: Batch, key: Array | None) -> Array:
        error: Any = None
        if regression:
            inputs: Any = precision.to_compute(preprocessing(batch))
            with precision.products():
                network: Any = precision.to_compute(classifier)
                found = network.with_regression(inputs, key=key).astype("float32")
            logits, error = jnp.moveaxis(found.reshape(len(found), -1, 2), -1, 0)
        else:
            logits = member_logits(classifier, batch, key, preprocessing, precision)
        label, weight = (x.reshape(len(logits), -1) for x in (batch.label, batch.weight))
        total = weight * optax.sigmoid_binary_cross_entropy(
            logits, label
        )  # labels (B, 1) broadcast
        if regression:
            error = jnp.where(weight == 0, 0.0, error)  # rows that fill the batch
            total += error - jax.lax.stop_gradient(error)
        return total.mean(1).sum()

    return by_rows(loss) if drops else lambda classifier, batch, _: loss(classifier, batch, None)


def check_overlap(validation_loss: float) -> None:
    """Raise InputError where the loss shows that the samples hardly overlap: no ratio exists."""
    if validation_loss < LEAST_LOSS:
        raise InputError(
            f"the samples can be told apart (validation loss {validation_loss:.3f}, "
            f"{math.log(2):.3f} where they are alike); expected data that overlap with the "
            "simulation"
        )
