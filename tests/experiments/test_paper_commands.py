"""Every ``paper`` command runs from its first line to its last table, with smaller networks.

A dry run takes 500 events and one step of each training. Here the networks are shrunk too, and jets
padded to one length, so that it takes seconds; all else of the settings is compared with what is
published. The same with the networks of the paper: the commands' own --dry-run.
"""

import dataclasses
import importlib
import inspect
import json

import numpy as np
import pytest

from experiments import anomaly, costs, dis, dry_run, pretraining, scans, unfolding
from jaxpriors.data.formats.omnilearn import write_omnilearn_events
from jaxpriors.data.sample_files import write_events
from jaxpriors.generation import pretraining as generation
from jaxpriors.ratio import published, settings
from jaxpriors.run.storage import read_json
from tests.helpers.dijets import random_dijets
from tests.helpers.generators import TINY, labelled_jets, write_generator
from tests.helpers.jets import random_jets

SUBCOMMANDS = ("paper", "merge", "run")
SIZES = {
    "num_blocks": 1,
    "num_layers": 1,
    "num_heads": 2,
    "hidden_mv_channels": 2,
    "hidden_v_channels": 2,
    "hidden_s_channels": 4,
    "hidden_channels": 8,
    "neighbours": 3,
    "num_local": 1,
    "num_class_layers": 1,
    "num_jet_layers": 1,
}
network, shortened = settings.network, dry_run.shortened


def smaller(config):
    names = {field.name for field in dataclasses.fields(config)}
    return dataclasses.replace(config, **{n: x for n, x in SIZES.items() if n in names})


@pytest.fixture
def shrunk(monkeypatch):
    """Smaller networks and one padded length for the commands; the settings stay as they are."""

    def one_length(*given, **more):
        return dataclasses.replace(shortened(*given, **more), buckets=1)

    for module in (dry_run, pretraining):
        monkeypatch.setattr(module, "shortened", one_length)
    monkeypatch.setattr(settings, "network", lambda *row: smaller(network(*row)))
    monkeypatch.setattr(generation, "preset", lambda *_: TINY)


def classifiers(tree):
    """Every classifier's settings in a run's configuration."""
    if isinstance(tree, dict):
        if {"model", "network", "inputs", "training"} <= tree.keys():
            yield tree
            return
        tree = list(tree.values())
    for branch in tree if isinstance(tree, list) else ():
        yield from classifiers(branch)


def check(out, study, label, **more):
    """Of a run, the settings are the published ones but for the sizes that are shrunk."""
    found = list(classifiers(read_json(out / "config.json")))
    assert found and read_json(out / "metrics.json")
    with pytest.MonkeyPatch.context() as whole:
        whole.setattr(settings, "network", network)
        one = published.classifier(study, label, **more)
    wanted = json.loads(json.dumps(dataclasses.asdict(one), default=str))
    for some in found:
        assert set(some["network"]) == set(wanted["network"])
        assert some["network"] != wanted["network"] or more.get("pretrained")
        assert some["training"]["optimizer"] == wanted["training"]["optimizer"]
        assert some["training"]["epochs"] == 1 and some["training"]["batch_size"] <= 1008
        for name in ("model", "size", "inputs", "each_best", "validation"):
            assert some[name] == wanted[name], name


def test_tables_2_and_3(shrunk, tmp_path, capsys):
    out = tmp_path / "run"
    given = {"bins": "published", "evaluate": "training", "seeds": (0,)}
    models = ("lgatr-slim",)
    assert unfolding.paper("simulation", "data", out, models=models, dry_run=True, **given) == 0
    check(out, "omnifold", "lgatr-slim")
    told = capsys.readouterr().out
    assert "Detector level" in told and "Particle level" in told
    assert (out / "figures" / "particle.png").exists()


def test_table_4(shrunk, tmp_path, capsys):
    for part, number in (("train", 600), ("val", 300), ("test", 300)):
        jets = random_jets(number, number).with_label(np.arange(number) % 2)
        write_omnilearn_events(tmp_path / "H1" / f"{part}.h5", jets)
    out, weights = tmp_path / "run", write_generator(tmp_path / "pet")
    given = {"models": ("pet-finetuned",), "seeds": (1,), "pretrained": weights}
    assert dis.paper(out, parts=tmp_path / "H1", dry_run=True, **given) == 0
    check(out, "dis", "pet-finetuned", pretrained=weights)
    assert "rejection at 50 %" in capsys.readouterr().out
    assert (out / "figures" / "observables.png").exists()


