"""Figures hold what they should: panels, curves, labels, files."""

from __future__ import annotations

import numpy as np
import pytest

from jaxpriors.errors import InputError
from jaxpriors.evaluation import figures as plots
from jaxpriors.evaluation.likelihood_ratio import reliability


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


def test_bad_input_is_named():
    with pytest.raises(InputError, match=r"history of \['slim'\] holds no epoch"):
        plots.training_figure({"slim": {"train": []}})
