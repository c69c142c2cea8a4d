"""Compare recorded cases of OmniLearn's dijet classifier and generator.

Inputs are ``input_features`` (B, 2, P, F), ``input_mask`` (B, 2, P) and ``input_jet`` (B, 2, J).
The classifier has ``input_mass`` (B,) and ``y`` (B, 2), label and weight; it gives ``out_cls`` and
``out_jet``. The generator has the condition ``y`` (B, Y) and the times ``t_jet`` (B, 1) and
``t_part`` (2B, 1); it gives ``out_jet_v`` and ``out_part_v``, and samples (see ``diffusion``).

``w1:<weight name>`` are weights after one step of training from those of the file, with the losses
in the table under ``train_step_logs`` and, for the generator, the noise ``eps_jet`` and
``eps_part``. OmniLearn trains with Lion, whose first step is ± the learning rate, the body slower
than the rest; its clipping of gradients does not change signs. The error of a weight is the share
of its entries that step otherwise than ours. Entries whose gradient is rounding do not count, such
as all biases of keys, on which the softmax does not depend. OmniLearn logs the jets' part alone as
the generator's ``loss``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from jaxpriors.errors import InputError
from jaxpriors.generation.diffusion import perturb
from jaxpriors.models.pet_dijet import PETTwoJetClassifier, PETTwoJetGenerator
from jaxpriors.models.state_dicts import state_from_network
from jaxpriors.porting.omnilearn import read_omnilearn
from jaxpriors.porting.omnilearn_files import state_name, to_ours
from jaxpriors.verification.checks import OUTPUT_TOLERANCE, Case, Check, compiled
from jaxpriors.verification.diffusion import verify_samplers
from jaxpriors.verification.pet import (
    ACTIVATIONS,
    FULL_LAYERS,
    FULL_TOLERANCE,
    UNSCALED_TOLERANCE,
)

CLASSIFIER, GENERATOR = "PET_lhco.Classifier", "PET_lhco.PET_lhco"
SHARE_TOLERANCE = 0.01
ROUNDING = 1e-6  # of a gradient, relative to the largest of all
RATES = {"body": 2e-4, "head": 1e-3}
DECAY = {CLASSIFIER: 0.0, GENERATOR: 1e-5}
INPUTS = {
    CLASSIFIER: ("input_features", "input_mask", "input_jet", "input_mass", "y"),
    GENERATOR: ("input_features", "input_mask", "input_jet", "y", "t_jet", "t_part"),
}
OTHERS = ("input_points", "input_time", "eps_jet", "eps_part", "noise_jet", "noise_part")

Losses = dict[str, Array]


def is_dijet(case: Case) -> bool:
    """Return whether a case is of one of these two models."""
    return case.table.get("cls") in INPUTS


def verify_dijet(case: Case, weights: Path) -> list[Check]:
    """Compare outputs, losses, the first step of training and samples; ``weights``: the file."""
    cls, settings = case.table["cls"], dict(case.table.get("kwargs", {}))
    missing = [name for name in INPUTS[cls] if name not in case.arrays]
    if missing:
        raise InputError(f"the case lacks the arrays {', '.join(missing)}")
    points = case.arrays["input_features"][..., :2]
    if not np.array_equal(case.arrays.get("input_points", points), points):
        raise InputError("input_points are not the first two features")
    if case.arrays.get("input_time", np.zeros(1)).any():
        raise InputError("input_time is not zero, at which the classifier is used")
    options: dict[str, Any] = {"neighbours": (case.table.get("pet_override") or {}).get("K")}
    if cls == GENERATOR:
        options["use_mean"] = bool(settings.get("use_mean", False))
    network, _ = read_omnilearn(weights, **options)
    given = {n: jnp.asarray(a) for n, a in case.arrays.items() if not n.startswith("w1:")}
    if cls == GENERATOR:
        ours = compiled(generator_outputs)(network, given)
    else:
        logits, ours = compiled(classifier_outputs)(network, given)
        ours["out_cls"] = ACTIVATIONS[settings.get("class_activation")](logits)
    checks = [
        case.check(name, ours.get(name), _tolerance(network.config))
        for name in case.arrays
        if not name.startswith(("w1:", "ddpm_")) and name not in (*INPUTS[cls], *OTHERS)
    ]
    if any(name.startswith("w1:") for name in case.arrays):
        checks += _check_step(case, network, given)
    if any(name.startswith("ddpm_") for name in case.arrays):
        averaged, _ = read_omnilearn(weights, ema=True, **options)
        checks += verify_samplers(case, averaged)
    return checks


def _tolerance(config: Any) -> float:
    """Return the largest error that an output may have."""
    if config.num_layers >= FULL_LAYERS:
        return FULL_TOLERANCE
    return OUTPUT_TOLERANCE if config.layer_scale is not None else UNSCALED_TOLERANCE


def classifier_outputs(
    network: PETTwoJetClassifier, given: dict[str, Array]
) -> tuple[Array, dict[str, Array]]:
    """Compute the logits (B, Y), and the regression by its recorded name."""
    mask = given["input_mask"] > 0
    logits, jet = network(given["input_features"], mask, given["input_jet"], given["input_mass"])
    return logits, {"out_jet": jet}


def generator_outputs(network: PETTwoJetGenerator, given: dict[str, Array]) -> dict[str, Array]:
    """Compute both velocities by their recorded names, for inputs that are not perturbed."""
    features, mask, jet, label = _single_jets(given)
    time = given["t_part"][:, 0]
    return {
        "out_jet_v": network.jet_velocity(given["input_jet"], given["t_jet"][:, 0], given["y"]),
        "out_part_v": network.velocity(features, mask, jet, time, label),
    }


def _single_jets(given: dict[str, Array]) -> tuple[Array, Array, Array, Array]:
    """Select features (2B, P, F), mask (2B, P), jets (2B, J), conditions (2B, Y), by event."""
    features, jets = given["input_features"], given["input_jet"]
    return (
        features.reshape(-1, *features.shape[2:]),
        given["input_mask"].reshape(-1, features.shape[2]) > 0,
        jets.reshape(-1, jets.shape[2]),
        jnp.repeat(given["y"], 2, axis=0),
    )


def classifier_loss(network: PETTwoJetClassifier, given: dict[str, Array]) -> tuple[Array, Losses]:
    """Compute the mean of the weighted cross entropy, also by its recorded name."""
    logits, _ = classifier_outputs(network, given)
    label, weight = given["y"].T
    loss = (weight * optax.losses.sigmoid_binary_cross_entropy(logits[:, 0], label)).mean()
    return loss, {"loss": loss}


def generator_loss(network: PETTwoJetGenerator, given: dict[str, Array]) -> tuple[Array, Losses]:
    """Add the squared errors of the velocities of jets and particles; return each as well."""
    time = given["t_jet"][:, 0]
    perturbed, velocity = perturb(given["input_jet"], given["eps_jet"], time)
    jet_loss = jnp.square(network.jet_velocity(perturbed, time, given["y"]) - velocity).mean()
    features, mask, jets, label = _single_jets(given)
    time, generated = given["t_part"][:, 0], network.config.num_diffusion
    kept = mask[..., None] & (jnp.arange(features.shape[-1]) < generated)
    perturbed, velocity = perturb(features, jnp.where(kept, given["eps_part"], 0), time)
    ours = network.velocity(jnp.where(kept, perturbed, 0), mask, jets, time, label)
    squares = jnp.square(ours - velocity)[..., :generated].sum()
    part_loss = squares / (generated * mask.sum())
    return jet_loss + part_loss, {"loss": jet_loss, "jet": jet_loss, "part": part_loss}


def _check_step(case: Case, network: Any, given: dict[str, Array]) -> list[Check]:
    """Compare the losses and every weight after the first step."""
    generates = case.table["cls"] == GENERATOR
    gradient_of = jax.value_and_grad(generator_loss if generates else classifier_loss, has_aux=True)
    (_, losses), tree = compiled(gradient_of)(network, given)
    logs = case.table.get("train_step_logs", {})
    checks = [
        Check(case.name, f"train_step_logs/{name}", abs(float(losses[name]) / value - 1), 1e-5)
        if name in losses
        else case.fail(f"train_step_logs/{name}", "we have no such loss")
        for name, value in logs.items()
    ]
    before, gradient = state_from_network(network), state_from_network(tree)
    rounding = ROUNDING * max(np.abs(g).max(initial=0) for g in gradient.values())
    decay = DECAY[case.table["cls"]]
    for name, recorded in case.arrays.items():
        if not name.startswith("w1:"):
            continue
        weight_name = name.removeprefix("w1:")
        after, at = to_ours(weight_name, recorded), state_name(weight_name)
        if at not in before or before[at].shape != after.shape:
            checks.append(case.fail(name, "we have no such weight, or of another shape"))
            continue
        rate = RATES["body" if weight_name.startswith("body.") else "head"]
        unclear = np.abs(gradient[at]) < rounding
        ours = before[at] * (1 - rate * decay) - rate * np.sign(gradient[at])
        allowed = rate * np.where(unclear, 2.1, 0.1)
        differs = ~(np.abs(ours - after) <= allowed)
        note = f"{int(unclear.sum())} entries with rounding for a gradient" * bool(unclear.any())
        checks.append(Check(case.name, name, float(differs.mean()), SHARE_TOLERANCE, note))
    return checks
