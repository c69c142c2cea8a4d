"""`jaxpriors tune`: what it keeps, and which chunk size trainings take then."""

import dataclasses
import json

import numpy as np
import pytest

from jaxpriors.cli.main import run
from jaxpriors.data.batching import Buckets, plan_buckets
from jaxpriors.data.sample_files import write_events
from jaxpriors.errors import InputError
from jaxpriors.generation import pretraining
from jaxpriors.ratio import reweighting
from jaxpriors.ratio.presets import MODELS, preset
from jaxpriors.training import tuned, tuning
from jaxpriors.training.parallel import default_micro_batch
from jaxpriors.training.tuning import MicroBatch
from tests.helpers.jets import random_jets
from tests.helpers.runs import quiet_run

BUCKETS = Buckets((20, 40), (8, 8))


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("samples")
    write_events(folder / "sim.h5", random_jets(240, seed=0))
    write_events(folder / "data.h5", random_jets(240, seed=1))
    labelled = random_jets(200, 0).with_label(np.arange(200, dtype=np.int32) % 2)
    write_events(folder / "jets.h5", labelled)
    return folder


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """A cache folder of the test's own, without compiled programs."""
    monkeypatch.setenv("JAXPRIORS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("jaxpriors.run.launch.set_up", lambda: None)
    return tmp_path / "cache"


@pytest.fixture
def measured(monkeypatch):
    """Chunks as they are found in place of measurements; 2 is the fastest."""
    found = [MicroBatch(1, 0.3, 10**7), MicroBatch(2, 0.1, 2 * 10**7), MicroBatch(4, None, None)]
    monkeypatch.setattr(tuning, "measure_micro_batches", lambda task, memory, progress: found)
    monkeypatch.setattr(tuning, "largest_batch", lambda task, memory, first, progress: 2 * first)
    return found


@pytest.fixture
def trained(monkeypatch):
    """The configurations that trainings were called with, in place of them."""
    calls = []

    def reweight(prepared, config, *rest):
        calls.append(config)
        raise KeyboardInterrupt

    monkeypatch.setattr(reweighting, "reweight", reweight)
    monkeypatch.setattr(
        pretraining, "pretrain", lambda parts, config, *rest: reweight(parts, config, *rest)
    )
    return calls


def _samples(files):
    return [str(files / "sim.h5"), str(files / "data.h5")]


def _reweight(files, out, *more):
    return run(["reweight", *_samples(files), "--out", str(out), "--batch-size", "32", *more])


def _tune(files, *more):
    return run(["tune", *_samples(files), "--batch-size", "32", *more])


def _entry(micro_batch=2, length=30.0, batch_size=256, whole=False, model="lgatr-slim"):
    return {
        "key": tuned.key(preset(model, "small"), MODELS[model].training["small"], BUCKETS),
        "length": length,
        "batch_size": batch_size,
        "micro_batch": micro_batch,
        "whole": whole,
    }


def _find(model="lgatr-slim", buckets=BUCKETS, **training):
    config = dataclasses.replace(MODELS[model].training["small"], **training)
    return tuned.find(preset(model, "small"), config, buckets)


def test_the_next_training_uses_what_was_found(files, measured, trained, tmp_path, cache, capsys):
    assert _tune(files) == 0
    text = capsys.readouterr().out
    assert "2         100.0         320            0.020 GB *" in text
    assert "does not fit" in text and "64; with blocks recomputed (checkpoint_blocks): 128" in text
    assert "at a time on each device" in text and str(cache / "tuned.json") in text
    assert [p.name for p in cache.iterdir()] == ["tuned.json"]

    assert _reweight(files, tmp_path / "run") == 130
    assert trained[-1].classifiers[0].training.micro_batch == 2
    written = json.loads((tmp_path / "run" / "config.json").read_text())
    assert written["classifiers"][0]["training"]["micro_batch"] == 2
    assert (
        "lgatr-slim: micro-batches of 2 events, as `jaxpriors tune` found"
        in capsys.readouterr().out
    )

    assert _reweight(files, tmp_path / "pet", "--model", "pet") == 130
    assert trained[-1].classifiers[0].training.micro_batch == default_micro_batch()


@pytest.mark.parametrize("found", [None, 4])
def test_a_run_goes_on_with_its_own(files, measured, trained, tmp_path, cache, found):
    """Neither an entry that appears, nor another, nor a damaged file changes or stops it."""
    if found is not None:
        measured[1] = dataclasses.replace(measured[1], rows=found)
        assert _tune(files) == 0
    out = tmp_path / "run"
    assert _reweight(files, out) == 130
    first = trained[-1]
    measured[1] = dataclasses.replace(measured[1], rows=1)
    assert _tune(files) == 0
    assert _reweight(files, out, "--resume") == 130
    (cache / "tuned.json").write_text("{")
    assert _reweight(files, out, "--resume") == 130
    assert trained[-2] == trained[-1] == first
    assert first.classifiers[0].training.micro_batch == (found or default_micro_batch())


def test_a_run_from_before_micro_batches_were_written_goes_on(files, trained, tmp_path):
    out = tmp_path / "run"
    assert _reweight(files, out) == 130
    written = json.loads((out / "config.json").read_text())
    written["classifiers"][0]["training"]["micro_batch"] = None
    (out / "config.json").write_text(json.dumps(written))
    assert _reweight(files, out, "--resume") == 130
    assert trained[-1].classifiers[0].training.micro_batch is None
    assert _reweight(files, out, "--resume", "--model", "lgatr-slim", "lgatr") == 2


def test_pretraining_takes_that_of_the_same_network(files, trained, tmp_path):
    entry = _entry(micro_batch=4, model="pet")
    entry["length"] = tuned.mean_length(plan_buckets(random_jets(200, 0).multiplicity, 3))
    tuned.keep(entry)
    command = ["pretrain", str(files / "jets.h5"), "--out", str(tmp_path / "run")]
    assert run(command) == 130
    assert trained[-1].training.micro_batch == 4
    tuned.keep({**entry, "micro_batch": 2})
    assert run([*command, "--resume"]) == 130
    assert trained[-1].training.micro_batch == 4


def test_a_damaged_file(files, measured, trained, tmp_path, cache, capsys):
    """Trainings name it, `jaxpriors tune` replaces it."""
    cache.mkdir()
    for content in ("{", "[]", '{"tuned": [{}]}', json.dumps({"tuned": [_entry(micro_batch=0)]})):
        (cache / "tuned.json").write_text(content)
        capsys.readouterr()
        assert _reweight(files, tmp_path / "run") == 2
        error = capsys.readouterr().err
        assert "tuned.json: damaged, expected what `jaxpriors tune` writes" in error
        assert error.count("\n") == 1
    assert not (tmp_path / "run").exists() and trained == []
    assert _tune(files) == 0
    assert _reweight(files, tmp_path / "run") == 130
    assert trained[-1].classifiers[0].training.micro_batch == 2


def test_an_entry_is_for_one_machine_and_network(monkeypatch):
    tuned.keep(_entry())
    assert _find() == 2
    assert _find(batch_size=512, epochs=9, seed=3) == 2
    assert _find("lgatr") is None
    assert (
        tuned.find(preset("lgatr-slim", "paper"), MODELS["lgatr-slim"].training["small"], BUCKETS)
        is None
    )
    recomputed = dataclasses.replace(preset("lgatr-slim", "small"), checkpoint_blocks=True)
    assert tuned.find(recomputed, MODELS["lgatr-slim"].training["small"], BUCKETS) is None
    monkeypatch.setattr(tuned, "device_kind", lambda: "another")
    assert _find() is None


def test_events_are_alike_where_their_lengths_nearly_are():
    tuned.keep(_entry(2, length=30.0))
    tuned.keep(_entry(8, length=45.0))
    assert len(tuned.read_tuned()) == 2
    assert _find(buckets=Buckets((20, 50), (8, 8))) == 2
    assert _find(buckets=Buckets((20, 60), (8, 8))) == 8
    assert _find(buckets=Buckets((20, 120), (8, 8))) is None
    tuned.keep(_entry(4, length=33.0))
    assert [e["micro_batch"] for e in tuned.read_tuned()] == [8, 4]


def test_the_whole_batch_is_that_of_one_size_of_batch():
    tuned.keep(_entry(128, batch_size=256, whole=True))
    assert _find() == 128
    assert _find(batch_size=512) is None
    tuned.keep(_entry(16, batch_size=1024))
    assert _find() == 128 and _find(batch_size=512) == 16


def test_samples_that_cannot_be_used(files, capsys, cache):
    assert run(["tune", str(files / "no.h5"), str(files / "data.h5")]) == 2
    assert "no.h5: no such file" in capsys.readouterr().err
    assert _tune(files, "--model", "pet", "--beam", "none") == 2
    assert "which have no tokens" in capsys.readouterr().err
    assert not cache.exists()


def test_a_network_that_does_not_fit(files, monkeypatch, cache, capsys):
    monkeypatch.setattr(
        tuning, "measure_micro_batches", lambda *rest: [MicroBatch(1, None, 10**12)]
    )
    assert _tune(files) == 2
    assert "lgatr-slim: not even one event at a time fits" in capsys.readouterr().err
    assert not cache.exists()


def test_a_step_is_measured(files, monkeypatch, cache, capsys):
    """With the network's own step, but neither large batches nor many chunk sizes."""
    monkeypatch.setattr(tuning, "micro_batch_sizes", lambda rows, devices: [2])
    monkeypatch.setattr("jaxpriors.run.processes.device_memory", lambda: None)
    assert _tune(files) == 0
    text = capsys.readouterr().out
    assert "the memory of this machine is not known" in text
    (entry,) = tuned.read_tuned()
    jets = np.concatenate([random_jets(240, seed).multiplicity for seed in (0, 1)])
    assert entry["length"] == pytest.approx(tuned.mean_length(plan_buckets(jets, 2)), rel=0.2)
    assert entry["micro_batch"] == 2 and not entry["whole"]
    assert entry["measured"][0]["seconds"] > 0 and entry["measured"][0]["temporary"] > 0


def test_no_run_to_go_on_with(tmp_path):
    begun = quiet_run(tmp_path).begun
    assert begun("training") is None
    (tmp_path / "config.json").write_text('{"training": {"micro_batch": 3}, "other": 1}')
    assert begun("training") == {"micro_batch": 3}
    assert begun("classifiers", 0, "training") == {}
    assert begun("other") == {}
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(InputError, match=r"config\.json: found .* expected JSON"):
        begun("training")
