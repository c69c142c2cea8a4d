"""Tables of triangular discriminators (2603.08802, Tables 2 and 3), as numbers and as text.

`discriminators` computes what a run's metrics.json keeps; `format_table` prints it from that alone.
The row of a model that was trained with several seeds is {"chosen": the numbers of one network,
"seed": its seed, "mean", "spread": of each number over the seeds, "seeds": all of them}.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from jaxpriors.errors import InputError
from jaxpriors.evaluation import metrics
from jaxpriors.evaluation.discriminators import (
    common_edges,
    discriminator_error,
    discriminator_floor,
    triangular_discriminator,
)
from jaxpriors.evaluation.histograms import binned, outside
from jaxpriors.evaluation.observables import OBSERVABLES, Observable

TITLES = {
    "table2": "Detector level: triangular discriminator to the data x 1000 (0: same shape)",
    "table3": "Particle level: triangular discriminator to the truth x 1000 (0: same shape)",
}
PRIOR = {"table2": "unweighted", "table3": "prior"}  # what stands for no weights
NO_ERROR = " " * len(" ± 0.00")
Table = dict[str, dict[str, dict[str, float | None]]]


def discriminators(
    data: Mapping[str, np.ndarray],
    simulation: Mapping[str, np.ndarray],
    models: Mapping[str, np.ndarray | Mapping[str, np.ndarray]],
    *,
    table: str = "table2",
    data_weights: np.ndarray | None = None,
    simulation_weights: np.ndarray | None = None,
    observables: Sequence[Observable] = tuple(OBSERVABLES.values()),
    error: Callable[..., float] = discriminator_error,
    replicas: int = 100,
    seed: int = 0,
) -> dict[str, Any]:
    """Measure how far the reweighted simulation is from the data, by model and observable.

    data and simulation: observable → values (n,), (m,); models: name → the complete weights (m,)
    of the simulation's events, its own weights times the likelihood ratio, or observable → such
    weights. Returns {table: {model: {observable: {"value", "error", "floor", "unweighted"}}}}, all
    times 1000: the discriminator, its error (of the bootstrap, or as ``error`` gives it; see
    `evaluation.published`), the value that statistics alone would give, and the discriminator of
    the simulation under its own weights, which is called "prior" in "table3"; None where a sample
    has no weight in the range (`histograms.Histogram.usable`).
    "ranges" holds {table: {observable: {"low", "high", "bins", "of", "below", "above"}}}: the
    ends of the range; the number of bins, the same for all models, of those that there were before
    negative weights made them fewer (`evaluation.discriminators`); and the shares of both samples
    outside, {"data": …, "simulation": …}, by their own weights.

    Raises InputError for a missing observable and for weights that cannot be used.
    """
    for sample, values in (("data", data), ("simulation", simulation)):
        missing = [o.name for o in observables if o.name not in values]
        if missing:
            raise InputError(f"{table}: the {sample} lack {missing}; found {sorted(values)}")
    for model, found in models.items():
        for weights in found.values() if isinstance(found, Mapping) else (found,):
            _check(model, weights)
    rows: Table = {model: {} for model in models}
    ranges: dict[str, Any] = {}
    for o in observables:
        measured, simulated = data[o.name], simulation[o.name]
        each = {m: w[o.name] if isinstance(w, Mapping) else w for m, w in models.items()}
        of_data = binned(measured, o.edges, data_weights)
        filled = {w: binned(simulated, o.edges, each[w]) for w in each}
        own = binned(simulated, o.edges, simulation_weights)
        usable = [h for h in (own, *filled.values()) if h.usable and of_data.usable]
        edges = common_edges(o.edges, of_data, usable) if usable else o.edges
        before = None
        if own.usable and of_data.usable:
            before = triangular_discriminator(
                measured, simulated, edges, data_weights, simulation_weights
            )
        for model, weights in each.items():
            cell: dict[str, float | None] = dict.fromkeys(("value", "error", "floor"))
            if filled[model].usable and of_data.usable:
                samples = (measured, simulated, edges, data_weights, weights)
                cell = {
                    "value": triangular_discriminator(*samples),
                    "error": error(*samples, replicas=replicas, seed=seed),
                    "floor": discriminator_floor(*samples),
                }
            rows[model][o.name] = cell | {PRIOR[table]: before}
        shares = {
            "data": outside(measured, o.edges, data_weights),
            "simulation": outside(simulated, o.edges, simulation_weights),
        }
        ranges[o.name] = {
            "low": o.low,
            "high": o.high,
            "bins": len(edges) - 1,
            "of": o.bins,
            "below": {sample: share[0] for sample, share in shares.items()},
            "above": {sample: share[1] for sample, share in shares.items()},
        }
    return {table: rows, "ranges": {table: ranges}}


def _check(model: str, weights: np.ndarray) -> None:
    """Raise InputError for weights (m,) of a model that are not finite, or all zero."""
    report = metrics.weight_report(weights)
    if report.finite < 1:
        first = int(np.argmin(np.isfinite(weights)))
        raise InputError(
            f"weights of {model}: {np.sum(~np.isfinite(weights))} of {report.size} are not "
            f"finite (the first is number {first}: {weights[first]}); expected finite "
            "numbers"
        )
    if not np.any(weights):
        raise InputError(f"weights of {model}: all {report.size} are zero")


def format_table(values: Mapping[str, Any]) -> str:
    """Format the tables of a run, from what `discriminators` returned or its metrics.json.

    One column for each observable, one row without reweighting, then one for each model with its
    error, one with the mean and spread of several seeds, where there are several, and one with its
    statistical floor. Raises InputError if there is no such table.
    """
    present = [name for name in TITLES if isinstance(values, Mapping) and values.get(name)]
    if not present:
        raise InputError("metrics: found no 'table2' of {model: {observable: {value, …}}}")
    texts = []
    for name in present:
        table, prior = values[name], PRIOR[name]
        if not all(
            isinstance(row, Mapping)
            and row
            and all({"value", "error", "floor", prior} <= {*cell} for cell in one(row).values())
            for row in table.values()
        ):
            raise InputError(
                f"metrics: found no {name!r} of {{model: {{observable: {{value, …}}}}}}"
            )
        first = one(next(iter(table.values())))
        names = list(first)
        rows = [
            ["", *(OBSERVABLES[n].symbol if n in OBSERVABLES else n for n in names)],
            [prior, *(_number(first[n][prior], None) for n in names)],
        ]
        for model, row in table.items():
            cells, seeds = one(row), row.get("seeds", ())
            shown = f"{model}, seed {row['seed']}" if len(seeds) > 1 else model
            rows.append([shown, *(_number(cells[n]["value"], cells[n]["error"]) for n in names)])
            if len(seeds) > 1:
                both = ((row[of][n]["value"] for of in ("mean", "spread")) for n in names)
                rows.append([f"  mean ± spread of {len(seeds)}", *(_number(*x) for x in both)])
            rows.append(["  floor", *(_number(cells[n]["floor"], None) for n in names)])
        notes = range_notes(values.get("ranges", {}).get(name, {}))
        texts.append("\n".join([TITLES[name], "", *aligned(rows), *notes]))
    return "\n\n".join(texts)


def one(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """Give the numbers of one network: of the seed that was chosen, where there are several."""
    found: Mapping[str, Any] = row.get("chosen", row)
    return found


def range_notes(ranges: Mapping[str, Any]) -> list[str]:
    """Tell what lies outside of the ranges, and bins that were merged, one line for each kind."""
    parts, merged = [], []
    for name, found in ranges.items():
        symbol = OBSERVABLES[name].symbol if name in OBSERVABLES else name
        for side, end in (("below", found["low"]), ("above", found["high"])):
            shares = found[side]["data"], found[side]["simulation"]
            if max(shares) > 0:
                parts.append(f"{symbol} {side} {end:.4g}: {shares[0]:.2%}, {shares[1]:.2%}")
        if found["bins"] < found.get("of", found["bins"]):
            merged.append(f"{symbol} {found['bins']} of {found['of']}")
    lines = []
    if parts:
        lines.append(f"outside of the ranges, of data and simulation: {'; '.join(parts)}")
    if merged:
        lines.append(f"bins left, others are merged for negative weights: {'; '.join(merged)}")
    return [""] * bool(lines) + lines


def format_quality(values: Mapping[str, Any]) -> str:
    """Format how well models tell data from simulation, as aligned text, from a run's metrics.json.

    Raises InputError if it holds no ``table4`` of `evaluation.likelihood_ratio.separation`.
    """
    table = values.get("table4") if isinstance(values, Mapping) else None
    measured = ("auc", "accuracy", "rejection50")
    cells = {*measured, *(f"{name}_error" for name in measured), "ece", "ece_floor"}
    if not isinstance(table, Mapping) or not all(cells <= {*one(row)} for row in table.values()):
        raise InputError("metrics: found no 'table4' of {model: {'auc', …, 'ece', …}}")
    heads = ["AUC", "accuracy", "rejection at 50 %", "at 10 %", "calibration error"]
    rows = [["", *heads, "mean ratio", "effective events"]]
    for model, whole in table.items():
        row, seeds = one(whole), whole.get("seeds", ())
        ratio = values.get("closure", {}).get(model)
        share = ratio.get("effective_share") if ratio else None
        hard = ""  # older runs have none
        if "rejection10" in row:
            hard = f"{row['rejection10']:.2f} ± {row['rejection10_error']:.2f}"
        rows.append(
            [
                f"{model}, seed {whole['seed']}" if len(seeds) > 1 else model,
                f"{row['auc']:.4f} ± {row['auc_error']:.4f}",
                f"{row['accuracy']:.4f} ± {row['accuracy_error']:.4f}",
                f"{row['rejection50']:.3f} ± {row['rejection50_error']:.3f}",
                hard,
                f"{100 * row['ece']:.2f} % (floor {100 * row['ece_floor']:.2f} %)",
                f"{ratio['mean_ratio']:.4f} ± {ratio['mean_ratio_error']:.4f}" if ratio else "",
                "" if share is None else f"{100 * share:.3g} %",
            ]
        )
        if len(seeds) > 1:
            digits = {"auc": 4, "accuracy": 4, "rejection50": 3, "rejection10": 2}
            mean, spread = whole["mean"], whole["spread"]
            both = [f"{mean[n]:.{d}f} ± {spread[n]:.{d}f}" for n, d in digits.items()]
            rows.append([f"  mean ± spread of {len(seeds)}", *both, *3 * [""]])
    lines = ["Data against simulation, test events (0.5, 0.5, 2: they look alike)", ""]
    return "\n".join([*lines, *aligned(rows)])


def format_known(values: Mapping[str, Any], table: str = "known_ratio") -> str:
    """Format learned against true log ratios of each model, as aligned text, from metrics.json.

    table: its name there, whose end tells the cases of a study apart.
    """
    heads = [
        "",
        *(f"{n}{of}" for of in ("", " (ratio)") for n in ("error²", "of constant", "corr.")),
    ]
    heads.append("bias, small to large ratios")
    rows, names = [heads], list[str]()
    for model, row in values[table].items():
        names = list(row["chi2"])
        bias = " ".join(f"{b:+.3f}" for b in row["bias"])
        numbers = [
            f"{row[of + n]:.5f}"
            for of in ("", "ratio_")
            for n in ("mse", "mse_constant", "correlation")
        ]
        if len(rows) == 1:
            rows.append(["before", *7 * [""], *map(_shape, row["chi2_before"].values())])
        rows.append([model, *numbers, bias, *map(_shape, row["chi2"].values())])
    heads += [f"χ² of {name}" for name in names]
    case = table.removeprefix("known_ratio").replace("_", ", ")
    title = f"Log ratios (and ratios) against those that are known{case}, test events"
    return "\n".join([title, "", *aligned(rows)])


def _shape(test: Mapping[str, float | None]) -> str:
    if test["chi2"] is None:
        return "-"
    return f"{test['chi2']:.1f}/{test['ndf']} ({test['p']:.3f})"


def _number(value: float | None, error: float | None) -> str:
    """Format a value with two decimals, and its error; columns align at the decimal point."""
    if value is None:
        return f"-  {NO_ERROR}"
    return f"{value:.2f}{NO_ERROR if error is None else f' ±{error:5.2f}'}"


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Align rows of cells, headings first, as lines whose columns have one width."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    head, *body = rows
    lines = [[cell.center(width) for cell, width in zip(head, widths, strict=True)]]
    lines.append(["-" * width for width in widths])
    for first, *cells in body:
        right = [cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True)]
        lines.append([first.ljust(widths[0]), *right])
    return ["   ".join(line).rstrip() for line in lines]
