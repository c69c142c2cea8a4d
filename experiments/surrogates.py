"""Surrogate samples for published ones: simulated at the first call and kept."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from jaxpriors.data.simulation.run import simulate
from jaxpriors.run import processes
from jaxpriors.run.storage import cache_folder

Say = Callable[[dict[str, Any]], None]


def surrogate(recipe: str, variant: str, events: int, seed: int, say: Say) -> Path:
    """Give the file with ``events`` of a recipe's variant, in the cache folder.

    Raises InputError where Pythia is needed and missing.
    """
    path = cache_folder() / "samples" / f"{recipe}-{variant}-{events}.h5"
    simulated_file(path, recipe, variant, events, seed, say)
    return path


def simulated_file(path: Path, recipe: str, variant: str, events: int, seed: int, say: Say) -> None:
    """Simulate events into a file unless it holds them; report the progress to ``say``."""
    say({"stage": f"simulating {events} events of {recipe}, {variant}, or taking them"})

    def progress(done: int, total: int) -> None:
        say({"stage": f"  {done} of {total}"})

    if processes.index() == 0:
        simulate(
            recipe, variant, events, seed, out=path, processes=2, progress=progress, overwrite=True
        )
    processes.wait()
