"""The small parts that all networks share: modules as pytrees, blocks, linear maps, activations."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jax import Array
from typing_extensions import dataclass_transform

State = TypeVar("State")


@dataclass_transform(frozen_default=True)
def module(cls: Any = None, *, static: tuple[str, ...] = ()) -> Any:
    """Make a class a frozen dataclass that is a pytree.

    Fields are arrays or modules, except those named in ``static``, which hold configuration and
    become part of the tree's structure (they must be hashable).
    """
    if cls is None:
        return partial(module, static=static)
    cls = dataclasses.dataclass(frozen=True)(cls)
    data = [f.name for f in dataclasses.fields(cls) if f.name not in static]
    return jax.tree_util.register_dataclass(cls, data_fields=data, meta_fields=list(static))


def uniform(key: Array, shape: tuple[int, ...], bound: float, shift: float = 0.0) -> Array:
    """Draw uniform numbers in ``shift ± bound``, float32."""
    return jax.random.uniform(key, shape, minval=shift - bound, maxval=shift + bound)


def stack_init(init: Callable[[Array], Any], key: Array, count: int) -> Any:
    """Initialise ``count`` modules and stack them along a leading axis."""
    return jax.vmap(init)(jax.random.split(key, count))


def run_blocks(
    apply: Callable[[Any, State, Array | None], State],
    blocks: Any,
    state: State,
    key: Array | None = None,
    *,
    checkpoint: bool = False,
    last: Callable[[Any, State, Array | None], State] | None = None,
) -> State:
    """Call ``apply(block, state, key)`` for one block after the other; return the last state.

    ``blocks`` are equal modules stacked along a leading axis. Every block has a key of its own,
    None where ``key`` is. ``checkpoint`` recomputes a block in the backward pass to save memory;
    the blocks are then one compiled loop, which also compiles sooner. Without it each block has its
    own place in the program: a loop would copy all that the backward pass needs into stacks and
    back. ``last`` is applied in place of ``apply`` in the last block, which may so leave out what
    nobody reads.
    """
    if checkpoint:
        apply = jax.checkpoint(apply, prevent_cse=False)  # the loop keeps XLA from undoing it
    count = jax.tree.leaves(blocks)[0].shape[0]
    stacked = blocks, None if key is None else jax.random.split(key, count)
    in_loop = stacked if last is None else jax.tree.map(lambda a: a[:-1], stacked)
    state, _ = jax.lax.scan(
        lambda state, at: (apply(at[0], state, at[1]), None), state, in_loop, unroll=not checkpoint
    )
    if last is None:
        return state
    block, block_key = jax.tree.map(lambda a: a[-1], stacked)
    return last(block, state, block_key)


@module
class Linear:
    """``x @ weight.T + bias`` with weight (out, in) and bias (out,) or None."""

    weight: Array
    bias: Array | None = None

    @classmethod
    def init(cls, key: Array, inputs: int, outputs: int, bias: bool = True) -> "Linear":
        """Uniform in ±1/√inputs, weight and bias."""
        weight_key, bias_key = jax.random.split(key)
        bound = inputs**-0.5
        return cls(
            uniform(weight_key, (outputs, inputs), bound),
            uniform(bias_key, (outputs,), bound) if bias else None,
        )

    @classmethod
    def glorot(cls, key: Array, inputs: int, outputs: int, bias: bool = True) -> "Linear":
        """Weight uniform in ±√(6 / (inputs + outputs)), bias zero (Glorot & Bengio 2010)."""
        weight = uniform(key, (outputs, inputs), (6 / (inputs + outputs)) ** 0.5)
        return cls(weight, jnp.zeros(outputs) if bias else None)

    def __call__(self, x: Array) -> Array:
        """(..., in) to (..., out).

        All axes but the last become one, which makes the gradient of the weight an ordinary matrix
        product, which is faster on CPUs than a contraction over several axes.
        """
        y = x.reshape(-1, x.shape[-1]) @ self.weight.T
        y = y.reshape(*x.shape[:-1], self.weight.shape[0])
        return y if self.bias is None else y + self.bias


def gelu(x: Array) -> Array:
    """x Φ(x) by the error function, at least in float32: three times as fast on CPU as by erfc."""
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    return (0.5 * wide * (1 + jax.lax.erf(wide * 0.5**0.5))).astype(x.dtype)


ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "relu": jax.nn.relu,
    "sigmoid": jax.nn.sigmoid,
    "tanh": jnp.tanh,
    "silu": jax.nn.silu,
    "gelu": gelu,
    "gelu_tanh": partial(jax.nn.gelu, approximate=True),
}


def check_fields(
    config: Any,
    least: Mapping[str, int],
    probabilities: Iterable[str] = (),
    nonlinearities: Iterable[str] = (),
) -> None:
    """Raise ValueError for fields of a configuration that make no network.

    ``least`` are the least values of counts; probabilities lie in [0, 1), and nonlinearities are
    names in ``ACTIVATIONS``; the fields of both may be None.
    """
    for name, least_value in least.items():
        found = getattr(config, name)
        if found < least_value:
            raise ValueError(f"{name} is {found}, expected at least {least_value}")
    for name in probabilities:
        found = getattr(config, name)
        if found is not None and not 0.0 <= found < 1.0:
            raise ValueError(f"{name} is {found}, expected in [0, 1)")
    for name in nonlinearities:
        found = getattr(config, name)
        if found is not None and found not in ACTIVATIONS:
            raise ValueError(f"{name} is {found!r}, expected one of {sorted(ACTIVATIONS)}")


def dropout(key: Array | None, x: Array, rate: float, shape: tuple[int, ...]) -> Array:
    """Zero whole entries of ``shape`` (broadcast to x) with probability ``rate``, rescale the rest.

    Does nothing where ``key`` is None (inference) or the rate is 0.
    """
    if key is None or rate == 0.0:
        return x
    keep = jax.random.bernoulli(key, 1.0 - rate, shape)
    return jnp.where(keep, x / (1.0 - rate), jnp.zeros((), x.dtype))
