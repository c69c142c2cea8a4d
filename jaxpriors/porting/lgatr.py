"""Networks of the PyTorch package ``lgatr`` (1.4.x and 2.x) as networks of ours and back.

The tensors of a ported network's file have the names that PyTorch gives them
(``blocks.0.attention.…``), so that any reader of safetensors can use it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxpriors.errors import InputError
from jaxpriors.porting.arguments import Config, config_from_peer
from jaxpriors.porting.inference import (
    Inferred,
    Recognised,
    complete,
    infer,
    recognise,
)
from jaxpriors.porting.networks import (
    METADATA,
    build,
    describe_network,
    is_pet,
    load_network,
    read_config,
    write_network,
)
from jaxpriors.porting.safetensors import read_safetensors, read_tensors, write_safetensors
from jaxpriors.porting.trees import strip_prefix


def port(
    path: str | Path,
    out: str | Path,
    given: Mapping[str, Any],
    case: Mapping[str, Any] | None = None,
    prefix: str | None = None,
    key: str | None = None,
) -> str:
    """Turn a state dict of ``lgatr`` into a ported network and tell what was found.

    ``given`` are fields of the configuration that the tensors do not tell. ``case`` holds instead
    the constructor call: {"cls", "ctor", "lgatr" (version), "gatr_config"}, the first and third of
    which follow from the tensors where they are absent. ``key`` chooses among the state dicts of a
    PyTorch file.
    """
    state, metadata = read_tensors(path, key)
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
    """A line on the state dict taken from a PyTorch file, and on others in it."""
    lines = []
    if "state dict" in metadata:
        lines.append(f"state dict under {metadata['state dict']!r}")
    if "other state dicts" in metadata:
        lines.append(f"others, chosen with --key: {metadata['other state dicts']}")
    return lines


def config_from_case(case: Mapping[str, Any], known: Recognised | None = None) -> Config:
    """The configuration from a table with the peer's constructor call, see ``port``.

    A table without "ctor" is taken to be the constructor's arguments themselves.
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
    return config_from_peer(found["cls"], ctor, found["lgatr"], case.get("gatr_config"))


def export(path: str | Path, out: str | Path) -> str:
    """Write the state dict of a ported network for PyTorch; tells how many tensors."""
    load_network(path)  # nothing leaves that is not a whole network
    state = read_safetensors(path)
    write_safetensors(out, state, {"format": "pt"})
    return f"{len(state)} tensors written to {out}"


def inspect(path: str | Path, prefix: str | None = None, key: str | None = None) -> str:
    """A listing of the tensors of a file and of what they tell about the network."""
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
    """Family, version, prefix and size in one line."""
    return (
        f"{known.family}, state dict of lgatr {known.layout}, prefix {known.prefix!r}, "
        f"{known.parameters} parameters"
    )


def describe(inferred: Inferred, given: Mapping[str, Any] | None = None) -> list[str]:
    """Lines that tell what the tensors say, what they leave open and what is assumed."""
    lines = [headline(inferred)]
    told, given = dict(inferred.fields), given or {}
    for name, width in inferred.widths.items():
        heads = told.get(f"{name}num_heads", given.get(f"{name}num_heads"))
        if heads is not None:
            told[f"{name}attn_ratio"] = width.ratios(heads)[0]
    for source, fields in (("from the tensors", told), ("assumed", inferred.assumed)):
        lines += [f"  {n} = {v!r} ({source})" for n, v in fields.items() if n not in given]
    missing = {n: hint for n, hint in inferred.missing.items() if n not in given}
    lines += [f"  {name}: not in the tensors; {hint}" for name, hint in missing.items()]
    notes = list(inferred.notes)
    if unknown := [name for name in inferred.assumed if name not in given]:
        notes.append(f"{', '.join(unknown)}: lgatr's default is assumed, the tensors do not tell")
    return lines + [f"  note: {note}" for note in notes]
