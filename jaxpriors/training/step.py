"""One training step for every model and task: loss, gradients, update."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array

from jaxpriors.layers.core import module

# loss(params, rows, key) → the sum over the rows of weight × loss
Loss = Callable[[Any, Any, Array], Array]


@module
class TrainState:
    """Everything that a step changes.

    step: updates made so far. seed: of the randomness. epoch_loss: sum of the steps' losses since
    the epoch's start, kept on the device so that nothing waits for it. average: the exponential
    moving average of the parameters, None where none is kept.
    """

    step: Array
    seed: Array
    params: Any
    optimizer: Any
    epoch_loss: Array
    average: Any = None


def initial_state(
    params: Any, optimizer: optax.GradientTransformation, seed: int = 0, average: bool = False
) -> TrainState:
    """The state before the first step; an average starts from the parameters."""
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        seed=jnp.asarray(seed, jnp.uint32),
        params=params,
        optimizer=optimizer.init(params),
        epoch_loss=jnp.zeros((), jnp.float32),
        average=jax.tree.map(jnp.copy, params) if average else None,
    )


def make_step(
    loss: Loss,
    optimizer: optax.GradientTransformation,
    rows: float,
    micro_batch: int | None = None,
    ema: float | None = None,
) -> Callable[[TrainState, tuple[Any, ...]], tuple[TrainState, dict[str, Array]]]:
    """The step as a pure function of (state, batch), to be jit-compiled with a donated state.

    A batch is a tuple of parts, each a tree of arrays with rows along the first axis; a part has
    a length of its own. The objective is the sum over all rows divided by ``rows``, the mean
    number of events in a batch: so the mean over an epoch's steps is the mean over its events,
    whatever rows of weight 0 fill the batches. With ``micro_batch``, a part is worked through in
    chunks of at most so many rows and the gradients are summed: the same update, in less memory.
    A step whose loss or gradient is not finite leaves the state as it was; its metrics tell
    (``finite``), and the caller stops. With ``ema``, the state's average becomes ema × average +
    (1 − ema) × parameters after each update.

    Randomness is folded from (seed, step, part, chunk).
    """

    def part_gradient(params: Any, part: Any, key: Array) -> tuple[Array, Any]:
        size = jax.tree.leaves(part)[0].shape[0]
        chunks = _chunks(size, micro_batch)
        if chunks == 1:
            return jax.value_and_grad(loss)(params, part, key)

        # rows stay where they are: chunk j takes the rows j, j + chunks, …
        split = jax.tree.map(lambda x: x.reshape(size // chunks, chunks, *x.shape[1:]), part)

        def add(total: Any, j: Array) -> tuple[Any, None]:
            chunk = jax.tree.map(lambda x: jax.lax.dynamic_index_in_dim(x, j, 1, False), split)
            one = jax.value_and_grad(loss)(params, chunk, jax.random.fold_in(key, j))
            return jax.tree.map(jnp.add, total, one), None

        zero = (jnp.zeros((), jnp.float32), jax.tree.map(jnp.zeros_like, params))
        return jax.lax.scan(add, zero, jnp.arange(chunks))[0]

    def step(state: TrainState, batch: tuple[Any, ...]) -> tuple[TrainState, dict[str, Array]]:
        key = jax.random.fold_in(jax.random.key(state.seed), state.step)
        total = (jnp.zeros((), jnp.float32), jax.tree.map(jnp.zeros_like, state.params))
        for i, part in enumerate(batch):
            one = part_gradient(state.params, part, jax.random.fold_in(key, i))
            total = jax.tree.map(jnp.add, total, one)
        value, gradient = jax.tree.map(lambda x: x / rows, total)

        norm = optax.tree.norm(gradient)
        finite = jnp.isfinite(value) & jnp.isfinite(norm)
        update, optimizer_state = optimizer.update(gradient, state.optimizer, state.params)
        params = optax.apply_updates(state.params, update)
        average = state.average
        if ema is not None:
            average = jax.tree.map(lambda a, p: ema * a + (1 - ema) * p, average, params)
        keep = jax.tree.map(
            lambda new, old: jnp.where(finite, new, old),
            TrainState(
                step=state.step + 1,
                seed=state.seed,
                params=params,
                optimizer=optimizer_state,
                epoch_loss=state.epoch_loss + value,
                average=average,
            ),
            state,
        )
        return keep, {"loss": value, "gradient_norm": norm, "finite": finite}

    return step


def _chunks(rows: int, micro_batch: int | None) -> int:
    """The smallest number of equal chunks of at most ``micro_batch`` rows."""
    if micro_batch is None:
        return 1
    return next(c for c in range(1, rows + 1) if rows % c == 0 and rows // c <= micro_batch)
