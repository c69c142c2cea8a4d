"""Compare recorded diffusion of OmniLearn: its schedule, and the samples that its sampler drew.

A table without weights holds times ``t`` (n, 1), ``logsnr``, ``alpha``, ``sigma`` and
``fourier_embedding`` (n, 64). Cases of the dijet generator hold ``noise_jet``, ``noise_part``
and the samples ``ddpm_jet_<steps>``, ``ddpm_part_<steps>`` of the averaged networks; the particles
are those of the first jets of ``input_jet``, with the mask ``ddpm_mask``.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxpriors.generation.diffusion import Velocity, alpha_sigma, ddpm_step, logsnr
from jaxpriors.models.pet_blocks import fourier_features
from jaxpriors.models.pet_dijet import PETTwoJetGenerator
from jaxpriors.verification.checks import OUTPUT_TOLERANCE, Case, Check, compiled

LOGSNR_TOLERANCE = 1e-4
SAMPLES_TOLERANCE = 2e-4
LOGSNR_NOTE = "recorded as −2 ln tan in float32, which rounds near t = 1"
SAMPLES_NOTE = "with the schedule in the recorded rounding, whose α(1) is 5e-4 off"
FOURIER_TOLERANCE = 1e-4
FOURIER_NOTE = "sines of angles up to 1000 in float32"


def is_schedule(case: Case) -> bool:
    """Return whether a case is the table of the schedule."""
    return {"t", "logsnr"} <= case.arrays.keys()


def verify_schedule(case: Case) -> list[Check]:
    """Compare the recorded schedule and the Fourier features of time."""
    t = jnp.asarray(case.arrays["t"], jnp.float32)
    alpha, sigma = alpha_sigma(t)
    ours = {
        "logsnr": (logsnr(t), LOGSNR_TOLERANCE, LOGSNR_NOTE),
        "alpha": (alpha, OUTPUT_TOLERANCE, ""),
        "sigma": (sigma, OUTPUT_TOLERANCE, ""),
        "fourier_embedding": (fourier_features(t[:, 0]), FOURIER_TOLERANCE, FOURIER_NOTE),
    }
    return [
        case.check(name, *ours.get(name, (None, 0.0, ""))) for name in case.arrays if name != "t"
    ]


def verify_samplers(case: Case, averaged: PETTwoJetGenerator) -> list[Check]:
    """Compare the recorded samples of jets, and the generated features of those of particles."""
    given = {name: jnp.asarray(array) for name, array in case.arrays.items()}
    checks = []
    for name in case.arrays:
        if name.startswith("ddpm_jet_"):
            checks.append(_check_ddpm(case, name, given["noise_jet"], _jets(averaged, given)))
        elif name.startswith("ddpm_part_"):
            generated = averaged.config.num_diffusion
            noise = (given["noise_part"] * given["ddpm_mask"])[..., :generated]
            checks.append(_check_ddpm(case, name, noise, _particles(averaged, given)))
    return checks


def _jets(network: PETTwoJetGenerator, given: dict[str, Array]) -> Velocity:
    return lambda x, t: network.jet_velocity(x, t, given["y"])


def _particles(network: PETTwoJetGenerator, given: dict[str, Array]) -> Velocity:
    mask, jet = given["ddpm_mask"][..., 0] > 0, given["input_jet"][:, 0]
    generated = network.config.num_diffusion
    rest = ((0, 0), (0, 0), (0, network.config.num_features - generated))

    def velocity(x: Array, t: Array) -> Array:
        return network.velocity(jnp.pad(x, rest), mask, jet, t, given["y"])[..., :generated]

    return velocity


def _check_ddpm(case: Case, name: str, noise: Array, velocity: Velocity) -> Check:
    """Draw samples from the noise in as many steps as the name says and compare them."""
    steps, x, data = int(name.rpartition("_")[2]), noise, noise
    step = compiled(lambda x, t, s: ddpm_step(velocity, x, t, s, recorded_schedule))
    for k in range(steps, 0, -1):
        x, data = step(x, np.float32(k / steps), np.float32((k - 1) / steps))
    generated = {name: case.arrays[name][..., : noise.shape[-1]]}
    return dataclasses.replace(case, arrays=generated).check(
        name, data, SAMPLES_TOLERANCE, SAMPLES_NOTE
    )


def recorded_schedule(t: Array) -> tuple[Array, Array]:
    """Compute α and σ from ln(α²/σ²) in float32, as in the recorded runs.

    The first step divides by α(1), whose rounding thus enters all recorded samples.
    """
    first = jnp.arctan(jnp.exp(jnp.float32(-10)))
    last = jnp.arctan(jnp.exp(jnp.float32(10)))
    ratio = -2 * jnp.log(jnp.tan((last - first) * t + first))
    return jnp.sqrt(jax.nn.sigmoid(ratio)), jnp.sqrt(jax.nn.sigmoid(-ratio))
