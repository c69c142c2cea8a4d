"""Toys of Gaussians: the reference of infinitely many events, and the table over toys."""

import numpy as np
import pytest

from experiments.unfolding_toys import LOST, MEAN, exact, format_drift, summary, toy


def test_the_exact_unfolding_arrives_at_the_truth():
    found, data = exact(10)
    assert found[0] == pytest.approx(0, abs=1e-6) and data == pytest.approx(
        (1 - LOST) * MEAN, abs=1e-4
    )
    assert np.all(np.diff(found) > 0) and found[10] == pytest.approx(MEAN, abs=1e-3)


def test_fakes_of_another_shape_move_the_limit():
    found, data = exact(10, "shifted")
    assert data == pytest.approx(MEAN, abs=1e-4) and found[10] == pytest.approx(
        MEAN / (1 - LOST), abs=2e-3
    )


def test_toys_are_what_the_reference_unfolds():
    simulation, data = toy(0.0, [1, 0]), toy(MEAN, [1, 1])
    assert np.mean(simulation.pass_gen) == pytest.approx(1 - LOST, abs=0.02)
    assert data.particle.columns["x"].mean() == pytest.approx(MEAN, abs=0.05)
    assert data.detector.columns["x"].mean() == pytest.approx((1 - LOST) * MEAN, abs=0.06)
    assert abs(data.detector.columns["y"].mean()) < 0.06


def test_a_fluctuation_of_the_data_is_no_drift():
    """Toys that follow their data have a spread, and none without the data's own."""
    reference, measured = exact(2)
    dilution = reference[-1] / measured
    toys = [
        {
            "mean": [0.0, 0.2 + dilution * shift, MEAN + dilution * shift],
            "data": measured + shift,
            "data_error": 0.02,
            "gain": [1e-3, 1e-5],
            "chosen": 2,
        }
        for shift in (-0.02, 0.0, 0.02)
    ]
    found = summary({"default": toys}, 2, "alike")
    row = found["variants"]["default"]
    assert row["spread"][2] > 0.01 and row["own_spread"][2] == pytest.approx(0, abs=1e-9)
    assert row["mean"][2] == pytest.approx(MEAN) and row["chosen"] == 2
    assert "default: 3 toys, truth 0.3000" in format_drift(found)
