"""Cases recorded from lgatr: description, weights, arrays; and how far we are from them."""

import json
from pathlib import Path

import numpy as np

from jaxpriors.porting.safetensors import read_safetensors

FIXTURES = Path(__file__).parents[1] / "fixtures"
TINY_SIZES = dict(in_s_channels=3, out_s_channels=2, hidden_s_channels=8, num_blocks=2, num_heads=2)
"""Sizes of the smallest networks, but for their multivectors or vectors."""


def read_case(name, folder="lgatr"):
    """(description, state dict, arrays) of a case."""
    path = FIXTURES / folder / name
    with np.load(path.with_suffix(".npz")) as file:
        arrays = {key: file[key] for key in file.files}
    state = read_safetensors(path.with_suffix(".safetensors"))
    return json.loads(path.with_suffix(".json").read_text()), state, arrays


def assert_close(got, expected, tolerance, name=""):
    """Same shape and a largest difference below ``tolerance`` times the largest entry."""
    got, expected = np.asarray(got, np.float64), np.asarray(expected, np.float64)
    assert got.shape == expected.shape, f"{name}: {got.shape} against {expected.shape}"
    error = np.abs(got - expected).max(initial=0.0)
    assert error <= tolerance * np.abs(expected).max(initial=1e-30), f"{name}: {error}"
