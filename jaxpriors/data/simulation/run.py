"""Run a recipe: numbered chunks in several processes, kept on disk until all are there.

Each chunk is decided by (variant, seed, its number), so a sample depends neither on the number of
processes nor on whether a run was killed and taken up again.
"""

from __future__ import annotations

import datetime
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

from jaxpriors.data.events import LEVELS, Events
from jaxpriors.data.sample_files import read_events, read_metadata, write_events
from jaxpriors.data.simulation import dis, jetclass, lhco, zjets
from jaxpriors.data.workers import done_by_processes
from jaxpriors.errors import InputError

# A recipe is a module with VARIANTS (name -> settings), SELECTION, LABELS (names of the classes),
# CHUNK (events that are made and kept together), DETECTOR (its parametrisation) and generate().
RECIPES: dict[str, ModuleType] = {"zjets": zjets, "dis": dis, "jetclass": jetclass, "lhco": lhco}
NOTE = (
    "Simulated with Pythia 8 and a parametric detector. The variants differ in settings of "
    "Pythia; they stand in for other generators (such as Herwig), and the detector stands in for "
    "Delphes or GEANT. Not a published or an experimental data set."
)


@dataclass(frozen=True)
class Simulated:
    """A sample on disk: `path`, its number of `events`, and whether it was there before."""

    path: Path
    events: int
    cached: bool


def simulate(
    recipe: str = "zjets",
    variant: str = "simulation",
    events: int = 10_000,
    seed: int = 0,
    *,
    out: str | os.PathLike[str],
    processes: int = 1,
    progress: Callable[[int, int], None] | None = None,
    overwrite: bool = False,
    chunk: int | None = None,
) -> Simulated:
    """Generate a sample with both levels into the file `out` (layout: `data.sample_files`).

    Work is done by `processes` new processes (a script needs `if __name__ == "__main__":`).
    Finished chunks stay in a hidden folder beside `out` until the file is complete: a run that was
    killed continues there. The same request again returns at once.

    Args:
        recipe: one of `RECIPES`.
        variant: one of the recipe's settings.
        events: accepted events.
        seed: not negative; same seed, same sample.
        out: HDF5 file to write.
        processes: how many to use.
        progress: called with (events done, all events) after each chunk.
        overwrite: whether another file of that name may be replaced.
        chunk: events of a chunk, part of what decides the sample; default: the recipe's.

    Raises:
        InputError: unknown recipe or variant, numbers out of range, `out` holds something else,
            pythia8mc or fastjet is missing, a process died.
    """
    out = Path(out)
    _check(recipe, variant, events, seed, processes, chunk)
    chunk = chunk or RECIPES[recipe].CHUNK
    request = describe(recipe, variant, seed, chunk)
    if out.exists():
        before = read_metadata(out)
        if before.get("request") == request and before.get("events") == events:
            return Simulated(out, events, cached=True)
        if not overwrite:
            raise InputError(
                f"{out}: exists already and was not made by this request; "
                "choose another name or allow overwriting"
            )
    key = hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()[:12]
    folder = out.with_name(f".{out.name}.chunks-{key}")
    sizes = [min(chunk, events - start) for start in range(0, events, chunk)]
    files = [folder / f"{number:05d}-{size}.h5" for number, size in enumerate(sizes)]

    _generate_missing(recipe, variant, seed, sizes, files, processes, progress)
    samples = {
        level: Events.concatenate([read_events(file, level) for file in files]) for level in LEVELS
    }
    metadata = {
        "command": (
            f"jaxpriors data simulate {recipe} --variant {variant} --events {events} --seed {seed}"
        ),
        "note": NOTE,
        "events": events,
        "labels": list(RECIPES[recipe].LABELS),
        "request": request,
        "versions": _versions(("jaxpriors", "numpy", "h5py")),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }
    write_events(out, samples, metadata, overwrite=overwrite, compact=True)
    shutil.rmtree(folder)
    return Simulated(out, events, cached=False)


def describe(recipe: str, variant: str, seed: int, chunk: int) -> dict[str, Any]:
    """Everything that decides the events of a sample, as JSON can hold it."""
    request = {
        "recipe": recipe,
        "variant": variant,
        "settings": RECIPES[recipe].VARIANTS[variant],
        "selection": RECIPES[recipe].SELECTION,
        "detector": asdict(RECIPES[recipe].DETECTOR),
        "seed": seed,
        "chunk": chunk,
        "versions": _versions(("pythia8mc", "fastjet")),
    }
    return json.loads(json.dumps(request))


def _check(
    recipe: str, variant: str, events: int, seed: int, processes: int, chunk: int | None
) -> None:
    if recipe not in RECIPES:
        raise InputError(f"recipe {recipe!r} is unknown; known: {', '.join(RECIPES)}")
    variants: Mapping[str, Any] = RECIPES[recipe].VARIANTS
    if variant not in variants:
        raise InputError(
            f"variant {variant!r} of {recipe} is unknown; known: {', '.join(variants)}"
        )
    for name, value, least in (
        ("events", events, 1),
        ("seed", seed, 0),
        ("processes", processes, 1),
        ("chunk", chunk, 1),
    ):
        if value is not None and value < least:
            raise InputError(f"{name} is {value}, expected at least {least}")
    missing = [name for name in ("pythia8mc", "fastjet") if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(
            f"simulation needs {' and '.join(missing)}: pip install 'jaxpriors[simulation]'"
        )


def _generate_missing(
    recipe: str,
    variant: str,
    seed: int,
    sizes: list[int],
    files: list[Path],
    processes: int,
    progress: Callable[[int, int], None] | None,
) -> None:
    """Generate the chunks that are not on disk yet."""
    missing = [number for number, file in enumerate(files) if not file.exists()]
    done = sum(sizes) - sum(sizes[number] for number in missing)
    if progress is not None:
        progress(done, sum(sizes))
    tasks = {i: partial(_make_chunk, recipe, variant, sizes[i], seed, i, files[i]) for i in missing}
    for number, _ in done_by_processes(tasks, processes):
        done += sizes[number]
        if progress is not None:
            progress(done, sum(sizes))


def _make_chunk(recipe: str, variant: str, events: int, seed: int, number: int, file: Path) -> None:
    levels = RECIPES[recipe].generate(variant, events, seed, number)
    write_events(file, levels, overwrite=True, compact=True)


def _versions(packages: tuple[str, ...]) -> dict[str, str]:
    found = {}
    for name in packages:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found
