"""Exported programs compute what the library does, from the same arrays, without it."""

import dataclasses
import subprocess
import sys

import jax.export
import numpy as np
import pytest

from jaxpriors import InputError
from jaxpriors.physics import kinematics
from jaxpriors.ratio import export
from jaxpriors.ratio.export import program, write_program
from jaxpriors.training.parallel import data_mesh, replicate
from tests.helpers.ratios import NETWORKS, jets_with_identities, random_ratio

JETS = jets_with_identities(24, seed=2)
FEW = JETS.multiplicity <= 3  # fewer constituents than PET has neighbours
# which jets, and their padded length: as short as can be, or longer than any
BATCHES = {"all": (slice(None), None), "few": (FEW, None), "first": (slice(1), 40)}

NAMES = ("p4", "pid", "length", "jet_p4", "jet_mass")
SHAPES = ["(b, n, 4)", "(b, n)", "(b,)", "(b, 4)", "(b,)"]

# Loads every program and calls it with every batch; nothing of this package can be imported.
WITHOUT_US = """
import pathlib, sys
sys.modules["jaxpriors"] = None
import jax, jax.export, numpy as np
jax.config.update("jax_disable_most_optimizations", True)
names = ("p4", "pid", "length", "jet_p4", "jet_mass")
batches = {p: [np.load(p)[name] for name in names] for p in pathlib.Path().glob("*.npz")}
for path in pathlib.Path().glob("*.jaxexport"):
    program = jax.export.deserialize(path.read_bytes())
    answers = {p.stem: program.call(*batch) for p, batch in batches.items()}
    np.savez(path.with_suffix(".answers"), **answers)
assert not any(name.startswith("jaxpriors.") for name in sys.modules)
"""


def arrays(events, width=None):
    """p4, pid, length, jet_p4 and jet_mass, padded to a width (None: as far as needed)."""
    p4, pid, length = events.padded(width)
    single = (x.astype(np.float32) for x in (p4, events.jet_p4, kinematics.mass(events.jet_p4)))
    p4, jet_p4, jet_mass = single
    return p4, pid, length.astype(np.int32), jet_p4, jet_mass


@pytest.fixture(scope="module")
def ratios(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pretrained")
    return {model: random_ratio(model, folder) for model in NETWORKS}


@pytest.fixture(scope="module")
def programs(ratios, tmp_path_factory):
    """A folder with the program of each model."""
    folder = tmp_path_factory.mktemp("programs")
    for model, ratio in ratios.items():
        write_program(folder / f"{model}.jaxexport", ratio)
    return folder


@pytest.fixture(scope="module")
def answers(programs):
    """model → batch → log-ratios, from a process without this package."""
    for name, (rows, width) in BATCHES.items():
        arguments = zip(NAMES, arrays(JETS[rows], width), strict=True)
        np.savez(programs / name, **dict(arguments))
    command = [sys.executable, "-W", "error", "-c", WITHOUT_US]
    done = subprocess.run(command, cwd=programs, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return {model: np.load(programs / f"{model}.answers.npz") for model in NETWORKS}


@pytest.mark.parametrize("model", NETWORKS)
def test_without_this_package_the_answers_are_the_same(ratios, answers, model):
    expected = ratios[model].log_ratio(JETS)
    assert np.std(expected) > 0.05 and FEW.sum() > 1, "jets that differ, in their answers too"
    for name, (rows, _) in BATCHES.items():
        found = answers[model][name]
        assert found.dtype == np.float32 and found.shape == expected[rows].shape
        np.testing.assert_allclose(found, expected[rows], atol=1e-5, rtol=1e-5, err_msg=name)


@pytest.mark.parametrize("model", NETWORKS)
def test_made_for_cpus_and_gpus_and_any_size(programs, model):
    """On a machine that may have no GPU."""
    made = jax.export.deserialize((programs / f"{model}.jaxexport").read_bytes())
    assert made.platforms == ("cpu", "cuda")
    assert [str(a.shape) for a in made.in_avals] == SHAPES
    assert made.nr_devices == 1 and made.fun_name == "log_likelihood_ratio"


def test_a_wrong_length_gives_no_number(programs):
    """Constituents that were cut off must not go unnoticed."""
    p4, pid, length, *jets = arrays(JETS[:3])
    length = length + np.array([0, 40, -40], np.int32)
    made = jax.export.deserialize((programs / "lgatr-slim.jaxexport").read_bytes())
    found = made.call(p4, pid, length, *jets)
    assert np.isnan(found).tolist() == [False, True, True]


def test_padding_that_matters_is_left_as_it_is(tmp_path):
    """PET in OmniLearn's mode depends on padding and cannot do with too few rows."""
    ratio = random_ratio("pet", tmp_path, mode="omnilearn")
    made = program(ratio)
    some = JETS[JETS.multiplicity <= 8]
    expected = ratio.log_ratio(some)  # which pads to 8
    np.testing.assert_allclose(made.call(*arrays(some, 8)), expected, atol=1e-5, rtol=1e-5)
    assert np.abs(made.call(*arrays(some, 16)) - expected).max() > 1e-3
    with pytest.raises(ValueError, match="n >= 5"):
        made.call(*arrays(JETS[FEW]))


def test_a_kernel_of_one_platform_is_replaced(tmp_path):
    changes = {"attention_implementation": "cudnn"}
    made = program(random_ratio("lgatr-slim", tmp_path, **changes))
    assert made.platforms == ("cpu", "cuda") and "cudnn" not in made.mlir_module()


def test_weights_on_several_devices_make_a_program_for_one(ratios):
    """As they are after a training."""
    ratio = ratios["lgatr-slim"]
    copies = replicate(ratio.classifier, data_mesh())
    assert program(dataclasses.replace(ratio, classifier=copies)).nr_devices == 1


def test_nothing_is_half_written(ratios, tmp_path, monkeypatch):
    target = tmp_path / "model.jaxexport"

    def fails(model):
        raise RuntimeError("no program")

    monkeypatch.setattr(export, "program", fails)
    with pytest.raises(RuntimeError, match="no program"):
        write_program(target, ratios["pet"])
    monkeypatch.setitem(sys.modules, "flatbuffers", None)
    with pytest.raises(InputError, match=r"pip install 'jaxpriors\[export\]'"):
        write_program(target, ratios["pet"])
    assert not any(tmp_path.iterdir())
