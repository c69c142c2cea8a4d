"""Pythia: variations of the shower that are not there are errors."""

import itertools

import numpy as np
import pytest

from jaxpriors.data.simulation import generator, zjets
from jaxpriors.data.simulation.generator import VARIATIONS, records, varied
from jaxpriors.errors import InputError

HALF = {"fsr_mur_half": VARIATIONS["fsr_mur_half"]}
QUICK = (*zjets.VARIANTS["simulation"], "HadronLevel:all = off")


@pytest.fixture(autouse=True)
def few(monkeypatch):
    """Batches of few events."""
    monkeypatch.setattr(generator, "BATCH", 20)


def test_variations_that_are_there_give_weights():
    found = list(itertools.islice(records((*QUICK, *varied(HALF)), 1), 2))
    assert [record.n for record in found] == [20, 20]
    for record in found:
        assert np.std(record.weights["fsr_mur_half"]) > 0.01
    plain = list(itertools.islice(records(QUICK, 1), 2))
    assert list(plain[0].weights) == list(found[0].weights)[:1]


def test_a_shower_without_variations_is_refused():
    """VINCIA in pythia8mc 8.317.2 accepts the settings, and gives one weight of 1."""
    settings = (*QUICK, "PartonShowers:model = 2", *varied(HALF))
    with pytest.raises(InputError, match="asked for the weights of the variations fsr_mur_half"):
        next(records(settings, 1))


def test_a_variation_that_changes_nothing_is_refused():
    """pythia8mc 8.317.2 accepts names that it does not know, with a weight of 1 each."""
    settings = (*QUICK, *varied({"own": "fsr:muRfa=0.5"}))
    with pytest.raises(InputError, match="the variations own leave all weights of 20 events at 1"):
        next(records(settings, 1))
