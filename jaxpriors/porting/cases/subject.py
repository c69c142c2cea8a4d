"""What a recorded case is about, and the reading of its inputs and arguments by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
from jax import Array

from jaxpriors.errors import InputError
from jaxpriors.layers.attention import Mask
from jaxpriors.porting.arguments import Arguments

Tensors = dict[str, Array]
Outputs = tuple[Array | None, Array | None]


@dataclass(frozen=True)
class Subject:
    """What a case is about: an empty tree, its call and, for networks, its intermediates."""

    template: Any
    call: Callable[[Any, Tensors], Outputs]
    intermediates: Callable[[Any, Tensors], dict[str, tuple[Array, Array]]] | None = None


def empty(build: Callable[[Array], Any]) -> Any:
    """The tree that ``build`` makes of a key, without its numbers."""
    return jax.eval_shape(build, jax.random.key(0))


def either(inputs: Tensors, *names: str) -> Array | None:
    """The input under the first of these names that is there, taken out."""
    return next((inputs.pop(name) for name in names if name in inputs), None)


def take(inputs: Tensors, *names: str) -> Array:
    """The same; InputError where there is none."""
    value = either(inputs, *names)
    if value is None:
        raise InputError(f"the input in_{names[0]} is missing")
    return value


def mask(inputs: Tensors, *names: str) -> Mask | None:
    """The mask under one of these names, taken out."""
    value = either(inputs, *names)
    return None if value is None else Mask(dense=value)


def finish(inputs: Tensors) -> None:
    """Raise InputError where an input was not used."""
    if inputs:
        raise InputError(f"the inputs {', '.join('in_' + name for name in inputs)} are unknown")


def only(table: Arguments, **values: Any) -> None:
    """Take out settings that our layers have fixed; InputError where they differ."""
    for name, value in values.items():
        found = table.take(name, default=value)
        if found != value:
            raise InputError(f"{table.where}: {name} {found} has no counterpart, only {value}")
