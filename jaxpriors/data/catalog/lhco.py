"""The R&D set of the LHC Olympics: particles of whole events, clustered into two jets."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from jaxpriors.data.catalog.sets import DataSet, published
from jaxpriors.data.dijets import COLUMNS, FIRST
from jaxpriors.data.formats.lhco import lhco_rows, read_lhco_events
from jaxpriors.data.parts import Part
from jaxpriors.data.prepared import EventsOrLevels
from jaxpriors.data.simulation.lhco import LABELS

ROWS = 10_000  # that are clustered for one piece


def parts(path: Path) -> list[Part]:
    """Count the rows of the table; those without two jets give no event."""
    return [Part(path.name, lhco_rows(path), partial(partial, _read, path), piece=ROWS)]


def _read(path: Path, start: int, stop: int) -> EventsOrLevels:
    return read_lhco_events(path, start=start, stop=stop, may_be_empty=True)


SET = DataSet(
    name="lhco",
    title="R&D set of the LHC Olympics 2020",
    homepage="https://doi.org/10.5281/zenodo.4536377",
    licence="CC BY 4.0",
    citation=(
        "G. Kasieczka, B. Nachman, D. Shih, doi:10.5281/zenodo.4536377; "
        "G. Kasieczka et al., arXiv:2101.08320"
    ),
    holds=(
        "the two hardest anti-kT R = 1.0 jets of each event at 13 TeV, clustered here (needs "
        "fastjet); no identities; columns of two-jet events; the file of record 6466204, the "
        "newest version of 4536377"
    ),
    parts=parts,
    suffixes=(".h5",),
    samples=published("lhco"),
    labels=LABELS,
    columns={name: "int64" if name == FIRST else "float32" for name in COLUMNS},
    recipe="lhco",
)
