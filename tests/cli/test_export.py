"""`jaxpriors export`, as a user types it."""

import jax.export
import numpy as np
import pytest

from jaxpriors.cli.main import run
from jaxpriors.physics import kinematics
from tests.helpers.ratios import jets_with_identities, random_ratio


@pytest.fixture(scope="module")
def ratio(tmp_path_factory):
    return random_ratio("lgatr-slim", tmp_path_factory.mktemp("ratio"))


@pytest.fixture(scope="module")
def finished(ratio, tmp_path_factory):
    """What a run with two networks leaves in `model/`."""
    folder = tmp_path_factory.mktemp("run")
    ratio.save(folder / "model" / "lgatr-slim")
    random_ratio("pet", folder).save(folder / "model" / "pet")
    return folder


def test_the_chosen_network_is_written(ratio, finished, tmp_path, capsys):
    out, again = tmp_path / "new" / "model.jaxexport", tmp_path / "again.jaxexport"
    assert run(["export", str(finished), "--out", str(out), "--model", "lgatr-slim"]) == 0
    printed = capsys.readouterr().out
    assert str(out) in printed and "lgatr-slim" in printed and "cpu and cuda" in printed
    jets = jets_with_identities(6, seed=3)
    p4, pid, length = jets.padded()
    program = jax.export.deserialize(out.read_bytes())
    single = [x.astype(np.float32) for x in (p4, jets.jet_p4, kinematics.mass(jets.jet_p4))]
    found = program.call(single[0], pid, length.astype(np.int32), *single[1:])
    np.testing.assert_allclose(found, ratio.log_ratio(jets), atol=1e-5, rtol=1e-5)
    assert [p.name for p in out.parent.iterdir()] == ["model.jaxexport"]

    again.write_text("something")
    alone = str(finished / "model" / "lgatr-slim")  # the folder of one network
    assert run(["export", alone, "--out", str(again), "--overwrite"]) == 0
    assert jax.export.deserialize(again.read_bytes()).fun_name == program.fun_name


@pytest.mark.parametrize(
    ("source", "arguments", "message"),
    [
        ("", (), "holds lgatr-slim, pet; choose one with --model"),
        ("", ("--model", "lgatr"), "found 'lgatr', expected one of this run: lgatr-slim, pet"),
        ("nothing", (), "is no folder"),
        ("model/pet/model.json", (), "is no folder"),
        ("model", (), "has no trained network in model/"),
    ],
)
def test_what_is_no_choice_of_a_network(finished, tmp_path, capsys, source, arguments, message):
    out = tmp_path / "model.jaxexport"
    assert run(["export", str(finished / source), "--out", str(out), *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and message in error
    assert not any(tmp_path.iterdir())


def test_targets_that_cannot_be_written(finished, tmp_path, capsys):
    taken = tmp_path / "notes.txt"
    taken.write_text("these are notes")
    source = str(finished / "model" / "pet")
    for out, message in {
        taken: "exists already",
        tmp_path: "exists already",
        taken / "model.jaxexport": "this folder cannot be made",
    }.items():
        assert run(["export", source, "--out", str(out)]) == 2
        error = capsys.readouterr().err
        assert str(out) in error or str(out.parent) in error
        assert message in error and error.count("\n") == 1
    assert taken.read_text() == "these are notes" and list(tmp_path.iterdir()) == [taken]


def test_a_damaged_network(finished, tmp_path, capsys):
    broken = tmp_path / "model" / "pet"
    broken.mkdir(parents=True)
    (broken / "network.safetensors").write_bytes(b"cut")
    assert run(["export", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    assert "model.json: no such file" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