def test_figure_4(shrunk, tmp_path, capsys):
    both = [random_dijets(600, seed).with_label(seed) for seed in (0, 1)]
    files = [tmp_path / name for name in ("data.h5", "template.h5")]
    write_events(files[0], type(both[0]).concatenate(both))
    write_events(files[1], random_dijets(600, 2))
    out = tmp_path / "run"
    given = {"models": ("lgatr-slim",), "injected": (500,), "seeds": (0, 1), "region": (0, 1e5)}
    assert anomaly.paper(*files, out, constituents=8, dry_run=True, **given) == 0
    check(out, "anomaly", "lgatr-slim", networks=2, constituents=8)
    assert "injected" in capsys.readouterr().out
    assert (out / "figures" / "improvement.png").exists()


def test_pretraining(shrunk, tmp_path, capsys):
    write_events(tmp_path / "jets.h5", labelled_jets(600, 0))
    assert pretraining.paper(tmp_path / "jets.h5", tmp_path / "run", dry_run=True) == 0
    config = read_json(tmp_path / "run" / "config.json")
    rule = dataclasses.asdict(generation.TRAINING["paper"].optimizer)
    assert config["training"]["optimizer"] == json.loads(json.dumps(rule))
    assert config["training"]["epochs"] == 1 and config["size"] == "paper"
    assert "on test events" in capsys.readouterr().out


def test_a_scan(shrunk, tmp_path, capsys):
    given = {"study": "omnifold", "row": "mlp", "rate": (1e-5,), "seeds": (0,), "dry_run": True}
    assert scans.run("simulation", "data", out=tmp_path / "run", **given) == 0
    config = read_json(tmp_path / "run" / "config.json")
    assert list(config["rows"]) == list(config["scan"]["points"]) == ["published", "rate=1e-05"]
    published, slower = (row["settings"]["training"] for row in config["rows"].values())
    assert slower["optimizer"] == published["optimizer"] | {"learning_rate": 1e-5}
    assert "Scan of settings" in capsys.readouterr().out


def commands(text):
    """(module, subcommand or None, options) of every command of experiments and benchmarks."""
    for line in text.replace("\\\n", " ").splitlines():
        if line.removeprefix("srun ").startswith("python -m "):
            module, *words = line.removeprefix("srun ").split()[2:]
            named = words[0] if words and words[0] in SUBCOMMANDS else None
            yield module, named, [word[2:].replace("-", "_") for word in words if "--" in word[:2]]


def test_the_commands_of_the_page_exist():
    """experiments/reproduce.md: every option is one of its command's."""
    found = list(commands((costs.RESULTS.parents[2] / "experiments/reproduce.md").read_text()))
    assert len(found) > 12
    for module, named, options in found:
        script = importlib.import_module(module)
        function = script.COMMANDS[named] if named else getattr(script, "main", None)
        function = function or script.resources
        known = set(inspect.signature(function).parameters)
        assert set(options) <= known, (module, named, set(options) - known)


def test_the_costs_are_those_of_the_measured_steps(capsys):
    """docs/performance.md has the same rates; more work costs more."""
    text = (costs.RESULTS.parents[2] / "docs" / "performance.md").read_text()
    for label, rate in (("L-GATr-slim", costs.MEASURED["lgatr-slim"]), ("PET", 26_900)):
        assert f"| {label} | XLA | 4 | {rate:,.0f} |".replace(",", " ") in text
    assert costs.main() == 0
    told = capsys.readouterr().out.splitlines()
    page = (costs.RESULTS.parents[2] / "experiments" / "reproduce.md").read_text()
    assert all(line in page.splitlines() for line in told)
    rows = [row for study in published.STUDIES for row in published.rows(study) if row != "mlp"]
    assert len(told) == 4 + len(rows)
    found = {one.row: one for one in costs.costs(("omnifold",))}
    assert found["lgatr-2M"].hours > 1.9 * found["lgatr-1M"].hours > 2 * found["lgatr-slim"].hours
