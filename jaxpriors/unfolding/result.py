"""The result of an unfolding as one HDF5 file, which is also the state of an unfinished run.

| dataset              | shape     | dtype   | meaning                                             |
|----------------------|-----------|---------|-----------------------------------------------------|
| `weight`             | (n,)      | float64 | weights of the simulated events, 0 without a level  |
| `pass_gen`           | (n,)      | bool    | which have a particle level                         |
| `pass_reco`          | (n,)      | bool    | which have a detector level                         |
| `pull`               | (I, R, n) | float64 | factors after step 1 of each iteration              |
| `push`               | (J, R, n) | float64 | factors after step 2; weight × push is unfolded     |
| `replicas`           | (R, n)    | int8    | how often each event counts in each replica         |
| `draws`              | (R, 2)    | int64   | which bootstrap sample of data and of simulation    |
|                      |           |         | each replica holds; 0: the sample as it is          |
| `observables/<name>` | (n,)      | float64 | of the particle level; NaN where there is none      |

The events are in the order of the simulation's file. Replica 0 is the result, in which each event
counts once; the others are bootstrap replicas of data and simulation, with other first weights,
whose spread is the error (`unfolding.variance`). Files of version 1 lack `draws`: each replica
holds samples of its own. Attributes of the root: `format` = "jaxpriors-unfolding", `version` = 2,
`iterations` (as requested; the file is finished when `push` has as many), `chosen` (the iteration
to take, `quality.chosen_iteration`, with its `reason`), `scale` (R,) and JSON texts: `metadata`
(configuration, versions, hashes of the samples) and `reports`, one for each finished step.

A particle-level distribution is a histogram of an observable with weight × push × scale, over the
events with ``pass_gen``; that of a replica also has its counts as weights.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from jaxpriors.data.hdf5 import open_source
from jaxpriors.errors import InputError
from jaxpriors.evaluation.histograms import binned
from jaxpriors.run.forms import checked, parse_json
from jaxpriors.run.hdf5 import written_hdf5
from jaxpriors.run.stored_arrays import regular_file
from jaxpriors.unfolding import variance
from jaxpriors.unfolding.quality import chosen_iteration, unmeasured
from jaxpriors.unfolding.variance import Parts, design

FORMAT, VERSION = "jaxpriors-unfolding", 2
_ARRAYS = ("weight", "pass_gen", "pass_reco", "pull", "push", "replicas", "draws")
_VALUES = ("iterations", "scale")
_TEXTS = {"metadata": dict[str, Any], "reports": list[dict[str, Any]]}
MOST_COUNTS = 127  # of one event in one replica, whose mean is 1: what int8 holds
_FACTORS = ("pull", "push", "replicas", "draws", "scale")
_KINDS = {"b": "booleans", "iu": "integers", "f": "floating numbers"}


@dataclass(frozen=True)
class Unfolded:
    """Hold the content of the file, by the same names.

    scale: (R,), the sum of weights of the data over that of the simulated events with a detector
    level, so that scale × weight × push has the normalisation of the data.

    >>> import numpy as np
    >>> from jaxpriors import Unfolded
    >>> one, both = np.ones(4), np.ones(4, bool)
    >>> push = np.array([[[0.5, 1.0, 1.0, 1.5]]])  # of one iteration, without replicas
    >>> counts = np.ones((1, 4), np.int8)
    >>> draws = np.array([[0, 0]])
    >>> result = Unfolded(one, both, both, push, push, counts, draws, np.ones(1), 1, {}, {}, [])
    >>> result.weights()
    array([[0.5, 1. , 1. , 1.5]])
    """

    weight: np.ndarray
    pass_gen: np.ndarray
    pass_reco: np.ndarray
    pull: np.ndarray
    push: np.ndarray
    replicas: np.ndarray
    draws: np.ndarray
    scale: np.ndarray
    iterations: int
    observables: dict[str, np.ndarray]
    metadata: dict[str, Any]
    reports: list[dict[str, Any]]

    @property
    def finished(self) -> bool:
        """Return whether all iterations are done."""
        return len(self.push) == self.iterations

    @property
    def chosen(self) -> int:
        """Return the iteration that held-out events choose (`quality.chosen_iteration`)."""
        return chosen_iteration(self.reports, len(self.push))[0]

    def weights(self, iteration: int | None = None) -> np.ndarray:
        """Give the unfolded weights of each replica (R, n), in the normalisation of the data.

        They are 0 for events without a particle level. iteration: from 1, None for the chosen one;
        0 is the simulation itself. Raises InputError for one that is not done.
        """
        done = len(self.push)
        iteration = self.chosen if iteration is None else iteration
        if not 0 <= iteration <= done:
            raise InputError(f"iteration: found {iteration}, expected 0 to {done}, those done")
        push = 1.0 if iteration == 0 else self.push[iteration - 1]
        weight = self.weight * self.pass_gen * self.replicas
        return self.scale[:, None] * weight * push

    def contents(
        self,
        values: np.ndarray,
        edges: np.ndarray,
        iteration: int | None = None,
        normalised: bool = False,
    ) -> np.ndarray:
        """Fill the spectrum of an observable (n,) by every replica, (R, K); row 0 is the result.

        edges: (K + 1,). iteration: as in ``weights``. normalised: whether each replica's contents
        are shares of their sum. Raises InputError as `histograms.binned` does, and for a sum that
        is not positive where it is divided by.
        """
        gen = self.pass_gen
        weights = self.weights(iteration)[:, gen]
        found = np.stack([binned(values[gen], edges, w).content for w in weights])
        if not normalised:
            return found
        sums = found.sum(1, keepdims=True)
        if not np.all(sums > 0):
            raise InputError(
                f"normalised: the weights within the bins add up to {sums.min():g} in a replica, "
                "expected a positive number"
            )
        return found / sums

    def covariance(
        self,
        values: np.ndarray,
        edges: np.ndarray,
        iteration: int | None = None,
        normalised: bool = False,
    ) -> Parts:
        """Estimate the covariance (K, K) of ``contents`` and its parts (`unfolding.variance`).

        The total holds data, simulation and first weights; its parts are None for replicas with one
        start each. Raises InputError where there are fewer than two bootstrap samples.

        >>> draws = np.array([[0, 0], [1, 1], [2, 2]])  # the result and two replicas
        >>> counts, flags = np.array([[1, 1], [2, 0], [0, 2]], np.int8), np.ones(2, bool)
        >>> push = np.ones((1, 3, 2))
        >>> given = np.ones(2), flags, flags, push, push, counts, draws, np.ones(3), 1
        >>> result = Unfolded(*given, observables={}, metadata={}, reports=[])
        >>> result.covariance(np.array([0.5, 1.5]), np.array([0.0, 1.0, 2.0])).total.tolist()
        [[2.0, -2.0], [-2.0, 2.0]]
        """
        found = variance.covariance(self.contents(values, edges, iteration, normalised), self.draws)
        if found is None:
            raise InputError(
                f"replicas: found {len(self.draws) - 1} in the result, expected at least 2: "
                "unfold with --replicas"
            )
        return found

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the file whole or not at all; replace an earlier state."""
        with written_hdf5(path, overwrite=True) as file:
            file.attrs["format"], file.attrs["version"] = FORMAT, VERSION
            for name in _VALUES:
                file.attrs[name] = getattr(self, name)
            chosen = chosen_iteration(self.reports, len(self.push))
            file.attrs["chosen"], file.attrs["reason"] = chosen
            for name in _TEXTS:
                file.attrs[name] = json.dumps(getattr(self, name), allow_nan=False)
            arrays = {name: getattr(self, name) for name in _ARRAYS}
            arrays |= {f"observables/{name}": a for name, a in self.observables.items()}
            for name, array in sorted(arrays.items()):  # the same bytes whenever it is written
                packed = {"compression": "gzip", "shuffle": True} if array.size else {}
                file.create_dataset(name, data=array, **packed)

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Unfolded:
        """Read the result from a file; raise InputError for another or a damaged file."""
        regular_file(path, "what `jaxpriors unfold` writes")
        with open_source(path) as source:
            attributes = source.attributes[""]
            found = [attributes.get(name) for name in ("format", "version")]
            old = _equal(found[1], 1)
            if not _equal(found[0], FORMAT) or not (old or _equal(found[1], VERSION)):
                raise InputError(
                    f"{Path(path)}: found format {found[0]!r}, version {found[1]}; expected "
                    f"{FORMAT!r}, version 1 or {VERSION}, which `jaxpriors unfold` writes"
                )
            prefix = "observables/"
            names = [name for name in _ARRAYS if name != "draws" or not old]
            arrays: dict[str, Any] = {name: source.read(name) for name in names}
            if old:
                arrays["draws"] = design(max(len(arrays["replicas"]) - 1, 0))
            observables = {
                name.removeprefix(prefix): source.read(name)
                for name in source.arrays
                if name.startswith(prefix)
            }
            if missing := [n for n in (*_VALUES, *_TEXTS) if n not in attributes]:
                raise InputError(
                    f"{source.path}: found no attribute {missing[0]!r}, expected "
                    f"{', '.join((*_VALUES, *_TEXTS))}"
                )
            texts = {
                name: checked(parse_json(attributes[name], place), form, place)
                for name, form in _TEXTS.items()
                for place in [f"{source.path}: attribute {name!r}"]
            }
            arrays["scale"] = np.asarray(attributes["scale"])
            iterations = np.asarray(attributes["iterations"])
            if iterations.ndim or iterations.dtype.kind not in "iu" or iterations < 1:
                raise InputError(
                    f"{source.path}: attribute 'iterations': found {iterations}, expected an "
                    "integer of at least 1"
                )
            result = cls(**arrays, iterations=int(iterations), observables=observables, **texts)
            if fault := result._fault():
                raise InputError(f"{source.path}: {fault}")
            return result

    def _fault(self) -> str | None:
        """Say what contradicts the table of the module, or the rest of the result."""
        number, replicas = self.weight.shape, self.replicas.shape
        first = replicas[:1] if len(replicas) == 2 else (1,)
        shapes: dict[str, tuple[int, ...]] = {
            "weight": number[:1] if self.weight.ndim else (1,),
            "pass_gen": number,
            "pass_reco": number,
            "replicas": (*first, *number),
            "pull": (*self.pull.shape[:1], *first, *number),
            "push": (*self.push.shape[:1], *first, *number),
            "draws": (*first, 2),
            "scale": first,
        }
        arrays = {name: getattr(self, name) for name in shapes} | {
            f"observables/{name}": values for name, values in self.observables.items()
        }
        for name, array in arrays.items():
            expected = shapes.get(name, number)
            if array.shape != expected:
                return f"{name!r}: found shape {array.shape}, expected {expected}"
            kinds = (
                "b" if name.startswith("pass_") else "iu" if name in ("replicas", "draws") else "f"
            )
            if array.dtype.kind not in kinds and name in shapes:
                return f"{name!r}: found dtype {array.dtype}, expected {_KINDS[kinds]}"
            if name in shapes and not np.isfinite(array).all():
                return f"{name!r}: found {array[~np.isfinite(array)][0]}, expected finite numbers"
            if name in _FACTORS and array.size and array.min() < 0:
                return f"{name!r}: found {array.min():g}, expected no negative number"
            if name == "replicas" and array.size and array.max() > MOST_COUNTS:
                return f"{name!r}: found {array.max()}, expected at most {MOST_COUNTS}"
        if not first[0] or not np.all(self.replicas[0] == 1):
            return "'replicas': found other counts than 1 in replica 0, expected the result there"
        starts = int(np.sum(~self.draws.any(1)))
        expected_draws = _design(len(self.draws), starts)
        if expected_draws is None or not np.array_equal(self.draws, expected_draws):
            return (
                f"'draws': found {starts} replicas of the samples as they are among "
                f"{len(self.draws)} that are no design of bootstrap samples and first weights"
            )
        done, begun = len(self.push), len(self.pull)
        if not (done <= begun <= done + 1 and begun <= self.iterations):
            return (
                f"found {begun} and {done} iterations in 'pull' and 'push', expected as many, or "
                f"one more in 'pull', of the {self.iterations} in 'iterations'"
            )
        if len(self.reports) != done + begun:
            return f"'reports': found {len(self.reports)}, expected {done + begun}, one a step"
        for report in self.reports:
            if "gain" in report and (name := unmeasured(report)):
                return f"'reports': found {name} {report.get(name)!r} of a step, expected a number"
        return None


def _design(rows: int, starts: int) -> np.ndarray | None:
    """Give the draws of so many replicas, of which ``starts`` hold the samples as they are."""
    if starts == 1:
        return design(rows - 1)
    draws, left = divmod(rows // max(starts, 1) - 1, 2)
    return None if left or rows % max(starts, 1) or draws < 2 else design(draws, starts)


def _equal(found: Any, expected: Any) -> bool:
    """Compare an attribute, which may be anything, with a number or text."""
    return np.ndim(found) == 0 and not isinstance(found, h5py.Empty) and bool(found == expected)
