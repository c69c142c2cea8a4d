"""Make the environments of peers, start their processes, and order them to run something.

    python -m benchmarks.peers.client --name lgatr-2.0.0 --folder .venv-peers

makes the environment of one peer, unless it is there, and prints its interpreter.
"""

from __future__ import annotations

import contextlib
import json
import select
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from benchmarks.measure import Program

SERVERS = Path(__file__).parent
TORCH_CPU = "https://download.pytorch.org/whl/cpu"
EXTRAS = tomllib.loads((SERVERS.parents[1] / "pyproject.toml").read_text())["project"][
    "optional-dependencies"
]
TORCH, LGATR = EXTRAS["peers"]
PACKAGES = {
    "lgatr-1.4.3": (TORCH, "numpy", "lgatr==1.4.3"),
    "lgatr-2.0.0": (TORCH, "numpy", LGATR),
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
        small = name.startswith("lgatr") and shutil.which("nvidia-smi") is None  # without CUDA
        index = ["--extra-index-url", TORCH_CPU] if small else []
        subprocess.run([*pip, *PACKAGES[name], *index], check=True)
        made.touch()
    return (home / "bin" / "python").absolute()


@dataclass
class Peer:
    """A running peer; ``ask`` sends an order and waits for the answer.

    limit: seconds after which a peer that has not answered is ended.
    """

    name: str
    process: subprocess.Popen[str]
    limit: float | None = None

    def ask(self, do: str, **order: Any) -> dict[str, Any]:
        """Return the peer's answer; RuntimeError where it failed, stopped or is late."""
        assert self.process.stdin is not None and self.process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(json.dumps({"do": do, **order}) + "\n")
            self.process.stdin.flush()
        if not select.select([self.process.stdout], [], [], self.limit)[0]:
            self.process.kill()
            raise RuntimeError(f"{self.name}: {do} was not finished in {self.limit:.0f} s")
        answer = self.process.stdout.readline()
        if not answer:
            raise RuntimeError(f"{self.name}: stopped at {do} {order}; its errors are above")
        found: dict[str, Any] = json.loads(answer)
        if "error" in found:
            raise RuntimeError(f"{self.name}: {do}: {found['error']}")
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


if __name__ == "__main__":
    print(tyro.cli(environment_of))
