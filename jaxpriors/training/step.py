"""One training step for every model and task, and the precision that networks compute in."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array
from jax.sharding import Mesh

from jaxpriors.errors import InputError
from jaxpriors.layers.core import module
from jaxpriors.training.options import Compute
from jaxpriors.training.parallel import sum_gradients

# loss(params, rows, keys) → the sum over the rows of weight × loss; keys (B,): one for each row
Loss = Callable[[Any, Any, Array], Array]


# what JAX calls the precision of products of float32 matrices; CPUs know the first alone
_PRODUCTS = {"float32": "highest", "tensorfloat32": "tensorfloat32", "bfloat16": "default"}


@dataclass(frozen=True)
class Precision:
    """The type of the computation; parameters, optimizer state and logits are float32.

    float32 is that everywhere. tensorfloat32 rounds the factors of matrix products to 10 bits on
    GPUs that can, which is what JAX does there unless it is told otherwise. In bfloat16, norm
    statistics, the softmax, inner products and losses stay float32.
    """

    compute: Compute = "float32"

    def __post_init__(self) -> None:
        """Raise InputError for an unknown type."""
        if self.compute not in _PRODUCTS:
            raise InputError(
                f"precision: found {self.compute!r}, expected one of {', '.join(_PRODUCTS)}"
            )

    def to_compute(self, tree: Any) -> Any:
        """Return the tree with its floating-point arrays in the compute type."""
        dtype = "bfloat16" if self.compute == "bfloat16" else "float32"
        return jax.tree.map(
            lambda x: x.astype(dtype) if jnp.issubdtype(x.dtype, jnp.floating) else x, tree
        )

    def products(self) -> AbstractContextManager[None]:
        """The context in which a network is called, for its matrix products and their gradients."""
        return jax.default_matmul_precision(_PRODUCTS[self.compute])


def by_rows(loss: Callable[[Any, Any, Array], Array]) -> Loss:
    """Return the sum of ``loss(params, row, key)`` over rows, each as a batch of one.

    So that what a row draws is of its own key, whatever rows are beside it.
    """

    def summed(params: Any, rows: Any, keys: Array) -> Array:
        def one(row: Any, key: Array) -> Array:
            return loss(params, jax.tree.map(lambda x: x[None], row), key)

        return jax.vmap(one)(rows, keys).sum()

    return summed


@module
class Best:
    """Of each of k networks, its least validation loss (k,) and the parameters of that epoch.

    The networks' parameters are stacked along a leading axis.
    """

    losses: Array
    params: Any

    @classmethod
    def before(cls, params: Any) -> "Best":
        """Before the first epoch."""
        number = jax.tree.leaves(params)[0].shape[0]
        return cls(jnp.full(number, jnp.inf), jax.tree.map(jnp.copy, params))

    def after(self, losses: Array, params: Any) -> "Best":
        """After an epoch with these losses (k,) and parameters."""
        better = losses < self.losses

        def chosen(new: Array, old: Array) -> Array:
            return jnp.where(better.reshape(-1, *(1,) * (new.ndim - 1)), new, old)

        return Best(chosen(losses, self.losses), jax.tree.map(chosen, params, self.params))


@module
class TrainState:
    """Everything that changes in a training.

    step: updates made so far. seed: of the randomness. epoch_loss: sum of the steps' losses since
    the epoch's start, kept on the device so that nothing waits for it. average: the exponential
    moving average of the parameters, None where none is kept. best: what each of several networks
    is best with, None where that is not asked for; steps leave it alone.
    """

    step: Array
    seed: Array
    params: Any
    optimizer: Any
    epoch_loss: Array
    average: Any = None
    best: Best | None = None


def initial_state(
    params: Any,
    optimizer: optax.GradientTransformation,
    seed: int = 0,
    average: bool = False,
    each_best: bool = False,
) -> TrainState:
    """Return the state before the first step; an average starts from the parameters."""
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        seed=jnp.asarray(seed, jnp.uint32),
        params=params,
        optimizer=optimizer.init(params),
        epoch_loss=jnp.zeros((), jnp.float32),
        average=jax.tree.map(jnp.copy, params) if average else None,
        best=Best.before(params) if each_best else None,
    )


def make_step(
    loss: Loss,
    optimizer: optax.GradientTransformation,
    rows: float,
    mesh: Mesh,
    micro_batch: int | None = None,
    ema: float | None = None,
) -> Callable[[TrainState, tuple[Any, ...]], tuple[TrainState, dict[str, Array]]]:
    """Return the step: a pure function of (state, batch), to be compiled with a donated state.

    A batch is a tuple of parts, each a tree of arrays with rows along the first axis; a part has
    a length of its own. The objective is the sum over all rows divided by ``rows``, the mean
    number of events in a batch: so the mean over an epoch's steps is the mean over its events,
    whatever rows of weight 0 fill the batches. The rows are spread over the devices of ``mesh``.
    With ``micro_batch``, each device works on at most so many of its rows at once and the
    gradients are accumulated: the same update, in less memory.
    A step whose loss or gradient is not finite leaves the state as it was; its metrics say
    so (``finite``), and the caller stops. With ``ema``, the state's average becomes ema × average +
    (1 − ema) × parameters after each update.

    Randomness is folded from (seed, step), then as in `parallel.sum_gradients`.
    """

    gradients = sum_gradients(loss, mesh, micro_batch)

    def step(state: TrainState, batch: tuple[Any, ...]) -> tuple[TrainState, dict[str, Array]]:
        key = jax.random.fold_in(jax.random.key(state.seed), state.step)
        total = gradients(state.params, batch, key)
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
                best=state.best,
            ),
            state,
        )
        return keep, {"loss": value, "gradient_norm": norm, "finite": finite}

    return step
