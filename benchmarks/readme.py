"""The README's performance table, from the results that are kept in `benchmarks/results/`.

    python -m benchmarks.readme

It stands between two comments in the README and is replaced as a whole. A model's results are in
`against_peers_MODEL.json` and `against_peers_MODEL_….json`; the latest counts for a row that
several hold.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.networks import MODELS
from benchmarks.tables import quantity

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
BEGIN, END = "<!-- performance: begin -->\n", "<!-- performance: end -->\n"
NAMES = {"lgatr": "L-GATr", "lgatr-slim": "L-GATr-slim", "pet": "PET"}
TASKS = {
    "latency": "forward pass of one jet",
    "forward": "forward pass, 64 jets",
    "forward-512": "forward pass, 512 jets",
    "train": "training step, 64 jets",
    "train-512": "training step, 512 jets",
    "train-ragged": "training step, 64 jets of 46 particles on average",
    "train-ragged-512": "training step, 512 jets of 46 particles on average",
    "memory": "its memory, 64 jets",
}


def table() -> str:
    """Write Markdown: ours, how many times as much the fastest peer needs, and the commands."""
    contents = {model: found for model in MODELS if (found := _results(model))}
    rows = {
        model: {row["task"]: row for content in found for row in content["results"]}
        for model, found in contents.items()
    }
    lines = ["| | " + " | ".join(NAMES[m] for m in rows) + " |", "|---|" + "---|" * len(rows)]
    for task, name in TASKS.items():
        cells = [_cell(of_model.get(task)) for of_model in rows.values()]
        if any(cells):
            lines.append(f"| {name} | " + " | ".join(cells) + " |")
    origins = [
        f"- {NAMES[model]}: {_origin(content)}"
        for model, some in contents.items()
        for content in some
    ]
    return "\n".join([*lines, "", *origins, ""])


def _results(model: str) -> list[dict[str, Any]]:
    """Read the contents of the model's files, by date."""
    names = (f"against_peers_{model}.json", f"against_peers_{model}_*.json")
    files = [file for name in names for file in RESULTS.glob(name)]
    return sorted((json.loads(file.read_text()) for file in files), key=lambda c: c["date"])


def _cell(row: dict[str, Any] | None) -> str:
    if row is None:
        return ""
    return f"{quantity(row['ours'], row['unit'])}, **{row['ratio']:.1f} ×**"


def _origin(content: dict[str, Any]) -> str:
    """Write command, date, machine and version as one line of text."""
    machine, (script, *options) = content["machine"], content["command"]
    command = " ".join(["python -m", f"benchmarks.{Path(script).stem}", *options])
    return (
        f"`{command}`, {content['date'][:10]}, {machine['cores']} cores of "
        f"{machine['processor']}, jax {content['versions']['jax']}"
    )


def written(readme: str) -> str:
    """Return the README with the table of today; ValueError where the two comments are missing."""
    before, found, rest = readme.partition(BEGIN)
    _, ended, after = rest.partition(END)
    if not found or not ended:
        raise ValueError(f"README.md: expected {BEGIN.strip()} and {END.strip()}")
    return before + BEGIN + table() + END + after


if __name__ == "__main__":
    file = ROOT / "README.md"
    file.write_text(written(file.read_text()))
