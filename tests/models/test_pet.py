"""PET against OmniLearn, and what only mode "masked" promises: no effect of padding, real drops."""

import dataclasses
from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpriors.models.pet import PET, PETConfig, drop_features
from jaxpriors.models.state_dicts import network_from_state, slots
from jaxpriors.verification.pet import body_states
from tests.helpers.pet import FIXTURES, read_recorded, recorded_pet
from tests.helpers.recorded import assert_close

TOLERANCES = {
    "small_all": 2e-5,
    "small_nolocal": 2e-5,
    "small_simple": 2e-5,
    "small_talking": 2e-5,
    "small_nolayerscale": 4e-4,
    "small_variant": 2e-5,
}
EVENTS = ("", "chaos_", "allmask_")
TINY = PETConfig(
    num_features=9,
    num_classes=3,
    hidden_channels=16,
    num_heads=2,
    num_layers=2,
    neighbours=3,
    layer_scale=0.5,
)
VARIANTS = {
    "plain": {},
    "nolocal": {"num_local": 0},
    "simple": {"simple": True},
    "talking": {"talking_head": True},
    "nolayerscale": {"layer_scale": None},
}


def size(tree):
    """Number of weights."""
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


@jax.jit
def classify(pet, *inputs, key=None):
    """The logits."""
    return pet.classify(*inputs, key=key)[0]


@jax.jit
def encode(pet, *inputs):
    """What the body gives."""
    return pet.body(*inputs)


def outputs(pet, features, mask, jet, time, label):
    """body, cls, jet (the regression) and gen."""
    encoded = pet.body(features, mask, time)
    logits, regression = pet.cls(encoded, mask, jet)
    at = jnp.zeros(len(features)) if time is None else time
    velocity = pet.gen(encoded, mask, jet, at, label)
    return {"body": encoded, "cls": logits, "jet": regression, "gen": velocity}


# ---- against OmniLearn


@pytest.mark.parametrize("name", TOLERANCES)
def test_recorded_outputs(name):
    """All events at once, at time 0 and at random times, and the intermediates."""
    table, arrays = read_recorded(name)
    pet, tolerance = recorded_pet(name), TOLERANCES[name]
    for part, recorded in (("body", "body"), ("cls", "classifier_head"), ("gen", "generator_head")):
        assert size(getattr(pet, part)) == table["nparams"][recorded]
    softmax = table["kwargs"].get("class_activation") == "softmax"

    def stack(name, twice=True):
        rows = np.concatenate([arrays[f"{start}{name}"] for start in EVENTS])
        return np.concatenate([rows, rows]) if twice else rows

    time = stack("time_rand", twice=False)[:, 0]
    features, mask = stack("input_features"), stack("input_mask")[..., 0] != 0
    inputs = (features, mask, stack("input_jet"), np.append(0 * time, time), stack("input_label"))
    ours, taps = jax.jit(
        lambda pet, *x: (outputs(pet, *x), body_states(pet.body, x[0], x[1], x[3]))
    )(pet, *inputs)
    if softmax:
        ours["cls"] = jax.nn.softmax(ours["cls"])
    row = 0
    for at in ("t0", "tr"):
        for start in EVENTS:
            rows = slice(row, row + len(arrays[f"{start}input_features"]))
            row = rows.stop
            for part, value in ours.items():
                recorded = f"{start or 'out_'}{part}_{at}"
                assert_close(value[rows], arrays[recorded], tolerance, recorded)
            for name in arrays:
                if start or not (name.startswith("tap_") and name.endswith(at)):
                    continue
                tap = taps[name[4:-3]][rows]
                if "topk" in name:
                    np.testing.assert_array_equal(np.sort(tap), np.sort(arrays[name]))
                else:
                    assert_close(tap, arrays[name], tolerance, name)
    count = len(arrays["input_features"])
    for recorded, part in (("cls", "cls"), ("jet", "jet"), ("out", "gen")):
        if f"predict_{recorded}" in arrays:
            assert_close(ours[part][:count], arrays[f"predict_{recorded}"], tolerance, recorded)

    features = np.pad(arrays["input_features"], ((0, 0), (0, 12), (0, 0)))
    mask = np.pad(arrays["input_mask"][..., 0] != 0, ((0, 0), (0, 12)))
    logits, _ = jax.jit(PET.classify)(pet, features, mask, arrays["input_jet"])
    padded = jax.nn.softmax(logits) if softmax else logits
    assert_close(padded, arrays["padded12_cls_t0"], tolerance, "padded12")


def test_all_recorded_cases_are_here():
    recorded = {path.name.removesuffix(".weights.h5") for path in FIXTURES.glob("small*.h5")}
    assert recorded == {*TOLERANCES}


