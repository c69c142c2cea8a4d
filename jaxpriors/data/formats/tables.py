"""Tables of branches: how a `Reading` fits one, and its events in blocks of entries."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from jaxpriors.data.checks import located
from jaxpriors.data.events import PASS, Events
from jaxpriors.data.expressions import names, unknown
from jaxpriors.data.formats.entries import PER_CONSTITUENT, Jets, Plan, find_jets, jet_axes
from jaxpriors.data.formats.known_trees import recognise
from jaxpriors.data.reading import Reading
from jaxpriors.data.unread import FLAGS, OURS, account, listed
from jaxpriors.errors import InputError
from jaxpriors.physics import coordinates as col

BLOCK = 2**24  # bytes of branches that are read at once; events need some ten times as many
PROBED = 1000  # entries whose size tells that of the others
RESERVED = ("entry", "jet")  # columns that tell where an event was
ALWAYS = ("pid", "mask", "multiplicity", "weight", "label", "jet_p4")  # ours, in any coordinates


@dataclass(frozen=True)
class Table:
    """Hold an open table.

    Args:
        place: the file (and the tree), for messages.
        branches: names of all that can be read.
        entries: how many there are.
        read: some branches of a range of entries, as awkward arrays.
        counters: branch → the one that counts its elements, which nobody needs to read.
    """

    place: str
    branches: tuple[str, ...]
    entries: int
    read: Callable[[Sequence[str], int, int], dict[str, Any]]
    counters: Mapping[str, str] = dataclasses.field(default_factory=dict)


def plan_of(table: Table, reading: Reading) -> Plan:
    """Find what is to be read of a table; where no momenta are named, its layout is recognised.

    Raises:
        InputError: branches that are not there, names that are not ours, a layout that is not
            known, coordinates that do not fit the names of the components.
    """
    with located(table.place):
        named = dict(reading.columns)
        coordinates = _coordinates(named, reading.coordinates)
        if coordinates is None and "p4" not in named:
            fitting, guess = recognise({*table.branches} - {*table.counters.values()})
            features = set(named) - {*ALWAYS}
            if len(fitting) == 1 and reading.group is None:
                found = fitting[0].fields()
                reading = reading.replace(**found | {"columns": found["columns"] | named})
                coordinates = reading.coordinates
            elif not features or reading.group is not None or reading.coordinates is not None:
                example = guess.options if guess else "--columns pt PT eta ETA phi PHI m MASS"
                raise InputError(
                    f"no momenta are named and the branches are not those of a tree that is known; "
                    f"there are {listed(sorted(table.branches))}; expected them to be named, as in "
                    f"{example}"
                )
        plan = Plan(table.place, reading.replace(coordinates=coordinates))
        _check_names(plan)
        expressions = [*plan.reading.columns.values(), plan.reading.group, plan.reading.cut]
        for text in filter(None, expressions):
            for name in names(text):
                if name not in table.branches:
                    raise InputError(unknown(text, name, table.branches))
        if not plan.branches:
            raise InputError("columns: found no branch in any of them, expected some")
    return plan


def _coordinates(named: Mapping[str, str], given: str | None) -> str | None:
    """Find the coordinates whose components are named; None where none are."""
    if "p4" in named:
        if given is None:
            raise InputError(
                f"p4: found no coordinates, expected one of {', '.join(map(repr, col.COORDINATES))}"
            )
        return given
    found = {*col.AXES} & set(named)
    if not found:
        return None
    system = col.of_names(found) if given is None else given
    if system is None or set(col.components(system)) - {col.IDENTITY} != found:
        raise InputError(
            f"columns: found the components {', '.join(sorted(found))}, expected those of "
            f"{given or 'one of ' + ', '.join(map(repr, col.COORDINATES))}"
        )
    return ",".join(axis for axis in col.components(system) if axis != col.IDENTITY)


def _check_names(plan: Plan) -> None:
    """Raise InputError for names that are reserved, or those of jets that do not fit."""
    named = plan.reading.columns
    for name in RESERVED:
        if name in named:
            raise InputError(
                f"columns: found {name!r}, which is the column that tells where an event was; "
                "expected another name"
            )
    if plan.reading.coordinates is None:
        wrong = sorted({*PER_CONSTITUENT, "multiplicity", "jet_p4"} & set(named))
        if wrong:
            raise InputError(f"columns: found {', '.join(wrong)} without momenta, expected both")
        return
    axes = jet_axes(plan.reading.coordinates)
    every = {f"jet_{axis}" for axis in col.AXES}
    given, wanted = every & set(named), {f"jet_{axis}" for axis in axes}
    if given and (given != wanted or "jet_p4" in named):
        raise InputError(
            f"columns: found {', '.join(sorted(given))} of the jets, expected "
            f"{', '.join(f'jet_{axis}' for axis in axes)}, as the constituents are in "
            f"{plan.reading.coordinates} (expressions can convert them)"
        )


def unread_of(table: Table, plan: Plan) -> tuple[str, ...]:
    """Name the branches that are not read; raise InputError where they look as if they mattered."""
    counters = {name for name in table.counters.values() if not plan.reading.ignores(name)}
    return account(
        table.place,
        [name for name in table.branches if name not in counters],
        plan.branches,
        plan.reading.ignore,
        "event weights are read from the branch that the column `weight` names",
        settled(plan.reading),
    )


def settled(reading: Reading) -> set[str]:
    """Tell of which kinds of branches the user has chosen one; a cut is a choice of flags."""
    found = {kind for kind, ours in OURS.items() if ours in reading.columns}
    flags = {*PASS.values()} & reading.columns.keys() or reading.cut
    return found | {FLAGS} if flags else found


def blocks_of(table: Table, plan: Plan) -> Iterator[tuple[int, int]]:
    """Divide the entries into ranges (start, stop) of about `BLOCK` bytes."""
    import awkward

    probed = min(table.entries, PROBED)
    if not probed:
        return
    arrays = table.read(plan.branches, 0, probed).values()
    each = max(sum(awkward.to_packed(array).nbytes for array in arrays) / probed, 1)
    size = max(int(BLOCK / each), 1)
    for start in range(0, table.entries, size):
        yield start, min(start + size, table.entries)


def jets_of(table: Table, plan: Plan, start: int, stop: int) -> Jets:
    """Tell which jets a range of entries holds, reading what tells it alone."""
    with located(table.place):
        return find_jets(plan, table.read(plan.where, start, stop), start)


def counts_of(table: Table, plan: Plan) -> list[tuple[int, int, int]]:
    """Count the events of each block: (start, stop, events); those without any are left out.

    Where each entry is one event, nothing but its first ones is read.

    Raises InputError for no event at all.
    """
    found = []
    blocks = list(blocks_of(table, plan))
    simple = plan.reading.cut is None and not (blocks and jets_of(table, plan, 0, 1).several)
    for start, stop in blocks:
        events = stop - start
        if not simple:
            events = int(np.sum(jets_of(table, plan, start, stop).kept))
        if events:
            found.append((start, stop, events))
    if not found:
        cut = f" that pass the cut {plan.reading.cut!r}" if plan.reading.cut else ""
        raise InputError(
            f"{table.place}: found no jets{cut} in {table.entries} entries, expected some"
        )
    return found


def as_one(blocks: Sequence[Events]) -> Events:
    """Join the events of all blocks, and look at what one block alone cannot tell."""
    return Events.concatenate(blocks).validate()
