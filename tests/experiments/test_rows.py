"""Rows that run apart and are merged: the same run as one of all, and what is refused."""

import json

import pytest

from experiments import rows
from jaxpriors.errors import InputError
from jaxpriors.run.storage import read_json
from tests.helpers.runs import quiet_run

KNOWN = ("b", "a", "c")
LOSSES = {("b", 0): 0.6, ("b", 1): 0.5, ("a", 0): 0.3, ("a", 1): 0.4, ("c", 0): 0.1}


def _study(folder, wanted, samples="s", scale=1):
    """Run a study whose rows measure their loss and write it to a file."""

    def one(label, seed, run):
        loss = scale * LOSSES[label, seed]
        run.folder.mkdir(parents=True, exist_ok=True)
        (run.folder / "loss.txt").write_text(str(loss))
        return {"validation_loss": {"t": loss}, "t": {"m": {"x": loss}, "none": None}}

    run = quiet_run(folder)
    settings = {
        label: {seed: {"rate": scale, "later": [{"seed": seed}]} for seed in seeds}
        for label, seeds in wanted.items()
    }
    run.open({"rows": rows.described(settings), "samples": samples})
    (folder / "events.txt").write_text("events")

    def make():
        found = rows.measured(run, settings, one)
        return {"rows": found, **_finish(run, found)}

    return run.results(make)


def _finish(run, found):
    assert (run.folder / "events.txt").exists()
    for row in found:
        file = rows.place(run.folder, row["label"], row["seed"]) / "loss.txt"
        assert file.read_text() == str(row["t"]["m"]["x"])
    return {"t": rows.over_seeds(found, "t")}


def _merge(runs, out):
    given = {"files": ["loss.txt"], "shared": ["events.txt"]}
    return rows.merge(runs, out, _finish, KNOWN, **given)


def test_merged_rows_are_the_run_of_all(tmp_path):
    whole = _study(tmp_path / "all", {"b": (0, 1), "a": (0, 1), "c": (0,)})
    apart = [{"c": (0,), "a": (1,)}, {"b": (0,)}, {"b": (1,)}, {"a": (0,)}]
    runs = [tmp_path / f"run{i}" for i in range(4)]
    for run, wanted in zip(runs, apart, strict=True):
        _study(run, wanted)
    _merge(runs[:2], tmp_path / "some")  # merged runs can be merged again
    merged = _merge([tmp_path / "some", *runs[2:]], tmp_path / "merged")
    for found in (merged, whole):
        found.pop("environment")
    assert merged == whole and list(merged["t"]) == ["b", "a", "c"]
    configs = [read_json(tmp_path / name / "config.json") for name in ("all", "merged")]
    assert configs[0] == configs[1]


def test_one_network_is_chosen_by_its_validation_loss(tmp_path):
    found = _study(tmp_path / "run", {"b": (0, 1), "c": (0,)})["t"]
    assert found["b"]["seed"] == 1 and found["b"]["chosen"] == {"m": {"x": 0.5}, "none": None}
    assert found["b"]["mean"]["m"]["x"] == pytest.approx(0.55)
    assert found["b"]["spread"]["m"]["x"] == pytest.approx(0.1 / 2**0.5)
    assert found["b"]["seeds"] == {"0": 0.6, "1": 0.5} and found["b"]["mean"]["none"] is None
    assert found["c"]["spread"]["m"]["x"] is None


def test_runs_that_do_not_belong_together_are_refused(tmp_path):
    first = tmp_path / "first"
    _study(first, {"b": (0,)})
    for name, message, wanted in (
        ("twice", r"twice: holds b, seed 0, as .*first does", {}),
        ("others", r"others: settings or samples .* differ \(samples: found 's', asked for 'o'\)",
         {"samples": "o"}),
        ("rate", r"rate: the settings of b .* differ \(rate: found 1, asked for 2\)", {"scale": 2}),
    ):  # fmt: skip
        seeds = (0,) if name == "twice" else (1,)
        _study(tmp_path / name, {"b": seeds}, **wanted)
        with pytest.raises(InputError, match=message):
            _merge([first, tmp_path / name], tmp_path / "out")
    begun = tmp_path / "begun"
    quiet_run(begun).open({"rows": {}, "samples": "s"})
    with pytest.raises(InputError, match=r"metrics.json: no such file, expected that of a fin"):
        _merge([first, begun], tmp_path / "out")
    (begun / "metrics.json").write_text(json.dumps({"table2": {}}))
    with pytest.raises(InputError, match="begun: found a run of no rows, expected rows of b, a, c"):
        _merge([first, begun], tmp_path / "out")
    rows.place(first, "b", 0).joinpath("loss.txt").unlink()
    with pytest.raises(InputError, match=r"loss.txt: no such file, expected that of a finished"):
        _merge([first], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_is_asked_for_is_checked():
    rows.check_asked(["a", "b"], [3], KNOWN)
    for models, seeds, message in (
        (["a", "a"], [0], "models: found a a, expected one or several different ones of b a c"),
        (["z"], [0], "models: found z"),
        ([], [0], "models: found none"),
        (["a"], [], "seeds: found none, expected the numbers of one or several"),
        (["a"], [1, 1], "seeds: found 1 1"),
        (["a"], [-1], "seeds: found -1"),
    ):
        with pytest.raises(InputError, match=message):
            rows.check_asked(models, seeds, KNOWN)
    with pytest.raises(InputError, match=r"a: its seeds differ \(epochs: found 2, asked for 3\)"):
        rows.described({"a": {0: {"epochs": 2}, 1: {"epochs": 3}}})
