"""A sample found in an open file by the names of its arrays.

The layout is that of `jaxpriors.data.sample_files`; a `Reading` gives other names and coordinates.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from jaxpriors.data import checks
from jaxpriors.data.events import PASS
from jaxpriors.data.hdf5 import Source
from jaxpriors.data.named_sample import NAMES, NamedSample
from jaxpriors.data.reading import Reading
from jaxpriors.errors import InputError
from jaxpriors.physics import coordinates as col

FORMAT, VERSION = "jaxpriors-events", 1


def find_sample(source: Source, reading: Reading) -> NamedSample:
    """Find the arrays of a sample in an open file.

    Raises:
        InputError: the level or an array is absent (the message lists what was found), arrays whose
            shapes do not belong together, a format or version that is not ours.
    """
    for name in ("tree", "group", "cut"):
        if getattr(reading, name) is not None:
            raise InputError(
                f"{source.path}: {name}: found {getattr(reading, name)!r} for a file of arrays; "
                "it is of trees in ROOT and parquet files"
            )
    check_format(source)
    wanted, level = dict(reading.columns), _level(source, reading)
    prefix = f"{level}/" if level else ""
    coordinates = reading.coordinates or source.attributes.get(level or "", {}).get("coordinates")
    named = {n: wanted[n] for n in (*NAMES, *col.AXES) if n in wanted}
    for ours, theirs in wanted.items():
        if theirs not in source.arrays:
            raise InputError(f"{source.path}: {ours}: no dataset {theirs!r}; found: {source.found}")
    groups = [prefix + name for name in (*NAMES, *col.AXES) if prefix + name in source.attributes]
    groups += [name for name in source.attributes if name.startswith(f"{prefix}columns/")]
    if groups:
        raise InputError(f"{source.path}: {groups[0]!r} is a group, expected a dataset")
    at = {n: prefix + n for n in (*NAMES, *col.AXES) if prefix + n in source.arrays} | named
    at = {n: where for n, where in at.items() if not reading.ignores(where)}
    coordinates = _coordinates(source, coordinates, at, named)
    axes = col.components(coordinates)
    spelt = not any(n in named for n in axes if n != col.IDENTITY)
    use = {*NAMES} if "p4" in at and spelt else {*NAMES[1:], *axes}
    at = {n: where for n, where in at.items() if n in use}
    inner = f"{prefix}columns/"
    columns = {
        n.removeprefix(inner): n
        for n in source.arrays
        if n.startswith(inner) and not reading.ignores(n)
    }
    columns |= {n: wanted[n] for n in wanted if n not in (*NAMES, *col.AXES)}
    reading = reading.replace(level=level)
    sample = NamedSample(source, reading, coordinates, at, columns, None, None, 0)
    return _measured(sample)


def check_format(source: Source) -> None:
    """Raise InputError where a file says that it is of another format, or version, than ours."""
    root = source.attributes.get("", {})
    found = _text(root.get("format")), root.get("version")
    if "format" in root and (found[0] != FORMAT or _number(found[1]) != VERSION):
        what = {"jaxpriors-unfolding": ", the result of an unfolding"}.get(found[0] or "", "")
        raise InputError(
            f"{source.path}: found format {found[0]!r}{what}, version {found[1]}; expected "
            f"{FORMAT!r}, {VERSION}"
        )


def _level(source: Source, reading: Reading) -> str | None:
    """Choose the level that is read; None for a single sample, or one that is given by names."""
    present, level = source.levels, reading.level
    elsewhere = reading.columns.keys() & {"p4", "pt", "E", "px"}
    if level is None and len(present) > 1 and not elsewhere:
        raise InputError(f"{source.path}: holds the levels {', '.join(present)}; choose one")
    if level is not None and level not in present and not elsewhere:
        there = ", ".join(present) or "one sample at the root, without levels"
        raise InputError(f"{source.path}: level {level!r} is absent; found: {there}")
    if level is not None and level not in PASS:
        raise InputError(f"level: found {level!r}, expected one of {', '.join(PASS)}")
    return level or (present[0] if len(present) == 1 and not elsewhere else None)


def _coordinates(source: Source, given: object, at: dict[str, str], named: dict[str, str]) -> str:
    """Find the coordinates: those that are given, or what follows from names and shapes."""
    if given is not None:
        text = _text(given)
        if text is None:
            raise InputError(f"{source.path}: attribute `coordinates` is {given!r}, expected text")
        with checks.located(source.path):
            col.components(text)
        return text
    if "p4" in at and not any(name in named for name in col.AXES):
        array = source.numbers(at["p4"])
        if array.ndim in (2, 3) and array.shape[-1] == 4:
            return "E,px,py,pz"
        raise InputError(
            f"{source.path}: {at['p4']!r} has shape {array.shape}; expected (total, 4) or (n, P, 4)"
            f" of E,px,py,pz, or its coordinates, such as {'; '.join(col.COORDINATES[4:])}"
        )
    found = col.of_names(at)
    if found is None:
        raise InputError(
            f"{source.path}: no momenta: no dataset 'p4', nor one set of components such as pt, "
            f"eta, phi (and m or E); found: {source.found}"
        )
    return found


def _measured(sample: NamedSample) -> NamedSample:
    """Compare the shapes of all arrays; find n, the offsets of flat momenta, and the flags."""
    source, at, place = sample.source, sample.at, sample.place
    missing = [n for n in sample.momenta if n not in at]
    if missing:
        raise InputError(f"{place}: no dataset {missing[0]!r}; found: {source.found}")
    arrays = {n: source.numbers(at[n]) for n in at}
    shapes = {n: tuple(arrays[n].shape) for n in sample.momenta}
    first = shapes[sample.momenta[0]]
    width = () if "p4" not in at else (len(col.components(sample.coordinates)),)
    if len(set(shapes.values())) > 1:
        raise InputError(f"{place}: components of the momenta differ in shape: {shapes}")
    if len(first) - len(width) not in (1, 2) or first[len(first) - len(width) :] != width:
        raise InputError(
            f"{place}: {at[sample.momenta[0]]!r} has shape {first}, expected (total, …) or (n, P, "
            f"…) of {sample.coordinates}"
        )
    per = first[: len(first) - len(width)]
    offsets = None
    if len(per) == 1:
        offsets = _offsets(sample, per[0])
        size = len(offsets) - 1
    else:
        size = per[0]
        if "offsets" in at:
            raise InputError(f"{place}: found offsets beside padded momenta {first}")
    expected = {"pid": per, "jet_p4": (size, 4), "weight": (size,), "label": (size,)}
    if len(per) == 2:
        expected |= {"mask": per, "multiplicity": (size,)}
    for name, shape in expected.items():
        found = tuple(arrays[name].shape) if name in at else shape
        if found != shape:
            raise InputError(
                f"{place}: {at[name]!r} has shape {found}, expected {shape} for {size} events"
            )
    for name, where in sample.columns.items():
        array = source.numbers(where)
        if array.shape[:1] != (size,):
            raise InputError(
                f"{place}: column {name!r} has shape {array.shape}, expected ({size}, ...)"
            )
    if sample.reading.padding is not None and (
        offsets is not None or {"mask", "multiplicity"} & {*at}
    ):
        raise InputError(f"{place}: padding: found it for momenta whose number is known otherwise")
    flags = None
    for name in {sample.flag} & {*sample.columns}:
        with checks.located(place):
            flags = as_flags(name, source.read(sample.columns[name]), size)
        if size and not flags.any():
            raise InputError(f"{place}: {name}: none of {size} events passes, expected some")
    return dataclasses.replace(sample, offsets=offsets, flags=flags, size=size)


def _offsets(sample: NamedSample, total: int) -> np.ndarray:
    """Read the offsets (n+1,) of flat momenta, from offsets or multiplicities."""
    source, at, place = sample.source, sample.at, sample.place
    if "mask" in at:
        raise InputError(
            f"{place}: found a mask beside flat momenta, expected offsets or multiplicity"
        )
    if not {"offsets", "multiplicity"} & at.keys():
        raise InputError(
            f"{place}: p4 has shape ({total}, …) and there is neither `offsets` nor "
            "`multiplicity`; expected one of them, or padded momenta (n, P, 4)"
        )
    found = []
    if "offsets" in at:
        offsets = source.read(at["offsets"])
        with checks.located(place):
            checks.check_offsets(offsets, total)
        found.append(offsets.astype(np.int64))
    if "multiplicity" in at:
        counts = source.read(at["multiplicity"])
        with checks.located(place):
            checks.check_integers("multiplicity", counts)
        if counts.ndim != 1 or counts.min(initial=0) < 0:
            raise InputError(
                f"{place}: multiplicity has shape {counts.shape}, expected (n,), none < 0"
            )
        offsets = col.offsets_of(counts.astype(np.int64))
        if offsets[-1] != total:
            raise InputError(
                f"{place}: the multiplicities sum to {offsets[-1]}, expected {total}, the number "
                "of constituents"
            )
        found.append(offsets)
    if len(found) == 2 and not np.array_equal(found[0], found[1]):
        raise InputError(f"{place}: offsets and multiplicity: found other numbers of constituents")
    return found[0]


def as_flags(name: str, flags: np.ndarray | None, n: int) -> np.ndarray:
    """Turn flags (n,) into bool, None into all true.

    Raises InputError where they are of another shape or kind.
    """
    if flags is None:
        return np.ones(n, bool)
    flags = np.asarray(flags)
    if flags.shape != (n,) or not np.isin(flags, (0, 1)).all():
        raise InputError(
            f"{name}: found shape {flags.shape} with values {np.unique(flags)[:4].tolist()}, "
            f"expected ({n},) of true and false"
        )
    return flags.astype(bool)


def _text(value: object) -> str | None:
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return value if isinstance(value, str) else None


def _number(value: object) -> int | None:
    return int(value) if isinstance(value, (int, np.integer)) else None
