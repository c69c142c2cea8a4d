"""`unfold --starts`, `unfold apply`, `unfold check` and `unfold leakage`, as a user types them."""

import dataclasses
import json

import h5py
import numpy as np
import pytest

from jaxpriors import Unfolded
from jaxpriors.cli.main import run
from jaxpriors.data.sample_files import write_events
from tests.helpers.jets import random_jets

SHORT = ["--model", "mlp", "--iterations", "1", "--epochs", "1", "--batch-size", "64"]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A simulation, pseudo-data with their truth, and a result with six draws of two starts."""
    folder = tmp_path_factory.mktemp("checks")
    rng = np.random.default_rng(5)
    heavy = rng.random(300) + 0.5
    flags = {
        "particle": {"pass_gen": rng.random(300) > 0.1, "heavy": heavy},
        "detector": {"pass_reco": rng.random(300) > 0.2, "heavy": heavy},
    }
    levels = {
        level: dataclasses.replace(random_jets(300, seed=0), columns=columns)
        for level, columns in flags.items()
    }
    write_events(folder / "sim.h5", levels)
    truth = {"particle": random_jets(250, seed=1), "detector": random_jets(250, seed=2)}
    write_events(folder / "data.h5", truth)
    given = ["unfold", str(folder / "sim.h5"), str(folder / "data.h5"), *SHORT]
    assert run([*given, "--replicas", "6", "--starts", "2", "--out", str(folder / "run")]) == 0
    return folder


def _samples(files):
    return [str(files / name) for name in ("sim.h5", "data.h5")]


def test_apply_tells_the_parts_of_the_errors(files, tmp_path, capsys):
    result = files / "run" / "unfolding.h5"
    command = ["unfold", "apply", str(result), "--bins", "0", "60", "4", "--normalised"]
    tables = {}
    for name in ("mass.json", "mass.h5"):
        assert run([*command, "--out", str(tmp_path / name)]) == 0
    printed = capsys.readouterr().out
    assert "mass, normalised, iteration 1 of 1; errors: replicas" in printed
    assert "error          data    simulation first weights" in printed
    tables = json.loads((tmp_path / "mass.json").read_text())
    state = Unfolded.read(result)
    assert len(state.draws) == 26 and np.sum(~state.draws.any(1)) == 2
    data, simulation = state.draws.T
    assert not np.isclose(state.push[0, 0], state.push[0, 1]).all()  # other first weights
    for rows in ([0, 1], np.flatnonzero(data == 3), np.flatnonzero(simulation == 3)):
        first, second = rows
        assert np.array_equal(state.replicas[first], state.replicas[second])
        assert state.scale[first] == state.scale[second]
    assert (state.replicas[data > 0] == 1).all() and len(set(state.scale[simulation == 0])) == 7
    found = state.covariance(state.observables["mass"], np.linspace(0, 60, 5), normalised=True)
    parts = tables["covariance"]
    assert set(parts) == {"total", "data", "simulation", "first_weights"}
    for name, matrix in found._asdict().items():
        np.testing.assert_allclose(parts[name], matrix)
    assert np.sqrt(np.diag(found.total)) == pytest.approx(tables["error"])
    assert sum(tables["unfolded"]) == pytest.approx(1)
    negative = sum(int((np.diag(found[i]) < 0).sum()) for i in (1, 2, 3))
    assert printed.count("below 0 ") + printed.count("below 0\n") == 2 * negative
    with h5py.File(tmp_path / "mass.h5") as file:
        np.testing.assert_allclose(file["covariance/total"], found.total)
        assert file["edges"].shape == (5,) and file.attrs["observable"] == "mass"
    many = ["unfold", "apply", str(result), "--bins", "0", "60", "2000", "--out", "no.json"]
    assert run(many) == 2
    assert "bins for a covariance matrix: found 2000, expected 1 … 1000" in capsys.readouterr().err


def test_a_result_is_checked_against_the_data(files, capsys):
    result = str(files / "run" / "unfolding.h5")
    more = ["--observables", "mass", "multiplicity", "--models", "heavy"]
    code = run(["unfold", "check", result, *_samples(files), *more])
    printed = capsys.readouterr().out
    assert code == int("FAILS" in printed)
    assert printed.startswith("folded back: data and simulation at detector level")
    lines = [line.split() for line in printed.splitlines()]
    assert [line[0] for line in lines if line[0] in ("mass", "multiplicity")] == [
        "mass", "multiplicity", "mass", "mass", "multiplicity", "multiplicity"
    ]  # fmt: skip
    assert {line[1] for line in lines[-5:-1]} == {"simulation", "heavy"}
    for arguments, message in (
        (["--models", "spin"], "models: found 'spin', expected some of"),
        (["--bins", "0", "60", "10"], "replicas: found 6 for 10 bins, expected at least 14"),
    ):
        assert run(["unfold", "check", result, *_samples(files), *arguments]) == 2
        assert message in capsys.readouterr().err
    sim, data = _samples(files)
    assert run(["unfold", "check", result, data, data]) == 2
    assert "is of another simulation than this of 250 events" in capsys.readouterr().err
    assert run(["unfold", "check", result, sim, sim]) == 2
    assert "is of other data than these" in capsys.readouterr().err


def test_leaks_are_found_where_they_are(files, capsys):
    """Reading pseudo-data by the names of their particle level is one."""
    sim, data = _samples(files)
    assert run(["unfold", "leakage", sim, data, "--events", "100"]) == 0
    printed = capsys.readouterr().out
    assert printed.count("no leak") == 3 and "datasets of the truth poisoned" in printed
    names = ["--data-columns", "p4", "particle/p4", "offsets", "particle/offsets"]
    names += ["--level", "detector"]
    assert run(["unfold", "leakage", sim, data, "--events", "100", *names]) == 1
    printed = capsys.readouterr().out
    assert "LEAK: an error" in printed and "truth LEAKS into the unfolding" in printed
