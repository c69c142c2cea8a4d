"""Compare recorded trainings of OmniLearn: steps of Lion, and tables of Lion and its schedule.

A training of PET holds ``input_features`` (B, P, F), ``input_mask``, ``input_jet``,
``input_label``, the times ``t_injected`` (S, B, 1) and the noise ``eps_injected`` (S, B, P, F) of
its S steps, ``log_<term>`` (S,), and weights ``w<s>:<weight name>`` after s steps; weight names
that start with ``ema_`` are of the moving averages, which do not start from the weights. That of
OmniFold's classifier has ``y`` (B, 2), label and weight, ``losses`` (S,) and the first gradients
``g0:<weight name>``.

Lion uses the sign of a mean of gradients, so that rounding decides for those near zero. A weight
counts as undecided where that mean is below the difference between our runs in float32 and
float64, times ``MARGIN``. Undecided weights are left out, and the note counts them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from jaxpriors.errors import InputError
from jaxpriors.generation.objective import objective, terms
from jaxpriors.models.files import build
from jaxpriors.models.pet import PET, PETConfig
from jaxpriors.models.state_dicts import state_from_network
from jaxpriors.porting.omnilearn_files import state_name, to_ours
from jaxpriors.preprocessing.clouds import PointCloud
from jaxpriors.ratio.networks import PETClassifier
from jaxpriors.training.optimizers import (
    OptimizerConfig,
    learning_rate,
    make_optimizer,
    scale_body,
    schedule,
)
from jaxpriors.verification.checks import GRADIENT_TOLERANCE, Case, Check, compiled, relative_error
from jaxpriors.verification.pet import pet_arguments

LOSS_TOLERANCES = {"first": 2e-5, "later": 2e-3}  # later ones follow undecided weights
WEIGHT_TOLERANCE = 2e-5
LION_TOLERANCE = 1e-6
MARGIN = 5.0
EMA = 0.999
AVERAGE = "ema_"
KEYWORDS = {
    "num_feat": "num_features",
    "num_jet": "num_jet_features",
    "num_classes": "num_classes",
    "projection_dim": "hidden_channels",
    "num_layers": "num_layers",
    "num_local": "num_local",
    "K": "neighbours",
    "num_heads": "num_heads",
    "num_class_layers": "num_class_layers",
    "num_gen_layers": "num_gen_layers",
    "talking_head": "talking_head",
    "simple": "simple",
}
UNTRAINED = {"all": (), "classifier": ("gen.", "cls.reg."), "generator": ("cls.",)}
LOGS = {"score": "generation", "mse": "regression", "smear_mse": "perturbed_regression"}
LION_SCHEDULE = "CosineDecay(1e-2,10,alpha=0.1,warmup_target=2e-2,warmup_steps=4)"

State = dict[str, np.ndarray]
Gradient = Callable[[PET, int], tuple[dict[str, Array], PET]]


def is_pet_training(case: Case) -> bool:
    """Return whether a case is a training of PET or of OmniFold's classifier."""
    return case.table.get("cls") in ("PET", "omnifold.Classifier") and any(
        name.startswith("w1:") for name in case.arrays
    )


def is_lion(case: Case) -> bool:
    """Return whether a case is the table of Lion and its schedule."""
    return {"cosine", "lion", "lion_clip"} <= case.table.keys()


def verify_pet_training(case: Case) -> list[Check]:
    """Compare losses, first gradients, weights and moving averages."""
    with jax.enable_x64(True):
        double = _train(case, np.float64)
    single = _train(case, np.float32)
    checks = []
    for name in case.arrays:
        kind, _, weight_name = name.partition(":")
        if kind.startswith("w") and weight_name:
            if kind != "w0":
                checks.append(_check_weights(case, name, single, double))
        elif kind == "g0":
            checks.append(_check_gradient(case, name, single, double))
        elif name.startswith("log_") or name in ("losses", "loss_pred0", "loss_evt0"):
            checks += _check_log(case, name, single["logs"])
    if "t_injected" in case.arrays:
        checks.append(_check_validation(case))
    elif "test_loss_after5" in case.arrays:
        network = _network(case, "w5", np.float32)
        found = _omnifold_losses(case, np.float32)(network)[0]
        checks.append(case.check("test_loss_after5", found, LOSS_TOLERANCES["first"]))
    return checks


