"""Recorded cases of OmniLearn's dijet models, faults in them, and files of other sizes."""

import json
import shutil

import jax
import numpy as np
import pytest

from jaxpriors.models.files import save_network
from jaxpriors.models.pet_dijet import (
    PETTwoJetClassifier,
    PETTwoJetClassifierConfig,
    PETTwoJetGenerator,
    PETTwoJetGeneratorConfig,
)
from jaxpriors.porting.omnilearn import read_omnilearn
from jaxpriors.porting.omnilearn_export import export
from jaxpriors.verification.verify import verify_case
from tests.helpers.pet import FIXTURES

CASES = {"lhco_classifier_small": 79, "lhco_generator_small": 243, "lhco_generator_usemean": 225}


@pytest.mark.parametrize("name", CASES)
def test_recorded_arrays_agree(name):
    checks = verify_case(FIXTURES / f"{name}.json")
    assert [str(check) for check in checks if not check.ok] == []
    assert len(checks) == CASES[name]
    steps = [check for check in checks if check.name.startswith("w1:")]
    assert all(check.error == 0 for check in steps)  # not one entry steps otherwise
    rounding = {check.name.rpartition(".attn.")[2] for check in steps if "rounding" in check.note}
    assert "key.bias" in rounding and sum("16 entries" in check.note for check in steps) < 11


@pytest.fixture
def case(tmp_path):
    """A copy of the classifier's case, and a function that changes its arrays."""
    for path in FIXTURES.glob("lhco_classifier_small.*"):
        shutil.copy(path, tmp_path)
    path = tmp_path / "lhco_classifier_small.json"

    def change(**arrays):
        with np.load(path.with_suffix(".npz")) as file:
            merged = dict(file) | arrays
        kept = {name: value for name, value in merged.items() if value is not None}
        np.savez(path.with_suffix(".npz"), **kept)

    return path, change


def failed(path):
    return {check.name: check.note for check in verify_case(path) if not check.ok}


def test_faults_are_found(case):
    path, change = case
    with np.load(path.with_suffix(".npz")) as file:
        step, logits = file["w1:cls.out.kernel"].copy(), file["out_cls"].copy()
    step[0] += 0.5e-3
    logits[0] *= 1.0001
    table = json.loads(path.read_text())
    table["train_step_logs"]["loss"] *= 1.001
    path.write_text(json.dumps(table))
    change(**{"w1:cls.out.kernel": step, "w1:cls.unknown.kernel": step, "out_cls": logits})
    expected = {"w1:cls.out.kernel", "w1:cls.unknown.kernel", "out_cls", "train_step_logs/loss"}
    assert failed(path).keys() == expected


def test_cases_that_cannot_be_used_say_why(case):
    path, change = case
    change(input_time=np.ones((6, 2, 1), np.float32))
    assert "input_time is not zero" in failed(path)["the case"]
    change(input_time=None, input_mass=None)
    assert "lacks the arrays input_mass" in failed(path)["the case"]


@pytest.mark.parametrize(
    "cls, config_cls",
    [
        (PETTwoJetClassifier, PETTwoJetClassifierConfig),
        (PETTwoJetGenerator, PETTwoJetGeneratorConfig),
    ],
)
@pytest.mark.parametrize("layer_scale", [None, 1e-5])
def test_other_sizes_go_to_the_peer_and_come_back(tmp_path, cls, config_cls, layer_scale):
    config = config_cls(
        hidden_channels=8,
        num_layers=1,
        num_local=1,
        num_heads=4,
        num_jet_layers=3,
        num_jet_heads=2,
        layer_scale=layer_scale,
        mode="omnilearn",
    )
    shapes = jax.eval_shape(lambda: cls.init(jax.random.key(0), config))
    rng = np.random.default_rng(0)
    network = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(leaf.dtype), shapes)
    save_network(tmp_path / "network.safetensors", network)
    export(tmp_path / "network.safetensors", tmp_path / "network.weights.h5")
    read, lines = read_omnilearn(tmp_path / "network.weights.h5")
    assert read.config == config
    assert "  num_jet_heads = 2 (from the tensors)" in lines
    assert jax.tree.all(jax.tree.map(np.array_equal, read, network))
    if cls is PETTwoJetGenerator:
        averaged, _ = read_omnilearn(tmp_path / "network.weights.h5", ema=True)
        assert jax.tree.all(jax.tree.map(np.array_equal, averaged, network))


def test_a_file_in_masked_mode_has_its_own_function(tmp_path):
    """The same weights, but padding no longer takes part."""
    path = FIXTURES / "lhco_classifier_small.weights.h5"
    with np.load(FIXTURES / "lhco_classifier_small.npz") as file:
        arrays = [file[f"input_{name}"] for name in ("features", "mask", "jet", "mass")]
    arrays[1] = arrays[1] > 0
    run = jax.jit(lambda network, *arguments: network(*arguments)[0])
    masked, _ = read_omnilearn(path, mode="masked")
    longer = [np.pad(a, ((0, 0), (0, 0), (0, 7)) + ((0, 0),) * (a.ndim - 3)) for a in arrays[:2]]
    logits = run(masked, *arrays)
    np.testing.assert_allclose(run(masked, *longer, *arrays[2:]), logits, atol=1e-6)
    reference, _ = read_omnilearn(path)
    assert np.abs(run(reference, *longer, *arrays[2:]) - run(reference, *arrays)).max() > 1e-2
