"""Kinematics: known vectors, agreement of numpy and jax.numpy, behaviour on the beam axis."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpriors.physics import kinematics as kin

FUNCTIONS = (kin.pt, kin.momentum, kin.phi, kin.eta, kin.mass_squared, kin.mass, kin.rapidity)


@pytest.fixture
def p4() -> np.ndarray:
    """Sixty massive four-momenta (6, 10, 4)."""
    rng = np.random.default_rng(1)
    p = rng.normal(size=(6, 10, 3)) * 30
    energy = np.sqrt((p**2).sum(axis=-1) + rng.uniform(1, 9, (6, 10)) ** 2)
    return np.concatenate([energy[..., None], p], axis=-1)


def test_a_known_vector_has_its_kinematics():
    pt, eta, phi, mass = 40.0, -1.3, 2.5, 5.0
    pz = pt * np.sinh(eta)
    p4 = np.array([np.sqrt(pt**2 + pz**2 + mass**2), pt * np.cos(phi), pt * np.sin(phi), pz])
    assert [kin.pt(p4), kin.eta(p4), kin.phi(p4), kin.mass(p4)] == pytest.approx(
        [pt, eta, phi, mass]
    )
    assert kin.momentum(p4) == pytest.approx(pt * np.cosh(eta))
    assert kin.mass_squared(p4) == pytest.approx(25.0)
    assert kin.rapidity(p4) == pytest.approx(np.arctanh(pz / p4[0]))


@pytest.mark.parametrize("function", FUNCTIONS)
def test_numpy_and_jax_agree(function, p4):
    for dtype, tolerance in ((np.float32, 1e-3), (np.float64, 1e-11)):
        with jax.enable_x64(dtype == np.float64):
            on_device = jax.jit(lambda x: function(x, xp=jnp))(jnp.asarray(p4, dtype))
        assert on_device.dtype == function(p4.astype(dtype)).dtype == dtype
        np.testing.assert_allclose(on_device, function(p4), rtol=tolerance)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_the_null_vector_is_finite(function):
    assert function(np.zeros(4)) == 0.0
    assert float(function(jnp.zeros(4), xp=jnp)) == 0.0


def test_vectors_along_the_beam_have_infinite_pseudorapidity():
    beam = np.array([[7.0, 0.0, 0.0, 7.0], [7.0, 0.0, 0.0, -7.0]])
    np.testing.assert_array_equal(kin.eta(beam), [np.inf, -np.inf])
    np.testing.assert_array_equal(kin.rapidity(beam), [np.inf, -np.inf])


def test_azimuth_wraps_around(p4):
    assert kin.delta_phi(np.pi - 0.1, -np.pi + 0.1) == pytest.approx(-0.2)
    assert kin.delta_phi(np.float64(0.3), np.float64(0.3 + 6 * np.pi)) == pytest.approx(0.0)
    assert (np.abs(kin.delta_phi(*np.mgrid[-9:9:50j, -9:9:50j])) <= np.pi + 1e-12).all()
    first, second = p4[0], p4[1]
    np.testing.assert_allclose(kin.delta_r(first, second), kin.delta_r(second, first))
    assert kin.delta_r(first[0], 3 * first[0]) == pytest.approx(0.0, abs=1e-12)
