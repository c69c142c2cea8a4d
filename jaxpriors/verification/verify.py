"""Compare recorded cases of networks of ``lgatr`` and of OmniLearn with ours, array by array.

A case of ``lgatr`` is ``<name>.json`` (class, constructor arguments, version),
``<name>.safetensors`` (float32 state dict) and ``<name>.npz``: ``in_*`` inputs,
``out32_*``/``out64_*`` outputs, ``inter_*`` after each block, ``cot_i`` cotangents with
``gradin_*``, ``grad/<parameter>`` or ``gradnorm/<parameter>`` of Σᵢ Σ outᵢ·cot_i; or a training
trajectory (see ``training``). A case of OmniLearn has ``<name>.weights.h5`` in place of the
.safetensors; the modules ``pet``, ``pet_…`` and ``diffusion`` describe its arrays. Names that the
JSON lists under "arrays" must all be there.

We compute in float32 on the CPU, and what misses its tolerance again in float64 (see
``networks``). The error of an array is max |ours − recorded| / max |recorded|.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import jax

from jaxpriors.errors import InputError, one_line
from jaxpriors.verification.checks import Case, Check, read_case
from jaxpriors.verification.diffusion import is_schedule, verify_schedule
from jaxpriors.verification.networks import NETWORKS, verify_network
from jaxpriors.verification.pet import is_pet, verify_pet
from jaxpriors.verification.pet_dijet import CLASSIFIER, GENERATOR, is_dijet, verify_dijet
from jaxpriors.verification.pet_finetune import is_finetune, verify_finetune
from jaxpriors.verification.pet_training import (
    is_lion,
    is_pet_training,
    verify_lion,
    verify_pet_training,
)
from jaxpriors.verification.training import verify_training

PET_VARIANTS = ("omnifold.Classifier", CLASSIFIER, GENERATOR)
Verify = Callable[[Case, Path], list[Check]]


def is_network(case: Case) -> bool:
    """Return whether a case is of a network of ``lgatr``."""
    return case.table.get("cls") in NETWORKS


def weights_of(path: Path) -> Path:
    """Return the ``.weights.h5`` beside a case of OmniLearn."""
    return path.with_suffix(".weights.h5")


# for each kind: which cases belong to it, and how they are compared; the first that applies
KINDS: tuple[tuple[Callable[[Case], bool], Verify], ...] = (
    (is_schedule, lambda case, path: verify_schedule(case)),
    (is_lion, lambda case, path: verify_lion(case)),
    (is_finetune, lambda case, path: verify_finetune(case, path.parent)),
    (is_dijet, lambda case, path: verify_dijet(case, weights_of(path))),
    (is_pet_training, lambda case, path: verify_pet_training(case)),
    (is_pet, lambda case, path: verify_pet(case, weights_of(path))),
    (
        lambda case: is_network(case) and ("optimizer" in case.table or "losses32" in case.arrays),
        lambda case, path: verify_training(case),
    ),
    (is_network, lambda case, path: verify_network(case)),
)


def verify_case(path: str | Path) -> list[Check]:
    """Compare every recorded array of a case.

    A case that cannot be used, for whatever reason, is one failed check; nothing is raised.
    """
    path = Path(path)
    with jax.default_device(jax.local_devices(backend="cpu")[0]):
        try:
            case = read_case(path)
            verify = next((verify for applies, verify in KINDS if applies(case)), None)
            if verify is None:
                raise InputError(
                    f"class: found {case.table.get('cls')!r}, expected a whole network: one of "
                    f"{', '.join(NETWORKS)}, PET, {', '.join(PET_VARIANTS)}, or its training"
                )
            checks = verify(case, path)
            if not checks:
                raise InputError(f"{path}: the case has no recorded array to compare with")
            lost = [name for name in case.table.get("arrays") or () if name not in case.arrays]
            return checks + [case.fail(name, "listed in the .json, not recorded") for name in lost]
        except Exception as error:  # the other cases and the counts must still be printed
            kind = "" if isinstance(error, InputError | OSError) else f"{type(error).__name__}: "
            text = kind + one_line(error)
            return [Check(path.stem, "the case", float("nan"), 0.0, text)]
