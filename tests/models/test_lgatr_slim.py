"""L-GATr-slim against lgatr 1.4 and 2.0, under Lorentz transformations, padding and packing."""

import dataclasses
from functools import lru_cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxpriors.layers.attention import Mask
from jaxpriors.models.files import build
from jaxpriors.models.lgatr_slim import (
    VERSIONS,
    ConditionalLGATrSlimConfig,
    LGATrSlim,
    LGATrSlimConfig,
)
from jaxpriors.models.lgatr_slim_blocks import (
    MLP,
    Block,
    ConditionalBlock,
    CrossAttention,
    SelfAttention,
)
from jaxpriors.models.state_dicts import network_from_state
from jaxpriors.porting.lgatr import config_from_case
from jaxpriors.verification.networks import states
from tests.helpers.lorentz import random_lorentz, transform
from tests.helpers.recorded import TINY_SIZES, assert_close, assert_layer, read_case

TINY = TINY_SIZES | dict(in_v_channels=2, out_v_channels=3, hidden_v_channels=4)
CONDITION = dict(v_channels_cond=3, s_channels_cond=5)


def read_network(case, folder="lgatr"):
    """(configuration, state dict, recorded arrays) of a network."""
    described, state, recorded = read_case(case, folder)
    return config_from_case(described), state, recorded


def arguments(recorded):
    """Inputs and masks of a recorded case, in the order of ``apply``."""
    names = ("vectors", "vectors_condition", "vectors_cond", "scalars", "scalars_condition")
    present = [f"in_{n}" for n in (*names, "scalars_cond") if f"in_{n}" in recorded]
    masks = [
        Mask(dense=jnp.asarray(recorded[n])) if n in recorded else None
        for n in ("in_attn_mask", "in_crossattn_mask")
    ]
    conditional = len(present) == 4
    return [jnp.asarray(recorded[n]) for n in present], masks if conditional else masks[:1]


def apply(function, inputs, masks=(), **options):
    """A network, or a function of its arguments, of (v, s) or of v, that of the condition, s, …"""
    mask, condition_mask = (*masks, None, None)[:2]
    if len(inputs) == 4:
        inputs, condition = inputs[::2], inputs[1::2]
        options |= {"condition": condition, "condition_mask": condition_mask}
    return function(*inputs, mask, **options)


@jax.jit
def run(network, inputs, masks=(), key=None):
    """The network's outputs; compiled once for each structure and shape."""
    return apply(network, inputs, masks, key=key)


def test_names_and_sizes_of_the_paper():
    config, state, _ = read_network("slim_paper")
    assert sum(v.size for k, v in state.items() if not k.endswith("metric")) == 646_145
    network = jax.eval_shape(lambda key: LGATrSlim.init(key, config), jax.random.key(0))
    assert sum(leaf.size for leaf in jax.tree.leaves(network)) == 646_145
    second = dataclasses.replace(config, **VERSIONS["2.0"])
    network = jax.eval_shape(lambda key: LGATrSlim.init(key, second), jax.random.key(0))
    assert sum(leaf.size for leaf in jax.tree.leaves(network)) == 646_145
    assert LGATrSlimConfig.of_version("1.4", **TINY) == LGATrSlimConfig(**TINY)
    assert LGATrSlimConfig.of_version("2.0", **TINY).gate_factor == 0.5


@pytest.mark.parametrize(
    "case",
    ["slim_tiny", "slim_tiny_ratios", "slim_tiny_oneheadchan", "slim_mask_pad", "slim_mask_packed"]
    + [f"slim_tiny_{name}" for name in ("relu", "sigmoid", "tanh", "silu")]
    + ["slim_paper", "cond_slim_tiny", "cond_slim_tiny_mask", "cond_slim_tiny_ratios"],
)
def test_every_block_computes_what_lgatr_1_4_computes(case):
    config, state, recorded = read_network(case)
    network = build(config, state)
    inputs, masks = arguments(recorded)
    inside = jax.jit(lambda n, inputs, masks: apply(partial(states, n), inputs, masks))(
        network, inputs, masks
    )
    assert set(inside) == {"linear_in", *(f"block{i}" for i in range(config.num_blocks))}
    for name, (v, s) in inside.items():
        assert_close(v, recorded[f"inter_{name}_mv"], 2e-5)
        assert_close(s, recorded[f"inter_{name}_s"], 2e-5)
    v, s = inside[f"block{config.num_blocks - 1}"]
    v, s = network.linear_out(v.swapaxes(-1, -2), s)
    assert_close(v.swapaxes(-1, -2), recorded["out64_v"], 2e-5)
    assert_close(s, recorded["out64_s"], 2e-5)


