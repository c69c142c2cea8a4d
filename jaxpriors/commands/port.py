"""The commands ``jaxpriors port …``: networks of other packages in and out, and their proof."""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from jaxpriors.errors import InputError


def port_lgatr(
    file: Path,
    out: Path,
    /,
    config: Path | None = None,
    prefix: str | None = None,
    heads: int | None = None,
    crossattention_heads: int | None = None,
    nonlinearity: str | None = None,
    nonlinearity_v: str | None = None,
    attn_ratio: int | None = None,
    dropout: float | None = None,
    bivector: bool | None = None,
    reinsert_mv: tuple[int, ...] | None = None,
    reinsert_s: tuple[int, ...] | None = None,
    key: str | None = None,
) -> int:
    """Turn a state dict of the PyTorch package lgatr (1.4.x, 2.x) into a network of ours.

    Sizes follow from the tensors; what they do not tell is given here, or all of it with --config.

    Args:
        file: .safetensors, .pt or .pth with the state dict, also within a training checkpoint.
        out: the ported network, one safetensors file.
        config: JSON with the constructor's arguments, {"cls": …, "ctor": {…}, "lgatr": version}.
        prefix: what stands before the network's names; found by itself unless there are several.
        heads: number of attention heads.
        crossattention_heads: the same of the cross-attention of a ConditionalLGATr.
        nonlinearity: activation of the MLP: gelu, relu, sigmoid, silu or tanh; without it, gelu.
        nonlinearity_v: activation of the vectors' gate in an LGATrSlim of lgatr 2.x.
        attn_ratio: only to check it.
        dropout: probability, for further training.
        bivector: whether grade 2 of the geometric products is kept.
        reinsert_mv: numbers of the multivector channels that are reinserted.
        reinsert_s: numbers of the scalar channels that are reinserted.
        key: which state dict of a training checkpoint, such as ema.
    """
    from jaxpriors.porting import lgatr

    options: dict[str, Any] = {
        "num_heads": heads,
        "crossattention_num_heads": crossattention_heads,
        "nonlinearity": nonlinearity,
        "nonlinearity_v": nonlinearity_v,
        "attn_ratio": attn_ratio,
        "dropout_prob": dropout,
        "use_bivector": bivector,
        "reinsert_mv_channels": reinsert_mv,
        "reinsert_s_channels": reinsert_s,
    }
    given = {name: value for name, value in options.items() if value is not None}
    case = None
    if config is not None:
        if given:
            raise InputError(f"--config tells everything; found also {', '.join(given)}")
        case = read_json(config)
    print(lgatr.port(file, out, given, case, prefix, key))
    return 0


def port_inspect(file: Path, /, prefix: str | None = None, key: str | None = None) -> int:
    """List the tensors of a file and what they tell about the network.

    Args:
        file: .safetensors, .pt or .pth.
        prefix: what stands before the network's names; found by itself unless there are several.
        key: which state dict of a training checkpoint, such as ema.
    """
    from jaxpriors.porting import lgatr

    print(lgatr.inspect(file, prefix, key))
    return 0


def port_export(file: Path, out: Path, /) -> int:
    """Write the PyTorch state dict of a ported network.

    Args:
        file: a ported network.
        out: safetensors file for lgatr.
    """
    from jaxpriors.porting import lgatr

    print(lgatr.export(file, out))
    return 0


def port_verify(cases: list[Path], /) -> int:
    """Compare our networks with recorded outputs, intermediates and gradients of lgatr.

    Prints one line for every recorded array, in the end the counts; exits with 1 if any fails.

    Args:
        cases: JSON files of recorded cases, the .safetensors and .npz of the same names beside.
    """
    from jaxpriors.porting.verify import verify_case

    if not cases:
        raise InputError("no case given, expected the .json files of recorded cases")
    passed = failed = 0
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:  # most of the time is compilation
        for checks in pool.map(verify_case, cases):
            for check in checks:
                print(check, flush=True)
                passed, failed = passed + check.ok, failed + (not check.ok)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file; InputError where it is not one."""
    try:
        table = json.loads(path.read_text())
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise InputError(f"{path}: not valid JSON: {error}") from error
    if not isinstance(table, dict):
        raise InputError(f"{path}: found {type(table).__name__}, expected a JSON object")
    return table
