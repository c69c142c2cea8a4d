"""Parquet files as tables of branches (`pyarrow`)."""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from jaxpriors.data.formats.tables import Table
from jaxpriors.data.reading import Reading
from jaxpriors.errors import InputError, one_line

BATCH = 10_000  # rows of a large row group that are decoded at once


@contextlib.contextmanager
def table(path: Path, reading: Reading) -> Iterator[Table]:
    """Open a parquet file; columns within structures are named with dots.

    Raises InputError for a file that cannot be read, and where pyarrow or awkward are missing.
    """
    for package in ("pyarrow", "awkward"):
        if importlib.util.find_spec(package) is None:
            raise InputError(f"{path}: parquet files need {package}: pip install 'jaxpriors[data]'")
    import pyarrow
    import pyarrow.parquet

    if reading.tree is not None:
        raise InputError(f"{path}: tree: found {reading.tree!r}, expected none of a parquet file")
    try:
        file = pyarrow.parquet.ParquetFile(path)
        schema = file.schema_arrow
        entries = file.metadata.num_rows
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise InputError(
            f"{path}: is no parquet file that can be read ({one_line(error)})"
        ) from None
    with contextlib.closing(file):
        leaves = list(_leaves(schema, ""))
        paths = [file.schema.column(i).path for i in range(len(file.schema))]
        known = dict(zip(leaves, paths, strict=False)) if len(leaves) == len(paths) else {}

        def read(names: Sequence[str], start: int, stop: int) -> dict[str, Any]:
            try:
                return {n: _column(file, n, known.get(n), start, stop) for n in names}
            except (pyarrow.ArrowException, OSError, ValueError, TypeError) as error:
                raise InputError(f"{path}: cannot be read: damaged ({one_line(error)})") from None

        yield Table(str(path), tuple(leaves), entries, read)


def _leaves(fields: Any, before: str) -> Iterator[str]:
    """Name all columns, those of structures with dots."""
    import pyarrow

    for field in fields:
        kind = field.type
        while pyarrow.types.is_list(kind) or pyarrow.types.is_large_list(kind):
            kind = kind.value_type
        if pyarrow.types.is_struct(kind):
            yield from _leaves(list(kind), f"{before}{field.name}.")
        else:
            yield before + field.name


def _column(file: Any, name: str, stored: str | None, start: int, stop: int) -> Any:
    """Read one column of a range of rows; stored: what the file calls it, None for the whole."""
    import awkward
    import pyarrow

    top, *inner = _path(file.schema_arrow, name)
    tables = []
    first = 0
    for group in range(file.num_row_groups):
        rows = file.metadata.row_group(group).num_rows
        if first < stop and first + rows > start:
            low, high = max(start - first, 0), min(stop - first, rows)
            tables += _rows(file, group, stored or top, low, high)
        first += rows
    if not tables:
        whole = file.schema_arrow.empty_table().select([top])
    else:
        whole = pyarrow.concat_tables(tables)
    array = awkward.from_arrow(whole[top])
    for part in inner:
        array = array[part]
    return array


def _rows(file: Any, group: int, stored: str, start: int, stop: int) -> list[Any]:
    """Read one column of some rows of a row group, decoding no more than needed at once."""
    import pyarrow

    found = []
    first = 0
    for batch in file.iter_batches(BATCH, row_groups=[group], columns=[stored]):
        if first < stop and first + len(batch) > start:
            low, high = max(start - first, 0), min(stop - first, len(batch))
            found.append(pyarrow.Table.from_batches([batch.slice(low, high - low)]))
        first += len(batch)
        if first >= stop:
            break
    return found


def _path(schema: Any, name: str) -> list[str]:
    """Divide a name into that of the column and those within structures."""
    if name in schema.names:
        return [name]
    top = next(n for n in schema.names if name.startswith(f"{n}."))
    return [top, *name.removeprefix(f"{top}.").split(".")]
