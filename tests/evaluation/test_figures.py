"""Figures hold what they should: panels, curves, labels, files."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.patches import StepPatch

from jaxpriors.errors import InputError
from jaxpriors.evaluation import figures as plots
from jaxpriors.evaluation.likelihood_ratio import reliability
from jaxpriors.evaluation.metrics import histogram
from jaxpriors.evaluation.observables import OBSERVABLES


@pytest.fixture(scope="module")
def samples() -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Bell-shaped values within the range of each observable, data shifted a little."""
    rng = np.random.default_rng(5)

    def draw(number: int, shift: float) -> dict[str, np.ndarray]:
        return {
            o.name: o.low + (o.high - o.low) * (0.4 + shift + 0.15 * rng.normal(size=number))
            for o in OBSERVABLES.values()
        }

    return draw(2000, 0.02), draw(3000, 0.0)


def steps(axes) -> list[StepPatch]:
    """The step lines of a panel, in drawing order."""
    return [patch for patch in axes.patches if isinstance(patch, StepPatch)]


def test_six_panels_with_ratios_hold_data_simulation_and_models(samples):
    data, simulation = samples
    weights = {"L-GATr": np.exp(simulation["zg"]), "PET": np.ones(3000)}
    figure = plots.observable_figure(data, simulation, weights)
    assert len(figure.axes) == 12
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == ["Data", "Simulation", "L-GATr", "PET"]
    for main, ratio, observable in zip(
        figure.axes[::2], figure.axes[1::2], OBSERVABLES.values(), strict=True
    ):
        edges, name = observable.edges, observable.name
        assert observable.label in ratio.get_xlabel() and observable.unit in main.get_ylabel()
        drawn = steps(main)
        assert len(drawn) == 3 and len(steps(ratio)) == 4  # the ratios and the data's band
        for step, sample_weights in zip(drawn, [None, *weights.values()], strict=True):
            expected = histogram(simulation[name], edges, sample_weights).density(edges)[0]
            np.testing.assert_allclose(step.get_data().values, expected)
        points = main.containers[0].lines[0].get_xydata()
        density = histogram(data[name], edges).density(edges)[0]
        np.testing.assert_allclose(points[:, 1], density[density > 0])
        np.testing.assert_allclose(main.get_xlim(), (edges[0], edges[-1]))
        bottom, top = ratio.get_ylim()
        assert bottom + top == pytest.approx(2.0)


@pytest.mark.parametrize("models", [2, 7, 11])
def test_the_legend_of_many_models_stays_inside(samples, models):
    weights = {f"pet-finetuned {i}": np.ones(3000) for i in range(models)}
    figure = plots.observable_figure(*samples, weights)
    figure.draw_without_rendering()
    box, whole = figure.legends[0].get_window_extent(), figure.bbox
    assert whole.x0 <= box.x0 and box.x1 <= whole.x1
    assert box.y1 <= whole.y1
    assert box.y0 >= figure.axes[0].get_window_extent().y1


def test_ratios_of_equal_samples_are_one_and_imprecise_bins_stay_empty(samples):
    data, _ = samples
    figure = plots.observable_figure(
        data, data, {}, observables=[OBSERVABLES["mass"]], data_label="H1", simulation_label="MC"
    )
    assert len(figure.axes) == 2
    ratio = steps(figure.axes[1])[1].get_data().values
    counts = np.histogram(data["mass"], OBSERVABLES["mass"].edges)[0]
    np.testing.assert_allclose(ratio[counts > 25], 1.0)
    assert np.isnan(ratio[counts < 25]).all() and (counts < 25).any()


def test_training_curves_mark_the_best_epoch():
    history = {
        "slim": {"train": [0.7, 0.6, 0.5], "validation": [0.7, 0.65, 0.66]},
        "PET": {"train": [0.69], "validation": [0.68]},
    }
    axes = plots.training_figure(history).axes[0]
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert labels == ["slim, train", "slim, validation", "PET, train", "PET, validation"]
    crosses = [line.get_xydata().tolist() for line in axes.lines if line.get_marker() == "x"]
    assert crosses == [[[2.0, 0.65]], [[1.0, 0.68]]]


def test_curves_of_several_seeds_are_drawn_with_their_mean():
    axes = plots.seeds_figure({"PET": [[0.7, 0.6], [0.8, 0.5]], "tuned": [[0.6, 0.6]]}).axes[0]
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert labels == ["PET, mean of 2 seeds", "tuned, mean of 1 seeds"]
    lines = [line.get_ydata().tolist() for line in axes.lines]
    np.testing.assert_allclose(lines[:3], [[0.7, 0.6], [0.8, 0.5], [0.75, 0.55]])
    assert len({line.get_color() for line in axes.lines[:3]}) == 1
    assert len({line.get_color() for line in axes.lines}) == 2


def test_a_reliability_diagram_has_a_curve_for_each_model_and_the_diagonal():
    rng = np.random.default_rng(0)
    exact = [x / 2 - 1 / 8 for x in (rng.normal(0, 1, 4000), rng.normal(0.5, 1, 4000))]
    diagrams = {"exact": reliability(*exact), "flat": reliability(*(0.2 * r for r in exact))}
    main, below = plots.calibration_figure(diagrams).axes
    labels = main.get_legend_handles_labels()[1]
    assert [label.split(",")[0] for label in labels] == ["exact", "flat"]
    for axes, minus in ((main, 0), (below, 1)):
        for line, found in zip(axes.containers, diagrams.values(), strict=True):
            x, y = line[0].get_data()
            np.testing.assert_allclose(x, found.predicted)
            np.testing.assert_allclose(y, found.observed - minus * found.predicted)


def test_save_figure_writes_both_files_and_nothing_else(tmp_path):
    figure = plots.training_figure({"slim": {"train": [0.7, 0.6]}})
    written = plots.save_figure(figure, tmp_path / "loss.v1")
    assert written == [tmp_path / "loss.v1.pdf", tmp_path / "loss.v1.png"]
    assert sorted(tmp_path.iterdir()) == written
    assert written[0].read_bytes().startswith(b"%PDF")
    assert written[1].read_bytes().startswith(b"\x89PNG")
    before = written[0].read_bytes()
    plots.save_figure(figure, tmp_path / "loss.v1")
    assert written[0].read_bytes() == before


def test_bad_input_is_named(samples):
    data, simulation = samples
    with pytest.raises(InputError, match=r"\['zg'\] not found; data has"):
        plots.observable_figure(data, {k: v for k, v in simulation.items() if k != "zg"}, {})
    with pytest.raises(InputError, match=r"history of \['slim'\] holds no epoch"):
        plots.training_figure({"slim": {"train": []}})
    with pytest.raises(InputError, match="values have shape"):
        plots.observable_figure(data, simulation, {"a": np.ones(2)})
