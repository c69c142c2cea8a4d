"""The figure of observables holds panels, curves, labels, and tells what it does not show."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.patches import StepPatch

from jaxpriors.errors import InputError
from jaxpriors.evaluation.histograms import histogram
from jaxpriors.evaluation.observable_figure import observable_figure
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
    figure = observable_figure(data, simulation, weights)
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


def test_the_spread_of_trainings_is_a_band_around_the_ratio(samples):
    data, simulation = samples
    each = np.exp(np.random.default_rng(0).normal(0, 0.3, (4, 1)) * simulation["zg"])
    drawn = observable_figure(data, simulation, {"PET": each.mean(0)}, trainings={"PET": each})
    edges, (band,) = OBSERVABLES["mass"].edges, steps(drawn.axes[1])[3:]
    values, _, baseline = band.get_data()
    density = histogram(data["mass"], edges).density(edges)[0]
    spread = np.std(
        [histogram(simulation["mass"], edges, w).density(edges)[0] for w in each], axis=0, ddof=1
    )
    known = np.isfinite(values)
    assert known.sum() > 5
    expected = 2 * spread[known] / density[known]
    np.testing.assert_allclose((values - baseline)[known], expected, rtol=1e-5)


@pytest.mark.parametrize("models", [2, 7, 11])
def test_the_legend_of_many_models_stays_inside(samples, models):
    weights = {f"pet-finetuned {i}": np.ones(3000) for i in range(models)}
    figure = observable_figure(*samples, weights)
    figure.draw_without_rendering()
    box, whole = figure.legends[0].get_window_extent(), figure.bbox
    assert whole.x0 <= box.x0 and box.x1 <= whole.x1
    assert box.y1 <= whole.y1
    assert box.y0 >= figure.axes[0].get_window_extent().y1


def test_ratios_of_equal_samples_are_one_and_imprecise_bins_stay_empty(samples):
    data, _ = samples
    figure = observable_figure(
        data, data, {}, observables=[OBSERVABLES["mass"]], data_label="H1", simulation_label="MC"
    )
    assert len(figure.axes) == 2
    ratio = steps(figure.axes[1])[1].get_data().values
    counts = np.histogram(data["mass"], OBSERVABLES["mass"].edges)[0]
    np.testing.assert_allclose(ratio[counts > 25], 1.0)
    assert np.isnan(ratio[counts < 25]).all() and (counts < 25).any()


def test_titles_tell_what_lies_outside(samples):
    data, simulation = samples
    some = {**simulation, "mass": np.append(simulation["mass"][30:], np.full(30, 90.0))}
    figure = observable_figure(data, some, {}, observables=[OBSERVABLES["mass"]])
    low = np.mean(data["mass"] < 0)
    title = figure.axes[0].get_title(loc="right")
    assert title.startswith(f"below, above: Data {low:.1%}, 0.0%; Simulation")
    assert title.endswith(f"{np.mean(some['mass'] > 75):.1%}")
    inside = {"mass": np.full(9, 5.0)}
    figure = observable_figure(inside, inside, {}, observables=[OBSERVABLES["mass"]])
    assert figure.axes[0].get_title(loc="right") == ""


def test_panels_without_events_stay_empty(samples):
    data, simulation = samples
    away = {**data, "mass": data["mass"] + 1000}
    weights = {"a": -np.ones(3000), "b": np.ones(3000)}
    figure = observable_figure(away, simulation, weights)
    empty = figure.axes[0]
    assert steps(empty) == [] and [t.get_text() for t in empty.texts] == ["Data: none here"]
    assert len(steps(figure.axes[2])) == 2  # the weights of "a" have a negative sum
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == ["Data", "Simulation", "b"]
    figure.draw_without_rendering()


def test_bad_input_is_named(samples):
    data, simulation = samples
    with pytest.raises(InputError, match=r"\['zg'\] not found; data has"):
        observable_figure(data, {k: v for k, v in simulation.items() if k != "zg"}, {})
    with pytest.raises(InputError, match="values have shape"):
        observable_figure(data, simulation, {"a": np.ones(2)})
