"""Recorded cases pass, and a fault in any of their parts does not."""

import dataclasses
import json
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest

from jaxpriors.cli.port import port_verify
from jaxpriors.errors import InputError
from jaxpriors.layers.lorentz import Linear
from jaxpriors.models.files import read_safetensors, write_safetensors
from jaxpriors.verification.checks import read_case
from jaxpriors.verification.networks import ModuleUnderTest, compare
from jaxpriors.verification.verify import verify_case

FIXTURES = Path(__file__).parents[1] / "fixtures"
# One case of each kind; the networks' own tests go through all of them.
CASES = {
    "lgatr/lgatr_tiny_mq_headscale_reinsert": 110,
    "lgatr/lgatr_tagger": 79,  # beams that are massless to the last bit
    "lgatr/lgatr_gev": 48,  # momenta that cost float32 most of its digits
    "lgatr/lgatr_nobatch": 48,
    "lgatr/cond_lgatr_tiny_mask": 122,
    "lgatr/slim_tiny_ratios": 48,
    "lgatr/cond_slim_tiny_mask": 62,
    "lgatr2/lgatr_dropout": 12,
    "lgatr2/slim_gate_tanh": 12,
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
    for path in (FIXTURES / "lgatr").glob("slim_tiny_ratios.*"):
        shutil.copy(path, tmp_path)
    return tmp_path / "slim_tiny_ratios.json"


def test_command_counts_and_exits(case, capsys):
    assert port_verify([case]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "48 passed, 0 failed"
    assert len(lines) == 49
    assert all(line.startswith("slim_tiny_ratios: ") and line.endswith("ok") for line in lines[:-1])


def test_perturbed_weight_fails(case, capsys):
    weights = case.with_suffix(".safetensors")
    state = {name: value.copy() for name, value in read_safetensors(weights).items()}
    state["linear_in.weight_v"][0, 0] += 1e-3
    write_safetensors(weights, state)
    assert port_verify([case]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert any("out32_v" in line and line.endswith("FAIL") for line in lines)
    assert lines[-1].endswith(" failed")
    assert not lines[-1].endswith(" 0 failed")


def test_perturbed_record_fails_alone(case):
    arrays = dict(np.load(case.with_suffix(".npz")))
    arrays["grad/linear_in.weight_v"] = arrays["grad/linear_in.weight_v"] * 1.001
    arrays["out64_s"] = np.where(arrays["out64_s"] > 0, np.nan, arrays["out64_s"])
    np.savez(case.with_suffix(".npz"), **arrays)
    failed = [check.name for check in verify_case(case) if not check.ok]
    assert sorted(failed) == ["grad/linear_in.weight_v", "out64_s"]


def test_array_that_is_not_understood_fails(case):
    arrays = dict(np.load(case.with_suffix(".npz")))
    np.savez(case.with_suffix(".npz"), **arrays, inter_linear_v=np.zeros(3))
    (check,) = [check for check in verify_case(case) if not check.ok]
    assert str(check).endswith("inter_linear_v  nan  (we have no such array)  FAIL")


def remove(case, *prefixes):
    arrays = dict(np.load(case.with_suffix(".npz")))
    kept = {name: value for name, value in arrays.items() if not name.startswith(prefixes)}
    np.savez(case.with_suffix(".npz"), **kept)


def test_removed_arrays_fail_by_name(case):
    remove(case, "out64_", "grad/linear_in.weight_v")
    failed = [check.name for check in verify_case(case) if not check.ok]
    assert sorted(failed) == ["grad/linear_in.weight_v", "out64_s", "out64_v"]


def test_outputs_that_are_not_recorded_fail(case):
    remove(case, "out")
    edit(arrays={})(case)
    failed = [check.name for check in verify_case(case) if not check.ok]
    assert failed == ["out_v", "out_s"]


def test_empty_output_takes_no_cotangent():
    """The scalars of a linear layer do not depend on its vectors, which are taken away here."""
    case = read_case(FIXTURES / "lgatr" / "slim_linear.json")
    gone = ("out32_v", "out64_v", "cot_1", "gradin_vectors", "grad/weight_v")
    arrays = {n: a for n, a in case.arrays.items() if n not in gone}
    arrays["cot_0"] = case.arrays["cot_1"]
    state = case.state | {"weight_v": case.state["weight_v"][:0]}
    skeleton = jax.eval_shape(lambda key: Linear.init(key, 3, 0, 4, 6), jax.random.key(0))

    def call(layer, inputs):
        v, s = layer(inputs["vectors"].swapaxes(-1, -2), inputs["scalars"])
        return v.swapaxes(-1, -2), s

    checks = compare(
        dataclasses.replace(case, arrays=arrays, state=state), ModuleUnderTest(skeleton, call)
    )
    assert [str(check) for check in checks if not check.ok] == []
    assert {"out32_s", "gradin_scalars"} <= {check.name for check in checks}


def test_every_output_needs_its_cotangent(case):
    remove(case, "cot_1")
    (check,) = verify_case(case)
    assert "2 outputs of ours have 1 cotangents" in check.note


@pytest.fixture
def momenta(tmp_path):
    """A copy of the case whose momenta are jets' in GeV."""
    for path in (FIXTURES / "lgatr").glob("lgatr_gev.*"):
        shutil.copy(path, tmp_path)
    return tmp_path / "lgatr_gev.json"


def test_allowance_is_stated_and_the_verdict_is_last(momenta):
    checks = {check.name: check for check in verify_case(momenta)}
    assert "allowed, 3 times the rounding of lgatr" in checks["out32_mv"].note
    assert checks["out64_mv"].tolerance == 1e-6
    assert "in float64; " in checks["out64_mv"].note
    assert {str(check).split()[-1] for check in checks.values()} == {"ok"}


def test_allowance_does_not_hide_a_wrong_weight(momenta):
    weights = momenta.with_suffix(".safetensors")
    state = {name: value.copy() for name, value in read_safetensors(weights).items()}
    state["blocks.0.attention.out_linear.weight"][0, 0, 1] *= 1.001
    write_safetensors(weights, state)
    failed = [check for check in verify_case(momenta) if not check.ok]
    assert {"out64_mv", "out64_s"} <= {check.name for check in failed}
    assert {str(check).split()[-1] for check in failed} == {"FAIL"}


def test_infinite_float32_is_not_repeated_in_float64(momenta):
    arrays = dict(np.load(momenta.with_suffix(".npz")))
    arrays["in_multivectors"] = arrays["in_multivectors"] * np.float32(1e25)
    np.savez(momenta.with_suffix(".npz"), **arrays)
    check = next(check for check in verify_case(momenta) if check.name == "out64_mv")
    assert not check.ok
    assert "not finite" in check.note


def test_stale_final_weights_need_the_exact_ones(tmp_path):
    """final32 that hold the weights before training pass only beside final64."""
    for path in (FIXTURES / "lgatr").glob("train_slim.*"):
        shutil.copy(path, tmp_path)
    case = tmp_path / "train_slim.json"
    name = "blocks.0.mlp.layers.0.linear.weight_v"
    remove(case, f"final64/{name}")
    checks = verify_case(case)
    assert [check.name for check in checks if not check.ok] == [
        f"final32/{name}",
        f"final64/{name}",
    ]
    assert len(checks) == 97


def edit(**changes):
    def apply(case):
        case.write_text(json.dumps(json.loads(case.read_text()) | changes))

    return apply


def truncate(suffix):
    def apply(case):
        path = case.with_suffix(suffix)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    return apply


def drop_weight(case, name="linear_in.weight_v"):
    weights = case.with_suffix(".safetensors")
    state = read_safetensors(weights)
    del state[name]
    write_safetensors(weights, state)


def argument(**changes):
    def apply(case):
        edit(ctor=json.loads(case.read_text())["ctor"] | changes)(case)

    return apply


def no_record(case):
    np.savez(case.with_suffix(".npz"))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda case: case.with_suffix(".npz").unlink(), "slim_tiny_ratios.npz: no such file"),
        (lambda case: case.with_suffix(".safetensors").unlink(), "safetensors: no such file"),
        (lambda case: case.write_text("{"), "expected JSON"),
        (truncate(".npz"), "not a readable .npz file"),
        (truncate(".safetensors"), "truncated, damaged or not a safetensors file"),
        (drop_weight, "missing linear_in.weight_v"),
        (no_record, "no inputs in_"),
        (edit(cls="Transformer"), "class: found 'Transformer', expected a whole network"),
        (edit(lgatr="1.0"), "expected 1.4.x or 2.x"),
        (edit(ctor={"in_v_channels": 3}), "out_v_channels is missing"),
        (argument(hidden_v_channels="3"), "not supported between instances of 'str' and 'int'"),
        (argument(in_channels=3), "unknown argument in_channels"),
        (argument(nonlinearity=["gelu"]), "unhashable type"),
    ],
)
def test_damaged_case_is_one_clear_line(case, capsys, damage, message):
    damage(case)
    assert port_verify([case]) == 1
    first, last = capsys.readouterr().out.splitlines()
    assert message in first
    assert "FAIL" in first
    assert last == "0 passed, 1 failed"


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("slim_glu_gelu", "'GatedLinearUnit'"),
        ("equilinear_s", "'EquiLinear'"),
        ("block", "'LGATrBlock'"),
        ("primitives", "None"),
        ("init_stats", "None"),
    ],
)
def test_a_single_layer_is_one_line_that_names_the_whole_networks(name, found):
    (check,) = verify_case(FIXTURES / "lgatr" / f"{name}.json")
    assert not check.ok
    assert check.note.startswith(f"class: found {found}, expected a whole network: one of LGATr, ")
    for kind in ("ConditionalLGATr", "LGATrSlim", "ConditionalLGATrSlim", "PET", "training"):
        assert kind in check.note


def test_an_unforeseen_error_leaves_the_counts(case, capsys, monkeypatch):
    def fail(*arguments):
        raise ZeroDivisionError("integer modulo by zero")

    monkeypatch.setattr("jaxpriors.verification.verify.verify_network", fail)
    assert port_verify([case]) == 1
    first, last = capsys.readouterr().out.splitlines()
    assert "ZeroDivisionError: integer modulo by zero" in first
    assert last == "0 passed, 1 failed"


def test_no_case_is_an_error():
    with pytest.raises(InputError, match="no case given"):
        port_verify([])


def test_a_missing_case_is_a_failed_check(tmp_path):
    (check,) = verify_case(tmp_path / "absent.json")
    assert not check.ok
    assert "absent.json" in check.note


def test_float64_setting_does_not_matter(case):
    with jax.enable_x64(True):
        assert all(check.ok for check in verify_case(case))
