"""State dicts to module trees and back: the names are the tree's paths.

The fields of our modules carry the names of the PyTorch modules, so the key table is the tree
itself. Three things differ, and only these are translated:

- blocks are stacked along a leading axis under ``blocks``; a state dict has ``blocks.<i>.…``;
- in an MLP of ``lgatr``, ``layers.<n>`` counts every module; dropout modules hold no tensors but
  shift n, so layers are matched by their order;
- L-GATr-slim of lgatr 1.4 stores the metric as a buffer ``metric`` of each attention.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxpriors.errors import InputError
from jaxpriors.physics.algebra import METRIC

LAYER = re.compile(r"^((?:(?:.*\.)?mlp\.)?layers)\.(\d{1,9})\.")
BLOCK = re.compile(r"^(.*?)blocks\.\d{1,9}\.")
QKV_BIAS = re.compile(r"^(.*attention\.)linear_in(?:_q)?\.linear_s\.bias$")  # L-GATr-slim of 1.4
COMPILED = "_orig_mod."
LISTED = 40


@dataclass(frozen=True)
class Slot:
    """One tensor of a state dict: its name and shape, the leaf it belongs to, the row of blocks."""

    name: str
    shape: tuple[int, ...]
    leaf: int
    block: int | None


def slots(tree: Any) -> list[Slot]:
    """List every tensor that the state dict of this tree has, in the tree's order."""
    found = []
    for leaf, (path, value) in enumerate(jax.tree_util.tree_flatten_with_path(tree)[0]):
        parts = jax.tree_util.keystr(path, simple=True, separator=".").split(".")
        if "blocks" not in parts:
            found.append(Slot(".".join(parts), tuple(value.shape), leaf, None))
            continue
        at = parts.index("blocks") + 1
        for i in range(value.shape[0]):
            name = ".".join([*parts[:at], str(i), *parts[at:]])
            found.append(Slot(name, tuple(value.shape[1:]), leaf, i))
    return sorted(found, key=lambda slot: (slot.block is None, slot.block or 0, slot.leaf))


def detect_prefix(names: Iterable[str]) -> str:
    """Find what stands before ``blocks.<i>.`` in a state dict: "", "model.", "module.net.", ….

    Raises InputError where there are several, as in a file with a network and its average.
    """
    found = sorted({match[1] for name in names if (match := BLOCK.match(name))})
    if len(found) > 1:
        raise InputError(
            f"found several networks, with the prefixes {found}; choose one with --prefix"
        )
    return found[0] if found else ""


def strip_prefix(
    state: Mapping[str, np.ndarray], prefix: str | None = None
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], str]:
    """Return the tensors below ``prefix`` without it, the others, and the prefix.

    ``prefix`` None detects it. ``_orig_mod.``, which torch.compile adds to names, is dropped from
    names and prefix. Raises InputError where that makes two names one, and as ``detect_prefix``.
    """
    clean = {name.replace(COMPILED, ""): value for name, value in state.items()}
    if len(clean) < len(state):
        counts = Counter(name.replace(COMPILED, "") for name in state)
        twice = counts.most_common(1)[0][0]
        raise InputError(f"found {twice} twice, with and without {COMPILED!r}")
    if prefix is None:
        prefix = detect_prefix(clean)
    elif prefix:
        prefix = f"{prefix.removesuffix('.')}.".replace(COMPILED, "")
    inside = {n[len(prefix) :]: v for n, v in clean.items() if n.startswith(prefix)}
    return inside, {n: v for n, v in clean.items() if not n.startswith(prefix)}, prefix


