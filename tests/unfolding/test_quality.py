"""What an unfolding says of itself: steps that learn nothing, the iteration to take, stability."""

import dataclasses
import json
import shutil

import h5py
import jax
import numpy as np
import pytest

from jaxpriors.data.events import Events
from jaxpriors.data.matched import Simulation
from jaxpriors.errors import InputError
from jaxpriors.preprocessing.columns import ColumnsConfig
from jaxpriors.ratio.classifier import RatioClassifier
from jaxpriors.ratio.networks import Ensemble, at_ratio_one
from jaxpriors.training.options import TrainingOptions
from jaxpriors.unfolding.distributions import format_reports
from jaxpriors.unfolding.omnifold import RESULT, OmniFold, later_training, unfold
from jaxpriors.unfolding.quality import (
    Gain,
    chosen_iteration,
    measured,
    move,
    quality_notes,
    settled,
)
from jaxpriors.unfolding.result import Unfolded
from tests.helpers.recorded import FIXTURES

STEP = RatioClassifier("mlp", inputs=ColumnsConfig(("x",)))
STEP = STEP.with_options(TrainingOptions(epochs=6, batch_size=512, micro_batch=512))
SHORT = dataclasses.replace(later_training(STEP), epochs=3)
GOOD = OmniFold(STEP, STEP, iterations=10, later=(SHORT, SHORT))
N, SMEARING, MEAN = 3000, 0.5, 0.3


def _sample(mean, seed):
    rng = np.random.default_rng(seed)
    true = rng.normal(mean, 1.0, N)
    levels = (Events.from_columns({"x": x}) for x in (true, true + rng.normal(0, SMEARING, N)))
    return Simulation.of(*levels)


@pytest.fixture(scope="module")
def shifted(tmp_path_factory):
    """Ten iterations on data whose truth is N(0.3, 1), the simulation's N(0, 1); and the data."""
    data, folder = _sample(MEAN, 2), tmp_path_factory.mktemp("shifted")
    return unfold(_sample(0.0, 1), data.detector, GOOD, folder), data, folder


def _mean(result, iteration=None):
    return np.average(result.observables["x"], weights=result.weights(iteration)[0])


def test_ten_iterations_stay_where_five_arrive(shifted):
    result, data, _ = shifted
    error = np.hypot(1, SMEARING) / np.sqrt(N)  # of the mean of the data
    measured = data.detector.columns["x"].mean()
    assert abs(_mean(result, 10) - _mean(result, 5)) < error
    for iteration in (5, 10):
        assert _mean(result, iteration) == pytest.approx(measured, abs=1.5 * error)
    # the steps before: 1 - 0.2^i of the way, at infinite statistics
    assert _mean(result, 1) == pytest.approx(0.8 * measured, abs=2 * error)
    moves = [r["moves"] for r in result.reports if r["level"] == "particle"]
    assert moves[0][0] > 5 and moves[9][5] < 1 and settled(result.reports) <= 5


def test_the_chosen_iteration_is_near_the_truth_and_in_the_file(shifted):
    result, data, folder = shifted
    assert 2 <= result.chosen <= 10
    assert np.array_equal(result.weights(), result.weights(result.chosen))
    assert _mean(result) == pytest.approx(data.particle.columns["x"].mean(), abs=0.05)
    with h5py.File(folder / RESULT) as file:
        assert file.attrs["chosen"] == result.chosen and file.attrs["reason"]
    assert f"chosen iteration: {result.chosen} (" in format_reports(result.reports)


def test_samples_that_differ_are_learnt(shifted):
    first = shifted[0].reports[:2]
    assert [Gain.of(r).verdict for r in first] == ["learnt", "learnt"]
    assert [r["level"] for r in first] == ["detector", "particle"]
    assert not any("iteration 1" in note for note in quality_notes(first) if "step" in note)


def test_samples_that_are_alike_teach_nothing(tmp_path):
    config = dataclasses.replace(GOOD, iterations=2)
    result = unfold(_sample(0.0, 1), _sample(0.0, 2).detector, config, tmp_path)
    first = result.reports[0]
    assert Gain.of(first).verdict != "learnt"
    notes = "\n".join(quality_notes(result.reports))
    assert "step 1 of iteration 1" in notes
    assert abs(_mean(result) - _mean(result, 0)) < 0.05


def _steps(*gains, error=1e-4):
    return [
        {
            "iteration": i,
            "level": level,
            "gain": g,
            "gain_error": error,
            "evidence": g / error,
            "move": None,
        }
        for i, g in enumerate(gains, 1)
        for level in ("detector", "particle")
    ]


def test_the_iteration_before_one_that_follows_noise_is_chosen():
    assert chosen_iteration(_steps(0.01, 1e-3, -2e-5), 3)[0] == 3  # within its error
    number, reason = chosen_iteration(_steps(0.01, 1e-3, -3e-4, 1e-5), 4)
    assert number == 2 and "step 1 of iteration 3" in reason
    assert chosen_iteration(_steps(-1e-3, -1e-3), 2)[0] == 1
    assert "try more iterations" in chosen_iteration(_steps(0.01, 1e-3), 2)[1]
    # step 1 of an iteration that is not done yet
    assert chosen_iteration(_steps(0.01, -1e-3)[:3], 1)[0] == 1
    assert chosen_iteration([], 0)[0] == 0
    notes = quality_notes(_steps(0.01, -1e-3))
    assert any("step 1 of iteration 2 follows noise" in note for note in notes)


