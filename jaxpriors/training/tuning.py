"""The micro-batch that makes a training step fastest; the largest batch that fits the memory.

How many events a device works on at once (`loop.TrainingConfig.micro_batch`) is a matter of speed
and memory alone: on a CPU what a micro-batch needs should stay in its caches, a GPU wants many
rows. Both follow from the network, the padded lengths and the machine, so that they are measured.
"""

import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxpriors.data.batching import UNITS
from jaxpriors.training.loop import Batches, Record, TrainingConfig
from jaxpriors.training.optimizers import make_optimizer
from jaxpriors.training.parallel import (
    data_mesh,
    devices_for,
    micro_batch_count,
    replicate,
    shard_rows,
)
from jaxpriors.training.step import Loss, TrainState, initial_state, make_step

SLOWER = 1.2  # times the fastest so far: two such sizes in a row end the trials
CLOSE = 1.3  # times the fastest: a first call within it is measured again
ROUNDS, FEWEST_ROUNDS, ENOUGH_SECONDS = 7, 3, 30.0
MARGIN = 0.9  # of the memory: the rest is for what lies between arrays, and for the next batch
COMPILATIONS = 3  # in which the largest batch is sought
FULL = 0.95  # of the memory that may be used: a batch that takes it is large enough

Progress = Callable[[Record], None]


@dataclass(frozen=True)
class Task:
    """A training's step: parameters, loss and update rule, and a batch that stands for all.

    rows: mean number of events in a batch. ema: as in `loop.TrainingConfig`.
    """

    params: Any
    loss: Loss
    batch: tuple[Any, ...]
    rows: float
    optimizer: optax.GradientTransformation
    ema: float | None = None

    @classmethod
    def of(cls, params: Any, loss: Loss, batches: Batches, config: TrainingConfig) -> "Task":
        """Return that of ``loop.train`` with these arguments."""
        optimizer = make_optimizer(config.optimizer, config.epochs * batches.steps)
        return cls(params, loss, batches.epoch(0)(0), batches.rows, optimizer, config.ema)

    @property
    def part_rows(self) -> list[int]:
        """The number of rows of each part of the batch."""
        return [len(jax.tree.leaves(part)[0]) for part in self.batch]

    @property
    def mesh(self) -> Mesh:
        """The devices that the training would run on."""
        return data_mesh(devices_for(self.part_rows))

    def state(self, params: Any) -> TrainState:
        """Make the state before the first step."""
        return initial_state(params, self.optimizer, average=self.ema is not None)


@dataclass(frozen=True)
class Step:
    """A compiled training step: bytes on each device, of temporary arrays and of all arrays."""

    compiled: Callable[[Any, Any], tuple[Any, Any]]
    temporary: int
    total: int


@dataclass(frozen=True)
class MicroBatch:
    """A size of micro-batches and what a step costs with it.

    rows: that a device works on at once. seconds: the median, None where the step does not fit the
    memory. temporary: bytes on each device, None where it was not even compiled.
    """

    rows: int
    seconds: float | None
    temporary: int | None


