"""Leading constituents and jets: NaN is refused before anything is ranked by pT."""

import numpy as np
import pytest

from jaxpriors.data.clustering import Particles, leading_jets
from jaxpriors.data.events import Events
from jaxpriors.errors import InputError

P4 = [[5.0, 3.0, 4.0, 0.0], [np.nan, np.nan, 0.0, 0.0], [13.0, 12.0, 5.0, 0.0]]


def test_events_with_nan_cannot_be_made():
    """numpy 2.4 sorts NaN last: reversed, it would be the first of a descending order."""
    with pytest.raises(InputError, match=r"finite"):
        Events.from_flat(P4, [3])
    with pytest.raises(InputError, match=r"finite"):
        Events.from_padded(np.array([P4]))


def test_finite_constituents_are_ranked_by_pt():
    events = Events.from_flat([P4[0], P4[2]], [2])
    assert events.sorted_by_pt().p4[:, 0].tolist() == [13, 5]
    assert events.hardest(1).p4[:, 0].tolist() == [13]


def test_leading_jets_of_particles_with_nan_are_refused():
    """awkward 2.14.0 sorts NaN before all numbers, in falling order too."""
    pytest.importorskip("fastjet")
    event, pid = np.zeros(3, np.int64), np.zeros(3, np.int32)
    with pytest.raises(InputError, match="1 of 3 have momenta that are not finite, first number 1"):
        leading_jets(Particles(event, np.array(P4), pid), 1, radius=0.4, pt_min=1.0)
    good = Particles(event[:2], np.array([P4[0], P4[2]]), pid[:2])
    found = leading_jets(good, 1, radius=0.4, pt_min=1.0)
    assert found.p4[:, 0].tolist() == [13]
