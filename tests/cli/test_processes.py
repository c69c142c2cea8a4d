"""A command on two processes does what it does on one, once."""

import json

import h5py
import numpy as np
import pytest

from jaxpriors.cli.main import run
from jaxpriors.data.sample_files import write_events
from tests.helpers.jets import random_jets
from tests.helpers.launch import ended, start

RUNS = ("one", "two")


@pytest.fixture(scope="module")
def arguments(tmp_path_factory):
    folder = tmp_path_factory.mktemp("samples")
    for name, seed, mean in (("sim", 0, 20), ("data", 1, 23)):
        write_events(folder / f"{name}.h5", random_jets(301, seed, mean))
    samples = [str(folder / f"{name}.h5") for name in ("sim", "data")]
    return ["reweight", *samples, "--model", "mlp", "--epochs", "3", "--batch-size", "64"]


def _results(out):
    metrics = json.loads((out / "metrics.json").read_text())
    del metrics["environment"], metrics["models"]["mlp"]["seconds"]
    log = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    losses = [[r["train_loss"], r["validation_loss"]] for r in log]
    with h5py.File(out / "weights.h5") as file:
        return metrics, np.array(losses), file["mlp/weight"][:]


def _numbers(tree):
    if isinstance(tree, dict):
        return {f"{k} {n}": v for k, x in tree.items() for n, v in _numbers(x).items()}
    return {"": tree}


def test_a_run_of_two_processes_is_that_of_one(arguments, tmp_path, monkeypatch):
    monkeypatch.setenv("JAXPRIORS_CACHE", str(tmp_path / "cache"))
    assert run([*arguments, "--out", str(tmp_path / "one")]) == 0

    command = ["-m", "jaxpriors", *arguments, "--out", str(tmp_path / "two")]
    found = ended(start(command, 2, environment={"XLA_FLAGS": ""}))
    assert [f[0] for f in found] == [0, 0], found
    assert "epoch   3: training loss" in found[0][1] and "weights, figures" in found[0][1]
    assert "epoch" not in found[1][1] and "weights" not in found[1][1]

    files = [{p.relative_to(tmp_path / n) for p in (tmp_path / n).rglob("*")} for n in RUNS]
    one, two = ({p for p in names if "checkpoints" not in p.parts} for names in files)
    assert one == two
    (expected, losses, weights), (metrics, other, others) = (_results(tmp_path / n) for n in RUNS)
    np.testing.assert_allclose(other, losses, rtol=1e-6)
    np.testing.assert_allclose(others, weights, rtol=1e-5)
    expected, metrics = _numbers(expected), _numbers(metrics)
    assert metrics.keys() == expected.keys()
    for name, value in expected.items():
        assert metrics[name] == pytest.approx(value, rel=1e-4, abs=1e-6), name


def test_bad_input_of_one_process_ends_both(arguments, tmp_path):
    def own(number):
        place = ["--out", str(tmp_path / "run")]
        wrong = [a.replace("data.h5", "none.h5") for a in arguments]
        return ["-m", "jaxpriors", *(wrong if number else arguments), *place]

    found = ended(start(own, 2, environment={"JAXPRIORS_CACHE": str(tmp_path / "cache")}))
    assert [f[0] for f in found] == [2, 2], found
    for _, _, errors in found:
        assert "error: process 1 of 2 (" in errors and "none.h5: no such file" in errors
        assert "Traceback" not in errors
    assert not (tmp_path / "run" / "metrics.json").exists()
