"""The training loop: epochs, validation, early stopping, checkpoints, top to bottom."""

import contextlib
import ctypes
import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from jaxpriors.data.batching import THREADS, UNITS, prefetch
from jaxpriors.errors import InputError
from jaxpriors.run import preemption, processes
from jaxpriors.run.ranges import LARGEST_BATCH, MOST, check_number, check_whole
from jaxpriors.training.checkpoints import Checkpoints, flatten
from jaxpriors.training.optimizers import NUMBERS, OptimizerConfig, make_optimizer
from jaxpriors.training.options import Compute, TrainingOptions
from jaxpriors.training.parallel import (
    data_mesh,
    default_micro_batch,
    devices_for,
    local_replica,
    replicate,
    shard_rows,
)
from jaxpriors.training.step import Loss, Precision, TrainState, initial_state, make_step

Record = dict[str, Any]


@dataclass(frozen=True)
class TrainingConfig:
    """How a network is trained.

    batch_size: events a step over all devices of all processes, a multiple of 16. patience: epochs
    without a better validation loss before training stops, None for never. micro_batch: largest
    number of events that a device works on at once (None: `parallel.default_micro_batch`); the
    gradients of a larger batch are accumulated over several, which is a matter of speed and memory
    alone, so that any machine can train with any batch_size. buckets: number of padded lengths:
    more of them compile longer and compute less on padding. checkpoint_steps: steps between two
    checkpoints within an epoch; every epoch ends with one. seed: of the weights, the order of
    events and dropout. ema: how much of the moving average of the parameters outlives a step
    (0.999, say), None for none. keep: which epoch's parameters are the result, that of the smallest
    validation loss or the last one.
    """

    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    batch_size: int = 512
    epochs: int = 20
    patience: int | None = None
    micro_batch: int | None = None
    buckets: int = 4
    checkpoint_steps: int = 1000
    seed: int = 0
    precision: Precision = field(default_factory=Precision)
    ema: float | None = None
    keep: Literal["best", "last"] = "best"

    def __post_init__(self) -> None:
        whole = {
            "epochs": (1, MOST),
            "patience": (1, MOST),
            "checkpoint_steps": (1, MOST),
            "seed": (0, MOST),
            "buckets": (1, UNITS),
            "batch_size": (1, LARGEST_BATCH),
            "micro_batch": (1, LARGEST_BATCH),
        }
        for name, limits in whole.items():
            value = getattr(self, name)
            if value is not None or name not in ("patience", "micro_batch"):
                check_whole(name, value, *limits)
        if self.batch_size % UNITS:
            raise InputError(f"batch_size: found {self.batch_size}, expected a multiple of {UNITS}")
        if self.keep not in ("best", "last"):
            raise InputError(f"keep: found {self.keep!r}, expected 'best' or 'last'")
        if self.ema is not None:
            check_number("ema", self.ema, 0, 1, open_at=(1,))

    def with_options(
        self, options: TrainingOptions, precision: Compute | None = None
    ) -> "TrainingConfig":
        """Take the numbers that are given, the seed and the precision in place of its own."""
        given = {n: getattr(options, n) for n in ("epochs", "batch_size", "micro_batch")}
        optimizer = self.optimizer
        if options.learning_rate is not None:
            optimizer = dataclasses.replace(optimizer, learning_rate=options.learning_rate)
        return dataclasses.replace(
            self,
            optimizer=optimizer,
            seed=options.seed,
            precision=self.precision if precision is None else Precision(precision),
            **{name: value for name, value in given.items() if value is not None},
        )


class Batches(Protocol):
    """A training sample: ``steps`` batches in each epoch, in an order of its own."""

    @property
    def steps(self) -> int:
        """Batches in an epoch."""

    @property
    def rows(self) -> float:
        """Mean number of events in a batch."""

    def epoch(self, epoch: int) -> Callable[[int], tuple[Any, ...]]:
        """The function from a step's number to its batch."""

    def of_process(self, process: int, processes: int) -> "Batches":
        """The same with the rows of one of several processes alone."""


@dataclass(frozen=True)
class Trained:
    """The parameters of the kept epoch, each epoch's record and where the time went (seconds).

    average: the moving average of the parameters at the end of that epoch, or None.
    """

    params: Any
    history: list[Record]
    seconds: dict[str, float]
    average: Any = None


class TrainingError(RuntimeError):
    """A training that cannot go on; the message names the step and the cause."""


