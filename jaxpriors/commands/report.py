"""`jaxpriors report`, and the tables that commands and studies print when they are done."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def report(run: Path, /) -> int:
    """Print the tables of a finished run: of any command, or of a study of `experiments`.

    Args:
        run: folder of the run.
    """
    from jaxpriors.training.runs import read_json

    print(tables(read_json(run / "metrics.json")))
    return 0


def tables(metrics: Any) -> str:
    """All tables of a run's metrics.json as text; InputError where there is none."""
    from jaxpriors.errors import InputError
    from jaxpriors.evaluation.anomaly import format_anomaly, format_search, format_template
    from jaxpriors.evaluation.report import TITLES, format_known, format_quality, format_table
    from jaxpriors.evaluation.unfolding import format_reports

    found = []
    held: dict[str, Any] = metrics if isinstance(metrics, dict) else {}
    if held.keys() & TITLES.keys():
        found.append(format_table(held))
    if "table4" in held:
        found.append(format_quality(held))
    found += [format_known(held, name) for name in held if name.startswith("known_ratio")]
    if "max_sic" in held:
        found.append(format_anomaly(held))
    if "cuts" in held:
        found.append(format_search(held))
    if "distance" in held:
        found.append(format_template(held))
    if "reports" in held:
        found.append(format_reports(held["reports"]))
    if not found:
        raise InputError(
            f"metrics: found {sorted(held) or type(metrics).__name__}, expected a run with tables, "
            "such as 'table2', 'table4' or 'max_sic'"
        )
    return "\n\n".join(found)