def verify_lion(case: Case) -> list[Check]:
    """Compare the learning rates, and weights under recorded gradients step by step."""
    cosine, lion, clip = (case.table[name] for name in ("cosine", "lion", "lion_clip"))
    if lion["schedule"] != LION_SCHEDULE or clip["grads"] != "grads*5":
        raise InputError(f"lion: found {lion}, {clip}; expected {LION_SCHEDULE!r} and 'grads*5'")
    total = cosine["warmup_steps"] + cosine["decay_steps"]
    config = OptimizerConfig(
        learning_rate=cosine["warmup_target"],
        initial_rate=cosine["initial_learning_rate"] / cosine["warmup_target"],
        warmup=cosine["warmup_steps"] / total,
        final_rate=cosine["alpha"],
    )
    rates = learning_rate(jnp.asarray(case.arrays["step"]), **schedule(config, total))
    with_decay = OptimizerConfig(
        learning_rate=2e-2,
        weight_decay=lion["weight_decay"],
        warmup=4 / 14,
        initial_rate=0.5,
        final_rate=0.1,
        betas=(lion["beta_1"], lion["beta_2"]),
        decay_all=True,
    )
    clipped = OptimizerConfig(
        learning_rate=clip["lr"],
        weight_decay=0.0,
        final_rate=1.0,
        betas=(clip["beta_1"], clip["beta_2"]),
        decay_all=True,
        clip=clip["clipnorm"],
    )
    gradients = case.arrays["grads"]
    return [
        case.check("lr", rates, LION_TOLERANCE),
        case.check("w", _follow(with_decay, 14, case.arrays["w"][0], gradients), LION_TOLERANCE),
        case.check(
            "w_clipnorm",
            _follow(clipped, 14, case.arrays["w_clipnorm"][0], 5 * gradients),
            LION_TOLERANCE,
        ),
    ]


def _follow(
    config: OptimizerConfig, steps: int, start: np.ndarray, gradients: np.ndarray
) -> np.ndarray:
    """Compute the weights (S + 1, …) from the first on, under the gradients (S, …)."""
    optimizer = make_optimizer(config, steps)
    weights = [jnp.asarray(start)]
    state = optimizer.init(weights[0])
    for gradient in gradients:
        update, state = optimizer.update(jnp.asarray(gradient), state, weights[-1])
        weights.append(weights[-1] + update)
    return np.stack(weights)


def _train(case: Case, dtype: Any) -> dict[str, Any]:
    """Train ours: logs, "weights" and "directions" of each step; first "gradient"."""
    lion = case.table["lion"]
    network = _network(case, "w0", dtype)
    omnifold = case.table["cls"] != "PET"
    average = None if omnifold else _network(case, "w0", dtype, AVERAGE)
    gradient_of = _omnifold_gradient(case, dtype) if omnifold else _pet_gradient(case, dtype)
    mode = "all" if omnifold else case.table["kwargs"]["mode"]
    momentum = optax.scale_by_lion(lion["beta_1"], lion["beta_2"])
    rule = optax.chain(
        optax.add_decayed_weights(lion["weight_decay"]),
        scale_body(lion["lr_body"] / lion["lr_head"]),
        optax.scale(-lion["lr_head"]),
    )
    moments, rest = momentum.init(network), rule.init(network)
    result: dict[str, Any] = {"logs": [], "weights": [], "directions": []}
    for step in range(len(case.arrays["losses" if omnifold else "log_loss"])):
        logs, gradient = gradient_of(network, step)
        result["logs"].append({name: np.asarray(value) for name, value in logs.items()})
        result.setdefault("gradient", state_from_network(gradient))
        b = lion["beta_1"]
        blend = jax.tree.map(lambda m, g: b * m + (1 - b) * g, moments.mu, gradient)  # noqa: B023
        result["directions"].append(state_from_network(blend))
        signs, moments = momentum.update(gradient, moments, network)
        update, rest = rule.update(signs, rest, network)
        network = optax.apply_updates(network, _trained(update, mode))
        after = state_from_network(network)
        if average is not None:
            pair = dataclasses.replace(network, cls=None)
            average = jax.tree.map(lambda a, w: EMA * a + (1 - EMA) * w, average, pair)
            after |= {AVERAGE + name: v for name, v in state_from_network(average).items()}
        result["weights"].append(after)
    return result


