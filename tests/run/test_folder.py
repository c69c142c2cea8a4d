import io
import json
import math

import pytest
from rich.console import Console

from jaxpriors.errors import InputError
from jaxpriors.run.folder import Run, differences, logged, read_log, shown
from tests.helpers.runs import quiet_run


def _silent(record):
    pass


def test_results_are_made_once_and_read_from_then_on(tmp_path):
    run, calls = quiet_run(tmp_path), []

    def make():
        calls.append(None)
        return {"auc": 0.5}

    assert not run.finished
    first = run.results(make)
    assert run.finished and run.results(make) == first and len(calls) == 1
    assert first["auc"] == 0.5 and first["environment"]["versions"]["jaxpriors"]
    assert json.loads((tmp_path / "metrics.json").read_text()) == first


def test_results_that_are_not_finite_or_not_made_leave_nothing(tmp_path):
    run = quiet_run(tmp_path)
    with pytest.raises(ValueError, match="JSON compliant"):
        run.results(lambda: {"auc": math.nan})
    with pytest.raises(ZeroDivisionError):
        run.results(lambda: {"auc": 1 / 0})
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_gone_on_with_only_where_that_is_asked_and_the_same(tmp_path):
    folder = tmp_path / "run"
    Run(folder, False, _silent).open({"fit": {"epochs": 3}})
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    with pytest.raises(InputError, match="exists already; give another folder, or --resume"):
        Run(folder, False, _silent).open({"fit": {"epochs": 3}})
    with pytest.raises(InputError, match=r"fit.epochs: found 3, asked for 4"):
        quiet_run(folder).open({"fit": {"epochs": 4}})
    quiet_run(folder).open({"fit": {"epochs": 3}})
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before
    assert quiet_run(folder).begun("fit") == {"epochs": 3}
    assert quiet_run(folder).begun("other") == {}
    assert quiet_run(tmp_path / "none").begun("fit") is None


def test_a_folder_of_something_else_is_refused_and_left_as_it_is(tmp_path):
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(InputError, match="exists and is not the folder of a run"):
        quiet_run(tmp_path).open({})
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


def test_what_a_killed_start_leaves_does_not_count(tmp_path):
    (tmp_path / ".config.json.1.partial").write_text("{")
    Run(tmp_path, False, _silent).open({"seed": 0})
    assert json.loads((tmp_path / "config.json").read_text()) == {"seed": 0}


def test_differences_name_their_place_and_what_is_on_one_side_alone():
    found = differences({"a": [1, {"b": 2}], "c": 3}, {"a": [1, {"b": 4}]})
    assert found == ["a.1.b: found 2, asked for 4", "c: found 3, asked for None"]


def test_the_log_keeps_epochs_after_the_earlier_ones_and_passes_everything_on(tmp_path):
    passed = []
    log = logged(tmp_path / "log.jsonl", passed.append, [{"model": "pet"}], model="mlp")
    log({"step": 1, "steps": 2})
    assert not (tmp_path / "log.jsonl").exists()
    log({"epoch": 1, "validation_loss": 0.5})
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert lines == [{"model": "pet"}, {"model": "mlp", "epoch": 1, "validation_loss": 0.5}]
    assert passed == [{"model": "mlp", "step": 1, "steps": 2}, lines[1]]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("{", "Expecting property name"),
        ("[1]", r"\[1\]"),
        ("[" * 5000 + "]" * 5000, "JSON that is nested"),
    ],
)
def test_a_damaged_log_names_the_line(tmp_path, text, found):
    path = tmp_path / "log.jsonl"
    assert read_log(path) == []
    path.write_text(f'{{"epoch": 1}}\n{text}\n')
    with pytest.raises(InputError, match=rf"line 2: found {found}.*; delete that line"):
        read_log(path)


def test_progress_without_a_terminal_is_a_line_for_a_stage_and_for_an_epoch():
    out = io.StringIO()
    with shown(Console(file=out, soft_wrap=True)) as show:
        show({"stage": "training mlp"})
        show({"epoch": 1, "step": 1, "steps": 9})
        losses = {"train_loss": 0.7, "validation_loss": 0.6}
        show({"epoch": 1, **losses, "best": True, "seconds": {"train": 2.0, "validation": 1.0}})
    assert out.getvalue().splitlines() == [
        "training mlp",
        "  epoch   1: training loss 0.70000, validation loss 0.60000 (best), 3 s in all",
    ]
