"""SIGTERM, with which a scheduler tells a run that it will be ended.

A training notices it at its next step, saves a checkpoint and raises ``Preempted``; so the run
ends with a code of its own and goes on where it was (`jaxpriors.cli.main`). Between trainings there
is nothing to save: a process on its own ends at once, one of several at the next training's first
step. All processes agree on the step, whichever of them got the signal.
"""

import contextlib
import itertools
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from types import FrameType

from jaxpriors.run import processes

EXIT_CODE = 75  # "temporary failure; try again" of sysexits.h


class Preempted(BaseException):
    """The run was asked to end, and can go on later; the message tells what was saved."""


@dataclass
class _Signal:
    """received: whether SIGTERM came. training: whether a training will ask for that."""

    received: bool = False
    training: bool = False


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
    before = signal.signal(signal.SIGTERM, _on_signal)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
        _signal.received = False


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


def _on_signal(number: int, frame: FrameType | None) -> None:
    _signal.received = True
    if not _signal.training:
        raise Preempted("nothing was left to save")
