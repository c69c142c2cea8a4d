"""The README's performance table, from the results that are kept in `benchmarks/results/`.

    python -m benchmarks.readme

It stands between two comments in the README and is replaced as a whole.
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
    """Markdown: ours, how many times as much the fastest peer needs, and what command found it."""
    files = {model: RESULTS / f"against_peers_{model}.json" for model in MODELS}
    contents = {m: json.loads(f.read_text()) for m, f in files.items() if f.exists()}
    lines = [
        "| | " + " | ".join(NAMES[m] for m in contents) + " |",
        "|---|" + "---|" * len(contents),
    ]
    for task, name in TASKS.items():
        cells = [_cell(contents[m]["results"], task) for m in contents]
        if any(cells):
            lines.append(f"| {name} | " + " | ".join(cells) + " |")
    told = [f"- {NAMES[model]}: {_origin(content)}" for model, content in contents.items()]
    return "\n".join([*lines, "", *told, ""])


def _cell(results: list[dict[str, Any]], task: str) -> str:
    for row in results:
        if row["task"] == task:
            return f"{quantity(row['ours'], row['unit'])}, **{row['ratio']:.1f} ×**"
    return ""


def _origin(content: dict[str, Any]) -> str:
    """Command, date, machine and version, as one line of text."""
    machine, (script, *options) = content["machine"], content["command"]
    command = " ".join(["python -m", f"benchmarks.{Path(script).stem}", *options])
    return (
        f"`{command}`, {content['date'][:10]}, {machine['cores']} cores of "
        f"{machine['processor']}, jax {content['versions']['jax']}"
    )


def written(readme: str) -> str:
    """The README with the table of today; ValueError where the two comments are missing."""
    before, found, rest = readme.partition(BEGIN)
    _, ended, after = rest.partition(END)
    if not found or not ended:
        raise ValueError(f"README.md: expected {BEGIN.strip()} and {END.strip()}")
    return before + BEGIN + table() + END + after


if __name__ == "__main__":
    file = ROOT / "README.md"
    file.write_text(written(file.read_text()))
