"""JetNet: jets of five kinds, their hardest particles relative to the jet.

| dataset             | shape     | content                                                       |
|---------------------|-----------|---------------------------------------------------------------|
| `particle_features` | (N, P, 4) | η − η of the jet, φ − φ of the jet, pT / pT of the jet, mask  |
| `jet_features`      | (N, 4)    | pT (GeV), η, mass (GeV), number of particles                  |

A file holds one kind, which its name tells: `g.hdf5`, `q150.hdf5`, … (P is 30 or 150).
"""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from jaxpriors.data import unread
from jaxpriors.data.catalog.sets import DataSet, published
from jaxpriors.data.checks import located, refuse
from jaxpriors.data.events import Events
from jaxpriors.data.hdf5 import Source, open_source
from jaxpriors.data.parts import Part
from jaxpriors.errors import InputError

LABELS = ("gluon", "quark", "top", "W", "Z")
KINDS = "gqtwz"  # what names of files begin with, in the order of the labels
ARRAYS = ("particle_features", "jet_features")
WIDTH = 4
MASS_TOLERANCE = 1e-3  # negative masses this small, relative to pT, are put down to rounding


def parts(path: Path) -> list[Part]:
    """Count the jets of a file, and say what else it holds (`unread`)."""
    label_of(path)
    with open_source(path) as source:
        events = len(_open_arrays(source)[1])
        left = unread.account(path, source.arrays, ARRAYS, places="the file's name is the label")
        unread.tell(path, left)
    return [Part(path.name, events, partial(partial, read_jetnet, path))]


def label_of(path: Path) -> int:
    """Find the label of a file's jets; InputError where its name does not say."""
    match = re.fullmatch(rf"([{KINDS}])\d*", path.stem)
    if match is None:
        names = ", ".join(f"{kind}.hdf5" for kind in KINDS)
        raise InputError(
            f"{path}: the name tells the kind of jet, expected {names} or {KINDS[0]}150.hdf5 …"
        )
    return KINDS.index(match[1])


def _open_arrays(source: Source) -> tuple[Any, Any]:
    """particle_features and jet_features, not yet read, their shapes compared."""
    particles, jets = source.datasets(*ARRAYS)
    if (
        particles.ndim != 3
        or particles.shape[2] != WIDTH
        or jets.shape != (particles.shape[0], WIDTH)
        or {particles.dtype.kind, jets.dtype.kind} - set("iuf")
    ):
        raise InputError(
            f"{source.path}: particle_features is {particles.dtype}{list(particles.shape)} and "
            f"jet_features {jets.dtype}{list(jets.shape)}, expected numbers (N, P, {WIDTH}) and "
            f"(N, {WIDTH})"
        )
    return particles, jets


def read_jetnet(path: Path, start: int, stop: int) -> Events:
    """Read validated jets of a file, particles massless; azimuths are relative to the jet's.

    Raises InputError naming the file and dataset for other shapes and values that cannot be used.
    """
    with open_source(path) as source:
        data, jet_data = _open_arrays(source)
        particles = np.asarray(data[start:stop], np.float64)
        jets = np.asarray(jet_data[start:stop], np.float64)
    mask = particles[..., 3]
    other = np.asarray(~np.isin(mask, (0, 1)).all(axis=1))
    refuse(path, start + np.arange(len(mask)), other, "has a mask that is neither 0 nor 1")
    filled = mask == 1
    pt, eta, mass = jets[:, 0], jets[:, 1], jets[:, 2]
    bad = ~np.isfinite(jets).all(axis=1) | (pt <= 0) | (mass < -MASS_TOLERANCE * pt)
    if bad.any():
        event = int(np.argmax(bad))
        raise InputError(
            f"{path}: jet_features of event {start + event} ({bad.sum()} such events) are "
            f"{jets[event].tolist()}, expected finite numbers, pT > 0 and no negative mass"
        )
    momenta = np.stack(
        [particles[..., 2] * pt[:, None], particles[..., 0] + eta[:, None], particles[..., 1]],
        axis=-1,
    )
    kinematic = np.stack([pt, eta, np.zeros_like(pt), np.maximum(mass, 0)], axis=-1)
    with located(f"{path} (particle_features, events from {start})"):
        return Events.from_padded(
            momenta,
            filled,
            coordinates="pt,eta,phi",
            jet_p4=kinematic,
            label=np.full(len(jets), label_of(path), np.int32),
        )


SET = DataSet(
    name="jetnet",
    title="JetNet, jets of 30 particles",
    homepage="https://doi.org/10.5281/zenodo.6975118",
    licence="CC BY 4.0",
    citation=("R. Kansal et al., arXiv:2106.11535; R. Kansal et al., doi:10.5281/zenodo.6975118"),
    holds=(
        "anti-kT R = 0.8 jets of about 1 TeV at 13 TeV, their 30 hardest particles, without "
        "identities, masses and the azimuth of the jet; files of JetNet150 are read too"
    ),
    parts=parts,
    suffixes=(".hdf5",),
    samples=published("jetnet"),
    labels=LABELS,
)
