"""What the recipes conclude from their trainings, and the unfolding study from end to end."""

import dataclasses

import jax
import numpy as np
import pytest

from experiments import anomaly, anomaly_study, dis, dis_study, unfolding, unfolding_study
from experiments.finetuning import compare, table
from experiments.unfolding_closure import cases, closures, format_closures, with_all_observables
from experiments.unfolding_study import Samples, study
from jaxpriors.cli import run
from jaxpriors.data import dijets
from jaxpriors.data.events import Events
from jaxpriors.data.matched import Simulation
from jaxpriors.data.sample_files import write_events
from jaxpriors.errors import InputError
from jaxpriors.evaluation.observables import OBSERVABLES
from jaxpriors.evaluation.report import format_table, over_seeds
from jaxpriors.methods import anomaly as anomaly_method
from jaxpriors.methods.classifier import RatioClassifier
from jaxpriors.methods.finetuning import SHIPPED
from jaxpriors.methods.omnifold import OmniFold
from jaxpriors.methods.trainings import TRAINING
from jaxpriors.models.presets import preset
from jaxpriors.training.runs import write_json
from tests.helpers.dijets import random_dijets
from tests.helpers.jets import random_jets

TINY = dataclasses.replace(TRAINING["mlp"]["small"], epochs=2, batch_size=64)
STEP = RatioClassifier("mlp", training=TINY)
CONFIG = OmniFold(STEP, STEP, iterations=2, later=(TINY, TINY))


def _sample(n, seed, mean=20):
    """Jets at both levels, some of which are known at one alone."""
    rng = np.random.default_rng(seed)
    levels = [random_jets(n, seed + k, mean_multiplicity=mean) for k in (0, 100)]
    return with_all_observables(Simulation.of(*levels, rng.random(n) > 0.05, rng.random(n) > 0.1))


def test_the_study_has_both_tables_and_figures(tmp_path):
    samples = Samples.of(_sample(900, 0), _sample(900, 1, mean=24))
    found = study(samples, {"mlp": [CONFIG, CONFIG]}, tmp_path, lambda record: None)
    assert set(found["table2"]) == {"MultiFold"} and set(found["table3"]) == {"MultiFold", "IBU"}
    for name, prior in (("table2", "unweighted"), ("table3", "prior")):
        row = found[name]["MultiFold"]
        assert list(row) == list(OBSERVABLES)
        assert {"value", "error", "floor", "best", "spread", prior} == set(row["mass"])
        assert row["mass"]["best"] == row["mass"]["value"]  # both seeds are the same here
    assert "Particle level" in format_table(found)
    names = {p.name for p in (tmp_path / "figures").iterdir()}
    assert {"detector.png", "particle.png", "convergence.png"} <= names


def test_closures_are_made_of_any_simulation(tmp_path):
    made = cases(_sample(800, 2), False, lambda record: None)
    assert list(made) == ["analytic", "losses-and-signs"]
    for sample in made["losses-and-signs"]:
        assert 0.6 < sample.pass_reco.mean() < 0.85
        assert (sample.weight < 0).mean() == pytest.approx(0.15, abs=0.05)
    one = dataclasses.replace(CONFIG, iterations=1)
    found = closures({"analytic": made["analytic"]}, one, tmp_path, lambda record: None)
    assert set(found["analytic"]["mass"]) == {"chi2", "ndf", "p", "prior_chi2", "total"}
    assert found["analytic"]["mass"]["total"] == pytest.approx(1, abs=0.15)
    assert "Bonferroni" in format_closures(found)


@pytest.fixture
def studied(monkeypatch):
    """f(command, …): the samples and unfoldings that a command would study."""

    def asked(command, *arguments, **more):
        found = []
        monkeypatch.setattr(unfolding_study, "run", lambda *given, **_: found.append(given) or 0)
        assert command(*arguments, **more) == 0
        return found[0]

    return asked


def test_the_papers_study_is_that_of_its_appendix(studied, tmp_path):
    """arXiv:2603.08802, Appendix B: five seeds, Lion, warm starts at fixed rates."""
    simulation, data, configs, closure, *_ = studied(
        unfolding.paper, "simulation", "data", tmp_path, events=300
    )
    assert len(simulation) == len(data) == 300
    assert list(configs) == ["mlp", "lgatr-slim", "lgatr", "pet"]  # none to fine-tune is given
    assert closure == configs["lgatr-slim"][0]
    for model, rate in (("lgatr-slim", 1e-5), ("lgatr", 1e-5), ("pet", 1e-6)):
        assert [c.detector.resolved().training.seed for c in configs[model]] == [0, 1, 2, 3, 4]
        for level in ("detector", "particle"):
            first, second = (configs[model][0].classifier(level, i) for i in (1, 2))
            assert first.size == "paper" and first.training.epochs == 20
            assert second.training.optimizer.rule == first.training.optimizer.rule == "lion"
            assert second.training.optimizer.learning_rate == rate
            assert configs[model][0].iterations == 5 and configs[model][0].warm_start
    tuned = studied(unfolding.paper, "simulation", "data", tmp_path, pretrained=SHIPPED, seeds=1)
    one = tuned[2]["pet-finetuned"][0].particle
    assert one.pretrained.path == SHIPPED and one.size == "paper"


