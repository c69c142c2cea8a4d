"""SIGTERM and Ctrl-C are obeyed wherever they come, also where Python drops what is raised."""

import os
import signal
import time
import weakref

import pytest

from jaxpriors.run import preemption
from jaxpriors.run.preemption import Preempted, at_steps, handle_sigterm, obey


def _within_a_callback(act):
    """What is raised in the callback of a weak reference, Python prints and drops."""

    class Watched:
        pass

    watched = Watched()
    reference = weakref.ref(watched, lambda _: act())
    del watched
    return reference


def _work():
    for _ in range(1000):
        time.sleep(0.01)
    pytest.fail("nobody was told")


@pytest.mark.parametrize(
    ("number", "kind"), [(signal.SIGTERM, Preempted), (signal.SIGINT, KeyboardInterrupt)]
)
def test_what_was_dropped_is_raised_again(number, kind, capsys):
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in the background
    reached = []

    def act():
        os.kill(os.getpid(), number)
        time.sleep(1)

    with pytest.raises(kind), handle_sigterm():
        _within_a_callback(act)
        reached.append("after the callback")
        _work()
    signal.signal(signal.SIGINT, before)
    assert reached == ["after the callback"] and capsys.readouterr().err == ""


def test_other_errors_that_are_dropped_are_told_as_before(monkeypatch):
    told = []
    monkeypatch.setattr("sys.unraisablehook", lambda found: told.append(found.exc_type))
    with handle_sigterm():
        _within_a_callback(lambda: 1 / 0)
    assert told == [ZeroDivisionError]


def test_it_ends_at_once_between_trainings_and_waits_within():
    with pytest.raises(Preempted), handle_sigterm():
        os.kill(os.getpid(), signal.SIGTERM)
        _work()
    passed = []
    with pytest.raises(Preempted), handle_sigterm(), at_steps():
        os.kill(os.getpid(), signal.SIGTERM)
        passed.append(preemption.requested())
        obey()  # a training looks at it itself
        passed.append("to the end")
    assert passed == [True, "to the end"]
    with handle_sigterm():
        obey()


def test_one_of_several_obeys_at_the_next_figure_and_before_the_results(monkeypatch, tmp_path):
    """There JAX gets the signal, and tells all processes at the point that they agree on."""
    from matplotlib.figure import Figure

    from jaxpriors.evaluation.figures import save_figure
    from tests.helpers.runs import quiet_run

    monkeypatch.setattr(preemption, "requested", lambda: True)
    with pytest.raises(Preempted):
        save_figure(Figure(), tmp_path / "figure")
    with pytest.raises(Preempted):
        quiet_run(tmp_path).results(lambda: {"auc": 0.5})
    assert list(tmp_path.iterdir()) == []
