"""Performance of scores that find a signal: significance improvement and ROC of an ensemble.

Scores are (k, n): of k networks for n test events with labels 0 (background) and 1 (signal). The
significance improvement of a cut is ε_S / √ε_B. Its maximum runs over cuts that leave at least
``least`` background events, or more than a share ``least`` < 1 of them: with fewer, it fluctuates
too much.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from jaxpriors.errors import InputError
from jaxpriors.evaluation.metrics import auc
from jaxpriors.evaluation.roc import maximum_improvement, roc, significance_improvement
from jaxpriors.evaluation.tables import aligned

EFFICIENCIES = np.linspace(0.01, 1, 100)
"""Signal efficiencies of the curves."""
BAND = (0.16, 0.84)
Center = Literal["median", "mean"]


def summary(values: np.ndarray) -> dict[str, Any]:
    """Summarise k values: {"median", "mean", "low", "high", "values"}; 68 % are low to high."""
    low, median, high = np.quantile(values, [BAND[0], 0.5, BAND[1]])
    return {
        "median": float(median),
        "mean": float(np.mean(values)),
        "low": float(low),
        "high": float(high),
        "values": [float(v) for v in values],
    }


def performance(
    scores: np.ndarray, labels: np.ndarray, least: float, weights: np.ndarray | None = None
) -> dict[str, Any]:
    """Measure {"max_sic", "auc"}, a ``summary`` of each; labels and weights (n,).

    Raises InputError for fewer background events than ``least`` (of weighted ones, their effective
    number) and for scores that are not finite.
    """
    maxima = [maximum_improvement(roc(one, labels, weights), least) for one in scores]
    areas = [auc(one, labels, weights).value for one in scores]
    return {"max_sic": summary(np.array(maxima)), "auc": summary(np.array(areas))}


def curves(
    scores: np.ndarray, labels: np.ndarray, least: float, weights: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """Interpolate significance improvement and background rejection: {"sic", "rejection"}.

    Each is (k, 100), at EFFICIENCIES, NaN where a cut leaves fewer than ``least`` background
    events. Raises InputError where there are fewer in all.
    """
    found: dict[str, list[np.ndarray]] = {"sic": [], "rejection": []}
    for one in scores:
        signal, improvement = significance_improvement(roc(one, labels, weights), least)
        if not len(signal):
            raise InputError(
                f"background: {np.sum(labels == 0)} test events, expected at least {least:g}"
            )
        sic = np.interp(EFFICIENCIES, signal, improvement, left=np.nan)
        found["sic"].append(sic)
        found["rejection"].append((sic / EFFICIENCIES) ** 2)
    return {name: np.stack(some) for name, some in found.items()}


def band(
    values: np.ndarray, center: Center = "median"
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Give center, low and high of (k, m) over the networks, (m,) each; NaN where any has NaN."""
    low, median, high = np.quantile(values, [BAND[0], 0.5, BAND[1]], axis=0)
    return (np.mean(values, axis=0) if center == "mean" else median), low, high


def behind(least: float) -> str:
    """Tell the floor of the background behind a cut.

    >>> behind(10), behind(1e-4)
    ('at least 10 background events', 'more than 0.01 % of the background')
    """
    if least < 1:
        return f"more than {100 * least:g} % of the background"
    return f"at least {least:g} background events"


def chance(value: float, null: np.ndarray) -> float:
    """Estimate the p-value of ``value`` under the null (m,): (1 + number as large) / (1 + m)."""
    return float((1 + np.sum(np.asarray(null) >= value)) / (1 + len(null)))


def format_anomaly(values: Mapping[str, Any]) -> str:
    """Format the table of a scan's metrics.json: maximum significance improvement by injection.

    A point that a model was not trained on has an empty cell.

    Raises InputError if there is no such table.
    """
    table = values.get("max_sic") if isinstance(values, Mapping) else None
    if not isinstance(table, Mapping) or not table:
        raise InputError("metrics: found no 'max_sic' of {model: {n_injected: {'median', …}}}")
    center: Center = values.get("center", "median")
    injected = sorted({n for row in table.values() for n in row}, key=int)
    more = [name for name in ("supervised", "null") if values.get(name)]
    heads = ["", *(f"{n} injected" for n in injected), *more]
    rows = [heads + ["chance of 0 injected"] * ("null" in more)]
    for model, row in table.items():
        cells = [_cell(row.get(n), center) for n in injected]
        cells += [_cell(values[name].get(model), center) for name in more]
        if "null" in more:
            chance = values["null"].get(model, {}).get("chance")
            cells.append("" if chance is None else f"{chance:.2f}")
        rows.append([model, *cells])
    lines = [
        f"Maximum significance improvement, {center} (68 % band) of the trainings, with "
        f"{behind(values['min_background'])} behind the cut",
        "",
    ]
    return "\n".join([*lines, *aligned(rows)])


def format_search(values: Mapping[str, Any]) -> str:
    """Format the table of a search's metrics.json: observed and expected events behind cuts."""
    rows = [["template behind", "data events", "expected", "significance"]]
    for cut in values["cuts"]:
        expected = f"{cut['expected']:.1f} ± {cut['expected_error']:.1f}"
        share, observed = f"{100 * cut['share']:g} %", f"{cut['observed']:g}"
        rows.append([share, observed, expected, f"{cut['significance']:+.2f}"])
    area = values["auc"]
    lines = [f"AUC of data against template: {area['value']:.4f} ± {area['error']:.4f}", ""]
    lines += aligned(rows)
    if "test" in values:
        lines += [
            "",
            f"Test events: AUC {_cell(values['test']['auc'])}, maximum significance improvement "
            f"{_cell(values['test']['max_sic'])} with {behind(values['min_background'])} behind "
            "the cut",
        ]
    return "\n".join(lines)


def format_template(values: Mapping[str, Any]) -> str:
    """Format the table of a template's metrics.json: distances of generated to sideband jets."""
    rows = [["", "distance", "floor"]]
    for name, distance in values["distance"].items():
        rows.append([name, f"{distance:.4g}", f"{values['floor'][name]:.4g}"])
    scale = values["scale"]
    lines = [
        "Wasserstein-1 distance of jets generated at the sidebands' m_jj to those of the sidebands "
        "(floor: between two halves of the latter)",
        "",
        *aligned(rows),
        "",
        f"{values['events']} generated events, scaled by {scale['mean']:.3f} ± {scale['std']:.3f} "
        f"to their m_jj; {values['raised']:.2%} of their constituents raised to the least pT",
    ]
    return "\n".join(lines)


def _cell(found: Mapping[str, float] | None, center: Center = "median") -> str:
    return f"{found[center]:.2f} ({found['low']:.2f}-{found['high']:.2f})" if found else ""
