"""The result of an unfolding as one HDF5 file, which is also the state of an unfinished run.

| dataset              | shape     | dtype   | meaning                                             |
|----------------------|-----------|---------|-----------------------------------------------------|
| `weight`             | (n,)      | float64 | weights of the simulated events, 0 without a level  |
| `pass_gen`           | (n,)      | bool    | which have a particle level                         |
| `pass_reco`          | (n,)      | bool    | which have a detector level                         |
| `pull`               | (I, R, n) | float64 | factors after step 1 of each iteration              |
| `push`               | (J, R, n) | float64 | factors after step 2; weight × push is unfolded     |
| `replicas`           | (R, n)    | int8    | how often each event counts in each replica         |
| `observables/<name>` | (n,)      | float64 | of the particle level; NaN where there is none      |

The events are in the order of the simulation's file. Replica 0 is the result, in which each event
counts once; the others are bootstrap replicas of data and simulation, whose spread is the
statistical error. Attributes of the root: `format` = "jaxpriors-unfolding", `version` = 1,
`iterations` (as requested; the file is finished when `push` has as many), `scale` (R,) and JSON
texts: `metadata` (configuration, versions, hashes of the samples) and `reports`, one for each
finished step.

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
from jaxpriors.run.forms import checked, parse_json
from jaxpriors.run.hdf5 import written_hdf5
from jaxpriors.run.stored_arrays import regular_file

FORMAT, VERSION = "jaxpriors-unfolding", 1
_ARRAYS = ("weight", "pass_gen", "pass_reco", "pull", "push", "replicas")
_VALUES = ("iterations", "scale")
_TEXTS = {"metadata": dict[str, Any], "reports": list[dict[str, Any]]}
MOST_COUNTS = 127  # of one event in one replica, whose mean is 1: what int8 holds
_FACTORS = ("pull", "push", "replicas", "scale")
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
    >>> result = Unfolded(one, both, both, push, push, counts, np.array([2.0]), 1, {}, {}, [])
    >>> result.weights()
    array([[1., 2., 2., 3.]])
    """

    weight: np.ndarray
    pass_gen: np.ndarray
    pass_reco: np.ndarray
    pull: np.ndarray
    push: np.ndarray
    replicas: np.ndarray
    scale: np.ndarray
    iterations: int
    observables: dict[str, np.ndarray]
    metadata: dict[str, Any]
    reports: list[dict[str, Any]]

    @property
    def finished(self) -> bool:
        """Return whether all iterations are done."""
        return len(self.push) == self.iterations

    def weights(self, iteration: int | None = None) -> np.ndarray:
        """Give the unfolded weights of each replica (R, n), in the normalisation of the data.

        They are 0 for events without a particle level. iteration: from 1, None for the last one; 0
        is the simulation itself. Raises InputError for one that is not done.
        """
        done = len(self.push)
        iteration = done if iteration is None else iteration
        if not 0 <= iteration <= done:
            raise InputError(f"iteration: found {iteration}, expected 0 to {done}, those done")
        push = 1.0 if iteration == 0 else self.push[iteration - 1]
        weight = self.weight * self.pass_gen * self.replicas
        return self.scale[:, None] * weight * push

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the file whole or not at all; replace an earlier state."""
        with written_hdf5(path, overwrite=True) as file:
            file.attrs["format"], file.attrs["version"] = FORMAT, VERSION
            for name in _VALUES:
                file.attrs[name] = getattr(self, name)
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
            if not _equal(found[0], FORMAT) or not _equal(found[1], VERSION):
                raise InputError(
                    f"{Path(path)}: found format {found[0]!r}, version {found[1]}; expected "
                    f"{FORMAT!r}, version {VERSION}, which `jaxpriors unfold` writes"
                )
            prefix = "observables/"
            arrays: dict[str, Any] = {name: source.read(name) for name in _ARRAYS}
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
            "scale": first,
        }
        arrays = {name: getattr(self, name) for name in shapes} | {
            f"observables/{name}": values for name, values in self.observables.items()
        }
        for name, array in arrays.items():
            expected = shapes.get(name, number)
            if array.shape != expected:
                return f"{name!r}: found shape {array.shape}, expected {expected}"
            kinds = "b" if name.startswith("pass_") else "iu" if name == "replicas" else "f"
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
        done, begun = len(self.push), len(self.pull)
        if not (done <= begun <= done + 1 and begun <= self.iterations):
            return (
                f"found {begun} and {done} iterations in 'pull' and 'push', expected as many, or "
                f"one more in 'pull', of the {self.iterations} in 'iterations'"
            )
        if len(self.reports) != done + begun:
            return f"'reports': found {len(self.reports)}, expected {done + begun}, one a step"
        return None


def _equal(found: Any, expected: Any) -> bool:
    """Compare an attribute, which may be anything, with a number or text."""
    return np.ndim(found) == 0 and not isinstance(found, h5py.Empty) and bool(found == expected)
