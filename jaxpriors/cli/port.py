"""The commands ``jaxpriors port …``: import, export and verify networks of other packages."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

from jaxpriors.errors import InputError
from jaxpriors.run.storage import check_output, read_json


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

    Sizes follow from the tensors; options here give the rest, or --config gives everything.

    Args:
        file: of safetensors or PyTorch with the state dict, also within a training checkpoint.
        out: the ported network, one safetensors file.
        config: JSON with the constructor's arguments, {"cls": …, "ctor": {…}, "lgatr": version}.
        prefix: prefix of the network's names; found automatically unless there are several.
        heads: number of attention heads.
        crossattention_heads: number of heads of the cross-attention of a ConditionalLGATr.
        nonlinearity: activation of the MLP: gelu, relu, sigmoid, silu or tanh; without it, gelu.
        nonlinearity_v: activation of the vectors' gate in an LGATrSlim of lgatr 2.x.
        attn_ratio: attention ratio, only to be checked.
        dropout: dropout probability, for further training.
        bivector: whether the geometric products keep grade 2.
        reinsert_mv: indices of the multivector channels to reinsert.
        reinsert_s: indices of the scalar channels to reinsert.
        key: which set of weights of a training checkpoint, such as model or ema.shadow_params;
            needed where it holds several.
    """
    from jaxpriors.porting import lgatr

    check_output(out, file, config)
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
            raise InputError(f"--config gives everything; found also {', '.join(given)}")
        case = read_json(config, "the settings of a network")
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

    The command reads PET as its training writes it and OmniFold's classifier, of TensorFlow 2.12
    to 2.15, and both models of the LHC Olympics, of 2.12 to 2.14. Sizes follow from the tensors;
    neither TensorFlow nor Keras is needed.

    Args:
        file: .weights.h5.
        out: the ported network, one safetensors file.
        ema: take the moving averages (body and generator head) instead of the weights.
        mode: omnilearn, the function of OmniLearn, which depends on padding, or masked.
        neighbours: neighbours of an edge convolution; default: OmniLearn's, 10.
        use_mean: whether the LHC Olympics generator was trained with use_mean.
        classes: replace the output layer and the label embedding for this number of classes.
        seed: seed of the weights that are new with --classes.
    """
    from jaxpriors.porting import omnilearn

    check_output(out, file)
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
    """List the tensors of a file and the properties of the network that follow.

    Args:
        file: of safetensors, PyTorch or Keras (.weights.h5).
        prefix: prefix of the network's names; found automatically unless there are several.
        key: which set of weights of a training checkpoint, such as model or ema.shadow_params.
    """
    import h5py

    from jaxpriors.porting import lgatr, omnilearn
    from jaxpriors.run.stored_arrays import regular_file

    regular_file(file, "weights of safetensors, PyTorch or Keras")
    if file.suffix in (".h5", ".hdf5") or h5py.is_hdf5(file):
        print(omnilearn.inspect(file))
    else:
        print(lgatr.inspect(file, prefix, key))
    return 0


def port_export(file: Path, out: Path, /, ema: Path | None = None) -> int:
    """Write a network in its package's format: a state dict for lgatr, .weights.h5 for OmniLearn.

    Args:
        file: a ported network.
        out: safetensors file for lgatr, .weights.h5 for OmniLearn.
        ema: for OmniLearn, a ported network with the moving averages; without it, the same weights.
    """
    from jaxpriors.models.files import is_pet, read_config
    from jaxpriors.porting import lgatr, omnilearn_export

    check_output(out, file, ema)
    if is_pet(read_config(file)):
        print(omnilearn_export.export(file, out, ema))
    elif ema is not None:
        raise InputError(f"--ema: given {ema}, a state dict of lgatr has no averages")
    else:
        print(lgatr.export(file, out))
    return 0


def port_verify(cases: list[Path], /) -> int:
    """Compare networks with recorded outputs, intermediates and gradients of the other packages.

    Prints one line for every recorded array, and finally the counts; exits with 1 if any fails.

    Args:
        cases: JSON files of recorded cases, beside .safetensors and .npz of the same names.
    """
    from jaxpriors.verification.verify import verify_case

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
