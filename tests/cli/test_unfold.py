"""`jaxpriors unfold` and `unfold apply`, as a user types them: runs, kills, resumes, bad input."""

import dataclasses
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import h5py
import numpy as np
import pytest

from jaxpriors.cli.main import run
from jaxpriors.data.sample_files import write_events
from jaxpriors.evaluation.observables import jet_observables
from jaxpriors.unfolding.result import Unfolded
from tests.helpers.jets import random_jets


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("samples")
    rng = np.random.default_rng(5)
    flags = {
        "particle": {"pass_gen": rng.random(240) > 0.1, "heavy": rng.random(240)},
        "detector": {"pass_reco": rng.random(240) > 0.2, "heavy": np.zeros(240)},
    }
    levels = {
        level: dataclasses.replace(random_jets(240, seed=0), columns=columns)
        for level, columns in flags.items()
    }
    write_events(folder / "sim.h5", levels)
    write_events(folder / "data.h5", random_jets(200, seed=1, mean_multiplicity=23))
    write_events(folder / "other.h5", {level: random_jets(240, seed=3) for level in levels})
    return folder


@pytest.fixture(scope="module")
def start(files, tmp_path_factory):
    """Starts the command, into the folder ``out``."""
    cache = tmp_path_factory.mktemp("cache")

    def started(out, *more):
        command = [sys.executable, "-W", "error", "-m", "jaxpriors", "unfold"]
        command += [str(files / "sim.h5"), str(files / "data.h5"), "--out", str(out)]
        command += ["--model", "mlp", "--iterations", "3", "--epochs", "8", "--batch-size", "16"]
        environment = {**os.environ, "JAXPRIORS_CACHE": str(cache), "XLA_FLAGS": ""}
        pipe = subprocess.PIPE
        return subprocess.Popen(
            [*command, *more], env=environment, stdout=pipe, stderr=pipe, text=True
        )

    return started