@pytest.mark.parametrize(
    "changes, counts",
    [
        ({}, (1_318_784, 269_326, 417_165)),
        ({"num_classes": 1}, (1_318_784, 268_165, 417_165 - 9 * 128)),
        ({"hidden_channels": 16, "num_layers": 2}, (11_536, 5_006, 9_149)),
    ],
)
def test_number_of_weights(changes, counts):
    def parts(mode):
        config = PETConfig(mode=mode, **changes)
        pet = jax.eval_shape(lambda: PET.init(jax.random.key(0), config))
        return tuple(map(size, (pet.body, pet.cls, pet.gen)))

    assert parts("omnilearn") == counts
    token = changes.get("hidden_channels", 128)
    assert parts("masked") == (counts[0], counts[1] + token, counts[2])


def test_omnilearn_needs_more_rows_than_neighbours():
    pet = tiny(mode="omnilearn")
    with pytest.raises(ValueError, match="found 3 rows"):
        pet.body(jnp.zeros((1, 3, 9)), jnp.ones((1, 3), bool))


def test_omnilearn_drops_nothing():
    pet = tiny(mode="omnilearn", drop_path=0.5, dropout=0.5, feature_drop=0.5)
    inputs = events()
    plain, dropped = (classify(pet, *inputs, key=k) for k in (None, jax.random.key(0)))
    np.testing.assert_array_equal(plain, dropped)


# ---- mode "masked"


@lru_cache
def tiny(**changes):
    """A small PET with all weights random, also those that are initialised as constants."""
    config = dataclasses.replace(TINY, **changes)
    empty = jax.eval_shape(lambda: PET.init(jax.random.key(0), config))
    rng = np.random.default_rng(0)
    state = {
        slot.name: rng.normal(size=slot.shape) * slot.shape[-1] ** -0.5
        if len(slot.shape) == 2
        else 0.5 + 0.1 * rng.normal(size=slot.shape)
        for slot in slots(empty)
    }
    return network_from_state(empty, state, prefix="")


