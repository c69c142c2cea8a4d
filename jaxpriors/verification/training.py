"""Compare recorded trainings: AdamW steps of a weighted classifier on the class token's logit.

Inputs: ``momenta`` (B, N, 4), ``scalars`` (B, N, S), ``valid`` (B, N), ``labels`` (B,),
``event_weights`` (B,); the loss is Σ w·BCE / Σ w of the logit, which is the first token's scalar
component (L-GATr) or scalar output (slim). Recorded are ``losses``, ``logits``, ``gradnorm`` per
step and ``final`` weights, each with 32 and 64 for the precision they were computed in, and the
gradients ``grad0/<parameter>`` of the first step.

Each is compared with our run in the same precision. Adam divides a gradient by its size, so a
weight whose gradient is near the rounding of float32 makes steps up to ±lr in a direction that
rounding decides. How far that leads is estimated from the difference of our gradients in the two
precisions, and the final float32 weights may differ by that much more (see ``_wander``).
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxpriors.errors import InputError
from jaxpriors.layers.attention import Mask
from jaxpriors.models.files import skeleton
from jaxpriors.models.state_dicts import canonical, network_from_state, slots, state_from_network
from jaxpriors.physics.algebra import embed_vector
from jaxpriors.porting.lgatr import config_from_case
from jaxpriors.verification.checks import GRADIENT_TOLERANCE, Case, Check, compiled

TOLERANCES = {32: 1e-4, 64: 1e-7}
NORM_TOLERANCES = {32: 1e-3, 64: 1e-7}
MARGIN = 3.0
INPUTS = ("momenta", "scalars", "valid", "labels", "event_weights")


def verify_training(case: Case) -> list[Check]:
    """Compare losses, logits, gradients and final weights of every step."""
    missing = [name for name in INPUTS if name not in case.arrays]
    if missing:
        raise InputError(f"the training case lacks the arrays {', '.join(missing)}")
    with jax.enable_x64(True):
        runs = {64: _train(case, np.float64)}
    runs[32] = _train(case, np.float32)
    wander = _wander(runs, case.table["hyper"]["lr"])
    untrained = all(
        np.array_equal(value, case.state[name.split("/", 1)[1]])
        for name, value in case.arrays.items()
        if name.startswith("final32/")
    )  # an error of some recordings; the final64 of the same run are right
    checks = []
    for name, recorded in case.arrays.items():
        if name in INPUTS:
            continue
        kind, _, parameter = name.partition("/")
        bits = 64 if kind.endswith("64") or kind == "grad0" else 32
        kind = kind.removesuffix(str(bits))
        ours = runs[bits].get(kind)
        if parameter and ours is not None:
            ours = ours.get(_key(case, parameter))
        if ours is None or np.shape(ours) != recorded.shape:
            checks.append(case.check(name, ours, 0.0))
        elif kind == "final" and bits == 32 and untrained and f"final64/{parameter}" in case.arrays:
            loaded = runs[32]["initial"][_key(case, parameter)]
            checks.append(case.check(name, loaded, 0.0, "recorded are the weights before training"))
        elif kind == "final" and bits == 32:
            allowed = wander.get(_key(case, parameter), np.zeros(()))
            gap = np.maximum(np.abs(np.asarray(ours, np.float64) - recorded) - allowed, 0)
            scale = float(np.abs(recorded).max(initial=0)) or 1.0
            error, count = (
                float(gap.max(initial=0)) / scale,
                int((allowed > TOLERANCES[32] * scale).sum()),
            )
            note = f"{count} weights with rounding for a gradient" if count else ""
            checks.append(Check(case.name, name, error, TOLERANCES[32], note))
        else:
            tolerances = {"grad0": {64: GRADIENT_TOLERANCE}, "gradnorm": NORM_TOLERANCES}.get(
                kind, TOLERANCES
            )
            checks.append(case.check(name, ours, tolerances[bits]))
    return checks


def _train(case: Case, dtype: Any) -> dict[str, Any]:
    """Train ours: losses, logits, gradient norms a step; first gradients, final weights by name."""
    if case.table.get("optimizer", "AdamW") != "AdamW":
        raise InputError(f"optimizer: found {case.table['optimizer']!r}, expected 'AdamW'")
    hyper = case.table["hyper"]
    config = config_from_case(case.table)
    weights = network_from_state(skeleton(config), case.state)
    weights = jax.tree.map(lambda a: a.astype(dtype), weights)
    recorded = {name: case.arrays[name] for name in INPUTS}
    data = {k: jnp.asarray(v, None if v.dtype == bool else dtype) for k, v in recorded.items()}
    slim = case.table["cls"].endswith("Slim")

    def loss(weights: Any) -> tuple[jax.Array, jax.Array]:
        p, mask = data["momenta"][:, :, None], Mask(dense=data["valid"][:, None, None])
        mv, s = weights(p if slim else embed_vector(p), data["scalars"], mask)
        logits = s[:, 0, 0] if slim else mv[:, 0, 0, 0]
        each = optax.losses.sigmoid_binary_cross_entropy(logits, data["labels"])
        return (each * data["event_weights"]).sum() / data["event_weights"].sum(), logits

    gradient_of = compiled(jax.value_and_grad(loss, has_aux=True))
    adam = optax.scale_by_adam(*hyper["betas"], eps=hyper["eps"])
    rate, decay = hyper["lr"], hyper["weight_decay"]
    moments, initial = adam.init(weights), _named(weights)
    steps: list[tuple[float, np.ndarray, float]] = []
    gradients: list[dict[str, np.ndarray]] = []
    for _ in range(len(case.arrays.get("losses32", case.arrays.get("losses64", ())))):
        (value, logits), gradient = gradient_of(weights)
        if not steps:
            trained = _trained(case, gradient)
        norm = np.sqrt(sum(float((g * g).sum()) for g in jax.tree.leaves(gradient)))
        steps.append((float(value), np.asarray(logits), norm))
        gradients.append(_named(gradient))
        update, moments = adam.update(gradient, moments)
        weights = jax.tree.map(
            lambda w, u, on: w - rate * on * (u + decay * w), weights, update, trained
        )
    return {
        "losses": np.array([step[0] for step in steps]),
        "logits": np.array([step[1] for step in steps]),
        "gradnorm": np.array([step[2] for step in steps]),
        "gradients": gradients,
        "grad0": gradients[0],
        "initial": initial,
        "final": _named(weights),
    }


def _wander(runs: dict[int, dict[str, Any]], rate: float) -> dict[str, np.ndarray]:
    """Estimate how far rounding may lead each final weight in float32, by name.

    A step of Adam is about lr·g/|g|, so an error δ of g changes it by lr·min(2, 2δ/|g|); δ is the
    largest difference between the precisions in the parameter, times ``MARGIN``.
    """
    total: dict[str, np.ndarray] = {}
    for single, double in zip(runs[32]["gradients"], runs[64]["gradients"], strict=True):
        for key, g in double.items():
            noise = MARGIN * np.abs(single[key] - g).max(initial=0)
            step = 2 * rate * np.minimum(1, noise / np.maximum(np.abs(g), 1e-300))
            total[key] = total.get(key, 0) + step
    return total


def _trained(case: Case, gradient: Any) -> Any:
    """Mark weights that train with 1, and with 0 those without gradient: PyTorch keeps these.

    They are listed in the case as ``params_without_grad``, otherwise those whose gradient is zero.
    """
    leaves, tree = jax.tree.flatten(gradient)
    marks = [np.ones(leaf.shape) for leaf in leaves]
    wanted = slots(gradient)
    listed = case.table.get("params_without_grad")
    idle = None if listed is None else {_key(case, name) for name in listed}
    for key, slot in zip(canonical(slot.name for slot in wanted), wanted, strict=True):
        rows = slice(None) if slot.block is None else slot.block
        if key in idle if idle is not None else not np.any(np.asarray(leaves[slot.leaf])[rows]):
            marks[slot.leaf][rows] = 0
    return jax.tree.unflatten(tree, [m.astype(a.dtype) for m, a in zip(marks, leaves, strict=True)])


def _named(tree: Any) -> dict[str, np.ndarray]:
    state = state_from_network(tree)
    return {key: state[name] for key, name in canonical(state).items()}


def _key(case: Case, parameter: str) -> str:
    """Return the name by which our parameter and the recorded one are matched."""
    names = canonical({*case.state, parameter})
    return next(key for key, name in names.items() if name == parameter)
