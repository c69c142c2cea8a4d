"""Layers of L-GATr-slim: against lgatr 1.4, under Lorentz transformations, in low precision."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpriors.layers.lorentz import (
    Dropout,
    GatedLinearUnit,
    Linear,
    RMSNorm,
    inner_product,
)
from tests.helpers.lorentz import PARITY, TIME_REVERSAL, random_lorentz, transform
from tests.helpers.recorded import FIXTURES, assert_layer


def turn(vectors):
    """(..., C, 4) to (..., 4, C) and back."""
    return vectors.swapaxes(-1, -2)


def unit(in_v, out_v, in_s, out_s, nonlinearity="gelu", gate="gelu", factor=1.0):
    """A function that makes a gated linear unit of a key."""
    return lambda key: GatedLinearUnit(
        Linear.init(key, in_v, 3 * out_v, in_s, 2 * out_s), nonlinearity, gate, factor
    )


LAYERS = {
    "lgatr/slim_linear": lambda key: Linear.init(key, 3, 5, 4, 6),
    "lgatr/slim_linear_nobias": lambda key: Linear.init(key, 3, 5, 4, 6, bias=False),
    "lgatr/slim_rmsnorm": lambda key: RMSNorm(),
    "lgatr2/slim_linear": lambda key: Linear.init(key, 3, 5, 4, 6),
    "lgatr2/slim_rmsnorm": lambda key: RMSNorm.init(5, 7, affine=True),
    "lgatr2/slim_glu": unit(3, 5, 4, 6, "gelu_tanh", "sigmoid", 0.5),
}
LAYERS |= {
    f"lgatr/slim_glu_{name}": unit(3, 5, 4, 6, name, name)
    for name in ("relu", "sigmoid", "tanh", "gelu", "silu")
}


@pytest.mark.parametrize("case", LAYERS)
def test_layers_compute_what_lgatr_computes(case):
    def call(layer, inputs):
        turned = case.startswith("lgatr/")  # lgatr 2 has (..., 4, C) as we have
        v, s = inputs["vectors"], inputs["scalars"]
        v, s = layer(turn(v) if turned else v, s)
        return turn(v) if turned else v, s

    assert_layer(case, LAYERS[case], call, output=2e-6, gradient=1e-5)


def test_linear_starts_as_that_of_lgatr():
    recorded = np.load(FIXTURES / "lgatr" / "init_stats.npz")
    for kind, gain in (("default", 1.0), ("small", 0.1)):
        layer = jax.jit(lambda gain: Linear.init(jax.random.key(1), 64, 48, 32, 40, gain=gain))(
            gain
        )
        found = {
            "weight_v": layer.weight_v,
            "linear_s.weight": layer.linear_s.weight,
            "linear_s.bias": layer.linear_s.bias,
        }
        for name, value in found.items():
            low, high, _, deviation, count = recorded[f"slim_Linear_{kind}/{name}"]
            assert value.size == count
            assert float(value.min()) == pytest.approx(low, rel=0.1)
            assert float(value.max()) == pytest.approx(high, rel=0.1)
            assert float(value.std()) == pytest.approx(deviation, rel=0.2)
    assert not Linear.init(jax.random.key(1), 2, 3, 4, 5, zero_bias=True).linear_s.bias.any()
    assert Linear.init(jax.random.key(1), 0, 3, 0, 5).linear_s.weight.shape == (5, 0)


@jax.jit
def all_layers(vectors, scalars):
    """Every layer with random weights, on vectors (..., 3, 4) and scalars (..., 4)."""
    keys = jax.random.split(jax.random.key(0), 4)
    gains = RMSNorm(jax.random.normal(keys[2], 3), jax.random.normal(keys[2], 4))
    layers = (
        Linear.init(keys[0], 3, 5, 4, 6),
        unit(3, 5, 4, 6)(keys[1]),
        gains,
        lambda v, s: Dropout(0.5)(v, s, keys[3]),
    )
    out = [layer(turn(vectors), scalars) for layer in layers]
    return [(turn(v), s) for v, s in out]


@pytest.mark.parametrize("matrix", [random_lorentz(0), PARITY, TIME_REVERSAL])
def test_layers_commute_with_the_full_lorentz_group(matrix):
    with jax.enable_x64(True):
        rng = np.random.default_rng(0)
        vectors, scalars = rng.normal(size=(2, 5, 3, 4)), rng.normal(size=(2, 5, 4))
        outputs = all_layers(vectors, scalars)
        moved = all_layers(transform(matrix, vectors), scalars)
        for (v, s), (moved_v, moved_s) in zip(outputs, moved, strict=True):
            np.testing.assert_allclose(moved_v, transform(matrix, v), atol=1e-12)
            np.testing.assert_allclose(moved_s, s, atol=1e-12)


def test_norm_applies_one_gain_per_channel():
    vectors = jnp.asarray(np.random.default_rng(0).normal(size=(2, 4, 3)), jnp.float32)
    scalars = jnp.ones((2, 2))
    plain, gained = RMSNorm(), RMSNorm(jnp.array([1.0, 2.0, 3.0]), jnp.array([4.0, 5.0]))
    v, s = plain(vectors, scalars)
    np.testing.assert_allclose(gained(vectors, scalars)[0], v * jnp.array([1.0, 2.0, 3.0]))
    np.testing.assert_allclose(gained(vectors, scalars)[1], s * jnp.array([4.0, 5.0]))
    fresh = RMSNorm.init(3, 2, affine=True)
    np.testing.assert_allclose(fresh(vectors, scalars)[0], v)


def test_gate_factor_scales_the_argument_of_the_vector_gate():
    gated = GatedLinearUnit(Linear.init(jax.random.key(0), 2, 9, 2, 4), "silu", "sigmoid", 0.5)
    rng = np.random.default_rng(0)
    vectors, scalars = jnp.asarray(rng.normal(size=(4, 2))), jnp.asarray(rng.normal(size=2))
    plain, left, right = jnp.split(gated.linear(vectors, scalars)[0], 3, axis=-1)
    gate = jax.nn.sigmoid(0.5 * inner_product(left, right))
    np.testing.assert_allclose(gated(vectors, scalars)[0], gate * plain, rtol=1e-6)


def test_products_and_norms_of_low_precision_inputs_are_taken_in_float32():
    momentum = jnp.array([500.0, 0.0, 0.0, 496.0], jnp.bfloat16)[:, None]
    product = inner_product(momentum, momentum)
    assert product.dtype == jnp.float32
    assert float(product[0]) == 500.0**2 - 496.0**2
    v, s = RMSNorm()(momentum, jnp.zeros(1, jnp.bfloat16))
    assert v.dtype == s.dtype == jnp.bfloat16
    expected = 500.0 / np.sqrt((500.0**2 - 496.0**2) / 2 + 0.01)
    assert float(v[0, 0]) == pytest.approx(expected, rel=4e-3)


def test_dropout_needs_a_key_drops_whole_vectors_and_keeps_the_mean():
    vectors, scalars = jnp.ones((500, 4, 20)), jnp.ones((500, 40))
    drop = Dropout(0.25)
    assert drop(vectors, scalars, None)[0] is vectors
    v, s = drop(vectors, scalars, jax.random.key(0))
    assert bool((v == v[:, :1]).all())
    for values in (v[:, 0], s):
        assert set(np.unique(values)) == {0.0, np.float32(4 / 3)}
        assert float(values.mean()) == pytest.approx(1.0, abs=0.02)
