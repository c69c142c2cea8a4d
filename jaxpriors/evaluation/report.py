"""The table of triangular discriminators (2603.08802, Table 2), as numbers and as text.

`table2` computes what a run's metrics.json keeps; `format_table` prints it from there alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxpriors.errors import InputError
from jaxpriors.evaluation import metrics
from jaxpriors.evaluation.observables import OBSERVABLES, Observable

TITLE = "Triangular discriminator to the data x 1000 (0: same shape)"
NO_ERROR = " " * len(" ± 0.00")


def table2(
    data: Mapping[str, np.ndarray],
    simulation: Mapping[str, np.ndarray],
    models: Mapping[str, np.ndarray],
    *,
    data_weights: np.ndarray | None = None,
    simulation_weights: np.ndarray | None = None,
    observables: Sequence[Observable] = tuple(OBSERVABLES.values()),
    replicas: int = 100,
    seed: int = 0,
) -> dict[str, Any]:
    """Distance of the reweighted simulation from the data, for each model and observable.

    data and simulation: observable → values (n,), (m,); models: name → the complete weights (m,)
    of the simulation's events, its own weights times the likelihood ratio. Returns
    {"table2": {model: {observable: {"value", "error", "floor", "unweighted"}}}}, all times 1000:
    the discriminator, its bootstrap error, the value that statistics alone would give, and the
    discriminator of the simulation under its own weights. Raises InputError for a missing
    observable and for weights that cannot be used.
    """
    for sample, values in (("data", data), ("simulation", simulation)):
        missing = [o.name for o in observables if o.name not in values]
        if missing:
            raise InputError(f"table 2: the {sample} lack {missing}; found {sorted(values)}")
    unweighted = {
        o.name: metrics.triangular_discriminator(
            data[o.name], simulation[o.name], o.edges, data_weights, simulation_weights
        )
        for o in observables
    }
    table: dict[str, dict[str, dict[str, float]]] = {}
    for model, weights in models.items():
        metrics.check_weights(model, weights)
        table[model] = {}
        for o in observables:
            samples = (data[o.name], simulation[o.name], o.edges, data_weights, weights)
            table[model][o.name] = {
                "value": metrics.triangular_discriminator(*samples),
                "error": metrics.discriminator_error(*samples, replicas=replicas, seed=seed),
                "floor": metrics.discriminator_floor(*samples),
                "unweighted": unweighted[o.name],
            }
    return {"table2": table}


def format_table(values: Mapping[str, Any]) -> str:
    """The table of a run as aligned text, from what `table2` returned or metrics.json holds.

    One column for each observable, one row without reweighting, then one for each model with its
    error and one with its statistical floor. Raises InputError if there is no such table.
    """
    table = values.get("table2") if isinstance(values, Mapping) else None
    cells = {"value", "error", "floor", "unweighted"}
    if not table or not all(
        isinstance(row, Mapping) and row and all(cells <= set(cell) for cell in row.values())
        for row in table.values()
    ):
        raise InputError("metrics: found no 'table2' of {model: {observable: {value, …}}}")
    names = list(next(iter(table.values())))
    first = next(iter(table.values()))
    rows = [
        ["", *(_heading(name) for name in names)],
        ["unweighted", *(_number(first[name]["unweighted"], None) for name in names)],
    ]
    for model, cells in table.items():
        rows.append([model, *(_number(cells[n]["value"], cells[n]["error"]) for n in names)])
        rows.append(["  floor", *(_number(cells[name]["floor"], None) for name in names)])
    return "\n".join([TITLE, "", *_aligned(rows)])


def _heading(name: str) -> str:
    return OBSERVABLES[name].symbol if name in OBSERVABLES else name


def _number(value: float, error: float | None) -> str:
    """A value with two decimals, and its error; columns align at the decimal point."""
    return f"{value:.2f}{NO_ERROR if error is None else f' ±{error:5.2f}'}"


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    head, *body = rows
    lines = [[cell.center(width) for cell, width in zip(head, widths, strict=True)]]
    lines.append(["-" * width for width in widths])
    for first, *cells in body:
        right = [cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True)]
        lines.append([first.ljust(widths[0]), *right])
    return ["   ".join(line).rstrip() for line in lines]
