"""Measure how a training step's rate grows with devices and processes of one machine.

    python -m benchmarks.processes --json benchmarks/results/processes.json

A step (forward, backward, Adam, float32) of one global batch, on one device, on several virtual
ones, and on several processes that add up their gradients by Gloo. On a machine with as many cores
as devices the ratio is the speed-up; with fewer it shows what sharing out costs, 1 being nothing.
All run in turn, ``rounds`` times.
"""

from __future__ import annotations

import json as text
import os
import socket
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import jax
import tyro

from benchmarks.networks import benchmarked, train_program
from benchmarks.tables import Result, report
from jaxpriors.run import processes
from jaxpriors.run.launch import start

LAYOUTS = ((1, 1), (1, 2), (1, 4), (1, 8), (2, 1), (4, 1), (2, 4))  # processes, devices of each
CALLS = 4


def scaling(
    models: tuple[str, ...] = ("lgatr-slim", "pet"),
    batch: int = 256,
    rounds: int = 3,
    size: str = "small",
    json: Path | None = None,
) -> int:
    """Time the steps and print the table.

    Args:
        models: any of lgatr, lgatr-slim, pet.
        batch: number of jets a step, over all devices.
        rounds: number of rounds, of which the median counts.
        size: small or paper.
        json: file for the results.
    """
    results = []
    for model in models:
        seconds: dict[tuple[int, int], list[float]] = {layout: [] for layout in LAYOUTS}
        for _ in range(rounds):
            for layout in LAYOUTS:
                seconds[layout].append(_measured(model, size, batch, *layout))
        one = statistics.median(seconds[1, 1])
        for (count, devices), values in seconds.items():
            middle = statistics.median(values)
            name = f"{count}-processes-{devices}-devices"
            spread = (max(values) - min(values)) / (2 * middle)
            ratio = one / middle
            results.append(
                Result(model, name, batch / middle, batch / one, ratio, "jets/s", spread)
            )
    report(results, "one device", json)
    return 0


def _measured(model: str, size: str, batch: int, count: int, devices: int) -> float:
    """Measure the seconds of a step on ``count`` processes with ``devices`` devices each."""
    with socket.socket() as free, tempfile.TemporaryDirectory() as folder:
        free.bind(("127.0.0.1", 0))
        place = f"127.0.0.1:{free.getsockname()[1]}"
        free.close()
        out = Path(folder) / "seconds.json"
        command = [sys.executable, "-m", "benchmarks.processes", "step", model, size, str(batch)]
        begun = []
        for number in range(count):
            variables = {"JAXPRIORS_DEVICES": str(devices), "JAXPRIORS_PROCESSES": str(count)}
            if count > 1:
                variables |= {"JAXPRIORS_COORDINATOR": place, "JAXPRIORS_PROCESS": str(number)}
            begun.append(subprocess.Popen([*command, str(out)], env={**os.environ, **variables}))
        codes = [process.wait() for process in begun]
        if any(codes):
            raise RuntimeError(f"{count} processes ended with {codes}")
        return float(text.loads(out.read_text()))


def step(model: str, size: str, batch: str, out: str) -> None:
    """Time the step as one of the processes that the environment describes."""
    watch = start()
    task = benchmarked(model, size)
    rows = int(batch) // processes.count()
    own = slice(rows * processes.index(), rows * (processes.index() + 1))
    jets = tuple(array[own] for array in task.jets(int(batch)))
    run = train_program(task, task.init(jax.random.key(0)), (jets,), devices=jax.devices())
    run(1)
    seconds = run(CALLS) / CALLS
    if processes.index() == 0:
        Path(out).write_text(text.dumps(seconds))
    if watch is not None:
        watch.leave()


if __name__ == "__main__":
    if sys.argv[1:2] == ["step"]:
        step(*sys.argv[2:])
    else:
        raise SystemExit(tyro.cli(scaling))
