"""The unfolding study from end to end, and that its paper is the paper's."""

import dataclasses
import shutil

import numpy as np
import pytest

from experiments import rows, unfolding, unfolding_tables
from experiments.unfolding_closure import cases, closures, with_all_observables
from experiments.unfolding_study import (
    Samples,
    Settings,
    merged_runs,
    run_unfoldings,
    shares,
    study,
)
from jaxpriors.data.matched import Simulation
from jaxpriors.errors import InputError
from jaxpriors.evaluation.observables import OBSERVABLES
from jaxpriors.ratio import published
from jaxpriors.ratio.classifier import RatioClassifier
from jaxpriors.ratio.presets import MODELS
from jaxpriors.report.tables import tables
from jaxpriors.unfolding.omnifold import OmniFold, describe
from tests.helpers.jets import random_jets
from tests.helpers.runs import quiet_run

TINY = dataclasses.replace(MODELS["mlp"].training["small"], epochs=2, batch_size=64)
STEP = RatioClassifier("mlp", training=TINY)
WANTED = {"mlp": (0, 3), "lgatr-slim": (1,)}  # rows of the study; all have the same small network
OWN, PUBLISHED = Settings(), Settings(bins="published")
CONFIG = OmniFold(STEP, STEP, iterations=2, later=(TINY, TINY))


def _sample(n, seed, mean=20):
    """Jets at both levels, some of which are known at one alone."""
    rng = np.random.default_rng(seed)
    levels = [random_jets(n, seed + k, mean_multiplicity=mean) for k in (0, 100)]
    return with_all_observables(Simulation.of(*levels, rng.random(n) > 0.05, rng.random(n) > 0.1))


def _seeded(seed):
    """The unfolding with networks of another seed."""
    step, later = (dataclasses.replace(x, seed=seed) for x in (TINY, CONFIG.later[0]))
    one = dataclasses.replace(STEP, training=step)
    return dataclasses.replace(CONFIG, detector=one, particle=one, later=(later, later))


