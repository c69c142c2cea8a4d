"""Make the environments of peers, start their processes, and order them to run something."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.measure import Program

SERVERS = Path(__file__).parent
TORCH_CPU = "https://download.pytorch.org/whl/cpu"
PACKAGES = {
    "lgatr-1.4.3": ("torch", "numpy", "lgatr==1.4.3"),
    "lgatr-2.0.0": ("torch", "numpy", "lgatr==2.0.0"),
    "omnilearn": ("tensorflow==2.14.1", "numpy<2"),
}
"""What is installed for each peer; OmniLearn itself is a folder of files."""


def environment_of(name: str, folder: Path) -> Path:
    """Return the interpreter of one of ``PACKAGES``; make its environment if it is not there."""
    home = folder / name
    made = home / "made"
    if not made.exists():
        print(f"installing {', '.join(PACKAGES[name])} into {home}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", home], check=True)
        pip: list[str | Path] = [home / "bin" / "python", "-m", "pip", "install", "--quiet"]
        index = ["--extra-index-url", TORCH_CPU] if name.startswith("lgatr") else []
        subprocess.run([*pip, *PACKAGES[name], *index], check=True)
        made.touch()
    return (home / "bin" / "python").absolute()


@dataclass
class Peer:
    """A running peer; ``ask`` sends an order and waits for the answer."""

    name: str
    process: subprocess.Popen[str]

    def ask(self, do: str, **order: Any) -> dict[str, Any]:
        """Return the peer's answer; RuntimeError where it stopped."""
        assert self.process.stdin is not None and self.process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(json.dumps({"do": do, **order}) + "\n")
            self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise RuntimeError(f"{self.name}: stopped at {do} {order}; its errors are above")
        found: dict[str, Any] = json.loads(answer)
        return found

    def program(self, task: str) -> Program:
        """Turn the peer's task into a program to be timed; the peer itself reads the clock."""

        def run(calls: int) -> float:
            return float(self.ask("run", task=task, calls=calls)["seconds"])

        return run


@contextlib.contextmanager
def running(name: str, python: Path, server: str, *arguments: str) -> Iterator[Peer]:
    """Run a peer's server in the environment of that interpreter; end it at the end."""
    command = [str(python), str(SERVERS / server), *arguments]
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)
    try:
        yield Peer(name, process)
    finally:
        process.kill()
        process.communicate()