@pytest.fixture(scope="module")
def finished(start, tmp_path_factory):
    """An undisturbed run: its folder and what it printed."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    process = start(out)
    printed, errors = process.communicate()
    assert process.returncode == 0, errors
    return out, printed


def test_a_run_is_a_folder(finished):
    out, printed = finished
    names = {p.name for p in out.iterdir()}
    assert {"config.json", "environment.json", "log.jsonl", "metrics.json"} <= names
    assert {"unfolding.h5", "model", "figures"} <= names
    reports = json.loads((out / "metrics.json").read_text())["reports"]
    assert len(reports) == 6 and reports[-1]["weights"] == "push"
    assert "iteration 3, step 2: simulation at particle level" in printed
    assert printed.count(" push ") == 3 and "effective size" in printed


def test_the_result_reads_with_h5py_alone(finished, files):
    from jaxpriors.data.matched import read_simulation

    simulation = read_simulation(files / "sim.h5")
    with h5py.File(finished[0] / "unfolding.h5") as file:
        gen = file["pass_gen"][:]
        weights = file["weight"][:] * file["push"][-1, 0] * file.attrs["scale"][0]
        mass = file["observables/mass"][:]
        metadata = json.loads(file.attrs["metadata"])
    assert np.array_equal(gen, simulation.pass_gen)
    assert mass[gen] == pytest.approx(jet_observables(simulation.particle)["mass"])
    reco = simulation.pass_reco
    assert np.isnan(mass[~gen]).all() and np.isfinite(weights).all()
    assert (weights[gen | reco] > 0).all() and (weights[~(gen | reco)] == 0).all()
    assert weights[reco].sum() == pytest.approx(200)
    assert metadata["versions"]["jaxpriors"] and "later" in metadata["configuration"]


def test_killed_in_both_steps_of_the_third_iteration(finished, start, tmp_path):
    out = tmp_path / "killed"
    for level, more in (("detector", ()), ("particle", ("--resume",))):
        process, folder = start(out, *more), out / "checkpoints" / f"iteration-3-{level}"
        while process.poll() is None and not (
            folder.is_dir() and any(p.name.isdigit() for p in folder.iterdir())
        ):
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        state = Unfolded.read(out / "unfolding.h5")
        assert (len(state.pull), len(state.push)) == (2 + (level == "particle"), 2)
    process = start(out, "--resume")
    _, errors = process.communicate()
    assert process.returncode == 0, errors
    files = [(folder / "unfolding.h5").read_bytes() for folder in (finished[0], out)]
    assert files[0] == files[1]


def test_resuming_with_other_data_is_refused(finished, files, tmp_path, capsys):
    """Events that changed within the same file; what was found before stays."""
    out, data = tmp_path / "run", tmp_path / "data.h5"
    shutil.copytree(finished[0], out)
    write_events(data, random_jets(200, seed=9, mean_multiplicity=23))
    config = (out / "config.json").read_text()
    (out / "config.json").write_text(config.replace(str(files / "data.h5"), str(data)))
    before = (out / "unfolding.h5").read_bytes()
    asked = ["unfold", str(files / "sim.h5"), str(data), "--out", str(out), "--resume"]
    more = ["--model", "mlp", "--iterations", "3", "--epochs", "8", "--batch-size", "16"]
    assert run([*asked, *more]) == 2
    assert re.search(r"samples.data: found '\w+', asked for", capsys.readouterr().err)
    assert (out / "unfolding.h5").read_bytes() == before


def test_apply_prints_distributions(finished, files, tmp_path, capsys):
    result = str(finished[0] / "unfolding.h5")
    out = tmp_path / "mass.json"
    command = ["unfold", "apply", result, "--bins", "0", "60", "4", "--out", str(out)]
    assert run([*command, "--observable", "mass"]) == 0
    printed = capsys.readouterr().out
    assert "mass, iteration 3 of 3; errors: simulation's statistics alone" in printed
    table = json.loads(out.read_text())
    assert table["edges"] == [0, 15, 30, 45, 60]
    *rows, above = printed.splitlines()
    assert len(rows) == 6 and above.split()[0] == "above"
    outside = table["outside"]
    assert outside["below"] == {"simulation": 0, "unfolded": 0}
    for kind in ("simulation", "unfolded"):
        assert f"{outside['above'][kind]:.5g}" in above
    state = Unfolded.read(result)
    weights, mass = state.weights()[0], state.observables["mass"]
    expected = np.histogram(mass[state.pass_gen], table["edges"], weights=weights[state.pass_gen])
    assert table["unfolded"] == pytest.approx(expected[0])
    before = np.histogram(mass[state.pass_gen], table["edges"])[0] * state.scale[0]
    assert table["simulation"] == pytest.approx(before)
    more = ["--observable", "heavy", "--simulation", str(files / "sim.h5"), "--iteration", "1"]
    assert run(["unfold", "apply", result, *more]) == 0
    assert "heavy, iteration 1 of 3" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--observable", "spin"], "observable: found 'spin', expected one of ['groomed_mass'"),
        (["--iteration", "4"], "iteration: found 4, expected 0 to 3"),
        (["--bins", "5", "1", "3"], "bins: found (5.0, 1.0, 3)"),
        (["--bins", "0", "inf", "3"], "bins: found (0.0, inf, 3)"),
        (["--bins", "0", "1", str(10**20)], f"bins: found (0.0, 1.0, {10**20})"),
        (["--simulation", "OTHER"], "is of another simulation than"),
    ],
)
def test_apply_says_what_it_cannot_use(finished, files, arguments, message, capsys):
    result = str(finished[0] / "unfolding.h5")
    arguments = [str(files / "other.h5") if a == "OTHER" else a for a in arguments]
    assert run(["unfold", "apply", result, *arguments]) == 2
    assert message in capsys.readouterr().err


def test_the_table_never_replaces_the_result_or_the_simulation(finished, files, capsys):
    result, simulation = finished[0] / "unfolding.h5", files / "sim.h5"
    before = [path.read_bytes() for path in (result, simulation)]
    for path in (result, simulation):
        given = ["--simulation", str(simulation), "--out", str(path.parent / "." / path.name)]
        assert run(["unfold", "apply", str(result), *given]) == 2
        assert f"is the input {path} itself; choose another name" in capsys.readouterr().err
    assert [path.read_bytes() for path in (result, simulation)] == before


def test_bad_input_leaves_nothing_behind(files, tmp_path, capsys):
    sim, data, out = str(files / "sim.h5"), str(files / "data.h5"), tmp_path / "out"
    for first, message in (
        (data, "data.h5: found one sample without levels, expected particle and detector"),
        (str(tmp_path / "no.h5"), "no.h5: no such file"),
    ):
        assert run(["unfold", first, data, "--out", str(out)]) == 2
        assert message in capsys.readouterr().err and not out.exists()
    negative = tmp_path / "negative.h5"
    write_events(negative, random_jets(20, 0).with_weight(np.full(20, -1.0)))
    assert run(["unfold", sim, str(negative), "--out", str(out)]) == 2
    assert (
        "data at detector level: 20 events with weights that sum to -20" in capsys.readouterr().err
    )
    assert not out.exists()
    assert run(["unfold", sim, data, "--out", str(out), "--pretrained", sim]) == 2
    assert "expected 'pet-finetuned'" in capsys.readouterr().err and not out.exists()
    assert run(["unfold", sim, data, "--out", str(out), "--clip", "0.5"]) == 2
    assert "clip: found 0.5" in capsys.readouterr().err and not out.exists()
    assert run(["unfold", "apply", data]) == 2
    assert "which `jaxpriors unfold` writes" in capsys.readouterr().err
    with h5py.File(tmp_path / "cut.h5", "w") as file:
        file.attrs["format"], file.attrs["version"] = "jaxpriors-unfolding", 1
    assert run(["unfold", "apply", str(tmp_path / "cut.h5")]) == 2
    assert "no dataset 'weight'" in capsys.readouterr().err
