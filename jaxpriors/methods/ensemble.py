"""Ensembles: several networks of one configuration, trained and applied as one program.

The networks' parameters are stacked along a leading axis and computed with by ``vmap``. They see
the same events in the same order and differ by their first weights and, with a bootstrap, by how
often each event counts (Efron, Ann. Statist. 7 (1979) 1), so that their spread shows how much a
result owes to the training alone, or to the training and its sample.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxpriors.data.stored import Sample
from jaxpriors.errors import InputError
from jaxpriors.layers.core import module
from jaxpriors.models.classifiers import Classifier, classifier_of


@module
class Ensemble:
    """k classifiers: every parameter of ``members`` has a leading axis of that length."""

    members: Classifier

    @classmethod
    def of(cls, classifiers: Sequence[Classifier]) -> "Ensemble":
        """The ensemble of these classifiers, which have one configuration."""
        return cls(jax.tree.map(lambda *x: jnp.stack(x), *classifiers))

    @property
    def size(self) -> int:
        """k."""
        return jax.tree.leaves(self.members)[0].shape[0]

    def __call__(self, inputs: Any, *, key: Array | None = None) -> Array:
        """Logits (B, k). ``key`` switches dropout on; the first member drops as if it was alone."""

        def one(member: Any, key: Array | None) -> Array:
            return member(inputs, key=key)

        if key is None:
            return jax.vmap(one, (0, None), 1)(self.members, None)
        keys = jnp.stack([key, *(jax.random.fold_in(key, i) for i in range(1, self.size))])
        return jax.vmap(one, (0, 0), 1)(self.members, keys)


def size_of(classifier: Classifier | Ensemble) -> int:
    """How many networks there are."""
    return classifier.size if isinstance(classifier, Ensemble) else 1


def networks_of(classifier: Classifier | Ensemble) -> list[Any]:
    """The networks, one by one."""
    if not isinstance(classifier, Ensemble):
        return [classifier.network]
    stacked = classifier.members.network
    return [jax.tree.map(lambda x, i=i: x[i], stacked) for i in range(classifier.size)]


def around(networks: Sequence[Any]) -> Classifier | Ensemble:
    """The inverse of ``networks_of``: the classifier of one network or the ensemble of several.

    Raises InputError where these differ in their configurations.
    """
    if len({network.config for network in networks}) > 1:
        raise InputError("ensemble: found networks of several configurations, expected one")
    classifiers = [classifier_of(network) for network in networks]
    return classifiers[0] if len(classifiers) == 1 else Ensemble.of(classifiers)


def shared_out(most: int | None, networks: int) -> int | None:
    """The rows of a chunk in which so many networks need what one does with ``most`` rows."""
    return None if most is None else max(most // networks, 1)


def bootstrap_weights(events: Sample, seeds: Sequence[int]) -> np.ndarray:
    """The weights of labelled events times Poisson numbers of mean 1 for each seed, (n, k) float64.

    Each class keeps its sum of weights: the ratio is one of normalised densities. Raises
    InputError where a class is left without a positive sum.
    """
    assert events.label is not None
    counts = np.stack([poisson(len(events), seed) for seed in seeds], axis=1)
    sums = [events.weight[events.label == label].sum() for label in (0, 1)]
    return with_sums(events.weight[:, None] * counts, events.label, sums)


def poisson(n: int, seed: int) -> np.ndarray:
    """How often each of n events is in a sample drawn with replacement, (n,) int64."""
    # the 1 sets these numbers apart from those that split the events
    return np.random.default_rng([seed, n, 1]).poisson(1.0, n)


def with_sums(weight: np.ndarray, label: np.ndarray, sums: Sequence[float]) -> np.ndarray:
    """Weights (n, k) of k networks, scaled such that each class of each network has its sum.

    label (n,): 0 or 1; sums: of class 0 and class 1. Raises InputError where a sum is not positive
    to begin with.
    """
    result = np.array(weight, np.float64)
    for value in (0, 1):
        chosen = label == value
        totals = np.array([result[chosen, i].sum() for i in range(result.shape[1])])
        if not np.all(totals > 0):
            worst = int(np.argmin(totals))
            raise InputError(
                f"weights: those of network {worst} sum to {totals[worst]:g} in the class of "
                f"label {value}, expected a positive number; give more events"
            )
        result[chosen] *= sums[value] / totals
    return result
