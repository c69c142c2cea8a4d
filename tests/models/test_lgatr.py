"""L-GATr against lgatr 1.4 and 2.0, under Lorentz transformations, permutation and padding."""

from functools import lru_cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxpriors.layers import complex_grades
from jaxpriors.layers.attention import Mask
from jaxpriors.layers.multivector import EquiLinear
from jaxpriors.models.files import build
from jaxpriors.models.lgatr import ConditionalLGATrConfig, LGATr, LGATrConfig
from jaxpriors.models.lgatr_blocks import Block, scale_scalar_weights
from jaxpriors.models.state_dicts import network_from_state, state_from_network
from jaxpriors.physics.algebra import embed_vector
from jaxpriors.porting.lgatr import config_from_case
from jaxpriors.verification.networks import states
from tests.helpers import clifford
from tests.helpers.lorentz import PARITY, TIME_REVERSAL, random_lorentz
from tests.helpers.recorded import TINY_SIZES, assert_close, assert_layer, read_case

OPTIONS = ["22", "mq", "headscale", "mq_headscale_reinsert", "reinsert", "fulllorentz"]
OPTIONS += ["nobivector", "nogp", "noscalarsio", "relu", "sigmoid", "silu", "mlp2", "oneheadchan"]
CASES = [
    *(f"lgatr_mask_{name}" for name in ("pad", "float", "packed")),
    *("lgatr_tagger", "lgatr_paper1M", "lgatr_tiny"),
    *(f"lgatr_tiny_{name}" for name in OPTIONS),
    *("cond_lgatr_tiny", "cond_lgatr_tiny_mask", "cond_lgatr_tiny_mq_hs"),
]
CASES_2 = ["lgatr_heads", "lgatr_noaffine", "lgatr_noscalarsio", "cond_lgatr", "cond_lgatr_heads"]
WITH_GRADIENTS = ("lgatr_tiny_mq_headscale_reinsert", "cond_lgatr_tiny_mask")

TINY = TINY_SIZES | dict(in_mv_channels=2, out_mv_channels=2, hidden_mv_channels=4)
CONDITION = dict(mv_channels_cond=3, s_channels_cond=5, crossattention_num_heads=2)
EVENTS, TOKENS, CONDITION_TOKENS = 2, 6, 4


def arguments(recorded, conditional):
    """Inputs of a recorded case in the order of ``apply``; the masks come last."""
    names = ["multivectors", "multivectors_condition", "scalars", "scalars_condition"]
    inputs = [recorded.get(f"in_{n}", recorded.get(f"in_{n[:-5]}")) for n in names]
    masks = [recorded.get(f"in_{n}attn_mask") for n in ("", "cross")]
    masks = [None if mask is None else Mask(dense=mask) for mask in masks]
    return [*inputs, *masks] if conditional else [inputs[0], inputs[2], masks[0]]


def apply(network, *inputs, function=None):
    """``function`` (the network) of (x, s, mask) or of x, that of the condition, s, … and masks."""
    function = network if function is None else partial(function, network)
    if not isinstance(network.config, ConditionalLGATrConfig):
        return function(*inputs)
    x, x_condition, s, s_condition, mask, condition_mask = (*inputs, None, None)[:6]
    return function(x, s, mask, condition=(x_condition, s_condition), condition_mask=condition_mask)


def outputs_and_states(network, *inputs):
    """The outputs that are not None, and the intermediates."""
    out = apply(network, *inputs)
    return [o for o in out if o is not None], apply(network, *inputs, function=states)


