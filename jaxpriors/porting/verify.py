"""Recorded cases of ``lgatr`` against our code, array by array.

A case is ``<name>.json`` (class, constructor arguments, version), ``<name>.safetensors`` (float32
state dict) and ``<name>.npz``: ``in_*`` inputs, ``out32_*``/``out64_*`` outputs, ``inter_*`` after
each block, ``cot_i`` cotangents with ``gradin_*``, ``grad/<parameter>`` or ``gradnorm/<parameter>``
of Σᵢ Σ outᵢ·cot_i; or a training trajectory, or tables (see the two modules that hold these). Names
that the JSON lists under "arrays" must all be there. We compute in float32 on the CPU, and once
more in float64 what misses its bar (see ``modules``). The error of an array is
max |ours − recorded| / max |recorded|.
"""

from __future__ import annotations

from pathlib import Path

import jax

from jaxpriors.errors import InputError
from jaxpriors.porting.cases.checks import Check, read_case
from jaxpriors.porting.cases.modules import verify_module
from jaxpriors.porting.cases.tables import verify_tables
from jaxpriors.porting.cases.training import verify_training


def verify_case(path: str | Path) -> list[Check]:
    """Every recorded array of the case compared.

    A case that cannot be used, for whatever reason, is one failed check; nothing is raised.
    """
    path = Path(path)
    with jax.default_device(jax.local_devices(backend="cpu")[0]):
        try:
            case = read_case(path)
            if "cls" not in case.table:
                checks = verify_tables(case)
            elif "optimizer" in case.table or "losses32" in case.arrays:
                checks = verify_training(case)
            else:
                checks = verify_module(case)
            if not checks:
                raise InputError(f"{path}: the case has no recorded array to compare with")
            lost = [name for name in case.table.get("arrays") or () if name not in case.arrays]
            return checks + [case.fail(name, "listed in the .json, not recorded") for name in lost]
        except Exception as error:  # the other cases and the counts must still be printed
            kind = "" if isinstance(error, InputError | OSError) else f"{type(error).__name__}: "
            text = kind + " ".join(str(error).split())
            return [Check(path.stem, "the case", float("nan"), 0.0, text)]