def _trained(update: PET, mode: str) -> PET:
    """Set the update to zero for what has no part in the mode's loss."""

    def one(path: tuple[Any, ...], value: Array) -> Array:
        name = ".".join(str(getattr(p, "name", "")) for p in path)
        return jnp.zeros_like(value) if name.startswith(UNTRAINED[mode]) else value

    return jax.tree_util.tree_map_with_path(one, update)


def recorded_config(case: Case) -> PETConfig:
    """Make the configuration from a case's arguments."""
    given = pet_arguments(case)
    fields = {ours: given[name] for name, ours in KEYWORDS.items() if name in given}
    if not given.get("local", True):
        fields["num_local"] = 0
    if not given.get("layer_scale", True):
        fields["layer_scale"] = None
    return PETConfig(mode="omnilearn", **fields)


def _network(case: Case, which: str, dtype: Any, prefix: str = "") -> PET:
    """Build the network of the weights ``which`` ("w0") of a case, or of its moving averages."""
    state = {
        state_name(weight_name.removeprefix(prefix)): to_ours(weight_name, value)
        for name, value in case.arrays.items()
        for kind, _, weight_name in [name.partition(":")]
        if kind == which
        and weight_name.startswith(prefix)
        and (prefix or not weight_name.startswith(AVERAGE))
    }
    network = build(recorded_config(case), state, prefix="")
    return jax.tree.map(lambda a: a.astype(dtype), network)


def _cloud(case: Case, dtype: Any) -> PointCloud:
    """Make the inputs of a case."""
    given = {name: jnp.asarray(case.arrays[f"input_{name}"]) for name in ("features", "jet")}
    mask = jnp.asarray(case.arrays["input_mask"])[..., 0] > 0
    return PointCloud(given["features"].astype(dtype), mask, given["jet"].astype(dtype))


def _parts(case: Case, dtype: Any) -> Callable[[PET, int], tuple[dict[str, Array], Array]]:
    """Make f(network, step): the objective's terms at the step's times and noise, and the times."""
    cloud, label = _cloud(case, dtype), jnp.asarray(case.arrays["input_label"], dtype)
    times = jnp.asarray(case.arrays["t_injected"], dtype)[..., 0]
    noise = jnp.asarray(case.arrays["eps_injected"], dtype)
    constituents = float(case.arrays["input_mask"].sum() / len(label))

    def parts(network: PET, step: Any) -> tuple[dict[str, Array], Array]:
        eps = noise[step, ..., : network.config.num_diffusion]
        mode = case.table["kwargs"]["mode"]
        return terms(network, cloud, label, times[step], eps, constituents, mode), times[step]

    return parts


def _pet_gradient(case: Case, dtype: Any) -> Gradient:
    parts_of = _parts(case, dtype)

    def loss(network: PET, step: Any) -> tuple[Array, dict[str, Array]]:
        parts, time = parts_of(network, step)
        value = objective(parts, time, weighting="reference").mean()
        logs = {log: parts[name].mean() for log, name in LOGS.items() if name in parts}
        return value, logs | {"loss": value}

    run = compiled(jax.value_and_grad(loss, has_aux=True))

    def gradient(network: PET, step: int) -> tuple[dict[str, Array], PET]:
        (_, logs), found = run(network, step)
        return logs, found

    return gradient


def _omnifold_losses(case: Case, dtype: Any) -> Callable[[PET], tuple[Array, Array]]:
    """Make f(network): the mean of weight × cross-entropy, and each event's error of the jet."""
    cloud = _cloud(case, dtype)
    label, weight = jnp.moveaxis(jnp.asarray(case.arrays["y"], dtype), -1, 0)

    def losses(network: PET) -> tuple[Array, Array]:
        logits, error = PETClassifier(network).with_regression(cloud).T
        return (weight * optax.sigmoid_binary_cross_entropy(logits, label)).mean(), error

    return losses


