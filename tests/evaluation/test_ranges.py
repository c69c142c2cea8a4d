"""Ranges of observables: published ones where they fit, else those of the samples."""

from __future__ import annotations

import numpy as np
import pytest

from jaxpriors.data.samples import zjets
from jaxpriors.errors import InputError
from jaxpriors.evaluation.observables import (
    LN_RHO_MINIMUM,
    OBSERVABLES,
    jet_observables,
    observables,
)
from jaxpriors.evaluation.ranges import JET_OBSERVABLES, fitted, fitting, ranged, spanned, spanning
from tests.helpers.jets import random_jets

PUBLISHED = tuple(OBSERVABLES.values())
MASS, MULTIPLICITY = OBSERVABLES["mass"], OBSERVABLES["multiplicity"]


def test_ranges_span_both_samples_also_where_all_are_alike():
    jets = random_jets(300, 0)
    one = jet_observables(jets)
    other = {name: np.full(10, 7.0) for name in one}
    for o in spanning(one, other):
        inside = (one[o.name] >= o.low) & (one[o.name] <= o.high)
        assert inside.mean() > 0.97 and o.low <= 7.0 <= o.high
    for o in spanning(other, other):
        assert o.low <= 7.0 <= o.high and len(o.edges) == o.bins + 1


def test_the_published_ranges_fit_the_published_sample():
    samples = [
        observables(events[:2000])
        for events in (zjets("data", "detector"), zjets("simulation", "detector"))
    ]
    assert fitting(*samples) == PUBLISHED


def test_one_heavy_sample_changes_the_range_for_both():
    rng = np.random.default_rng(0)
    light, heavy = rng.uniform(5, 60, 5000), rng.uniform(5, 300, 5000)
    assert fitted(MASS, light, light) == MASS
    for samples in ((light, heavy), (heavy, light)):
        found = fitted(MASS, *samples)
        for values in samples:
            assert np.mean((values >= found.low) & (values <= found.high)) >= 0.99
        assert found.bins == 20 and found.high > 290


def test_a_hundredth_outside_is_the_limit():
    values = np.linspace(0, 75, 9900)
    assert fitted(MASS, np.append(values, np.full(99, 80.0))) == MASS
    assert fitted(MASS, np.append(values, np.full(110, 80.0))) != MASS


def test_jets_without_a_groomed_mass_do_not_decide_its_range():
    groomed = OBSERVABLES["groomed_mass"]
    values = np.append(np.linspace(-13, -3, 500), np.full(500, LN_RHO_MINIMUM))
    assert fitted(groomed, values) == groomed
    heavy = fitted(groomed, np.where(values > LN_RHO_MINIMUM, values + 3, values))
    assert -10.1 < heavy.low < -9.9 and -0.1 < heavy.high < 0.1
    assert fitted(groomed, np.full(5, LN_RHO_MINIMUM)) == groomed


def test_bins_of_a_large_multiplicity_hold_whole_numbers():
    found = fitted(MULTIPLICITY, np.arange(50, 250))
    assert np.all(found.edges % 1 == 0.5) and len(set(np.diff(found.edges))) == 1
    assert found.low < 52 and found.high > 247 and found.bins <= 20


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.int64])
def test_quantiles_do_not_depend_on_the_precision_of_the_values(dtype):
    values = np.arange(100, 1100).astype(dtype)
    found = spanned(MASS, values)
    assert found.low == pytest.approx(104.995) and found.high == pytest.approx(1094.005)
    assert spanned(MASS, np.array([1000.0, np.inf, np.nan])).low == 999.5


def test_given_ranges_replace_those_of_their_names():
    found = ranged(PUBLISHED, {"mass": (0, 300)})
    assert (found[0].low, found[0].high, found[0].bins) == (0, 300, 20)
    assert found[1:] == PUBLISHED[1:]
    with pytest.raises(InputError, match="ranges: found 'spin', expected some of mass, width"):
        ranged(PUBLISHED, {"spin": (0, 1)})
    for bad in ((3, 3), (0, np.inf), (np.nan, 1)):
        with pytest.raises(InputError, match=r"ranges: pt: found .* expected low < high"):
            ranged(JET_OBSERVABLES, {"pt": bad})
