"""The layers of L-GATr against lgatr 1.4 and 2.0: outputs, gradients, initialisation; dropout."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpriors.layers import complex_grades
from jaxpriors.layers.attention import attention
from jaxpriors.layers.multivector import (
    EquiLayerNorm,
    EquiLinear,
    GeometricBilinear,
    GeoMLP,
    gated,
)
from jaxpriors.layers.multivector_attention import CrossAttention, SelfAttention
from jaxpriors.models.state_dicts import state_from_network
from jaxpriors.physics import algebra
from tests.helpers.recorded import FIXTURES, assert_close, assert_layer

GELU = dict(gate="gelu_tanh", scalar_activation="gelu")
TANH = dict(gate="gelu_tanh", scalar_activation="gelu_tanh")
LAYERS = {
    "lgatr/equilinear_s": lambda key: EquiLinear.init(key, 3, 5, 4, 6),
    "lgatr/equilinear_nos": lambda key: EquiLinear.init(key, 3, 5),
    "lgatr/equilinear_nos_in": lambda key: EquiLinear.init(key, 3, 5, None, 6),
    "lgatr/equilinear_nos_out": lambda key: EquiLinear.init(key, 3, 5, 4),
    "lgatr/equilinear_nobias": lambda key: EquiLinear.init(key, 3, 5, 4, 6, bias=False),
    "lgatr/equilinear_fulllorentz": lambda key: EquiLinear.init(key, 3, 5, 4, 6, subgroup=False),
    "lgatr/equilayernorm": lambda key: EquiLayerNorm.init(5, 7, elementwise_affine=False),
    "lgatr/geometricbilinear": lambda key: GeometricBilinear.init(key, 3, 5, 4, 6, hidden_mv=4),
    "lgatr/geomlp": lambda key: GeoMLP.init(key, 3, 4, ratio=2, num_layers=2, **GELU),
    "lgatr/geomlp_3": lambda key: GeoMLP.init(key, 3, 4, ratio=2, num_layers=3, **GELU),
    "lgatr/selfattention": lambda key: SelfAttention.init(key, 4, 8, num_heads=2),
    "lgatr/selfattention_mq": lambda key: SelfAttention.init(
        key, 4, 8, num_heads=2, multi_query=True
    ),
    "lgatr/selfattention_hs": lambda key: SelfAttention.init(
        key, 4, 8, num_heads=2, ratio=2, head_scale=True
    ),
    "lgatr2/equilinear": lambda key: EquiLinear.init(key, 3, 5, 4, 6),
    "lgatr2/equilinear_nobias": lambda key: EquiLinear.init(key, 3, 5, 4, 6, bias=False),
    "lgatr2/equilinear_nos": lambda key: EquiLinear.init(key, 3, 5),
    "lgatr2/equilinear_nos_in": lambda key: EquiLinear.init(key, 3, 5, None, 6),
    "lgatr2/equilayernorm": lambda key: EquiLayerNorm.init(5, 7, elementwise_affine=False),
    "lgatr2/equilayernorm_affine": lambda key: EquiLayerNorm.init(5, 7, elementwise_affine=True),
    "lgatr2/geometricbilinear": lambda key: GeometricBilinear.init(key, 3, 5, 4, 6, hidden_mv=4),
    "lgatr2/geomlp": lambda key: GeoMLP.init(key, 3, 4, ratio=2, num_layers=2, **TANH),
    "lgatr2/selfattention": lambda key: SelfAttention.init(key, 4, 8, num_heads=2, qkv_bias=False),
}
CROSS_LAYERS = {
    "lgatr/crossattention": lambda key: CrossAttention.init(key, 4, 8, 3, 5, num_heads=2),
    "lgatr/crossattention_mq": lambda key: CrossAttention.init(
        key, 4, 8, 3, 5, num_heads=2, multi_query=True, head_scale=True
    ),
    "lgatr2/crossattention": lambda key: CrossAttention.init(
        key, 4, 8, 3, 5, num_heads=2, qkv_bias=False, qkv_norm=True
    ),
}
# activations of the multivectors' gate and of the scalars
GATED = {f"lgatr/gated_{name}": (name, name) for name in ("relu", "sigmoid", "silu")}
GATED |= {
    "lgatr/gated_gelu": ("gelu_tanh", "gelu"),
    "lgatr2/gated_gelu": ("gelu_tanh", "gelu_tanh"),
    "lgatr2/gated_tanh": ("tanh", "tanh"),
}


def to_grades(multivectors, scalars):
    """Inputs of a layer from recorded arrays; no scalars are zero channels of them."""
    if scalars is None:
        scalars = jnp.zeros((*multivectors.shape[:2], 0), multivectors.dtype)
    return complex_grades.from_multivectors(multivectors), scalars


def from_grades(x, s):
    """Outputs of a layer as they are recorded."""
    return complex_grades.to_multivectors(x), s if s.shape[-1] else None


@pytest.mark.parametrize("case", LAYERS)
def test_layers_compute_what_lgatr_computes(case):
    def call(layer, inputs):
        return from_grades(*layer(*to_grades(inputs["multivectors"], inputs.get("scalars"))))

    assert_layer(case, LAYERS[case], call)


@pytest.mark.parametrize("case", CROSS_LAYERS)
def test_cross_attention_computes_what_lgatr_computes(case):
    def call(layer, inputs):
        q = to_grades(inputs["multivectors_q"], inputs["scalars_q"])
        kv = to_grades(inputs["multivectors_kv"], inputs["scalars_kv"])
        return from_grades(*layer(*q, *kv))

    assert_layer(case, CROSS_LAYERS[case], call)


@pytest.mark.parametrize("case", GATED)
def test_gated_nonlinearity_computes_what_lgatr_computes(case):
    def call(_, inputs):
        x, s = to_grades(inputs["multivectors"], inputs["scalars"])
        return from_grades(*gated(x, s, *GATED[case]))

    assert_layer(case, lambda key: (), call)


def test_layers_compute_the_primitives_of_lgatr():
    """Without scalars, weights and heads, in float32."""
    with np.load(FIXTURES / "lgatr" / "primitives.npz") as file:
        recorded = {name: file[name] for name in file}
    given = {name: jnp.asarray(recorded[name], jnp.float32) for name in recorded}
    x, none = to_grades(given["x"][None], None)
    y, _ = to_grades(given["y"][None], None)
    ours = {
        "geometric_product": complex_grades.geometric_product(x, y),
        "equi_layer_norm": EquiLayerNorm()(x, none)[0],
        "equi_linear": EquiLinear(given["coeffs"])(x, none)[0],
    }
    for name in ("relu", "sigmoid", "gelu", "silu"):
        gate = "gelu_tanh" if name == "gelu" else name
        ours[f"gated_{name}"] = gated(x, none, gate, name)[0]
    for name, value in ours.items():
        assert_close(complex_grades.to_multivectors(value)[0], recorded[name], 2e-5, name)

    signs = jnp.asarray(algebra.INNER_PRODUCT, jnp.float32)
    q, k, v = (
        jnp.concatenate([mv.reshape(*mv.shape[:3], -1), given[f"att_{kind}_s"]], axis=-1)
        for kind, metric in (("q", signs), ("k", 1), ("v", 1))
        for mv in [given[f"att_{kind}_mv"] * metric]
    )
    mv, s = jnp.split(attention(q, k, v), [3 * 16], axis=-1)
    assert_close(mv.reshape(given["att_v_mv"].shape), recorded["att_out_mv"], 2e-5)
    assert_close(s, recorded["att_out_s"], 2e-5)


def test_norm_with_factors_scales_grades_and_scalars():
    rng = np.random.default_rng(0)
    x, s, factors = (rng.normal(size=n).astype("f4") for n in ((1, 2, 3, 16), (1, 2, 4), (3, 5)))

    @jax.jit
    def run(norm):
        y, t = norm(*to_grades(x, s))
        return complex_grades.to_multivectors(y), t

    plain, plain_s = run(EquiLayerNorm())
    scaled, scaled_s = run(EquiLayerNorm(weight_mv=factors, weight_s=np.arange(4, dtype="f4")))
    expected = plain * factors[:, np.repeat(np.arange(5), [1, 4, 6, 4, 1])]
    np.testing.assert_allclose(scaled, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(scaled_s, plain_s * np.arange(4.0), rtol=1e-6)


def test_norm_statistics_are_single_precision_for_half_precision_inputs():
    rng = np.random.default_rng(0)
    x, s = 300.0 * rng.normal(size=(2, 5, 3, 16)), rng.normal(size=(2, 5, 8)) + 50.0
    x, s = jnp.asarray(x, jnp.bfloat16), jnp.asarray(s, jnp.bfloat16)
    half = jax.jit(EquiLayerNorm())(*to_grades(x, s))
    single = jax.jit(EquiLayerNorm())(*to_grades(x.astype(jnp.float32), s.astype(jnp.float32)))
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


@pytest.mark.parametrize(
    ("scheme", "scalars"),
    [(name, (32, 40)) for name in ("default", "small", "unit_scalar", "almost_unit_scalar")]
    + [("default", (None, None))],
)
def test_initial_numbers_spread_as_those_of_lgatr(scheme, scalars):
    """Within five standard deviations of the mean of as many uniform numbers."""
    layer = EquiLinear.init(jax.random.key(0), 64, 48, *scalars, initialization=scheme)
    name = f"EquiLinear_{scheme}" + "_nos" * (scalars[0] is None)
    recorded = {key.split("/")[1]: v for key, v in read_statistics().items() if f"{name}/" in key}
    state = state_from_network(layer)
    assert state.keys() == recorded.keys()
    for key, (low, high, mean, deviation, size) in recorded.items():
        values = state[key]
        assert values.size == size
        found = np.array([values.min(), values.max(), values.mean(), values.std()])
        gap = np.abs(found - [low, high, mean, deviation]).max()
        assert gap <= 5 * (2 / 12 / size) ** 0.5 * (high - low), key


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
        y, t = complex_grades.dropout(key, *to_grades(x, s), 0.25)
        return complex_grades.to_multivectors(y), t

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
    inputs = to_grades(x, s)
    assert complex_grades.dropout(None, *inputs, 0.25) == inputs
