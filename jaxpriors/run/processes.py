"""The processes of one run and their devices: which of them this is, and what they exchange.

`run.launch` starts them, each with devices of its own. Only a training's step is computed by all of
them together. Everything else each process computes for itself, in the same order and to the same
result, so that all of them call these functions alike; events to predict are shared out (`share`,
`merged`), and files are written by the first process alone, that of index 0.
"""

import contextlib
import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np


def count() -> int:
    """Return how many processes there are; 1 for one on its own."""
    jax = sys.modules.get("jax")  # not imported: not started either
    return jax.process_count() if jax is not None and jax.distributed.is_initialized() else 1


def index() -> int:
    """Return which of them this is, from 0."""
    import jax

    return jax.process_index() if count() > 1 else 0


def core_count() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def device_memory() -> int | None:
    """Bytes that a program may use on each device, None where that is not known.

    On CPUs the memory that is available now (Linux), shared by the devices.
    """
    import jax

    device = jax.devices()[0]
    if device.platform != "cpu":
        return (device.memory_stats() or {}).get("bytes_limit")
    with contextlib.suppress(OSError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024 // jax.local_device_count()
    return None


def gather(value: Any) -> list[Any]:
    """Return every process's value, the first one's first, on all of them.

    value: of what JSON holds.
    """
    if count() == 1:
        return [value]
    text = np.frombuffer(json.dumps(value).encode(), np.uint8)
    sizes = _stacked(np.array([len(text)], np.int32))[:, 0]
    padded = np.zeros(-(-sizes.max() // 64) * 64, np.uint8)  # of few different sizes
    padded[: len(text)] = text
    return [json.loads(row[:n].tobytes()) for row, n in zip(_stacked(padded), sizes, strict=True)]


def wait() -> None:
    """Wait until all processes call this: then all see what the first one wrote before."""
    gather(None)


def share(total: int) -> np.ndarray:
    """Return the numbers of 0 … total − 1 that are this process's part; parts are about equal.

    Where there are too few, some processes have the last one as well.
    """
    part = np.arange(index(), total, count())
    return part if len(part) or not total else np.array([total - 1])


def merged(values: np.ndarray, total: int) -> np.ndarray:
    """Join the rows of each process's ``share``: (total, …) on all processes, bit by bit."""
    if count() == 1:
        return values
    rows = -(-total // count())
    padded = np.zeros((rows, *values.shape[1:]), values.dtype)
    padded[: len(values)] = values
    found = _stacked(padded.reshape(-1).view(np.uint8)).view(values.dtype)
    found = found.reshape(count(), rows, *values.shape[1:]).swapaxes(0, 1)
    return found.reshape(-1, *values.shape[1:])[:total]


def _stacked(array: np.ndarray) -> np.ndarray:
    """Return the arrays of all processes, (processes, …)."""
    from jax.experimental.multihost_utils import process_allgather

    return np.asarray(process_allgather(array))
