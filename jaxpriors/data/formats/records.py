"""Records of entries, with jagged, nested or flat branches, as events.

Our names are `p4` or the components of the coordinates, `pid`, `mask` (of the constituents that
count), `multiplicity` (of padded ones), `weight`, `label`, `jet_p4` or `jet_` with a component;
others are event-level columns. Each stands for an expression (`jaxpriors.data.expressions`).

| momenta are                         | an entry is                        | other branches are    |
|-------------------------------------|------------------------------------|-----------------------|
| jagged, or padded to a fixed size   | one jet                            | flat                  |
| nested: lists of lists              | its jets                           | one a jet, or one an  |
| jagged, with the index of their jet | its jets; −1 belongs to none       | entry, for all of its |
| absent: there are columns alone     | one jet, or several if those are   | jets                  |

Each event remembers where it was: the columns `entry` and, where an entry can hold several jets,
`jet`, the index before any cut.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxpriors.data import checks
from jaxpriors.data.events import PASS, Events
from jaxpriors.data.expressions import branch, evaluate, names
from jaxpriors.data.formats.entries import Jets, Plan, depth, find_jets, jet_axes, of_jets, regular
from jaxpriors.data.reading import Reading
from jaxpriors.errors import InputError
from jaxpriors.physics import coordinates as col


def events_of(plan: Plan, arrays: Mapping[str, Any], first: int) -> Events:
    """Turn some entries into validated events.

    Args:
        plan: how entries become events.
        arrays: branch → awkward array of some entries, all of `plan.branches`.
        first: number of the first entry.

    Raises:
        InputError: as `find_jets`; values that are not finite or that `Events` refuses, jets
            without constituents; with the entry and the jet.
    """
    with checks.located(plan.place):
        jets = find_jets(plan, arrays, first)
        reading = plan.reading
        columns = {name: _kept(name, reading.columns[name], arrays, jets) for name in plan.per_jet}
        scaled = [columns.pop(name) for name in plan.jet_momenta]
        jet_p4 = _momenta(scaled, plan.jet_momenta, reading, jet=True) if scaled else None
        weight, label = columns.pop("weight", None), columns.pop("label", None)
        columns.pop("multiplicity", None)
        columns["entry"] = jets.entry[jets.kept]
        if jets.several:
            columns["jet"] = jets.jet[jets.kept]
        if label is not None:
            checks.check_integers(f"label {reading.columns['label']!r}", label)
        numbers = np.flatnonzero(jets.kept)
        try:
            if plan.momenta:
                p4, counts, pid = _constituents(plan, arrays, jets)
                events = Events.from_flat(
                    p4, counts, coordinates=str(reading.coordinates), pid=pid, jet_p4=jet_p4,
                    label=label, columns=columns, scale=reading.scale,
                )  # fmt: skip
            else:
                events = Events.from_columns(columns)
                events = events if label is None else events.with_label(label)
        except InputError as error:  # counts kept jets from 0
            message = re.sub(
                r"\bevent (\d+)\b", lambda found: jets.place(numbers[int(found[1])]), str(error)
            )
            raise InputError(message) from None
    # apart from the rest: a block of entries may well have no weight other than zero
    return events if weight is None else events.with_weight(weight.astype(np.float64))


def _constituents(
    plan: Plan, arrays: Mapping[str, Any], jets: Jets
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Find momenta (total, 3 or 4), multiplicities (kept jets,) and identities (total,)."""
    import awkward

    reading, columns = plan.reading, plan.reading.columns
    lead = evaluate(str(plan.lead), arrays, jets.first)
    grouped = reading.group is not None
    nested = jets.several and not grouped
    lengths = awkward.num(lead, axis=2 if nested else 1)
    lengths = awkward.to_numpy(awkward.flatten(lengths) if nested else lengths).astype(np.int64)
    owner = np.repeat(np.arange(len(lengths)), lengths)  # the list of each constituent
    entry = np.repeat(np.arange(len(jets.counts)), jets.counts)[owner] if nested else owner

    def flat(name: str, text: str) -> np.ndarray:
        found = evaluate(text, arrays, jets.first)
        _compare(name, text, found, lead, plan, nested, jets.first)
        found = awkward.flatten(found)
        return _numpy(name, text, awkward.flatten(found) if nested else found)

    values = [flat(name, columns[name]) for name in plan.momenta]
    number = owner
    chosen = np.ones(len(owner), bool)
    if grouped:
        group = flat("group", str(reading.group)).astype(np.int64)
        chosen = group >= 0
        number = col.offsets_of(jets.counts)[entry] + group
        number[~chosen] = 0
    if "mask" in columns:
        mask = flat("mask", columns["mask"])
        if mask.dtype.kind != "b" and not np.isin(mask, (0, 1)).all():
            raise InputError(f"mask {columns['mask']!r}: found numbers, expected true or false")
        chosen &= mask.astype(bool)
    if "multiplicity" in columns:
        if grouped:
            raise InputError("multiplicity: found it beside group, expected one of them")
        most = of_jets("multiplicity", evaluate(columns["multiplicity"], arrays, jets.first), jets)
        chosen &= np.arange(len(owner)) - col.offsets_of(lengths)[owner] < most[number]
    inner = 2 if plan.momenta == ("p4",) else 1
    padded = any(regular(branch(arrays, name), inner) for name in names(str(plan.lead)))
    if padded or reading.padding is not None:
        chosen &= ~_padding(values, plan)
    if len(jets.kept):
        chosen &= jets.kept[number]
    rows = np.flatnonzero(chosen)
    rows = rows[np.argsort(number[rows], kind="stable")] if grouped else rows
    counts = np.bincount(number[rows], minlength=len(jets.kept))[jets.kept]
    numbers = np.flatnonzero(jets.kept)
    empty = counts == 0
    for flag in (
        name for name in PASS.values() if name in columns
    ):  # what fails a level needs none there
        empty &= of_jets(flag, evaluate(columns[flag], arrays, jets.first), jets)[jets.kept] != 0
    if empty.any():
        raise InputError(
            f"{jets.place(numbers[np.argmax(empty)])}: no constituents ({empty.sum()} "
            "such jets), expected at least one, or a cut that leaves these out"
        )

    def finite(name: str, values: np.ndarray) -> np.ndarray:
        found = values[rows]
        _refuse_infinite(name, columns[name], found, number[rows], jets)
        return found

    p4 = [finite(name, found) for name, found in zip(plan.momenta, values, strict=True)]
    pid = None
    if "pid" in columns:
        pid = finite("pid", flat("pid", columns["pid"]))
        checks.check_integers(f"pid {columns['pid']!r}", pid)
        pid = reading.pdg_codes(pid.astype(np.int64))
    return _momenta(p4, plan.momenta, reading), counts, pid


