"""Rows of a study's tables, trained together or apart; a row is one model with one seed.

A run holds some rows, other runs hold others, so that one job of a GPU can be one row:

    python -m experiments.unfolding paper … --models lgatr-1M --seeds 3 --out runs/lgatr-1M-3
    python -m experiments.unfolding merge runs/lgatr-1M-* runs/pet-* --out runs/all

| where                | what                                                                      |
|----------------------|---------------------------------------------------------------------------|
| `config.json`        | ``rows``: {label: {"seeds": [3], "settings": …}}, the settings without    |
|                      | their seeds; all other keys (samples, bins, …) are the same for all rows  |
| `metrics.json`       | ``rows``: [{"label", "seed", "validation_loss": {table: …}, table: …}, …],|
|                      | what each row measured; the tables beside them are made of the rows       |
| `rows/LABEL/seed-3/` | the folder of a row, in which it goes on after it was killed              |

Of several seeds, the tables show one network with all its numbers, that of the smallest validation
loss, and beside it the mean of all seeds and their spread (standard deviation).
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxpriors.errors import InputError
from jaxpriors.run.folder import Run, differences, started
from jaxpriors.run.storage import exists, read_json, written_whole

ROWS = "rows"
Row = dict[str, Any]
Settings = Mapping[str, Mapping[int, Any]]
"""Label → seed → what configures that row."""
Finish = Callable[[Run, list[Row]], dict[str, Any]]
"""(run, rows) → tables of metrics.json; draws the figures of what stands in the run's folder."""


def check_asked(models: Sequence[str], seeds: Sequence[int], known: Sequence[str]) -> None:
    """Raise InputError unless models and seeds are different, and the models known."""
    if not models or len({*models}) < len(models) or not {*models} <= {*known}:
        raise InputError(
            f"models: found {' '.join(models) or 'none'}, expected one or several different ones "
            f"of {' '.join(known)}"
        )
    if not seeds or len({*seeds}) < len(seeds) or min(seeds) < 0:
        raise InputError(
            f"seeds: found {' '.join(map(str, seeds)) or 'none'}, expected the numbers of one or "
            "several different seeds, from 0"
        )


