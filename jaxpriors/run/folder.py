"""A run is a folder: configuration, environment, log, checkpoints, weights, metrics, figures.

| file               | content                                                          |
|--------------------|------------------------------------------------------------------|
| `config.json`      | what was asked for, every default resolved                       |
| `environment.json` | versions, devices, command and date                              |
| `log.jsonl`        | one line an epoch                                                |
| `checkpoints/`     | the last and the best training state of each network             |
| `model/`           | the best network, ready for use                                  |
| `metrics.json`     | the results; tables and reports are read from it                 |
| `figures/`         | figures                                                          |

Commands, studies and benchmarks open one by ``started``, and see its progress: a bar on a terminal,
lines elsewhere. Of several processes (`jaxpriors.run.processes`), the first reads and writes for
all.
"""

import contextlib
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from jaxpriors.errors import InputError
from jaxpriors.run import preemption, processes
from jaxpriors.run.forms import checked, parse_json
from jaxpriors.run.launch import set_up
from jaxpriors.run.lock import LOCK, locked
from jaxpriors.run.storage import exists, read_json, write_json, written_whole

Record = dict[str, Any]
Progress = Callable[[Record], None]
QUIET_SECONDS = 15.0  # between two lines where there is no terminal
PACKAGES = ("jaxpriors", "jax", "jaxlib", "optax", "orbax-checkpoint", "numpy", "h5py")