@pytest.mark.parametrize(
    ("folder", "case"), [("lgatr", c) for c in CASES] + [("lgatr2", c) for c in CASES_2]
)
def test_networks_compute_what_lgatr_computes(folder, case):
    described, state, recorded = read_case(case, folder)
    config = config_from_case(described)
    network = build(config, state)
    inputs = arguments(recorded, case.startswith("cond"))

    def value(network, inputs):
        out, states = outputs_and_states(network, *inputs)
        return sum(jnp.sum(o * recorded[f"cot_{i}"]) for i, o in enumerate(out)), (out, states)

    if case in WITH_GRADIENTS:
        (gradient, input_gradients), (out, states) = jax.jit(
            jax.grad(value, argnums=(0, 1), has_aux=True, allow_int=True)  # masks are inputs too
        )(network, inputs)
        expected = {k[5:]: v for k, v in recorded.items() if k.startswith("grad/")}
        expected = network_from_state(gradient, expected)
        for got, want in zip(*map(jax.tree.leaves, (gradient, expected)), strict=True):
            assert_close(got, want, 1e-4)
        names = [k for k in recorded if k.startswith("gradin_")]
        for got, name in zip(input_gradients, names, strict=False):
            assert_close(got, recorded[name], 1e-4, name)
    else:
        out, states = jax.jit(outputs_and_states)(network, *inputs)

    for got, name in zip(out, ("out64_mv", "out64_s"), strict=False):
        assert_close(got, recorded[name], 2e-5, name)
    assert len(out) == sum(key.startswith("out64_") for key in recorded)
    assert set(states) == {"linear_in", *(f"block{i}" for i in range(config.num_blocks))}
    for name, (x, s) in states.items():
        assert_close(x, recorded[f"inter_{name}_mv"], 2e-5, name)
        assert_close(s, recorded[f"inter_{name}_s"], 2e-5, name)


@pytest.mark.parametrize("conditional", [False, True])
def test_blocks_compute_what_lgatr_computes(conditional):
    sizes = dict(hidden_mv_channels=2, hidden_s_channels=4, num_heads=2, attn_ratio=1)
    if conditional:
        cross = dict(crossattention_num_heads=1, crossattention_attn_ratio=1)
        config = ConditionalLGATrConfig(**sizes, **cross, mv_channels_cond=3, s_channels_cond=5)
    else:
        reinserted = dict(reinsert_mv_channels=(0, 1), reinsert_s_channels=(0, 1, 2))
        config = LGATrConfig(**sizes, **reinserted, in_mv_channels=2, in_s_channels=3)

    def call(block, inputs):
        def state(end, prefix=""):
            mv, s = (inputs[f"{prefix}{kind}{end}"] for kind in ("multivectors", "scalars"))
            return complex_grades.from_multivectors(mv), s

        extra = condition = None
        if conditional:
            condition = state("_condition")
        else:
            mv, s = (inputs[f"additional_qk_features_{kind}"] for kind in ("mv", "s"))
            extra = complex_grades.from_multivectors(mv), s
        x, s = block(*state(""), None, extra, None, condition=condition)
        return complex_grades.to_multivectors(x), s

    name = "lgatr/cond_block" if conditional else "lgatr/block"
    assert_layer(name, lambda key: Block.init(key, config), call)


def test_a_condition_is_wanted_where_the_configuration_has_one():
    x, s = (a.astype(np.float32) for a in events(False))
    for config, given in (
        (LGATrConfig(**TINY), {"condition": (x, s)}),
        (ConditionalLGATrConfig(**TINY, **CONDITION), {}),
    ):
        network = jax.eval_shape(partial(LGATr.init, config=config), jax.random.key(0))
        with pytest.raises(ValueError, match="condition"):
            network(x, s, **given)


def test_sizes_of_the_paper():
    def size(config):
        network = jax.eval_shape(lambda key: LGATr.init(key, config), jax.random.key(0))
        return sum(leaf.size for leaf in jax.tree.leaves(network))

    assert size(LGATrConfig()) == 1_078_850
    assert size(LGATrConfig(num_blocks=24)) == 2_157_122
    wide = dict(hidden_mv_channels=20, hidden_s_channels=40, num_heads=4, num_blocks=15)
    assert size(LGATrConfig(**wide)) == 2_103_122
    assert size(LGATrConfig.of_version("2.0")) == 1_076_930


def test_versions_differ_in_their_settings():
    assert LGATrConfig.of_version("1.4") == LGATrConfig()
    config = ConditionalLGATrConfig.of_version("2.0", **TINY, **CONDITION)
    assert config.crossattention_qkv_norm and config.num_blocks == 2
    assert not LGATrConfig.of_version("2.0", norm_elementwise_affine=False).norm_elementwise_affine
    with pytest.raises(
        ValueError, match=r"version: found '1\.3', expected one of \['1\.4', '2\.0'"
    ):
        LGATrConfig.of_version("1.3")


