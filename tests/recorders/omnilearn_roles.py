"""The variables of OmniLearn's Keras models by role, and their places in a weights file.

A role says what a tensor does: ``body.block.0.attn.key.kernel``. Keras numbers the layers of one
class in the order in which they are made, so the roles of a part are lists in the order of the
peer's code, one for each class of layers; the model shows how many blocks and local layers it has.
"""

import tempfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np

NAMES = {
    "Dense": {"kernel": "kernel", "bias": "bias"},
    "GroupNormalization": {"gamma": "gamma", "beta": "beta"},
    "LayerScale": {"gamma": "gamma"},
}
INSIDE = {  # layers inside of attention: the peer's attribute, and its name in the role
    "MultiHeadAttention": {
        f"_{a}_dense": b for a, b in (("query", "query"), ("key", "key"), ("value", "value"))
    }
    | {"_output_dense": "out"},
    "TalkingHeadAttention": {name: name for name in ("qkv", "proj", "proj_l", "proj_w")},
}
ATTENTION = tuple(INSIDE)


def layer_roles(part: str, blocks: int, dense: int) -> dict[str, list[str]]:
    """Roles of the layers of a part by class, in the order in which the peer makes them."""
    inside = [f"block.{i}." for i in range(blocks)]

    def each(*names: str) -> list[str]:
        return [block + name for block in inside for name in names]

    mlp = each("mlp.0", "mlp.1")
    three = each("norm1", "norm_attn", "norm2")
    local = [f"local.{i}.{j}" for i in range((dense - 5 - len(mlp)) // 2) for j in (0, 1)]
    time, embed = ["time.0", "time.1"], ["embed.0", "embed.1"]
    dense_roles = {
        "body": [*embed, *time, "time.film", *local, *mlp],
        "cls": ["film", *mlp, "out", "reg"]
        if blocks
        else ["jet.0", "jet.1", "merge", "out", "reg"],
        "gen": [*time, "jet", "cond.0", "cond.1", "label", *(mlp or ["film", "mlp"]), "out"],
        "jetmodel": [*time, "label.0", "label.1", "film", *embed, *mlp, "out"],
        "jetenc": [*embed, *mlp, "mass.0", "mass.1", "out"],
    }
    norms = {
        "body": each("norm1", "norm2"),
        "cls": [*three, "norm"],
        "gen": [*each("norm1", "norm2"), "norm"],
        "jetmodel": ["norm_embed", *three, "norm"],
        "jetenc": [*three, "norm", "part_norm"],
    }
    kind = part.removeprefix("ema_")
    found = {"Dense": dense_roles[kind], "GroupNormalization": norms[kind]}
    found |= {"LayerScale": each("ls1", "ls2")} | {name: each("attn") for name in ATTENTION}
    own = ("mass.", "part_norm")  # of the classifier of two jets, outside of its encoder
    return {
        name: [r if r.startswith(own) else f"{part}.{r}" for r in roles]
        for name, roles in found.items()
    }


def variables(parts: dict[str, Any]) -> dict[str, Any]:
    """The variables of the models of some parts, by role."""
    found: dict[str, Any] = {}
    for part, model in parts.items():
        groups: dict[str, list] = {}
        for layer in model.layers:
            groups.setdefault(type(layer).__name__, []).append(layer)
        blocks = sum(len(groups.get(name, [])) for name in ATTENTION)
        roles = layer_roles(part, blocks, len(groups["Dense"]))
        for name in (*NAMES, *INSIDE):
            layers = sorted(groups.get(name, []), key=number)
            if not layers:
                continue
            for role, layer in zip(roles[name], layers, strict=True):
                if name in INSIDE:
                    for attribute, short in INSIDE[name].items():
                        found |= tensors(f"{role}.{short}", getattr(layer, attribute), "Dense")
                else:
                    found |= tensors(role, layer, name)
    return found


def tensors(role: str, layer: Any, kind: str) -> dict[str, Any]:
    """The variables of a layer by role."""
    held = {f"{role}.{name}": getattr(layer, key, None) for key, name in NAMES[kind].items()}
    return {name: variable for name, variable in held.items() if variable is not None}


def number(layer: Any) -> int:
    """The number at the end of a layer's name, or 0."""
    end = layer.name.rpartition("_")[2]
    return int(end) if end.isdigit() else 0


def values(found: dict[str, Any]) -> dict[str, np.ndarray]:
    """The values of variables by role."""
    return {role: variable.numpy() for role, variable in found.items()}


def assign(found: dict[str, Any], state: dict[str, np.ndarray]) -> None:
    """Set variables by role; a role without variable is an error."""
    for role, value in state.items():
        found[role].assign(value)


def file_contents(path: Path) -> dict[str, np.ndarray]:
    """All tensors of a Keras weights file by their path in it."""
    contents: dict[str, np.ndarray] = {}

    def keep(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            contents[name] = item[()]

    with h5py.File(path) as file:
        file.visititems(keep)
    return contents


def places(model: Any, found: dict[str, Any]) -> dict[str, str | None]:
    """The role at each path of the file that the model saves; None for what has no role.

    Each variable is filled with its own number, looked for in a file, and gets its value back.
    """
    before = values(found)
    for i, variable in enumerate(found.values()):
        variable.assign(np.full(variable.shape, 1000 + i))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "numbers.weights.h5"
        model.save_weights(path)
        saved = file_contents(path)
    assign(found, before)
    roles = list(found)
    table: dict[str, str | None] = {}
    for name, value in saved.items():
        first = int(value.flat[0]) - 1000 if value.size and value.dtype.kind == "f" else -1
        ours = 0 <= first < len(roles) and (value == value.flat[0]).all()
        table[name] = roles[first] if ours else None
    return table
