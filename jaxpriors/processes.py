"""The processes of one run: which of them this is, and what they tell each other.

`training.distributed` starts them, each with devices of its own. Only a training's step is computed
by all of them together. Everything else each process computes for itself, in the same order and to
the same result, so that all of them call these functions alike; events to predict are shared out
(`share`, `merged`), and files are written by the first process alone (`is_first`).
"""

import contextlib
import ctypes
import json
import os
import sys
from typing import Any

import numpy as np


def count() -> int:
    """How many processes there are; 1 for one on its own."""
    jax = sys.modules.get("jax")  # not imported: not started either
    return jax.process_count() if jax is not None and jax.distributed.is_initialized() else 1


def index() -> int:
    """Which of them this is, from 0."""
    import jax

    return jax.process_index() if count() > 1 else 0


def is_first() -> bool:
    """Whether this is the one that writes files and prints."""
    return index() == 0


def core_count() -> int:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def return_memory() -> None:
    """Give the system back what a compilation took, which glibc would keep (Linux alone)."""
    with contextlib.suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)


def gather(value: Any) -> list[Any]:
    """What each process has, on all of them. value: of what JSON holds."""
    if count() == 1:
        return [value]
    text = np.frombuffer(json.dumps(value).encode(), np.uint8)
    sizes = _stacked(np.array([len(text)], np.int32))[:, 0]
    padded = np.zeros(-(-sizes.max() // 64) * 64, np.uint8)  # of few different sizes
    padded[: len(text)] = text
    return [json.loads(row[:n].tobytes()) for row, n in zip(_stacked(padded), sizes, strict=True)]


def of_first(value: Any) -> Any:
    """What the first process has, on all of them. value: of what JSON holds."""
    return gather(value)[0]


def wait() -> None:
    """Until all processes are here: what the first one wrote before is there for all."""
    gather(None)


def share(total: int) -> np.ndarray:
    """The numbers, of 0 … total − 1, of this process's own part; the parts are about equal.

    Where there are too few, some processes have the last one as well.
    """
    own = np.arange(index(), total, count())
    return own if len(own) or not total else np.array([total - 1])


def merged(values: np.ndarray, total: int) -> np.ndarray:
    """(total, …) on all processes, from the rows of each process's ``share``, bit by bit."""
    if count() == 1:
        return values
    rows = -(-total // count())
    padded = np.zeros((rows, *values.shape[1:]), values.dtype)
    padded[: len(values)] = values
    found = _stacked(padded.reshape(-1).view(np.uint8)).view(values.dtype)
    found = found.reshape(count(), rows, *values.shape[1:]).swapaxes(0, 1)
    return found.reshape(-1, *values.shape[1:])[:total]


def _stacked(array: np.ndarray) -> np.ndarray:
    """The array of each process, (processes, …)."""
    from jax.experimental.multihost_utils import process_allgather

    return np.asarray(process_allgather(array))