@pytest.mark.parametrize("subgroup", [True, False])
def test_initial_weights_that_lead_to_the_scalar_component(subgroup):
    """Uniform in ±1/√in; lgatr 2.0 divides by √2 where scalars add to the same component."""
    sizes = TINY | dict(hidden_mv_channels=24, num_blocks=1, use_fully_connected_subgroup=subgroup)
    config = LGATrConfig.of_version("2.0", **sizes)
    network = jax.jit(lambda key: LGATr.init(key, config))(jax.random.key(0))
    expected = np.ones(10 if subgroup else 5)
    expected[[0, 9] if subgroup else [0]] = 0.5**0.5
    for layer in (network.blocks.attention.qkv_module.in_linear, network.blocks.mlp.layers[1]):
        *_, inputs, basis = layer.weight.shape
        spread = np.asarray(layer.weight).reshape(-1, basis).std(axis=0) * (3 * inputs) ** 0.5
        np.testing.assert_allclose(spread, expected, rtol=0.05)
    without_scalars = EquiLinear(np.ones((3, 2, len(expected))))
    assert scale_scalar_weights(without_scalars, 0.5) is without_scalars


def test_training_follows_lgatr():
    """Five steps of AdamW in float64; in float32 the kink of |p²| at massless momenta has a say."""
    described, state, recorded = read_case("train_lgatr")
    hyper = described["hyper"]
    optimizer = optax.adamw(
        hyper["lr"], *hyper["betas"], eps=hyper["eps"], weight_decay=hyper["weight_decay"]
    )
    mask = Mask(dense=recorded["valid"][:, None, None, :])
    labels, weights = recorded["labels"], recorded["event_weights"]

    def loss(network):
        x = embed_vector(jnp.asarray(recorded["momenta"], jnp.float64))[:, :, None]
        logits = network(x, recorded["scalars"].astype(np.float64), mask)[0][:, 0, 0, 0]
        losses = optax.sigmoid_binary_cross_entropy(logits, labels)
        return jnp.sum(weights * losses) / jnp.sum(weights), logits

    @jax.jit
    def step(network, moments):
        (value, logits), gradient = jax.value_and_grad(loss, has_aux=True)(network)
        updates, moments = optimizer.update(gradient, moments, network)
        return optax.apply_updates(network, updates), moments, value, logits, gradient

    with jax.enable_x64(True):
        network = build(config_from_case(described), state)
        network = jax.tree.map(lambda a: a.astype(jnp.float64), network)
        moments = optimizer.init(network)
        for i in range(5):
            network, moments, value, logits, gradient = step(network, moments)
            assert_close(value, recorded["losses64"][i], 1e-6)
            assert_close(value, recorded["losses32"][i], 1e-4)
            assert_close(logits, recorded["logits64"][i], 1e-6)
            assert_close(optax.tree.norm(gradient), recorded["gradnorm64"][i], 1e-6)
            if i == 0:
                for name, value in state_from_network(gradient).items():
                    assert_close(value, recorded[f"grad0/{name}"], 1e-5, name)
        for name, value in state_from_network(network).items():
            assert_close(value, recorded[f"final64/{name}"], 1e-5, name)


@lru_cache
def tiny(conditional, **options):
    """A random network in float64 and its compiled call."""
    sizes = TINY | (CONDITION if conditional else {}) | options
    config = ConditionalLGATrConfig if conditional else LGATrConfig
    with jax.enable_x64(True):
        network = jax.jit(lambda key: LGATr.init(key, config(**sizes)))(jax.random.key(1))
        return network, jax.jit(apply)


def events(conditional, seed=0):
    """Random inputs in float64: (multivectors, scalars) or with those of the condition."""
    rng = np.random.default_rng(seed)
    inputs = [rng.normal(size=(EVENTS, TOKENS, 2, 16))]
    if conditional:
        inputs.append(rng.normal(size=(EVENTS, CONDITION_TOKENS, 3, 16)))
    inputs.append(rng.normal(size=(EVENTS, TOKENS, 3)))
    if conditional:
        inputs.append(rng.normal(size=(EVENTS, CONDITION_TOKENS, 5)))
    return inputs


