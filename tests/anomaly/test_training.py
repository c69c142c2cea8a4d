"""Weak supervision finds a signal that is there, and nothing where nothing is."""

import dataclasses

import jax
import numpy as np
import pytest

from jaxpriors import InputError
from jaxpriors.anomaly import training as anomaly
from jaxpriors.anomaly.performance import performance
from jaxpriors.anomaly.search import Search, excess
from jaxpriors.anomaly.training import (
    SMALL,
    search_classifier,
    select,
    shuffled,
    train,
    train_null,
)
from jaxpriors.cli.main import run
from jaxpriors.data import dijets
from jaxpriors.data.events import Events
from jaxpriors.data.sample_files import write_events
from jaxpriors.models.state_dicts import state_from_network
from jaxpriors.preprocessing.tokens import DijetConfig
from jaxpriors.ratio import finetuning
from jaxpriors.ratio.presets import MODELS, preset
from jaxpriors.run.storage import read_json
from tests.helpers.dijets import random_dijets
from tests.helpers.jets import random_jets

TINY = dataclasses.replace(
    preset("lgatr-slim", "small"),
    hidden_v_channels=2,
    hidden_s_channels=8,
    num_heads=2,
    num_blocks=1,
)
SHORT = dataclasses.replace(
    SMALL,
    optimizer=dataclasses.replace(SMALL.optimizer, learning_rate=1e-2),
    epochs=5,
    patience=None,
    buckets=1,
    batch_size=64,
)
BACKGROUND, SIGNAL = 0.05, 0.1  # how wide the jets are


def sample(number, seed, width=BACKGROUND):
    return random_dijets(number, seed, width, constituents=3)


def with_signal(background, signal):
    return Events.concatenate([sample(background, 1), sample(signal, 2, SIGNAL)])


def config(networks=2, **changes):
    training = dataclasses.replace(SHORT, **changes)
    return search_classifier(
        "lgatr-slim", networks=networks, constituents=6, training=training, network=TINY
    )


TEMPLATE = sample(600, 3)
TEST = Events.concatenate([sample(600, 4).with_label(0), sample(300, 5, SIGNAL).with_label(1)])


def test_random_labels_are_balanced_and_differ_between_networks():
    data = sample(200, 6)
    trained, validated = shuffled(data, TEMPLATE, config(3))
    assert len(trained.events) + len(validated.events) == 800
    for part in (trained, validated):
        share = part.label.mean(0)
        np.testing.assert_allclose(share, 0.25, atol=0.01)
        for side in (part.label, 1 - part.label):
            np.testing.assert_allclose((part.weight * side).sum(0), len(part.events) / 2)
        assert not np.array_equal(part.label[:, 0], part.label[:, 1])


def test_networks_with_random_labels_learn_no_signal(tmp_path):
    """Not even one that is there."""
    model = train_null(with_signal(300, 150), TEMPLATE, config(), tmp_path)
    null = performance(model.log_ratios(TEST), TEST.label, 10)
    assert null["auc"]["low"] < 0.9 and null["max_sic"]["median"] < 3


def test_a_signal_is_found_also_after_a_kill(tmp_path):
    data = with_signal(300, 150)
    whole = train(data, TEMPLATE, config(), tmp_path / "whole").log_ratios(TEST)
    found = performance(whole, TEST.label, 10)
    assert found["max_sic"]["low"] > 3 and found["auc"]["low"] > 0.9

    class Killed(BaseException):
        pass

    def kill(record):
        if record.get("epoch") == 3 and record.get("step") == 2 and "steps" in record:
            raise Killed

    with pytest.raises(Killed):
        train(data, TEMPLATE, config(), tmp_path / "killed", kill)
    again = train(data, TEMPLATE, config(), tmp_path / "killed").log_ratios(TEST)
    np.testing.assert_array_equal(again, whole)