def test_a_file_without_gains_gives_its_last_iteration():
    found = Unfolded.read(FIXTURES / "written" / "unfolding.h5")
    assert not any("gain" in report for report in found.reports)
    assert found.chosen == len(found.push)
    assert np.array_equal(found.weights(), found.weights(len(found.push)))
    assert "unknown" in format_reports(found.reports)


def test_gains_that_are_no_numbers_are_refused(tmp_path):
    found = Unfolded.read(FIXTURES / "written" / "unfolding.h5")
    reports = [{**r, "gain": 1e-3, "gain_error": "small", "evidence": 1.0} for r in found.reports]
    dataclasses.replace(found, reports=found.reports).write(tmp_path / "good.h5")
    Unfolded.read(tmp_path / "good.h5")
    shutil.copy(tmp_path / "good.h5", tmp_path / "bad.h5")
    with h5py.File(tmp_path / "bad.h5", "a") as file:
        file.attrs["reports"] = json.dumps(reports)
    with pytest.raises(InputError, match="'reports': found gain_error 'small' of a step"):
        Unfolded.read(tmp_path / "bad.h5")


def test_the_gain_is_the_fall_of_the_loss():
    rng = np.random.default_rng(0)
    label, weight = rng.random(4000), rng.random(4000)
    truth, zero = np.log(label / (1 - label)), np.zeros(4000)
    best = measured(truth, zero, weight, label)
    entropy = -label * np.log(label) - (1 - label) * np.log(1 - label)
    assert best.gain == pytest.approx(np.mean(weight * (np.log(2) - entropy)))
    back = measured(zero, truth, weight, label)
    assert back[:2] == pytest.approx((-best.gain, best.gain_error))
    parts = [measured(*(x[i::40] for x in (truth, zero, weight, label))).gain for i in range(40)]
    assert best.gain_error == pytest.approx(np.std(parts) / 40**0.5, rel=0.4)


def test_moves_are_in_statistical_errors():
    at, error = np.array([0.5, 1.5]), np.full(2, 10.0)
    assert move(np.array([100.0, 100.0]), np.array([120.0, 100.0]), error, at) == pytest.approx(
        20 / 10 / 2**0.5
    )
    assert move(np.ones(2), np.zeros(2), np.zeros(2), at) == 0
    # a shift that no bin shows: 1/4 of an error in each of 100 bins, 2.5 of the mean
    at = np.linspace(-1, 1, 100)
    shift = 0.25 * 10 * np.sign(at)
    moved = move(np.full(100, 100.0), 100 + shift, np.full(100, 10.0), at)
    assert moved == pytest.approx(0.25 * 100**0.5 * 3**0.5 / 2, rel=0.05)


def test_iterations_are_settled_where_no_later_one_is_an_error_away():
    push = [{"moves": [5.0]}, {"moves": [6.0, 0.9]}, {"moves": [7.0, 1.5, 0.7]}]
    assert settled(push[:1]) is None
    assert settled(push[:2]) == 1
    assert settled(push) == 2
    assert settled([]) is None and settled([{"level": "detector"}]) is None


@pytest.mark.parametrize("model", ["mlp", "lgatr", "lgatr-slim", "pet"])
def test_networks_can_start_with_a_ratio_of_one(model):
    """Their output layer, and nothing else, is zero then; of one network and of several."""
    one = RatioClassifier(model)
    shapes = jax.eval_shape(lambda: one.initial(jax.random.key(0))[0])
    start = jax.tree.map(lambda x: np.ones(x.shape, x.dtype), shapes)
    for classifier in (start, Ensemble(start)):
        changed = {
            jax.tree_util.keystr(path, simple=True, separator=".")
            for path, x in jax.tree_util.tree_leaves_with_path(at_ratio_one(classifier))
            if not np.all(x)
        }
        output = {"mlp": "layers.3.", "pet": "cls.out."}.get(model, "linear_out.")
        assert changed and all(f"network.{output}" in name for name in changed)


def test_a_warm_step_1_with_nothing_to_learn_changes_nothing(tmp_path):
    """At a rate of nearly nothing, the pull weights of later iterations are the push weights."""
    frozen = dataclasses.replace(
        SHORT, optimizer=dataclasses.replace(SHORT.optimizer, learning_rate=1e-12), epochs=1
    )
    config = dataclasses.replace(GOOD, iterations=2, later=(frozen, frozen))
    found = unfold(_sample(0.0, 1), _sample(MEAN, 2).detector, config, tmp_path)
    assert found.pull[1] == pytest.approx(found.push[0], rel=1e-4)
    assert abs(found.reports[2]["gain"]) < 1e-6


def test_published_sizes_go_on_as_published():
    small, paper = (RatioClassifier("lgatr-slim", size) for size in ("small", "paper"))
    assert OmniFold(small, small).starts_from_one and not OmniFold(paper, paper).starts_from_one
    assert OmniFold(paper, paper, from_one=True).starts_from_one
    assert later_training(small).keep == "last" and later_training(paper).keep == "best"
