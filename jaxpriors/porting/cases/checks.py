"""A recorded case as it lies on disk, and the comparison of one of its arrays with ours."""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxpriors.errors import InputError
from jaxpriors.porting.safetensors import read_safetensors

OUTPUT_BAR = 2e-5
GRADIENT_BAR = 1e-4
FLOAT64_BAR = 1e-6
OMNILEARN = ("PET", "omnifold.")  # classes whose weights are not in safetensors files


@dataclass(frozen=True)
class Check:
    """One recorded array: the largest relative error, what is allowed, and a remark."""

    case: str
    name: str
    error: float
    bar: float
    note: str = ""

    @property
    def ok(self) -> bool:
        """Whether the error is within the bar; nan is not."""
        return self.error <= self.bar

    def __str__(self) -> str:
        verdict = "ok" if self.ok else "FAIL"
        note = f"  ({self.note})" if self.note else ""
        return f"{self.case}: {self.name}  {self.error:.1e}{note}  {verdict}"


@dataclass(frozen=True)
class Case:
    """The three files of a case; ``state`` is empty for OmniLearn's, which have their own."""

    name: str
    table: dict[str, Any]
    state: dict[str, np.ndarray]
    arrays: dict[str, np.ndarray]

    def check(self, name: str, ours: Any, bar: float, note: str = "") -> Check:
        """Compare the recorded array ``name`` with ours; a missing one or another shape fails."""
        recorded = self.arrays[name]
        if recorded.size == 0:
            return Check(self.name, name, 0.0, bar, "no elements")
        if ours is None:
            return self.fail(name, "we have no such array")
        ours = np.asarray(ours)
        if ours.shape != recorded.shape:
            return self.fail(name, f"our shape is {ours.shape}, recorded {recorded.shape}")
        if not np.isfinite(ours).all():
            return self.fail(name, f"{int((~np.isfinite(ours)).sum())} of ours are not finite")
        return Check(self.name, name, relative_error(ours, recorded), bar, note)

    def fail(self, name: str, why: str) -> Check:
        """A check that fails without a number."""
        return Check(self.name, name, float("nan"), 0.0, why)


def relative_error(ours: np.ndarray, recorded: np.ndarray) -> float:
    """max |ours − recorded| / max |recorded|; infinite where only the latter is 0."""
    recorded = recorded.astype(np.float64)
    difference = float(np.abs(ours.astype(np.float64) - recorded).max())
    scale = float(np.abs(recorded).max())
    if difference == 0.0:
        return 0.0
    return difference / scale if scale else float("inf")


def read_case(path: Path) -> Case:
    """The files of a case; FileNotFoundError or InputError where one is missing or damaged."""
    if path.suffix != ".json":
        raise InputError(f"{path}: found suffix {path.suffix!r}, expected the .json of a case")
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        table = json.loads(path.read_text())
    except ValueError as error:
        raise InputError(f"{path}: not valid JSON: {error}") from error
    if not isinstance(table, dict):
        raise InputError(f"{path}: found {type(table).__name__}, expected a JSON object")
    weights, arrays = path.with_suffix(".safetensors"), path.with_suffix(".npz")
    ours = "cls" in table and not str(table["cls"]).startswith(OMNILEARN)
    state = read_safetensors(weights) if ours else {}
    if not arrays.is_file():
        raise FileNotFoundError(f"{arrays}: no such file")
    try:
        with open(arrays, "rb") as raw, np.load(raw, allow_pickle=False) as file:
            return Case(path.stem, table, state, {name: file[name] for name in file.files})
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(f"{arrays}: not a readable .npz file: {error}") from error


FAST_COMPILATION = {"xla_backend_optimization_level": 0, "xla_cpu_use_fusion_emitters": False}


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function compiled without the optimisations that would take longer than it runs."""
    fast = jax.jit(function, compiler_options=FAST_COMPILATION)
    plain = jax.jit(function)

    def run(*arguments: Any) -> Any:
        try:
            return fast(*arguments)
        except jax.errors.JaxRuntimeError:  # another release of XLA may not know these options
            return plain(*arguments)

    return run
