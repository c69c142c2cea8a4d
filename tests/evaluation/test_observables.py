"""Observables on jets whose values are known by hand, and their documented edge cases."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from jaxpriors.data.events import Events
from jaxpriors.errors import InputError
from jaxpriors.evaluation import observables as obs
from tests.helpers.jets import random_jets


@pytest.fixture(scope="module")
def jets() -> Events:
    """Four hundred random jets."""
    return random_jets(400, seed=3)


@pytest.fixture(scope="module")
def values(jets: Events) -> dict[str, np.ndarray]:
    """Their observables."""
    return obs.observables(jets)


def massless(pt: float, eta: float, phi: float) -> list[float]:
    """(E, px, py, pz) of a massless constituent."""
    return [pt * np.cosh(eta), pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta)]


def test_a_jet_has_the_same_values_in_any_sample(jets, values):
    assert list(obs.OBSERVABLES) == list(values)
    for name, of_few in obs.observables(jets[:20]).items():
        assert of_few.dtype == values[name].dtype == np.float64
        np.testing.assert_array_equal(of_few, values[name][:20])


def test_two_prongs_have_the_exact_mass_and_sharing():
    hard, soft, distance = 300.0, 100.0, 0.2
    jet = Events.from_flat(
        np.array([massless(hard, 0.4, np.pi - 0.05), massless(soft, 0.4, -np.pi + 0.15)]), [2]
    )
    values = obs.observables(jet)
    mass = np.sqrt(2 * hard * soft * (1 - np.cos(distance)))
    pt = np.sqrt(hard**2 + soft**2 + 2 * hard * soft * np.cos(distance))
    assert values["zg"][0] == pytest.approx(soft / (hard + soft))
    assert values["mass"][0] == pytest.approx(mass, rel=1e-5)
    assert values["groomed_mass"][0] == pytest.approx(np.log(mass**2 / pt**2), abs=2e-5)
    assert values["tau21"][0] == 0.0


def test_soft_drop_removes_a_soft_prong_at_wide_angle():
    core = [massless(200.0, 0.0, 0.0), massless(100.0, 0.0, 0.05)]
    jet = Events.from_ragged([np.array([*core, massless(20.0, 0.3, 0.0)]), np.array(core)])
    values, pt = obs.observables(jet), [np.hypot(*p[1:3]) for p in jet.jet_p4]
    zg, rho = values["zg"], values["groomed_mass"]
    assert zg[0] == zg[1] == pytest.approx(1 / 3)
    assert rho[0] - rho[1] == pytest.approx(2 * np.log(pt[1] / pt[0]), abs=1e-6)
    assert values["mass"][0] > values["mass"][1]


def test_a_single_constituent_has_the_documented_values():
    values = obs.observables(Events.from_flat(np.array([massless(50.0, 1.0, 2.0)]), [1]))
    assert values["width"][0] == values["zg"][0] == values["tau21"][0] == 0.0
    assert values["multiplicity"][0] == 1.0
    assert values["groomed_mass"][0] == obs.LN_RHO_MINIMUM < obs.OBSERVABLES["groomed_mass"].low


def test_constituents_in_one_direction_stay_finite():
    jet = Events.from_flat(np.array([massless(pt, 0.5, 1.0) for pt in (10, 20, 40, 80)]), [4])
    values = obs.observables(jet)
    assert all(np.isfinite(value).all() for value in values.values())
    assert values["tau21"][0] >= 0.0


def test_values_do_not_depend_on_rotation_about_the_beam_nor_on_the_order(jets, values):
    half_turn = jets.p4 * np.array([1, -1, -1, 1], dtype=np.float32)
    rng = np.random.default_rng(0)
    order = np.lexsort((rng.random(len(half_turn)), np.repeat(range(len(jets)), jets.multiplicity)))
    turned = Events.from_flat(half_turn[order], jets.multiplicity)
    for name, value in obs.observables(turned).items():
        np.testing.assert_allclose(value, values[name], rtol=1e-6, atol=1e-9, err_msg=name)


def test_the_result_does_not_depend_on_the_batch_size(jets, values, monkeypatch):
    monkeypatch.setattr(obs, "CELLS_PER_BATCH", 1)
    np.testing.assert_array_equal(obs.observables(jets[:50])["tau21"], values["tau21"][:50])


def test_progress_counts_every_jet(jets):
    calls: list[tuple[int, int]] = []
    obs.observables(jets[:30], progress=lambda done, total: calls.append((done, total)))
    assert calls[-1] == (30, 30)
    assert all(before[0] < after[0] for before, after in itertools.pairwise(calls))


def test_bins_are_equal_and_ascend():
    for name, observable in obs.OBSERVABLES.items():
        assert observable.name == name
        assert observable.edges.shape == (observable.bins + 1,)
        np.testing.assert_allclose(
            np.diff(observable.edges), (observable.high - observable.low) / observable.bins
        )
    inside = np.histogram(np.arange(80), obs.OBSERVABLES["multiplicity"].edges)[0]
    np.testing.assert_array_equal(inside, 4)


def test_events_that_have_no_jet_are_refused(jets):
    offsets = np.array([0, 2, 2])
    empty = Events(jets.p4[:2], jets.pid[:2], offsets, jet_p4=np.zeros((2, 4)), weight=np.ones(2))
    with pytest.raises(InputError, match=r"1 of 2 events have no constituents .* event 1"):
        obs.observables(empty)
    along_beam = Events.from_flat(np.array([[5.0, 0.0, 0.0, 5.0]]), [1])
    with pytest.raises(InputError, match=r"no direction .*expected finite"):
        obs.jet_observables(along_beam)


def test_no_events_give_no_values(jets):
    assert all(value.shape == (0,) for value in obs.observables(jets[:0]).values())


def test_jet_observables_are_those_of_the_six_and_the_transverse_momentum(jets, values):
    found = obs.jet_observables(jets)
    assert list(found) == ["pt", "mass", "multiplicity", "width"]
    for name in ("mass", "multiplicity", "width"):
        np.testing.assert_array_equal(found[name], values[name])
    total = np.add.reduceat(jets.p4.astype(np.float64), jets.offsets[:-1])
    np.testing.assert_allclose(found["pt"], np.hypot(total[:, 1], total[:, 2]))
