"""A reweighting as `jaxpriors ratio` runs it: calibrated, and compared with a truth."""

import dataclasses
import json

import numpy as np
import pytest

from jaxpriors import RatioModel
from jaxpriors.data.samples import zjets
from jaxpriors.errors import InputError
from jaxpriors.evaluation.observables import OBSERVABLES, jet_observables
from jaxpriors.ratio.classifier import RatioClassifier
from jaxpriors.ratio.presets import MODELS
from jaxpriors.ratio.reweighting import Reweighting, prepare_reweighting, run_reweighting
from jaxpriors.report.tables import tables
from tests.helpers.jets import random_jets
from tests.helpers.ratios import jets_with_identities, random_ratio
from tests.helpers.runs import quiet_run

TINY = dataclasses.replace(MODELS["mlp"].training["small"], epochs=8, batch_size=128)
CONFIG = Reweighting(
    (RatioClassifier("mlp", training=TINY),), observables="jet", calibrate=True, truth="truth"
)


def weighted(seed, n=4000):
    """Jets with a column of weights that are a function of their multiplicity."""
    events = random_jets(n, seed)
    truth = np.exp(0.8 * np.tanh((events.multiplicity - 20) / 8))
    return dataclasses.replace(events, columns={"truth": truth})


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ratio")
    data = weighted(1)
    samples = weighted(0), data.with_weight(data.columns["truth"])
    return samples, run_reweighting(*samples, CONFIG, quiet_run(folder), {}), folder


def test_a_known_ratio_is_learnt(run):
    known = run[1]["known_ratio"]["mlp"]
    assert known["mse"] < known["mse_constant"] / 3 and known["correlation"] > 0.8
    assert set(known["chi2"]) == {"pt", "mass", "multiplicity", "width"}
    assert all(row["p"] > 0.001 for row in known["chi2"].values())


def test_the_ratio_is_calibrated_and_averages_to_one(run):
    _, metrics, folder = run
    closed = metrics["closure"]["mlp"]
    assert closed["mean_ratio"] == pytest.approx(1, abs=0.05)
    assert metrics["table4"]["mlp"]["ece"] < 2.5 * metrics["table4"]["mlp"]["ece_floor"]
    assert RatioModel.load(folder / "model" / "mlp").temperature != 1
    names = {path.name for path in (folder / "figures").iterdir()}
    assert {"observables.png", "calibration.png", "training.png"} <= names


def test_the_tables_are_read_from_the_file(run):
    found = tables(json.loads((run[2] / "metrics.json").read_text()))
    for words in ("triangular discriminator", "rejection at 50 %", "χ² of width"):
        assert words in found
    assert found.count("mlp") == 3


def test_observables_span_both_samples(run):
    samples, _, _ = run
    shown = prepare_reweighting(*samples, CONFIG).shown
    assert [o.name for o in shown] == ["pt", "mass", "multiplicity", "width"]
    for o in shown:
        for sample in samples:
            values = jet_observables(sample)[o.name]
            assert np.mean((values >= o.low) & (values <= o.high)) > 0.97
    edges = next(o for o in shown if o.name == "multiplicity").edges
    assert np.all(edges % 1 == 0.5) and len(set(np.diff(edges))) == 1


SIX = dataclasses.replace(CONFIG, observables="substructure", truth=None)


def scaled(events, factor):
    """The jets with all energies times this factor."""
    return dataclasses.replace(events, p4=factor * events.p4, jet_p4=factor * events.jet_p4)


def test_the_six_observables_are_the_default_in_their_published_ranges():
    samples = [zjets(name, "detector")[:1500] for name in ("simulation", "data")]
    assert prepare_reweighting(*samples, SIX).shown == tuple(OBSERVABLES.values())


def test_ranges_follow_heavy_jets_or_what_is_given():
    samples = [scaled(random_jets(600, seed), 20) for seed in (0, 1)]
    prepared = prepare_reweighting(*samples, SIX)
    assert [o.name for o in prepared.shown] == list(OBSERVABLES)
    mass = prepared.shown[0]
    for values in prepared.observables.values():
        assert np.mean((values["mass"] >= mass.low) & (values["mass"] <= mass.high)) >= 0.98
        assert np.mean(values["mass"] > 75) > 0.5
    given = dataclasses.replace(SIX, ranges={"mass": (0, 2000)})
    assert prepare_reweighting(*samples, given).shown[0].high == 2000
    empty = dataclasses.replace(SIX, ranges={"mass": (9000, 9001)})
    message = r"mass: found no weight of the simulation's 180 test events from 9000 to 9001"
    with pytest.raises(InputError, match=message):
        prepare_reweighting(*samples, empty)


