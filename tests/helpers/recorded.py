"""Cases recorded from lgatr: description, weights, arrays; and how far we are from them."""

from pathlib import Path

import jax
import numpy as np

from jaxpriors.verification import checks
from jaxpriors.verification.networks import ModuleUnderTest, compare

FIXTURES = Path(__file__).parents[1] / "fixtures"
TINY_SIZES = dict(in_s_channels=3, out_s_channels=2, hidden_s_channels=8, num_blocks=2, num_heads=2)
"""Sizes of the smallest networks, but for their multivectors or vectors."""


def read_case(name, folder="lgatr"):
    """(description, state dict, arrays) of a case."""
    case = checks.read_case(FIXTURES / folder / f"{name}.json")
    return case.table, case.state, case.arrays


def assert_layer(name, init, call, output=2e-5, gradient=1e-4):
    """Outputs and gradients of a layer, in float32, are all those recorded.

    ``name`` is <folder>/<case>, ``init`` makes the layer of a key, and ``call(layer, inputs)``
    gives (multivectors or vectors, scalars or None) of the recorded inputs by name.
    """
    case = checks.read_case(FIXTURES / f"{name}.json")
    found = compare(case, ModuleUnderTest(jax.eval_shape(init, jax.random.key(0)), call))
    assert [str(check) for check in found if not check.ok or "in float32" in check.note] == []
    for check in found:
        assert check.error <= (gradient if check.name.startswith("grad") else output), str(check)
    compared = {key for key in case.arrays if not key.startswith(("in_", "cot_"))}
    assert {check.name for check in found} == compared != set()


def assert_close(got, expected, tolerance, name=""):
    """Same shape and a largest difference below ``tolerance`` times the largest entry."""
    got, expected = np.asarray(got, np.float64), np.asarray(expected, np.float64)
    assert got.shape == expected.shape, f"{name}: {got.shape} against {expected.shape}"
    error = checks.relative_error(got, expected)
    assert error <= tolerance, f"{name}: {error}"
