"""The sets of weights in a training checkpoint: state dicts, and lists without names."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jaxpriors.errors import InputError

WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "module")
NETWORK = "linear_in."  # a part of some name in every network's state dict
AVERAGE = re.compile(r"ema|shadow|average|avg|swa|polyak")  # in keys of averaged weights
NO_PARAMETER = re.compile(r"(attention\.metric|^n_averaged)$")  # in a state dict beside parameters
DEEPEST = 12

Tensors = Mapping[str, Any]


@dataclass(frozen=True)
class WeightSets:
    """Hold what a checkpoint offers, by its keys joined with dots.

    named: tensors by name, the likeliest set first. nameless: lists of tensors that are averages,
    or as many as a network has parameters.
    """

    named: dict[str, Tensors]
    nameless: dict[str, Sequence[Any]]

    @property
    def keys(self) -> list[str]:
        """Return the keys of all sets, the likeliest first."""
        return [*self.named, *self.nameless]

    def describe(self, key: str) -> str:
        """Return a key with what there is, for messages."""
        if key in self.named:
            return repr(key)
        return f"{key!r} (a list of {len(self.nameless[key])} tensors without names)"

    def choose(self, key: str) -> Tensors:
        """Return the tensors of a set by name; those of a list have the names of the parameters.

        Raises InputError for a key that is not there, and for a list that is not, one by one and
        in order, of the shapes of a network's parameters in the same file.
        """
        if key in self.named:
            return self.named[key]
        if key not in self.nameless:
            raise InputError(f"no state dict {key!r}, found {', '.join(map(repr, self.keys))}")
        tensors = self.nameless[key]
        shapes = [tuple(tensor.shape) for tensor in tensors]
        fitting = {
            tuple(names)
            for table in self.named.values()
            for names in [parameters(table)]
            if [tuple(table[name].shape) for name in names] == shapes
        }
        if len(fitting) != 1:
            found = "those of several networks" if fitting else "those of none"
            counts = ", ".join(f"{len(parameters(t))} of {k!r}" for k, t in self.named.items())
            raise InputError(
                f"{key!r}: the shapes of its {len(tensors)} tensors without names are {found}; "
                f"expected, in order, those of the parameters of one state dict here ({counts})"
            )
        return dict(zip(fitting.pop(), tensors, strict=True))


def parameters(table: Tensors) -> list[str]:
    """List the names of parameters in a state dict, in its order, without buffers."""
    return [name for name in table if not NO_PARAMETER.search(name)]


def find(content: Any, tensor: type) -> WeightSets:
    """Find all sets in a checkpoint (dicts and lists within dicts) of tensors of this type.

    The likeliest state dict is first: a network's before others, usual keys (``state_dict``,
    ``model``, …) before others.
    """
    named: dict[str, Tensors] = {}
    lists: dict[str, Sequence[Any]] = {}
    seen: set[int] = set()

    def search(table: dict, where: tuple[str, ...]) -> None:
        if id(table) in seen or len(where) > DEEPEST:
            return
        seen.add(id(table))
        tensors = {str(n): value for n, value in table.items() if isinstance(value, tensor)}
        if tensors and (len(tensors) == len(table) or _of_network(tensors)):
            named[".".join(where)] = tensors
        for name, value in table.items():
            if isinstance(name, str) and isinstance(value, dict):
                search(value, (*where, name))
            elif isinstance(name, str) and isinstance(value, list | tuple):
                found: Sequence[Any] = [x for x in value if isinstance(x, tensor)]
                if len(found) == len(value) and any(len(x.shape) for x in found):
                    lists[".".join((*where, name))] = found

    search(content, ())

    def rank(where: str) -> tuple[bool, list[int]]:
        places = [WRAPPERS.index(p) if p in WRAPPERS else len(WRAPPERS) for p in where.split(".")]
        return not _of_network(named[where]), places

    ordered = {where: named[where] for where in sorted(named, key=rank)}
    networks = {where: table for where, table in ordered.items() if _of_network(table)}
    counts = {len(parameters(table)) for table in networks.values()}
    nameless = {
        where: tensors
        for where, tensors in lists.items()
        if networks and (AVERAGE.search(where.lower()) or len(tensors) in counts)
    }
    return WeightSets(networks or ordered, nameless)


def _of_network(table: Tensors) -> bool:
    return any(NETWORK in name for name in table)