def _omnifold_gradient(case: Case, dtype: Any) -> Gradient:
    """Make the gradient: the body's is that of the mean, the head's that of a sum over events."""
    losses = _omnifold_losses(case, dtype)
    events = len(case.arrays["y"])

    def total(network: PET) -> tuple[Array, Any]:
        mean, jet = losses(network)
        return events * mean + jet.sum(), {"losses": mean, "loss_pred0": mean, "loss_evt0": jet}

    whole = compiled(jax.value_and_grad(total, has_aux=True))

    def gradient(network: PET, step: int) -> tuple[dict[str, Array], PET]:
        (_, logs), found = whole(network)
        body = jax.tree.map(lambda x: x / events, found.body)
        return logs, dataclasses.replace(found, body=body)

    return gradient


def _check_weights(case: Case, name: str, single: Any, double: Any) -> Check:
    """Check weights after some steps, except those whose direction was undecided in a step."""
    kind, _, weight_name = name.partition(":")
    key, steps = state_name(weight_name), int(kind[1:])
    recorded, ours = to_ours(weight_name, case.arrays[name]), single["weights"][steps - 1].get(key)
    if ours is None:
        return case.fail(name, "we have no such weight")
    key = key.removeprefix(AVERAGE)
    undecided = np.zeros(recorded.shape, bool)
    for one, two in zip(single["directions"][:steps], double["directions"], strict=False):
        noise = MARGIN * np.abs(one[key] - two[key]).max(initial=0)
        undecided |= np.abs(two[key]) < noise
    note = f"{int(undecided.sum())} of {undecided.size} undecided" if undecided.any() else ""
    return _compare(
        case, name, np.where(undecided, recorded, ours), recorded, WEIGHT_TOLERANCE, note
    )


def _check_gradient(case: Case, name: str, single: Any, double: Any) -> Check:
    """Check a first gradient, allowing for the rounding of a zero one (of a key's bias)."""
    weight_name = name.partition(":")[2]
    recorded, key = to_ours(weight_name, case.arrays[name]), state_name(weight_name)
    ours = single["gradient"].get(key)
    if ours is None or ours.shape != recorded.shape:
        return case.fail(name, "we have no such gradient")
    scale = np.abs(recorded).max()
    rounding = MARGIN * np.abs(ours - double["gradient"][key]).max()
    gap = max(float(np.abs(ours - recorded).max() - rounding), 0.0)
    note = "of the size of rounding" if rounding > scale else ""
    return Check(case.name, name, gap / float(scale) if gap else 0.0, GRADIENT_TOLERANCE, note)


def _check_log(case: Case, name: str, logs: list[dict[str, np.ndarray]]) -> list[Check]:
    """Check what a training logged at its steps: the first tightly, the later ones less so."""
    key = name.removeprefix("log_")
    if key.endswith("acc"):
        return []  # the share of right classes follows from the logits, as the losses do
    if key not in logs[0]:
        return [case.fail(name, "we have no such array")]
    recorded = case.arrays[name]
    if not name.startswith("log_") and name != "losses":
        return [case.check(name, logs[0][key], LOSS_TOLERANCES["first"])]
    ours = np.array([log[key] for log in logs])
    return [
        _compare(case, f"{name}[{part}]", ours[at], recorded[at], LOSS_TOLERANCES[part])
        for part, at in (("first", slice(1)), ("later", slice(1, None)))
    ]


def _check_validation(case: Case) -> Check:
    """Check the validation loss with the recorded last weights: no α² weighs a term."""
    network = _network(case, "w3", np.float32)
    parts, _ = compiled(_parts(case, np.float32))(network, 0)
    recorded = np.asarray(case.table["test_step_logs_after3_with_t0_eps0"]["loss"])
    ours = np.asarray(sum(value.mean() for value in parts.values()))
    return _compare(
        case, "test_step_logs_after3_with_t0_eps0", ours, recorded, LOSS_TOLERANCES["first"]
    )


def _compare(
    case: Case, name: str, ours: Any, recorded: np.ndarray, tolerance: float, note: str = ""
) -> Check:
    if ours is None or np.shape(ours) != recorded.shape:
        return case.fail(name, f"ours is {None if ours is None else np.shape(ours)}")
    return Check(case.name, name, relative_error(np.asarray(ours), recorded), tolerance, note)
