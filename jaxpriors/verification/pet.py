"""Compare recorded outputs of OmniLearn's PET and of OmniFold's classifier, which is made of it.

Inputs are ``input_features`` (B, P, F), ``input_mask`` (B, P, 1), ``input_jet`` (B, J),
``input_label`` (B, Y) and ``time_rand`` (B, 1); the outputs ``out_<part>_t0`` belong to time 0 and
``out_<part>_tr`` to ``time_rand``, with the parts body, cls, jet (the regression) and gen.
``tap_<name>_t0`` are the body's intermediates. Other events of the same names start with
``chaos_`` (little padding) or ``allmask_`` (no particle at all): their outputs are
``chaos_<part>_t0``. ``predict_cls``, ``predict_jet`` and ``predict_out`` (of the generator) are of
time 0 too, and ``padded12_cls_t0`` has twelve more rows of padding.

The recorded numbers are float32. What misses its tolerance is compared again with our float64,
and may differ from it by ``ROUNDING`` times as much as our float32 does, but by no more than
``FULL_TOLERANCE``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxpriors.errors import InputError
from jaxpriors.layers.pointcloud import nearest_shifted
from jaxpriors.models.pet import COORDINATES, PET, Body
from jaxpriors.models.pet_blocks import attended
from jaxpriors.porting.omnilearn import read_omnilearn
from jaxpriors.verification.checks import OUTPUT_TOLERANCE, Case, Check, compiled, relative_error

FULL_TOLERANCE = 1e-3  # of networks of full size
UNSCALED_TOLERANCE = 4e-4  # without layer scale, where differences grow
FULL_LAYERS = 8
NEIGHBOUR_TOLERANCE = 0.01
ROUNDING = 3.0
PADDING = 12
PADDED = f"padded{PADDING}_"
EVENTS = ("", "chaos_", "allmask_", PADDED)
ALIASES = {
    "predict_cls": "out_cls_t0",
    "predict_jet": "out_jet_t0",
    "predict_out": "out_gen_t0",
}
TIMES = ("t0", "tr")
INPUTS = ("input_features", "input_mask", "input_jet")
OTHER_INPUTS = ("input_points", "input_time", "input_label", "time_rand")
NOT_HANDED_ON = (
    "projection_dim",
    "K",
    "num_local",
    "num_class_layers",
    "num_heads",
    "layer_scale_init",
)
ACTIVATIONS: dict[str | None, Callable[[Any], Any]] = {
    None: lambda x: x,
    "sigmoid": jax.nn.sigmoid,
    "softmax": jax.nn.softmax,
}
Arrays = dict[str, np.ndarray]


def is_pet(case: Case) -> bool:
    """Return whether a case is of outputs of PET or of OmniFold's classifier."""
    return case.table.get("cls") in ("PET", "omnifold.Classifier")


def pet_arguments(case: Case) -> dict[str, Any]:
    """Return the constructor's arguments as far as they reach PET.

    OmniFold's classifier accepts those of ``NOT_HANDED_ON`` too, and keeps PET's defaults of them;
    ``pet_override`` are defaults that were changed for the case.
    """
    given = dict(case.table.get("kwargs", {}))
    if case.table.get("cls") != "PET":
        given = {name: value for name, value in given.items() if name not in NOT_HANDED_ON}
    return given | (case.table.get("pet_override") or {})


def verify_pet(case: Case, weights: Path) -> list[Check]:
    """Compare every recorded output and intermediate; ``weights`` is the file."""
    missing = [name for name in INPUTS if name not in case.arrays]
    if missing:
        raise InputError(f"the case lacks the arrays {', '.join(missing)}")
    settings = pet_arguments(case)
    network, _ = read_omnilearn(weights, neighbours=settings.get("K"))
    tolerance = UNSCALED_TOLERANCE if network.config.layer_scale is None else OUTPUT_TOLERANCE
    tolerance = FULL_TOLERANCE if network.config.num_layers >= FULL_LAYERS else tolerance
    last = ACTIVATIONS[settings.get("class_activation")]

    inputs = {f"{start}{name}" for start in EVENTS for name in (*INPUTS, *OTHER_INPUTS)}
    names = [name for name in case.arrays if name not in inputs]
    ours = _outputs(network, case.arrays, names, last)
    checks = {name: _compare(case, name, ours.get(name), tolerance) for name in names}
    again = [name for name, check in checks.items() if not check.ok and name in ours]
    if again:
        with jax.enable_x64(True):
            wide = jax.tree.map(lambda a: np.asarray(a, np.float64), network)
            arrays = {
                k: v.astype(np.float64) if v.dtype.kind == "f" else v
                for k, v in case.arrays.items()
            }
            exact = _outputs(wide, arrays, again, last)
        for name in again:
            rounding = ROUNDING * relative_error(np.asarray(ours[name]), np.asarray(exact[name]))
            allowed = min(max(tolerance, rounding), FULL_TOLERANCE)
            note = f"in float64, {allowed:.1e} allowed; {checks[name].error:.1e} in float32"
            if not name.startswith("tap_topk"):
                checks[name] = case.check(name, exact[name], allowed, note)
    return list(checks.values())