def network_from_state(
    skeleton: Any, state: Mapping[str, np.ndarray], prefix: str | None = None
) -> Any:
    """Fill a tree like ``skeleton`` (of arrays or ShapeDtypeStructs) with the tensors of ``state``.

    The tensors take the skeleton's dtypes. With ``prefix`` None the prefix is detected and a tensor
    outside of it is an error; with a prefix given, only the tensors below it are looked at.
    Raises one InputError that names every tensor that is unknown, missing, misshapen, not floating
    or not finite, with found and expected shapes.
    """
    inside, outside, found = strip_prefix(state, prefix)
    faults = []
    if outside and prefix is None:
        faults = [f"unknown {name} {_shape(value)}" for name, value in outside.items()]
        faults[-1] += f" (give --prefix {found!r} to leave out what is not below it)"
    names = canonical(inside)
    wanted = slots(skeleton)
    expected = dict(zip(canonical(slot.name for slot in wanted), wanted, strict=True))
    for key, name in names.items():
        value = inside[name]
        if key in expected:
            continue
        if not _is_metric(key, value, expected):
            faults.append(f"unknown {name} {_shape(value)}")
        elif not np.array_equal(value, METRIC):
            faults.append(f"wrong {name}: found {value.tolist()}, expected (+1, -1, -1, -1)")
    leaves, tree = jax.tree_util.tree_flatten(skeleton)
    for key, slot in expected.items():
        if key not in names:
            if 0 not in slot.shape:
                faults.append(f"missing {slot.name} {_shape(slot)}")
            continue
        name, value = names[key], inside[names[key]]
        if value.shape != slot.shape:
            faults.append(f"misshapen {name}: found {_shape(value)}, expected {_shape(slot)}")
        elif value.dtype.kind != "f":
            faults.append(f"not floating {name}: found {value.dtype}")
        elif bad := int((~np.isfinite(_cast(value, leaves[slot.leaf].dtype))).sum()):
            faults.append(f"not finite {name}: {bad} values")
    if faults:
        shown = faults[:LISTED] + [f"and {len(faults) - LISTED} more"] * (len(faults) > LISTED)
        raise InputError("the tensors do not fit the network:\n  " + "\n  ".join(shown))
    filled = [np.zeros(leaf.shape, leaf.dtype) for leaf in leaves]  # as large as the state at most
    for key, slot in expected.items():
        if key in names:
            target = filled[slot.leaf]
            where = target if slot.block is None else target[slot.block : slot.block + 1]
            where[...] = _cast(inside[names[key]], target.dtype)
    return jax.tree_util.tree_unflatten(tree, [jnp.asarray(value) for value in filled])


def state_from_network(network: Any) -> dict[str, np.ndarray]:
    """Return the state dict of a network, as the PyTorch network of the same configuration has it.

    PyTorch counts every module in ``layers.<n>`` of an L-GATr MLP: the layers with tensors are
    every second one, after a nonlinearity, or every third where there is dropout; a geometric
    bilinear layer comes first without a nonlinearity. The MLP of L-GATr-slim counts as ours does.
    """
    leaves = [np.asarray(leaf) for leaf in jax.tree_util.tree_leaves(network)]
    state = {
        slot.name: np.array(
            leaves[slot.leaf] if slot.block is None else leaves[slot.leaf][slot.block]
        )
        for slot in slots(network)
    }
    if not any(name.endswith("weight_v") for name in state):
        first = not any("layers.0.linear_left." in name for name in state)
        dropout = getattr(getattr(network, "config", network), "dropout_prob", None)
        step = 2 if dropout is None else 3
        state = {
            LAYER.sub(lambda match: f"{match[1]}.{int(match[2]) * step + first}.", name): value
            for name, value in state.items()
        }
    attentions = [match[1] for name in state if (match := QKV_BIAS.match(name))]
    return state | {f"{name}metric": METRIC.astype(np.float32) for name in attentions}


def canonical(names: Iterable[str]) -> dict[str, str]:
    """Map names with the layers of each MLP numbered in their order to the names as they stand."""
    names = list(names)
    indices: dict[str, set[int]] = {}
    for name in names:
        if match := LAYER.match(name):
            indices.setdefault(match[1], set()).add(int(match[2]))
    order = {(layers, n): i for layers, ns in indices.items() for i, n in enumerate(sorted(ns))}

    def renumber(match: re.Match) -> str:
        return f"{match[1]}.#{order[match[1], int(match[2])]}."

    return {LAYER.sub(renumber, name): name for name in names}


def _cast(value: np.ndarray, dtype: Any) -> np.ndarray:
    """Give the numbers in another precision; those that are too large become infinite."""
    with np.errstate(over="ignore"):
        return value.astype(dtype, copy=False)


def _is_metric(key: str, value: np.ndarray, expected: Mapping[str, Slot]) -> bool:
    """Whether this is the buffer of an attention that the network has."""
    parent, _, last = key.rpartition("metric")
    return not last and value.shape == (4,) and f"{parent}linear_out.weight_v" in expected


def _shape(value: Any) -> str:
    return "(" + ", ".join(map(str, value.shape)) + ")"