def events(counts=(8, 5, 3, 2, 1, 0), rows=8, seed=0):
    """Features (B, P, 9), mask and jet of events with these numbers of particles."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(len(counts), rows, 9))
    mask = np.arange(rows) < np.array(counts)[:, None]
    features, jet = features * mask[..., None], rng.normal(size=(len(counts), 4))
    return jnp.asarray(features, jnp.float32), jnp.asarray(mask), jnp.asarray(jet, jnp.float32)


def conditions(batch):
    """Time and label for the generator."""
    return jnp.linspace(0.1, 0.9, batch), jnp.eye(3)[jnp.arange(batch) % 3]


@pytest.mark.parametrize("variant", VARIANTS)
def test_padding_and_order_change_nothing(variant):
    """Other places of the same particles among more rows, which hold anything."""
    pet, (features, mask, jet) = tiny(**VARIANTS[variant]), events()
    places = np.random.default_rng(1).permuted(np.tile(np.arange(13), (len(mask), 1)), axis=1)
    places = places[:, : mask.shape[1]]  # where each row goes
    more = np.random.default_rng(2).normal(size=(len(mask), 13, 9)).astype(np.float32)
    real = np.zeros((len(mask), 13), bool)
    event = np.arange(len(mask))[:, None]
    more[event, places] = np.where(mask[..., None], features, more[event, places])
    real[event, places] = mask
    run = jax.jit(outputs)
    first = run(pet, features, mask, jet, *conditions(len(mask)))
    second = run(pet, more, real, jet, *conditions(len(mask)))
    for part in ("cls", "jet"):
        assert_close(second[part], first[part], 1e-6, part)
    for part in ("body", "gen"):
        assert_close(np.asarray(second[part])[event, places], first[part], 1e-6, part)
        assert not np.asarray(second[part])[~real].any()


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_order_changes_nothing_among_particles_that_are_equally_far(dtype):
    """Coordinates on a coarse grid, as towers of a calorimeter or half precision give them."""
    features, mask, _ = events(counts=(8,) * 6)
    features = features.at[..., :2].set(jnp.round(features[..., :2])).astype(dtype)
    pet = jax.tree.map(lambda a: a.astype(dtype), tiny())
    places = np.random.default_rng(1).permuted(np.tile(np.arange(8), (len(mask), 1)), axis=1)
    event = np.arange(len(mask))[:, None]
    body = encode(pet, features, mask)
    assert_close(
        encode(pet, features[event, places], mask),
        body[event, places],
        1e-6 if dtype == jnp.float32 else 0.05,
    )


def test_mean_over_the_neighbours_that_exist():
    """Two particles among ten neighbours are as two among one."""
    features, mask, _ = events(counts=(2, 2))
    few, many = (encode(tiny(neighbours=k), features, mask) for k in (1, 10))
    assert_close(few, many, 1e-6)


def test_a_lone_particle_has_no_edges():
    features, mask, _ = events(counts=(1,))
    taps = jax.jit(lambda pet, *x: body_states(pet.body, *x))(tiny(), features, mask)
    assert not taps["local0"][0, 0].any()
    assert taps["embed_plus_local"][0, 0].any()


@pytest.mark.parametrize("mode", ["masked", "omnilearn"])
def test_no_time_is_time_zero(mode):
    pet, (features, mask, _) = tiny(mode=mode), events()
    plain = encode(pet, features, mask)
    assert_close(encode(pet, features, mask, jnp.zeros(len(mask))), plain, 1e-6)
    assert np.abs(encode(pet, features, mask, jnp.ones(len(mask))) - plain).max() > 1e-3


@pytest.mark.parametrize(
    "drop", [{"feature_drop": 0.5}, {"drop_path": 0.5}, {"dropout": 0.5}, {}], ids=str
)
def test_drops_act_with_a_key_alone(drop):
    off = {"feature_drop": 0.0}
    pet, inputs = tiny(**off | drop), events(counts=(8,) * 6)
    plain = classify(pet, *inputs)
    first, again, other = (classify(pet, *inputs, key=jax.random.key(k)) for k in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    acted = np.abs(first - plain).max() > 1e-3 and np.abs(first - other).max() > 1e-3
    assert acted == bool(drop)


def test_feature_drop_takes_the_last_features_of_whole_events():
    features = jnp.ones((400, 2, 9))
    config = dataclasses.replace(TINY, feature_drop=0.25)
    left = np.asarray(drop_features(features, config, jax.random.key(0)))
    assert (left[..., :7] == 1).all()
    dropped = (left[..., 7:] == 0).all((1, 2))
    assert (left[~dropped] == 1).all()
    assert abs(dropped.mean() - 0.25) < 0.1


@pytest.mark.parametrize("variant", VARIANTS)
def test_gradients_are_finite_and_the_same_with_recomputation(variant):
    """Also of empty events, and of particles in one place."""
    features, mask, jet = events()
    features = features.at[0, 1].set(features[0, 0]).at[1].set(0.0)
    time, label = conditions(len(mask))

    def loss(pet, features):
        parts = outputs(pet, features, mask, jet, time, label)
        return sum((parts[name] ** 2).sum() for name in ("cls", "jet", "gen"))

    gradient = jax.jit(jax.grad(loss, argnums=(0, 1)))
    found = gradient(tiny(**VARIANTS[variant]), features)
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(found))
    if variant == "simple":
        return
    assert np.abs(found[0].cls.class_token).max() > 0
    if variant == "plain":
        again = gradient(tiny(checkpoint_blocks=True), features)
        scale = max(float(np.abs(g).max()) for g in jax.tree.leaves(found))
        for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(again), strict=True):
            np.testing.assert_allclose(one, other, atol=1e-6 * scale)


def test_half_precision_stays_half():
    half = jax.tree.map(lambda a: a.astype(jnp.bfloat16), tiny())
    features, mask, jet = events()
    run, more = jax.jit(outputs), conditions(len(mask))
    found = run(half, features.astype(jnp.bfloat16), mask, jet.astype(jnp.bfloat16), *more)
    exact = run(tiny(), features, mask, jet, *more)
    assert found["body"].dtype == found["cls"].dtype == jnp.bfloat16
    for part, value in found.items():
        assert_close(value, exact[part], 0.1, part)


def test_a_missing_head_is_told():
    made = jax.eval_shape(lambda: PET.init(jax.random.key(0), TINY, heads=("cls",)))
    assert made.gen is None and made.cls is not None
    pet, (features, mask, jet) = dataclasses.replace(tiny(), gen=None), events()
    with pytest.raises(ValueError, match="no head for generation"):
        pet.velocity(features, mask, jet, *conditions(len(mask)))
    with pytest.raises(ValueError, match="no head for classification"):
        dataclasses.replace(pet, cls=None).classify(features, mask, jet)


@pytest.mark.parametrize("mask", [np.ones((6, 8)), np.ones((6, 7), bool)])
def test_wrong_masks_are_told(mask):
    with pytest.raises(ValueError, match=r"expected \(B, P, 9\)"):
        tiny().body(events()[0], jnp.asarray(mask))


@pytest.mark.parametrize(
    "wrong",
    [
        {"hidden_channels": 30, "num_heads": 4},
        {"num_layers": 0},
        {"mode": "padded"},
        {"feature_drop": 1.0},
        {"num_diffusion": 14},
    ],
    ids=str,
)
def test_wrong_configurations_are_told(wrong):
    with pytest.raises(ValueError, match="expected"):
        PETConfig(**wrong)