def _padding(values: list[np.ndarray], plan: Plan) -> np.ndarray:
    """Tell which rows are padding, (rows,) bool: the declared value, or zeros."""
    rows = values[0] if plan.momenta == ("p4",) else np.stack(values, axis=-1)
    coordinates = str(plan.reading.coordinates)
    return ~col.filled_rows(rows[None], coordinates, None, plan.reading.padding)[0]


def _momenta(
    values: list[np.ndarray], ours: tuple[str, ...], reading: Reading, jet: bool = False
) -> np.ndarray:
    """Stack components, with PDG codes for identities among them."""
    coordinates = str(reading.coordinates)
    axes = jet_axes(coordinates) if jet else col.components(coordinates)
    p4 = values[0] if len(ours) == 1 else np.stack(values, axis=-1)
    if p4.ndim != 2 or p4.shape[1] != len(axes):
        raise InputError(
            f"{ours[0]} {reading.columns[ours[0]]!r}: found {p4.shape[1:]} numbers each, expected "
            f"{len(axes)}: {','.join(axes)}"
        )
    if "pid" in axes:
        place = axes.index("pid")
        p4 = p4.astype(np.float64)
        checks.check_integers(f"pid in {ours[0]} {reading.columns[ours[0]]!r}", p4[:, place])
        p4[:, place] = reading.pdg_codes(p4[:, place].astype(np.int64))
    return p4


def _kept(name: str, text: str, arrays: Mapping[str, Any], jets: Jets) -> np.ndarray:
    """Compute one number (or array) for each kept jet; InputError where one is not finite."""
    value, vectors = evaluate(text, arrays, jets.first), name not in ("weight", "label")
    found = of_jets(f"{name} {text!r}", value, jets, vectors)[jets.kept]
    _refuse_infinite(name, text, found, np.flatnonzero(jets.kept), jets)
    return found


def _refuse_infinite(
    name: str, text: str, found: np.ndarray, number: np.ndarray, jets: Jets
) -> None:
    """Raise InputError for values (k, ...) that are not finite; number (k,): of which jet."""
    if found.dtype.kind not in "biuf":
        raise InputError(f"{name} {text!r}: found {found.dtype}, expected numbers")
    wrong = ~np.isfinite(found).reshape(len(found), int(np.prod(found.shape[1:]))).all(axis=1)
    if wrong.any():
        one = int(np.argmax(wrong))
        raise InputError(
            f"{jets.place(number[one])}: {name} {text!r}: found {found[one]} ({wrong.sum()} such "
            "values), expected a finite number"
        )


def _compare(
    name: str, text: str, found: Any, lead: Any, plan: Plan, nested: bool, first: int
) -> None:
    """Raise InputError unless a value of constituents has those that the momenta have."""
    import awkward

    least = 3 if nested else 2
    if depth(found) < least:
        raise InputError(f"{name} {text!r}: found no list, expected one number a constituent")
    for axis in range(1, least):
        ours, theirs = awkward.num(found, axis=axis), awkward.num(lead, axis=axis)
        wrong = ours != theirs
        while wrong.ndim > 1:
            wrong = awkward.any(wrong, axis=-1)
        if (flags := awkward.to_numpy(wrong)).any():
            entry = int(np.argmax(flags))
            raise InputError(
                f"{name} {text!r}: found {ours[entry]} values in entry {first + entry}, expected "
                f"{theirs[entry]}, as many as of {plan.lead!r}"
            )


def _numpy(name: str, text: str, found: Any) -> np.ndarray:
    import awkward

    try:
        return awkward.to_numpy(found)
    except ValueError:
        raise InputError(
            f"{name} {text!r}: found lists of different lengths, expected numbers"
        ) from None
