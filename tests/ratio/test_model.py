"""The folder of a model: what was edited in it is refused by file, place and value."""

import dataclasses
import json
import shutil

import pytest

from jaxpriors import RatioModel
from jaxpriors.errors import InputError
from tests.helpers.ratios import random_ratio
from tests.helpers.recorded import FIXTURES

WRITTEN = FIXTURES / "written"


def changed(folder, place, value):
    """The model.json of this folder with another value at a place."""
    content = json.loads((folder / "model.json").read_text())
    *path, last = place
    inner = content
    for step in path:
        inner = inner[step]
    inner[last] = value
    (folder / "model.json").write_text(json.dumps(content))


@pytest.mark.parametrize("value", [-1.0, 0.0, float("nan"), float("inf"), "1", None, True])
def test_a_temperature_that_is_no_divisor_is_refused_at_birth(tmp_path, value):
    model = random_ratio("lgatr-slim", tmp_path)
    with pytest.raises(InputError, match=r"^temperature: found .*, expected a finite number"):
        dataclasses.replace(model, temperature=value)


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (["temperature"], -1, "temperature: found -1.0, expected a finite number greater than 0"),
        (["temperature"], float("nan"), "the number 'NaN', which is not finite"),
        (["temperature"], "1", "temperature: found '1', expected a finite number"),
        (["networks"], 10**12, "networks: found 1000000000000, expected the 1 in the folder"),
        (["networks"], 0, "networks: found 0"),
        (["networks"], True, "networks: found true, expected an integer"),
        (["lengths"], [], r"lengths: found \(\), expected numbers of constituents"),
        (["lengths"], [16, 8], "lengths: found 8, expected at least 16"),
        (["lengths"], 8, "lengths: found 8, expected a list of an integer"),
        (["lengths"], [2.5], r"lengths\[0\]: found 2.5, expected an integer"),
        (["precision"], {"compute": "float8"}, "precision.compute: found 'float8', expected"),
        (["kind"], ["tokens"], "kind: found"),
        (["kind"], "numbers", "inputs: found 'beam', expected some of"),
        (["inputs", "beam"], 5, "inputs.beam: found 5, expected 'lightlike' or"),
        (["standardisation", "std", 3], 0.0, "standardisation: std: found 0, expected a positive"),
        (["standardisation", "std", 3], 2**70, "beyond 64 bits"),
        (["standardisation", "mean"], [0.0], "std: found 12 numbers, expected 1"),
        (["standardisation", "momentum_scale"], 0, "momentum_scale: found 0, expected a positive"),
        (["origin"], {"file": 1}, "origin: found no"),
    ],
)
def test_a_value_that_makes_no_model(tmp_path, place, value, message):
    folder = shutil.copytree(WRITTEN / "lgatr", tmp_path / "model")
    changed(folder, place, value)
    with pytest.raises(InputError, match=rf"model\.json: .*{message}") as caught:
        RatioModel.load(folder)
    assert "\n" not in str(caught.value)


def test_statistics_of_another_number_of_inputs(tmp_path):
    folder = shutil.copytree(WRITTEN / "lgatr", tmp_path / "model")
    for name in ("mean", "std"):
        changed(folder, ["standardisation", name], [1.0])
    with pytest.raises(InputError, match="standardisation: found 1 numbers, expected 12, one for"):
        RatioModel.load(folder)


def test_a_network_of_other_inputs(tmp_path):
    folder = shutil.copytree(WRITTEN / "lgatr", tmp_path / "model")
    changed(folder, ["inputs", "features"], "momenta")
    with pytest.raises(InputError, match="found a network with in_s_channels"):
        RatioModel.load(folder)
    shutil.copy(WRITTEN / "run/model/mlp/model.json", folder)
    with pytest.raises(InputError, match=f"{folder}: inputs: found ColumnsConfig, expected"):
        RatioModel.load(folder)
