"""Entries of a table of branches: how they become events, and which jets they hold."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from jaxpriors.data.expressions import branch, dtype_of, evaluate, names, unguarded
from jaxpriors.data.reading import Reading
from jaxpriors.errors import InputError
from jaxpriors.physics import coordinates as col

PER_CONSTITUENT = ("p4", "pid", "mask")


@dataclass(frozen=True)
class Plan:
    """Hold how entries become events: everything is named, nothing is left to be recognised.

    Args:
        place: file and tree, for messages.
        reading: with all columns, and the coordinates of the momenta (None: there are none).
    """

    place: str
    reading: Reading

    @property
    def momenta(self) -> tuple[str, ...]:
        """Our names of the momenta: `p4`, the components, or none."""
        if "p4" in self.reading.columns:
            return ("p4",)
        return col.components(self.reading.coordinates) if self.reading.coordinates else ()

    @property
    def jet_momenta(self) -> tuple[str, ...]:
        """Our names of the jets' momenta: `jet_p4`, the components, or none."""
        if "jet_p4" in self.reading.columns:
            return ("jet_p4",)
        if self.reading.coordinates is None:
            return ()
        found = tuple(f"jet_{name}" for name in jet_axes(self.reading.coordinates))
        return found if set(found) & set(self.reading.columns) else ()

    @property
    def per_jet(self) -> tuple[str, ...]:
        """Our names of all that is one number (or array) a jet or an entry."""
        inner = {*PER_CONSTITUENT, *self.momenta}
        return tuple(name for name in self.reading.columns if name not in inner)

    @property
    def lead(self) -> str | None:
        """The expression that tells which constituents there are."""
        return self.reading.columns[self.momenta[0]] if self.momenta else None

    @property
    def where(self) -> tuple[str, ...]:
        """The branches that tell which jets there are, and which of them are wanted."""
        reading = self.reading
        return needed(
            [*map(reading.columns.get, self.per_jet), reading.group, reading.cut, self.lead]
        )

    @property
    def branches(self) -> tuple[str, ...]:
        """All branches that are read."""
        return needed([*self.reading.columns.values(), self.reading.group, self.reading.cut])


def jet_axes(coordinates: str) -> tuple[str, ...]:
    """Name the components of jets beside constituents in these coordinates."""
    return col.components(col.jet_coordinates(coordinates))


def needed(expressions: Iterable[str | None]) -> tuple[str, ...]:
    """Name the branches that some expressions need, each once."""
    return tuple(dict.fromkeys(n for text in expressions if text for n in names(text)))


@dataclass(frozen=True)
class Jets:
    """Tell which jets some entries hold.

    Args:
        first: number of the first entry.
        counts: (entries,) jets of each, before any cut.
        several: whether an entry can hold several.
        kept: (sum of counts,) bool, those that pass the cut.
    """

    first: int
    counts: np.ndarray
    several: bool
    kept: np.ndarray

    @property
    def entry(self) -> np.ndarray:
        """Of which entry each jet is, (jets,) int64, cut or not."""
        return self.first + np.repeat(np.arange(len(self.counts)), self.counts)

    @property
    def jet(self) -> np.ndarray:
        """Index of each jet in its entry, (jets,) int64."""
        starts = col.offsets_of(self.counts)[:-1]
        return np.arange(len(self.kept)) - np.repeat(starts, self.counts)

    def place(self, number: int) -> str:
        """Say where one of the jets is, for messages."""
        where = f"entry {self.entry[number]}"
        return f"{where}, jet {self.jet[number]}" if self.several else where


def find_jets(plan: Plan, arrays: Mapping[str, Any], first: int) -> Jets:
    """Tell which jets the entries hold, and which pass the cut.

    Args:
        plan: how entries become events.
        arrays: branch → awkward array of some entries, all of `plan.where`.
        first: number of the first entry.

    Raises:
        InputError: what is jagged does not belong together, an index beyond the jets, a cut that
            is no condition or looks at NaN.
    """
    reading = plan.reading
    values = {n: evaluate(reading.columns[n], arrays, first) for n in plan.per_jet}
    cut = None if reading.cut is None else _condition(reading.cut, arrays, first)
    entries = len(next(iter(arrays.values())))
    lists = [x for x in (*values.values(), cut) if depth(x) > 1]
    if plan.lead is None:
        ragged = [x for x in lists if not regular(x)]
        several = bool(ragged)
        counts = _lengths(ragged[0]) if several else np.ones(entries, np.int64)
    else:
        lead = evaluate(plan.lead, arrays, first)
        axes = depth(lead) - (plan.momenta == ("p4",))
        if axes not in (2, 3) or (axes == 3 and reading.group is not None):
            raise InputError(
                f"momenta {plan.lead!r}: found {lead.type if depth(lead) else lead}, expected a "
                "list of constituents in each entry, or of jets with constituents (without group)"
            )
        several = axes == 3 or reading.group is not None
        if axes == 3:
            counts = _lengths(lead)
        elif reading.group is None:
            counts = np.ones(entries, np.int64)
        else:
            counts = _grouped(plan, arrays, first, lists)
    jets = Jets(first, counts, several, np.ones(int(counts.sum()), bool))
    if cut is None:
        return jets
    kept = of_jets(f"cut {reading.cut!r}", cut, jets)
    return Jets(first, counts, several, kept.astype(bool))


