"""Points of the anomaly study that were trained apart, made one study."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from experiments.anomaly_study import SCORES, Measure, measured, read_scores
from experiments.rows import check_same
from jaxpriors.anomaly import training as anomaly
from jaxpriors.anomaly.performance import Center
from jaxpriors.errors import InputError
from jaxpriors.run.folder import started
from jaxpriors.run.storage import exists, read_json

CHOSEN = "min_background", "center"  # of config.json: may be chosen anew


@dataclass(frozen=True)
class _Part:
    """Hold what a finished run says of itself: its models, and what it shares with others."""

    folder: Path
    rows: dict[str, Any]
    shared: dict[str, Any]
    chosen: dict[str, Any]
    metrics: dict[str, Any]

    @classmethod
    def read(cls, folder: Path) -> _Part:
        config, metrics = (read_json(folder / f"{name}.json") for name in ("config", "metrics"))
        rows = config.pop("rows", None)
        if not isinstance(rows, dict) or "max_sic" not in metrics:
            raise InputError(f"{folder}: found no scan over injections, expected that of a run")
        chosen = {key: config.pop(key) for key in CHOSEN}
        return cls(folder, rows, config, chosen, metrics)

    def samples(self) -> dict[str, Any]:
        """Read the digests of the samples."""
        return read_json(self.folder / "samples" / "config.json")


def merge(
    runs: Sequence[Path],
    out: Path,
    resume: bool = False,
    least: float | None = None,
    center: Center | None = None,
) -> dict[str, Any]:
    """Make one run of the points of several finished ones, measured anew; return its metrics.

    The trainings of a point may be of several runs. Networks stay where they are. least, center: of
    the measure (`anomaly_study.Measure`); None for that of the runs.

    Raises InputError, before anything is written, for runs of other samples or settings, and a
    training that two runs hold.
    """
    if not runs:
        raise InputError("runs: found none, expected the folders of runs to merge")
    parts = [_Part.read(Path(run)) for run in runs]
    first = parts[0]
    given = {key: x for key, x in zip(CHOSEN, (least, center), strict=True) if x is not None}
    chosen = first.chosen | given
    measure = Measure(chosen["min_background"], chosen["center"])
    settings: dict[str, Any] = {}
    seconds: dict[str, dict[str, float]] = {}
    held: dict[tuple[str, str], dict[int, Path]] = {}
    for part in parts:
        here = f"{part.folder}: %s here and in {first.folder}"
        check_same(here % "settings", first.shared, part.shared)
        check_same(here % "floor or center", chosen, part.chosen | given)
        check_same(here % "samples", first.samples(), part.samples())
        for model, row in part.rows.items():
            check_same(here % model, settings.setdefault(model, row["settings"]), row["settings"])
            for name, seeds in row["points"].items():
                files = held.setdefault((model, name), {})
                _add(part.folder / model / name / SCORES, seeds, files)
                spent = seconds.setdefault(model, {})
                spent[name] = spent.get(name, 0.0) + part.metrics["seconds"][model][name]
    points: dict[str, dict[str, list[int]]] = {model: {} for model in settings}
    for (model, name), files in held.items():
        points[model][name] = sorted(files)
    rows = {model: {"points": points[model], "settings": settings[model]} for model in settings}
    events = first.metrics["events"]
    with started(out, resume) as opened:
        opened.open({"rows": rows, **first.shared, **chosen})
        opened.within("samples").open(first.samples())
        for (model, name), files in held.items():
            _join([*dict.fromkeys(files.values())], out / model / name / SCORES)
        return opened.results(
            lambda: {
                **measured(opened, points, measure, events["background"]),
                "events": events,
                "seconds": seconds,
            }
        )


def _add(file: Path, seeds: Sequence[int], files: dict[int, Path]) -> None:
    """Add the scores of trainings to those of a point."""
    if not exists(file):
        raise InputError(f"{file}: no such file, expected that of a finished run")
    if twice := sorted({*seeds} & {*files}):
        raise InputError(
            f"{file.parent}: holds the seed {twice[0]}, as {files[twice[0]].parent} does; expected "
            "each training in one run"
        )
    files.update(dict.fromkeys(seeds, file))


def _join(files: Sequence[Path], target: Path) -> None:
    """Write the scores of the trainings of a point, in the order of their seeds."""
    if exists(target):
        return
    each = [read_scores(file) for file in files]
    seeds = np.concatenate([found[3] for found in each])
    order = np.argsort(seeds)
    scores = np.concatenate([found[0] for found in each])[order]
    columns = {"label": each[0][1], "weight": each[0][2], "seeds": seeds[order]}
    anomaly.write_scores(target, scores, columns)
