"""The console command, as a user types it: runs, kills, resumes, bad input."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

from jaxpriors.cli.main import run
from jaxpriors.cli.options import InputOptions
from jaxpriors.cli.reweight import Fit
from jaxpriors.data.sample_files import write_events
from jaxpriors.errors import InputError
from tests.helpers.jets import random_jets
from tests.helpers.runs import quiet_run


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("samples")
    write_events(folder / "sim.h5", random_jets(240, seed=0))
    write_events(folder / "data.h5", random_jets(240, seed=1, mean_multiplicity=23))
    return folder


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


def _command(files, cache, out, *more):
    command = [sys.executable, "-W", "error", "-m", "jaxpriors", "reweight"]
    command += [str(files / "sim.h5"), str(files / "data.h5"), "--out", str(out)]
    command += ["--epochs", "3", "--batch-size", "16", *more]
    return command, {**os.environ, "JAXPRIORS_CACHE": str(cache), "XLA_FLAGS": ""}


@pytest.fixture(scope="module")
def finished(files, cache, tmp_path_factory):
    """An undisturbed run: its folder and what it printed."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    command, environment = _command(files, cache, out)
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return out, done.stdout


def _without_times(out):
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics.pop("environment")["versions"]["jaxpriors"]
    for model in metrics["models"].values():
        del model["seconds"]
    return metrics


def test_a_run_is_a_folder(finished):
    out, printed = finished
    names = {p.name for p in out.iterdir()}
    assert {"config.json", "environment.json", "log.jsonl", "metrics.json", "weights.h5"} <= names
    figures = {p.name for p in (out / "figures").iterdir()}
    names = ("observables", "calibration", "training")
    assert figures == {f"{name}.{kind}" for name in names for kind in ("pdf", "png")}
    table = json.loads((out / "metrics.json").read_text())["table2"]["lgatr-slim"]
    assert set(table) == {"mass", "width", "multiplicity", "groomed_mass", "zg", "tau21"}
    assert set(table["mass"]) == {"value", "error", "floor", "unweighted"}
    assert len((out / "log.jsonl").read_text().splitlines()) == 3
    assert "epoch   3: training loss" in printed
    with h5py.File(out / "weights.h5") as file:
        assert file["lgatr-slim/weight"][:].sum() == pytest.approx(240)
        assert set(file["part"][:]) == {b"train", b"validation", b"test"}


def test_report_prints_the_table_again(finished, capsys):
    out, printed = finished
    assert run(["report", str(out)]) == 0
    assert capsys.readouterr().out.strip() in printed


def test_killed_and_resumed_to_the_same_result(files, cache, finished, tmp_path):
    out = tmp_path / "killed"
    command, environment = _command(files, cache, out)
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 300
    while not (out / "log.jsonl").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not (out / "metrics.json").exists()

    refused = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert refused.returncode == 2
    assert "exists already" in refused.stderr and "--resume" in refused.stderr

    command, environment = _command(files, cache, out, "--resume")
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert _without_times(out) == _without_times(finished[0])


def test_half_precision_gives_nearly_the_same_weights(files, cache, finished, tmp_path):
    command, environment = _command(files, cache, tmp_path / "half", "--precision", "bfloat16")
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    kept = json.loads((tmp_path / "half" / "model" / "lgatr-slim" / "model.json").read_text())
    assert kept["precision"] == {"compute": "bfloat16"}
    ratios = []
    for out in (finished[0], tmp_path / "half"):
        with h5py.File(out / "weights.h5") as file:
            ratios.append(file["lgatr-slim/log_ratio"][:])
    whole, half = ratios
    assert 0 < np.abs(half - whole).max() < 0.1 * (whole.max() - whole.min())


def test_an_mlp_of_the_observables(files, tmp_path, capsys):
    names = [str(files / "sim.h5"), str(files / "data.h5"), "--model", "mlp", "--epochs", "2"]
    assert run(["reweight", *names, "--out", str(tmp_path / "run")]) == 0
    assert "mlp" in capsys.readouterr().out
    with h5py.File(tmp_path / "run" / "weights.h5") as file:
        assert file["mlp/weight"][:].sum() == pytest.approx(240)