def test_fine_tuning_takes_over_body_and_head():
    one = search_classifier("pet-finetuned", networks=2)
    classifier, origin = one.initial(jax.random.key(0))
    source = finetuning.load_network(finetuning.SHIPPED)
    before, after = state_from_network(source), state_from_network(classifier.network)
    for name, array in after.items():
        if name.startswith("body.") or name.startswith("cls.blocks."):
            np.testing.assert_array_equal(array, before[name])
            assert name not in origin.new
    assert {"cls.out.weight", "cls.film.weight", "mass.0.weight"} <= set(origin.new)
    assert any(name.startswith("jetenc.") for name in origin.new)
    assert origin.kept + len(origin.new) == len(after)
    jets = sum(name.startswith("jetenc.") for name in origin.new)
    assert f"{jets} of jetenc, " in str(origin) and len(str(origin)) < 200
    assert one.training.optimizer.body_factor == 10


def test_identities_are_not_used(tmp_path):
    """Generated templates have none."""

    def without(events):
        return dataclasses.replace(events, pid=np.zeros_like(events.pid))

    data, template = with_signal(100, 20), without(TEMPLATE)
    one = train(data, template, config(epochs=1), tmp_path / "with")
    other = train(without(data), template, config(epochs=1), tmp_path / "without")
    np.testing.assert_array_equal(one.log_ratios(TEST), other.log_ratios(without(TEST)))


def test_samples_that_teach_nothing_are_refused():
    data = sample(50, 1)
    with pytest.raises(InputError, match="data: found no columns"):
        select(random_jets(10, 0), TEMPLATE, None)
    with pytest.raises(InputError, match="template: no event in the signal region 10 < m_jj < 20"):
        wide = dataclasses.replace(data, jet_p4=data.jet_p4 / 233)
        select(wide, TEMPLATE, (10, 20))
    with pytest.raises(InputError, match="data: no event in the signal region"):
        select(data, TEMPLATE, (10, 20))
    with pytest.raises(InputError, match="template: 7 events have a label other than 0"):
        select(data, TEMPLATE.with_label(np.arange(600) < 7), None)
    with pytest.raises(InputError, match="at most 2 constituents of its jets and all constit"):
        select(data, dijets.leading(TEMPLATE, 2), None)
    select(dijets.leading(data, 2), dijets.leading(TEMPLATE, 2), None)
    held = dijets.jets_of(TEMPLATE).multiplicity.reshape(-1, 2).max(1)
    whole = TEMPLATE[held < held.max()]  # of no more constituents than some jets are cut to
    select(dijets.leading(TEMPLATE, int(held.max()) - 1), whole, None)
    select(data, dijets.leading(TEMPLATE, 2), None, 2)
    rich = random_dijets(50, 1, constituents=20)  # all have more than networks are shown
    select(rich, dijets.leading(random_dijets(50, 2, constituents=20), 3), None, 3)


@pytest.mark.parametrize(
    ("shift", "message"),
    [(5000.0, "jet1_pt: data and template have no overlap"), (400.0, "jet1_pt: tells data from")],
)
def test_inputs_that_tell_the_samples_apart_are_refused(shift, message):
    data = sample(50, 1)
    moved = data.columns | {"jet1_pt": data.columns["jet1_pt"] + np.float32(shift)}
    moved["jet1_pt"][0] -= np.float32(shift if shift < 1000 else 0)
    with pytest.raises(InputError, match=message):
        select(dataclasses.replace(data, columns=moved), TEMPLATE, None)


def test_a_constant_label_column_leaks():
    """Such as a multiplicity that says which sample an event is of."""
    data = sample(50, 1)
    leaking = dataclasses.replace(
        data, columns=data.columns | {"jet2_multiplicity": np.full(50, 200, np.float32)}
    )
    with pytest.raises(InputError, match="jet2_multiplicity: data and template have no overlap"):
        select(leaking, TEMPLATE, None, 2)