def _grouped(plan: Plan, arrays: Mapping[str, Any], first: int, lists: list[Any]) -> np.ndarray:
    """Count the jets of each entry: by the first branch of jets, else by the largest index."""
    import awkward

    text = str(plan.reading.group)
    group = evaluate(text, arrays, first)
    if depth(group) != 2 or dtype_of(group).kind not in "iu":
        raise InputError(
            f"group {text!r}: found {getattr(group, 'type', group)}, expected one integer for each "
            "constituent"
        )
    highest = awkward.to_numpy(awkward.fill_none(awkward.max(group, axis=1), -1)).astype(np.int64)
    lowest = awkward.to_numpy(awkward.fill_none(awkward.min(group, axis=1), 0)).astype(np.int64)
    counts = _lengths(lists[0]) if lists else np.maximum(highest + 1, 0)
    for wrong, found in ((highest >= counts, highest), (lowest < -1, lowest)):
        if wrong.any():
            entry = int(np.argmax(wrong))
            raise InputError(
                f"group {text!r}: found {found[entry]} in entry {first + entry}, expected -1 (no "
                f"jet) to {counts[entry] - 1}, as there are {counts[entry]} jets"
            )
    return counts


def _condition(text: str, arrays: Mapping[str, Any], first: int) -> Any:
    """Compute a cut; InputError where it is no condition, or looks at values that are NaN."""
    import awkward

    for name in unguarded(text):
        found = branch(arrays, name)
        if dtype_of(found).kind == "f" and awkward.any(wrong := np.isnan(found), axis=None):
            while wrong.ndim > 1:
                wrong = awkward.any(wrong, axis=-1)
            flags = awkward.to_numpy(wrong)
            raise InputError(
                f"cut {text!r}: found NaN in {name!r} in entry {first + int(np.argmax(flags))} "
                f"({flags.sum()} such entries), expected numbers, or isfinite({name}) in the cut"
            )
    found = evaluate(text, arrays, first)
    if depth(found) == 0 or dtype_of(found).kind != "b":
        raise InputError(f"cut {text!r}: found a number, expected a condition, as in `x > 1`")
    return found


def of_jets(what: str, value: Any, jets: Jets, vectors: bool = False) -> np.ndarray:
    """Bring what is one a jet or one an entry to all jets: (jets,), or (jets, ...) of vectors."""
    import awkward

    if depth(value) == 0:
        return np.full(len(jets.kept), value)
    if depth(value) == 1:
        return np.repeat(awkward.to_numpy(value), jets.counts)
    if jets.several:
        lengths = _lengths(value)
        if (wrong := lengths != jets.counts).any():
            entry = int(np.argmax(wrong))
            raise InputError(
                f"{what}: found {lengths[entry]} values in entry {jets.first + entry}, expected "
                f"{jets.counts[entry]}, the number of its jets"
            )
        value = awkward.flatten(value)
    elif not (vectors and regular(value)):
        raise InputError(
            f"{what}: found several values an entry ({value.type}), expected one for each; choose "
            "one (`x[0]`) or join them (`sum(x)`, `any(x > 1)`)"
        )
    try:
        return awkward.to_numpy(value)
    except ValueError:
        raise InputError(
            f"{what}: found lists of different lengths, expected one number for each jet"
        ) from None


def depth(value: Any) -> int:
    """Count the axes of an awkward array; 0 for a number."""
    return getattr(value, "ndim", 0)


def regular(value: Any, inner: int = 1) -> bool:
    """Tell whether the lists of an array have a fixed size; inner: which axis, from the last."""
    sizes = str(value.type).split(" * ")[1 : value.ndim]
    return len(sizes) >= inner and sizes[-inner] != "var"


def _lengths(value: Any) -> np.ndarray:
    import awkward

    return awkward.to_numpy(awkward.num(value, axis=1)).astype(np.int64)
