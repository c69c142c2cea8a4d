"""The file of an unfolding that was edited is refused in one line."""

import dataclasses

import h5py
import numpy as np
import pytest

from jaxpriors import Unfolded
from jaxpriors.errors import InputError

N, R = 4, 2
FACTORS = np.ones((1, R, N))
RESULT = Unfolded(
    weight=np.ones(N),
    pass_gen=np.ones(N, bool),
    pass_reco=np.ones(N, bool),
    pull=FACTORS,
    push=FACTORS,
    replicas=np.ones((R, N), np.int8),
    scale=np.ones(R),
    iterations=1,
    observables={"mass": np.ones(N)},
    metadata={},
    reports=[],
)


def test_what_is_written_is_read_back(tmp_path):
    for one in (RESULT, dataclasses.replace(RESULT, pull=FACTORS[:0], push=FACTORS[:0])):
        one.write(tmp_path / "a.h5")
        found = Unfolded.read(tmp_path / "a.h5")
        np.testing.assert_array_equal(found.push, one.push)
        assert found.iterations == 1 and found.metadata == {}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("iterations", -1),
        ("iterations", 1.5),
        ("iterations", None),
        ("scale", "x"),
        ("scale", np.ones(3)),
        ("scale", None),
        ("metadata", "[1]"),
        ("metadata", "[" * 9000),
        ("reports", "{}"),
        ("reports", None),
        ("weight", np.ones(N + 1)),
        ("weight", np.float64(1)),
        ("weight", np.array([b"x"] * N)),
        ("replicas", np.ones((R, N + 1))),
        ("push", np.ones((1, N))),
        ("pull", np.ones(())),
        ("observables/mass", np.array([b"x"] * N)),
    ],
)
def test_edited_results(tmp_path, name, value):
    path = tmp_path / "a.h5"
    RESULT.write(path)
    with h5py.File(path, "a") as file:
        held = file if name in file else file.attrs
        del held[name]
        if value is not None:
            held[name] = value
    with pytest.raises(InputError, match=r"a\.h5: .*(found|has) .*expected"):
        Unfolded.read(path)
