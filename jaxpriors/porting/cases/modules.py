"""Recorded networks and layers: outputs, intermediates and gradients against ours."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxpriors.errors import InputError
from jaxpriors.porting.cases.checks import (
    FLOAT64_BAR,
    GRADIENT_BAR,
    OUTPUT_BAR,
    Case,
    Check,
    compiled,
    relative_error,
)
from jaxpriors.porting.cases.subject import Subject
from jaxpriors.porting.cases.subjects import subject
from jaxpriors.porting.trees import canonical, network_from_state, state_from_network

Arrays = Mapping[str, np.ndarray]
NUDGE = 1e-9  # of the energy of float64 inputs, to either side of the light cone
ROUNDING = 3.0  # how much more than lgatr's own rounding that of ours may differ from it


def verify_module(case: Case) -> list[Check]:
    """Outputs, intermediates and gradients of a network or a layer.

    All are computed in float32. What is finite but misses its bar is compared once more in float64,
    where it must agree to 1e-6: products of momenta in GeV cost float32 many digits. Arrays that
    were recorded in float32 may differ from ours by ``ROUNDING`` times the difference between the
    recorded outputs of both precisions.
    """
    inputs = {k[3:]: v for k, v in case.arrays.items() if k.startswith("in_")}
    about = subject(case.table, inputs)
    weights = network_from_state(about.template, case.state)
    ours = _outputs_and_gradients(about, case.arrays)(weights, inputs)
    ours |= _intermediates(about, weights, inputs, case.arrays)
    checks = {
        name: _compare(case, name, ours, GRADIENT_BAR if name.startswith("grad") else OUTPUT_BAR)
        for name in case.arrays
        if not name.startswith(("in_", "cot_"))
    }
    again = [
        name
        for name, check in checks.items()
        if not check.ok
        and not name.startswith("out32_")
        and np.isfinite(ours.get(name, np.nan)).all()
    ]
    if again:
        checks |= _in_float64(case, about, {name: checks[name] for name in again})
    for end in ("mv", "v", "s"):
        value = ours.get(f"out32_{end}")
        if (
            value is not None
            and value.size
            and not {f"out32_{end}", f"out64_{end}"} & {*case.arrays}
        ):
            checks[f"out_{end}"] = case.fail(f"out_{end}", "we have this output, none is recorded")
    return list(checks.values())


def _compare(case: Case, name: str, ours: Arrays, bar: float, note: str = "") -> Check:
    """The check of one array, with more allowed where rounding of float32 is on record."""
    value, recorded = ours.get(name), case.arrays[name]
    if value is not None and name.startswith("inter_"):
        value = _turned(value, recorded)
    if recorded.dtype == np.float32 and name.startswith(("out32_", "inter_")):
        bar, least = max(bar, OUTPUT_BAR, ROUNDING * _rounding(case.arrays)), bar
        if bar > max(least, OUTPUT_BAR):
            allowance = f"{bar:.1e} allowed, {ROUNDING:.0f} times the rounding of lgatr"
            note = f"{note}; {allowance}" if note else allowance
    return case.check(name, value, bar, note)


def _rounding(arrays: Arrays) -> float:
    """The largest relative difference between recorded outputs in float32 and float64."""
    pairs = [
        (arrays[f"out32_{end}"], arrays[f"out64_{end}"])
        for end in ("mv", "v", "s")
        if {f"out32_{end}", f"out64_{end}"} <= {*arrays}
    ]
    found = [relative_error(a, b) for a, b in pairs if a.shape == b.shape and a.size]
    return max((error for error in found if np.isfinite(error)), default=0.0)


def _outputs_and_gradients(
    about: Subject, arrays: Arrays
) -> Callable[[Any, Arrays], dict[str, np.ndarray]]:
    """A function of weights and inputs that gives both under the names of the recorded arrays."""
    cotangents = [arrays[n] for n in ("cot_0", "cot_1") if n in arrays and arrays[n].size]
    recorded = {k.split("/", 1)[1]: k for k in arrays if k.startswith(("grad/", "gradnorm/"))}

    def loss(weights: Any, inputs: dict[str, Any], masks: dict[str, Any]) -> tuple[Any, Any]:
        pair = about.call(weights, inputs | masks)
        total = jnp.zeros(())
        given = [value for value in pair if value is not None and value.size]
        if cotangents and len(cotangents) != len(given):
            raise InputError(
                f"{len(given)} outputs of ours have {len(cotangents)} cotangents cot_…"
            )
        for value, cotangent in zip(given, cotangents, strict=False):
            if value.shape != cotangent.shape:
                raise InputError(
                    f"our output has the shape {value.shape}, its cotangent {cotangent.shape}"
                )
            total = total + jnp.sum(value * cotangent)
        return total, pair

    differentiated = jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)
    forward = compiled(differentiated if cotangents else loss)

    def run(weights: Any, tensors: Arrays) -> dict[str, np.ndarray]:
        inputs = {k: jnp.asarray(v) for k, v in tensors.items() if not k.endswith("mask")}
        masks = {k: jnp.asarray(v) for k, v in tensors.items() if k.endswith("mask")}
        result = forward(weights, inputs, masks)
        (_, pair), gradients = result if cotangents else (result, ((), {}))
        first = "v" if any(name.startswith("vectors") for name in inputs) else "mv"
        found = {
            f"out{bits}_{end}": np.asarray(value)
            for bits in (32, 64)
            for end, value in zip((first, "s"), pair, strict=True)
            if value is not None
        }
        found |= {f"gradin_{name}": np.asarray(value) for name, value in gradients[1].items()}
        ours = state_from_network(gradients[0])
        names = canonical(ours)
        for key, name in canonical(recorded).items():
            if key in names:
                value = ours[names[key]]
                norm = recorded[name].startswith("gradnorm/")
                found[recorded[name]] = np.asarray(np.linalg.norm(value)) if norm else value
        return found

    return run


def _intermediates(
    about: Subject, weights: Any, inputs: Arrays, arrays: Arrays
) -> dict[str, np.ndarray]:
    """What leaves linear_in and each block, if it is recorded."""
    if about.intermediates is None or not any(name.startswith("inter_") for name in arrays):
        return {}
    found = {}
    for name, (mv, s) in compiled(about.intermediates)(weights, dict(inputs)).items():
        for end, value in (("mv", mv), ("v", mv), ("s", s)):  # also slim vectors are called mv
            found[f"inter_{name}_{end}"] = np.asarray(value)
    return found


def _turned(ours: np.ndarray, recorded: np.ndarray) -> np.ndarray:
    """Vectors (…, C, 4) as (…, 4, C), which is how lgatr 2 keeps them, where that fits better."""
    if ours.ndim < 4 or ours.shape[-1] != 4:
        return ours
    fits = [x for x in (ours, ours.swapaxes(-1, -2)) if x.shape == recorded.shape]
    return min(fits, key=lambda x: relative_error(x, recorded), default=ours)


def _in_float64(case: Case, about: Subject, missed: Mapping[str, Check]) -> dict[str, Check]:
    """Checks once more in float64, with the errors in float32 as a note.

    |⟨v, v⟩| in the norms has a kink at massless momenta, where rounding decides on which side a
    gradient lies. In float64 it lies where the recorded one does, unless the momentum is massless
    to the last bit; then the recorded one must lie between those of the two sides.
    """
    single = {name: f"{check.error:.1e} in float32" for name, check in missed.items()}
    with jax.enable_x64(True):
        wide = {
            k: np.asarray(v, np.float64) if v.dtype.kind == "f" else v
            for k, v in {**case.state, **case.arrays}.items()
        }
        empty = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, np.float64), about.template)
        weights = network_from_state(empty, {k: wide[k] for k in case.state})
        inputs = {k[3:]: v for k, v in wide.items() if k.startswith("in_")}
        run = _outputs_and_gradients(about, {k: wide[k] for k in case.arrays})
        exact = run(weights, inputs)
        if any(name.startswith("inter_") for name in missed):
            exact |= _intermediates(about, weights, inputs, case.arrays)
        checks = {
            name: _compare(case, name, exact, FLOAT64_BAR, f"in float64; {single[name]}")
            for name in missed
        }
        on_kink = [n for n in missed if n.startswith("gradin_") and not checks[n].ok]
        if not on_kink:
            return checks
        sides = [run(weights, _nudged(inputs, sign)) for sign in (1, -1)]
    for name in on_kink:
        low, high = (bound(*(side[name] for side in sides)) for bound in (np.minimum, np.maximum))
        recorded = case.arrays[name]
        apart = (high - low) / (np.abs(recorded).max(initial=0) or 1.0)
        count = int((apart > FLOAT64_BAR).sum())
        note = (
            f"in float64, {count} of {apart.size} entries between both sides of massless momenta, "
            f"which are up to {apart.max():.0%} of the scale apart; {single[name]}"
        )
        checks[name] = case.check(name, np.clip(recorded, low, high), FLOAT64_BAR, note)
    return checks


def _nudged(inputs: Arrays, sign: int) -> dict[str, np.ndarray]:
    """The inputs with all energies a little larger or smaller."""
    nudged = {name: np.array(value) for name, value in inputs.items()}
    for name, value in nudged.items():
        if name.startswith("multivectors"):
            value[..., 1] *= 1 + sign * NUDGE
        elif name.startswith("vectors"):
            value[..., 0] *= 1 + sign * NUDGE
    return nudged
