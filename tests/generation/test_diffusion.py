"""The diffusion's schedule and samplers: recorded values, exact flows, orders of convergence."""

from functools import partial

import h5py
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpriors.errors import InputError
from jaxpriors.generation.diffusion import (
    EVALUATIONS,
    alpha_sigma,
    expand_like,
    logsnr,
    perturb,
    sample,
)
from jaxpriors.models.pet_dijet import PETTwoJetGenerator, PETTwoJetGeneratorConfig
from jaxpriors.models.state_dicts import network_from_state
from jaxpriors.preprocessing.normalisation import relative_normalisation
from jaxpriors.verification.checks import Case
from jaxpriors.verification.diffusion import verify_samplers, verify_schedule
from jaxpriors.verification.verify import verify_case
from tests.helpers.pet import FIELDS, FIXTURES, INACTIVE, read_recorded, tensor

MEAN, STD = np.array([1.0, -2.0]), np.array([0.3, 1.5])
draw = jax.jit(sample, static_argnums=(0, 2, 3))


def velocity_of(mean, std, x, t):
    """Of normal data: α E[ε | x_t] − σ E[x | x_t]."""
    alpha, sigma = (expand_like(a, x) for a in alpha_sigma(t))
    z = (x - alpha * mean) / ((alpha * std) ** 2 + sigma**2)
    return alpha * sigma * z - sigma * (mean + alpha * std**2 * z)


def two_peaks(x, t):
    """Exact velocity of data in two peaks at ±1 of width 0.2."""
    alpha, sigma = (expand_like(a, x) for a in alpha_sigma(t))
    variance = (0.2 * alpha) ** 2 + sigma**2
    right = jax.nn.sigmoid(2 * alpha * x / variance)
    one, other = velocity_of(1.0, 0.2, x, t), velocity_of(-1.0, 0.2, x, t)
    return right * one + (1 - right) * other


def normal_flow(noise):
    """Where the exact flow of the normal data carries the noise: as many deviations from it."""
    alpha, sigma = alpha_sigma(jnp.array([1.0, 0.0]))
    means = alpha[:, None] * MEAN
    stds = jnp.sqrt((alpha[:, None] * STD) ** 2 + sigma[:, None] ** 2)
    return means[1] + (noise - means[0]) / stds[0] * stds[1]


def test_schedule_is_the_recorded_one():
    checks = verify_case(FIXTURES / "diffusion_schedule.json")
    assert {c.name for c in checks} == {"logsnr", "alpha", "sigma", "fourier_embedding"}
    assert all(c.ok for c in checks), [str(c) for c in checks]


def test_a_wrong_schedule_is_found():
    table, arrays = read_recorded("diffusion_schedule")
    arrays["alpha"] = arrays["alpha"] + 1e-3
    failed = [c.name for c in verify_schedule(Case("x", table, {}, arrays)) if not c.ok]
    assert failed == ["alpha"]


def test_schedule_at_its_ends():
    t = jnp.linspace(0, 1, 1001)
    alpha, sigma = alpha_sigma(t)
    np.testing.assert_allclose(alpha**2 + sigma**2, 1, rtol=3e-7)
    np.testing.assert_allclose(logsnr(t)[jnp.array([0, 500, 1000])], [20, 0, -20], atol=1e-5)
    assert (jnp.diff(logsnr(t)) < 0).all()
    np.testing.assert_allclose(alpha[-1], np.exp(-10), rtol=1e-6)  # no cancellation


def test_velocity_gives_back_data_and_noise():
    rng = np.random.default_rng(0)
    x, noise = (jnp.asarray(rng.normal(size=(5, 7, 3)), jnp.float32) for _ in range(2))
    t = jnp.linspace(0, 1, 5)
    perturbed, v = perturb(x, noise, t)
    alpha, sigma = (expand_like(a, x) for a in alpha_sigma(t))
    np.testing.assert_allclose(alpha * perturbed - sigma * v, x, atol=1e-6)
    np.testing.assert_allclose(sigma * perturbed + alpha * v, noise, atol=1e-6)
    np.testing.assert_allclose(perturbed[0], x[0], atol=1e-3)
    np.testing.assert_allclose(perturbed[-1], noise[-1], atol=1e-3)


