"""OmniFold on smeared Gaussians (arXiv:1911.09107, Section 4), whose truths are known."""

import dataclasses
import itertools
import statistics

import numpy as np
import pytest

from jaxpriors.data.events import Events
from jaxpriors.data.matched import Simulation
from jaxpriors.errors import InputError
from jaxpriors.evaluation.metrics import chi2_test
from jaxpriors.models.mlp import MLPConfig
from jaxpriors.preprocessing.columns import ColumnsConfig
from jaxpriors.ratio import published, settings
from jaxpriors.ratio.classifier import RatioClassifier
from jaxpriors.ratio.model import RatioModel
from jaxpriors.ratio.presets import MODELS
from jaxpriors.training import loop
from jaxpriors.training.optimizers import OptimizerConfig, learning_rate, schedule
from jaxpriors.unfolding import omnifold
from jaxpriors.unfolding.distributions import distribution
from jaxpriors.unfolding.omnifold import RESULT, OmniFold, describe, later_training, unfold
from jaxpriors.unfolding.result import Unfolded

EDGES = np.linspace(-2.5, 2.5, 11)
SMEARING = 0.5
TRAINED = dataclasses.replace(MODELS["mlp"].training["small"], epochs=8, batch_size=512)
STEP = RatioClassifier("mlp", inputs=ColumnsConfig(("x",)), training=TRAINED)
LATER = dataclasses.replace(later_training(STEP), epochs=4)
GOOD = OmniFold(STEP, STEP, later=(LATER, LATER))
TINY = dataclasses.replace(STEP, training=dataclasses.replace(TRAINED, epochs=2, batch_size=256))


def _events(values, weight=None):
    return Events.from_columns({"x": values}, weight)


def _gaussians(n, mean, width, seed):
    """True and measured values."""
    rng = np.random.default_rng(seed)
    true = rng.normal(mean, width, n)
    return true, true + rng.normal(0, SMEARING, n)