@pytest.mark.parametrize(
    ("case", "recompute"),
    [("slim_mask_pad", True), ("slim_tiny_ratios", False), ("cond_slim_tiny_mask", False)],
)
def test_outputs_and_gradients_are_those_of_lgatr_1_4(case, recompute):
    config, state, recorded = read_network(case)
    network = build(dataclasses.replace(config, checkpoint_blocks=recompute), state)
    inputs, masks = arguments(recorded)

    def value(network, *inputs):
        out = apply(network, inputs, masks)
        return sum((o * recorded[f"cot_{i}"]).sum() for i, o in enumerate(out)), out

    compute = jax.jit(jax.grad(value, argnums=tuple(range(1 + len(inputs))), has_aux=True))
    gradients, out = compute(network, *inputs)
    for got, want in zip(out, (recorded["out64_v"], recorded["out64_s"]), strict=True):
        assert_close(got, want, 2e-5)
    named = {key[5:]: recorded[key] for key in recorded if key.startswith("grad/")}
    expected = network_from_state(network, named)
    for got, want in zip(*map(jax.tree.leaves, (gradients[0], expected)), strict=True):
        assert_close(got, want, 2e-5)
    recorded_gradients = [recorded[key] for key in recorded if key.startswith("gradin_")]
    for got, want in zip(gradients[1:], recorded_gradients, strict=True):
        assert_close(got, want, 2e-5)


@pytest.mark.parametrize("case", ["slim_ratios", "slim_gate_none", "slim_mask", "cond_slim_mask"])
def test_networks_compute_what_lgatr_2_0_computes(case):
    config, state, recorded = read_network(case, "lgatr2")
    network = build(config, state)
    inputs, masks = arguments(recorded)
    out = run(network, inputs, masks)
    for got, want in zip(out, (recorded["out64_v"], recorded["out64_s"]), strict=True):
        assert_close(got, want, 2e-5)


CROSS = dict(v_channels_cond=3, s_channels_cond=5)
LAYERS = {
    "slim_selfattention": (SelfAttention, dict(attn_ratio=2)),
    "slim_crossattention": (CrossAttention, CROSS),
    "slim_mlp": (MLP, dict(num_layers_mlp=3)),
    "slim_block": (Block, dict(hidden_v_channels=3)),
    "cond_slim_block": (
        ConditionalBlock,
        dict(hidden_v_channels=3, v_channels_cond=2, s_channels_cond=5),
    ),
}


@pytest.mark.parametrize(
    ("folder", "case"),
    [("lgatr", name) for name in LAYERS] + [("lgatr2", n) for n in [*LAYERS][:3]],
)
def test_layers_compute_what_lgatr_computes(folder, case):
    kind, changes = LAYERS[case]
    configuration = ConditionalLGATrSlimConfig if "v_channels_cond" in changes else LGATrSlimConfig
    version = {"lgatr": "1.4", "lgatr2": "2.0"}[folder]
    config = configuration.of_version(version, **(TINY | changes))

    def turn(vectors):
        """The layout of our layers is that of lgatr 2."""
        return vectors.swapaxes(-1, -2) if folder == "lgatr" else vectors

    def call(layer, inputs):
        vectors, scalars = ([n for n in sorted(inputs) if n.startswith(c)] for c in "vs")
        states = [(turn(inputs[v]), inputs[s]) for v, s in zip(vectors, scalars, strict=True)]
        if "vectors_kv" in inputs:
            states.reverse()
        x, *condition = states
        if kind is MLP:
            v, s = layer(*x, None)
        elif kind is Block:
            v, s = layer(x, None, None)
        elif kind is ConditionalBlock:
            v, s = layer(x, None, None, None, *condition, None)
        else:
            v, s = layer(*(a for state in states for a in state), None, None)
        return turn(v), s

    output = 2e-5 if "block" in case or folder == "lgatr2" else 2e-6
    assert_layer(f"{folder}/{case}", lambda key: kind.init(key, config), call, output)


