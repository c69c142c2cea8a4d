"""Measure on one GPU, in about ten minutes, what is claimed of it.

    python -m benchmarks.gpu --json gpu.json
    python -m benchmarks.gpu --json gpu.json --peer .venv-peers/lgatr-2.0.0/bin/python

The rows are passes of one jet, and passes and training steps of 64 and 512 jets, all of 101
particles or of realistic multiplicities, of L-GATr, L-GATr-slim and PET, in float32, tensorfloat32
and bfloat16: time, memory and compilation. Where PyTorch and `lgatr` are at hand, the same is
measured of the peer, as it is and by ``torch.compile``, after its numbers were compared with ours
(`gpu_rows`).

The most important rows come first; those that do not fit into ``--minutes`` are listed, and
measured by the same command with ``--resume``. The file is written after every row, so that a
killed run goes on from there. Programs are compiled anew. Either side has half the GPU's memory.
"""

from __future__ import annotations

import functools
import json as text
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jax
import tyro

from benchmarks.gpu_rows import PEER, Peers, Row, Variant, measured, plan
from benchmarks.networks import MODELS
from benchmarks.tables import Result, compared, format_results, origin, quantity
from jaxpriors.errors import InputError
from jaxpriors.run import preemption
from jaxpriors.run.folder import differences
from jaxpriors.run.launch import guarded, set_up
from jaxpriors.run.storage import read_json, write_json

LIMIT = 120.0  # seconds that an answer of a peer may take, compilation included
Record = dict[str, Any]
VERSIONS = (
    "import json, torch, lgatr, importlib.metadata as m; print(json.dumps({"
    "'torch': torch.__version__, 'lgatr': m.version('lgatr'), 'gpu': torch.cuda.is_available()}))"
)


def gpu(
    json: Path,
    models: tuple[str, ...] = MODELS,
    rows: tuple[str, ...] = (),
    minutes: float = 10.0,
    peer: Path | None = None,
    small: bool = False,
    resume: bool = False,
) -> int:
    """Measure the rows, print the table.

    Args:
        json: file for the results.
        models: any of lgatr, lgatr-slim, pet.
        rows: only rows whose names contain one of these texts, such as lgatr-slim-train or
            forward-1-.
        minutes: no row is begun that would end later, as far as one can tell.
        peer: interpreter of an environment with PyTorch and lgatr 2.0.0; without it, this one's
            are taken if it has them.
        small: small networks and few jets: a trial that CPUs can do.
        resume: go on with the file.
    """
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # the peer needs some too
    os.environ.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", "0.5")
    set_up()
    jax.config.update("jax_enable_compilation_cache", False)  # compilation is measured
    on_gpu = jax.default_backend() == "gpu"
    if not on_gpu and not small:
        raise InputError(f"devices: found {jax.devices()[0].platform}, expected a GPU, or --small")
    unknown = sorted(set(models) - set(MODELS))
    if unknown:
        raise InputError(f"--models: found {unknown[0]!r}, expected any of {', '.join(MODELS)}")
    planned = plan(models, (16, 32) if small else (64, 512), on_gpu)
    planned = [row for row in planned if not rows or any(part in row.name for part in rows)]
    if not planned:
        raise InputError(f"--rows: found {', '.join(rows)}, expected parts of the rows' names")
    python = peer or Path(sys.executable)
    found = peer_versions(python, peer is not None, on_gpu)
    content = opened(json, origin(found) | {"size": "small" if small else "paper"}, resume)
    with ExitStack() as stack:
        peers = None
        if found:
            scratch = stack.enter_context(tempfile.TemporaryDirectory())
            peers = stack.enter_context(Peers(python, content["size"], Path(scratch)))
        most, least = (1, 0.0) if small else (5, 0.3)

        def measure(row: Row, left: float) -> list[Variant]:
            limit = LIMIT if small else min(LIMIT, max(left, 1.0))
            return measured(row, content["size"], peers, limit, most, least)

        done = measure_all(
            planned, content["rows"], measure, functools.partial(save, json, content), minutes
        )
    print(table(done))
    return 0


def peer_versions(python: Path, asked: bool, on_gpu: bool) -> dict[str, str]:
    """Return the versions of PyTorch and lgatr that this interpreter has; none if it has none.

    InputError where it was asked for and has none, or none for this machine, or another lgatr.
    """
    problem = ""
    try:
        run = subprocess.run([python, "-c", VERSIONS], capture_output=True, text=True)
        found = text.loads(run.stdout) if run.returncode == 0 else {}
    except OSError:
        found = {}
    if not found:
        problem = "found no PyTorch with lgatr, expected both"
    elif found["lgatr"] != PEER.removeprefix("lgatr-"):
        problem = f"found lgatr {found['lgatr']}, expected {PEER.removeprefix('lgatr-')}"
    elif on_gpu and not found["gpu"]:
        problem = f"found PyTorch {found['torch']} without a GPU, expected one that uses it"
    if problem and asked:
        raise InputError(f"--peer {python}: {problem}")
    if problem:
        print(f"{python}: {problem}: ours alone is measured (--peer names another)")
        return {}
    return {name: found[name] for name in ("torch", "lgatr")}