def _study(folder, samples, wanted, settings=OWN, progress=lambda record: None):
    """Run the study of some models and seeds in a folder."""
    configs = {label: {seed: _seeded(seed) for seed in seeds} for label, seeds in wanted.items()}
    run = quiet_run(folder, progress)
    described = {n: {s: describe(c) for s, c in some.items()} for n, some in configs.items()}
    run.open({"rows": rows.described(described), **dataclasses.asdict(settings)})
    return run.results(lambda: study(samples, configs, run, settings))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The folder and metrics of a study of two rows with two and one seeds, and its samples."""
    samples = Samples.of(_sample(900, 0), _sample(900, 1, mean=24), OWN)
    folder = tmp_path_factory.mktemp("study") / "all"
    return folder, _study(folder, samples, WANTED), samples


def test_the_study_has_both_tables_and_figures(whole):
    folder, found, _ = whole
    assert list(found["table2"]) == ["MultiFold", "lgatr-slim"]
    assert list(found["table3"]) == ["MultiFold", "lgatr-slim", "IBU"]
    for name, prior in (("table2", "unweighted"), ("table3", "prior")):
        row = found[name]["MultiFold"]
        losses = {r["seed"]: r["validation_loss"][name] for r in found["rows"][:2]}
        assert row["seed"] == min(losses, key=losses.get)
        assert list(row["chosen"]) == list(OBSERVABLES)
        assert {"value", "error", "floor", prior} == set(row["chosen"]["mass"])
        each = [r[name]["mass"]["value"] for r in found["rows"][:2]]
        assert row["mean"]["mass"]["value"] == pytest.approx(np.mean(each))
    text = tables(found)
    for line in ("Particle level", "MultiFold, seed ", "mean ± spread of 2", "  floor",
                 "trained on 630 simulated events and 630 of the data; measured with 270 and 270",
                 "own bins, 20 each; errors: bootstrap", "floor: what two samples"):  # fmt: skip
        assert line in text
    names = {p.name for p in (folder / "figures").iterdir()}
    assert {"detector.png", "particle.png", "convergence.png"} <= names


def test_a_study_that_was_killed_goes_on_with_the_next_row(whole, tmp_path, monkeypatch):
    folder, found, samples = whole
    shutil.copytree(folder, tmp_path / "killed")
    (tmp_path / "killed" / "metrics.json").unlink()
    shutil.rmtree(rows.place(tmp_path / "killed", "lgatr-slim", 1))
    monkeypatch.setattr(unfolding_tables, "save_figure", lambda *_: None)
    shown = []
    again = _study(tmp_path / "killed", samples, WANTED, progress=shown.append)
    assert {n: again[n] for n in again if n != "environment"} == {
        n: found[n] for n in found if n != "environment"
    }
    trained = [record for record in shown if "validation_loss" in record]
    stages = [record["stage"] for record in shown if "stage" in record]
    row = stages.index("lgatr-slim, seed 1")
    assert trained and not any("iteration" in stage for stage in stages[:row])


def test_rows_that_ran_apart_are_merged_to_the_same_study(whole, tmp_path, monkeypatch):
    """One job a row, as of an array of SLURM; the tables and figures are those of one run."""
    folder, found, samples = whole
    apart = {"a": {"mlp": (3,)}, "b": {"lgatr-slim": (1,)}, "c": {"mlp": (0,)}}
    with monkeypatch.context() as undrawn:  # drawing takes most of the time
        undrawn.setattr(unfolding_tables, "save_figure", lambda *_: None)
        for name, wanted in apart.items():
            _study(tmp_path / name, samples, wanted)
    known = ("mlp", "lgatr-slim")
    merged = merged_runs([tmp_path / n for n in apart], tmp_path / "out", known, None, False)
    assert tables(merged) == tables(found)
    for name in ("table2", "table3", "rows", "ranges"):
        assert merged[name] == found[name]
    for figure in ("detector.pdf", "particle.pdf", "convergence.pdf"):
        one, other = ((x / "figures" / figure).read_bytes() for x in (folder, tmp_path / "out"))
        assert one == other
    # in other bins, as a study would have been that asked for them
    monkeypatch.setattr(unfolding_tables, "save_figure", lambda *_: None)
    again = merged_runs([tmp_path / "out"], tmp_path / "again", known, "published", False)
    other = _study(tmp_path / "other", samples, {"mlp": (0,)}, PUBLISHED)
    assert again["rows"][0]["table3"] == other["rows"][0]["table3"]
    assert again["table3"]["IBU"] == other["table3"]["IBU"]
    assert again["ranges"]["table2"]["multiplicity"]["bins"] == 79
    assert "published bins, 49 each" in tables(again)
    with pytest.raises(InputError, match=r"settings or samples .*bins: found 'own', asked for 'p"):
        merged_runs([tmp_path / "a", tmp_path / "other"], tmp_path / "no", known, None, False)


def test_as_many_events_are_trained_on_as_is_published():
    assert shares(1_700_000) == pytest.approx((16 / 17, 1 / 17))
    sample, data = _sample(300, 0), _sample(200, 1)
    held_out = Samples.of(sample, data, Settings(train=250))
    sizes = [len(getattr(held_out, f.name)) for f in dataclasses.fields(held_out)]
    assert sizes == [250, 140, 50, 60]
    with pytest.raises(InputError, match="evaluate: found 2 events of a sample held out"):
        Samples.of(sample, data, Settings(train=298))
    with pytest.raises(InputError, match="train: found 0"):
        Settings(train=0)
    same = Settings(train=250, evaluate="training", dry_run=True)
    training = Samples.of(sample, data, same)
    assert "no number means anything" in training.told(same)
    assert training.tested_simulation is training.simulation
    assert training.simulation.digest() == held_out.simulation.digest()
    assert "measured with 250 and 140, the same events" in training.told(same)
    signed = sample.with_weight(np.where(np.arange(300) < 5, -1, 1))
    with pytest.raises(InputError, match="bins: found published, and negative weights"):
        run_unfoldings(signed, data, {}, "none", False, PUBLISHED)


def test_closures_are_made_of_any_simulation(tmp_path):
    made = cases(_sample(800, 2), False, lambda record: None)
    assert list(made) == ["analytic", "losses-and-signs"]
    for sample in made["losses-and-signs"]:
        assert 0.6 < sample.pass_reco.mean() < 0.85
        assert (sample.weight < 0).mean() == pytest.approx(0.15, abs=0.05)
    one = dataclasses.replace(CONFIG, iterations=1)
    found = closures(made, one, quiet_run(tmp_path))
    assert list(found) == list(made)
    for level in ("detector", "particle"):
        mass = found["analytic"][level]["mass"]
        assert set(mass) == {"chi2", "ndf", "p", "prior_chi2", "total"}
        assert mass["total"] == pytest.approx(1, abs=0.15)
    for case in made:  # fakes count as well: the sum is that of the data
        assert found[case]["detector"]["mass"]["total"] == pytest.approx(1, rel=1e-6)
    text = tables({"closures": {"mlp": found, "pet": found}})
    assert text.count("smallest probability × 12 tests (Bonferroni)") == 4
    assert "pet: particle level, after the last iteration" in text


@pytest.fixture
def studied(monkeypatch):
    """f(command, …): the samples and unfoldings that a command would study."""

    def asked(command, *arguments, **more):
        found = []
        monkeypatch.setattr(
            unfolding, "run_unfoldings", lambda *given, **_: found.append(given) or 0
        )
        assert command(*arguments, **more) == 0
        return found[0]

    return asked


def test_the_papers_study_is_that_of_its_appendix(studied, tmp_path, capsys):
    """arXiv:2603.08802, Appendix B: five seeds, five iterations, warm starts at fixed rates."""
    simulation, data, configs, *_ = studied(
        unfolding.paper, "simulation", "data", tmp_path, events=300
    )
    assert len(simulation) == len(data) == 300
    assert tuple(configs) == published.rows("omnifold")[:-1]  # none to fine-tune is given
    for label, some in configs.items():
        assert list(some) == [0, 1, 2, 3, 4]
        for seed, one in some.items():
            assert one.seed == 0 and one.iterations == 5 and one.warm_start
            for level in ("detector", "particle"):
                first, later = (one.classifier(level, i) for i in (1, 2))
                wanted = published.classifier("omnifold", label, seed=seed)
                assert (first.network, first.inputs) == (wanted.network, wanted.inputs)
                assert first.training.optimizer == wanted.training.optimizer
                assert later.training.optimizer == published.later("omnifold", label).optimizer
                assert first.training.seed == later.training.seed == seed


def test_one_job_is_one_row(studied, tmp_path):
    given = {"models": ("lgatr-2M",), "seeds": (3,), "features": "momenta", "events": 300}
    configs = studied(unfolding.paper, "simulation", "data", tmp_path, **given)[2]
    assert {label: list(some) for label, some in configs.items()} == {"lgatr-2M": [3]}
    assert configs["lgatr-2M"][3].detector.inputs.features == "momenta"
    with pytest.raises(InputError, match="pretrained: found none"):
        unfolding.paper("simulation", "data", tmp_path, models=("pet-finetuned",))


def test_a_dry_run_takes_one_step_of_each_training(studied, tmp_path):
    simulation, _, configs, *_ = studied(
        unfolding.paper, "simulation", "data", tmp_path, dry_run=True
    )
    assert len(simulation) == 500
    for one in (some[0] for some in configs.values()):
        assert one.iterations == 2
        for level in ("detector", "particle"):
            for training in (one.classifier(level, i).training for i in (1, 2)):
                assert training.epochs == 1
                examples = 700 if level == "detector" else 350
                assert examples <= training.batch_size < examples + 32


def test_the_quick_study_has_all_methods(studied, tmp_path):
    configs = studied(unfolding.quick, tmp_path, seeds=(0, 4), iterations=10)[2]
    assert list(configs) == ["mlp", "lgatr-slim", "lgatr", "pet", "pet-finetuned"]
    for seeds in configs.values():
        assert [c.detector.training.seed for c in seeds.values()] == list(seeds) == [0, 4]
        assert [c.seed for c in seeds.values()] == [0, 0]  # the same events to validate on
        assert {c.iterations for c in seeds.values()} == {10}
    with pytest.raises(InputError, match="folder: found none, expected that of the chunks"):
        unfolding.paper("pythia26", "herwig", tmp_path)


def test_closures_are_of_every_model_of_quick_or_paper(monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr(unfolding, "run_closures", lambda *given: asked.append(given) or {})
    monkeypatch.setattr(unfolding, "tables", str)
    assert unfolding.closure(tmp_path) == unfolding.closure(tmp_path, size="paper", events=40) == 0
    (_, small, shower, *_), (sample, papers, *_) = asked
    assert tuple(small) == unfolding.SMALL and shower
    assert small["pet"].particle.size == "small" and len(sample) == 40
    assert tuple(papers) == published.rows("omnifold")[:-1]  # none to fine-tune is given
    with pytest.raises(InputError, match="models: found lgatr-2M, expected"):
        unfolding.closure(tmp_path, models=("lgatr-2M",))