def test_the_quick_study_has_all_methods(studied, tmp_path):
    configs = studied(unfolding.quick, tmp_path, seeds=2)[2]
    assert list(configs) == ["mlp", "lgatr-slim", "lgatr", "pet", "pet-finetuned"]
    for seeds in configs.values():
        assert [c.detector.resolved().training.seed for c in seeds] == [c.seed for c in seeds]
        assert [c.seed for c in seeds] == [0, 1]
    with pytest.raises(InputError, match="folder: found none, expected that of the chunks"):
        unfolding.paper("pythia26", "herwig", tmp_path)


def test_seeds_are_summed_up():
    tables = [{"a": {"m": {"value": v, "floor": 1.0}}} for v in (2.0, 4.0)]
    cell = over_seeds(tables)["a"]["m"]
    assert cell["value"] == 3 and cell["best"] == 2 and cell["spread"] == pytest.approx(2**0.5)


def test_epochs_until_the_other_networks_best():
    scratch = [0.9, 0.6, 0.7]
    sooner = compare(3, scratch, [0.8, 0.5, 0.4])
    assert sooner["reached"] == 2
    assert sooner["scratch_best_epoch"] == 2 and sooner["finetuned_best_epoch"] == 3
    assert compare(0, scratch, [0.6, 0.8])["reached"] == 1
    never = compare(4, scratch, [0.7, 0.61])
    assert never["reached"] is None
    lines = table([sooner, never]).splitlines()
    assert lines[1].split() == ["3", "0.60000", "(2)", "0.40000", "(3)", "2"]
    assert lines[2].split() == ["4", "0.60000", "(2)", "0.61000", "(2)", "never"]


def _known(n, seed):
    """Jets with a column of the weights that turn them into others."""
    jets = random_jets(n, seed)
    truth = np.exp(0.5 * np.tanh((jets.multiplicity - 20) / 8))
    return dataclasses.replace(jets, columns={dis_study.TRUTH: truth})


