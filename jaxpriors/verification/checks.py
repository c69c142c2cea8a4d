"""Read a recorded case from disk and compare one of its arrays with ours."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxpriors.errors import InputError
from jaxpriors.models.files import read_safetensors
from jaxpriors.run.storage import read_json
from jaxpriors.run.stored_arrays import read_npz

OUTPUT_TOLERANCE = 2e-5
GRADIENT_TOLERANCE = 1e-4
FLOAT64_TOLERANCE = 1e-6
OMNILEARN = ("PET", "omnifold.")  # classes whose weights are not in safetensors files


@dataclass(frozen=True)
class Check:
    """One recorded array: the largest relative error, the tolerance, and a remark."""

    case: str
    name: str
    error: float
    tolerance: float
    note: str = ""

    @property
    def ok(self) -> bool:
        """Return whether the error is within the tolerance; nan is not."""
        return self.error <= self.tolerance

    def __str__(self) -> str:
        verdict = "ok" if self.ok else "FAIL"
        note = f"  ({self.note})" if self.note else ""
        return f"{self.case}: {self.name}  {self.error:.1e}{note}  {verdict}"


@dataclass(frozen=True)
class Case:
    """The three files of a case; ``state`` is empty for OmniLearn, whose weights are elsewhere."""

    name: str
    table: dict[str, Any]
    state: dict[str, np.ndarray]
    arrays: dict[str, np.ndarray]

    def check(self, name: str, ours: Any, tolerance: float, note: str = "") -> Check:
        """Compare the recorded array ``name`` with ours; a missing one or another shape fails."""
        recorded = self.arrays[name]
        if recorded.size == 0:
            return Check(self.name, name, 0.0, tolerance, "no elements")
        if ours is None:
            return self.fail(name, "we have no such array")
        ours = np.asarray(ours)
        if ours.shape != recorded.shape:
            return self.fail(name, f"our shape is {ours.shape}, recorded {recorded.shape}")
        if not np.isfinite(ours).all():
            return self.fail(name, f"{int((~np.isfinite(ours)).sum())} of ours are not finite")
        return Check(self.name, name, relative_error(ours, recorded), tolerance, note)

    def fail(self, name: str, why: str) -> Check:
        """Make a check that fails without a number."""
        return Check(self.name, name, float("nan"), 0.0, why)


def relative_error(ours: np.ndarray, recorded: np.ndarray) -> float:
    """Compute max |ours − recorded| / max |recorded|, infinite where only the latter is 0."""
    recorded = recorded.astype(np.float64)
    if recorded.size == 0:
        return 0.0
    difference = float(np.abs(ours.astype(np.float64) - recorded).max())
    scale = float(np.abs(recorded).max())
    if difference == 0.0:
        return 0.0
    return difference / scale if scale else float("inf")


def read_case(path: Path) -> Case:
    """Read the files of a case; raise InputError where one is missing or damaged."""
    if path.suffix != ".json":
        raise InputError(f"{path}: found suffix {path.suffix!r}, expected the .json of a case")
    table = read_json(path, "the .json of a case")
    weights, arrays = path.with_suffix(".safetensors"), path.with_suffix(".npz")
    ours = "cls" in table and not str(table["cls"]).startswith(OMNILEARN)
    state = read_safetensors(weights) if ours else {}
    return Case(path.stem, table, state, read_npz(arrays, "the arrays of a case"))


FAST_COMPILATION = {"xla_backend_optimization_level": 0, "xla_cpu_use_fusion_emitters": False}


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile without the optimisations that need more time than the function itself."""
    fast = jax.jit(function, compiler_options=FAST_COMPILATION)
    plain = jax.jit(function)

    def run(*arguments: Any) -> Any:
        try:
            return fast(*arguments)
        except jax.errors.JaxRuntimeError:  # another release of XLA may lack these options
            return plain(*arguments)

    return run