@pytest.mark.parametrize(("sampler", "least", "most"), [
    ("ddim", 0.95, 1.05), ("dpm-solver++", 1.6, 2.2), ("ddpm", 1.8, 3.2)
])  # fmt: skip
def test_order_of_convergence(sampler, least, most):
    with jax.enable_x64(True):
        noise = jnp.asarray(np.random.default_rng(0).normal(size=(100, 2)))
        exact, errors = normal_flow(noise), []
        for steps in (128, 256):
            found = draw(partial_velocity(), noise, steps, sampler)
            errors.append(float(jnp.sqrt(jnp.mean((found - exact) ** 2))))
    order = np.log2(errors[0] / errors[1])
    assert least < order < most
    assert errors[1] < 0.02


def partial_velocity():
    """The velocity of the normal data with arrays of the present precision."""
    return partial(velocity_of, jnp.asarray(MEAN), jnp.asarray(STD))


@pytest.mark.parametrize("sampler", EVALUATIONS)
def test_normal_data_are_recovered(sampler):
    noise = jax.random.normal(jax.random.key(0), (20_000, 2))
    found = np.asarray(draw(partial_velocity(), noise, 200, sampler), np.float64)
    assert found.shape == noise.shape
    np.testing.assert_allclose(found.mean(0), MEAN, atol=0.05)
    np.testing.assert_allclose(found.std(0), STD, rtol=0.03)
    assert abs(np.corrcoef(found.T)[0, 1]) < 0.03


def test_samplers_agree_for_many_steps():
    noise = jax.random.normal(jax.random.key(1), (500, 3))
    found = {s: draw(two_peaks, noise, 500, s) for s in EVALUATIONS}
    for sampler in ("ddim", "dpm-solver++"):
        # where the flow parts, close starts have far ends: the typical sample counts
        assert np.quantile(np.abs(found[sampler] - found["ddpm"]), 0.98) < 0.02
    peaks = np.abs(found["dpm-solver++"])
    np.testing.assert_allclose([peaks.mean(), peaks.std()], [1.0, 0.2], atol=0.02)


@pytest.mark.parametrize("sampler", EVALUATIONS)
def test_zeros_without_velocity_stay_zero(sampler):
    """As padding does."""
    noise = jnp.zeros((2, 3, 3)).at[:, 0].set(1.0)
    found = draw(lambda x, t: jnp.where(x != 0, two_peaks(x, t), 0), noise, 4, sampler)
    assert (found[:, 1:] == 0).all() and (found[:, 0] != 0).all()


def test_all_steps_are_one_program():
    traces = []

    def counted(x, t):
        traces.append(t.shape)
        return two_peaks(x, t)

    jax.jit(partial(sample, counted, steps=300, sampler="ddim"))(jnp.ones((4, 2)))
    assert len(traces) <= 2 and set(traces) == {(4,)}


@pytest.mark.parametrize(("steps", "sampler", "message"), [
    (0, "ddim", "steps: found 0"), (5, "euler", "sampler: found 'euler'")
])  # fmt: skip
def test_steps_and_samplers_that_do_not_exist_are_refused(steps, sampler, message):
    with pytest.raises(InputError, match=message):
        sample(two_peaks, jnp.zeros((1, 1)), steps, sampler)


@pytest.mark.parametrize("name", ["lhco_generator_small", "lhco_generator_usemean"])
def test_recorded_samples_are_reproduced(name):
    table, arrays = read_recorded(name)
    checks = verify_samplers(Case(name, table, {}, arrays), averaged(name, table))
    assert [c.name for c in checks] == ["ddpm_jet_8", "ddpm_part_4"]
    assert all(c.ok for c in checks), [str(c) for c in checks]


def averaged(name, table):
    """The recorded two-jet generator with the averaged weights."""
    state = {}
    with h5py.File(FIXTURES / f"{name}.weights.h5") as file:
        for path, role in table["h5_to_role"].items():
            if role is not None and role.startswith("ema_"):
                state |= dict([tensor(role.removeprefix("ema_"), np.asarray(file[path]))])
    kwargs = {k: v for k, v in table["kwargs"].items() if k not in (*INACTIVE, "num_part")}
    if kwargs.pop("use_mean"):
        kwargs["feature_mean"], kwargs["feature_std"] = relative_normalisation()
    fields = {FIELDS.get(k, k): v for k, v in kwargs.items()}
    config = PETTwoJetGeneratorConfig(**fields, mode="omnilearn")
    empty = jax.eval_shape(lambda: PETTwoJetGenerator.init(jax.random.key(0), config))
    return network_from_state(empty, state, prefix="")
