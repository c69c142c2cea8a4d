"""Recorded cases of PET pass ``port verify``, and a fault in any of their parts does not."""

import json
import shutil

import h5py
import numpy as np
import pytest

from jaxpriors.verification.verify import verify_case
from tests.helpers.pet import FIXTURES

NAME = "small_simple"


@pytest.fixture
def case(tmp_path):
    """A copy of the files of a small case with its outputs at time 0 alone."""
    for path in FIXTURES.glob(f"{NAME}.*"):
        shutil.copy(path, tmp_path)
    path = tmp_path / f"{NAME}.json"
    with np.load(path.with_suffix(".npz")) as file:
        kept = {n: file[n] for n in file if n.startswith("input_") or n.endswith("out_gen_t0")}
    np.savez(path.with_suffix(".npz"), **kept)
    table = json.loads(path.read_text())
    path.write_text(json.dumps(table | {"arrays": {name: None for name in kept}}))
    return path


def test_every_recorded_array_is_compared():
    checks = verify_case(FIXTURES / f"{NAME}.json")
    assert [str(check) for check in checks if not check.ok] == []
    with np.load(FIXTURES / f"{NAME}.npz") as file:
        outputs = {n for n in file if "input_" not in n and not n.endswith("time_rand")}
    assert {check.name for check in checks} == outputs


def test_perturbed_weight_fails(case):
    assert [check.ok for check in verify_case(case)] == [True]
    with h5py.File(case.with_suffix(".weights.h5"), "r+") as file:
        weight = file["body/_layer_checkpoint_dependencies/dense/vars/0"]
        weight[0, 0] += 0.01
    assert [check.ok for check in verify_case(case)] == [False]


def test_missing_parts_fail(case):
    with np.load(case.with_suffix(".npz")) as file:
        arrays = dict(file)
    np.savez(case.with_suffix(".npz"), **arrays, out_unknown_t0=np.ones(3))
    assert [c.name for c in verify_case(case) if not c.ok] == ["out_unknown_t0"]
    del arrays["input_jet"]
    np.savez(case.with_suffix(".npz"), **arrays)
    assert "the case lacks the arrays input_jet" in str(verify_case(case)[0])
    case.with_suffix(".weights.h5").unlink()
    np.savez(case.with_suffix(".npz"), **arrays, input_jet=np.zeros((8, 4), np.float32))
    assert "no such file" in str(verify_case(case)[0])
