"""Quark and gluon jets of EnergyFlow: npz files with the arrays X and y.

`X` (n, P, 4): pT (GeV), rapidity, azimuth, PDG code of each particle, rows of zeros where there are
fewer; `y` (n,): 1 for quarks, 0 for gluons (`energyflow.datasets.qg_jets`).
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from jaxpriors.data import unread
from jaxpriors.data.catalog.sets import DataSet, published
from jaxpriors.data.checks import located
from jaxpriors.data.events import Events
from jaxpriors.data.hdf5 import Source, loaded, open_source
from jaxpriors.data.parts import Part, Reader, as_labels
from jaxpriors.errors import InputError

LABELS = ("gluon", "quark")
ARRAYS = ("X", "y")
WIDTH = 4


def parts(path: Path) -> list[Part]:
    """Count the jets of a file, which is read as a whole, and say what else it holds (`unread`)."""
    with open_source(path) as source:
        jets = source.read("y").size
        left = unread.account(path, source.arrays, ARRAYS, places="labels are read from 'y'")
    unread.tell(path, left)
    return [Part(path.name, jets, partial(_open, path), piece=max(jets, 1))]


def _open(path: Path) -> Reader:
    return partial(read_quarkgluon, loaded(path, ARRAYS))


def read_quarkgluon(source: Source, start: int, stop: int) -> Events:
    """Read validated jets of an open file, label 1 for quarks; masses are those of the identities.

    Raises InputError naming the file and array for other shapes and values that cannot be used.
    """
    particles, label = source.read("X"), source.read("y")
    if particles.ndim != 3 or particles.shape[2] != WIDTH or label.shape != particles.shape[:1]:
        raise InputError(
            f"{source.path}: X has shape {particles.shape} and y {label.shape}, expected "
            f"(n, P, {WIDTH}) and (n,)"
        )
    particles, label = particles[start:stop], label[start:stop]
    label = as_labels(f"{source.path}: y", label, start)
    filled = particles[..., 0] != 0
    with located(f"{source.path} (X, events from {start})"):
        return Events.from_padded(
            particles[..., :3],
            filled,
            coordinates="pt,y,phi",
            pid=np.where(filled, particles[..., 3], 0),
            label=label,
        )


SET = DataSet(
    name="quarkgluon",
    title="quark and gluon jets",
    homepage="https://doi.org/10.5281/zenodo.3164691",
    licence="see its Zenodo record",
    citation=(
        "P. T. Komiske, E. M. Metodiev, J. Thaler, arXiv:1810.05165, doi:10.5281/zenodo.3164691 "
        "(Pythia); A. Pathak, P. T. Komiske, E. M. Metodiev, M. Schwartz, "
        "doi:10.5281/zenodo.3066475 (Herwig)"
    ),
    holds=(
        "anti-kT R = 0.4 jets of 500 < pT < 550 GeV beside an invisible Z boson at 14 TeV, "
        "particle level; identities; samples: Pythia 8.226 and Herwig 7.1.4 of light quarks, and "
        "Pythia 8.235 and Herwig 7.1.4 with c and b quarks (-bc)"
    ),
    parts=parts,
    suffixes=(".npz",),
    samples=published("quarkgluon"),
    labels=LABELS,
)
