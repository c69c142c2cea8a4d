"""Print the results of a benchmark as a table and write them as JSON."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jax

from jaxpriors.run.folder import environment
from jaxpriors.run.storage import write_json


@dataclass(frozen=True)
class Result:
    """One number of ours, and a peer's: ratio above 1 is better than the peer's.

    unit: of ours and peer; spread: the larger relative one of the two; note: which peer, or how.
    """

    model: str
    task: str
    ours: float
    peer: float | None
    ratio: float | None
    unit: str
    spread: float | None = None
    note: str = ""


def compared(
    model: str,
    task: str,
    ours: float,
    peer: float | None,
    unit: str,
    spread: float | None = None,
    note: str = "",
) -> Result:
    """Make a result with its ratio, less being better; ``peer`` None where there is none."""
    ratio = None if peer is None else peer / ours
    return Result(model, task, ours, peer, ratio, unit, spread, note)


PREFIXES = ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1, ""), (1e-3, "m"))


def quantity(value: float, unit: str) -> str:
    """Write 1.5e9, "FLOP" as "1.5 GFLOP"; a share as it is."""
    if not unit and value < 1:
        return f"{value:.3g}"
    factor, prefix = next((p for p in PREFIXES if value >= p[0]), PREFIXES[-1])
    return f"{value / factor:.3g} {prefix}{unit}".strip()


def format_results(results: Sequence[Result], peer: str) -> str:
    """Format the results as aligned text; ``peer`` heads the column of the numbers to compare."""
    rows = [("model", "task", "ours", peer, "ratio", "spread", "")]
    for r in results:
        rows.append(
            (
                r.model,
                r.task,
                quantity(r.ours, r.unit),
                "" if r.peer is None else quantity(r.peer, r.unit),
                "" if r.ratio is None else f"{r.ratio:.2f}",
                "" if r.spread is None else f"{100 * r.spread:.0f} %",
                r.note,
            )
        )
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join(
        "  ".join(
            cell.rjust(w) if 2 <= i < 6 else cell.ljust(w)
            for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def machine() -> dict[str, Any]:
    """Describe the machine of the measurement, and how busy it is."""
    described: dict[str, Any] = {"platform": platform.platform(), "cores": os.cpu_count()}
    info = Path("/proc/cpuinfo")
    if info.is_file():
        models = [x for x in info.read_text().splitlines() if x.startswith("model name")]
        described["processor"] = models[0].split(":")[1].strip() if models else "unknown"
    if hasattr(os, "getloadavg"):
        described["load"] = round(os.getloadavg()[0], 2)
    if shutil.which("nvidia-smi"):
        query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        told = subprocess.run(query, capture_output=True, text=True).stdout.split()
        described["driver"] = told[0] if told else "unknown"
    described["runtime"] = " ".join(jax.devices()[0].client.platform_version.split())
    return described | {"devices": [f"{d.platform} {d.device_kind}" for d in jax.devices()]}


def report(
    results: Sequence[Result], peer: str, file: Path | None, versions: dict[str, str] | None = None
) -> None:
    """Print the table and, given a file, write it: date, machine, versions and results."""
    print(format_results(results, peer))
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_json(file, origin(versions or {}) | {"results": [asdict(r) for r in results]})


def origin(versions: dict[str, str]) -> dict[str, Any]:
    """Describe where results come from: date, command, machine and versions, these among them."""
    found = environment()
    return {
        "date": found["date"],
        # the names of files and folders, not their place on this machine
        "command": [Path(word).name if word.startswith("/") else word for word in found["command"]],
        "machine": machine(),
        "versions": found["versions"] | versions,
    }
