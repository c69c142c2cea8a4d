"""The fastest micro-batch is found with a clock of our own; memory is what compiled steps need."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxpriors.layers.core import run_blocks
from jaxpriors.training import tuning
from jaxpriors.training.tuning import (
    MicroBatch,
    Task,
    bisect,
    compile_step,
    fastest,
    micro_batch_sizes,
)


class Clock:
    """Stands still but for what programs take."""

    def __init__(self):
        self.now, self.calls = 0.0, []

    def __call__(self):
        return self.now

    def program(self, size, seconds):
        def run():
            self.calls.append(size)
            self.now += seconds

        return run


def _race(costs):
    clock = Clock()

    def program(size):
        return None if costs[size] is None else clock.program(size, costs[size])

    return tuning.time_in_turn(costs, program, clock), clock.calls


def test_sizes_are_powers_of_two_and_the_whole_batch():
    assert micro_batch_sizes([16, 32], devices=1) == [1, 2, 4, 8, 16, 48]
    assert micro_batch_sizes([16, 32], devices=2) == [1, 2, 4, 8, 24]
    assert micro_batch_sizes([2], devices=2) == [1]
    # 10 rows, at most 4 of them at a time, are micro-batches of 2
    assert micro_batch_sizes([10], devices=1) == [1, 4, 8, 10]


def test_the_search_ends_where_it_gets_slower():
    seconds, calls = _race({1: 4.0, 2: 3.0, 4: 2.0, 8: 2.1, 16: 3.0, 32: 3.5, 64: 1.0})
    assert seconds == pytest.approx({1: 4.0, 2: 3.0, 4: 2.0, 8: 2.1, 16: 3.0, 32: 3.5})
    assert calls[6:10] == [4, 8, 4, 8]  # those that come near to the fastest, in turn


def test_one_slow_size_does_not_end_the_search():
    seconds, _ = _race({1: 2.0, 2: 3.0, 4: 1.0, 8: 1.5, 16: 0.5})
    assert min(seconds, key=seconds.get) == 16


def test_what_does_not_fit_is_not_run():
    seconds, calls = _race({64: None, 32: 1.0, 16: 2.0})
    assert set(seconds) == {32, 16} and 64 not in calls
    assert _race({64: None})[0] == {}


def test_long_steps_are_measured_less_often():
    _, calls = _race({1: 20.0, 2: 19.0})
    assert calls == [1, 2] + [1, 2] * tuning.FEWEST_ROUNDS
    _, calls = _race({1: 2.0, 2: 1.9})
    assert calls == [1, 2] + [1, 2] * tuning.ROUNDS


def test_the_fastest_is_chosen_among_those_that_fit():
    measured = [
        MicroBatch(1, 2.0, 10),
        MicroBatch(2, 1.0, 20),
        MicroBatch(4, None, 40),
        MicroBatch(8, None, None),
    ]
    assert fastest(measured) == measured[1]
    assert fastest(measured[2:]) is None


@pytest.mark.parametrize("first", [16, 512, 100_000])
def test_the_largest_batch_is_found_in_few_tries(first):
    tried = []

    def total(batch):
        tried.append(batch)
        return 5000 + 7 * batch

    found = bisect(total, 20_000, first, unit=32)
    assert found % 32 == 0 and len(tried) <= 3 and found in tried
    assert 0.9 * 20_000 <= total(found) <= 20_000


def test_a_largest_batch_need_not_exist():
    assert bisect(lambda batch: 100.0, 10, 64, unit=32) is None
    assert bisect(lambda batch: np.inf, 10, 64, unit=32) is None
    assert bisect(lambda batch: np.inf if batch > 32 else 1.0, 10, 64, unit=32) == 32


def _loss(params, part, key):
    def block(weight, x, _):
        return x + jnp.sin(jnp.tanh(x @ weight) @ weight)

    x = run_blocks(block, params["blocks"], part["x"], checkpoint="again" in params)
    return (x**2).sum()


def _task(**more):
    rng = np.random.default_rng(0)
    params = {"blocks": jnp.asarray(rng.normal(size=(6, 16, 16)) / 4, jnp.float32), **more}
    batch = tuple({"x": rng.normal(size=(n, 16)).astype(np.float32)} for n in (96, 32))
    return Task(params, _loss, batch, 128.0, optax.sgd(1e-3))


def test_memory_grows_with_the_batch_and_shrinks_with_recomputation():
    plain, again = _task(), _task(again=jnp.zeros(()))
    whole = compile_step(plain, None)
    larger = compile_step(plain, None, 4 * 128)
    split = compile_step(plain, 4)
    recomputed = compile_step(again, None, 4 * 128)
    assert 2 * whole.temporary < larger.temporary < 5 * whole.temporary
    assert split.temporary < whole.temporary
    assert recomputed.temporary < larger.temporary
    for step in (whole, larger, split, recomputed):
        assert step.total > step.temporary


def test_the_largest_batch_fits_and_leaves_little(monkeypatch):
    compiled = []

    def compile_and_tell(*arguments):
        compiled.append(compile_step(*arguments))
        return compiled[-1]

    monkeypatch.setattr(tuning, "compile_step", compile_and_tell)
    memory = 4_000_000
    found = tuning.largest_batch(_task(), memory, 128)
    assert found % (16 * jax.device_count()) == 0
    best = max(step.total for step in compiled if step.total <= tuning.MARGIN * memory)
    assert best > 0.8 * tuning.MARGIN * memory and len(compiled) <= 3


def test_steps_are_run_and_the_parameters_stay():
    task = _task()
    before = np.array(task.params["blocks"])
    stages = []
    small = dataclasses.replace(task, batch=tuple({"x": p["x"][:4]} for p in task.batch), rows=8.0)
    measured = tuning.measure_micro_batches(small, progress=stages.append, clock=Clock())
    assert [c.rows for c in measured] == [1, 4] and len(stages) == 2
    assert all(c.seconds == 0.0 and c.temporary > 0 for c in measured)
    np.testing.assert_array_equal(task.params["blocks"], before)
    none = tuning.measure_micro_batches(small, memory=100)
    assert [c.seconds for c in none] == [None, None]