def test_excesses_are_counted_against_the_template():
    rng = np.random.default_rng(0)
    scores = {"data": rng.normal(size=4000), "template": rng.normal(size=8000)}
    scores["data"][:60] += 6
    weights = {"data": np.ones(4000), "template": np.full(8000, 0.5)}
    halves = {n: [np.arange(0, len(s), 2), np.arange(1, len(s), 2)] for n, s in scores.items()}
    cut = excess(scores, weights, halves, 0.01)
    assert cut["expected"] == pytest.approx(40, rel=0.05)
    assert cut["expected_error"] == pytest.approx(40 / np.sqrt(80), rel=0.05)
    assert cut["observed"] == pytest.approx(100, abs=15)
    assert cut["significance"] > 6
    scores["data"] = rng.normal(size=4000)
    assert abs(excess(scores, weights, halves, 0.1)["significance"]) < 3


def test_excesses_of_weighted_events_have_their_errors():
    """The significance without a signal has unit spread, also with weights that may be negative."""
    rng = np.random.default_rng(0)
    halves = {n: [np.arange(0, 2000, 2), np.arange(1, 2000, 2)] for n in ("data", "template")}
    found = []
    for _ in range(150):
        scores = {n: rng.normal(size=2000) for n in ("data", "template")}
        weights = {n: rng.choice([3.0, 1.0, -0.5], 2000) for n in ("data", "template")}
        cut = excess(scores, weights, halves, 0.05)
        assert cut["expected"] == pytest.approx(0.05 * weights["data"].sum(), rel=0.05)
        found.append(cut["significance"])
    assert np.std(found) == pytest.approx(1, abs=0.2) and abs(np.mean(found)) < 0.25


def test_the_command_searches_and_goes_on(tmp_path, monkeypatch, capsys):
    samples = {"data": with_signal(300, 60), "template": TEMPLATE, "test": TEST}
    for name, events in samples.items():
        write_events(tmp_path / f"{name}.h5", events)
    monkeypatch.setattr(anomaly, "SMALL", dataclasses.replace(SHORT, epochs=2))
    monkeypatch.setitem(MODELS["lgatr-slim"].network, "small", lambda: TINY)
    out = tmp_path / "run"
    command = ["anomaly", *(str(tmp_path / f"{n}.h5") for n in ("data", "template"))]
    command += ["--test", str(tmp_path / "test.h5"), "--out", str(out), "--networks", "2"]
    command += ["--constituents", "6", "--region", "3300", "3700"]
    assert run(command) == 0
    text = capsys.readouterr().out
    assert "AUC of data against template" in text and "maximum significance improvement" in text
    metrics = read_json(out / "metrics.json")
    inside = dijets.inside(samples["data"], (3300, 3700))
    assert metrics["events"]["data"] == inside.sum() < len(inside)
    assert [cut["share"] for cut in metrics["cuts"]] == [0.1]  # others leave too few events
    assert run(["report", str(out)]) == 0
    assert capsys.readouterr().out.strip() in text
    assert run(command) == 2
    assert "exists already" in capsys.readouterr().err
    assert run([*command, "--resume"]) == 0
    assert run([*command[:3], "--out", str(tmp_path / "no"), "--region", "1", "2"]) == 2
    assert "no event in the signal region" in capsys.readouterr().err
    assert not (tmp_path / "no").exists()


def test_scores_are_of_networks_that_did_not_see_the_event():
    prepared = Search(config(), (3300, 3700)).prepare(with_signal(100, 10), TEMPLATE)
    mass = dijets.dijet_mass(with_signal(100, 10))
    np.testing.assert_array_equal(prepared.row, np.flatnonzero((mass > 3300) & (mass < 3700)))
    with pytest.raises(InputError, match=r"test: found labels \[\] in 100 events"):
        Search(config()).prepare(TEMPLATE, TEMPLATE, sample(100, 0))
    with pytest.raises(InputError, match="test: found at most 2 constituents of its jets and all"):
        Search(config(), least=1).prepare(TEMPLATE, TEMPLATE, dijets.leading(TEST, 2))
    with pytest.raises(InputError, match="min_background: found 0, expected a finite number"):
        Search(config(), least=0)
    assert isinstance(config().inputs, DijetConfig)
