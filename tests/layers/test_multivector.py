"""The layers of L-GATr against lgatr 1.4: outputs, gradients, initialisation; and dropout."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpriors.layers import sectors
from jaxpriors.layers.multivector import (
    EquiLayerNorm,
    EquiLinear,
    GeometricBilinear,
    GeoMLP,
    gated,
    grade_dropout,
)
from jaxpriors.layers.multivector_attention import CrossAttention, SelfAttention
from jaxpriors.porting.trees import network_from_state
from tests.helpers.recorded import FIXTURES, assert_close, read_case

GELU = dict(gate="gelu_tanh", scalar_activation="gelu")
LAYERS = {
    "equilinear_s": lambda key: EquiLinear.init(key, 3, 5, 4, 6),
    "equilinear_nos": lambda key: EquiLinear.init(key, 3, 5),
    "equilinear_nos_in": lambda key: EquiLinear.init(key, 3, 5, None, 6),
    "equilinear_nos_out": lambda key: EquiLinear.init(key, 3, 5, 4),
    "equilinear_nobias": lambda key: EquiLinear.init(key, 3, 5, 4, 6, bias=False),
    "equilinear_fulllorentz": lambda key: EquiLinear.init(key, 3, 5, 4, 6, subgroup=False),
    "equilayernorm": lambda key: EquiLayerNorm.init(5, 7, elementwise_affine=False),
    "geometricbilinear": lambda key: GeometricBilinear.init(key, 3, 5, 4, 6, hidden_mv=4),
    "geomlp": lambda key: GeoMLP.init(key, 3, 4, ratio=2, num_layers=2, **GELU),
    "geomlp_3": lambda key: GeoMLP.init(key, 3, 4, ratio=2, num_layers=3, **GELU),
    "selfattention": lambda key: SelfAttention.init(key, 4, 8, num_heads=2),
    "selfattention_mq": lambda key: SelfAttention.init(key, 4, 8, num_heads=2, multi_query=True),
    "selfattention_hs": lambda key: SelfAttention.init(
        key, 4, 8, num_heads=2, ratio=2, head_scale=True
    ),
}
CROSS_LAYERS = {
    "crossattention": lambda key: CrossAttention.init(key, 4, 8, 3, 5, num_heads=2),
    "crossattention_mq": lambda key: CrossAttention.init(
        key, 4, 8, 3, 5, num_heads=2, multi_query=True, head_scale=True
    ),
}


def to_sectors(multivectors, scalars):
    """Inputs of a layer from recorded arrays; no scalars are zero channels of them."""
    if scalars is None:
        scalars = jnp.zeros((*multivectors.shape[:2], 0), multivectors.dtype)
    return sectors.from_multivectors(multivectors), scalars


def check(case, apply, init):
    """Outputs and gradients of ``apply(weights, inputs)`` against the recorded ones."""
    _, state, recorded = read_case(case)
    inputs = {k[3:]: jnp.asarray(v) for k, v in recorded.items() if k.startswith("in_")}
    weights = network_from_state(jax.eval_shape(init, jax.random.key(0)), state)

    def outputs(weights, inputs):
        x, s = apply(weights, inputs)
        assert s.size == 0 or "cot_1" in recorded
        return [sectors.to_multivectors(x)] + ([s] if s.size else [])

    @jax.jit
    def run(weights, inputs, cotangents):
        out, backward = jax.vjp(outputs, weights, inputs)
        return out, backward(cotangents)

    cotangents = [recorded[f"cot_{i}"] for i in range(2) if f"cot_{i}" in recorded]
    out, (gradient, input_gradients) = run(weights, inputs, cotangents)
    for name, value in zip(("out64_mv", "out64_s"), out, strict=False):
        assert_close(value, recorded[name], 2e-5, name)
    for name, value in input_gradients.items():
        assert_close(value, recorded[f"gradin_{name}"], 1e-4, name)
    expected = {k[5:]: v for k, v in recorded.items() if k.startswith("grad/")}
    expected = network_from_state(gradient, expected)
    for (path, value), wanted in zip(
        jax.tree_util.tree_leaves_with_path(gradient), jax.tree.leaves(expected), strict=True
    ):
        assert_close(value, wanted, 1e-4, jax.tree_util.keystr(path))


@pytest.mark.parametrize("case", LAYERS)
def test_layers_compute_what_lgatr_computes(case):
    def apply(layer, inputs):
        return layer(*to_sectors(inputs["multivectors"], inputs.get("scalars")))

    check(case, apply, LAYERS[case])


@pytest.mark.parametrize("case", CROSS_LAYERS)
def test_cross_attention_computes_what_lgatr_computes(case):
    def apply(layer, inputs):
        q = to_sectors(inputs["multivectors_q"], inputs["scalars_q"])
        kv = to_sectors(inputs["multivectors_kv"], inputs["scalars_kv"])
        return layer(*q, *kv)

    check(case, apply, CROSS_LAYERS[case])


@pytest.mark.parametrize("name", ["relu", "sigmoid", "gelu", "silu"])
def test_gated_nonlinearity_computes_what_lgatr_computes(name):
    def apply(_, inputs):
        x, s = to_sectors(inputs["multivectors"], inputs["scalars"])
        return gated(x, s, "gelu_tanh" if name == "gelu" else name, name)

    check(f"gated_{name}", apply, lambda key: ())


def test_norm_with_factors_scales_grades_and_scalars():
    rng = np.random.default_rng(0)
    x, s, factors = (rng.normal(size=n).astype("f4") for n in ((1, 2, 3, 16), (1, 2, 4), (3, 5)))

    @jax.jit
    def run(norm):
        y, t = norm(*to_sectors(x, s))
        return sectors.to_multivectors(y), t

    plain, plain_s = run(EquiLayerNorm())
    scaled, scaled_s = run(EquiLayerNorm(weight_mv=factors, weight_s=np.arange(4, dtype="f4")))
    expected = plain * factors[:, np.repeat(np.arange(5), [1, 4, 6, 4, 1])]
    np.testing.assert_allclose(scaled, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(scaled_s, plain_s * np.arange(4.0), rtol=1e-6)


def test_norm_statistics_are_single_precision_for_half_precision_inputs():
    rng = np.random.default_rng(0)
    x, s = 300.0 * rng.normal(size=(2, 5, 3, 16)), rng.normal(size=(2, 5, 8)) + 50.0
    x, s = jnp.asarray(x, jnp.bfloat16), jnp.asarray(s, jnp.bfloat16)
    half = jax.jit(EquiLayerNorm())(*to_sectors(x, s))
    single = jax.jit(EquiLayerNorm())(*to_sectors(x.astype(jnp.float32), s.astype(jnp.float32)))
    for got, expected in zip(jax.tree.leaves(half), jax.tree.leaves(single), strict=True):
        assert got.dtype == jnp.bfloat16
        np.testing.assert_allclose(np.asarray(got, np.float32), expected, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("variant", ["default", "small", "unit_scalar", "almost_unit_scalar"])
def test_initialisation_has_the_statistics_of_lgatr(variant):
    recorded = read_statistics()
    layer = jax.jit(lambda k: EquiLinear.init(k, 64, 48, 32, 40, initialization=variant))(
        jax.random.key(5)
    )
    ours = {
        "weight": layer.weight,
        "s2mvs.weight": layer.s2mvs.weight,
        "s2mvs.bias": layer.s2mvs.bias,
        "mvs2s.weight": layer.mvs2s.weight,
        "mvs2s.bias": layer.mvs2s.bias,
        "s2s.weight": layer.s2s.weight,
    }
    for name, values in ours.items():
        low, high, mean, deviation, size = recorded[f"EquiLinear_{variant}/{name}"]
        values = np.asarray(values, np.float64)
        width = high - low
        assert values.size == size
        assert abs(values.min() - low) < 0.15 * width and abs(values.max() - high) < 0.15 * width
        assert abs(values.mean() - mean) < 6 * width / np.sqrt(12 * size)
        assert abs(values.std() / deviation - 1) < 3 / np.sqrt(size)


def test_initialisation_without_scalars_has_a_zero_bias():
    layer = jax.jit(lambda key: EquiLinear.init(key, 64, 48))(jax.random.key(0))
    low, high, *_ = read_statistics()["EquiLinear_default_nos/weight"]
    assert abs(float(layer.weight.min()) - low) < 1e-3 > abs(float(layer.weight.max()) - high)
    assert np.array_equal(layer.bias, np.zeros((48, 1)))
    assert layer.s2mvs is layer.mvs2s is layer.s2s is None


def test_zero_input_scalars_leave_no_bias():
    layer = jax.eval_shape(lambda key: EquiLinear.init(key, 3, 5, 0, 6), jax.random.key(0))
    assert layer.bias is None and layer.s2mvs is None and layer.mvs2s is not None


def read_statistics():
    """Recorded [min, max, mean, std, size] of initialised weights."""
    return np.load(FIXTURES / "lgatr" / "init_stats.npz")


def test_dropout_drops_whole_grades_and_keeps_the_mean():
    x = jnp.ones((4, 50, 8, 16))
    s = jnp.ones((4, 50, 8))

    @jax.jit
    def drop(key):
        y, t = grade_dropout(key, *to_sectors(x, s), 0.25)
        return sectors.to_multivectors(y), t

    y, t = map(np.asarray, drop(jax.random.key(0)))
    start = 0
    for size in (1, 4, 6, 4, 1):
        grade = y[..., start : start + size]
        assert set(np.unique(grade.round(5))) == {0.0, np.float32(4 / 3).round(5)}
        assert np.array_equal(grade, np.repeat(grade[..., :1], size, axis=-1))
        start += size
    assert abs(y[..., 0].mean() - 1) < 0.1 and abs(t.mean() - 1) < 0.1
    kept = y[..., [0, 1, 5, 11, 15]] > 0
    assert len(np.unique(kept.reshape(-1, 5), axis=0)) == 32
    inputs = to_sectors(x, s)
    assert grade_dropout(None, *inputs, 0.25) == inputs