def assert_equivariant(conditional, matrix, tolerance=1e-9, **options):
    """f(Λ x) = Λ f(x) for the whole network, Λ applied by the slow algebra."""
    inputs = events(conditional)
    moved = [clifford.transform(matrix, a) if a.ndim == 4 else a for a in inputs]
    with jax.enable_x64(True):
        network, call = tiny(conditional, **options)
        (x, s), (moved_x, moved_s) = call(network, *inputs), call(network, *moved)
        assert x.dtype == np.float64
        assert_close(moved_x, clifford.transform(matrix, x), tolerance)
        assert_close(moved_s, s, tolerance)


@pytest.mark.parametrize("conditional", [False, True])
def test_networks_are_lorentz_equivariant(conditional):
    for seed in range(3):
        assert_equivariant(conditional, random_lorentz(seed))


@pytest.mark.parametrize("conditional", [False, True])
def test_networks_of_the_full_group_commute_with_parity_and_time_reversal(conditional):
    full = dict(use_fully_connected_subgroup=False)
    for matrix in (PARITY, TIME_REVERSAL, random_lorentz(0) @ PARITY):
        assert_equivariant(conditional, matrix, **full)


def test_networks_of_the_connected_subgroup_break_parity():
    with pytest.raises(AssertionError):
        assert_equivariant(False, PARITY, tolerance=1e-3)


def test_other_options_are_lorentz_equivariant():
    options = dict(multi_query=True, head_scale=True, reinsert_mv_channels=(1,), use_bivector=False)
    assert_equivariant(False, random_lorentz(5), **options)


def test_tokens_are_permuted_with_their_inputs():
    order = np.random.default_rng(1).permutation(TOKENS)
    inputs = events(True)
    with jax.enable_x64(True):
        network, call = tiny(True)
        outputs = call(network, *inputs)
        shuffled = [a[:, order] if a.shape[1] == TOKENS else a for a in inputs]
        for got, expected in zip(call(network, *shuffled), outputs, strict=True):
            assert_close(got, expected[:, order], 1e-12)
        # the order of the condition's tokens does not matter
        turned = [a[:, ::-1] if a.shape[1] == CONDITION_TOKENS else a for a in inputs]
        for got, expected in zip(call(network, *turned), outputs, strict=True):
            assert_close(got, expected, 1e-12)


def test_padding_and_packing_change_nothing():
    x, s = (a.astype(np.float32) for a in events(False))
    network = jax.jit(lambda key: LGATr.init(key, LGATrConfig(**TINY)))(jax.random.key(1))
    lengths = np.array([4, 6])
    call = jax.jit(lambda network, *inputs: network(*inputs))
    padded = call(network, x, s, Mask(lengths=lengths))
    other = call(network, *(np.where(np.arange(6).reshape(-1, *[1] * (a.ndim - 2)) < 4, a, 7.0)
                            for a in (x, s)), Mask(lengths=np.array([4, 4])))  # fmt: skip
    cut = call(network, x[:1, :4], s[:1, :4])
    rows = [np.concatenate([a[0, :4], a[1], np.zeros_like(a[0, :2])])[None] for a in (x, s)]
    segments = np.array([[1] * 4 + [2] * 6 + [0] * 2])
    packed = call(network, *rows, Mask(segments=segments))
    for one, two, alone, together in zip(padded, other, cut, packed, strict=True):
        assert_close(one[:1, :4], alone, 1e-6)
        assert_close(two[:1, :4], alone, 1e-6)
        assert_close(together[:, :4], alone, 1e-6)
        assert_close(together[:, 4:10], one[1:], 1e-6)
        assert np.isfinite(np.asarray(together)).all()


