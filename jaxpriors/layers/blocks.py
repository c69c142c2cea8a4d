"""Equal blocks stacked along a leading axis, applied one after another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import jax
from jax import Array

State = TypeVar("State")


def run_blocks(
    apply: Callable[[Any, State, Array | None], State],
    blocks: Any,
    first: State,
    key: Array | None = None,
    *,
    checkpoint: bool = False,
    keep: bool = False,
    last: Callable[[Any, State, Array | None], State] | None = None,
) -> tuple[State, State | None]:
    """``apply(block, state, key)`` for one block after the other.

    Returns the last state and, with ``keep``, the states after each block, stacked. Every block
    has a key of its own, None where ``key`` is. ``checkpoint`` recomputes a block in the backward
    pass to save memory; the blocks are then one compiled loop, which also compiles sooner. Without
    it each block has its own place in the program: a loop would copy all that the backward pass
    needs into stacks and back. ``last`` is applied in place of ``apply`` in the last block, which
    may so leave out what nobody reads.
    """

    def body(state: State, block_and_key: tuple[Any, Array | None]) -> tuple[State, State | None]:
        state = apply(block_and_key[0], state, block_and_key[1])
        return state, state if keep else None

    if checkpoint:
        body = jax.checkpoint(body, prevent_cse=False)  # the loop keeps XLA from undoing it
    keys = None if key is None else jax.random.split(key, _count(blocks))
    unroll = not checkpoint
    if last is None:
        return jax.lax.scan(body, first, (blocks, keys), unroll=unroll)
    before, (block, block_key) = _split_last((blocks, keys))
    state, _ = jax.lax.scan(body, first, before, unroll=unroll)
    return last(block, state, block_key), None


def leading(tree: Any, count: int | None) -> Any:
    """The first ``count`` tokens of arrays (B, N, …); None is all of them."""
    return tree if count is None else jax.tree.map(lambda a: a[:, :count], tree)


def named_states(first: State, states: State | None) -> dict[str, State]:
    """The kept states of ``run_blocks`` as "linear_in" (``first``), "block0", "block1", …"""
    each = {f"block{i}": jax.tree.map(lambda a, i=i: a[i], states) for i in range(_count(states))}
    return {"linear_in": first} | each


def _split_last(stacked: Any) -> tuple[Any, Any]:
    """All but the last along the leading axis, and the last."""
    return jax.tree.map(lambda a: a[:-1], stacked), jax.tree.map(lambda a: a[-1], stacked)


def _count(stacked: Any) -> int:
    """The length of the leading axis."""
    return jax.tree.leaves(stacked)[0].shape[0]
