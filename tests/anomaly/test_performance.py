"""Significance improvement against what is known analytically, and the tables' texts."""

import numpy as np
import pytest
from scipy.stats import norm

from jaxpriors import InputError
from jaxpriors.anomaly import performance as anomaly

RNG = np.random.default_rng(0)
SHIFT, SIZE = 2.0, 200_000
LABELS = np.repeat([0, 1], SIZE)
NORMAL = RNG.normal(size=(1, 2 * SIZE)) + SHIFT * LABELS


def test_the_maximum_is_that_of_two_gaussians():
    """Signal shifted by 2σ: ε_S / √ε_B with ε from the normal distribution."""
    cuts = np.linspace(-3, 5, 2001)
    behind = norm.sf(cuts) * SIZE >= 100
    exact = (norm.sf(cuts - SHIFT) / np.sqrt(norm.sf(cuts)))[behind].max()
    found = anomaly.performance(NORMAL, LABELS, 100)
    assert found["max_sic"]["median"] == pytest.approx(exact, rel=0.05)
    assert found["auc"]["median"] == pytest.approx(norm.cdf(SHIFT / np.sqrt(2)), abs=0.002)


def test_curves_follow_the_gaussians_and_end_with_the_background():
    found = anomaly.curves(NORMAL, LABELS, 100)
    efficiency = anomaly.EFFICIENCIES
    background = norm.sf(norm.isf(efficiency) + SHIFT)
    known = background * SIZE > 1000
    np.testing.assert_allclose(
        found["sic"][0][known], (efficiency / np.sqrt(background))[known], rtol=0.08
    )
    np.testing.assert_allclose(found["rejection"][0][known], 1 / background[known], rtol=0.16)
    assert np.isnan(found["sic"][0][background * SIZE < 60]).all()


def test_the_cut_on_the_background_is_kept():
    """A perfect network: only the number of background events behind the cut limits it."""
    labels = np.repeat([0, 1], [1000, 50])
    scores = np.concatenate([np.arange(1000.0), np.full(50, 2000.0)])[None]
    for least in (1, 10, 100):
        found = anomaly.performance(scores, labels, least)["max_sic"]["median"]
        assert found == pytest.approx(1 / np.sqrt(least / 1000))
    for share in (0.001, 0.1, 0.5):  # is to be exceeded, as OmniLearn's
        found = anomaly.performance(scores, labels, share)["max_sic"]["median"]
        assert found == pytest.approx(1 / np.sqrt(share + 0.001))
    with pytest.raises(InputError, match="expected at least 2000"):
        anomaly.performance(scores, labels, 2000)


def test_weights_are_repeated_events():
    labels, scores = np.repeat([0, 1], 200), RNG.normal(size=(2, 400))
    count = RNG.integers(1, 4, 400)
    one = anomaly.performance(scores, labels, 20, count)
    again = [np.repeat(x, count, axis=-1) for x in (scores, labels)]
    # as many events weigh more than the effective number of the weighted ones
    size = count[labels == 0].sum() ** 2 / np.sum(count[labels == 0] ** 2)
    more = anomaly.performance(*again, 20 * count[labels == 0].sum() / size)
    for kind in ("max_sic", "auc"):
        np.testing.assert_allclose(one[kind]["values"], more[kind]["values"])
    sic = anomaly.curves(scores, labels, 20, count)["sic"]
    assert np.nanmax(sic) <= max(one["max_sic"]["values"]) + 1e-12


def test_summary_and_chance():
    found = anomaly.summary(np.arange(101.0))
    assert (found["median"], found["mean"], found["low"], found["high"]) == (50, 50, 16, 84)
    skewed = np.array([[0.0, 0.0, 0.0, 8.0]]).T
    assert anomaly.band(skewed, "mean")[0] == 2 and anomaly.band(skewed)[0] == 0
    assert anomaly.chance(5.0, np.arange(9.0)) == pytest.approx(5 / 10)  # 5, 6, 7, 8 and itself
    assert anomaly.chance(99.0, np.arange(9.0)) == pytest.approx(1 / 10)


def test_tables_are_told_from_metrics_alone():
    row = {"median": 3.25, "mean": 3.5, "low": 2.0, "high": 4.0}
    values = {
        "max_sic": {"lgatr": {"0": row, "50": row}},
        "supervised": {"lgatr": row},
        "null": {"lgatr": row | {"chance": 0.25}},
        "min_background": 10,
    }
    text = anomaly.format_anomaly(values)
    assert "at least 10 background events" in text and text.count("3.25 (2.00-4.00)") == 4
    assert text.splitlines()[-1].endswith("0.25")
    # models of runs that were merged may lack a point and the references
    values["max_sic"]["pet"] = {"500": row}
    values |= {"min_background": 1e-4, "center": "mean"}
    text = anomaly.format_anomaly(values)
    assert "mean (68 % band)" in text and "more than 0.01 % of the background behind" in text
    assert text.count("3.50 (2.00-4.00)") == 5 and text.splitlines()[-1].startswith("pet")
    del values["supervised"], values["null"]
    assert "supervised" not in anomaly.format_anomaly(values)
    with pytest.raises(InputError, match="found no 'max_sic'"):
        anomaly.format_anomaly({})