def test_the_scattering_study_has_its_tables_and_figures(tmp_path, capsys):
    fits = {"MLP": [dataclasses.replace(STEP, training=TINY)] * 2}
    other = _known(900, 1)
    pairs = {
        "table4": (random_jets(900, 0), random_jets(900, 2, mean_multiplicity=23)),
        "analytic": (_known(900, 3), other.with_weight(other.columns[dis_study.TRUTH])),
    }
    told = []
    found = dis_study.study(pairs, fits, tmp_path, told.append)
    row = found["table4"]["MLP"]
    assert {"auc", "auc_error", "accuracy", "rejection50", "rejection50_error", "ece"} <= set(row)
    assert row["best_auc"] >= row["auc"] > 0.5
    logarithm, ratio = (
        {f"{of}{n}" for n in ("mse", "mse_constant", "correlation")} for of in ("", "ratio_")
    )
    known = {"chi2", "chi2_before", "bias"}
    assert logarithm | ratio | known == set(found["known_ratio"]["MLP"])
    assert (tmp_path / "figures" / "observables.png").exists()
    write_json(tmp_path / "metrics.json", found)
    assert run(["report", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "rejection at 50 %" in printed and "that are known, test events" in printed
    # a second call finds all that was done
    before = len(told)
    assert dis_study.study(pairs, fits, tmp_path, told.append) == found
    assert not any("epoch" in record for record in told[before:])


def test_the_analytic_ratio_is_of_the_jet_alone():
    jets = random_jets(200, 0)
    order = np.random.default_rng(0).permutation(200)
    np.testing.assert_allclose(dis_study.analytic(jets)[order], dis_study.analytic(jets[order]))
    assert dis_study.analytic(jets).std() > 0.1


def test_the_papers_scattering_is_that_of_its_appendix():
    """arXiv:2603.08802, Appendix B: Lion, 3e-5, weight decay 0.2, 20 epochs, two L-GATr."""
    fits = dis._paper_fits(2, None)
    assert list(fits) == ["lgatr-1M", "lgatr-2M", "lgatr-slim", "pet"]  # none to fine-tune is given
    for label, some in fits.items():
        assert [one.training.seed for one in some] == [0, 1]
        training = some[0].training
        assert (training.optimizer.rule, training.optimizer.learning_rate) == ("lion", 3e-5)
        assert training.optimizer.weight_decay == 0.2 and training.epochs == 20
        assert training.batch_size == (256 if label == "pet" else 512)
    sizes = {}
    for label in ("lgatr-1M", "lgatr-2M"):
        shapes = jax.eval_shape(fits[label][0].initial, jax.random.key(0))
        sizes[label] = sum(x.size for x in jax.tree.leaves(shapes))
    assert 1.0e6 < sizes["lgatr-1M"] < 1.2e6 and 2.0e6 < sizes["lgatr-2M"] < 2.3e6


def test_one_file_may_hold_both_scatterings(tmp_path):
    jets = random_jets(40, 0)
    one, two = dis.by_label(jets.with_label(np.arange(40) % 2), tmp_path / "h1.h5")
    np.testing.assert_array_equal(one.multiplicity, jets[::2].multiplicity)
    np.testing.assert_array_equal(two.multiplicity, jets[1::2].multiplicity)
    for wrong in (jets, jets.with_label(1)):
        with pytest.raises(InputError, match=r"h1\.h5: found the labels .* expected 0 and 1"):
            dis.by_label(wrong, tmp_path / "h1.h5")


TWO_JETS = dataclasses.replace(
    preset("lgatr-slim", "small"),
    hidden_v_channels=2,
    hidden_s_channels=8,
    num_heads=2,
    num_blocks=1,
)


def _two_jets(n, seed, width=0.05):
    return random_dijets(n, seed, width, constituents=3)


def _scan(injected=(0, 60), nulls=1):
    training = dataclasses.replace(
        anomaly_method.TRAINING["small"], epochs=5, patience=None, batch_size=64, buckets=1
    )
    rule = dataclasses.replace(training.optimizer, learning_rate=1e-2)
    training = dataclasses.replace(training, optimizer=rule)
    one = anomaly_method.search(
        "lgatr-slim", networks=2, constituents=6, training=training, network=TWO_JETS
    )
    return anomaly_study.Scan((one,), injected, nulls, 5)


def _anomaly_samples(injected=60):
    return anomaly_study.Samples.of(
        _two_jets(700, 0), _two_jets(500, 1), _two_jets(460, 2, 0.1), injected, 0.6
    )


def test_the_anomaly_study_has_its_table_and_figures_and_goes_on(tmp_path, monkeypatch, capsys):
    samples = _anomaly_samples()
    assert len(samples.background) == 280 and len(samples.test) == 420 + 200
    assert len(samples.data(60)) == 340
    found = anomaly_study.study(samples, _scan(), tmp_path, lambda record: None)
    rows = found["max_sic"]["lgatr-slim"]
    assert set(rows) == {"0", "60"} and len(rows["0"]["values"]) == 2
    assert rows["60"]["median"] > rows["0"]["median"]
    assert found["supervised"]["lgatr-slim"]["median"] > 3
    assert 1 / 3 <= found["null"]["lgatr-slim"]["chance"] <= 1  # of two null trainings
    assert found["min_background"] == 5
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
    again = anomaly_study.study(samples, _scan(), tmp_path, lambda record: None)
    assert trained == [len(samples.data(60))] and again == found


def test_samples_and_scans_that_make_no_study_are_refused(tmp_path):
    with pytest.raises(InputError, match="signal: found 460 events, expected at least 600: those"):
        _anomaly_samples(300)
    with pytest.raises(InputError, match=r"injected: found \(50, 0\)"):
        _scan((50, 0))
    with pytest.raises(InputError, match="min_background: found 420 background events to test"):
        scan = dataclasses.replace(_scan(), least=500)
        anomaly_study.study(_anomaly_samples(), scan, tmp_path, lambda record: None)


def test_the_anomaly_study_takes_labelled_events_of_the_region_and_other_background(tmp_path):
    a, b = tmp_path / "a.h5", tmp_path / "b.h5"

    def of_files(data, template, background, region=(0, 1e5)):
        return anomaly_study.of_files(data, template, background, 1, region, None)

    write_events(a, _two_jets(20, 1))
    data = _two_jets(20, 0).with_label(np.arange(20) > 9)
    write_events(b, data)
    with pytest.raises(InputError, match="found labels None, expected 0 "):
        of_files(a, a, 5)
    with pytest.raises(InputError, match="background: found 10 events asked for of 10"):
        of_files(b, a, 10)
    found = of_files(b, a, 4)
    assert len(found.background) == 4 and len(found.template) == 20
    middle = float(np.median(dijets.dijet_mass(data[:10])))
    assert len(of_files(b, a, 2, (middle, 1e5)).background) == 2
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
    command = [tmp_path / "a.h5", tmp_path / "b.h5", out, ("lgatr-slim",), (0, 1), 20]
    monkeypatch.setattr(anomaly_study.anomaly, "train", killed)
    for resume in (False, True):
        with pytest.raises(Killed):
            anomaly.paper(*command, min_background=1, region=(0, 1e5), resume=resume)
    write_events(tmp_path / "b.h5", _two_jets(30, 5), overwrite=True)
    with pytest.raises(InputError, match=r"another configuration \(template: found"):
        anomaly.paper(*command, min_background=1, region=(0, 1e5), resume=True)