def micro_batch_sizes(rows: Sequence[int], devices: int) -> list[int]:
    """Return 1, 2, 4, … and the whole batch, without those that split it as a larger one does.

    rows: of the parts of a batch, on all devices.
    """
    rows = [n // devices for n in rows]
    sizes = [2**i for i in range(max(rows).bit_length())] + [sum(rows)]
    splits = {tuple(micro_batch_count(n, size) for n in rows): size for size in sizes}
    return sorted(splits.values())


def compile_step(task: Task, micro_batch: int | None, batch_size: int | None = None) -> Step | None:
    """Compile the training step, for a batch of another size if one is given.

    The parts of a batch have sixteenths of its rows. None where it does not compile for want of
    memory. No arrays are made.
    """
    mesh, rows = task.mesh, sum(task.part_rows)
    scale = batch_size or rows
    batch = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct((len(x) * scale // rows, *x.shape[1:]), x.dtype), task.batch
    )
    arguments = (
        _placed(jax.eval_shape(task.state, task.params), mesh, PartitionSpec()),
        _placed(batch, mesh, PartitionSpec("data")),
    )
    step = make_step(task.loss, task.optimizer, task.rows, mesh, micro_batch, task.ema)
    try:
        compiled = jax.jit(step, donate_argnums=0).lower(*arguments).compile()
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" in str(error):
            return None
        raise
    return Step(compiled, *memory_of(compiled))


def memory_of(compiled: jax.stages.Compiled) -> tuple[int, int]:
    """Return the bytes of a program's intermediate arrays, and of all that it has on a device."""
    used = compiled.memory_analysis()
    assert used is not None, "this backend does not tell the memory of a program"
    kept = used.argument_size_in_bytes + used.output_size_in_bytes - used.alias_size_in_bytes
    return used.temp_size_in_bytes, kept + used.temp_size_in_bytes


def measure_micro_batches(
    task: Task,
    memory: int | None = None,
    progress: Progress = lambda record: None,
    clock: Callable[[], float] = time.perf_counter,
) -> list[MicroBatch]:
    """Measure the training step with each size of micro-batches, as far as they are worth trying.

    From small to large on CPUs, the other way round elsewhere. memory: bytes of each device;
    steps that need more are not run.
    """
    mesh = task.mesh
    sizes = micro_batch_sizes(task.part_rows, mesh.size)
    # copies: the step gives its state's memory away
    state = replicate(task.state(jax.tree.map(jnp.copy, task.params)), mesh)
    batch = shard_rows(task.batch, mesh)
    temporary: dict[int, int | None] = {}

    def program(size: int) -> Callable[[], None] | None:
        progress({"stage": f"  micro-batches of {size}"})
        step = compile_step(task, size)
        temporary[size] = None if step is None else step.temporary
        if step is None or (memory is not None and step.total > MARGIN * memory):
            return None

        def run() -> None:
            nonlocal state
            state, _ = step.compiled(state, batch)
            jax.block_until_ready(state)

        return run

    cpu = mesh.devices.flat[0].platform == "cpu"
    seconds = time_in_turn(sizes if cpu else sizes[::-1], program, clock)
    return [MicroBatch(n, seconds.get(n), temporary[n]) for n in sizes if n in temporary]


def time_in_turn(
    sizes: Iterable[int],
    program: Callable[[int], Callable[[], None] | None],
    clock: Callable[[], float],
) -> dict[int, float]:
    """Return median seconds of a call of each size's program, as far as sizes are worth trying.

    Each is tried once, until two in a row are much slower than the fastest; those that come near
    to it are then called in turn, so that a change of the machine's pace meets all of them.
    Programs that are None are left out.
    """

    def timed(run: Callable[[], None]) -> float:
        begin = clock()
        run()
        return clock() - begin

    programs: dict[int, Callable[[], None]] = {}
    tried: dict[int, float] = {}
    slow = 0
    for size in sizes:
        run = program(size)
        if run is None:
            continue
        first = timed(run)
        # what a first call does besides counts where it is short
        tried[size] = first if first > 1 else min(timed(run) for _ in range(2))
        programs[size] = run
        slow = slow + 1 if tried[size] > SLOWER * min(tried.values()) else 0
        if slow == 2:
            break
    near = [n for n, seconds in tried.items() if seconds <= CLOSE * min(tried.values())]
    rounds: dict[int, list[float]] = {n: [] for n in near}
    begin = clock()
    for number in range(ROUNDS if len(near) > 1 else 1):
        if number >= FEWEST_ROUNDS and clock() - begin > ENOUGH_SECONDS:
            break
        for n in near:
            rounds[n].append(timed(programs[n]))
    return tried | {n: statistics.median(values) for n, values in rounds.items()}


def fastest(measured: Iterable[MicroBatch]) -> MicroBatch | None:
    """Return the one whose step took least, None where none was run."""
    timed = [(m.seconds, m.rows, m) for m in measured if m.seconds is not None]
    return min(timed)[2] if timed else None


def largest_batch(
    task: Task, memory: int, first: int, progress: Progress = lambda record: None
) -> int | None:
    """Find the largest batch whose step, all of its rows at once, fits ``memory`` bytes a device.

    A multiple of 16 times the number of devices, found by compiling for ``first`` and few others
    (`bisect`); None where no batch that was tried fits.
    """
    unit = UNITS * task.mesh.size

    def total(batch_size: int) -> float:
        progress({"stage": f"  compiling for a batch of {batch_size} at once"})
        step = compile_step(task, None, batch_size)
        return np.inf if step is None else step.total

    return bisect(total, MARGIN * memory, first, unit)


def bisect(
    total: Callable[[int], float], limit: float, first: int, unit: int, tries: int = COMPILATIONS
) -> int | None:
    """Find a multiple of ``unit`` with ``total`` just below ``limit``, trying few; None if none is.

    ``total`` rises, about as a straight line: each try is where the line through the last two
    (at first, through the origin) comes to it, between what fits and what does not. A batch
    that takes ``FULL`` of the limit ends the bisection.
    """
    aim = (1 + FULL) / 2 * limit  # the line is not quite straight
    fits, fails = 0, np.inf
    batch = max(-(-first // unit) * unit, unit)
    before = (0, 0.0)
    for _ in range(tries):
        found = total(batch)
        if found <= limit:
            fits = batch
        else:
            fails = batch
        if FULL * limit <= found <= limit:
            break
        if np.isfinite(found) and found != before[1]:
            slope = (found - before[1]) / (batch - before[0])
            guess = batch + (aim - found) / slope if slope > 0 else 2 * batch
            before = (batch, found)
        else:
            guess = (fits + min(fails, 4 * batch)) / 2
        batch = int(min(max(guess // unit * unit, fits + unit), fails - unit, 2**20 * unit))
        if batch <= fits:
            break
    return fits or None


def _placed(shapes: Any, mesh: Mesh, spec: PartitionSpec) -> Any:
    """Return the shapes of arrays that lie on the devices."""
    sharding = NamedSharding(mesh, spec)
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), shapes)
