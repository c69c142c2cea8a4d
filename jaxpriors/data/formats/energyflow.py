"""The Z+jets samples of EnergyFlow (Zenodo 3548091): npz files with both levels of each event.

A file holds, for the particle level (`gen`) and the detector level (`sim`), among others

| array              | shape     | content                                                        |
|--------------------|-----------|----------------------------------------------------------------|
| `gen_particles`    | (n, P, 4) | pT / 100 GeV, y − y of the jet, φ − φ of the jet, code of the  |
|                    |           | identity; rows of pT = 0 are padding                           |
| `gen_jets`         | (n, 4)    | pT (GeV), y, φ, mass (GeV)                                     |
| `gen_Zs`           | (n, 3)    | pT (GeV), y, φ of the Z boson                                  |

as EnergyFlow's documentation (`energyflow.datasets.zjets_delphes`) describes them. Masses are those
of the identities. Jets are the sums of their constituents, as OmniLearn has them: the published
ones carry Delphes' jet energy correction at detector level.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np

from jaxpriors.data import unread
from jaxpriors.data.checks import located
from jaxpriors.data.events import Events
from jaxpriors.data.hdf5 import Source, open_source
from jaxpriors.errors import InputError

SAMPLES = {  # name → what the names of its files begin with
    "pythia21": "Pythia21_Zjet_pTZ-200GeV",
    "pythia25": "Pythia25_Zjet_pTZ-200GeV",
    "pythia26": "Pythia26_Zjet_pTZ-200GeV",
    "herwig": "Herwig_Zjet_pTZ-200GeV",
}
PREFIX = {"particle": "gen", "detector": "sim"}
ARRAYS = ("gen_Zs", *(f"{x}_{what}" for x in PREFIX.values() for what in ("jets", "particles")))
KNOWN = ("mults", "lhas", "widths", "ang2s", "tau2s", "sdms", "zgs")  # published, and not read
PT_UNIT = 100.0  # GeV
# The code of an identity in these files is its place here, divided by ten. What L-GATr is given
# are other codes of the same 14 particles, in another order (`preprocessing.tokens.IDENTITY`).
IDENTITIES = np.array(
    [22, 211, -211, 130, 11, -11, 13, -13, 321, -321, 2212, -2212, 2112, -2112], np.int32
)


def energyflow_files(folder: str | os.PathLike[str], sample: str) -> list[Path]:
    """List the files of a sample in a folder, in the order of their numbers.

    Raises InputError for an unknown sample and where there is no file.
    """
    if sample not in SAMPLES:
        raise InputError(f"sample: found {sample!r}, expected one of {', '.join(SAMPLES)}")
    pattern = re.compile(re.escape(SAMPLES[sample]) + r"_(\d+)\.npz")
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder, expected one with {SAMPLES[sample]}_0.npz …")
    found = {
        int(match[1]): path for path in folder.iterdir() if (match := pattern.fullmatch(path.name))
    }
    if not found:
        raise InputError(f"{folder}: holds no {SAMPLES[sample]}_0.npz …, the files of {sample}")
    return [found[number] for number in sorted(found)]


def read_energyflow(
    files: list[Path],
    events: int | None = None,
    progress: Callable[[int], None] = lambda done: None,
) -> dict[str, Events]:
    """Read both levels of the events in these files: {"particle": …, "detector": …}, matched.

    events: the first ones only. progress: called with how many are read. Column: `z_pt` (GeV).
    Raises InputError naming the file and array for one that is missing, of another shape, or holds
    values that cannot be used.
    """
    pieces: dict[str, list[Events]] = {level: [] for level in PREFIX}
    done = 0
    for path in files:
        if events is not None and done >= events:
            break
        with open_source(path) as source:
            unread.tell(path, unread_arrays(source))
            read = read_levels(source, slice(None if events is None else events - done))
        for level, sample in read.items():
            pieces[level].append(sample)
        done += len(read["particle"])
        progress(done)
    return {level: Events.concatenate(some) for level, some in pieces.items()}


def unread_arrays(source: Source) -> tuple[str, ...]:
    """Name what an open file holds beside what is published.

    Raises InputError where that looks like weights, labels or flags.
    """
    known = [f"{prefix}_{name}" for prefix in PREFIX.values() for name in KNOWN]
    return unread.account(source.path, source.arrays, [*ARRAYS, *known], places="there are none")


def read_levels(source: Source, chosen: slice) -> dict[str, Events]:
    """Read both levels of some of an open file's events; raises InputError as `read_energyflow`."""
    read = {level: _level(source, prefix, chosen) for level, prefix in PREFIX.items()}
    sizes = {level: len(sample) for level, sample in read.items()}
    if len(set(sizes.values())) > 1:
        raise InputError(f"{source.path}: found {sizes} events, expected as many at both levels")
    return read


def _level(source: Source, prefix: str, chosen: slice) -> Events:
    """Read one level of some of a file's events."""
    particles = source.read(f"{prefix}_particles")
    jets, z = source.read(f"{prefix}_jets"), source.read("gen_Zs")
    if not jets.ndim or particles.ndim != 3:
        raise InputError(
            f"{source.path}: {prefix}_particles and {prefix}_jets have the shapes "
            f"{particles.shape} and {jets.shape}, expected (n, P, 4) and (n, 4)"
        )
    for name, array, shape in (
        (f"{prefix}_particles", particles, (len(jets), *particles.shape[1:2], 4)),
        (f"{prefix}_jets", jets, (len(jets), 4)),
        ("gen_Zs", z, (len(jets), 3)),
    ):
        if array.shape != shape:
            raise InputError(f"{source.path}: {name} has shape {array.shape}, expected {shape}")
    particles, jets, z = particles[chosen], jets[chosen], z[chosen]
    place = np.round(10 * particles[..., 3])
    filled = particles[..., 0] != 0
    known = (
        (place >= 0) & (place < len(IDENTITIES)) & (np.abs(10 * particles[..., 3] - place) < 0.1)
    )
    if not known[filled].all():
        event = int(np.argmax((filled & ~known).any(axis=1)))
        code = particles[event][filled[event] & ~known[event]][0, 3]
        raise InputError(
            f"{source.path}: {prefix}_particles: event {event} has the identity {code:g}, expected "
            "0.0, 0.1, … 1.3"
        )
    momenta = particles[..., :3].astype(np.float64)
    momenta[..., 0] *= PT_UNIT
    momenta[..., 1:] += jets[:, None, 1:3]
    with located(f"{source.path} ({prefix})"):
        return Events.from_padded(
            momenta,
            filled,
            coordinates="pt,y,phi",
            pid=np.where(filled, IDENTITIES[np.where(known, place, 0).astype(int)], 0),
            columns={"z_pt": z[:, 0].astype(np.float32)},
        )
