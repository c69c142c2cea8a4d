"""SIGTERM, with which a scheduler tells a run that it will be ended.

A training notices it at its next step, saves a checkpoint and raises ``Preempted``; so the run
ends with a code of its own and goes on where it was (`jaxpriors.cli.main`). Between trainings there
is nothing to save: a process on its own ends at once, one of several at the next training's first
step, at the next figure or before the results are written (``obey``). All processes agree on the
step, whichever of them got the signal.

Python drops what is raised within the callbacks of other libraries, of which drawing has many. What
was dropped, also of Ctrl-C, is raised again a moment later.
"""

import contextlib
import itertools
import signal
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from types import FrameType
from typing import Any

from jaxpriors.run import processes

AGAIN = 0.05  # seconds until what was dropped is raised again
EXIT_CODE = 75  # "temporary failure; try again" of sysexits.h


class Preempted(BaseException):
    """The run was asked to end, and can go on later; the message tells what was saved."""


@dataclass
class _Signal:
    """What signals have to say.

    received: whether SIGTERM came. training: whether a training will ask for that. dropped: what
    was raised for a signal where Python drops it.
    """

    received: bool = False
    training: bool = False
    dropped: BaseException | None = None


_signal = _Signal()  # of the process, as signals are
_asked = itertools.count()  # all processes ask equally often


@contextlib.contextmanager
def handle_sigterm() -> Iterator[None]:
    """Make SIGTERM raise ``Preempted`` within, in a process on its own.

    Those of several processes leave the signal to JAX, which tells all of them.
    """
    if processes.count() > 1 or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _on_signal), signal.signal(signal.SIGALRM, _on_alarm)
    hook = sys.unraisablehook

    def on_dropped(found: Any) -> None:
        if isinstance(found.exc_value, Preempted | KeyboardInterrupt):
            _signal.dropped = type(found.exc_value)(*found.exc_value.args)
            signal.setitimer(signal.ITIMER_REAL, AGAIN)
        else:
            hook(found)

    sys.unraisablehook = on_dropped
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        sys.unraisablehook = hook
        for number, handler in zip((signal.SIGTERM, signal.SIGALRM), before, strict=True):
            signal.signal(number, handler)
        _signal.received, _signal.dropped = False, None


@contextlib.contextmanager
def at_steps() -> Iterator[None]:
    """Let SIGTERM wait within: a training calls ``requested`` after every step."""
    _signal.training = True
    try:
        yield
    finally:
        _signal.training = False
    if _signal.received:
        raise Preempted("nothing was left to save")


def requested() -> bool:
    """Tell whether to save and end now; alike on all processes, which call it equally often."""
    if processes.count() > 1:
        from jax.experimental.multihost_utils import reached_preemption_sync_point

        reached = reached_preemption_sync_point(next(_asked))
        _signal.received = _signal.received or reached
    return _signal.received


def obey() -> None:
    """Raise ``Preempted`` between trainings if SIGTERM came; all processes call this alike."""
    if not _signal.training and requested():
        raise Preempted("nothing was left to save")


def _on_alarm(number: int, frame: FrameType | None) -> None:
    if _signal.dropped is not None:
        dropped, _signal.dropped = _signal.dropped, None
        raise dropped


def _on_signal(number: int, frame: FrameType | None) -> None:
    _signal.received = True
    if not _signal.training:
        raise Preempted("nothing was left to save")
