"""Recorded cases of OmniLearn: their files, and PET with their weights by the recorded roles."""

import json
import re
from pathlib import Path
from typing import Any

import h5py
import jax
import numpy as np

from jaxpriors.models.pet import PET, PETConfig
from jaxpriors.models.state_dicts import network_from_state

FIXTURES = Path(__file__).parents[1] / "fixtures" / "omnilearn"
NAMES = sorted(path.name.split(".")[0] for path in FIXTURES.glob("*.weights.h5"))
FIELDS = {
    "num_feat": "num_features",
    "num_jet": "num_jet_features",
    "projection_dim": "hidden_channels",
    "K": "neighbours",
}
INACTIVE = ("mode", "local", "class_activation", "layer_scale")


def weights(name: str) -> Path:
    """The file of one of ``NAMES``."""
    return FIXTURES / f"{name}.weights.h5"


def read_recorded(name: str, folder: Path = FIXTURES) -> tuple[dict, dict[str, np.ndarray]]:
    """The table and the arrays of a case."""
    table = json.loads((folder / f"{name}.json").read_text())
    with np.load(folder / f"{name}.npz") as file:
        return table, dict(file)


def config_of(kwargs: dict[str, Any], **changes: Any) -> PETConfig:
    """The configuration of recorded constructor arguments."""
    fields = {FIELDS.get(k, k): v for k, v in kwargs.items() if k not in INACTIVE}
    if not kwargs.get("local", True):
        fields["num_local"] = 0
    if not kwargs.get("layer_scale", True):
        fields["layer_scale"] = None
    return PETConfig(**fields | {"mode": "omnilearn"} | changes)


def recorded_pet(name: str, folder: Path = FIXTURES) -> PET:
    """PET with the recorded weights."""
    table, _ = read_recorded(name, folder)
    state = {}
    with h5py.File(folder / f"{name}.weights.h5") as file:
        for path, role in table["h5_to_role"].items():
            if role is not None and not role.startswith("ema_"):
                state |= dict([tensor(role, np.asarray(file[path]))])
    config = config_of(table["kwargs"])
    empty = jax.eval_shape(lambda: PET.init(jax.random.key(0), config))
    return network_from_state(empty, state, prefix="")


def tensor(role: str, value: np.ndarray) -> tuple[str, np.ndarray]:
    """The tensor of a role under our name and in our layout."""
    if role.endswith(".kernel"):
        if role.endswith("attn.out.kernel"):
            value = value.reshape(-1, value.shape[-1])  # (heads, d, C)
        value = value.reshape(value.shape[0], -1).T
    else:
        value = value.reshape(-1)
    name = role.replace(".block.", ".blocks.")
    name = re.sub(r"\.local\.(\d+)\.(\d+)\.", r".local.\1.layers.\2.", name)
    name = re.sub(r"\.time\.(\d+)\.", r".time.layers.\1.", name)
    for ending, ours in (("kernel", "weight"), ("gamma", "weight"), ("beta", "bias")):
        name = re.sub(rf"\.{ending}$", f".{ours}", name)
    return name, value
