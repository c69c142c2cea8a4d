"""The table of a scan of settings, from a run's metrics.json."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jaxpriors.evaluation.tables import aligned


def format_scan(points: Mapping[str, Mapping[str, Any]]) -> str:
    """Format the points of a scan: means over the seeds, their spreads, and which one is best.

    points: label → {"mean", "spread", "seeds"} of "validation_loss", "best_epoch", "epochs", "auc",
    "parameters" and "seconds"; the spread is None for one seed.
    """
    best = min(points, key=lambda label: points[label]["mean"]["validation_loss"])
    heads = ["", "validation loss", "best epoch", "AUC on test events", "parameters", "seconds"]
    table = [heads]
    for label, row in points.items():
        mean, spread = row["mean"], row["spread"]
        table.append(
            [
                f"{label} (best)" if label == best else label,
                _with_spread(mean, spread, "validation_loss", 5),
                f"{mean['best_epoch']:.1f} of {mean['epochs']:.1f}",
                _with_spread(mean, spread, "auc", 4),
                f"{mean['parameters']:.0f}",
                f"{mean['seconds']:.0f}",
            ]
        )
    seeds = max(len(row["seeds"]) for row in points.values())
    title = f"Scan of settings, {seeds} training{'s' if seeds > 1 else ''} of each point"
    note = "; mean ± spread of one training" if seeds > 1 else ""
    return "\n".join([title + note, "", *aligned(table)])


def _with_spread(mean: Mapping[str, float], spread: Any, name: str, digits: int) -> str:
    """Format a mean with the spread of the seeds, where there are several."""
    found = spread.get(name) if isinstance(spread, Mapping) else None
    return f"{mean[name]:.{digits}f}" + ("" if found is None else f" ± {found:.{digits}f}")
