"""The unfolding study from end to end, and that its paper is the paper's."""

import dataclasses

import numpy as np
import pytest

from experiments import unfolding
from experiments.unfolding_closure import cases, closures, with_all_observables
from experiments.unfolding_study import Samples, study
from jaxpriors.data.matched import Simulation
from jaxpriors.errors import InputError
from jaxpriors.evaluation.observables import OBSERVABLES
from jaxpriors.evaluation.tables import format_table
from jaxpriors.ratio.classifier import RatioClassifier
from jaxpriors.ratio.finetuning import SHIPPED
from jaxpriors.ratio.presets import MODELS
from jaxpriors.unfolding.distributions import format_closures
from jaxpriors.unfolding.omnifold import OmniFold
from tests.helpers.jets import random_jets
from tests.helpers.runs import quiet_run

TINY = dataclasses.replace(MODELS["mlp"].training["small"], epochs=2, batch_size=64)
STEP = RatioClassifier("mlp", training=TINY)
CONFIG = OmniFold(STEP, STEP, iterations=2, later=(TINY, TINY))


def _sample(n, seed, mean=20):
    """Jets at both levels, some of which are known at one alone."""
    rng = np.random.default_rng(seed)
    levels = [random_jets(n, seed + k, mean_multiplicity=mean) for k in (0, 100)]
    return with_all_observables(Simulation.of(*levels, rng.random(n) > 0.05, rng.random(n) > 0.1))


def test_the_study_has_both_tables_and_figures(tmp_path):
    samples = Samples.of(_sample(900, 0), _sample(900, 1, mean=24))
    found = study(samples, {"mlp": [CONFIG, CONFIG]}, quiet_run(tmp_path))
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
    found = closures({"analytic": made["analytic"]}, one, quiet_run(tmp_path))
    assert set(found["analytic"]["mass"]) == {"chi2", "ndf", "p", "prior_chi2", "total"}
    assert found["analytic"]["mass"]["total"] == pytest.approx(1, abs=0.15)
    assert "Bonferroni" in format_closures(found)


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


def test_the_papers_study_is_that_of_its_appendix(studied, tmp_path):
    """arXiv:2603.08802, Appendix B: five seeds, Lion, warm starts at fixed rates."""
    simulation, data, configs, closure, *_ = studied(
        unfolding.paper, "simulation", "data", tmp_path, events=300
    )
    assert len(simulation) == len(data) == 300
    assert list(configs) == ["mlp", "lgatr-slim", "lgatr", "pet"]  # none to fine-tune is given
    assert closure == configs["lgatr-slim"][0]
    for model, rate in (("lgatr-slim", 1e-5), ("lgatr", 1e-5), ("pet", 1e-6)):
        assert [c.detector.training.seed for c in configs[model]] == [0, 1, 2, 3, 4]
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
        assert [c.detector.training.seed for c in seeds] == [c.seed for c in seeds]
        assert [c.seed for c in seeds] == [0, 1]
    with pytest.raises(InputError, match="folder: found none, expected that of the chunks"):
        unfolding.paper("pythia26", "herwig", tmp_path)
