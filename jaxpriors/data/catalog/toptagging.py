"""The reference set of top tagging: jets of up to 200 particles, a pandas table in HDF5.

The table has the columns E_0, PX_0, PY_0, PZ_0, … PZ_199 (GeV), zeros where there are fewer
particles, and those of the top quark (truthE, …); ttv, which tells the file, and is_signal_new, 1
for top quarks. Columns are found by their names.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from jaxpriors.data import unread
from jaxpriors.data.catalog.sets import DataSet, published
from jaxpriors.data.checks import located
from jaxpriors.data.events import Events
from jaxpriors.data.formats.pandas_tables import Table, one_table
from jaxpriors.data.hdf5 import Source, open_source
from jaxpriors.data.parts import Part, as_labels
from jaxpriors.errors import InputError

LABELS = ("QCD", "top")
LABEL = "is_signal_new"
PARTICLES = 200
NAMES = tuple(f"{x}_{i}" for i in range(PARTICLES) for x in ("E", "PX", "PY", "PZ"))
KNOWN = ("truthE", "truthPX", "truthPY", "truthPZ", "ttv")  # published, and not read


def parts(path: Path) -> list[Part]:
    """Count the jets of a file, and say what else it holds (`unread`)."""
    with open_source(path) as source:
        table = _table(source)
        names = [str(name) for name in table.columns]
        left = unread.account(path, names, [*NAMES, LABEL, *KNOWN], places=f"labels: {LABEL}")
        unread.tell(path, left)
        events = len(table)
    return [Part(path.name, events, partial(partial, read_toptagging, path))]


def read_toptagging(path: Path, start: int, stop: int) -> Events:
    """Read validated jets of a file, label 1 for top quarks; jets are the sums of their particles.

    Raises:
        InputError: no such table, columns of other names, compression that needs hdf5plugin, labels
            that are not 0 or 1, values that cannot be used.
    """
    with open_source(path) as source:
        table = _table(source)
        p4, label = table.read(NAMES, start, stop), table.read([LABEL], start, stop)[:, 0]
    label = as_labels(f"{path}: {LABEL}", label, start)
    p4 = p4.reshape(len(p4), PARTICLES, 4)
    with located(f"{path} ({table.name}, events from {start})"):
        return Events.from_padded(p4, p4[..., 0] != 0, label=label)


def _table(source: Source) -> Table:
    """Find the table, not yet read; InputError where there is none with these columns."""
    table = one_table(source)
    missing = [name for name in (*NAMES, LABEL) if name not in table.columns]
    if missing:
        raise InputError(
            f"{source.path}: {table.name!r} has no column {unread.listed(missing)}; found "
            f"{unread.listed(map(str, table.columns))}"
        )
    return table


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