def test_a_ratio_is_calibrated_and_measured(files, tmp_path, capsys):
    names = [str(files / "sim.h5"), str(files / "data.h5"), "--model", "mlp", "--epochs", "2"]
    out = tmp_path / "run"
    assert run(["ratio", *names, "--out", str(out), "--truth", "absent"]) == 2
    assert "truth: found no column 'absent'" in capsys.readouterr().err and not out.exists()
    assert run(["ratio", *names, "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "rejection at 50 %" in printed and "calibration error" in printed
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["models"]["mlp"]["temperature"] != 1
    assert set(metrics["table2"]["mlp"]) == {"pt", "mass", "multiplicity", "width"}
    assert run(["report", str(out)]) == 0
    assert capsys.readouterr().out.strip() in printed


def test_another_configuration_is_not_resumed(files, cache, finished, capsys):
    command, _ = _command(files, cache, finished[0], "--resume", "--seed", "5")
    assert run(command[command.index("reweight") :]) == 2
    assert "is a run with another configuration" in capsys.readouterr().err


def _reweight(capsys, *arguments):
    code = run(["reweight", *map(str, arguments)])
    return code, capsys.readouterr().err


def test_bad_files_are_named_and_leave_nothing(files, tmp_path, capsys):
    out = tmp_path / "run"
    whole = (files / "sim.h5").read_bytes()
    (tmp_path / "cut.h5").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "notes.h5").write_text("these are notes")
    with h5py.File(tmp_path / "nan.h5", "w") as file:
        p4 = random_jets(5, 0).padded()[0]
        p4[2, 0, 1] = np.nan
        file["jets"] = p4
    for name, message in {
        "absent.h5": "no such file",
        "cut.h5": "truncated",
        "notes.h5": "expected an HDF5 or npz file",
        "nan.h5": "no dataset 'p4'",
    }.items():
        code, error = _reweight(capsys, tmp_path / name, files / "data.h5", "--out", out)
        assert code == 2 and error.startswith("error: ") and error.count("\n") == 1
        assert name in error and message in error
    mapped = ("--columns", "p4", "jets")
    code, error = _reweight(capsys, tmp_path / "nan.h5", files / "data.h5", "--out", out, *mapped)
    assert code == 2 and "nan" in error.lower() and "p4" in error
    assert not out.exists()


def test_weights_that_are_all_zero(files, tmp_path, capsys):
    jets = random_jets(50, 0)
    with h5py.File(tmp_path / "zero.h5", "w") as file:
        file["p4"], file["offsets"], file["weight"] = jets.p4, jets.offsets, np.zeros(50)
    out = tmp_path / "run"
    code, error = _reweight(capsys, tmp_path / "zero.h5", files / "data.h5", "--out", out)
    assert code == 2 and "weight" in error and "zero" in error
    assert not out.exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--batch-size", "100"), "batch_size: found 100, expected a multiple of 16"),
        (("--epochs", "0"), "epochs: found 0, expected at least 1"),
        (("--learning-rate", "nan"), "learning_rate: found nan"),
        (("--ensemble", "0"), "ensemble: found 0, expected at least 1"),
        (("--bootstrap",), "bootstrap: found no ensemble"),
        (("--model", "lgatr", "lgatr"), "models: found ['lgatr', 'lgatr']"),
        (("--beam", "xyplane"), "beam: found 'xyplane', a bivector"),
        (("--model", "pet", "--beam", "none"), "which have no tokens"),
        (("--model", "pet", "--pretrained", "pet.st"), "expected 'pet-finetuned'"),
        (("--model", "pet-finetuned", "--pretrained", "pet.st"), "pet.st: no such file"),
        (
            ("--model", "pet-finetuned", "--size", "paper"),
            "_token_baseline_all.weights.h5, in",
        ),
        (("--model", "mlp", "--features", "momenta"), "which have no tokens"),
    ],
)
def test_bad_arguments_leave_nothing(files, tmp_path, capsys, arguments, message):
    out = tmp_path / "run"
    command = (files / "sim.h5", files / "data.h5", "--out", out, *arguments)
    code, error = _reweight(capsys, *command)
    assert code == 2 and error.startswith("error: ") and error.count("\n") == 1
    assert message in error
    assert not out.exists()


