"""What a classifier is trained on: events with labels and weights, for one network or for several.

Two samples have the labels 0 (simulation) and 1 (data). Where the second sample is the first one
with other weights, each event is there once: with weight w in the one and w' in the other it counts
as one event of weight w + w' and label w' / (w + w'). The sum over all events is the same, at half
the cost, and no step sees an event in one of its roles alone.
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import optax
from jax import Array

from jaxpriors.data.batching import Batch
from jaxpriors.data.events import Events
from jaxpriors.data.splitting import split
from jaxpriors.data.stored import Sample, concatenated
from jaxpriors.errors import InputError
from jaxpriors.methods.ensemble import Ensemble, with_sums
from jaxpriors.methods.ratio import member_logits
from jaxpriors.models.classifiers import Classifier, drops
from jaxpriors.preprocessing import Preprocessing
from jaxpriors.training.precision import Precision
from jaxpriors.training.step import Loss, by_rows


@dataclass(frozen=True)
class Labelled:
    """Events to classify, by their labels and weights (n,).

    weight, label: those of each of k networks (n, k), where they are not the events' own.
    """

    events: Sample
    weight: np.ndarray | None = None
    label: np.ndarray | None = None

    def digest(self) -> str:
        """A hash of all that networks can see."""
        found = hashlib.blake2b(self.events.digest().encode(), digest_size=16)
        for name, array in (("weight", self.weight), ("label", self.label)):
            if array is not None:
                found.update(name.encode())
                found.update(np.ascontiguousarray(array).tobytes())
        return found.hexdigest()


Parts = tuple[Labelled, Labelled]  # to train on and to validate on
LEAST_LOSS = 0.05  # of a validation: below, hardly an event could be of either sample


def labelled(simulation: Sample, data: Sample, columns: Sequence[str] = ()) -> Sample:
    """One sample with labels 0 and 1, each class's weights summing to half the events.

    Of the samples' columns it has those named.

    Raises InputError for a class without events or without a positive sum of weights, for momenta
    without direction in the transverse plane, for a column that is missing, and where one class
    alone has identities: a network would tell the classes apart by that.
    """
    half = (len(simulation) + len(data)) / 2
    parts = []
    for name, label, events in (("simulation", 0, simulation), ("data", 1, data)):
        check(events, name)
        scaled = events.with_weight(events.weight * (half / float(np.sum(events.weight))))
        parts.append(scaled.with_label(label))
    if simulation.identities != data.identities:
        without = "data" if simulation.identities else "simulation"
        raise InputError(
            f"pid: the {without} have none and the other sample has; expected identities in both "
            "samples or in none"
        )
    return concatenated([part.with_columns(columns) for part in parts])


def check(events: Sample, name: str) -> None:
    """Raise InputError for what no network can be trained on.

    That is: no event, weights without a positive sum, momenta without transverse direction.
    """
    total = float(np.sum(events.weight))
    if len(events) == 0 or not total > 0:
        raise InputError(
            f"{name}: {len(events)} events with weights that sum to {total:g}; expected at "
            "least one event and a positive sum"
        )
    for what, bad in events.undirected().items():
        if bad:
            raise InputError(f"{name}: found {bad} {what} with pT or E of 0, expected none")


def two_samples(
    simulation: Events,
    data: Events,
    weights: tuple[np.ndarray, np.ndarray],
    validation: float,
    seed: int,
    columns: Sequence[str] = (),
) -> Parts:
    """Two samples with weights (n, k) and (m, k), labelled as ``labelled`` does it.

    validation: the share of both that is set apart. Each class of each part and network has weights
    that sum to half the part's events. Raises InputError as ``labelled``, and where a network has
    no positive sum of weights.
    """
    shares = (1 - validation, validation)
    index = [split(len(events), shares, seed) for events in (simulation, data)]
    parts = []
    for a, b in zip(*index, strict=True):
        label = np.repeat([0, 1], [len(a), len(b)])
        weight = np.concatenate([weights[0][a], weights[1][b]])
        first = simulation[a].with_weight(weights[0][a, 0]), data[b].with_weight(weights[1][b, 0])
        events = labelled(*first, columns)
        parts.append(Labelled(events, with_sums(weight, label, [len(label) / 2] * 2)))
    return parts[0], parts[1]


def one_sample(
    events: Events,
    weights: tuple[np.ndarray, np.ndarray],
    validation: float,
    seed: int,
    columns: Sequence[str] = (),
) -> Parts:
    """Events that are in both classes, with weights (n, k) in each; otherwise as ``two_samples``.

    An event's two weights have the same sign. Raises InputError as ``two_samples``.
    """
    parts = []
    for index in split(len(events), (1 - validation, validation), seed):
        chosen = events[index].with_weight(weights[0][index, 0])
        check(chosen, "simulation")
        n = len(chosen)
        both = np.concatenate([w[index] for w in weights])
        in_both = with_sums(both, np.repeat([0, 1], n), [n / 2] * 2).reshape(2, n, -1)
        weight = in_both.sum(0)
        label = np.divide(in_both[1], weight, out=np.full_like(weight, 0.5), where=weight != 0)
        parts.append(Labelled(chosen.with_columns(columns), weight, label))
    return parts[0], parts[1]


def weighted_cross_entropy(logits: np.ndarray, sample: Labelled) -> np.ndarray:
    """Mean over events of weight × binary cross-entropy of each network's logits (n, k); (k,)."""
    events = sample.events
    weight = events.weight[:, None] if sample.weight is None else sample.weight
    label = events.label if sample.label is None else sample.label
    assert label is not None
    label = label.reshape(len(logits), -1)
    entropy = np.logaddexp(0.0, logits) - label * logits
    return np.sum(weight * entropy, axis=0) / len(events)


@lru_cache(maxsize=32)
def make_loss(preprocessing: Preprocessing, precision: Precision) -> Loss:
    """The loss of a batch: weight × binary cross-entropy, summed; the mean over the networks."""

    def entropies(classifier: Classifier | Ensemble, batch: Batch, key: Array | None) -> Array:
        logits = member_logits(classifier, batch, key, preprocessing, precision)
        label, weight = (x.reshape(len(logits), -1) for x in (batch.label, batch.weight))
        entropy = optax.sigmoid_binary_cross_entropy(logits, label)  # (B, 1) is for all networks
        return (weight * entropy).mean(1).sum()

    def loss(classifier: Classifier | Ensemble, batch: Batch, keys: Array) -> Array:
        one = classifier.members if isinstance(classifier, Ensemble) else classifier
        if drops(one.network.config):
            return by_rows(entropies)(classifier, batch, keys)
        return entropies(classifier, batch, None)

    return loss


def check_overlap(validation_loss: float) -> None:
    """Raise InputError where this loss says that the samples hardly overlap: no ratio exists."""
    if validation_loss < LEAST_LOSS:
        raise InputError(
            f"the samples can be told apart (validation loss {validation_loss:.3f}, "
            f"{math.log(2):.3f} where they are alike); expected data that overlap with the "
            "simulation"
        )
