"""The study of deep-inelastic scattering from end to end, apart and merged, and its files."""

import dataclasses

import h5py
import numpy as np
import pytest

from experiments import dis, dis_study, rows
from jaxpriors.cli.main import run
from jaxpriors.data.sample_files import write_events
from jaxpriors.errors import InputError
from jaxpriors.ratio.classifier import RatioClassifier
from jaxpriors.ratio.presets import MODELS
from jaxpriors.run.storage import read_json, write_json
from tests.helpers.jets import random_jets
from tests.helpers.runs import quiet_run

TINY = dataclasses.replace(MODELS["mlp"].training["small"], epochs=2, batch_size=64)


def _mlp(seed):
    return RatioClassifier("mlp", training=dataclasses.replace(TINY, seed=seed))


def _known(n, seed):
    """Jets with a column of the weights that turn them into others."""
    jets = random_jets(n, seed)
    truth = np.exp(0.5 * np.tanh((jets.multiplicity - 20) / 8))
    return dataclasses.replace(jets, columns={dis_study.TRUTH: truth})


def test_the_scattering_study_has_its_tables_and_figures(tmp_path, capsys):
    fits = {"MLP": {seed: _mlp(seed) for seed in (0, 3)}}
    other = _known(900, 1)
    pairs = {
        "table4": (random_jets(900, 0), random_jets(900, 2, mean_multiplicity=23)),
        "analytic": (_known(900, 3), other.with_weight(other.columns[dis_study.TRUTH])),
    }
    shown = []
    evaluation = dis_study.Evaluation()
    found = dis_study.study(pairs, fits, evaluation, quiet_run(tmp_path, shown.append))
    row = found["table4"]["MLP"]
    measured = {"auc", "accuracy", "rejection50", "rejection10"}
    cells = measured | {f"{name}_error" for name in measured} | {"ece", "ece_floor"}
    assert cells == set(row["chosen"]) == set(row["mean"]) == set(row["spread"])
    losses = row["seeds"]
    assert set(losses) == {"0", "3"} and losses[str(row["seed"])] == min(losses.values())
    best = next(one for one in found["rows"] if one["seed"] == row["seed"])
    assert best["table4"] == row["chosen"] and best["closure"] == found["closure"]["MLP"]
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
    assert "mean ± spread of 2" in printed
    # a second call finds all that was done
    before = len(shown)
    assert dis_study.study(pairs, fits, evaluation, quiet_run(tmp_path, shown.append)) == found
    assert not any("epoch" in record for record in shown[before:])


def test_the_figure_has_the_mean_log_ratio_of_the_seeds(tmp_path, monkeypatch):
    drawn = {}
    monkeypatch.setattr(
        dis_study, "observable_figure", lambda *a, **k: drawn.update(models=a[2], **k)
    )
    values = {name: np.linspace(0, 9, 50) for name in ("pt", "mass", "multiplicity", "width")}
    with h5py.File(tmp_path / dis_study.TEST, "w") as file:
        for sample in ("simulation", "data"):
            file[f"{sample}/weight"] = np.ones(50)
            for name, array in values.items():
                file[f"{sample}/observables/{name}"] = array
    made = [{"label": "pet", "seed": seed} for seed in (0, 1)]
    ratios = np.random.default_rng(0).normal(size=(2, 50))
    for row, one in zip(made, ratios, strict=True):
        place = rows.place(tmp_path, "pet", row["seed"])
        place.mkdir(parents=True)
        with h5py.File(place / dis_study.RATIOS, "w") as file:
            file["log_ratio"] = one
    dis_study.figure(tmp_path, made)
    mean = np.exp(ratios.mean(0))
    np.testing.assert_allclose(drawn["models"]["pet"], mean / mean.mean())
    assert drawn["trainings"]["pet"].shape == (2, 50)


def _measured(simulation, data, config, inner, sources):
    """What a training leaves, by the number of its seed, without any training."""
    seed = config.classifiers[0].training.seed
    inner.folder.mkdir(parents=True, exist_ok=True)
    with h5py.File(inner.folder / "weights.h5", "w") as file:
        file["mlp/log_ratio"] = np.random.default_rng(seed).normal(size=len(simulation))
    ratios = {"mlp": {"mean_ratio": 1.0, "mean_ratio_error": 0.1 + seed}}
    row = {n: 0.5 + seed for n in ("auc", "accuracy", "rejection50", "rejection10", "ece")}
    row |= {f"{name}_error": 0.1 for name in row} | {"ece_floor": 0.1}
    models = {"mlp": {"validation_loss": 0.6 - seed}}
    return {"table4": {"mlp": row}, "closure": ratios, "models": models}


