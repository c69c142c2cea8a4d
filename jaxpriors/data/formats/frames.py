"""Awkward arrays and pandas frames as events."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from jaxpriors.data.events import Events
from jaxpriors.data.formats.entries import needed
from jaxpriors.data.formats.records import events_of
from jaxpriors.data.formats.tables import Table, as_one, plan_of, unread_of
from jaxpriors.data.reading import Reading
from jaxpriors.data.unread import account, listed, suspected, tell
from jaxpriors.errors import InputError

AWKWARD, PANDAS = "awkward array", "pandas frame"


def events_from_awkward(array: Any, **reading: Any) -> Events:
    """Make validated events of a record array, whose fields are the branches of a tree.

    Args:
        array: n entries; fields are flat, jagged or nested, those of records named with dots.
        reading: fields of `Reading`, such as columns, coordinates, group and cut
            (`jaxpriors.data.formats.records` says what the columns are).

    Raises:
        InputError: no record array, fields that are not there or do not go together, fields that
            look like weights, flags or labels and are not read, values that cannot be used.

    Examples:
        >>> import awkward
        >>> jets = awkward.Array({"pt": [[5.0, 3.0], [2.0]], "eta": [[0.1, 0.2], [0.3]],
        ...     "phi": [[0.0, 0.1], [0.2]], "w": [0.5, 1.5]})
        >>> events = events_from_awkward(
        ...     jets, columns={"pt": "pt", "eta": "eta", "phi": "phi", "weight": "w"})
        >>> events.multiplicity.tolist(), events.weight.tolist()
        ([2, 1], [0.5, 1.5])
    """
    _needs("awkward", AWKWARD)
    import awkward

    if not isinstance(array, awkward.Array) or not array.fields:
        raise InputError(
            f"{AWKWARD}: found {getattr(array, 'type', type(array).__name__)}, expected records "
            "with one field a branch"
        )
    leaves = dict(_leaves(array, ""))
    return _whole(AWKWARD, leaves, len(array), Reading(**reading))


def events_from_pandas(frame: Any, event: str | None = None, **reading: Any) -> Events:
    """Make validated events of a frame.

    Args:
        frame: with one row a constituent, or, without `event`, one row an event.
        event: the column of integers that tells the event of each constituent; what is one value
            an event, such as its weight, has the same in all its rows. They become the column
            `entry`, in the order in which they come first.
        reading: fields of `Reading`. By default, of one row an event, all columns of numbers
            become event-level columns, but for `weight` and `label`.

    Raises:
        InputError: columns that are not there or hold no numbers, rows of an event that differ
            where they should not, columns that look like weights, flags or labels and are not
            read, values that cannot be used.

    Examples:
        >>> import pandas
        >>> rows = pandas.DataFrame({"jet": [7, 7, 9], "pt": [5.0, 3.0, 2.0],
        ...     "eta": [0.1, 0.2, 0.3], "phi": [0.0, 0.1, 0.2], "weight": [0.5, 0.5, 1.5]})
        >>> events = events_from_pandas(rows, "jet")
        >>> events.multiplicity.tolist(), events.weight.tolist(), events.columns["entry"].tolist()
        ([2, 1], [0.5, 1.5], [7, 9])

        Features of one's own, without constituents:

        >>> jets = pandas.DataFrame({"tau21": [0.2, 0.4], "weight": [1.0, -0.5]})
        >>> events = events_from_pandas(jets)
        >>> events.columns["tau21"].tolist(), events.weight.tolist()
        ([0.2, 0.4], [1.0, -0.5])
    """
    _needs("awkward", PANDAS)
    how = Reading(**reading)
    return _by_event(frame, how) if event is None else _by_constituent(frame, event, how)


def _by_event(frame: Any, reading: Reading) -> Events:
    """Make events of one row each."""
    import awkward

    named = {str(name): frame[name] for name in frame.columns}
    columns = {
        name: awkward.Array(list(column)) if column.dtype == object else np.asarray(column)
        for name, column in named.items()
    }
    if not reading.columns:
        numbers = [name for name, column in columns.items() if column.ndim == 1]
        numbers = [name for name in numbers if np.asarray(columns[name]).dtype.kind in "biuf"]
        ours = [n for n in numbers if n in ("weight", "label") or not suspected(n)]
        account(PANDAS, columns, ours, reading.ignore, "weights are read from 'weight'")
        reading = reading.replace(columns={name: f"`{name}`" for name in ours})
    return _whole(PANDAS, columns, len(frame), reading)


def _by_constituent(frame: Any, event: str, reading: Reading) -> Events:
    """Make events of one row a constituent."""
    import awkward

    if event not in frame.columns:
        raise InputError(
            f"{PANDAS}: event: found no column {event!r}; there are {listed(frame.columns)}"
        )
    index = np.asarray(frame[event])
    if index.dtype.kind not in "iu":
        raise InputError(f"{PANDAS}: event {event!r}: found {index.dtype}, expected integers")
    _, first, inverse = np.unique(index, return_index=True, return_inverse=True)
    rank = np.argsort(np.argsort(first, kind="stable"))[inverse]
    order = np.argsort(rank, kind="stable")
    counts = np.bincount(rank)
    columns: dict[str, Any] = {}
    for name in frame.columns:
        if name != event:
            columns[str(name)] = awkward.unflatten(np.asarray(frame[name])[order], counts)
    table = _table(PANDAS, columns, len(counts))
    plan = plan_of(table, reading)
    inner = needed(plan.reading.columns[ours] for ours in plan.momenta)
    for name in set(needed(plan.reading.columns[ours] for ours in plan.per_jet)) - set(inner):
        lists = columns[name]
        if awkward.any(wrong := awkward.any(lists != lists[:, 0], axis=1), axis=0):
            place = int(np.argmax(awkward.to_numpy(wrong)))
            number = index[order][counts[:place].sum()]
            raise InputError(
                f"{PANDAS}: column {name!r}: found {lists[place].tolist()} in event {number}, "
                "expected one value in all rows of an event"
            )
        columns[name] = lists[:, 0]
    events = _whole(PANDAS, columns, len(counts), reading)
    numbers = np.asarray(index)[np.sort(first)]
    entry = numbers[events.columns["entry"]].astype(np.int64)
    return events._with(columns=events.columns | {"entry": entry})


def _whole(place: str, columns: dict[str, Any], entries: int, reading: Reading) -> Events:
    table = _table(place, columns, entries)
    plan = plan_of(table, reading)
    unread = unread_of(table, plan)
    events = events_of(plan, table.read(plan.branches, 0, entries), 0)
    tell(place, unread)
    return as_one([events])


def _table(place: str, columns: dict[str, Any], entries: int) -> Table:
    def read(names: Sequence[str], start: int, stop: int) -> dict[str, Any]:
        return {name: columns[name][start:stop] for name in names}

    return Table(place, tuple(columns), entries, read)


def _leaves(array: Any, before: str) -> Iterator[tuple[str, Any]]:
    """Find all fields, those of inner records by names with dots."""
    for name in array.fields:
        inner = array[name]
        if inner.fields:
            yield from _leaves(inner, f"{before}{name}.")
        else:
            yield before + name, inner


def _needs(package: str, place: str) -> None:
    if importlib.util.find_spec(package) is None:
        raise InputError(f"{place}: needs {package}: pip install 'jaxpriors[data]'")
