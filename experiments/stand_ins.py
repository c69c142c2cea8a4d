"""The simulated samples of the quick studies: made at the first call, kept, then taken."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from jaxpriors import processes
from jaxpriors.commands.setup import cache_folder
from jaxpriors.data.simulation.run import simulate

Say = Callable[[dict[str, Any]], None]


def stand_in(recipe: str, variant: str, events: int, seed: int, say: Say) -> Path:
    """The file with so many events of a recipe's variant.

    ``say`` is told how far the simulation is. Raises InputError where Pythia is needed and missing.
    """
    say({"stage": f"simulating {events} events of {recipe}, {variant}, or taking them"})
    path = cache_folder() / "samples" / f"{recipe}-{variant}-{events}.h5"

    def progress(done: int, total: int) -> None:
        say({"stage": f"  {done} of {total}"})

    if processes.is_first():
        simulate(
            recipe, variant, events, seed, out=path, processes=2, progress=progress, overwrite=True
        )
    processes.wait()
    return path
