"""The tables of a finished run of any command or study, from its metrics.json."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jaxpriors.anomaly.performance import format_anomaly, format_search, format_template
from jaxpriors.errors import InputError
from jaxpriors.evaluation.tables import (
    TITLES,
    aligned,
    format_known,
    format_quality,
    format_table,
)
from jaxpriors.report.scans import format_scan
from jaxpriors.unfolding.distributions import format_closures, format_reports

Metrics = dict[str, Any]


def tables(metrics: Any) -> str:
    """Format all tables of a run; raise InputError where there is none, or one lacks something."""
    held: Metrics = metrics if isinstance(metrics, dict) else {}
    try:
        found = _formatted(held)
    except InputError:
        raise
    except (
        ArithmeticError,
        AttributeError,
        LookupError,
        StopIteration,
        TypeError,
        ValueError,
    ) as error:
        raise InputError(
            f"metrics: no table can be made ({type(error).__name__}: {error}), expected what a run "
            "writes"
        ) from None
    if not found:
        raise InputError(
            f"metrics: found {sorted(held) or type(metrics).__name__}, expected a run with tables, "
            "such as 'table2', 'table4' or 'max_sic'"
        )
    return "\n\n".join(found)


def _formatted(held: Metrics) -> list[str]:
    found = []
    if held.keys() & TITLES.keys():
        found.append(format_table(held))
        found += ["\n".join(held["notes"])] if "notes" in held else []
    if "table4" in held:
        found.append(format_quality(held))
    found += [format_known(held, name) for name in held if name.startswith("known_ratio")]
    return found + [text(held) for name, text in FORMATS.items() if name in held]


def format_pretraining(metrics: Metrics) -> str:
    """Format the losses and measures of each pretrained network on test events."""
    lines = []
    for name, results in metrics["test"].items():
        lines.append(f"{name}, on test events")
        lines += [f"  {quantity:<25}{value:.5f}" for quantity, value in results.items()]
    return "\n".join(lines)


def format_finetuning(metrics: Metrics) -> str:
    """Format the best losses with their epochs, and when the fine-tuned network reached them."""
    rows = [["seed", "from scratch (epoch)", "fine-tuned (epoch)", "reached after epoch"]]
    for row in metrics["finetuning"]:
        best = [
            f"{min(row[name]):.5f} ({row[f'{name}_best_epoch']})"
            for name in ("scratch", "finetuned")
        ]
        rows.append([str(row["seed"]), *best, str(row["reached"] or "never")])
    return "\n".join(aligned(rows))


FORMATS: dict[str, Callable[[Metrics], str]] = {
    "max_sic": format_anomaly,
    "closures": lambda metrics: format_closures(metrics["closures"]),
    "cuts": format_search,
    "distance": format_template,
    "reports": lambda metrics: format_reports(metrics["reports"]),
    "classes": format_pretraining,
    "finetuning": format_finetuning,
    "scan": lambda metrics: format_scan(metrics["scan"]),
}
"""Key of the metrics → function that formats its table."""
