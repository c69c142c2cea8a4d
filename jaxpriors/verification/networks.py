"""Compare recorded outputs, intermediates and gradients of ``lgatr`` networks with ours."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxpriors.errors import InputError
from jaxpriors.layers.attention import Mask
from jaxpriors.models.files import skeleton
from jaxpriors.models.state_dicts import canonical, network_from_state, state_from_network
from jaxpriors.porting.lgatr import config_from_case
from jaxpriors.verification.checks import (
    FLOAT64_TOLERANCE,
    GRADIENT_TOLERANCE,
    OUTPUT_TOLERANCE,
    Case,
    Check,
    compiled,
    relative_error,
)

NETWORKS = ("LGATr", "ConditionalLGATr", "LGATrSlim", "ConditionalLGATrSlim")
Tensors = dict[str, Array]
Outputs = tuple[Array | None, Array | None]
Arrays = Mapping[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class ModuleUnderTest:
    """The module of a case: its tree of shapes, its call, and its intermediates.

    The call maps the tree and the inputs by name to (multivectors or vectors, scalars).
    """

    skeleton: Any
    call: Callable[[Any, Tensors], Outputs]
    intermediates: Callable[[Any, Tensors], dict[str, Outputs]] | None = None


NUDGE = 1e-9  # of the energy of float64 inputs, to either side of the light cone
ROUNDING = 3.0  # times lgatr's own rounding, by which ours may differ from it


def verify_network(case: Case) -> list[Check]:
    """Compare outputs, intermediates and gradients of a network of ``lgatr``.

    The table is {"cls", "ctor", "lgatr", "gatr_config"}. Raises InputError for another class, and
    for an argument or an input that has no counterpart.
    """
    for key, kind in (("cls", str), ("ctor", dict), ("lgatr", str)):
        if not isinstance(case.table.get(key), kind):
            found = case.table.get(key)
            raise InputError(f"{key!r}: found {found!r}, expected {kind.__name__}")
    ctor = dict(case.table["ctor"])
    if isinstance(ctor.get("config"), Mapping):
        ctor |= ctor.pop("config")
    config = config_from_case(case.table | {"ctor": ctor})

    def call(network: Any, inputs: Tensors) -> Outputs:
        positional, named = _arguments(inputs)
        return network(*positional, **named)

    def intermediates(network: Any, inputs: Tensors) -> dict[str, Outputs]:
        positional, named = _arguments(inputs)
        return states(network, *positional, **named)

    return compare(case, ModuleUnderTest(skeleton(config), call, intermediates))


def _arguments(inputs: Tensors) -> tuple[list[Any], dict[str, Any]]:
    """Sort recorded inputs into the arguments of a network, by position and by name."""
    kind = "vectors" if any(name.startswith("vectors") for name in inputs) else "multivectors"
    left = dict(inputs)

    def take(*names: str) -> Array | None:
        return next((left.pop(name) for name in names if name in left), None)

    def mask(name: str) -> Mask | None:
        value = take(name)
        return None if value is None else Mask(dense=value)

    tokens, ends = take(kind), ("_condition", "_cond")
    if tokens is None:
        raise InputError(f"the input in_{kind} is missing")
    positional = [tokens, take("scalars"), mask("attn_mask")]
    condition = take(*(kind + end for end in ends)), take(*("scalars" + end for end in ends))
    named: dict[str, Any] = {}
    if condition[0] is not None:
        named = {"condition": condition, "condition_mask": mask("crossattn_mask")}
    if left:
        raise InputError(f"the inputs {', '.join('in_' + name for name in left)} are unknown")
    return positional, named


def states(network: Any, *inputs: Any, **options: Any) -> dict[str, Outputs]:
    """Compute (multivectors or vectors, scalars) after "linear_in", "block0", "block1", …

    The network runs block by block, each run starting from the state in which the one before ended.
    """
    found: dict[str, Outputs] = {}
    linear_in, ended = network.linear_in, []

    def linear_out(*state: Any) -> Any:
        ended.append(state)
        return state

    for i in range(-1, jax.tree.leaves(network.blocks)[0].shape[0]):
        part = dataclasses.replace(
            network,
            linear_in=linear_in if i < 0 else lambda *tokens, state=ended[-1]: state,
            blocks=jax.tree.map(lambda a, i=i: a[max(i, 0) : i + 1], network.blocks),
            linear_out=linear_out,
        )
        found["linear_in" if i < 0 else f"block{i}"] = part(*inputs, **options)
    return found


def compare(case: Case, tested: ModuleUnderTest) -> list[Check]:
    """Compare outputs, intermediates and gradients of a module.

    All are computed in float32. What is finite but misses its tolerance is compared again in
    float64, where it must agree to 1e-6: products of momenta in GeV cost float32 many digits.
    Arrays that were recorded in float32 may differ from ours by ``ROUNDING`` times the difference
    between the recorded outputs of both precisions.
    """
    inputs = {k[3:]: v for k, v in case.arrays.items() if k.startswith("in_")}
    if not inputs:
        raise InputError("the case has no inputs in_…")
    tested = _any_batch(tested)
    weights = network_from_state(tested.skeleton, case.state)
    ours = _outputs_and_gradients(tested, case.arrays)(weights, inputs)
    ours |= _intermediates(tested, weights, inputs, case.arrays)
    checks = {
        name: _compare(
            case, name, ours, GRADIENT_TOLERANCE if name.startswith("grad") else OUTPUT_TOLERANCE
        )
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
        checks |= _in_float64(case, tested, {name: checks[name] for name in again})
    for end in ("mv", "v", "s"):
        value = ours.get(f"out32_{end}")
        if (
            value is not None
            and value.size
            and not {f"out32_{end}", f"out64_{end}"} & {*case.arrays}
        ):
            checks[f"out_{end}"] = case.fail(f"out_{end}", "we have this output, none is recorded")
    return list(checks.values())


def _compare(case: Case, name: str, ours: Arrays, tolerance: float, note: str = "") -> Check:
    """Check one array, with a larger tolerance where rounding of float32 is recorded."""
    value, recorded = ours.get(name), case.arrays[name]
    if value is not None and name.startswith("inter_"):
        value = _turned(value, recorded)
    if recorded.dtype == np.float32 and name.startswith(("out32_", "inter_")):
        tolerance, least = (
            max(tolerance, OUTPUT_TOLERANCE, ROUNDING * _rounding(case.arrays)),
            tolerance,
        )
        if tolerance > max(least, OUTPUT_TOLERANCE):
            allowance = f"{tolerance:.1e} allowed, {ROUNDING:.0f} times the rounding of lgatr"
            note = f"{note}; {allowance}" if note else allowance
    return case.check(name, value, tolerance, note)


def _rounding(arrays: Arrays) -> float:
    """Find the largest relative difference between recorded outputs in float32 and float64."""
    pairs = [
        (arrays[f"out32_{end}"], arrays[f"out64_{end}"])
        for end in ("mv", "v", "s")
        if {f"out32_{end}", f"out64_{end}"} <= {*arrays}
    ]
    found = [relative_error(a, b) for a, b in pairs if a.shape == b.shape and a.size]
    return max((error for error in found if np.isfinite(error)), default=0.0)


def _outputs_and_gradients(
    tested: ModuleUnderTest, arrays: Arrays
) -> Callable[[Any, Arrays], dict[str, np.ndarray]]:
    """Make a function of weights and inputs that gives both by the names of recorded arrays."""
    cotangents = [arrays[n] for n in ("cot_0", "cot_1") if n in arrays and arrays[n].size]
    recorded = {k.split("/", 1)[1]: k for k in arrays if k.startswith(("grad/", "gradnorm/"))}

    def loss(weights: Any, inputs: dict[str, Any], masks: dict[str, Any]) -> tuple[Any, Any]:
        pair = tested.call(weights, inputs | masks)
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
    tested: ModuleUnderTest, weights: Any, inputs: Arrays, arrays: Arrays
) -> dict[str, np.ndarray]:
    """Compute what leaves linear_in and each block, if it is recorded."""
    if tested.intermediates is None or not any(name.startswith("inter_") for name in arrays):
        return {}
    found = {}
    for name, (mv, s) in compiled(tested.intermediates)(weights, dict(inputs)).items():
        for end, value in (("mv", mv), ("v", mv), ("s", s)):  # also slim vectors are called mv
            found[f"inter_{name}_{end}"] = np.asarray(value)
    return found


def _turned(ours: np.ndarray, recorded: np.ndarray) -> np.ndarray:
    """Transpose vectors (…, C, 4) to lgatr 2's layout (…, 4, C) where that fits better."""
    if ours.ndim < 4 or ours.shape[-1] != 4:
        return ours
    fits = [x for x in (ours, ours.swapaxes(-1, -2)) if x.shape == recorded.shape]
    return min(fits, key=lambda x: relative_error(x, recorded), default=ours)


