"""Compare recorded cases of OmniLearn's fine-tuning: a file loaded into a model of other classes.

The table names the file (``source_checkpoint``, beside the case) and the weight names that
OmniLearn ``loaded`` and ``skipped``; ``init:<weight name>`` are the initial weights of the
skipped ones.
Inputs are ``input_features`` (B, P, F), ``input_mask`` (B, P, 1) and ``input_jet`` (B, J); outputs
are ``out_cls`` and ``out_jet`` before any training, and OmniFold's weights ``reweight``,
f / (1 − f) of the sigmoid f.
"""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from jaxpriors.errors import InputError
from jaxpriors.models.files import build, replace_classes
from jaxpriors.models.state_dicts import state_from_network
from jaxpriors.porting.omnilearn import AVERAGE, read_omnilearn
from jaxpriors.porting.omnilearn_files import read_contents, state_name, to_ours
from jaxpriors.verification.checks import OUTPUT_TOLERANCE, Case, Check, compiled
from jaxpriors.verification.pet import ACTIVATIONS, FULL_LAYERS, FULL_TOLERANCE

INPUTS = ("input_features", "input_mask", "input_jet")
START = "init:"


def is_finetune(case: Case) -> bool:
    """Return whether a case is of a model that was loaded from another one's file."""
    return "source_checkpoint" in case.table


def verify_finetune(case: Case, folder: Path) -> list[Check]:
    """Compare what is kept and what is new, and the outputs; ``folder`` holds the file."""
    missing = [name for name in INPUTS if name not in case.arrays]
    if missing:
        raise InputError(f"the case lacks the arrays {', '.join(missing)}")
    settings = case.table["kwargs"]
    weights = folder / case.table["source_checkpoint"]
    weight_names = list(read_contents(weights).tensors)
    neighbours = (case.table.get("pet_override") or {}).get("K")
    pretrained, _ = read_omnilearn(weights, neighbours=neighbours)
    network, replaced = replace_classes(pretrained, settings["num_classes"], jax.random.key(0))
    before, state = state_from_network(pretrained), state_from_network(network)
    new = {
        weight_name
        for weight_name in weight_names
        if state_name(weight_name.removeprefix(AVERAGE)) in replaced
    }
    kept = {
        weight_name
        for weight_name in {*weight_names} - new
        if weight_name.startswith(AVERAGE)
        or np.array_equal(before[state_name(weight_name)], state[state_name(weight_name)])
    }
    checks = [_same(case, "loaded", kept), _same(case, "skipped", new)]
    for name, value in case.arrays.items():
        weight_name = name.removeprefix(START)
        if name == weight_name:
            continue
        at, tensor = state_name(weight_name.removeprefix(AVERAGE)), to_ours(weight_name, value)
        if at not in replaced or state[at].shape != tensor.shape:
            checks.append(case.fail(name, "not new in our network, or of another shape there"))
        elif not weight_name.startswith(AVERAGE):
            state[at] = tensor
    features, mask, jet = (jnp.asarray(case.arrays[name]) for name in INPUTS)
    classify = compiled(lambda network, *inputs: network.classify(*inputs))
    tuned = build(network.config, state, prefix="")
    logits, regression = classify(tuned, features, mask.reshape(features.shape[:2]) > 0, jet)
    ours = {
        "out_cls": ACTIVATIONS[settings.get("class_activation")](logits),
        "out_jet": regression,
        "reweight": jnp.exp(logits[:, 0]),
    }
    tolerance = FULL_TOLERANCE if network.config.num_layers >= FULL_LAYERS else OUTPUT_TOLERANCE
    return checks + [
        case.check(name, ours.get(name), tolerance)
        for name in case.arrays
        if not name.startswith((START, "input_", "time_rand"))
    ]


def _same(case: Case, name: str, ours: set[str]) -> Check:
    """Check that a recorded list of weight names is ours."""
    if wrong := sorted(ours ^ {*case.table[name]}):
        return case.fail(name, f"differs in {', '.join(wrong[:4])}")
    return Check(case.name, name, 0.0, 0.0, f"{len(ours)} tensors")
