"""Two runs never work in one folder at once, and a crash leaves no lock behind."""

import contextlib
import os
import subprocess
import sys

import pytest

from jaxpriors.errors import InputError
from jaxpriors.run.folder import Run
from jaxpriors.run.lock import LOCK

HOLD = """
import contextlib, sys, time
from pathlib import Path
from jaxpriors.run.lock import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(100)
"""


def _run(folder, held):
    return Run(folder, True, lambda record: None, held)


def test_the_second_is_refused_until_the_first_ends(tmp_path):
    folder = tmp_path / "run"
    with contextlib.ExitStack() as first:
        _run(folder, first).open({"seed": 0})
        before = {p.name: p.read_bytes() for p in folder.iterdir()}
        message = rf"run: another run works there \(process {os.getpid()} on .*\); wait until it"
        with contextlib.ExitStack() as second, pytest.raises(InputError, match=message):
            _run(folder, second).open({"seed": 0})
        assert {p.name: p.read_bytes() for p in folder.iterdir()} == before
    with contextlib.ExitStack() as third:
        _run(folder, third).open({"seed": 0})


def test_a_killed_one_holds_nothing(tmp_path):
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        with (
            contextlib.ExitStack() as held,
            pytest.raises(InputError, match=f"process {process.pid} on"),
        ):
            _run(tmp_path, held).open({"seed": 0})
        process.kill()
    assert [p.name for p in tmp_path.iterdir()] == [LOCK]
    with contextlib.ExitStack() as held:
        _run(tmp_path, held).open({"seed": 0})


def test_two_that_begin_at_once(tmp_path, monkeypatch):
    """The other one begins and ends between this one's look and its lock."""
    folder = tmp_path / "run"
    with contextlib.ExitStack() as held:
        run = Run(folder, False, lambda record: None, held)
        checked = Run._check

        def slow(self, config):
            checked(self, config)
            monkeypatch.setattr(Run, "_check", checked)
            Run(folder, False, self.progress).open({"seed": 1})

        monkeypatch.setattr(Run, "_check", slow)
        with pytest.raises(InputError, match="exists already"):
            run.open({"seed": 0})
    assert '"seed": 1' in (folder / "config.json").read_text()
