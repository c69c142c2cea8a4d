"""The anomaly study from end to end, and what is no study."""

import dataclasses

import numpy as np
import pytest

from experiments import anomaly, anomaly_merge, anomaly_samples, anomaly_study
from jaxpriors.anomaly import training as anomaly_method
from jaxpriors.cli.main import run
from jaxpriors.data import dijets
from jaxpriors.data.events import Events
from jaxpriors.data.sample_files import write_events
from jaxpriors.errors import InputError
from jaxpriors.ratio.presets import preset
from jaxpriors.run.storage import read_json, write_json
from tests.helpers.dijets import random_dijets
from tests.helpers.runs import quiet_run

TWO_JETS = dataclasses.replace(
    preset("lgatr-slim", "small"),
    hidden_v_channels=2,
    hidden_s_channels=8,
    num_heads=2,
    num_blocks=1,
)


def _two_jets(n, seed, width=0.05):
    return random_dijets(n, seed, width, constituents=3)


def _scan(injected=(0, 60), nulls=1, supervised=True, seed=0):
    training = dataclasses.replace(
        anomaly_method.SMALL, epochs=5, patience=None, batch_size=64, buckets=1
    )
    rule = dataclasses.replace(training.optimizer, learning_rate=1e-2)
    training = dataclasses.replace(training, optimizer=rule)
    one = anomaly_method.search_classifier(
        "lgatr-slim", networks=2, constituents=6, seed=seed, training=training, network=TWO_JETS
    )
    return anomaly_study.Scan((one,), injected, nulls, supervised, anomaly_study.Measure(5))


def _anomaly_samples(pool=60):
    return anomaly_samples.Samples.of(
        _two_jets(700, 0), _two_jets(500, 1), _two_jets(460, 2, 0.1), pool, 0.6
    )


def test_the_anomaly_study_has_its_table_and_figures_and_goes_on(tmp_path, monkeypatch, capsys):
    samples = _anomaly_samples()
    assert len(samples.background) == 280 and len(samples.test) == 420 + 200
    assert len(samples.data(60)) == 340
    found = anomaly_study.study(samples, _scan(), quiet_run(tmp_path))
    rows = found["max_sic"]["lgatr-slim"]
    assert set(rows) == {"0", "60"} and len(rows["0"]["values"]) == 2
    assert rows["60"]["median"] > rows["0"]["median"]
    assert found["supervised"]["lgatr-slim"]["median"] > 3
    assert 1 / 3 <= found["null"]["lgatr-slim"]["chance"] <= 1  # of two null trainings
    assert found["min_background"] == 5 and found["center"] == "median"
    assert rows["60"]["mean"] == pytest.approx(np.mean(rows["60"]["values"]))
    write_json(tmp_path / "metrics.json", found)
    assert run(["report", str(tmp_path)]) == 0 and "60 injected" in capsys.readouterr().out
    names = {p.name for p in (tmp_path / "figures").iterdir()}
    assert {"improvement.png", "roc.png"} <= names

    (tmp_path / "lgatr-slim" / "60" / "scores.h5").unlink()
    trained = []
    train = anomaly_method.train

    def counted(data, *rest):
        trained.append(len(data))
        return train(data, *rest)

    monkeypatch.setattr(anomaly_method, "train", counted)
    again = anomaly_study.study(samples, _scan(), quiet_run(tmp_path))
    assert trained == [len(samples.data(60))] and again == found


def test_samples_and_scans_that_make_no_study_are_refused(tmp_path):
    with pytest.raises(InputError, match="signal: found 460 events, expected at least 600: those"):
        _anomaly_samples(300)
    for injected in ((50, 0), ()):
        with pytest.raises(InputError, match=r"injected: found \("):
            _scan(injected, nulls=0, supervised=False)
    with pytest.raises(InputError, match="min_background: found 0, expected a number above 0"):
        anomaly_study.Measure(0)
    with pytest.raises(InputError, match="min_background: found 420 background events to test"):
        scan = dataclasses.replace(_scan(), measure=anomaly_study.Measure(500))
        anomaly_study.study(_anomaly_samples(), scan, quiet_run(tmp_path))


def test_the_anomaly_study_takes_labelled_events_of_the_region_and_other_background(tmp_path):
    a, b = tmp_path / "a.h5", tmp_path / "b.h5"

    def of_files(data, template, background, region=(0, 1e5), template_events=20, most=None):
        sizes = anomaly_samples.Sizes(background, template_events, 1)
        return anomaly_samples.of_files(data, template, sizes, region, None, most)

    write_events(a, _two_jets(20, 1))
    data = _two_jets(20, 0).with_label(np.arange(20) > 9)
    write_events(b, data)
    with pytest.raises(InputError, match="found labels None, expected 0 "):
        of_files(a, a, 5)
    with pytest.raises(InputError, match="background: found 10 events asked for of 10"):
        of_files(b, a, 10)
    found = of_files(b, a, 4)
    assert len(found.background) == 4 and len(found.template) == 20
    assert np.bincount(found.test.label).tolist() == [6, 4]
    found = of_files(b, a, 4, template_events=15)  # the other five are to test with
    assert len(found.template) == 15 and np.bincount(found.test.label).tolist() == [11, 4]
    few = of_files(b, a, 100_000, template_events=355_555, most=8)
    assert (len(few.background), len(few.template), len(few.signal)) == (4, 4, 2)
    with pytest.raises(InputError, match=r"template_events: found 21 asked for of 20 in .*a\.h5"):
        of_files(b, a, 4, template_events=21)
    middle = float(np.median(dijets.dijet_mass(data[:10])))
    assert len(of_files(b, a, 2, (middle, 1e5), 4).background) == 2
    with pytest.raises(InputError, match=r"b\.h5: no event in the signal region 90000 < m_jj"):
        of_files(b, a, 4, (9e4, 1e5))
    write_events(a, Events.concatenate([_two_jets(20, 1), _two_jets(20, 0)[3:5]]), overwrite=True)
    with pytest.raises(InputError, match=r"a\.h5: 2 of its events are background events of .*b"):
        of_files(b, a, 4)