def _simple(n=4000, **changed):
    """Simulation and data of another shape, small."""
    true, measured = _gaussians(n, 0.0, 1.0, 0)
    simulation = Simulation.of(_events(true), _events(measured))
    config = OmniFold(TINY, TINY, **{"iterations": 2, **changed})
    return simulation, _events(_gaussians(n // 2, 0.3, 0.9, 1)[1]), config


@pytest.fixture(scope="module")
def gaussian(tmp_path_factory):
    """The unfolding of 1911.09107's Gaussians: simulation N(0, 1), truth N(0.2, 0.8)."""
    true, measured = _gaussians(20_000, 0.0, 1.0, 10)
    truth, data = _gaussians(20_000, 0.2, 0.8, 11)
    simulation = Simulation.of(_events(true), _events(measured))
    folder = tmp_path_factory.mktemp("gaussian")
    result = unfold(simulation, _events(data), GOOD, folder)
    return true, truth, result, folder


def test_gaussians_converge_to_the_truth(gaussian):
    true, truth, result, _ = gaussian
    distances = []
    for iteration in range(6):
        weights = result.weights(iteration)[0]
        distances.append(chi2_test(truth, true, EDGES, None, weights).chi2)
    assert distances[0] > 4 * distances[1] > 12 * distances[2] > 24 * distances[5]
    test = chi2_test(truth, true, EDGES, None, result.weights()[0])
    assert test.p_value > 0.01
    mean = np.average(true, weights=result.weights()[0])
    assert mean == pytest.approx(truth.mean(), abs=4 * 0.8 / np.sqrt(10_000))


def test_every_step_is_reported(gaussian):
    result = gaussian[2]
    assert [(r["iteration"], r["weights"]) for r in result.reports] == [
        (i, w) for i in range(1, 6) for w in ("pull", "push")
    ]
    first, last = result.reports[1], result.reports[-1]
    assert last["change"] < 0.2 * first["change"]
    for report in result.reports:
        assert report["finite"] == 1 and report["clipped"] == 0
        assert 0 < report["minimum"] < 1 < report["maximum"]
        assert 0.5 * report["effective_size_before"] < report["effective_size"] < 20_000
        assert report["normalisation"] == pytest.approx(1, abs=0.05)


def test_the_file_holds_the_result(gaussian):
    true, _, result, folder = gaussian
    found = Unfolded.read(folder / RESULT)
    assert found.finished and np.array_equal(found.push, result.push)
    assert np.array_equal(found.observables["x"], true.astype(np.float64))
    assert set(found.metadata) == {"configuration", "samples", "versions"}
    configuration = found.metadata["configuration"]
    assert configuration["iterations"] == 5
    used = [configuration[level]["training"]["batch_size"] for level in ("detector", "particle")]
    later = [training["batch_size"] for training in configuration["later"]]
    assert used == later == [512, 256]
    assert [training["epochs"] for training in configuration["later"]] == [LATER.epochs] * 2
    # of the events with a detector level, which all have here
    assert np.mean(found.pull, axis=2) == pytest.approx(1, abs=1e-9)
    assert np.mean(found.push, axis=2) == pytest.approx(1, abs=1e-9)
    assert found.scale == pytest.approx([1.0])
    assert not (folder / "checkpoints").exists()


def _hard(n, mean, width, seed, fakes=0.05, at=1.5):
    """Losses that rise with the value, events without truth, weights of both signs."""
    rng = np.random.default_rng([seed, 1])
    true, measured = _gaussians(n, mean, width, seed)
    gen = rng.random(n) > fakes
    reco = rng.random(n) < 0.9 - 0.2 / (1 + np.exp(-3 * true))
    measured = np.where(gen, measured, rng.normal(at, 0.3, n))
    weight = np.where(rng.random(n) < 0.1, -1.0, 1.0)
    true, measured = np.where(gen, true, 77.0), np.where(reco, measured, 88.0)
    levels = _events(true, weight), _events(measured, weight)
    return true, Simulation.of(*levels, gen, reco)


def test_recovers_the_truth_through_losses_fakes_and_negative_weights(tmp_path):
    true, simulation = _hard(30_000, 0.0, 1.0, 2)
    truth, data = _hard(30_000, 0.2, 0.8, 3)
    result = unfold(simulation, data.detector, GOOD, tmp_path)
    gen = simulation.pass_gen
    at_truth = truth[data.pass_gen], true[gen], EDGES, data.particle.weight
    before, after = (chi2_test(*at_truth, result.weights(i)[0][gen]) for i in (0, None))
    assert before.chi2 > 500 and after.p_value > 0.01
    # in the data's normalisation: the losses of both are known
    found, expected = result.weights()[0].sum(), data.particle.weight.sum()
    assert found == pytest.approx(expected, rel=0.02)
    reco = simulation.pass_reco
    own = simulation.weight[reco]
    for factor in (*result.pull[:, 0], *result.push[:, 0]):
        assert np.average(factor[reco], weights=own) == pytest.approx(1, abs=1e-9)
    fakes = reco & ~gen
    mean = np.average(result.pull[-1, 0, fakes], weights=simulation.weight[fakes])
    assert result.push[-1, 0, fakes] == pytest.approx(np.full(fakes.sum(), mean))


def test_fakes_are_as_many_as_the_data_have(tmp_path):
    """They are far from all others at detector level, so that one iteration finds them."""
    simulation = _hard(8000, 0.0, 1.0, 2, fakes=0.05, at=6.0)[1]
    data = _hard(8000, 0.0, 1.0, 3, fakes=0.10, at=6.0)[1]
    one = dataclasses.replace(GOOD, iterations=1)
    push = unfold(simulation, data.detector, one, tmp_path).push[0, 0]
    shares = []
    for sample, factor in ((data, 1.0), (simulation, 1.0), (simulation, push)):
        fakes = sample.pass_reco & ~sample.pass_gen
        sums = [(sample.weight * factor)[m].sum() for m in (fakes, sample.both)]
        shares.append(sums[0] / sums[1])
    assert shares[2] == pytest.approx(shares[0], rel=0.15) and shares[0] > 1.6 * shares[1]


def test_what_stands_for_an_absent_level_does_not_matter(tmp_path):
    true, simulation = _hard(3000, 0.0, 1.0, 2)
    data = _hard(3000, 0.2, 0.8, 3)[1].detector
    gen, reco, weight = simulation.pass_gen, simulation.pass_reco, simulation.weight
    other = np.zeros(len(simulation))
    other[reco] = simulation.detector.columns["x"]
    again = Simulation.of(
        _events(np.where(gen, true, -5.0), weight), _events(other, weight), gen, reco
    )
    results = [
        unfold(sample, data, OmniFold(TINY, TINY, iterations=1), tmp_path / str(i))
        for i, sample in enumerate((simulation, again))
    ]
    assert np.array_equal(results[0].push, results[1].push)


def test_a_run_that_stopped_anywhere_goes_on_to_the_same_result(tmp_path):
    samples = _simple()

    steps = itertools.count(1)

    def stopped_at(record):
        if "step" in record and next(steps) % 37 == 0:
            raise KeyboardInterrupt

    whole = unfold(*samples, tmp_path / "whole")
    for _ in range(100):
        try:
            found = unfold(*samples, tmp_path / "broken", stopped_at)
            break
        except KeyboardInterrupt:
            state = tmp_path / "broken" / RESULT
            assert not Unfolded.read(state).finished  # readable at any moment
    assert np.array_equal(found.push, whole.push) and np.array_equal(found.pull, whole.pull)
    files = [(tmp_path / name / RESULT).read_bytes() for name in ("whole", "broken")]
    assert files[0] == files[1]
    logs = [(tmp_path / name / "log.jsonl").read_text() for name in ("whole", "broken")]
    assert logs[0].count("\n") == logs[1].count("\n") == 8
    with pytest.raises(InputError, match=r"configuration.seed: found 0, asked for 1\); expected"):
        unfold(*samples[:2], dataclasses.replace(samples[2], seed=1), tmp_path / "whole")
    with pytest.raises(InputError, match=r"samples.data: found '\w+', asked for"):
        unfold(samples[0], samples[1][:900], samples[2], tmp_path / "whole")


def test_replicas_are_unfoldings_of_other_samples(tmp_path):
    simulation, data, config = _simple(replicas=3)
    found = unfold(simulation, data, config, tmp_path / "all")
    assert found.push.shape == (2, 4, len(simulation))
    counts = found.replicas
    assert (counts[0] == 1).all() and counts[1:].mean() == pytest.approx(1, abs=0.05)
    # the first is what there is without replicas, where the same epochs are the best ones
    alone = unfold(simulation, data, dataclasses.replace(config, replicas=0), tmp_path / "one")
    assert np.abs(np.log(found.push[:, 0] / alone.push[:, 0])).max() < 0.02
    result = distribution(found, found.observables["x"], np.linspace(-2, 2, 5))
    assert result.replicas.shape == (3, 4)
    assert result.error == pytest.approx(result.replicas.std(0, ddof=1)) and result.error.min() > 0
    assert found.scale[1:].std() > 0


def test_errors_of_replicas_cover_the_truth(tmp_path):
    """The expected content of each bin, and errors about as large as the data's statistics."""
    n, edges = 3000, np.array([-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0])
    true, measured = _gaussians(4 * n, 0.0, 1.0, 20)
    simulation = Simulation.of(_events(true), _events(measured))
    data = _events(_gaussians(n, 0.2, 0.8, 40)[1])
    config = dataclasses.replace(GOOD, replicas=10, iterations=3)
    found = distribution(unfold(simulation, data, config, tmp_path), true, edges)
    expected = n * np.diff([statistics.NormalDist(0.2, 0.8).cdf(x) for x in edges])
    pulls = (found.content - expected) / found.error
    assert np.sum(pulls**2) < 3 * len(pulls)
    relative = found.error / np.sqrt(expected)
    assert relative.min() > 0.4 and relative.max() < 2.5


def test_members_give_their_median(tmp_path):
    simulation, data, config = _simple(members=3, iterations=1)
    found = unfold(simulation, data, config, tmp_path / "three")
    model = RatioModel.load(tmp_path / "three/model/iteration-1-detector")
    each = model.log_ratios(simulation.detector)
    assert each.shape == (3, len(simulation)) and each.std(0).min() > 0
    ratio = np.exp(np.median(each, axis=0))
    assert found.pull[0, 0] == pytest.approx(ratio / ratio.mean(), rel=1e-6)


def test_each_replica_has_members_of_its_own(tmp_path, monkeypatch):
    """The first three networks weigh all data alike, the other three as the replica has them."""
    simulation, data, config = _simple(members=3, replicas=1, iterations=1)
    given = []

    def looked_at(classifier, *parts, **_):
        given.append(parts[0])
        raise KeyboardInterrupt

    monkeypatch.setattr(RatioClassifier, "train", looked_at)
    with pytest.raises(KeyboardInterrupt):
        unfold(simulation, data, config, tmp_path)
    weight = given[0].weight[given[0].events.label == 1]
    assert weight.shape[1] == 6
    for network in range(6):
        np.testing.assert_array_equal(weight[:, network], weight[:, network // 3 * 3])
    assert np.ptp(weight[:, 0]) == 0 and (weight[:, 3] == 0).mean() == pytest.approx(0.37, abs=0.05)


def test_later_iterations_go_on_at_a_constant_rate():
    config = OmniFold(STEP, STEP)
    first, later = (config.classifier("detector", i).training for i in (1, 2))
    assert first.optimizer == TRAINED.optimizer
    half = dataclasses.replace(later, batch_size=later.batch_size // 2)
    assert half == config.classifier("particle", 5).training
    rates = learning_rate(np.array([0, 49]), **schedule(later.optimizer, 50))
    assert float(rates[0]) == float(rates[1]) == pytest.approx(later.optimizer.learning_rate)
    assert later.optimizer.learning_rate < first.optimizer.learning_rate
    anew = OmniFold(STEP, STEP, warm_start=False).classifier("detector", 2).training
    assert anew == first and anew.patience is not None
    for row in ("pet", "lgatr-1M", "lgatr-2M", "lgatr-slim"):
        training = later_training(published.classifier("omnifold", row))
        assert training == published.later("omnifold", row)
        rates = learning_rate(np.array([0, 49]), **schedule(training.optimizer, 50))
        np.testing.assert_allclose(rates, settings.published("omnifold", row)["later_rate"])


def test_pretrained_weights_are_known_by_their_content():
    found = describe(OmniFold(RatioClassifier("pet-finetuned"), STEP))
    assert (
        set(found["detector"]["pretrained"]) == {"digest"} and not found["particle"]["pretrained"]
    )


def test_networks_of_all_seeds_have_the_same_validation_events(monkeypatch, tmp_path):
    found = []

    def stopped(*_, seed, **__):
        found.append(seed)
        raise InputError("enough")

    monkeypatch.setattr(omnifold, "two_samples", stopped)
    simulation, data, config = _simple(400, seed=3)
    for seed in (0, 5):
        one = dataclasses.replace(TINY, training=dataclasses.replace(TINY.training, seed=seed))
        with pytest.raises(InputError, match="iteration 1, detector level: enough"):
            unfold(
                simulation, data, dataclasses.replace(config, detector=one), tmp_path / f"{seed}"
            )
    assert found == [3, 3]


def test_warm_starts_take_the_networks_of_the_iteration_before(tmp_path):
    """With a rate of nearly nothing, the second iteration's networks are the first's."""
    frozen = dataclasses.replace(
        TRAINED, optimizer=OptimizerConfig("adamw", 1e-12, 0.0), epochs=1, batch_size=256
    )
    simulation, data, config = _simple(later=(frozen, frozen), from_one=False)
    found = unfold(simulation, data, config, tmp_path)
    push = found.push[0]
    expected = push * found.pull[0]
    assert found.pull[1] == pytest.approx(expected / expected.mean(), rel=1e-4)
    assert found.push[1] == pytest.approx(found.push[0], rel=1e-4)


def test_later_iterations_are_not_compiled_again(tmp_path):
    """Their learning rate is another one; each level has a program of its own."""
    simulation, data, config = _simple(iterations=3)
    before = loop._compiled.cache_info()
    unfold(simulation, data, config, tmp_path)
    after = loop._compiled.cache_info()
    assert after.hits + after.misses - before.hits - before.misses == 6
    assert after.misses - before.misses <= 2


def test_ratios_are_clipped_where_asked(tmp_path):
    found = unfold(*_simple(clip=1.1, iterations=1), tmp_path)
    assert found.reports[0]["clipped"] > 0.2
    assert found.pull[0].max() / found.pull[0].min() <= 1.1**2 * (1 + 1e-9)


def test_the_levels_may_have_other_networks(tmp_path):
    simulation, data, config = _simple(iterations=1)
    wide = dataclasses.replace(TINY, network=MLPConfig(num_features=1, hidden_channels=8))
    found = unfold(simulation, data, dataclasses.replace(config, particle=wide), tmp_path)
    assert found.finished and not np.array_equal(found.push[0], found.pull[0])


def test_what_cannot_be_unfolded_is_said(tmp_path):
    simulation, data, config = _simple()
    longer = dataclasses.replace(TINY.training, epochs=8, batch_size=64)
    config = dataclasses.replace(config, detector=dataclasses.replace(TINY, training=longer))
    far = _events(data.columns["x"] + 40)
    with pytest.raises(InputError, match="data that overlap with the simulation"):
        unfold(simulation, far, config, tmp_path / "far")
    assert len(Unfolded.read(tmp_path / "far" / RESULT).pull) == 0  # what was done before stays
    for weight, message in (
        (0.0, "weights that sum to 0;"),
        (-1.0, "weights that sum to -2000 "),
        (1e308, "weights whose sizes sum to inf, expected 1e-100"),
    ):
        weighted = data.with_weight(np.full(len(data), weight))
        with pytest.raises(InputError, match=f"data at detector level: 2000 events with {message}"):
            unfold(simulation, weighted, config, tmp_path / "weights")
    for changed, message in (
        ({"iterations": 0}, "iterations: found 0, expected at least 1"),
        ({"replicas": -1}, "replicas: found -1"),
        ({"clip": 0.5}, "clip: found 0.5, expected a finite number greater than 1"),
        ({"detector": dataclasses.replace(TINY, ensemble=2)}, "expected `members` in its place"),
    ):
        with pytest.raises(InputError, match=message):
            dataclasses.replace(config, **changed)
    (tmp_path / RESULT).write_bytes(b"nothing")
    with pytest.raises(InputError, match="starts with b'nothing'"):
        unfold(simulation, data, config, tmp_path)
