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

import numpy as np

from jaxpriors.data.checks import located
from jaxpriors.data.hdf5 import open_source
from jaxpriors.errors import InputError
from jaxpriors.run.hdf5 import written_hdf5
from jaxpriors.run.ranges import check_whole
from jaxpriors.run.storage import parse_json

FORMAT, VERSION = "jaxpriors-unfolding", 1
_ARRAYS = ("weight", "pass_gen", "pass_reco", "pull", "push", "replicas")
_VALUES = ("iterations", "scale")
_TEXTS = ("metadata", "reports")


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
        with open_source(path) as source:
            attributes = source.attributes[""]
            if attributes.get("format") != FORMAT or attributes.get("version") != VERSION:
                raise InputError(
                    f"{Path(path)}: found format {attributes.get('format')!r}, version "
                    f"{attributes.get('version')}; expected {FORMAT!r}, version {VERSION}, which "
                    "`jaxpriors unfold` writes"
                )
            prefix = "observables/"
            arrays: dict[str, Any] = {name: source.read(name) for name in _ARRAYS}
            observables = {
                name.removeprefix(prefix): source.read(name)
                for name in source.arrays
                if name.startswith(prefix)
            }
            try:
                texts = {name: parse_json(attributes[name]) for name in _TEXTS}
            except (KeyError, TypeError, ValueError) as error:
                raise InputError(
                    f"{source.path}: found {error} in {_TEXTS}, expected JSON"
                ) from None
            with located(source.path):
                check_whole("iterations", attributes.get("iterations"), 1)
                arrays["scale"] = np.asarray(attributes.get("scale"))
                _check_shapes(arrays, observables)
                for name, kind in {"metadata": dict, "reports": list}.items():
                    if not isinstance(texts[name], kind):
                        found = type(texts[name]).__name__
                        raise InputError(f"{name}: found {found}, expected {kind.__name__}")
            return cls(
                **arrays,
                iterations=int(attributes["iterations"]),
                observables=observables,
                **texts,
            )


def _check_shapes(arrays: dict[str, np.ndarray], observables: dict[str, np.ndarray]) -> None:
    """Raise InputError unless the arrays of a result are numbers whose shapes fit together."""
    n, r = (arrays[name].shape[0] if arrays[name].ndim else 0 for name in ("weight", "scale"))
    expected = {"weight": (n,), "pass_gen": (n,), "pass_reco": (n,), "scale": (r,)}
    expected |= {"replicas": (r, n)} | {k: (*arrays[k].shape[:1], r, n) for k in ("pull", "push")}
    named = {f"observables/{name}": array for name, array in observables.items()}
    for name, array in (arrays | named).items():
        if array.dtype.kind not in "biuf" or array.shape != expected.get(name, array.shape):
            raise InputError(
                f"{name}: found {array.dtype}{list(array.shape)}, expected numbers"
                + (f" {list(expected[name])}" if name in expected else "")
            )
