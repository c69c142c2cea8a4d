"""Measure time, memory and FLOPs.

Programs that are compared run in turn, so that a change of the machine's pace affects all of them.
The median of each counts, with its spread (half the distance of the quartiles over the median).
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.peers.serve import growth
from jaxpriors.training.tuning import memory_of

Program = Callable[[int], float]
"""The seconds of that many calls."""


@dataclass(frozen=True)
class Timing:
    """Median seconds of a call and its relative spread."""

    seconds: float
    spread: float


@dataclass(frozen=True)
class Built:
    """A compiled program of ours, to be timed as it is.

    run: the program. compilation: seconds that it took to trace and to compile. memory: bytes that
    it has on a device, arguments, results and all between. result: what it computes, to compare.
    """

    run: Program
    compilation: float
    memory: int
    result: Callable[[], np.ndarray]

    def __call__(self, calls: int) -> float:
        """Measure the seconds of that many calls."""
        return self.run(calls)


def compile_timed(function: Any, *arguments: Any) -> tuple[jax.stages.Compiled, float, int]:
    """Compile a function that `jax.jit` made; return it, the seconds and the bytes of `Built`."""
    begin = time.perf_counter()
    compiled = function.lower(*arguments).compile()
    return compiled, time.perf_counter() - begin, memory_of(compiled)[1]


def program(function: Callable[..., Any], *arguments: Any) -> Program:
    """Turn a function of jax with its arguments into a program to be timed."""

    def run(calls: int) -> float:
        begin = time.perf_counter()
        for _ in range(calls):
            jax.block_until_ready(function(*arguments))
        return time.perf_counter() - begin

    return run


def warm_up(programs: Mapping[str, Program]) -> dict[str, float]:
    """Call each program twice; return the seconds of the second call."""
    seconds = {}
    for name, run in programs.items():
        run(1)
        seconds[name] = run(1)
    return seconds


def time_in_turn(
    programs: Mapping[str, Program],
    rounds: int = 7,
    least: float = 0.3,
    warm: Mapping[str, float] | None = None,
) -> dict[str, Timing]:
    """Time one call of each program, after calls that do not count (``warm_up``).

    In each of the ``rounds`` every program is called for ``least`` seconds, after a moment in which
    the threads of the previous one come to rest.
    """
    once = warm_up(programs) if warm is None else warm
    print(f"timing {len(programs)} programs in turn", flush=True)
    calls = {name: max(1, round(least / once[name])) for name in programs}
    seconds: dict[str, list[float]] = {name: [] for name in programs}
    for _ in range(rounds):
        for name, run in programs.items():
            time.sleep(0.1)
            seconds[name].append(run(calls[name]) / calls[name])
    result = {}
    for name, values in seconds.items():
        low, median, high = np.quantile(values, [0.25, 0.5, 0.75])
        result[name] = Timing(float(median), float((high - low) / (2 * median)))
    return result


def flops(function: Callable[..., Any], *arguments: Any, compiled: bool = True) -> float:
    """Count floating-point operations as XLA does, of a program without loops.

    They are those of the compiled program, or of the program before compilation, a little more.
    (XLA counts the inside of a loop once; networks have loops only where blocks are recomputed.)
    """
    lowered = jax.jit(function).lower(*arguments)
    counted = lowered.compile().cost_analysis() if compiled else lowered.cost_analysis()
    assert counted is not None, "this backend does not count operations"
    return float(counted["flops"])


def memory_growth(task: Callable[..., Program], *arguments: Any) -> int:
    """Measure the bytes by which a new process grows while it calls the program of ``task``.

    Peers are measured alike (`peers.serve.growth`); ``task`` compiles.
    """
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_grow, args=(sender, task, *arguments))
    process.start()
    sender.close()
    try:
        grown: int = receiver.recv()
    except EOFError:
        raise RuntimeError(f"{task.__name__}: the process that was measured failed") from None
    finally:
        process.join()
    return grown


def _grow(sender: Any, task: Callable[..., Program], *arguments: Any) -> None:
    run = task(*arguments)
    sender.send(growth(lambda: run(1)))


def matrix_rate(size: int = 2048) -> float:
    """Measure the FLOP/s of a large fp32 matrix product on all cores, NumPy or XLA, the better."""
    a = np.random.default_rng(0).normal(size=(size, size)).astype(np.float32)
    b = jnp.asarray(a)
    product = jax.jit(jnp.matmul)
    timings = time_in_turn({"numpy": program(lambda: a @ a), "jax": program(product, b, b)})
    return 2 * size**3 / min(t.seconds for t in timings.values())