def test_training_follows_lgatr():
    """AdamW, where a tensor that the logit does not depend on is left alone, decay included."""
    described, state, recorded = read_case("train_slim")
    config = config_from_case(described)
    hyper, labels, weights = described["hyper"], recorded["labels"], recorded["event_weights"]
    inputs = recorded["momenta"][:, :, None, :], recorded["scalars"]
    adam = optax.scale_by_adam(*hyper["betas"], hyper["eps"])

    def loss(network):
        mask = Mask(dense=jnp.asarray(recorded["valid"])[:, None, None, :])
        logits = network(*inputs, mask)[1][:, 0, 0]
        losses = optax.sigmoid_binary_cross_entropy(logits, labels)
        return (weights * losses).sum() / weights.sum()

    def updated(path, parameter, direction, gradient):
        blocks = any(getattr(part, "name", "") == "blocks" for part in path)
        axes = tuple(range(1 if blocks else 0, gradient.ndim))
        used = (gradient != 0).any(axes, keepdims=True)
        return parameter - hyper["lr"] * (direction + used * hyper["weight_decay"] * parameter)

    @jax.jit
    def step(network, moments):
        value, gradients = jax.value_and_grad(loss)(network)
        direction, moments = adam.update(gradients, moments)
        new = jax.tree_util.tree_map_with_path(updated, network, direction, gradients)
        return new, moments, value

    with jax.enable_x64(True):
        start = network = jax.tree.map(lambda x: x.astype(jnp.float64), build(config, state))
        moments, losses = adam.init(network), []
        for _ in recorded["losses64"]:
            network, moments, value = step(network, moments)
            losses.append(float(value))
        final = {k[8:]: recorded[k] for k in recorded if k.startswith("final64/")}
        expected = network_from_state(start, final)
    np.testing.assert_allclose(losses, recorded["losses64"], rtol=1e-7)
    for got, want in zip(*map(jax.tree.leaves, (network, expected)), strict=True):
        assert_close(got, want, 1e-6)
    np.testing.assert_array_equal(network.linear_out.weight_v, start.linear_out.weight_v)


@lru_cache
def random_network(conditional=False, **settings):
    """A network with large random weights, so that every path through it matters."""
    if conditional:
        config = ConditionalLGATrSlimConfig(**TINY, **CONDITION, **settings)
        init = partial(LGATrSlim.init, config=config)
    else:
        config = LGATrSlimConfig(**TINY, **settings)
        init = partial(LGATrSlim.init, config=config)
    rng = np.random.default_rng(0)
    return jax.tree.map(
        lambda x: (rng.normal(size=x.shape) * 0.6 / x.shape[-1] ** 0.5).astype(np.float32),
        jax.eval_shape(init, jax.random.key(0)),
    )


def random_inputs(tokens=6, conditions=4, conditional=False):
    rng = np.random.default_rng(1)
    vectors, scalars = rng.normal(size=(3, tokens, 2, 4)), rng.normal(size=(3, tokens, 3))
    inputs = [vectors, scalars]
    if conditional:
        condition = rng.normal(size=(3, conditions, 3, 4)), rng.normal(size=(3, conditions, 5))
        inputs = [vectors, condition[0], scalars, condition[1]]
    return [x.astype(np.float32) for x in inputs]


@pytest.mark.parametrize("conditional", [False, True])
def test_networks_commute_with_the_full_lorentz_group(conditional):
    with jax.enable_x64(True):
        network, inputs = jax.tree.map(
            lambda x: x.astype(np.float64),
            (random_network(conditional), random_inputs(conditional=conditional)),
        )
        v, s = run(network, inputs)
        assert np.abs(v).max() > 1e-2 and np.abs(s).max() > 1e-2
        for seed in range(6):
            matrix = random_lorentz(seed, flips=True)
            moved = [transform(matrix, x) if x.ndim == 4 else x for x in inputs]
            moved_v, moved_s = run(network, moved)
            assert_close(moved_v, transform(matrix, v), 1e-9)
            assert_close(moved_s, s, 1e-9)