def _compare(case: Case, name: str, ours: Any, tolerance: float) -> Check:
    """Check one array; for neighbours, the share of real particles with other ones."""
    if not name.startswith("tap_topk_idx") or ours is None:
        return case.check(name, ours, tolerance)
    ours, recorded = np.asarray(ours), case.arrays[name]
    if ours.shape != recorded.shape:
        return case.check(name, ours, tolerance)
    real = case.arrays["input_mask"].reshape(recorded.shape[:2]) != 0
    other = (np.sort(ours, -1) != np.sort(recorded, -1)).any(-1) & real
    share = float(other.sum() / max(real.sum(), 1))
    return Check(
        case.name, name, share, NEIGHBOUR_TOLERANCE, "share of particles with other neighbours"
    )


def _outputs(
    network: PET, arrays: Arrays, names: list[str], last: Callable[[Any], Any]
) -> dict[str, Any]:
    """Compute our arrays by the recorded names, those among ``names`` and others."""

    def run(network: PET, inputs: dict[str, Array], time: Array | None) -> dict[str, Array]:
        features, mask, jet = inputs["features"], inputs["mask"], inputs["jet"]
        encoded = network.body(features, mask, time)
        found = {"body": encoded}
        if network.cls is not None:
            logits, found["jet"] = network.cls(encoded, mask, jet)
            found["cls"] = last(logits)
        if network.gen is not None and "label" in inputs:
            at = jnp.zeros(features.shape[0], features.dtype) if time is None else time
            found["gen"] = network.gen(encoded, mask, jet, at, inputs["label"])
        return found

    forward = compiled(run)
    intermediates = compiled(lambda network, *inputs: body_states(network.body, *inputs))
    wanted = {ALIASES.get(name, name) for name in names}
    found: dict[str, Any] = {}
    for start in EVENTS:
        for at in TIMES:
            ending = f"_{at}"
            outputs = any(n.startswith(start or "out_") and n.endswith(ending) for n in wanted)
            taps = not start and any(n.startswith("tap_") and n.endswith(ending) for n in wanted)
            if not outputs and not taps:
                continue
            inputs, time_rand = _inputs(arrays, start)
            time = None if at == "t0" else time_rand
            if outputs:
                parts = forward(network, inputs, time)
                found |= {f"{start or 'out_'}{part}{ending}": parts[part] for part in parts}
            if taps:
                kept = intermediates(network, inputs["features"], inputs["mask"], time)
                found |= {f"tap_{name}{ending}": value for name, value in kept.items()}
    return found | {name: found[at] for name, at in ALIASES.items() if at in found}


def body_states(
    body: Body, features: Array, mask: Array, time: Array | None = None
) -> dict[str, Array]:
    """Compute the result of each layer of the body, in inference, by the recorded names.

    "local0", … of each edge convolution (in mode "omnilearn" before it "topk_idx0", the neighbours
    after the particle itself), "embed_plus_local", then of each block "block0_attn_res" after the
    attention and "block0_mlp_res_unmasked" after the MLP.
    """
    config, found = body.config, {}
    points = features[..., :COORDINATES]

    def kept(i: int) -> Callable[..., Array]:
        def layer(x: Array, *neighbours: Array) -> Array:
            found[f"local{i}"] = body.local[i](x, *neighbours)
            return found[f"local{i}"]

        return layer

    layers: Any = tuple(map(kept, range(config.num_local)))
    x = dataclasses.replace(body, local=layers).embed_particles(features, mask, time)
    found["embed_plus_local"] = x
    if config.mode == "omnilearn":
        for i in range(config.num_local):
            found[f"topk_idx{i}"] = nearest_shifted(points, mask, config.neighbours)
            points = found[f"local{i}"]
    rows, real = attended(mask, config), mask[..., None].astype(x.dtype)
    for i in range(config.num_layers):
        block = jax.tree.map(lambda a, i=i: a[i], body.blocks)
        after_attention, x = block(x, None, mask, rows, config, None)
        found[f"block{i}_attn_res"], found[f"block{i}_mlp_res_unmasked"] = after_attention, x
        x = x * real
    return found


def _inputs(arrays: Arrays, start: str) -> tuple[Arrays, np.ndarray | None]:
    """Select features, mask, jet and label (as far as recorded) of some events, and their time."""
    padding = PADDING if start == PADDED else 0
    start = "" if start == PADDED else start
    names = {name: f"{start}input_{name}" for name in ("features", "mask", "jet", "label")}
    found = {name: arrays[recorded] for name, recorded in names.items() if recorded in arrays}
    mask = found["mask"].reshape(found["features"].shape[:2]) != 0
    found["mask"] = np.pad(mask, ((0, 0), (0, padding)))
    found["features"] = np.pad(found["features"], ((0, 0), (0, padding), (0, 0)))
    time = arrays.get(f"{start}time_rand")
    return found, None if time is None else time.reshape(-1)
