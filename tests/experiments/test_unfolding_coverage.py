"""The study of coverage: its measures on intervals that are known, and its command."""

import json

import numpy as np
import pytest

from experiments import unfolding_coverage as study
from jaxpriors.run.storage import read_json


def _toys(number, bias=0.0, size=1.0):
    """Results that scatter by 10 about the truth and a bias, with errors of a size of that."""
    rng = np.random.default_rng(8)
    toys = []
    for _ in range(number):
        content = 100 + 10 * rng.normal(bias, 1, 10)
        error, part = np.full(10, 10.0 * size), np.full(10, 25.0)
        one = {"content": content, "error": error, "expected": np.full(10, 100.0)}
        one |= {"before": np.full(10, 80.0), "total": error**2, "data": part}
        toys.append({"contents": {name: array.tolist() for name, array in one.items()}})
    return toys


@pytest.mark.parametrize(
    ("given", "truth", "mean"),
    [({}, 0.683, 0.683), ({"bias": 1.5}, 0.303, 0.683), ({"size": 0.5}, 0.383, 0.383)],
)
def test_coverage_is_that_of_the_intervals(given, truth, mean):
    found = study.coverage(_toys(400, **given), "contents")
    for name, expected in (("truth", truth), ("mean", mean)):
        share, error = found["overall"][name]
        assert share == pytest.approx(expected, abs=0.025)
        assert error == pytest.approx(np.sqrt(share * (1 - share) / 4000), rel=0.2)
    assert found["ratio"] == pytest.approx([given.get("size", 1) ** 2] * 10, rel=0.3)
    width = 1 / given.get("size", 1)
    assert np.mean(found["pull"]) == pytest.approx(given.get("bias", 0) * width, abs=0.1)
    assert np.mean(found["width"]) == pytest.approx(width, rel=0.05)
    printed = study.formatted(found, "contents", 400)
    assert printed.count("\n") == 12 and f"{100 * found['overall']['truth'][0]:.1f} ±" in printed


def test_toys_are_poisson_samples_in_arrays_of_one_length():
    toys = [study.toy(number, 800, 2) for number in range(30)]
    assert len({len(one.simulation) for one in toys}) == len({len(one.data) for one in toys}) == 1
    found = np.array([one.data.weight.sum() for one in toys])
    assert found.mean() == pytest.approx(800 * 0.79, rel=0.02)
    assert 0.6 < found.std() / np.sqrt(found.mean()) < 1.5
    x = np.concatenate([one.data.columns["x"][one.data.weight > 0] for one in toys])
    assert x.std() == pytest.approx(np.hypot(0.9, study.SMEARING), rel=0.02)
    simulation = toys[0].simulation
    lost = simulation.weight[~simulation.pass_reco].sum()
    assert lost / simulation.weight.sum() == pytest.approx(0.2, abs=0.04)


def test_toys_resume_and_grow_in_number(tmp_path, capsys):
    options = {"events": 300, "times": 1, "replicas": 2, "starts": 2, "iterations": 1}
    assert study.main(tmp_path / "run", toys=2, **options) == 0
    assert "of all intervals" in capsys.readouterr().out
    first = read_json(tmp_path / "run" / "toys" / "0.json")
    before = (tmp_path / "run" / "toys" / "0.json").stat().st_mtime_ns
    assert study.main(tmp_path / "run", toys=3, resume=True, **options) == 0
    assert (tmp_path / "run" / "toys" / "0.json").stat().st_mtime_ns == before
    printed = capsys.readouterr().out
    assert "contents: 3 toys" in printed and "first weights" in printed
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["toys"] == 3 and len(metrics["shares"]["pull"]) == 10
    parts = [first["contents"][n] for n in ("data", "simulation", "first_weights")]
    assert np.sum(parts, axis=0) == pytest.approx(first["contents"]["total"])
    assert not [p for p in (tmp_path / "run" / "toys").iterdir() if p.is_dir()]
