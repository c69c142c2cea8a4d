"""Two-jet events: the selection, the resonance and its daughters, both levels the same events."""

import numpy as np
import pytest

from jaxpriors.data import dijets
from jaxpriors.data.simulation import generator, lhco


def generate(variant, events):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(generator, "BATCH", 40)
        return lhco.generate(variant, events, 5, 0)


@pytest.fixture(scope="module")
def signal():
    return generate("signal", 60)


@pytest.mark.parametrize("variant", ["background", "sidebands"])
def test_the_background_passes_the_selection(variant):
    levels = generate(variant, 12)
    events = levels["detector"]
    mass = dijets.dijet_mass(events)
    in_region = (mass > 3300) & (mass < 3700)
    assert np.all(in_region == (variant == "background"))
    assert np.all((mass > 2500) & (mass < 5000))
    assert np.all(events.columns["jet1_pt"] > 1200)
    assert np.all(events.columns["jet1_pt"] >= events.columns["jet2_pt"])
    assert not events.label.any()


def test_the_signal_is_a_resonance_of_two_heavy_jets(signal):
    events = signal["particle"]
    assert np.median(dijets.dijet_mass(events)) == pytest.approx(3500, abs=60)
    masses = np.sort([events.columns[f"jet{j}_mass"] for j in (1, 2)], axis=0)
    assert np.median(masses[0]) == pytest.approx(100, abs=20)
    assert np.median(masses[1]) == pytest.approx(500, abs=40)
    assert events.label.all()


def test_levels_are_the_same_events_seen_twice(signal):
    one, two = (dijets.dijet_mass(signal[level]) for level in ("particle", "detector"))
    assert np.median(two / one) == pytest.approx(1, abs=0.05)
    assert np.std(two / one) < 0.2
