"""Files that version 0.1.0 wrote before its rooms were rebuilt open, and give the same numbers.

`tests/fixtures/written` holds a run's folder, models of every kind of input, a ported network, a
prepared sample with the events that it was made of, an unfolding and an exported program, made by
that version, and what they gave in ``expected.npz``. They cannot be made again by this one, and
need not be.
"""

import shutil
from pathlib import Path

import h5py
import jax.export
import numpy as np
import pytest

from jaxpriors import RatioModel, Unfolded, read_events
from jaxpriors.cli.main import run
from jaxpriors.data.prepared import open_prepared
from jaxpriors.evaluation.observables import with_observables
from jaxpriors.models.files import load_network
from jaxpriors.models.state_dicts import state_from_network
from jaxpriors.preprocessing.registry import KINDS
from tests.helpers.recorded import read_case

WRITTEN = Path(__file__).parent / "fixtures" / "written"
MODELS = {
    "run/lgatr-slim": ("run/model/lgatr-slim", "events"),
    "run/mlp": ("run/model/mlp", "events"),
    "ensemble": ("ensemble", "events"),
    "lgatr": ("lgatr", "events"),
    "dijet-tokens": ("dijet-tokens", "dijets"),
    "dijet-clouds": ("dijet-clouds", "dijets"),
}


@pytest.fixture(scope="module")
def expected():
    with np.load(WRITTEN / "expected.npz") as file:
        return dict(file)


@pytest.mark.parametrize("name", MODELS)
def test_models_give_the_same_log_ratios(name, expected):
    folder, sample = MODELS[name]
    events = read_events(WRITTEN / f"{sample}.h5")
    found = RatioModel.load(WRITTEN / folder).log_ratios(
        with_observables(events) if name == "run/mlp" else events
    )
    np.testing.assert_allclose(found, expected[name], rtol=1e-4, atol=2e-5)


def test_models_of_every_kind_of_input_are_there():
    models = [RatioModel.load(WRITTEN / folder) for folder, _ in MODELS.values()]
    found = {model.preprocessing.config.KIND for model in models}
    assert found == set(KINDS)


def test_a_finished_run_prints_its_tables_and_is_not_begun_anew(tmp_path, monkeypatch, capsys):
    shutil.copytree(WRITTEN / "run", tmp_path / "run")
    for name in ("events.h5", "data.h5"):
        shutil.copy(WRITTEN / name, tmp_path)
    monkeypatch.chdir(tmp_path)
    assert run(["report", "run"]) == 0
    told = capsys.readouterr().out
    assert "lgatr-slim" in told and "mlp" in told and "rejection at 50 %" in told
    before = {path: path.read_bytes() for path in Path("run").rglob("*") if path.is_file()}
    options = ["--model", "lgatr-slim", "mlp", "--epochs", "1", "--batch-size", "16", "--resume"]
    # its jets were in single precision, so that its networks saw other masses
    assert run(["reweight", "events.h5", "data.h5", *options, "--out", "run"]) == 2
    assert "is a run with another configuration" in capsys.readouterr().err
    assert {p: p.read_bytes() for p in before} == before


def test_weights_of_a_run_are_those_of_its_models(expected):
    with h5py.File(WRITTEN / "run" / "weights.h5") as file:
        found = file["lgatr-slim/log_ratio"][:]
        assert set(np.unique(file["part"])) == {b"train", b"validation", b"test"}
    np.testing.assert_allclose(found, expected["run/lgatr-slim"][0], rtol=1e-4, atol=2e-5)


def test_a_prepared_sample_has_its_events():
    for level in ("particle", "detector"):
        stored = open_prepared(WRITTEN / "prepared", level)
        sample = read_events(WRITTEN / "prepared_from.h5", level)
        read = stored.read()
        for name in ("p4", "pid", "offsets", "jet_p4", "weight"):
            written, exact = getattr(read, name), getattr(sample, name)
            np.testing.assert_allclose(written, exact, rtol=2e-7, atol=1e-4)  # single precision
        np.testing.assert_array_equal(read.label, np.arange(20) % 2)


def test_an_unfolding_has_its_weights(expected):
    result = Unfolded.read(WRITTEN / "unfolding.h5")
    np.testing.assert_array_equal(result.weights(), expected["unfolding"])
    assert result.iterations == 1 and len(result.reports) == 2


def test_an_exported_program_runs(expected):
    events = read_events(WRITTEN / "events.h5")
    program = jax.export.deserialize((WRITTEN / "program.jaxexport").read_bytes())
    p4, pid, length = events.padded()
    found = program.call(p4, pid, length.astype(np.int32), events.jet_p4)
    np.testing.assert_allclose(found, expected["program"], rtol=1e-4, atol=2e-5)


def test_a_ported_network_has_the_tensors_of_its_state_dict():
    found = state_from_network(load_network(WRITTEN / "ported_lgatr.safetensors"))
    _, state, _ = read_case("lgatr_tiny")
    assert set(found) == set(state)
    for name, array in state.items():
        np.testing.assert_array_equal(found[name], array)
