"""Convert networks of the PyTorch package ``lgatr`` (1.4.x and 2.x) to ours and back.

The tensors of a ported network's file have the names that PyTorch gives them
(``blocks.0.attention.…``), so that any reader of safetensors can use it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxpriors.errors import InputError
from jaxpriors.models.files import (
    METADATA,
    build,
    describe_network,
    is_pet,
    load_network,
    read_config,
    read_safetensors,
    write_network,
    write_safetensors,
)
from jaxpriors.models.state_dicts import strip_prefix
from jaxpriors.porting.lgatr_arguments import Config, config_from_reference
from jaxpriors.porting.lgatr_inference import Inferred, Recognised, complete, infer, recognise
from jaxpriors.porting.torch_files import read_tensors


def port(
    path: str | Path,
    out: str | Path,
    given: Mapping[str, Any],
    case: Mapping[str, Any] | None = None,
    prefix: str | None = None,
    key: str | None = None,
) -> str:
    """Turn a state dict of ``lgatr`` into a ported network and list what was found.

    ``given`` are fields of the configuration that do not follow from the tensors. ``case`` holds
    the constructor call instead: {"cls", "ctor", "lgatr" (version), "gatr_config"}; the tensors
    give the first and third where they are absent. ``key`` chooses among the state dicts of a
    PyTorch file, and must be given where there are several.
    """
    state, metadata = read_tensors(path, key)
    if key is None and "other state dicts" in metadata:
        raise InputError(
            f"{path}: found several sets of weights, {metadata.get('state dict', '')!r} and "
            f"{metadata['other state dicts']}; choose one with --key (averages are what trainers "
            "that keep them evaluate)"
        )
    try:
        if case is None:
            inferred = infer(state, prefix)
            config = complete(inferred, given)
            lines = describe(inferred, given)
            lines += [f"  {name} = {value!r} (given)" for name, value in given.items()]
            hint = f"\n  sizes were read from {inferred.read}"
        else:
            known = recognise(state, prefix)
            config = config_from_case(case, known)
            fields = dataclasses.asdict(config).items()
            lines = [headline(known), *(f"  {n} = {v!r} (from the constructor)" for n, v in fields)]
            hint = ""
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    try:
        build(config, state, prefix)
    except InputError as error:
        hint = hint if "misshapen" in str(error) else ""
        raise InputError(f"{path}: {error}{hint}") from error
    inside, outside, found = strip_prefix(state, prefix)
    write_network(out, inside, config)
    lines += [f"left out, not below {found!r}: {name}" for name in outside]
    return "\n".join([*_choice(metadata), *lines, f"written to {out}"])


def _choice(metadata: Mapping[str, str]) -> list[str]:
    """Write lines on the state dict taken from a PyTorch file, and on others in it."""
    lines = []
    if "state dict" in metadata:
        lines.append(f"state dict under {metadata['state dict']!r}")
    if "other state dicts" in metadata:
        lines.append(f"others, chosen with --key: {metadata['other state dicts']}")
    return lines


def config_from_case(case: Mapping[str, Any], known: Recognised | None = None) -> Config:
    """Make the configuration from a table with lgatr's constructor call, see ``port``.

    A table without "ctor" is the constructor's arguments themselves.
    """
    ctor = case.get("ctor", case)
    names = {"cls": "class", "lgatr": "version"}
    found = {"cls": known.family, "lgatr": known.layout} if known else {}
    if "ctor" in case:
        found |= {key: case[key] for key in names if key in case}
    for key, what in names.items():
        if not isinstance(found.get(key), str):
            raise InputError(f"the {what} of the network ({key!r}) is missing or not text")
    if known and found["cls"] != known.family:
        raise InputError(f"class: given {found['cls']}, the tensors are of a {known.family}")
    return config_from_reference(found["cls"], ctor, found["lgatr"], case.get("gatr_config"))


def export(path: str | Path, out: str | Path) -> str:
    """Write the state dict of a ported network for PyTorch; return their number in a line."""
    load_network(path)  # only a whole network is exported
    state = read_safetensors(path)
    write_safetensors(out, state, {"format": "pt"})
    return f"{len(state)} tensors written to {out}"


def inspect(path: str | Path, prefix: str | None = None, key: str | None = None) -> str:
    """List the tensors of a file and what follows from them about the network."""
    state, metadata = read_tensors(path, key)
    width = max(map(len, state), default=0)
    lines = [f"{name:{width}}  {value.dtype!s:8} {value.shape}" for name, value in state.items()]
    if METADATA in metadata:
        lines += ["", *describe_network(path)]
        if is_pet(read_config(path)):
            return "\n".join(lines)
    try:
        lines += ["", *_choice(metadata), *describe(infer(state, prefix))]
    except InputError as error:
        lines += ["", f"not recognised: {error}"]
    return "\n".join(lines)


def headline(known: Recognised) -> str:
    """Write family, version, prefix and size in one line."""
    return (
        f"{known.family}, state dict of lgatr {known.layout}, prefix {known.prefix!r}, "
        f"{known.parameters} parameters"
    )


def describe(inferred: Inferred, given: Mapping[str, Any] | None = None) -> list[str]:
    """List what follows from the tensors, what does not, and what is assumed."""
    lines = [headline(inferred)]
    known, given = dict(inferred.fields), given or {}
    for name, width in inferred.widths.items():
        heads = known.get(f"{name}num_heads", given.get(f"{name}num_heads"))
        if heads is not None:
            known[f"{name}attn_ratio"] = width.ratios(heads)[0]
    for source, fields in (("from the tensors", known), ("assumed", inferred.assumed)):
        lines += [f"  {n} = {v!r} ({source})" for n, v in fields.items() if n not in given]
    missing = {n: hint for n, hint in inferred.missing.items() if n not in given}
    lines += [f"  {name}: not in the tensors; {hint}" for name, hint in missing.items()]
    notes = list(inferred.notes)
    if unknown := [name for name in inferred.assumed if name not in given]:
        notes.append(f"{', '.join(unknown)}: lgatr's default is assumed, the tensors do not show")
    return lines + [f"  note: {note}" for note in notes]
