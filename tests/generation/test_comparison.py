"""Distances between generated and simulated jets, their floors, and the classifier test."""

import dataclasses
from itertools import pairwise

import numpy as np
import pytest
from scipy.stats import wasserstein_distance

from jaxpriors.errors import InputError
from jaxpriors.evaluation.metrics import wasserstein
from jaxpriors.evaluation.observables import jet_observables
from jaxpriors.generation.comparison import classifier_test, distances, massless, wasserstein_floor
from jaxpriors.physics import kinematics
from tests.helpers.jets import random_jets

RNG = np.random.default_rng(5)
P, Q = RNG.normal(size=40), RNG.normal(0.3, 2.0, size=25)
COPIES_P, COPIES_Q = RNG.integers(0, 4, 40), RNG.integers(0, 4, 25)


def brute_force(p, q, p_weights, q_weights):
    """∫ |F_p − F_q| dx, interval by interval."""
    edges, total = np.unique(np.concatenate([p, q])), 0.0
    for low, high in pairwise(edges):
        one = p_weights[p <= low].sum() / p_weights.sum()
        other = q_weights[q <= low].sum() / q_weights.sum()
        total += abs(one - other) * (high - low)
    return total


def test_a_shift_is_the_distance():
    assert wasserstein(P, P) == 0
    np.testing.assert_allclose(wasserstein(P, P - 1.7), 1.7, rtol=1e-12)
    np.testing.assert_allclose(wasserstein([0.0, 1.0], [0.5]), 0.5, rtol=1e-12)
    np.testing.assert_allclose(wasserstein(P, 3 * P), 2 * np.abs(P).mean(), rtol=1e-12)


def test_weights_count_as_copies():
    weighted = wasserstein(P, Q, COPIES_P, COPIES_Q)
    copied = wasserstein(np.repeat(P, COPIES_P), np.repeat(Q, COPIES_Q))
    np.testing.assert_allclose(weighted, copied, rtol=1e-12)
    np.testing.assert_allclose(weighted, wasserstein(P, Q, 7 * COPIES_P, 0.1 * COPIES_Q))
    np.testing.assert_allclose(weighted, wasserstein_distance(P, Q, COPIES_P, COPIES_Q))


def test_signed_weights_against_brute_force():
    p_weights, q_weights = RNG.normal(1, 1, 40), RNG.normal(1, 1, 25)
    assert (p_weights < 0).any()
    found = wasserstein(P, Q, p_weights, q_weights)
    np.testing.assert_allclose(found, brute_force(P, Q, p_weights, q_weights), rtol=1e-10)
    # an event and its counterpart of the opposite sign are none
    extra = np.append(P, [9.0, 9.0]), np.append(p_weights, [1.0, -1.0])
    np.testing.assert_allclose(wasserstein(extra[0], Q, extra[1], q_weights), found, rtol=1e-10)


@pytest.mark.parametrize(("values", "weights", "message"), [
    ([1.0, np.nan], None, "1 of 2 values are not finite"),
    ([1.0, 2.0], [1.0, -1.0], "2 weights add up to 0"),
    ([], None, "0 weights add up to 0"),
    ([[1.0]], None, r"values have shape \(1, 1\)"),
])  # fmt: skip
def test_wasserstein_refuses(values, weights, message):
    with pytest.raises(InputError, match=message):
        wasserstein(np.array(values), np.ones(3), weights)


def test_floor_is_what_fresh_samples_give():
    rng = np.random.default_rng(0)
    fresh = [wasserstein(rng.normal(size=300), rng.normal(size=800)) for _ in range(200)]
    floor, error = wasserstein_floor(rng.normal(size=800), np.ones(800), 300, replicas=200)
    np.testing.assert_allclose(floor, np.mean(fresh), rtol=0.15)
    np.testing.assert_allclose(error, np.std(fresh), rtol=0.3)
    again = wasserstein_floor(P, np.ones(40), 20, seed=3)
    assert again == wasserstein_floor(P, np.ones(40), 20, seed=3)


def test_massless_keeps_the_three_momenta():
    events = random_jets(20, seed=0)
    found = massless(events)
    np.testing.assert_array_equal(found.p4[:, 1:], events.p4[:, 1:])
    np.testing.assert_allclose(found.p4[:, 0], kinematics.momentum(events.p4), rtol=1e-6)
    start = found.offsets[:-1]
    np.testing.assert_allclose(found.jet_p4, np.add.reduceat(found.p4, start), rtol=1e-4, atol=1e-4)
    mass, before = (jet_observables(e)["mass"] for e in (found, events))
    assert (mass <= before + 1e-4).all()


def test_distances_tell_other_jets_from_the_same():
    simulated = random_jets(400, seed=1)
    same = distances(random_jets(300, seed=2), simulated)
    assert list(same) == ["mass", "multiplicity", "tau21"]
    assert [row["unit"] for row in same.values()] == ["GeV", "", ""]
    for row in same.values():
        assert row["value"] < row["floor"] + 5 * row["floor_error"]
        assert row["floor"] > 2 * row["floor_error"] > 0
    other = distances(random_jets(300, seed=2, mean_multiplicity=30), simulated)["multiplicity"]
    np.testing.assert_allclose(other["value"], 10, atol=3)
    assert other["value"] > other["floor"] + 5 * other["floor_error"]


def test_identical_samples_have_no_distance():
    simulated = random_jets(100, seed=1)
    twice = simulated.with_weight(np.full(100, 2.0))
    assert all(row["value"] < 1e-12 for row in distances(twice, simulated).values())


class ByMultiplicity:
    """In place of a classifier: its answer is the number of constituents; it keeps what it saw."""

    def fit(self, simulation, data, validation, folder, progress):
        self.seen = [simulation, data, *validation]
        return self

    def log_ratio(self, events):
        self.seen.append(events)
        return events.multiplicity.astype(np.float64)


def test_classifier_is_tested_on_jets_that_it_never_saw():
    simulated, generated = random_jets(400, seed=0), random_jets(400, 1, mean_multiplicity=40)
    simulated = dataclasses.replace(simulated, pid=np.full_like(simulated.pid, 22))
    classifier = ByMultiplicity()
    value, error = classifier_test(generated, simulated, classifier=classifier)
    assert 0.75 < value < 0.95 and 0 < error < 0.05
    *trained, tested = classifier.seen
    assert [len(e) for e in trained] == [240, 240, 60, 60] and len(tested) == 200
    assert tested.label.tolist() == [0] * 100 + [1] * 100
    for events in classifier.seen:  # nothing by which to tell the samples apart but the momenta
        assert not events.pid.any()
        np.testing.assert_allclose(events.p4[:, 0], kinematics.momentum(events.p4), rtol=1e-6)
    jets = np.concatenate([e.jet_p4[:, 1] for e in trained])
    assert not np.isin(tested.jet_p4[:, 1], jets).any()


def test_classifier_cannot_tell_the_same_jets():
    value, error = classifier_test(
        random_jets(800, seed=3), random_jets(800, seed=4), classifier=ByMultiplicity()
    )
    assert abs(value - 0.5) < 4 * error
