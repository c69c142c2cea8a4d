"""The file of weights and the friend that is written from it; features without constituents."""

import awkward
import h5py
import numpy as np
import pytest
import uproot

from jaxpriors.cli.main import run
from jaxpriors.data.events import Events
from jaxpriors.data.sample_files import write_events
from jaxpriors.errors import InputError
from jaxpriors.preprocessing.columns import ColumnsConfig
from jaxpriors.ratio.classifier import RatioClassifier
from jaxpriors.ratio.reweighting import Reweighting, prepare_reweighting
from jaxpriors.ratio.weights import write_back, write_weights


def sample(n, shift, seed, **columns):
    draws = np.random.default_rng(seed)
    events = Events.from_columns({"x": draws.normal(shift, size=n), "y": draws.normal(size=n)})
    return events._with(columns={**events.columns, **columns})


def write(path, events, log_ratio):
    model = {"lgatr-slim": log_ratio}
    weights = {"lgatr-slim": np.exp(log_ratio)}
    part = np.full(len(events), b"test")
    names = {"simulation": "a.root", "data": "b.root"}
    write_weights(path, events, part, model, weights, {}, names)


def test_events_keep_their_numbers(tmp_path):
    entry, jet = np.array([5, 0, 5]), np.array([1, 0, 0])
    events = sample(3, 0, 0, entry=entry, jet=jet)
    log_ratio = np.array([0.5, -0.5, 1.5])
    write(tmp_path / "weights.h5", events, log_ratio)
    with h5py.File(tmp_path / "weights.h5") as file:
        assert file["event"][:].tolist() == [5, 0, 5] and file["jet"][:].tolist() == [1, 0, 0]
        assert file["event"].dtype == file["jet"].dtype == np.int64
        assert (file.attrs["simulation"], file.attrs["data"]) == ("a.root", "b.root")
        assert "have the sum of the old ones" in file.attrs["rule"]
    jets = np.array([1, 0, 0, 0, 0, 3, 0])
    write_back(tmp_path / "weights.h5", tmp_path / "friend.root", 7, jets)
    with uproot.open(tmp_path / "friend.root") as file:
        found = awkward.to_list(file["weights/log_ratio_lgatr_slim"].array())
        weights = awkward.to_list(file["weights/weight_lgatr_slim"].array())
    assert repr(found) == "[[-0.5], [], [], [], [], [1.5, 0.5, nan], []]"
    assert weights[0] == [np.exp(-0.5)]


def test_without_entries_events_are_counted(tmp_path):
    write(tmp_path / "weights.h5", sample(4, 0, 0), np.arange(4.0))
    with h5py.File(tmp_path / "weights.h5") as file:
        assert file["event"][:].tolist() == [0, 1, 2, 3] and "jet" not in file


def test_one_command_from_files_to_a_friend(tmp_path, capsys):
    kept = np.random.default_rng(3).permutation(600)[:400]
    write_events(tmp_path / "a.h5", sample(400, 0.0, 0, entry=kept))
    write_events(tmp_path / "b.h5", sample(400, 0.5, 1))
    command = ["reweight", str(tmp_path / "a.h5"), str(tmp_path / "b.h5"), "--out"]
    command += [str(tmp_path / "run"), "--model", "mlp", "--inputs", "x", "y", "--epochs", "2"]
    assert run([*command, "--write", str(tmp_path / "friend.h5")]) == 2
    assert "expected .root or .parquet" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
    assert run([*command, "--write", str(tmp_path / "friend.root")]) == 0
    with h5py.File(tmp_path / "run" / "weights.h5") as file:
        weight = file["mlp/weight"][:]
        assert file.attrs["simulation"] == str(tmp_path / "a.h5")
        assert weight.sum() == pytest.approx(400)
    with uproot.open(tmp_path / "friend.root") as file:
        column = file["weights/weight_mlp"].array(library="np")
    np.testing.assert_array_equal(column[kept], weight)
    assert np.isnan(column).sum() == len(column) - 400
    again = [*command, "--resume", "--write", str(tmp_path / "again.parquet")]
    assert run(again) == 0
    np.testing.assert_array_equal(
        awkward.from_parquet(tmp_path / "again.parquet").weight_mlp, column
    )
    assert run(again) == 2 and "exists already" in capsys.readouterr().err


def test_inputs_are_those_of_an_mlp(tmp_path, capsys):
    write_events(tmp_path / "a.h5", sample(50, 0, 0))
    command = ["reweight", str(tmp_path / "a.h5"), str(tmp_path / "a.h5"), "--inputs", "x"]
    assert run([*command, "--out", str(tmp_path / "run")]) == 2
    assert "inputs: found x for lgatr-slim, expected 'mlp'" in capsys.readouterr().err


def test_columns_are_tested_with_themselves():
    config = Reweighting((RatioClassifier("mlp", inputs=ColumnsConfig(("x", "mass"))),))
    mass = np.random.default_rng(5).uniform(200, 300, 500)
    samples = [sample(500, 0.3 * i, i, mass=mass + i) for i in range(2)]
    prepared = prepare_reweighting(*samples, config)
    assert [o.name for o in prepared.shown] == ["x", "mass"]
    np.testing.assert_array_equal(prepared.simulation.columns["mass"], mass)
    test = prepared.parts["data"]["test"]
    np.testing.assert_array_equal(prepared.observables["data"]["mass"], mass[test] + 1)
    assert prepared.shown[1].low > 190


@pytest.mark.parametrize(
    "classifier, message",
    [
        (RatioClassifier("lgatr-slim"), "without constituents, which lgatr-slim needs"),
        (RatioClassifier("mlp"), "no constituents, expected mass, width"),
        (RatioClassifier("mlp", inputs=ColumnsConfig(("z",))), "expected z, which the network"),
    ],
)
def test_no_network_sees_constituents_that_are_not_there(classifier, message):
    samples = sample(100, 0, 0), sample(100, 0, 1)
    with pytest.raises(InputError, match=message):
        prepare_reweighting(*samples, Reweighting((classifier,)))
