"""Events of two jets: what they are made of comes back, jets in order, masses by hand."""

import numpy as np
import pytest

from jaxpriors.data import dijets
from jaxpriors.data.events import Events
from jaxpriors.data.sample_files import read_events, write_events
from jaxpriors.errors import InputError
from jaxpriors.physics import kinematics
from tests.helpers.dijets import random_dijets
from tests.helpers.jets import random_jets


def test_jets_come_back_and_the_harder_one_is_first():
    jets = random_jets(40, 0)
    events = dijets.dijets(jets, label=np.arange(20))
    found = dijets.jets_of(events)
    pt = kinematics.pt(jets.jet_p4).reshape(-1, 2)
    np.testing.assert_allclose(events.columns["jet1_pt"], pt.max(1), rtol=1e-6)
    np.testing.assert_allclose(events.columns["jet2_pt"], pt.min(1), rtol=1e-6)
    for i in range(20):
        place = 2 * i + int(pt[i, 1] > pt[i, 0])
        first, harder = found[2 * i], jets[place]
        np.testing.assert_array_equal(first.p4, harder.p4)
        np.testing.assert_allclose(first.jet_p4, harder.jet_p4, rtol=1e-4, atol=1e-2)
    assert len(events) == 20 and len(events.p4) == len(jets.p4)
    np.testing.assert_array_equal(events.label, np.arange(20))


def test_the_dijet_mass_is_that_of_all_constituents():
    events = random_dijets(30, 1)
    total = np.stack([one.p4.astype(np.float64).sum(0) for one in (events[i] for i in range(30))])
    np.testing.assert_allclose(dijets.dijet_mass(events), kinematics.mass(total), rtol=1e-5)
    window = (3300.0, 3700.0)
    inside = dijets.inside(events, window)
    assert 0 < inside.sum() < 30
    assert np.all(kinematics.mass(total)[inside] < 3700.1)


def test_leading_constituents_of_each_jet():
    events = random_dijets(25, 2)
    cut = dijets.leading(events, 3)
    whole, short = dijets.jets_of(events), dijets.jets_of(cut)
    np.testing.assert_array_equal(short.multiplicity, np.minimum(whole.multiplicity, 3))
    for i in range(50):
        expected = np.sort(kinematics.pt(whole[i].p4))[::-1][:3]
        np.testing.assert_allclose(kinematics.pt(short[i].p4), expected)
    np.testing.assert_array_equal(short.jet_p4, whole.jet_p4)  # those of the whole jets
    np.testing.assert_array_equal(short.columns["multiplicity"], whole.multiplicity)
    again = dijets.leading(cut, 3)
    assert again.digest() == cut.digest()


def test_events_survive_files_choices_and_concatenation(tmp_path):
    events = random_dijets(12, 3).with_label(1)
    write_events(tmp_path / "dijets.h5", events)
    back = read_events(tmp_path / "dijets.h5")
    assert back.digest() == events.digest()
    both = Events.concatenate([back[:5], back[5:]])
    jets, expected = dijets.jets_of(both[7]), dijets.jets_of(events)[[14, 15]]
    np.testing.assert_array_equal(jets.p4, expected.p4)
    np.testing.assert_array_equal(jets.jet_p4, expected.jet_p4)


def test_other_events_are_refused():
    with pytest.raises(InputError, match="found 3 jets, expected two of each event"):
        dijets.dijets(random_jets(3, 0))
    with pytest.raises(InputError, match=r"template: found no columns .*jet1_pt.*two jets"):
        dijets.check(random_jets(3, 0), "template")
    events = random_dijets(4, 0)
    events.columns[dijets.FIRST][2] = events.multiplicity[2]
    with pytest.raises(InputError, match=r"jet1_constituents is \d+ in event 2"):
        dijets.jets_of(events)
