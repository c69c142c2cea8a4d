"""Recorded cases pass, and a fault in any of their parts does not."""

import json
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest

from jaxpriors.commands.port import port_verify
from jaxpriors.porting.safetensors import read_safetensors, write_safetensors
from jaxpriors.porting.verify import verify_case

FIXTURES = Path(__file__).parents[1] / "fixtures"
# One case of each kind; the networks' and layers' own tests go through all of them.
CASES = {
    "lgatr/lgatr_tiny_mq_headscale_reinsert": 110,
    "lgatr/lgatr_tagger": 79,  # beams that are massless to the last bit
    "lgatr/cond_lgatr_tiny_mask": 122,
    "lgatr/slim_tiny_ratios": 48,
    "lgatr/cond_slim_tiny_mask": 62,
    "lgatr/equilinear_nos_in": 9,
    "lgatr/equilayernorm": 6,
    "lgatr/gated_gelu": 6,
    "lgatr/geometricbilinear": 18,
    "lgatr/geomlp_3": 30,
    "lgatr/selfattention_mq": 30,
    "lgatr/crossattention": 26,
    "lgatr/slim_linear": 9,
    "lgatr/slim_rmsnorm": 6,
    "lgatr/slim_glu_tanh": 9,
    "lgatr/slim_selfattention": 12,
    "lgatr/slim_crossattention": 17,
    "lgatr/slim_mlp": 15,
    "lgatr/primitives": 26,
    "lgatr/spurions": 20,
    "lgatr/init_stats": 32,
    "lgatr/train_slim": 97,
    "lgatr2/lgatr_dropout": 12,
    "lgatr2/slim_gate_tanh": 12,
    "lgatr2/geomlp": 24,
    "lgatr2/slim_glu": 9,
    "lgatr2/slim_crossattention": 15,
    "lgatr2/equilayernorm_affine": 8,
    "lgatr2/train_slim": 74,
}


@pytest.mark.parametrize("name", CASES)
def test_recorded_arrays_agree(name):
    checks = verify_case(FIXTURES / f"{name}.json")
    assert [str(check) for check in checks if not check.ok] == []
    assert len(checks) == CASES[name]


@pytest.fixture
def case(tmp_path):
    """A copy of the files of a small case."""
    for path in (FIXTURES / "lgatr").glob("slim_glu_gelu.*"):
        shutil.copy(path, tmp_path)
    return tmp_path / "slim_glu_gelu.json"


def test_command_counts_and_exits(case, capsys):
    assert port_verify([case]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "9 passed, 0 failed"
    assert len(lines) == 10
    assert all(line.startswith("slim_glu_gelu: ") and line.endswith("ok") for line in lines[:-1])


def test_perturbed_weight_fails(case, capsys):
    weights = case.with_suffix(".safetensors")
    state = {name: value.copy() for name, value in read_safetensors(weights).items()}
    state["linear.weight_v"][0, 0] += 1e-3
    write_safetensors(weights, state)
    assert port_verify([case]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert any("out32_v" in line and line.endswith("FAIL") for line in lines)
    assert lines[-1].endswith(" failed")
    assert not lines[-1].endswith(" 0 failed")


def test_perturbed_record_fails_alone(case):
    arrays = dict(np.load(case.with_suffix(".npz")))
    arrays["grad/linear.weight_v"] = arrays["grad/linear.weight_v"] * 1.001
    arrays["out64_s"] = np.where(arrays["out64_s"] > 0, np.nan, arrays["out64_s"])
    np.savez(case.with_suffix(".npz"), **arrays)
    failed = [check.name for check in verify_case(case) if not check.ok]
    assert sorted(failed) == ["grad/linear.weight_v", "out64_s"]


def test_array_that_is_not_understood_fails(case):
    arrays = dict(np.load(case.with_suffix(".npz")))
    np.savez(case.with_suffix(".npz"), **arrays, inter_linear_v=np.zeros(3))
    (check,) = [check for check in verify_case(case) if not check.ok]
    assert str(check).endswith("inter_linear_v  nan  FAIL  (we have no such array)")


def edit(**changes):
    def apply(case):
        case.write_text(json.dumps(json.loads(case.read_text()) | changes))

    return apply


def truncate(suffix):
    def apply(case):
        path = case.with_suffix(suffix)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    return apply


def drop_weight(case):
    weights = case.with_suffix(".safetensors")
    state = read_safetensors(weights)
    del state["linear.weight_v"]
    write_safetensors(weights, state)


def no_record(case):
    np.savez(case.with_suffix(".npz"))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda case: case.with_suffix(".npz").unlink(), "slim_glu_gelu.npz: no such file"),
        (lambda case: case.with_suffix(".safetensors").unlink(), "safetensors: no such file"),
        (lambda case: case.write_text("{"), "not valid JSON"),
        (truncate(".npz"), "not a readable .npz file"),
        (truncate(".safetensors"), "outside of the"),
        (drop_weight, "missing linear.weight_v"),
        (no_record, "no inputs in_"),
        (edit(cls="Transformer"), "class: found 'Transformer'"),
        (edit(lgatr="1.0"), "expected 1.4.x or 2.x"),
        (edit(ctor={"in_v_channels": 3}), "out_v_channels is missing"),
    ],
)
def test_damaged_case_is_one_clear_line(case, capsys, damage, message):
    damage(case)
    assert port_verify([case]) == 1
    first, last = capsys.readouterr().out.splitlines()
    assert message in first
    assert "FAIL" in first
    assert last == "0 passed, 1 failed"


def test_missing_case(tmp_path):
    (check,) = verify_case(tmp_path / "absent.json")
    assert not check.ok
    assert "absent.json" in check.note


def test_float64_setting_does_not_matter(case):
    with jax.enable_x64(True):
        assert all(check.ok for check in verify_case(case))
