"""Scans of settings: which points there are, one program for each shape, killed, merged."""

import dataclasses

import pytest

from experiments import scans
from jaxpriors.cli.main import run as command
from jaxpriors.errors import InputError
from jaxpriors.preprocessing.columns import ColumnsConfig
from jaxpriors.ratio import published
from jaxpriors.ratio.classifier import RatioClassifier
from jaxpriors.ratio.presets import MODELS
from jaxpriors.run.storage import read_json
from jaxpriors.training import loop

TINY = dataclasses.replace(MODELS["mlp"].training["small"], epochs=2, batch_size=64)
SMALL = RatioClassifier("mlp", inputs=ColumnsConfig(("mass", "width")), training=TINY)
GIVEN = {"study": "omnifold", "row": "mlp", "events": 200, "rate": (1e-3, 1e-2), "decay": (0.1,)}
GIVEN |= {"blocks": (2,), "seeds": (0, 1)}
POINTS = ["published", "blocks=2", "rate=0.01", "decay=0.1"]


@pytest.fixture
def small(monkeypatch):
    """An MLP in place of the published one."""
    monkeypatch.setattr(published, "classifier", lambda *_, **__: SMALL)


def scanned(out, **more):
    assert scans.run("simulation", "data", out=out, **{**GIVEN, **more}) == 0
    return timeless(read_json(out / "metrics.json"))


def timeless(metrics):
    """What does not depend on the clock."""
    for row in metrics["rows"]:
        del row["scan"]["seconds"]
    for row in metrics["scan"].values():
        for kind in ("chosen", "mean", "spread"):
            del row[kind]["seconds"]
    return {name: metrics[name] for name in ("rows", "scan")}


def test_a_scan_is_killed_resumed_and_merged_to_the_same_table(
    small, tmp_path, monkeypatch, capsys
):
    compiled = loop._compiled.cache_info().misses
    whole = scanned(tmp_path / "whole")
    assert loop._compiled.cache_info().misses == compiled + 2  # of 2 and of 3 blocks
    assert list(whole["scan"]) == POINTS
    assert [row["seed"] for row in whole["rows"]] == 4 * [0, 1]
    losses = [row["scan"]["validation_loss"] for row in whole["rows"]]
    assert len(set(losses)) == len(losses)  # every setting makes a difference
    one = whole["scan"]["blocks=2"]["mean"]
    assert one["parameters"] < whole["scan"]["published"]["mean"]["parameters"]
    told = capsys.readouterr().out
    table = told[told.index("Scan of settings, 2 trainings of each point") :]
    assert table.count("(best)") == 1 and all(label in table for label in POINTS)

    train, calls = scans.trained, []

    def killed(one, parts, inner):
        calls.append(inner)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return train(one, parts, inner)

    monkeypatch.setattr(scans, "trained", killed)
    with pytest.raises(KeyboardInterrupt):
        scanned(tmp_path / "killed")
    monkeypatch.setattr(scans, "trained", train)
    assert scanned(tmp_path / "killed", resume=True) == whole

    parts = [tmp_path / "one", tmp_path / "two"]
    for number, out in enumerate(parts, 1):
        scanned(out, part=f"{number}/2")
    assert scans.merge((parts[1], parts[0]), out=tmp_path / "merged") == 0
    assert timeless(read_json(tmp_path / "merged" / "metrics.json")) == whole
    assert command(["report", str(tmp_path / "merged")]) == 0
    with pytest.raises(InputError, match="found no scan, expected a run of"):
        scans.merge((tmp_path / "whole" / "rows" / "published" / "seed-0",), out=tmp_path / "x")


def test_points_around_the_published_one_and_grids():
    base = published.classifier("omnifold", "lgatr-1M")
    at = scans.values(base, 1 / 0.9)
    assert (at["blocks"], at["channels"], at["heads"], at["warmup"]) == (12, 16, 8, 3)
    asked = {"blocks": (6, 12), "rate": (1e-5, 3e-5)}
    assert list(scans.scanned(base, asked, False, 1)) == ["published", "blocks=6", "rate=1e-05"]
    grid = scans.scanned(base, asked, True, 1)
    assert list(grid) == ["blocks=6,rate=1e-05", "blocks=6", "rate=1e-05", "published"]
    default = scans.scanned(base, scans.steps(base, 1 / 0.9), False, 1 / 0.9)
    assert {"blocks=24", "channels=8", "batch=1024", "decay=0.2", "warmup=0"} <= set(default)
    one = scans.changed(base, {"channels": 32, "warmup": 3, "final_rate": 0.5}, 7, 1 / 0.9)
    assert (one.network.hidden_mv_channels, one.network.hidden_s_channels) == (32, 64)
    assert one.training.optimizer.warmup == base.training.optimizer.warmup
    assert one.training.optimizer.final_rate == 0.5 and one.training.seed == 7
    with pytest.raises(InputError, match=r"heads: found \(3,\) for mlp, expected values of any of"):
        scans.scanned(SMALL, {"heads": (3,)}, False, 1)
    for wrong in ("0/2", "3/2", "1/9", "x"):
        with pytest.raises(InputError, match="part: found"):
            scans.shared(POINTS, wrong)
    shares = [scans.shared(POINTS, f"{i}/3") for i in (1, 2, 3)]
    assert [label for some in shares for label in some] == POINTS


def test_samples_that_come_split_stay_split(small, tmp_path, monkeypatch):
    from jaxpriors.data.sample_files import write_events
    from tests.helpers.jets import random_jets

    sizes = {"train": 40, "val": 20, "test": 30}
    for part, n in sizes.items():
        write_events(tmp_path / f"{part}.h5", random_jets(n, n).with_label([0, 1] * (n // 2)))
    found = scans.read("dis", str(tmp_path), None, None, None, 12)
    assert {part: [len(x) for x in pair] for part, pair in found.items()} == {
        "train": [12, 12], "validation": [10, 10], "test": [12, 12]
    }  # fmt: skip
    assert max(x.multiplicity.max() for pair in found.values() for x in pair) == 30
    with pytest.raises(InputError, match="found the labels"):
        scans.read("omnifold", "simulation", None, None, None, 20)