def test_rows_that_were_trained_apart_make_the_same_study(tmp_path, monkeypatch):
    samples = {"table4": (random_jets(600, 0), random_jets(600, 2, mean_multiplicity=23))}
    monkeypatch.setattr(dis_study, "run_reweighting", _measured)

    def fitted(seeds, out):
        fits = {"lgatr-slim": {seed: _mlp(seed) for seed in seeds}}  # a label of the table
        dis_study.run_fits(lambda _: samples, fits, dis_study.Evaluation(), out, False, {})
        return read_json(out / "metrics.json")

    whole = fitted((0, 1), tmp_path / "whole")
    for seed in (0, 1):
        fitted((seed,), tmp_path / f"{seed}")
    parts = (tmp_path / "1", tmp_path / "0")
    assert dis.merge(parts, tmp_path / "merged") == 0
    found = read_json(tmp_path / "merged" / "metrics.json")
    for key in ("rows", "table4", "closure"):
        assert found[key] == whole[key]
    assert found["table4"]["lgatr-slim"]["chosen"]["auc"] == 1.5  # of the smaller loss
    assert found["closure"]["lgatr-slim"]["mean_ratio_error"] == 1.1
    assert (tmp_path / "merged" / "figures" / "observables.png").exists()
    samples = {"table4": (random_jets(600, 4), random_jets(600, 5))}
    fitted((2,), tmp_path / "2")
    with pytest.raises(InputError, match=r"2: settings or samples here .* differ \(samples"):
        dis.merge((*parts, tmp_path / "2"), tmp_path / "all")
    assert not (tmp_path / "all").exists()


def test_the_analytic_ratio_is_of_the_jet_alone():
    jets = random_jets(200, 0)
    order = np.random.default_rng(0).permutation(200)
    np.testing.assert_allclose(dis.analytic(jets)[order], dis.analytic(jets[order]))
    assert dis.analytic(jets).std() > 0.1


def test_one_file_may_hold_both_scatterings(tmp_path):
    jets = random_jets(40, 0)
    one, two = dis.by_label(jets.with_label(np.arange(40) % 2), tmp_path / "h1.h5")
    np.testing.assert_array_equal(one.multiplicity, jets[::2].multiplicity)
    np.testing.assert_array_equal(two.multiplicity, jets[1::2].multiplicity)
    for wrong in (jets, jets.with_label(1)):
        with pytest.raises(InputError, match=r"h1\.h5: found the labels .* expected 0 and 1"):
            dis.by_label(wrong, tmp_path / "h1.h5")


def test_three_files_are_used_for_what_they_are(tmp_path, monkeypatch):
    """Every event is of the part of its file: found by its energy, in whole and in a dry run."""
    sizes, first = {"train": 60, "val": 20, "test": 40}, 0
    for part, size in sizes.items():
        jets = random_jets(size, size)
        energy = first + np.arange(size) + 50.0  # of the whole jet, a number of its own
        jets = dataclasses.replace(jets, jet_p4=energy[:, None] * [1, 0.5, 0, 0.5])
        write_events(tmp_path / f"{part}.h5", jets.with_label(np.arange(size) % 2))
        first += size
    seen = {}

    def run_fits(make, fits, evaluation, out, resume, sources, notes):
        one = next(iter(fits["mlp"].values()))
        pair = make(lambda record: None)["table4"]
        config = evaluation.of(one, "table4")
        seen["prepared"] = dis_study.prepare_reweighting(*pair, config)
        return 0

    monkeypatch.setattr(dis, "run_fits", run_fits)
    monkeypatch.setattr(dis, "ROWS", ("mlp",))
    monkeypatch.setattr(dis.published, "classifier", lambda *a, seed, **k: _mlp(seed))
    monkeypatch.setattr(dis, "EVENTS", 48)
    for dry in (False, True):
        dis.paper(tmp_path / "run", parts=tmp_path, models=("mlp",), dry_run=dry)
        prepared, start = seen["prepared"], 50
        for part, size in zip(("train", "validation", "test"), sizes.values(), strict=True):
            for label, events in enumerate(prepared.part(part)):
                wanted = start + np.arange(size)[label::2]
                got = np.round(events.jet_p4[:, 0])
                if dry:
                    assert len(got) and np.isin(got, wanted).all()
                else:
                    np.testing.assert_array_equal(np.sort(got), wanted)
            start += size


def test_what_makes_no_study_is_refused(tmp_path):
    out = tmp_path / "run"
    with pytest.raises(InputError, match="models: found bert, expected one or several"):
        dis.paper(out, parts=tmp_path, models=("bert",))
    with pytest.raises(InputError, match="seeds: found 1 1, expected the numbers"):
        dis.paper(out, parts=tmp_path, models=("lgatr-1M",), seeds=(1, 1))
    with pytest.raises(InputError, match="found parts, data, expected --parts FOLDER"):
        dis.paper(out, parts=tmp_path, data=tmp_path, models=("lgatr-1M",))
    with pytest.raises(InputError, match="pretrained"):
        dis.paper(out, parts=tmp_path, models=("pet-finetuned",))
    assert not out.exists()