def opened(file: Path, now: Record, resume: bool) -> Record:
    """Return the file's content to go on with, or that of a new one.

    InputError where it is there without ``resume``, or was made by others than those of now.
    """
    if not file.exists():
        return now | {"rows": [], "left": []}
    if not resume:
        raise InputError(f"{file}: exists already; give another file, or --resume to go on with it")
    content = read_json(file, "results of benchmarks.gpu")
    told = [
        {name: made.get(name) for name in ("size", "versions")}
        | {"devices": (made.get("machine") or {}).get("devices")}
        for made in (content, now)
    ]
    other = differences(*told)
    if other or "rows" not in content:
        raise InputError(f"{file}: cannot be gone on with ({'; '.join(other) or 'no rows'})")
    return content


def save(file: Path, content: Record, done: Sequence[Record], left: Sequence[str]) -> None:
    """Write the file, whole."""
    file.parent.mkdir(parents=True, exist_ok=True)
    write_json(file, content | {"rows": list(done), "left": list(left)})


def measure_all(
    planned: Sequence[Row],
    earlier: Sequence[Record],
    measure: Callable[[Row, float], list[Variant]],
    keep: Callable[[Sequence[Record], Sequence[str]], None],
    minutes: float,
    clock: Callable[[], float] = time.monotonic,
) -> list[Record]:
    """Measure the rows that are not among the earlier ones, as long as there is time.

    A row is expected to take what the last one of its network and task took, from its start to its
    end. keep: is given all records and the names of the rows that are left, after every row.
    """
    done, end = list(earlier), clock() + 60 * minutes
    took = {(one["model"], one["task"]): one["took"] for one in done}
    for number, row in enumerate(planned, 1):
        if row.name in {one["name"] for one in done}:
            continue
        begin = clock()
        left = end - begin
        if left <= took.get((row.model, row.task), 0.0):
            continue
        print(f"[{number}/{len(planned)}] {row.name}: {left / 60:.1f} min left", flush=True)
        variants = measure(row, left)
        took[row.model, row.task] = clock() - begin
        record = {"name": row.name, **asdict(row), "took": took[row.model, row.task]}
        done.append(record | {"variants": [asdict(one) for one in variants]})
        print(*told(variants), sep="\n", flush=True)
        keep(done, unmeasured(planned, done))
        preemption.obey()
    missing = unmeasured(planned, done)
    keep(done, missing)
    if missing:
        print(f"no time for {len(missing)} rows, --resume measures them: {' '.join(missing)}")
    return done


def unmeasured(planned: Sequence[Row], done: Sequence[Record]) -> list[str]:
    """Name the rows that are not done."""
    names = {one["name"] for one in done}
    return [row.name for row in planned if row.name not in names]


def told(variants: Sequence[Variant]) -> list[str]:
    """Write a line for each variant."""
    lines = []
    for one in variants:
        words = [one.failed] if one.failed else []
        if one.seconds is not None:
            words.append(f"{quantity(one.seconds, 's')}")
        if one.difference is not None:
            words.append(f"differs by {one.difference:.1e}")
        lines.append(f"  {one.name}: " + ", ".join(filter(None, [*words, one.note])))
    return lines


def table(done: Sequence[Record]) -> str:
    """Write all rows as one table, those that ours or the peer cannot finish with the reason."""
    results, failed = [], []
    for one in done:
        variants = [Variant(**variant) for variant in one["variants"]]
        ours, others = variants[0], variants[1:]
        work = one["name"].removeprefix(one["model"] + "-")
        if ours.seconds is None:
            failed.append(f"{one['name']}: {ours.failed}")
            continue
        results.append(_result(one["model"], work, ours, others))
    return "\n".join([format_results(results, PEER), *failed])


def _result(model: str, work: str, ours: Variant, others: Sequence[Variant]) -> Result:
    """Compare with the fastest variant; note compilation and memory of both, and what failed."""
    assert ours.seconds is not None
    finished = {one.seconds: one for one in others if one.seconds is not None}
    best = finished[min(finished)] if finished else None
    both = [ours] if best is None else [ours, best]
    notes = [] if best is None else [best.name]
    notes.append(
        "compiled in " + " against ".join(quantity(one.compilation or 0.0, "s") for one in both)
    )
    memory = [quantity(one.memory, "B") for one in both if one.memory is not None]
    notes.append("memory " + " against ".join(memory))
    notes += [f"{one.name}: {one.note}" for one in both if one.note]
    notes += [f"{one.name}: {one.failed}" for one in others if one.failed]
    spread = max(one.spread or 0.0 for one in both)
    seconds = None if best is None else best.seconds
    return compared(model, work, ours.seconds, seconds, "s", spread, "; ".join(notes))


if __name__ == "__main__":
    raise SystemExit(guarded(lambda: tyro.cli(gpu), alone=True))
