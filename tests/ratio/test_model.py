"""The file of a fitted ratio that was edited is refused in one line."""

import dataclasses
import json

import pytest

from jaxpriors.errors import InputError
from jaxpriors.ratio.model import RatioModel
from tests.helpers.ratios import random_ratio


@pytest.mark.parametrize("value", [-1.0, 0.0, float("nan"), float("inf"), "1", None, True])
def test_a_temperature_that_is_no_divisor_is_refused_at_birth(tmp_path, value):
    model = random_ratio("lgatr-slim", tmp_path)
    with pytest.raises(InputError, match=r"^temperature: found .*, expected a finite number"):
        dataclasses.replace(model, temperature=value)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"temperature": -1}, "temperature: found -1.0, expected a finite number greater than 0"),
        ({"networks": 10**20}, "found the number .* beyond 64 bits, expected JSON"),
        ({"networks": 1.5}, "networks: found 1.5, expected an integer"),
        ({"lengths": [16, 8]}, "lengths: found 8, expected at least 16"),
        ({"lengths": 8}, "lengths: found 8, expected a list of an integer"),
        ({"precision": {"compute": "float8"}}, "precision.compute: found 'float8', expected"),
        ({"kind": "tables"}, "kind: found 'tables'"),
    ],
)
def test_edited_files(tmp_path, changed, message):
    random_ratio("lgatr-slim", tmp_path).save(tmp_path / "model")
    file = tmp_path / "model" / "model.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changed))
    with pytest.raises(InputError, match=rf"model\.json: {message}"):
        RatioModel.load(tmp_path / "model")
