"""Z+jets of EnergyFlow, the sample of OmniFold's paper: both levels, four generators."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from jaxpriors.data import unread
from jaxpriors.data.catalog.sets import DataSet, published
from jaxpriors.data.formats.energyflow import ARRAYS, read_levels, unread_arrays
from jaxpriors.data.hdf5 import Source, loaded, open_source
from jaxpriors.data.parts import Part, Reader
from jaxpriors.data.prepared import EventsOrLevels


def parts(path: Path) -> list[Part]:
    """Count the events of a file, which is read as a whole, and say what else it holds."""
    with open_source(path) as source:
        events = source.rows("gen_jets")
        unread.tell(path, unread_arrays(source))
    return [Part(path.name, events, partial(_open, path), piece=max(events, 1))]


def _open(path: Path) -> Reader:
    return partial(_read, loaded(path, ARRAYS))


def _read(source: Source, start: int, stop: int) -> EventsOrLevels:
    return read_levels(source, slice(start, stop))


SET = DataSet(
    name="zjets",
    title="Z+jets with Delphes, for unfolding",
    homepage="https://doi.org/10.5281/zenodo.3548091",
    licence="see its Zenodo record",
    citation=(
        "A. Andreassen, P. T. Komiske, E. M. Metodiev, B. Nachman, J. Thaler, arXiv:1911.09107; "
        "doi:10.5281/zenodo.3548091"
    ),
    holds=(
        "the hardest anti-kT R = 0.4 jet beside a Z boson of pT > 200 GeV at 14 TeV, at particle "
        "and detector level; identities; column z_pt (GeV); samples: Pythia 8.243 with three "
        "tunes, Herwig 7.1.5"
    ),
    parts=parts,
    suffixes=(".npz",),
    samples=published("zjets"),
    levels=("particle", "detector"),
    columns={"z_pt": "float32"},
    recipe="zjets",
)