def test_momenta_alone_are_asked_of_every_network():
    models = ("lgatr-slim", "pet", "pet-finetuned", "mlp")
    found = Fit(models, seen=InputOptions("momenta")).classifiers()
    assert [getattr(one.inputs, "features", None) for one in found] == ["momenta"] * 3 + [None]


def test_a_start_that_was_killed_does_not_block_the_folder(tmp_path):
    (tmp_path / ".config.json.partial").write_text("{")
    quiet_run(tmp_path).open({"seed": 1})
    with pytest.raises(InputError, match=r"another configuration \(seed: found 1, asked for 2\)"):
        quiet_run(tmp_path).open({"seed": 2})


def test_reports_of_what_is_no_run(tmp_path, capsys):
    (tmp_path / "metrics.json").write_text("[]")
    for place, message in ((tmp_path, "found list, expected"), (tmp_path / "no", "no such file")):
        assert run(["report", str(place)]) == 2
        assert message in capsys.readouterr().err


def test_unknown_words_exit_with_2(capsys):
    with pytest.raises(SystemExit) as stop:
        run(["reweigh"])
    assert stop.value.code == 2


WRITTEN = Path(__file__).parents[1] / "fixtures" / "written"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("{", "Expecting property name"),
        ("[]", "list, expected a JSON object"),
        ('{"table4": [1]}', "metrics: found no 'table4' of {model:"),
        ('{"table2": {}}', "metrics: found no 'table2' of {model:"),
        ('{"reports": null}', "TypeError"),
        ('{"mine": 1}', "metrics: found ['mine'], expected a run with tables"),
    ],
)
def test_damaged_metrics_are_one_line(tmp_path, capsys, text, found):
    (tmp_path / "metrics.json").write_text(text)
    assert run(["report", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: {tmp_path}/metrics.json: ") and found in said
    assert said.count("\n") == 1


def test_a_pipe_that_is_closed_is_no_error(cache):
    """`jaxpriors report RUN | head` when head has ended."""
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "jaxpriors", "report", str(WRITTEN / "run")]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, "")


def test_ports_and_programs_never_replace_their_input(tmp_path, capsys):
    network = tmp_path / "network.safetensors"
    shutil.copyfile(WRITTEN / "ported_lgatr.safetensors", network)
    model = Path(shutil.copytree(WRITTEN / "run" / "model" / "lgatr-slim", tmp_path / "model"))
    before = network.read_bytes()
    inner, made = str(model / "network.safetensors"), ["generate", "--events", "4", "--out"]
    for command in (
        ["port", "lgatr", str(network), str(network)],
        ["port", "omnilearn", str(network), str(network)],
        ["port", "export", str(network), str(network)],
        ["export", str(model), "--out", inner, "--overwrite"],
        [*made, inner, "--checkpoint", str(model), "--overwrite"],
        [*made, str(tmp_path / "network.h5"), "--like", str(tmp_path / "network.json")],
    ):
        (tmp_path / "network.json").write_text("{}")
        assert run(command) == 2
        assert "itself; choose another name to write to" in capsys.readouterr().err
    assert network.read_bytes() == before


def test_ctrl_c_says_how_to_go_on(monkeypatch, capsys):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("tyro.extras.subcommand_cli_from_dict", interrupted)
    for command, how in ((["reweight"], "--resume"), (["report"], "the same command")):
        assert run(command) == 130
        assert capsys.readouterr().err == f"ended by Ctrl-C; go on with {how}\n"