def test_parts_that_are_given_are_used_as_they_are():
    part = np.arange(600) % 4 % 3  # half of the events train
    samples = [
        dataclasses.replace(random_jets(600, seed), columns={"part": part.copy()})
        for seed in (0, 1)
    ]
    config = dataclasses.replace(CONFIG, truth=None, part="part")
    found = prepare_reweighting(*samples, config).parts
    for of_sample in found.values():
        for place, index in enumerate(of_sample.values()):
            np.testing.assert_array_equal(index, np.flatnonzero(part == place))
    with pytest.raises(InputError, match="simulation: found no column of the parts 'x'"):
        prepare_reweighting(*samples, dataclasses.replace(config, part="x"))
    samples[1].columns["part"][0] = 7
    with pytest.raises(InputError, match=r"data: found the values \[0 1 2 7\] of the parts"):
        prepare_reweighting(*samples, config)


def test_heavy_jets_are_reweighted_and_the_ranges_are_kept(tmp_path):
    """Also with weights of which a tenth is negative."""
    samples = [scaled(random_jets(900, seed), 20) for seed in (0, 1)]
    signs = np.where(np.random.default_rng(0).random(900) < 0.1, -1.0, 1.0)
    samples[0] = samples[0].with_weight(signs)
    quick = dataclasses.replace(TINY, epochs=2)
    config = dataclasses.replace(SIX, classifiers=(RatioClassifier("mlp", training=quick),))
    metrics = run_reweighting(*samples, config, quiet_run(tmp_path), {})
    shown = prepare_reweighting(*samples, config).shown
    found = metrics["ranges"]["table2"]
    assert [(o.low, o.high) for o in shown] == [(r["low"], r["high"]) for r in found.values()]
    assert found["mass"]["low"] < found["mass"]["high"] and found["mass"]["high"] > 200
    for cell in metrics["table2"]["mlp"].values():
        assert 0 < cell["error"] < 10 * cell["floor"]
    assert "outside of the ranges" in tables(metrics)
    assert (tmp_path / "figures" / "observables.png").exists()


def test_samples_of_different_units_are_refused():
    one, other = random_jets(600, 0), scaled(random_jets(600, 1), 1000)
    with pytest.raises(InputError, match=r"in the simulation and of .* in the data, a factor of"):
        prepare_reweighting(one, other, SIX)


def test_a_calibrated_model_divides_by_its_temperature(tmp_path):
    model = random_ratio("lgatr-slim", tmp_path)
    simulation, data = jets_with_identities(200, 2), jets_with_identities(200, 3)
    calibrated = model.calibrated(simulation, data)
    assert calibrated.temperature > 2  # random weights know nothing
    expected = model.log_ratio(data) / calibrated.temperature
    np.testing.assert_allclose(calibrated.log_ratio(data), expected, rtol=1e-6)
    calibrated.save(tmp_path / "model")
    found = RatioModel.load(tmp_path / "model")
    assert found.temperature == calibrated.temperature
    np.testing.assert_array_equal(found.log_ratio(data), calibrated.log_ratio(data))


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (None, "found no column 'truth' in the simulation"),
        (np.zeros(600), "600 values that are not positive"),
        (np.ones((600, 2)), r"has shape \(600, 2\)"),
    ],
)
def test_a_truth_that_is_none(column, message):
    simulation, data = random_jets(600, 0), random_jets(600, 1)
    if column is not None:
        simulation = dataclasses.replace(simulation, columns={"truth": column})
    with pytest.raises(InputError, match=message):
        prepare_reweighting(simulation, data, CONFIG)


def test_samples_that_do_not_overlap_have_no_ratio(tmp_path):
    samples = random_jets(2000, 0, mean_multiplicity=3), random_jets(2000, 1, mean_multiplicity=120)
    long = dataclasses.replace(TINY, epochs=25, patience=None)
    config = Reweighting((RatioClassifier("mlp", training=long),))
    with pytest.raises(InputError, match=r"told apart .* expected data that overlap"):
        run_reweighting(*samples, config, quiet_run(tmp_path), {})
    assert not (tmp_path / "metrics.json").exists()


def test_the_published_bins_come_with_their_errors(tmp_path):
    samples = random_jets(600, 0), random_jets(600, 1, mean_multiplicity=23)
    short = dataclasses.replace(TINY, epochs=1)
    config = dataclasses.replace(
        SIX, classifiers=(RatioClassifier("mlp", training=short),), bins="published"
    )
    metrics = run_reweighting(*samples, config, quiet_run(tmp_path), {})
    ranges = metrics["ranges"]["table2"]
    assert ranges["mass"]["bins"] == 49 and ranges["multiplicity"]["bins"] == 79
    assert "published bins, 49 each" in tables(metrics)
    signed = samples[0].with_weight(np.where(np.arange(600) < 9, -1, 1))
    with pytest.raises(InputError, match="bins: found published, and negative weights"):
        prepare_reweighting(signed, samples[1], config)
    with pytest.raises(InputError, match="bins: found published beside other ranges"):
        dataclasses.replace(config, ranges={"mass": (0, 2)})
