"""How a long training shows its progress: a bar on a terminal, lines elsewhere."""

import time
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

QUIET_SECONDS = 15.0  # between two lines where there is no terminal


class Display:
    """A context manager that is called with the records of a training."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(highlight=False, soft_wrap=True)
        self._bar = Progress(
            TextColumn("  {task.description}"),
            BarColumn(),
            TextColumn("{task.completed}/{task.total} steps"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,
        )
        self._task: Any = None
        self._printed = time.monotonic()

    def __enter__(self) -> "Display":
        self._bar.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._bar.__exit__(*error)

    def __call__(self, record: dict[str, Any]) -> None:
        """Show a stage, a step or an epoch."""
        if "stage" in record:
            self._forget()
            self._say(record["stage"])
        elif "validation_loss" in record:
            self._forget()
            mark = " (best)" if record["best"] else ""
            self._say(
                f"  epoch {record['epoch']:3d}: training loss {record['train_loss']:.5f}, "
                f"validation loss {record['validation_loss']:.5f}{mark}, "
                f"{sum(record['seconds'].values()):.0f} s in all"
            )
        elif self._console.is_terminal:
            label = f"epoch {record['epoch']}"
            if self._task is None:
                self._task = self._bar.add_task(label, total=record["steps"])
            self._bar.update(self._task, completed=record["step"], description=label)
        elif time.monotonic() - self._printed > QUIET_SECONDS:
            self._say(f"  epoch {record['epoch']}: step {record['step']}/{record['steps']}")

    def _say(self, text: str) -> None:
        self._console.print(text)
        self._printed = time.monotonic()

    def _forget(self) -> None:
        if self._task is not None:
            self._bar.remove_task(self._task)
            self._task = None