def train(
    params: Any,
    loss: Loss,
    batches: Batches,
    validation_loss: Callable[[Any], float | np.ndarray],
    config: TrainingConfig,
    folder: Path,
    progress: Callable[[Record], None] = lambda record: None,
    identity: str = "",
    stacked: bool = False,
    each_best: bool = False,
) -> Trained:
    """Train ``params`` on ``batches``; keep checkpoints in ``folder`` and go on from the last one.

    A run that was killed gives the same result when it is called again with the same arguments.
    ``progress`` is told of the compilation ({"stage"}), of every step ({"epoch", "step",
    "steps"}) and every epoch ({"epoch", "step", "train_loss", "validation_loss", "best",
    "seconds"}).

    ``identity`` stands for the data and all settings; it is kept with the checkpoints.
    ``stacked``: the parameters are those of several networks, as `optimizers.each_alone` has them.
    With ``each_best``, ``validation_loss`` gives one loss for each of them, (k,), and each network
    that is returned is that of its own best epoch; patience ends when none gets better.

    Several processes train one network together, each on its rows of the same batches (one process
    alone would have the same, so that another number of them can go on). Each validates by itself.

    Raises:
        InputError: the folder's checkpoints have another identity, or none can be read; a batch
            that cannot be divided among the devices (`parallel.devices_for`).
        TrainingError: a loss or gradient that is not finite; the last checkpoint stays.
        Preempted: SIGTERM came, and a checkpoint was saved.
    """
    with Checkpoints(folder) as checkpoints, preemption.at_steps():
        # The update, and the state before it.
        example = batches.epoch(0)(0)
        mesh = data_mesh(devices_for(len(jax.tree.leaves(part)[0]) for part in example))
        if processes.count() > 1:
            batches = batches.of_process(processes.index(), processes.count())
            example = jax.tree.map(lambda x: x[: len(x) // processes.count()], example)
        updates = config.epochs * batches.steps
        optimizer = make_optimizer(config.optimizer, updates, stacked)
        # Copies: the step gives its state's memory away, and the caller's arrays are not ours.
        params = jax.tree.map(jnp.copy, params)
        state = initial_state(params, optimizer, config.seed, config.ema is not None, each_best)
        state = replicate(state, mesh)
        seconds = {"compile": 0.0, "train": 0.0, "validate": 0.0}
        history: list[Record] = []
        started = time.perf_counter()

        # Where an earlier call stopped.
        if (last := checkpoints.restore_last(state, progress)) is not None:
            state, saved = last
            history, seconds = saved["history"], saved["seconds"]
            if saved["identity"] != identity:
                raise InputError(
                    f"{checkpoints.folder}: holds the checkpoints of a training on other data or "
                    "with other settings; expected an empty folder or those of this training"
                )
            if history and state.best is None and checkpoints.best() != int(state.step):
                checkpoints.restore_best(state, history)  # before hours of training
            for earlier in history:
                progress(earlier)
        done = _finished(history, config)
        if not done:
            progress({"stage": "  compiling the training step"})
            # the first batches are read while this compiles
            begin = int(state.step) - len(history) * batches.steps
            ahead = prefetch(batches.epoch(len(history)), begin, batches.steps, THREADS)
            micro_batch = config.micro_batch or default_micro_batch()
            flat = OptimizerConfig(learning_rate=1.0)  # these numbers are in the state
            rule = dataclasses.replace(
                config.optimizer, **{name: getattr(flat, name) for name in NUMBERS}
            )
            leaves, structure = jax.tree.flatten((state, shard_rows(example, mesh)))
            shapes = [jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding) for x in leaves]
            how = (rule, stacked, batches.rows, mesh, micro_batch, config.ema)
            step = _compiled(loss, *how, structure, tuple(shapes))
            seconds["compile"] += time.perf_counter() - started

        # the order of an epoch is sought while the one before is trained on
        epochs = prefetch(batches.epoch, len(history) + 1, config.epochs if not done else 0)
        while not done:
            # One epoch; a step's metrics are looked at when the next one is under way.
            epoch, started = len(history), time.perf_counter()
            previous: tuple[int, Any, Any] | None = None
            for k, host_batch in enumerate(ahead, begin):
                batch = shard_rows(host_batch, mesh)
                state, metrics = step(state, batch)
                if previous is not None:
                    _check(*previous, state, loss, epoch)
                previous = k, metrics, host_batch
                progress({"epoch": epoch + 1, "step": k + 1, "steps": batches.steps})
                ends = preemption.requested()
                if (ends or (k + 1) % config.checkpoint_steps == 0) and k + 1 < batches.steps:
                    _check(*previous, state, loss, epoch)
                    saved = {"identity": identity, "history": history, "seconds": seconds}
                    checkpoints.save(int(state.step), state, saved, np.inf)
                    if ends:
                        checkpoints.wait()
                        raise preemption.Preempted(f"saved at epoch {epoch + 1}, step {k + 1}")
            if previous is not None:
                _check(*previous, state, loss, epoch)
            seconds["train"] += time.perf_counter() - started

            # Validation, the epoch's record, a checkpoint.
            started = time.perf_counter()
            losses = np.atleast_1d(validation_loss(local_replica(state.params)))
            losses = np.array(processes.gather(losses.tolist())[0])
            value = float(losses.mean())
            seconds["validate"] += time.perf_counter() - started
            best = min([r["validation_loss"] for r in history], default=np.inf)
            record: Record = {
                "epoch": epoch + 1,
                "step": int(state.step),
                "train_loss": float(state.epoch_loss) / batches.steps,
                "validation_loss": value,
                "best": bool(value < best),
                "seconds": dict(seconds),
            }
            if each_best:
                record["validation_losses"] = losses.tolist()
            if not np.isfinite(value):
                raise TrainingError(
                    f"validation loss is {value} after epoch {epoch + 1} (step {record['step']})"
                )
            history.append(record)
            state = dataclasses.replace(state, epoch_loss=jnp.zeros_like(state.epoch_loss))
            if state.best is not None:
                now = replicate(jnp.asarray(losses, jnp.float32), mesh)
                state = dataclasses.replace(state, best=state.best.after(now, state.params))
            saved = {"identity": identity, "history": history, "seconds": seconds}
            checkpoints.save(record["step"], state, saved, value)
            progress(record)
            done = _finished(history, config)
            if preemption.requested():
                checkpoints.wait()
                raise preemption.Preempted(f"saved at the end of epoch {epoch + 1}")
            if not done:
                begin, ahead = 0, prefetch(next(epochs), 0, batches.steps, THREADS)

        # The parameters of the best epoch, or of the last one.
        checkpoints.wait()
        if config.keep == "last":
            return Trained(
                local_replica(state.params), history, seconds, local_replica(state.average)
            )
        if state.best is not None:
            return Trained(local_replica(state.best.params), history, seconds)
        state = checkpoints.restore_best(state, history)
        return Trained(local_replica(state.params), history, seconds, local_replica(state.average))


@lru_cache(maxsize=4)
def _compiled(
    loss: Loss,
    rule: OptimizerConfig,
    stacked: bool,
    rows: float,
    mesh: Mesh,
    micro_batch: int | None,
    ema: float | None,
    structure: Any,
    shapes: tuple[jax.ShapeDtypeStruct, ...],
) -> Callable[..., Any]:
    """Return the compiled step: an earlier training's where only data and schedule differ.

    structure, shapes: of the tree (state, batch), with the places of the arrays.
    """
    step = make_step(loss, make_optimizer(rule, 1, stacked), rows, mesh, micro_batch, ema)
    state, batch = jax.tree.unflatten(structure, shapes)
    compiled = jax.jit(step, donate_argnums=0).lower(state, batch).compile()
    with contextlib.suppress(OSError, AttributeError):  # glibc keeps what the compilation took
        ctypes.CDLL(None).malloc_trim(0)
    return compiled


def _finished(history: list[Record], config: TrainingConfig) -> bool:
    """Tell whether all epochs are done, or the validation loss has not fallen for ``patience``."""
    if not history:
        return False
    each = [r.get("validation_losses", [r["validation_loss"]]) for r in history]
    best = int(np.argmin(each, axis=0).max())
    stale = len(history) - 1 - best
    return len(history) >= config.epochs or (
        config.patience is not None and stale >= config.patience
    )


def _check(
    k: int, metrics: Any, batch: tuple[Any, ...], state: TrainState, loss: Loss, epoch: int
) -> None:
    """Raise TrainingError where a step's loss or gradient was not finite, saying what was not.

    batch: this process's rows; all raise what any process finds in its own.
    """
    if bool(metrics["finite"]):
        return
    where = f"epoch {epoch + 1}, step {k + 1}: loss {float(metrics['loss'])}"
    causes = processes.gather(_cause(batch, local_replica(state.params), loss))
    cause = next((c for c in causes if c), f", gradient norm {float(metrics['gradient_norm'])}")
    raise TrainingError(where + cause)


def _cause(batch: tuple[Any, ...], params: Any, loss: Loss) -> str:
    """Name what is not finite in these rows, or for them; empty where nothing is found."""
    for i, part in enumerate(batch):
        for name, array in flatten(part).items():
            if not np.all(np.isfinite(np.asarray(array))):
                return f"; the batch holds values of {name} that are not finite"
        keys = jax.random.split(jax.random.key(i), len(jax.tree.leaves(part)[0]))
        value, gradient = jax.jit(jax.value_and_grad(loss))(params, part, keys)
        if not np.isfinite(float(value)):
            return (
                "; the inputs are finite, the network's loss is not; "
                "try a lower learning rate or clip gradients"
            )
        for name, array in flatten(gradient).items():
            if not np.all(np.isfinite(np.asarray(array))):
                return f"; the gradient of {name} is not finite"
    return ""
