"""Samples of different units are refused, one that looks like MeV is told."""

import dataclasses

import pytest

from jaxpriors.data.samples import zjets
from jaxpriors.data.units import Unit, check_units
from jaxpriors.errors import InputError


def times(events, factor):
    """The events in another unit."""
    return dataclasses.replace(events, p4=events.p4 * factor, jet_p4=events.jet_p4 * factor)


def test_a_pair_of_different_units_is_refused():
    data, simulation = (zjets(name, "detector")[:500] for name in ("data", "simulation"))
    check_units({"data": data, "simulation": simulation})
    with pytest.raises(InputError, match=r"pT of 2\.\d+e\+05 in data and of 2\d\d.* in simulation"):
        check_units({"data": times(data, 1000), "simulation": simulation})
    with pytest.raises(InputError, match=r"a factor of \d{3,4}; expected .* `--unit MeV` reads"):
        check_units({"data": data, "simulation": times(simulation, 1000)})


def test_samples_that_are_both_suspicious_are_told():
    data = times(zjets("data", "detector")[:500], 1000)
    with pytest.warns(Unit, match=r"probably in MeV: a and b \(median jet pT: a 2\.\d+e\+05, b "):
        check_units({"a": data, "b": data})
