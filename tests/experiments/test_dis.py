"""The study of deep-inelastic scattering from end to end, and that its paper is the paper's."""

import dataclasses

import jax
import numpy as np
import pytest

from experiments import dis
from jaxpriors.cli.main import run
from jaxpriors.errors import InputError
from jaxpriors.ratio.classifier import RatioClassifier
from jaxpriors.ratio.presets import MODELS
from jaxpriors.run.storage import write_json
from tests.helpers.jets import random_jets
from tests.helpers.runs import quiet_run

TINY = dataclasses.replace(MODELS["mlp"].training["small"], epochs=2, batch_size=64)


def _known(n, seed):
    """Jets with a column of the weights that turn them into others."""
    jets = random_jets(n, seed)
    truth = np.exp(0.5 * np.tanh((jets.multiplicity - 20) / 8))
    return dataclasses.replace(jets, columns={dis.TRUTH: truth})


def test_the_scattering_study_has_its_tables_and_figures(tmp_path, capsys):
    fits = {"MLP": [RatioClassifier("mlp", training=TINY)] * 2}
    other = _known(900, 1)
    pairs = {
        "table4": (random_jets(900, 0), random_jets(900, 2, mean_multiplicity=23)),
        "analytic": (_known(900, 3), other.with_weight(other.columns[dis.TRUTH])),
    }
    shown = []
    found = dis.study(pairs, fits, quiet_run(tmp_path, shown.append))
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
    before = len(shown)
    assert dis.study(pairs, fits, quiet_run(tmp_path, shown.append)) == found
    assert not any("epoch" in record for record in shown[before:])


def test_the_analytic_ratio_is_of_the_jet_alone():
    jets = random_jets(200, 0)
    order = np.random.default_rng(0).permutation(200)
    np.testing.assert_allclose(dis.analytic(jets)[order], dis.analytic(jets[order]))
    assert dis.analytic(jets).std() > 0.1


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
