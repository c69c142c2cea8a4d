"""The step computes the mean gradient, whatever the chunks, devices and padding."""

import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxpriors.data.batching import spread
from jaxpriors.errors import InputError
from jaxpriors.layers.core import Linear, module
from jaxpriors.ratio.model import member_logits
from jaxpriors.training.optimizers import (
    OptimizerConfig,
    decayed,
    each_alone,
    learning_rate,
    make_optimizer,
    schedule,
)
from jaxpriors.training.parallel import data_mesh, replicate, shard_rows
from jaxpriors.training.step import Precision, initial_state, make_step
from tests.helpers.ratios import jets_with_identities, random_ratio


@module
class _Network:
    body: Linear
    head: Linear


def _loss(params, part, key):
    prediction = jnp.tanh(part["x"] @ params["weight"]) @ params["bias"]
    return (part["w"] * (prediction - part["y"]) ** 2).sum()


def _problem(rows=16):
    rng = np.random.default_rng(0)
    params = {
        "weight": jnp.asarray(rng.normal(size=(3, 4)), jnp.float32),
        "bias": jnp.asarray(rng.normal(size=4), jnp.float32),
    }
    batch = tuple(
        {
            "x": rng.normal(size=(n, 3)).astype(np.float32),
            "y": rng.normal(size=n).astype(np.float32),
            "w": rng.normal(1, 0.5, size=n).astype(np.float32),
        }
        for n in (rows, rows // 2)
    )
    return params, batch


def _gradient(micro_batch=None, devices=None, batch=None, rows=24.0):
    """The gradient, as the change that plain gradient descent of rate 1 makes."""
    params, default = _problem()
    mesh = data_mesh(devices)
    optimizer = optax.sgd(1.0)
    step = jax.jit(make_step(_loss, optimizer, rows, mesh, micro_batch))
    state = replicate(initial_state(params, optimizer), mesh)
    after, metrics = step(state, shard_rows(batch or default, mesh))
    return jax.tree.map(lambda a, b: np.asarray(a - b), params, after.params), metrics


def test_gradient_is_that_of_the_mean_over_all_rows():
    params, batch = _problem()
    whole = {k: np.concatenate([part[k] for part in batch]) for k in batch[0]}
    value, expected = jax.value_and_grad(_loss)(params, whole, None)
    found, metrics = _gradient()
    assert float(metrics["loss"]) == pytest.approx(float(value) / 24, rel=1e-5)
    for name in expected:
        np.testing.assert_allclose(found[name], expected[name] / 24, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("micro_batch", [2, 5, 8])
def test_chunks_change_nothing(micro_batch):
    whole, chunked = _gradient()[0], _gradient(micro_batch)[0]
    for name in whole:
        np.testing.assert_allclose(chunked[name], whole[name], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("micro_batch", [None, 4])
def test_two_devices_give_the_gradient_of_one(micro_batch):
    assert jax.device_count() == 2
    one = _gradient(micro_batch, jax.devices()[:1])[0]
    two = _gradient(micro_batch, jax.devices())[0]
    for name in one:
        np.testing.assert_allclose(two[name], one[name], rtol=1e-4, atol=1e-6)


def test_rows_of_weight_zero_change_nothing():
    _, batch = _problem()
    filled = tuple(
        {k: np.concatenate([v, 0 * v if k == "w" else v]) for k, v in part.items()}
        for part in batch
    )
    whole, padded = _gradient()[0], _gradient(batch=filled)[0]
    for name in whole:
        np.testing.assert_allclose(padded[name], whole[name], rtol=1e-4, atol=1e-6)


def test_a_step_that_is_not_finite_leaves_the_state():
    _, batch = _problem()
    batch[1]["y"][3] = np.nan
    change, metrics = _gradient(batch=batch)
    assert not bool(metrics["finite"])
    assert all(not x.any() for x in change.values())


def test_weight_decay_acts_on_weights_alone():
    from jaxpriors.preprocessing.tokens import InputConfig
    from jaxpriors.ratio.networks import init_classifier
    from jaxpriors.ratio.presets import preset
    from jaxpriors.training.checkpoints import flatten

    for model in ("lgatr", "lgatr-slim"):
        init = partial(init_classifier, config=preset(model, "small"), inputs=InputConfig())
        classifier = jax.eval_shape(init, jax.random.key(0))
        mask = flatten(decayed(classifier))
        assert any(mask.values())
        for name, flag in mask.items():
            assert flag == (name.rsplit("/", 1)[1].startswith("weight")), name


def test_gains_of_pet_do_not_decay():
    from jaxpriors.models.pet import PET, PETConfig
    from jaxpriors.training.checkpoints import flatten

    config = PETConfig(hidden_channels=8, num_layers=1, num_heads=2)
    network = jax.eval_shape(lambda key: PET.init(key, config), jax.random.key(0))
    for name, flag in flatten(decayed(network)).items():
        gain = any(part.startswith(("norm", "ls")) for part in name.split("/"))
        assert flag == (name.endswith("/weight") and not gain), name


def _descend(config, params, steps=3):
    optimizer = make_optimizer(config, 100)
    state = optimizer.init(params)
    for _ in range(steps):
        gradient = jax.tree.map(lambda x: jnp.cos(3 * x), params)
        update, state = optimizer.update(gradient, state, params)
        params = optax.apply_updates(params, update)
    return params


@pytest.mark.parametrize("rule", ["lion", "adamw"])
def test_the_body_learns_slower_and_decays_as_fast(rule):
    params = Linear(jnp.linspace(-1.0, 2.0, 5), jnp.linspace(0.5, 1.0, 3))
    whole = _Network(body=params, head=params)
    found = _descend(OptimizerConfig(rule, 0.02, 0.5, body_factor=4.0), whole)
    slow = _descend(OptimizerConfig(rule, 0.02 / 4, 0.5 * 4), params)
    fast = _descend(OptimizerConfig(rule, 0.02, 0.5), params)
    for name in ("weight", "bias"):
        np.testing.assert_allclose(getattr(found.body, name), getattr(slow, name), rtol=1e-6)
        np.testing.assert_array_equal(getattr(found.head, name), getattr(fast, name))
    assert not np.allclose(found.body.weight, found.head.weight, atol=1e-3)
    slower = _descend(OptimizerConfig(rule, 0.02, 0.5, body_factor=4.0, slow_decay=True), whole)
    alone = _descend(OptimizerConfig(rule, 0.02 / 4, 0.5), params)
    for name in ("weight", "bias"):
        np.testing.assert_allclose(getattr(slower.body, name), getattr(alone, name), rtol=1e-6)
        np.testing.assert_array_equal(getattr(slower.head, name), getattr(fast, name))


def test_every_parameter_decays_if_asked():
    params = Linear(jnp.ones(2), jnp.ones(2))
    kept = _descend(OptimizerConfig("lion", 0.02, 0.5), params)
    all_decayed = _descend(OptimizerConfig("lion", 0.02, 0.5, decay_all=True), params)
    np.testing.assert_array_equal(kept.weight, all_decayed.weight)
    np.testing.assert_array_equal(all_decayed.bias, all_decayed.weight)
    assert np.all(all_decayed.bias < kept.bias)


def test_the_average_follows_the_parameters():
    params, batch = _problem()
    optimizer = optax.sgd(0.1)
    step = jax.jit(make_step(_loss, optimizer, 24.0, data_mesh(), ema=0.75))
    state = initial_state(params, optimizer, average=True)
    expected = params
    for _ in range(3):
        state, _ = step(state, batch)
        expected = jax.tree.map(lambda a, p: 0.75 * a + 0.25 * p, expected, state.params)
    for name in params:
        np.testing.assert_allclose(state.average[name], expected[name], rtol=1e-6)
    batch[0]["y"][0] = np.nan
    same, _ = step(state, batch)
    for name in params:
        np.testing.assert_array_equal(same.average[name], state.average[name])


@pytest.mark.parametrize(
    "rule",
    [
        optax.chain(optax.clip_by_global_norm(1.0), optax.sgd(1.0)),
        make_optimizer(OptimizerConfig("adamw", 0.02, 0.5, clip=1.0, body_factor=4.0), 100),
    ],
)
def test_stacked_networks_are_updated_each_alone(rule):
    """One network's large gradient clips its own update only."""
    params = Linear(jnp.linspace(-1.0, 2.0, 5), jnp.linspace(0.5, 1.0, 3))
    networks = [_Network(params, params), jax.tree.map(lambda x: 9 * x, _Network(params, params))]
    stacked = jax.tree.map(lambda *x: jnp.stack(x), *networks)
    together = each_alone(rule)
    # gradients of the mean of the networks' losses are half of their own
    found, _ = together.update(
        jax.tree.map(lambda x: x / 2, stacked), together.init(stacked), stacked
    )
    for i, one in enumerate(networks):
        expected, _ = rule.update(one, rule.init(one), one)
        jax.tree.map(
            lambda a, b, i=i: np.testing.assert_allclose(a[i], b, rtol=1e-5), found, expected
        )


def _rate(config, steps):
    return lambda count: learning_rate(count, **schedule(config, steps))


def test_schedule_rises_and_falls():
    rate = _rate(OptimizerConfig(learning_rate=1.0, warmup=0.1, final_rate=0.01), 100)
    assert float(rate(0)) == 0
    assert float(rate(10)) == pytest.approx(1)
    assert float(rate(55)) == pytest.approx(0.505, abs=1e-3)
    assert float(rate(100)) == pytest.approx(0.01)
    assert float(_rate(OptimizerConfig(learning_rate=1.0), 100)(0)) == 1
    flat = _rate(OptimizerConfig(learning_rate=1.0, warmup=0.1, initial_rate=1.0), 100)
    assert float(flat(0)) == float(flat(7)) == 1
    assert float(_rate(OptimizerConfig(final_rate=1.0), 1)(1)) == np.float32(3e-5)
    cut = _rate(OptimizerConfig(learning_rate=1.0, warmup=0.2, cosine=1.6), 100)
    assert float(cut(20)) == 1 and float(cut(100)) == pytest.approx(0.5)


@pytest.mark.parametrize("warmup", [0.0, 0.13, 1.0])
def test_schedule_is_that_of_optax(warmup):
    config = OptimizerConfig(learning_rate=0.3, warmup=warmup, initial_rate=0.2, final_rate=0.1)
    expected = optax.warmup_cosine_decay_schedule(
        0.06 if warmup else 0.3, 0.3, round(100 * warmup), max(100, round(100 * warmup) + 1), 0.03
    )
    count = np.arange(120)
    rates = _rate(config, 100)(count)
    np.testing.assert_allclose(rates, [expected(i) for i in count], rtol=3e-6)


def test_one_update_serves_all_schedules():
    """The numbers of a schedule are in the state alone."""
    params, _ = _problem()
    config = OptimizerConfig("adamw", 0.02, warmup=0.1, final_rate=0.3)
    own, bare = make_optimizer(config, 50), make_optimizer(OptimizerConfig("adamw", 1.0), 1)
    state = own.init(params)
    for one, other in zip(
        *(jax.tree.leaves(rule.update(params, state, params)) for rule in (own, bare)), strict=True
    ):
        np.testing.assert_array_equal(one, other)


def test_unknown_rule_and_rate():
    with pytest.raises(InputError, match="rule: found 'sgd', expected 'lion' or 'adamw'"):
        OptimizerConfig("sgd")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="learning_rate: found nan, expected a finite number"):
        OptimizerConfig(learning_rate=float("nan"))
    with pytest.raises(InputError, match=r"body_factor: found 0\.0, expected a finite number"):
        OptimizerConfig(body_factor=0.0)


CASES = [("float32", "HIGHEST"), ("tensorfloat32", "HIGH"), ("bfloat16", "DEFAULT")]


@pytest.mark.parametrize(("compute", "expected"), CASES)
@pytest.mark.parametrize("model", ["lgatr", "lgatr-slim", "pet"])
def test_products_are_as_exact_as_the_training_says(model, compute, expected, tmp_path):
    """Whatever JAX is set to: GPUs would round float32 to 10 bits by default."""
    ratio = random_ratio(model, tmp_path)
    batch = spread(jets_with_identities(4, 0), 16)

    def loss(classifier):
        one = member_logits(classifier, batch, None, ratio.preprocessing, Precision(compute))
        return (one**2).sum()

    with jax.default_matmul_precision("bfloat16"):
        text = jax.jit(jax.grad(loss)).lower(ratio.classifier).as_text()
    found = re.findall(r"stablehlo\.dot_general.*?precision = \[(\w+), (\w+)\]", text)
    assert len(found) == text.count("stablehlo.dot_general")
    names = {name for pair in found for name in pair}
    assert expected in names
    assert names <= {expected, "HIGHEST"}  # some are exact whatever is asked for
