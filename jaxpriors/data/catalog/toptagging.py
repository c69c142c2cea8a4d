"""The reference set of top tagging: pandas tables (PyTables' appendable format) of jets.

`table/table` is an array of records: `values_block_0`, 804 numbers, (E, px, py, pz) in GeV of 200
particles, zeros where there are fewer, and the top quark's; `values_block_1`: ttv, which tells the
file, and is_signal_new, 1 for top quarks. The names of the columns stand in attributes.
"""

from __future__ import annotations

import pickletools
from functools import partial
from pathlib import Path
from typing import Any

from jaxpriors.data.catalog.sets import DataSet, published
from jaxpriors.data.checks import located
from jaxpriors.data.events import Events
from jaxpriors.data.hdf5 import Source, check_filters, open_source
from jaxpriors.data.parts import Part, as_labels
from jaxpriors.errors import InputError

LABELS = ("QCD", "top")
TABLE, MOMENTA, FLAGS, LABEL = "table/table", "values_block_0", "values_block_1", "is_signal_new"
PARTICLES = 200
NAMES = tuple(f"{x}_{i}" for i in range(PARTICLES) for x in ("E", "PX", "PY", "PZ"))


def parts(path: Path) -> list[Part]:
    """Count the jets of a file."""
    with open_source(path) as source:
        events = len(_table(source))
    return [Part(path.name, events, partial(partial, read_toptagging, path))]


def read_toptagging(path: Path, start: int, stop: int) -> Events:
    """Read validated jets of a file, label 1 for top quarks; jets are the sums of their particles.

    Raises:
        InputError: no such table, columns of other names, compression that needs hdf5plugin, labels
            that are not 0 or 1, values that cannot be used.
    """
    with open_source(path) as source:
        table = _table(source)
        place = _names(table, FLAGS).index(LABEL)
        found = {name: number for number, name in enumerate(_names(table, MOMENTA))}
        columns = [found[name] for name in NAMES]
        try:
            rows = table[start:stop]
        except OSError as error:
            raise InputError(f"{path}: {TABLE} cannot be read ({error})") from None
    label = as_labels(f"{path}: {LABEL}", rows[FLAGS][:, place], start)
    p4 = rows[MOMENTA][:, columns].reshape(len(rows), PARTICLES, 4)
    with located(f"{path} ({TABLE}, events from {start})"):
        return Events.from_padded(p4, p4[..., 0] != 0, label=label)


def _table(source: Source) -> Any:
    """Find the array of records, not yet read; InputError where there is none of these columns."""
    table = source.arrays.get(TABLE)
    if table is None or not {MOMENTA, FLAGS} <= set(table.dtype.names or ()):
        raise InputError(
            f"{source.path}: found {source.found}; expected one pandas table, {TABLE!r} with "
            f"{MOMENTA!r} and {FLAGS!r}"
        )
    for block, wanted in ((MOMENTA, NAMES), (FLAGS, (LABEL,))):
        names = _names(table, block)
        missing = [name for name in wanted if name not in names]
        if missing or table.dtype[block].shape != (len(names),):
            raise InputError(
                f"{source.path}: {block} of {TABLE} is {table.dtype[block]} with columns "
                f"{names[:4]} …, expected {', '.join(wanted[:4])} … among them"
            )
    check_filters(source.path, table)
    return table


def _names(table: Any, block: str) -> list[str]:
    """Read the names of a block's columns: strings of the pickled list of pandas, not run."""
    kind = table.attrs.get(f"{block}_kind", b"")
    try:
        values = [value for _, value, _ in pickletools.genops(bytes(kind))]
    except ValueError:
        return []
    return [v.decode() if isinstance(v, bytes) else v for v in values if isinstance(v, str | bytes)]


SET = DataSet(
    name="toptagging",
    title="reference set of top tagging",
    homepage="https://doi.org/10.5281/zenodo.2603256",
    licence="CC BY 4.0",
    citation=(
        "G. Kasieczka, T. Plehn, J. Thompson, M. Russell, doi:10.5281/zenodo.2603256; "
        "A. Butter et al., arXiv:1902.09914"
    ),
    holds=(
        "anti-kT R = 0.8 jets of 550 < pT < 650 GeV at 14 TeV with Delphes, at most 200 "
        "particles, without identities"
    ),
    parts=parts,
    suffixes=(".h5",),
    samples=published("toptagging"),
    labels=LABELS,
)