@pytest.mark.parametrize("conditional", [False, True])
def test_networks_commute_with_permutations(conditional):
    network, inputs = random_network(conditional), random_inputs(conditional=conditional)
    order, other = np.array([3, 0, 5, 1, 4, 2]), np.array([2, 0, 3, 1])
    outputs = run(network, inputs)
    moved = run(network, [x[:, order if x.shape[1] == 6 else other] for x in inputs])
    for got, want in zip(moved, outputs, strict=True):
        assert_close(got, want[:, order], 2e-6)


def test_the_readout_is_the_first_tokens_of_the_whole():
    network, (vectors, scalars) = random_network(), random_inputs()
    mask = Mask(lengths=jnp.array([4, 2, 6]))
    read = jax.jit(partial(network, readout=2))(vectors, scalars, mask)
    for some, all_tokens in zip(read, run(network, [vectors, scalars], [mask]), strict=True):
        assert some.shape[1] == 2
        assert_close(some, all_tokens[:, :2], 1e-6)


def test_padding_changes_nothing():
    network, (vectors, scalars) = random_network(), random_inputs()
    lengths = np.array([4, 2, 4])
    beyond = np.arange(6) >= lengths[:, None]
    vectors[beyond], scalars[beyond] = 7.0, -3.0
    v, s = run(network, [vectors, scalars], [Mask(lengths=jnp.asarray(lengths))])
    for own, length in ((slice(0, 3, 2), 4), (slice(1, 2), 2)):
        alone_v, alone_s = run(network, [vectors[own, :length], scalars[own, :length]])
        assert_close(v[own, :length], alone_v, 1e-6)
        assert_close(s[own, :length], alone_s, 1e-6)


def test_padding_of_the_condition_changes_nothing():
    network, inputs = random_network(True), random_inputs(conditional=True)
    v, s = run(network, inputs, [Mask(lengths=jnp.full(3, n)) for n in (5, 2)])
    short_v, short_s = run(network, [x[:, : 5 if x.shape[1] == 6 else 2] for x in inputs])
    assert_close(v[:, :5], short_v, 1e-6)
    assert_close(s[:, :5], short_s, 1e-6)


def test_packed_events_equal_separate_events():
    network, (vectors, scalars) = random_network(), random_inputs()
    segments = jnp.tile(jnp.array([1, 1, 2, 2, 0, 0]), (3, 1))
    v, s = run(network, [vectors, scalars], [Mask(segments=segments)])
    for own in (slice(0, 2), slice(2, 4)):
        alone_v, alone_s = run(network, [vectors[:, own], scalars[:, own]])
        assert_close(v[:, own], alone_v, 1e-6)
        assert_close(s[:, own], alone_s, 1e-6)


def test_dropout_acts_with_a_key_alone():
    network, inputs = random_network(dropout_prob=0.3), random_inputs()
    silent = run(network, inputs)[1]
    assert_close(silent, run(random_network(), inputs)[1], 1e-7)
    first, again, other = (run(network, inputs, key=jax.random.key(i))[1] for i in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert jnp.abs(first - silent).max() > 1e-3 and jnp.abs(first - other).max() > 1e-3


def test_bfloat16_stays_near_float32():
    network, inputs = random_network(), random_inputs()
    low = jax.tree.map(lambda x: jnp.asarray(x, jnp.bfloat16), (network, inputs))
    v, s = run(*low)
    assert v.dtype == s.dtype == jnp.bfloat16
    for got, want in zip((v, s), run(network, inputs), strict=True):
        assert_close(got, want, 5e-2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_heads": 0}, "num_heads is 0, expected at least 1"),
        ({"num_layers_mlp": 1}, "num_layers_mlp is 1, expected at least 2"),
        ({"dropout_prob": 1.0}, "dropout_prob is 1.0"),
        ({"nonlinearity_v": "swish"}, "nonlinearity_v is 'swish'"),
    ],
)
def test_a_configuration_without_a_network_is_named(change, message):
    with pytest.raises(ValueError, match=message):
        LGATrSlimConfig(**TINY | change)


def test_inputs_that_do_not_fit_are_named():
    vectors, scalars = random_inputs()
    with pytest.raises(ValueError, match=r"LGATrSlim: found vectors \(3, 6, 4, 2\)"):
        random_network()(vectors.swapaxes(2, 3), scalars)
