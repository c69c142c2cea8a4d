"""The diffusion process of OmniLearn: the cosine schedule and the velocity.

A sample x is perturbed to x_t = α(t) x + σ(t) ε with ε ~ N(0, 1), α² + σ² = 1 and t from 0 (data)
to 1 (noise). With the cosine schedule (Nichol and Dhariwal, arXiv:2102.09672) α and σ are the
cosine and sine of an angle that grows linearly with t; the logarithm of the signal-to-noise ratio
α²/σ² runs from 20 to −20. Networks predict the velocity v = α ε − σ x (Salimans and Ho,
arXiv:2202.00512), from which x = α x_t − σ v and ε = σ x_t + α v.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from jaxpriors.errors import InputError

LOGSNR_MAX = 20.0
"""ln(α²/σ²) at t = 0; it is −20 at t = 1."""

_FIRST = math.atan(math.exp(-LOGSNR_MAX / 2))
_RANGE = math.pi / 2 - 2 * _FIRST


def alpha_sigma(t: Array) -> tuple[Array, Array]:
    """Give signal and noise amplitudes α(t), σ(t), in the shape of t (values in [0, 1]).

    Both are sines, so that each keeps its relative precision where it is small.
    """
    return jnp.sin(_RANGE * (1 - t) + _FIRST), jnp.sin(_RANGE * t + _FIRST)


def logsnr(t: Array) -> Array:
    """Give ln(α²/σ²) in the shape of t: 20 at t = 0, 0 at t = 1/2, −20 at t = 1."""
    alpha, sigma = alpha_sigma(t)
    return 2 * (jnp.log(alpha) - jnp.log(sigma))


def perturb(x: Array, noise: Array, t: Array) -> tuple[Array, Array]:
    """Give x_t = α x + σ ε and the velocity v = α ε − σ x for x and noise (B, …), t (B,)."""
    alpha, sigma = (expand_like(a, x) for a in alpha_sigma(t))
    return alpha * x + sigma * noise, alpha * noise - sigma * x


def expand_like(values: Array, like: Array) -> Array:
    """Reshape values (B,), one for each event, to multiply arrays like (B, …)."""
    return values.reshape(values.shape + (1,) * (like.ndim - values.ndim))


Sampler = Literal["ddpm", "ddim", "dpm-solver++"]
Velocity = Callable[[Array, Array], Array]
"""(x_t (B, …), t (B,)) → v (B, …)."""
Schedule = Callable[[Array], tuple[Array, Array]]

EVALUATIONS = {"ddpm": 2, "ddim": 1, "dpm-solver++": 1}
"""Network evaluations in one step of each sampler."""


def sample(velocity: Velocity, noise: Array, steps: int, sampler: Sampler) -> Array:
    """Turn noise (B, …) at t = 1 into samples (B, …) at t = 0, in equal steps of t.

    All samplers follow the same flow, without further noise: with the exact velocity they agree in
    the limit of many steps. The loop over the steps is a ``lax.scan``, so that jit compiles one
    step. Samples have the dtype of the noise, float32 or float64.

    Raises InputError for fewer than one step and for an unknown sampler.
    """
    if steps < 1:
        raise InputError(f"steps: found {steps}, expected at least 1")
    if sampler not in EVALUATIONS:
        raise InputError(f"sampler: found {sampler!r}, expected one of {', '.join(EVALUATIONS)}")
    times = jnp.arange(steps, -1, -1, noise.dtype) / steps
    intervals = times[:-1], times[1:]

    if sampler == "dpm-solver++":
        start = noise, jnp.zeros_like(noise)
        (_, x), _ = lax.scan(
            lambda state, now: (dpm_solver_step(velocity, *state, *now), None),
            start,
            (*intervals, jnp.asarray(_extrapolation(steps), noise.dtype)),
        )
        return x
    step = ddpm_step if sampler == "ddpm" else ddim_step
    (_, x), _ = lax.scan(
        lambda state, now: (step(velocity, state[0], *now), None), (noise, noise), intervals
    )
    return x


def ddim_step(velocity: Velocity, x: Array, t: Array, s: Array) -> tuple[Array, Array]:
    """Step from x at t to (x at s, the predicted data): arXiv:2010.02502, Eq. 12 with σ = 0."""
    data, noise = _split(velocity, x, t, alpha_sigma)
    alpha, sigma = alpha_sigma(s)
    return alpha * data + sigma * noise, data


def ddpm_step(
    velocity: Velocity, x: Array, t: Array, s: Array, schedule: Schedule = alpha_sigma
) -> tuple[Array, Array]:
    """Step from x at t to (x at s, the predicted data): OmniLearn's second-order step.

    The network predicts the noise again at the middle of the step in t. The data are then the rest
    of x, divided by α(t), so that a coarse first step from t = 1 amplifies the errors of the
    network; OmniLearn takes 512 steps.
    """
    middle = (t + s) / 2
    data, noise = _split(velocity, x, t, schedule)
    alpha, sigma = schedule(middle)
    _, noise = _split(velocity, alpha * data + sigma * noise, middle, schedule)
    alpha, sigma = schedule(t)
    data = (x - sigma * noise) / alpha
    alpha, sigma = schedule(s)
    return alpha * data + sigma * noise, data


def dpm_solver_step(
    velocity: Velocity, x: Array, before: Array, t: Array, s: Array, extrapolation: Array
) -> tuple[Array, Array]:
    """Step from x at t to (x at s, the predicted data): DPM-Solver++(2M), arXiv:2211.01095.

    The data are extrapolated linearly in ln(α/σ) to the middle of the step, from this step's
    prediction and the one ``before``, with the weight ``extrapolation``.
    """
    data, _ = _split(velocity, x, t, alpha_sigma)
    extrapolated = data + extrapolation * (data - before)
    _, sigma_t = alpha_sigma(t)
    alpha, sigma = alpha_sigma(s)
    change = jnp.expm1((logsnr(t) - logsnr(s)) / 2)
    return sigma / sigma_t * x - alpha * change * extrapolated, data


def _split(velocity: Velocity, x: Array, t: Array, schedule: Schedule) -> tuple[Array, Array]:
    """Split x at t into data and noise by the predicted velocity."""
    alpha, sigma = schedule(t)
    v = velocity(x, jnp.broadcast_to(t, x.shape[:1]))
    return alpha * x - sigma * v, sigma * x + alpha * v


def _extrapolation(steps: int) -> np.ndarray:
    """Give h_i / (2 h_{i−1}) with h the steps in ln(α/σ), (steps,); 0 in the first and last step.

    The last step, in which ln(α/σ) goes from about ln(steps) to 10, is too long to extrapolate.
    """
    angle = _FIRST + _RANGE * np.arange(steps, -1, -1) / steps
    h = np.diff(-np.log(np.tan(angle)))
    weights = np.zeros(steps)
    weights[1:-1] = h[1:-1] / (2 * h[:-2])
    return weights
