"""Tasks that do not depend on each other, done by several processes."""

from __future__ import annotations

import concurrent.futures
import multiprocessing
import multiprocessing.connection
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from jaxpriors.errors import InputError

T = TypeVar("T")


def done_by_processes(
    tasks: Mapping[int, Callable[[], T]], processes: int
) -> Iterator[tuple[int, T]]:
    """Yield the number and result of each task, in the order in which they are done.

    Tasks are functions that pickle knows by name (`functools.partial` of a module's own); they are
    run by ``processes`` new processes, which end when this one does (a script needs
    `if __name__ == "__main__":`).

    Raises InputError where a process died, and whatever a task raises.
    """
    if not tasks:
        return
    pool = concurrent.futures.ProcessPoolExecutor(
        min(processes, len(tasks)),
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_start_worker,
    )
    done = 0
    try:
        numbers = {pool.submit(task): number for number, task in tasks.items()}
        for finished in concurrent.futures.as_completed(numbers):
            yield numbers[finished], finished.result()
            done += 1
    except BrokenProcessPool as error:
        raise InputError(
            f"a process died after {done} of {len(tasks)} tasks (out of memory, killed, or started "
            'from a script without `if __name__ == "__main__":`); what is done is kept, the same '
            "request continues there"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _start_worker() -> None:
    """Silence the banners of libraries, leave interrupts to the parent, and end when it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    sys.stdout = open(os.devnull, "w")  # noqa: SIM115 (open as long as the process lives)
    threading.Thread(target=_follow_parent, daemon=True).start()


def _follow_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    multiprocessing.connection.wait([parent.sentinel])
    os._exit(1)