def _in_float64(
    case: Case, tested: ModuleUnderTest, missed: Mapping[str, Check]
) -> dict[str, Check]:
    """Check again in float64, with the errors in float32 as a note.

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
        empty = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, np.float64), tested.skeleton)
        weights = network_from_state(empty, {k: wide[k] for k in case.state})
        inputs = {k[3:]: v for k, v in wide.items() if k.startswith("in_")}
        run = _outputs_and_gradients(tested, {k: wide[k] for k in case.arrays})
        exact = run(weights, inputs)
        if any(name.startswith("inter_") for name in missed):
            exact |= _intermediates(tested, weights, inputs, case.arrays)
        checks = {
            name: _compare(case, name, exact, FLOAT64_TOLERANCE, f"in float64; {single[name]}")
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
        count = int((apart > FLOAT64_TOLERANCE).sum())
        note = (
            f"in float64, {count} of {apart.size} entries between both sides of massless momenta, "
            f"which are up to {apart.max():.0%} of the scale apart; {single[name]}"
        )
        checks[name] = case.check(name, np.clip(recorded, low, high), FLOAT64_TOLERANCE, note)
    return checks


def _nudged(inputs: Arrays, sign: int) -> dict[str, np.ndarray]:
    """Make the inputs with all energies a little larger or smaller."""
    nudged = {name: np.array(value) for name, value in inputs.items()}
    for name, value in nudged.items():
        if name.startswith("multivectors"):
            value[..., 1] *= 1 + sign * NUDGE
        elif name.startswith("vectors"):
            value[..., 0] *= 1 + sign * NUDGE
    return nudged


def _any_batch(tested: ModuleUnderTest) -> ModuleUnderTest:
    """Extend the calls to tokens (…, N, …) of any number of batch axes."""

    def wrap(call: Callable[[Any, Tensors], Any]) -> Callable[[Any, Tensors], Any]:
        def flat_call(tree: Any, inputs: Tensors) -> Any:
            tails = {name: 1 if name.startswith("scalars") else 2 for name in inputs}
            lead = next(x.shape[: -tails[n] - 1] for n, x in inputs.items() if "mask" not in n)
            if len(lead) == 1:
                return call(tree, inputs)
            if any("mask" in name for name in inputs):
                raise InputError(f"found the batch axes {lead} with a mask, expected one axis")
            count = math.prod(lead)
            flat = {n: x.reshape(count, *x.shape[len(lead) :]) for n, x in inputs.items()}
            return jax.tree.map(lambda y: y.reshape(*lead, *y.shape[1:]), call(tree, flat))

        return flat_call

    inner = tested.intermediates
    return dataclasses.replace(
        tested, call=wrap(tested.call), intermediates=None if inner is None else wrap(inner)
    )
