"""Recorded cases of ``lgatr`` and of OmniLearn against our code, array by array.

A case of ``lgatr`` is ``<name>.json`` (class, constructor arguments, version),
``<name>.safetensors`` (float32 state dict) and ``<name>.npz``: ``in_*`` inputs,
``out32_*``/``out64_*`` outputs, ``inter_*`` after each block, ``cot_i`` cotangents with
``gradin_*``, ``grad/<parameter>`` or ``gradnorm/<parameter>`` of Σᵢ Σ outᵢ·cot_i; or a training
trajectory, or tables (see the two modules that hold these). A case of OmniLearn has
``<name>.weights.h5`` in place of the .safetensors; what its arrays are is told in the modules
``pet``, ``pet_…`` and ``diffusion``. Names that the JSON lists under "arrays" must all be there.

We compute in float32 on the CPU, and once more in float64 what misses its bar (see ``modules``).
The error of an array is max |ours − recorded| / max |recorded|.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import jax

from jaxpriors.errors import InputError
from jaxpriors.porting.cases.checks import Case, Check, read_case
from jaxpriors.porting.cases.diffusion import is_schedule, verify_schedule
from jaxpriors.porting.cases.modules import verify_module
from jaxpriors.porting.cases.pet import is_pet, verify_pet
from jaxpriors.porting.cases.pet_finetune import is_finetune, verify_finetune
from jaxpriors.porting.cases.pet_training import (
    is_lion,
    is_pet_training,
    verify_lion,
    verify_pet_training,
)
from jaxpriors.porting.cases.pet_twojet import is_twojet, verify_twojet
from jaxpriors.porting.cases.tables import verify_tables
from jaxpriors.porting.cases.training import verify_training

Verify = Callable[[Case, Path], list[Check]]

# what tells a kind of case, and how it is compared, given its .json; the first that applies
KINDS: tuple[tuple[Callable[[Case], bool], Verify], ...] = (
    (is_schedule, lambda case, path: verify_schedule(case)),
    (is_lion, lambda case, path: verify_lion(case)),
    (is_finetune, lambda case, path: verify_finetune(case, path.parent)),
    (is_twojet, lambda case, path: verify_twojet(case, weights_of(path))),
    (is_pet_training, lambda case, path: verify_pet_training(case)),
    (is_pet, lambda case, path: verify_pet(case, weights_of(path))),
    (lambda case: "cls" not in case.table, lambda case, path: verify_tables(case)),
    (
        lambda case: "optimizer" in case.table or "losses32" in case.arrays,
        lambda case, path: verify_training(case),
    ),
    (lambda case: True, lambda case, path: verify_module(case)),
)


def weights_of(path: Path) -> Path:
    """The ``.weights.h5`` beside a case of OmniLearn."""
    return path.with_suffix(".weights.h5")


def verify_case(path: str | Path) -> list[Check]:
    """Every recorded array of the case compared.

    A case that cannot be used, for whatever reason, is one failed check; nothing is raised.
    """
    path = Path(path)
    with jax.default_device(jax.local_devices(backend="cpu")[0]):
        try:
            case = read_case(path)
            verify = next(verify for applies, verify in KINDS if applies(case))
            checks = verify(case, path)
            if not checks:
                raise InputError(f"{path}: the case has no recorded array to compare with")
            lost = [name for name in case.table.get("arrays") or () if name not in case.arrays]
            return checks + [case.fail(name, "listed in the .json, not recorded") for name in lost]
        except Exception as error:  # the other cases and the counts must still be printed
            kind = "" if isinstance(error, InputError | OSError) else f"{type(error).__name__}: "
            text = kind + " ".join(str(error).split())
            return [Check(path.stem, "the case", float("nan"), 0.0, text)]
