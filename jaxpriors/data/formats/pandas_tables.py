"""Tables that pandas wrote into HDF5 files: the names of their columns, and their rows in ranges.

pandas has two formats, of which PyTables writes the arrays. The fixed one has a group with `axis0`
(the names in order), and for each type of number `block<i>_items` (names) and `block<i>_values`
(rows, columns). The appendable one (`format="table"`) has an array of records, `table`, of which a
field is a column or, with names in its attribute `<field>_kind`, a block of them. Names that are
not all strings are pickled: their opcodes are read, and nothing of them is run.
"""

from __future__ import annotations

import pickletools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jaxpriors.data.hdf5 import Source, check_filters
from jaxpriors.errors import InputError

Name = str | int
INDEX = "index"  # the field of an appendable table that holds the numbers of the rows


@dataclass(frozen=True)
class Column:
    """Say where a column is: in a dataset, or a field of it, and at which place there."""

    data: Any
    field: str | None
    place: int

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of its values."""
        dtype: np.dtype[Any] = self.data.dtype
        return dtype if self.field is None else dtype[self.field].base


@dataclass(frozen=True)
class Table:
    """Hold a table of an open file, not yet read.

    Args:
        path: of the file.
        name: of the table in it, which pandas calls its key.
        columns: where they are, by their names, in order.
    """

    path: Path
    name: str
    columns: Mapping[Name, Column]

    def __len__(self) -> int:
        """Count the rows."""
        numeric = (c.data for c in self.columns.values() if c.dtype.kind != "O")
        return len(next(numeric, ()))

    def read(self, names: Sequence[Name], start: int, stop: int) -> np.ndarray:
        """Read some columns, (rows from start to stop, names), in the type that holds them all.

        Raises InputError for columns that are not numbers, and compression that needs hdf5plugin.
        """
        places: dict[tuple[int, str | None], list[tuple[int, Column]]] = {}
        for target, name in enumerate(names):
            column = self.columns[name]
            if column.dtype.kind not in "biuf":
                raise InputError(
                    f"{self.path}: column {name!r} of {self.name!r} has dtype {column.dtype}, "
                    "expected numbers"
                )
            places.setdefault((id(column.data), column.field), []).append((target, column))
        rows = max(0, min(stop, len(self)) - start)
        dtype = np.result_type(*(some[0][1].dtype for some in places.values()))
        found = np.empty((rows, len(names)), dtype)
        for (_, field), some in places.items():
            data = some[0][1].data
            check_filters(self.path, data)
            block = np.asarray(
                (data if field is None else data.fields(field))[start : start + rows]
            )
            wanted = [column.place for _, column in some]
            found[:, [target for target, _ in some]] = block.reshape(rows, -1)[:, wanted]
        return found


def tables(source: Source) -> list[Table]:
    """Find the tables of an open file; none where pandas wrote none.

    Raises InputError for a table whose names cannot be understood.
    """
    found = []
    for name, data in source.arrays.items():
        group, _, last = name.rpartition("/")
        if last == "axis0":
            found.append(_fixed(source, group))
        elif last == "table" and getattr(data.dtype, "names", None):
            found.append(_appendable(source, group, data))
    return found


def one_table(source: Source) -> Table:
    """Find the one table of an open file; InputError where there is another number of them."""
    found = tables(source)
    if len(found) != 1:
        several = f" tables {', '.join(repr(table.name) for table in found)}" if found else ""
        raise InputError(
            f"{source.path}: found{several or f' {source.found}'}; expected one pandas table"
        )
    return found[0]


def names_in_pickle(data: bytes) -> list[Name]:
    """List the strings and integers of the last list in a pickle; nothing in it is run.

    Gives none where that list holds anything else.

    >>> import pickle
    >>> names_in_pickle(pickle.dumps([(1, ["pt", b"eta", 700])]))
    ['pt', 'eta', 700]
    """
    found: list[Name] = []
    known: dict[int, Any] = {}
    last: Any = None
    inside = False
    try:
        for operation, value, _ in pickletools.genops(data):
            code = operation.name
            if code in ("EMPTY_LIST", "LIST"):
                found, inside, last = [], True, None
            elif code == "MEMOIZE" or code.endswith("PUT"):
                known[len(known) if value is None else int(value)] = last
            elif code not in _TRANSPARENT:
                last = known.get(int(value or 0)) if code in _FETCHED else value
                if inside and isinstance(last, str | bytes | int) and code not in _CALLED:
                    found.append(_text(last))
                elif inside:
                    found, inside = found if code in _CLOSING else [], False
    except ValueError:
        return []
    return found


_TRANSPARENT = ("MARK", "APPEND", "APPENDS", "FRAME")
_FETCHED = ("GET", "BINGET", "LONG_BINGET")
_CLOSING = ("TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "BUILD", "STOP")
_CALLED = ("GLOBAL", "INST", "PERSID", "EXT1", "EXT2", "EXT4")  # whose argument is no value


def _text(name: Any) -> Name:
    return name.decode(errors="replace") if isinstance(name, bytes) else name


def _fixed(source: Source, group: str) -> Table:
    """Describe a table in the fixed format."""
    where = f"{group}/" if group else ""
    columns: dict[Name, Column] = {}
    numbers = (re.fullmatch(re.escape(where) + r"block(\d+)_values", n) for n in source.arrays)
    for number in sorted(int(match[1]) for match in numbers if match):
        values, items = f"{where}block{number}_values", f"{where}block{number}_items"
        [data, listed] = source.datasets(values, items)
        names = _axis(source.path, listed)
        if data.dtype.kind == "O":  # strings, all in one pickle
            columns |= {name: Column(data, None, 0) for name in names}
            continue
        if len(data.shape) != 2 or data.shape[1] != len(names) or columns.keys() & set(names):
            raise InputError(
                f"{source.path}: {values!r} is {data.dtype}{list(data.shape)} and has the columns "
                f"{_some(names)}; expected (rows, columns), each name once"
            )
        columns |= {name: Column(data, None, place) for place, name in enumerate(names)}
    ordered = _axis(source.path, source.arrays[f"{where}axis0"])
    if set(ordered) != set(columns):
        raise InputError(
            f"{source.path}: the columns of {group!r} are {_some(ordered)} and those of its blocks "
            f"{_some(columns)}, expected the same"
        )
    rows = {len(column.data) for column in columns.values() if column.dtype.kind != "O"}
    index = source.arrays.get(f"{where}axis1")
    if index is not None and index.dtype.kind != "O":
        rows.add(index.size)
    if len(rows) > 1:
        raise InputError(
            f"{source.path}: {group!r} has an index and blocks of {sorted(rows)} rows, expected as "
            "many in all"
        )
    return Table(source.path, group, {name: columns[name] for name in ordered})


def _appendable(source: Source, group: str, data: Any) -> Table:
    """Describe a table of records."""
    columns: dict[Name, Column] = {}
    for field in data.dtype.names:
        if field == INDEX:
            continue
        kind, shape = data.dtype[field], data.dtype[field].shape
        names = names_in_pickle(_bytes(data.attrs.get(f"{field}_kind"))) or [field]
        if shape not in ((), (len(names),)) or columns.keys() & set(names):
            raise InputError(
                f"{source.path}: {field!r} of {group!r} is {kind} and has the columns "
                f"{_some(names)}; expected as many, each name once"
            )
        if data.attrs.get(f"{field}_meta") == b"category":  # whose numbers are places in a list
            raise InputError(
                f"{source.path}: {_some(names)} of {group!r} is a column of categories, expected "
                "numbers"
            )
        columns |= {name: Column(data, field, place) for place, name in enumerate(names)}
    axes = source.attributes.get(group, {}).get("non_index_axes")
    ordered = names_in_pickle(_bytes(axes))
    order = ordered if set(ordered) == set(columns) else list(columns)
    return Table(source.path, group, {name: columns[name] for name in order})


def _axis(path: Path, data: Any) -> list[Name]:
    """Read the names of an axis: numbers, strings, or a pickle of both."""
    check_filters(path, data)
    found = np.asarray(data[()])
    if found.dtype.kind == "O":
        raw = found.reshape(-1)[0] if found.size else b""
        return names_in_pickle(bytes(raw))
    if found.dtype.kind in "iu":
        return [int(name) for name in found.reshape(-1)]
    return [_text(name) if isinstance(name, bytes) else str(name) for name in found.reshape(-1)]


def _bytes(attribute: Any) -> bytes:
    """Make bytes of an attribute that PyTables pickled; empty where it is something else."""
    if isinstance(attribute, np.void):
        return attribute.tobytes()
    return bytes(attribute) if isinstance(attribute, bytes) else b""


def _some(names: Iterable[Name]) -> str:
    names = list(names)
    if not names:
        return "no names that can be read"
    return f"{', '.join(map(str, names[:4]))}{' …' if len(names) > 4 else ''} ({len(names)})"