def test_the_anomaly_study_does_not_go_on_with_other_samples(tmp_path, monkeypatch):
    class Killed(BaseException):
        pass

    def killed(*_):
        raise Killed

    parts = [_two_jets(30, 0).with_label(0), _two_jets(6, 2).with_label(1)]
    write_events(tmp_path / "a.h5", Events.concatenate(parts))
    write_events(tmp_path / "b.h5", _two_jets(30, 1))
    out = tmp_path / "run"
    command = [tmp_path / "a.h5", tmp_path / "b.h5", out, ("lgatr-slim",), (0, 1), (0,), 20, 30, 1]
    monkeypatch.setattr(anomaly_study.anomaly, "train", killed)
    for resume in (False, True):
        with pytest.raises(Killed):
            anomaly.paper(*command, min_background=1, region=(0, 1e5), resume=resume)
    write_events(tmp_path / "b.h5", _two_jets(30, 5), overwrite=True)
    with pytest.raises(InputError, match=r"another configuration \(template: found"):
        anomaly.paper(*command, min_background=1, region=(0, 1e5), resume=True)


def _scores(search, name, samples, run):
    """Write what a training leaves, by its seeds, without any training."""
    place = run.folder / search.model / name
    place.mkdir(parents=True)
    one = anomaly_study._search_of(search, name)
    seeds = one.training.seed + np.arange(one.ensemble)
    label = samples.test.label
    each = [np.random.default_rng(s).normal(2 * label, 1) for s in seeds]
    columns = {"label": label, "weight": samples.test.weight, "seeds": seeds}
    anomaly_method.write_scores(place / anomaly_study.SCORES, np.stack(each), columns)
    (place / anomaly_method.LOG).write_text('{"seconds": {"steps": 2.0}}\n')


def test_points_that_were_trained_apart_make_the_same_study(tmp_path, monkeypatch, capsys):
    samples = _anomaly_samples()
    monkeypatch.setattr(anomaly_study, "_train", _scores)

    def scanned(name, *asked, **options):
        scan = _scan(*asked, **options)
        anomaly_study.run_scan(lambda say: samples, scan, tmp_path / name, False, {})

    scanned("whole", (20, 60), 1)
    draw = anomaly_study.draw
    monkeypatch.setattr(anomaly_study, "draw", lambda *_: None)  # of parts: the others are seen
    scanned("20", (20,), 0, supervised=False)
    scanned("60", (60,), 0, supervised=False)
    scanned("references", (), 1)
    scanned("more", (60,), 0, supervised=False, seed=2)
    monkeypatch.setattr(anomaly_study, "draw", draw)
    runs = [tmp_path / name for name in ("references", "60", "20")]
    found = anomaly_merge.merge(runs, tmp_path / "merged")
    whole = read_json(tmp_path / "whole" / "metrics.json")
    same = ("max_sic", "auc", "supervised", "null", "events", "seconds", "min_background")
    assert {key: found[key] for key in same} == {key: whole[key] for key in same}
    names = {p.name for p in (tmp_path / "merged" / "figures").iterdir()}
    assert {"improvement.png", "roc.png"} <= names

    runs.append(tmp_path / "more")
    again = tmp_path / "four"
    assert anomaly.merge(runs, again, min_background=0.02, center="mean") == 0
    text = capsys.readouterr().out.split("Maximum")[-1]
    assert "mean (68 % band)" in text and "more than 2 % of the background" in text
    found = read_json(again / "metrics.json")
    assert [len(found["max_sic"]["lgatr-slim"][n]["values"]) for n in ("20", "60")] == [2, 4]
    with pytest.raises(InputError, match=r"60: holds the seed 0, as .*; expected each training"):
        anomaly_merge.merge([*runs, runs[1]], tmp_path / "twice")
    with pytest.raises(InputError, match=r"60: floor or center here and in .* differ \(center: f"):
        anomaly_merge.merge([again, runs[1]], tmp_path / "twice")
    samples = _anomaly_samples(50)
    scanned("other", (20,), 0, supervised=False)
    with pytest.raises(InputError, match=r"other: samples here and in .* differ"):
        anomaly_merge.merge([*runs, tmp_path / "other"], tmp_path / "twice")
    assert not (tmp_path / "twice").exists()


def test_scans_that_cannot_be_are_refused(tmp_path):
    files = [tmp_path / "a.h5", tmp_path / "b.h5", tmp_path / "run"]
    with pytest.raises(InputError, match="seeds: found 0 2, expected consecutive numbers"):
        anomaly.paper(*files, models=("lgatr",), seeds=(0, 2))
    with pytest.raises(InputError, match="injected: found 500, expected at most the 100 events"):
        anomaly.paper(*files, models=("lgatr",), injected=(500,), pool=100)
    with pytest.raises(InputError, match="pretrained"):
        anomaly.paper(*files, models=("pet-finetuned",))
    assert not (tmp_path / "run").exists()
