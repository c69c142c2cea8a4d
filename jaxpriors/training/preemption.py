"""SIGTERM, with which a scheduler tells a run that it will be ended.

A training notices it at its next step, saves a checkpoint and raises ``Preempted``; so the run
ends with a code of its own and goes on where it was (`jaxpriors.cli`). Between trainings there is
nothing to save: a process on its own ends at once, one of several at the next training's first
step. All processes agree on the step, whichever of them got the signal.
"""

import contextlib
import itertools
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from types import FrameType

from jaxpriors import processes

EXIT_CODE = 75  # "temporary failure; try again" of sysexits.h


class Preempted(BaseException):
    """The run was asked to end, and can go on later; the message tells what was saved."""


@dataclass
class _Notice:
    """came: whether SIGTERM came. training: whether a training will look at that."""

    came: bool = False
    training: bool = False


_notice = _Notice()  # of the process, as signals are
_looks = itertools.count()  # all processes look equally often


@contextlib.contextmanager
def heeded() -> Iterator[None]:
    """Within, SIGTERM ends a process on its own with ``Preempted``; JAX heeds those of several."""
    if processes.count() > 1 or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _on_signal)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
        _notice.came = False


@contextlib.contextmanager
def at_steps() -> Iterator[None]:
    """Within, ``announced`` is looked at after every step, so that SIGTERM may wait for that."""
    _notice.training = True
    try:
        yield
    finally:
        _notice.training = False
    if _notice.came:
        raise Preempted("nothing was left to save")


def announced() -> bool:
    """Whether to save and end now; the same on all processes, which call it equally often."""
    if processes.count() > 1:
        from jax.experimental.multihost_utils import reached_preemption_sync_point

        reached = reached_preemption_sync_point(next(_looks))
        _notice.came = _notice.came or reached
    return _notice.came


def _on_signal(number: int, frame: FrameType | None) -> None:
    _notice.came = True
    if not _notice.training:
        raise Preempted("nothing was left to save")