def asked_or_all(
    models: tuple[str, ...], known: tuple[str, ...], pretrained: Path | None
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Give the models that are asked for, or all that can be trained; and notes on the others.

    >>> asked_or_all((), ("pet", "pet-finetuned"), None)
    (('pet',), ('left out: pet-finetuned, which needs --pretrained',))
    """
    if models or pretrained is not None:
        return models or known, ()
    scratch = tuple(name for name in known if name != "pet-finetuned")
    return scratch, ("left out: pet-finetuned, which needs --pretrained",)


def described(settings: Settings) -> dict[str, Any]:
    """Say in plain data which rows a run has, for its config.json under ``rows``.

    Raises InputError where the seeds of a label differ in anything else.

    >>> described({"mlp": {3: {"epochs": 2, "seed": 3}, 0: {"epochs": 2, "seed": 0}}})
    {'mlp': {'seeds': [0, 3], 'settings': {'epochs': 2}}}
    """
    found = {}
    for label, seeds in settings.items():
        each = [_without_seeds(json.loads(json.dumps(seeds[seed]))) for seed in sorted(seeds)]
        for other in each[1:]:
            check_same(f"{label}: its seeds", each[0], other)
        found[label] = {"seeds": sorted(seeds), "settings": each[0]}
    return found


def place(folder: Path, label: str, seed: int) -> Path:
    """Give the folder of a row."""
    return folder / ROWS / label / f"seed-{seed}"


def measured(run: Run, settings: Settings, one: Callable[[str, int, Run], Row]) -> list[Row]:
    """Make every row; ``one`` gives what a row measured, given label, seed and the row's run.

    It must give "validation_loss": {table: loss}, and can go on where an earlier call stopped.
    """
    found = []
    for label, seeds in settings.items():
        for seed in sorted(seeds):
            run.progress({"stage": f"{label}, seed {seed}"})
            inner = run.within(ROWS, label, f"seed-{seed}")
            row = {"label": label, "seed": seed, **one(label, seed, inner)}
            found.append({key: value for key, value in row.items() if key != "environment"})
    return found


def labels(rows: Sequence[Row]) -> list[str]:
    """Give the labels of the rows, in their order."""
    return list(dict.fromkeys(row["label"] for row in rows))


def chosen(rows: Sequence[Row], label: str, table: str) -> Row:
    """Choose the seed with the smallest validation loss of a table, the first of equal ones."""
    some = [row for row in rows if row["label"] == label]
    return min(some, key=lambda row: (row["validation_loss"][table], row["seed"]))


def over_seeds(rows: Sequence[Row], table: str) -> dict[str, dict[str, Any]]:
    """Sum up the seeds of each label: {label: {"seed", "chosen", "mean", "spread", "seeds"}}.

    chosen: all numbers of the seed with the smallest validation loss, whose number is ``seed``.
    mean, spread: of each number over the seeds; of one seed the spread is None. seeds: all of them
    with their validation losses.

    >>> one = {"label": "a", "seed": 0, "validation_loss": {"t": 0.7}, "t": {"auc": 0.5}}
    >>> two = {"label": "a", "seed": 1, "validation_loss": {"t": 0.6}, "t": {"auc": 0.75}}
    >>> over_seeds([one, two], "t")["a"]["chosen"], over_seeds([one, two], "t")["a"]["mean"]
    ({'auc': 0.75}, {'auc': 0.625})
    """
    result = {}
    for label in labels(rows):
        some = [row for row in rows if row["label"] == label]
        best = chosen(rows, label, table)
        each = [row[table] for row in some]
        result[label] = {
            "seed": best["seed"],
            "chosen": best[table],
            "mean": _each(np.mean, each),
            "spread": _each(lambda x: np.std(x, ddof=1) if len(x) > 1 else None, each),
            "seeds": {str(row["seed"]): row["validation_loss"][table] for row in some},
        }
    return result


def merge(
    runs: Sequence[Path],
    out: Path,
    finish: Finish,
    known: Sequence[str],
    *,
    files: Sequence[str] = (),
    shared: Sequence[str] = (),
    changed: Mapping[str, Any] | None = None,
    resume: bool = False,
) -> dict[str, Any]:
    """Make one run of the rows of several finished ones; return its metrics.

    It has the configuration, tables and figures of a run that made all rows itself, but not their
    trained networks, which stay where they are.

    finish: makes the tables and figures. known: all labels, in the order of the tables. files: what
    it needs of the folder of each row, shared: of the folder of a run. changed: keys of config.json
    with values other than the runs', which ``finish`` looks after.

    Raises InputError, before anything is written, for a run that is not finished or lacks a file,
    runs of other samples or settings, and a row that two runs hold.
    """
    if not runs:
        raise InputError("runs: found none, expected the folders of runs to merge")
    config, rows = _joined(runs, known)
    wanted = {Path(name): runs[0] / name for name in shared}
    for row, source in rows:
        inner = place(Path(), row["label"], row["seed"])
        wanted |= {inner / name: source / inner / name for name in files}
    for path in wanted.values():
        if not exists(path):
            raise InputError(f"{path}: no such file, expected that of a finished run")
    with started(out, resume) as opened:
        opened.open({**config, **(changed or {})})
        opened.progress({"stage": f"merging {len(rows)} rows of {len(runs)} runs"})
        for name, source in wanted.items():
            with written_whole(out / name, overwrite=True) as scratch:
                shutil.copyfile(source, scratch)
        found = [row for row, _ in rows]
        return opened.results(lambda: {ROWS: found, **finish(opened, found)})


def _joined(
    runs: Sequence[Path], known: Sequence[str]
) -> tuple[dict[str, Any], list[tuple[Row, Path]]]:
    """Join runs: their configuration, and the rows in order with their runs."""
    same: dict[str, Any] | None = None
    settings: dict[str, Any] = {}
    rows: dict[tuple[int, int], tuple[Row, Path]] = {}
    for run in runs:
        config, metrics = (read_json(run / f"{name}.json") for name in ("config", "metrics"))
        held, found = config.pop(ROWS, None), metrics.get(ROWS)
        if not isinstance(held, dict) or not isinstance(found, list) or not {*held} <= {*known}:
            raise InputError(
                f"{run}: found a run of {', '.join(held or ['no rows'])}, expected rows of "
                f"{', '.join(known)}"
            )
        same = config if same is None else same
        check_same(f"{run}: settings or samples here and in {runs[0]}", same, config)
        for label, row in held.items():
            first = settings.setdefault(label, row["settings"])
            check_same(
                f"{run}: the settings of {label} here and in an earlier run", first, row["settings"]
            )
        for row in found:
            key = known.index(row["label"]), row["seed"]
            if key in rows:
                raise InputError(
                    f"{run}: holds {row['label']}, seed {row['seed']}, as {rows[key][1]} does; "
                    "expected each row in one run"
                )
            rows[key] = row, run
    ordered = [rows[key] for key in sorted(rows)]
    joined = {
        label: {
            "seeds": [row["seed"] for row, _ in ordered if row["label"] == label],
            "settings": settings[label],
        }
        for label in labels([row for row, _ in ordered])
    }
    return {**(same or {}), ROWS: joined}, ordered


def check_same(what: str, one: Any, other: Any) -> None:
    """Raise InputError where two documents differ."""
    found = differences(one, other)
    if found:
        raise InputError(f"{what} differ ({'; '.join(found)}); expected the same")


def _without_seeds(tree: Any) -> Any:
    """Leave out what is called ``seed`` at any depth."""
    if isinstance(tree, dict):
        return {key: _without_seeds(value) for key, value in tree.items() if key != "seed"}
    return [_without_seeds(value) for value in tree] if isinstance(tree, list) else tree


def _each(sum_up: Callable[[list[float]], Any], trees: Sequence[Any]) -> Any:
    """Apply a function to each number of nested dictionaries alike; what is none becomes None."""
    if all(isinstance(tree, Mapping) for tree in trees):
        return {key: _each(sum_up, [tree.get(key) for tree in trees]) for key in trees[0]}
    numbers = [x for x in trees if isinstance(x, int | float)]
    value = sum_up(numbers) if numbers else None
    return None if value is None else float(value)