@dataclass(frozen=True)
class Run:
    """One run: the folder that it leaves, whether it may go on there, and how it shows progress.

    held: what ends with the run, such as the lock of its folder; None to lock nothing.
    """

    folder: Path
    resume: bool
    progress: Progress
    held: contextlib.ExitStack | None = None

    def begun(self, *place: str | int) -> dict[str, Any] | None:
        """Read what stands at a place of the configuration of an earlier call; None if none was."""
        if not exists(self.folder / "config.json"):
            return None
        found: Any = read_json(self.folder / "config.json")
        for step in place:
            try:
                found = found[step]
            except (KeyError, IndexError, TypeError):
                return {}  # another configuration, which `open` refuses
        return found if isinstance(found, dict) else {}

    def open(self, config: dict[str, Any]) -> None:
        """Make the folder with this configuration, or go on with the run that has the same.

        Raises InputError where the folder exists and ``resume`` is false, is not a run, or has
        another configuration, and where another process works in it; nothing is changed then.
        """
        config = json.loads(json.dumps(config, allow_nan=False))
        self._check(config)
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.held is not None:
            self.held.enter_context(locked(self.folder))
            self._check(config)  # another one may have begun and ended in between
        write_json(self.folder / "config.json", config)
        if not exists(self.folder / "environment.json"):
            write_json(self.folder / "environment.json", environment())

    def _check(self, config: dict[str, Any]) -> None:
        """Raise InputError unless the folder can be that of a run with this configuration."""
        folder, start = self.folder, self.folder / "config.json"
        # what a start that was killed leaves does not count
        filled = folder.exists() and not folder.is_dir()
        if folder.is_dir():
            left = (".partial", ".tmp", LOCK)
            filled = any(p.suffix not in left and p.name not in left for p in folder.iterdir())
        begun, filled = processes.gather((start.is_file(), filled))[0]
        if filled and not begun:
            raise InputError(f"{folder}: exists and is not the folder of a run; give another")
        if begun and not self.resume:
            raise InputError(
                f"{folder}: exists already; give another folder, or --resume to go on with it"
            )
        other = differences(read_json(start), config) if begun else []
        if other:
            raise InputError(f"{folder}: is a run with another configuration ({'; '.join(other)})")

    def within(self, *names: str) -> "Run":
        """Give a run in a folder of this one, which goes on where an earlier call left it."""
        return Run(self.folder.joinpath(*names), True, self.progress)

    def results(self, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Give the metrics that stand in the folder; where none do, make and write them first.

        The environment is written with them.
        """
        path = self.folder / "metrics.json"
        if not exists(path):
            made = {**make(), "environment": environment()}
            preemption.obey()
            write_json(path, made)
        return read_json(path)

    @property
    def finished(self) -> bool:
        """Whether the results stand in the folder."""
        return exists(self.folder / "metrics.json")


@contextlib.contextmanager
def started(folder: Path, resume: bool = False) -> Iterator[Run]:
    """Use all devices and the compilation cache, and show progress; write nothing yet."""
    set_up()
    with shown() as display, contextlib.ExitStack() as held:
        yield Run(folder, resume, display, held)


def differences(found: Any, asked: Any) -> list[str]:
    """What two JSON documents differ in, as texts."""
    first, second = _leaves(found), _leaves(asked)
    return [
        f"{name}: found {first.get(name)!r}, asked for {second.get(name)!r}"
        for name in sorted(first | second)
        if first.get(name) != second.get(name)
    ]


def _leaves(tree: Any, name: str = "") -> dict[str, Any]:
    """Numbers and texts of nested JSON by the path that leads to them."""
    if isinstance(tree, dict | list) and tree:
        pairs = tree.items() if isinstance(tree, dict) else enumerate(tree)
        inner = [_leaves(v, f"{name}.{k}".lstrip(".")) for k, v in pairs]
        return {key: value for leaves in inner for key, value in leaves.items()}
    return {name: tree}


def environment() -> dict[str, Any]:
    """Versions, devices, command and date of this process."""
    import jax

    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cores": os.cpu_count(),
        "devices": [str(d) for d in jax.devices()],
        "processes": processes.count(),
        "versions": {name: version(name) for name in PACKAGES},
    }


def logged(
    path: Path, progress: Progress, earlier: Sequence[Record] = (), **labels: Any
) -> Progress:
    """Give a function that keeps the records of epochs in a file and passes all records on.

    The file holds the earlier records first, and is written anew, whole, after each epoch. Labels
    stand before what a record says itself.
    """
    records = [*earlier]

    def log(record: Record) -> None:
        record = {**labels, **record}
        if "validation_loss" in record:
            records.append(record)
            with written_whole(path, overwrite=True) as scratch:
                scratch.write_text("".join(json.dumps(r, allow_nan=False) + "\n" for r in records))
        progress(record)

    return log


def read_log(path: Path) -> list[Record]:
    """Read the records that ``logged`` wrote, none where there is no file.

    Raises InputError for a line that is no JSON object.
    """
    if processes.index() > 0 or not path.exists():
        return []
    records = []
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        place = f"{path}: line {number}"
        try:
            records.append(checked(parse_json(line, place), dict, place))
        except InputError as error:
            raise InputError(f"{error}; delete that line") from None
    return records


@contextlib.contextmanager
def shown(console: Console | None = None) -> Iterator[Progress]:
    """Give a function that shows the records of a training: stages, steps and epochs."""
    out = console or Console(highlight=False, soft_wrap=True)
    columns = TextColumn("  {task.description}"), BarColumn()
    steps = TextColumn("{task.completed}/{task.total} steps")
    with Bar(
        *columns,
        steps,
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=out,
        transient=True,
        disable=not out.is_terminal,
    ) as bar:
        printed = time.monotonic()

        def show(record: Record) -> None:
            nonlocal printed
            text = None
            if "stage" in record:
                text = record["stage"]
            elif "validation_loss" in record:
                mark = " (best)" if record["best"] else ""
                text = (
                    f"  epoch {record['epoch']:3d}: training loss {record['train_loss']:.5f}, "
                    f"validation loss {record['validation_loss']:.5f}{mark}, "
                    f"{sum(record['seconds'].values()):.0f} s in all"
                )
            elif out.is_terminal:
                task = bar.task_ids[0] if bar.task_ids else bar.add_task("", total=record["steps"])
                label = f"epoch {record['epoch']}"
                bar.update(task, completed=record["step"], description=label)
            elif time.monotonic() - printed > QUIET_SECONDS:
                text = f"  epoch {record['epoch']}: step {record['step']}/{record['steps']}"
            if text is not None:
                out.print(text)
                printed = time.monotonic()
                for task in bar.task_ids:  # of the epoch before
                    bar.remove_task(task)

        yield show


@contextlib.contextmanager
def counting(
    unit: str, console: Console, seconds: float = QUIET_SECONDS
) -> Iterator[Callable[[str, int, int | None], None]]:
    """Give a function of (task, done, total) that shows how far each task is.

    Where there is no terminal, a line tells each tenth of a task, and how far it is after so many
    seconds without one.
    """
    columns = TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn()
    with Bar(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        tasks: dict[str, Any] = {}
        tenths: dict[str, int] = {}
        printed = time.monotonic()

        def show(task: str, done: int, total: int | None) -> None:
            nonlocal printed
            if task not in tasks:
                tasks[task] = bar.add_task(task, total=total)
            bar.update(tasks[task], completed=done, total=total)
            tenth = 10 * done // total if total else 0
            late = time.monotonic() - printed >= seconds
            if not console.is_terminal and (tenths.get(task) != tenth or late):
                tenths[task], printed = tenth, time.monotonic()
                console.print(f"{task}: {done}/{total or '?'} {unit}", markup=False)

        yield show
