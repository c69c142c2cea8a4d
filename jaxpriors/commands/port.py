"""The commands ``jaxpriors port …``: networks of other packages in and out, and their proof."""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

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


def port_omnilearn(
    file: Path,
    out: Path,
    /,
    ema: bool = False,
    mode: Literal["omnilearn", "masked"] = "omnilearn",
    neighbours: int | None = None,
    use_mean: bool = False,
    classes: int | None = None,
    seed: int = 0,
) -> int:
    """Turn weights of OmniLearn (Keras' .weights.h5) into a network of ours.

    PET as its training writes it and OmniFold's classifier, by TensorFlow 2.12 to 2.15, and both
    models of the LHC Olympics, by 2.12 to 2.14. Sizes follow from the tensors; neither TensorFlow
    nor Keras is needed.

    Args:
        file: .weights.h5.
        out: the ported network, one safetensors file.
        ema: take the moving averages (body and generator head) in place of the weights.
        mode: omnilearn, the function of OmniLearn, which depends on padding, or masked.
        neighbours: of an edge convolution; without it, OmniLearn's default of 10.
        use_mean: the LHC Olympics generator was trained with use_mean.
        classes: replace the output layer and the label embedding for so many classes.
        seed: of the weights that are new with --classes.
    """
    from jaxpriors.porting import omnilearn

    text = omnilearn.port(
        file,
        out,
        ema=ema,
        mode=mode,
        neighbours=neighbours,
        use_mean=use_mean,
        classes=classes,
        seed=seed,
    )
    print(text)
    return 0


def port_inspect(file: Path, /, prefix: str | None = None, key: str | None = None) -> int:
    """List the tensors of a file and what they tell about the network.

    Args:
        file: .safetensors, .pt, .pth or .h5.
        prefix: what stands before the network's names; found by itself unless there are several.
        key: which state dict of a training checkpoint, such as ema.
    """
    from jaxpriors.porting import lgatr, omnilearn

    if file.suffix in (".h5", ".hdf5"):
        print(omnilearn.inspect(file))
    else:
        print(lgatr.inspect(file, prefix, key))
    return 0


def port_export(file: Path, out: Path, /, ema: Path | None = None) -> int:
    """Write a network as its peer does: for lgatr a state dict, for OmniLearn a .weights.h5 file.

    Args:
        file: a ported network.
        out: safetensors file for lgatr, .weights.h5 for OmniLearn.
        ema: for OmniLearn, a ported network with the moving averages; without it, the same weights.
    """
    from jaxpriors.porting import lgatr, omnilearn_export
    from jaxpriors.porting.networks import is_pet, read_config

    if is_pet(read_config(file)):
        print(omnilearn_export.export(file, out, ema))
    elif ema is not None:
        raise InputError(f"--ema: given {ema}, a state dict of lgatr has no averages")
    else:
        print(lgatr.export(file, out))
    return 0


def port_verify(cases: list[Path], /) -> int:
    """Compare our networks with recorded outputs, intermediates and gradients of their peers.

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
