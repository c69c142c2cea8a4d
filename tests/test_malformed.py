"""Malformed files of every kind: each is refused in one line, or read as if nothing had happened.

Never a traceback, a hang, memory beyond the file's size, or other values without a word. In
continuous integration this tries some hundred files, always the same ones, in less than two
minutes. By hand it tries as many as wanted, others each time:

    JAXPRIORS_MALFORMED=2000 python -m pytest -s tests/test_malformed.py

with `-s` it prints how many were tried, by kind and by family. JAXPRIORS_MALFORMED_KIND names one
kind to try.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.helpers.malformed import LENIENT
from tests.helpers.malformed_kinds import KINDS, targets

TRIED = int(os.environ.get("JAXPRIORS_MALFORMED", "300"))
ONLY = os.environ.get("JAXPRIORS_MALFORMED_KIND")
PATIENCE = 30  # seconds, for machines that are busy; a hang has no end
MEMORY = 300e6  # bytes beyond 100 times the file, for what a program needs at its first call


class Worker:
    """A process that reads files for us, and a new one where it ends or hangs."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[str] | None = None

    def ask(self, kind: str, action: str, path: Path) -> dict:
        if self.process is None:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.helpers.malformed_worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                cwd=Path(__file__).parents[1],
                env={**os.environ, "JAX_PLATFORMS": "cpu"},
            )
        assert self.process.stdin and self.process.stdout
        request = {"kind": kind, "action": action, "path": os.fsdecode(path)}
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        if not select.select([self.process.stdout], [], [], PATIENCE)[0]:
            self.end()
            return {"outcome": "hang", "text": f"no end after {PATIENCE} s", "memory": 0}
        line = self.process.stdout.readline()
        if not line:
            code = self.process.wait()
            self.end()
            return {"outcome": "crash", "text": f"ended with {code}", "memory": 0}
        return json.loads(line)

    def end(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.communicate()
            self.process = None


@pytest.fixture(scope="module")
def worker():
    found = Worker()
    yield found
    found.end()


@pytest.fixture(scope="module")
def valid(tmp_path_factory, worker):
    """A valid file of each kind, and what each action finds in it."""
    made = {}
    for number, (name, kind) in enumerate(KINDS.items()):
        if ONLY not in (None, name):
            continue
        folder = tmp_path_factory.mktemp(f"valid{number}")
        path = kind.make(folder)
        found = {}
        for action in kind.actions:
            place = tmp_path_factory.mktemp(f"try{number}") / "here"
            shutil.copytree(folder, place)
            found[action] = worker.ask(name, action, place / path.name)
            assert found[action]["outcome"] == "read", (name, action, found[action]["text"])
        made[name] = (path, {action: answer["text"] for action, answer in found.items()})
    return made


def verdict(kind: str, action: str, family: str, path: Path, answer: dict, expected: str) -> str:
    """Say what is wrong with an answer; nothing where it is as it should be."""
    outcome, text = answer["outcome"], answer["text"]
    if outcome in ("traceback", "crash", "hang"):
        return f"{outcome}: {text.strip().splitlines()[-1]}"
    if answer["memory"] > MEMORY + 100 * size_of(path):
        return f"memory: {answer['memory'] / 1e6:.0f} MB"
    if outcome == "refused":
        first, *rest = text.splitlines() or [""]
        if any(not line.startswith("  ") for line in rest):
            return f"several lines: {text!r}"
        inside = [path.name, *(p.name for p in path.rglob("*"))] if path.is_dir() else [path.name]
        if not any(name in first for name in inside) and "tuned.json" not in first:
            return f"no file is named: {first!r}"
        return ""
    compared = action in KINDS[kind].compared and family not in LENIENT
    return "other values are read without a word" if compared and text != expected else ""


def size_of(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def test_malformed_files_are_refused_or_read_right(valid, worker, tmp_path_factory):
    faults: dict[tuple[str, str, str, str], str] = {}
    tried: Counter[tuple[str, str]] = Counter()
    outcomes: Counter[str] = Counter()
    place = tmp_path_factory.mktemp("malformed") / "here"

    @settings(
        max_examples=TRIED,
        deadline=None,
        database=None,
        derandomize="JAXPRIORS_MALFORMED" not in os.environ,
        suppress_health_check=list(HealthCheck),
    )
    @given(kind=st.sampled_from(sorted(valid)), seed=st.integers(0, 2**63))
    def explore(kind: str, seed: int) -> None:
        rng = np.random.default_rng(seed)
        source, expected = valid[kind]
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(source.parent, place)
        path = place / source.name
        files = targets(kind, path)
        file, families = files[int(rng.integers(len(files)))]
        family = sorted(families)[int(rng.integers(len(families)))]
        what = families[family](file, rng)
        action = sorted(KINDS[kind].actions)[int(rng.integers(len(KINDS[kind].actions)))]
        if not what:
            return  # the family says nothing about this file
        answer = worker.ask(kind, action, path)
        tried[kind, family] += 1
        wrong = verdict(kind, action, family, path, answer, expected[action])
        outcomes["wrong" if wrong else answer["outcome"]] += 1
        if wrong:
            key = (kind, action, family, wrong.split(": ")[0])
            faults.setdefault(key, f"{kind}, {action}, seed {seed}: {what}: {wrong}")

    explore()
    print(f"\n{sum(tried.values())} malformed files: {dict(outcomes)}")
    for number, names in enumerate(("kind", "family")):
        counts: Counter[str] = Counter()
        for key, count in tried.items():
            counts[key[number]] += count
        print(f"by {names}: {dict(sorted(counts.items()))}")
    assert not faults, f"{len(faults)} sorts of faults:\n" + "\n".join(sorted(faults.values()))