def test_the_readout_is_the_first_tokens_of_the_whole():
    network, call = tiny(False)
    x, s = events(False)
    dense = np.random.default_rng(1).normal(size=(EVENTS, 1, TOKENS, TOKENS)) > 0
    for mask in (None, Mask(lengths=np.array([4, 6])), Mask(dense=dense)):
        with jax.enable_x64(True):
            read = jax.jit(lambda network, *inputs: network(*inputs, readout=2))
            for some, all_tokens in zip(
                read(network, x, s, mask), call(network, x, s, mask), strict=True
            ):
                assert some.shape[1] == 2
                assert_close(some, all_tokens[:, :2], 1e-12)
    segments = np.ones((EVENTS, TOKENS), np.int32)
    with jax.enable_x64(True), pytest.raises(ValueError, match="readout: found packed rows"):
        network(x, s, Mask(segments=segments), readout=2)


def test_padding_of_the_condition_changes_nothing():
    inputs = events(True)
    with jax.enable_x64(True):
        network, call = tiny(True)
        short = [a[:, :3] if a.shape[1] == CONDITION_TOKENS else a for a in inputs]
        masked = call(network, *inputs, None, Mask(lengths=np.array([3, 3])))
        for got, expected in zip(masked, call(network, *short), strict=True):
            assert_close(got, expected, 1e-12)


def test_dropout_needs_a_key_and_checkpointing_changes_nothing():
    x, s = (a.astype(np.float32) for a in events(False))
    config = LGATrConfig(**TINY, dropout_prob=0.3)
    network = jax.jit(lambda key: LGATr.init(key, config))(jax.random.key(1))
    remat = network_from_state(
        jax.eval_shape(
            lambda key: LGATr.init(key, LGATrConfig(**TINY, checkpoint_blocks=True)),
            jax.random.key(0),
        ),
        state_from_network(network),
    )

    @jax.jit
    def run(network, key):
        return jax.value_and_grad(lambda n: jnp.sum(n(x, s, key=key)[0] ** 2))(network)

    inference, gradient = run(network, None)
    again, remat_gradient = run(remat, None)
    assert_close(again, inference, 1e-6)
    for got, want in zip(*map(jax.tree.leaves, (remat_gradient, gradient)), strict=True):
        assert_close(got, want, 1e-4)
    first, second = (run(network, jax.random.key(i))[0] for i in range(2))
    assert len({float(inference), float(first), float(second)}) == 3
    assert float(first) == float(run(network, jax.random.key(0))[0])


def test_half_precision_stays_close_to_single_precision():
    x, s = (a.astype(np.float32) for a in events(False))
    network = jax.jit(lambda key: LGATr.init(key, LGATrConfig(**TINY)))(jax.random.key(1))
    half = jax.tree.map(lambda a: a.astype(jnp.bfloat16), network)
    call = jax.jit(lambda network, *inputs: network(*inputs))
    inputs = jnp.asarray(x, jnp.bfloat16), jnp.asarray(s, jnp.bfloat16)
    for got, want in zip(call(half, *inputs), call(network, x, s), strict=True):
        assert got.dtype == jnp.bfloat16
        assert_close(got.astype(jnp.float32), want, 5e-2)


def test_wrong_arguments_are_named():
    network = jax.eval_shape(lambda key: LGATr.init(key, LGATrConfig(**TINY)), jax.random.key(0))
    x, s = (a.astype(np.float32) for a in events(False))
    with pytest.raises(ValueError, match=r"multivectors have shape .* expected \(B, N, 2, 16\)"):
        network(x[:, :, :1], s)
    with pytest.raises(ValueError, match=r"scalars have shape .* expected \(2, 6, 3\)"):
        network(x)
    for change, message in (
        ({"reinsert_s_channels": (3,)}, r"reinsert_s_channels is \(3,\)"),
        ({"nonlinearity": "mish"}, "nonlinearity is 'mish', expected one of"),
        ({"dropout_prob": 1.0}, r"dropout_prob is 1\.0, expected in \[0, 1\)"),
        ({"num_heads": 0}, "num_heads is 0, expected at least 1"),
    ):
        with pytest.raises(ValueError, match=message):
            LGATrConfig(**(TINY | change))
    with pytest.raises(ValueError, match="reinserted channels found in a ConditionalLGATr"):
        ConditionalLGATrConfig(**TINY, **CONDITION, reinsert_mv_channels=(0,))
    with pytest.raises(ValueError, match="crossattention_num_heads is 0"):
        ConditionalLGATrConfig(**TINY, **(CONDITION | {"crossattention_num_heads": 0}))
