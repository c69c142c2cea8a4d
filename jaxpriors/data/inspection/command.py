"""The command that reads a file, as far as its names tell."""

from __future__ import annotations

import shlex
from pathlib import Path

from jaxpriors.data.hdf5 import open_source
from jaxpriors.data.inspection.layouts import OURS, PREPARED, TREE
from jaxpriors.data.reading import Reading
from jaxpriors.errors import InputError
from jaxpriors.physics import coordinates as col

# what the last part of a name may be, in lower case → our name
SYNONYMS = {
    "p4": ("p4", "momenta", "constituents", "particles", "p4s", "fourmomenta"),
    "pt": ("pt", "p_t", "transverse_momentum"),
    "eta": ("eta",),
    "y": ("y", "rapidity"),
    "phi": ("phi",),
    "m": ("m", "mass"),
    "E": ("e", "energy", "en"),
    "px": ("px",),
    "py": ("py",),
    "pz": ("pz",),
    "pid": ("pid", "pdgid", "pdg_id", "pdg"),
    "mask": ("mask", "valid"),
    "multiplicity": ("multiplicity", "n", "nconst", "nparticles"),
    "weight": ("weight", "weights", "mc_weight", "event_weight", "genweight", "mcweight"),
    "label": ("label", "labels", "is_signal"),
    "pass_reco": ("pass_reco",),
    "pass_gen": ("pass_gen",),
}
CONVERTED = {"zjets": "energyflow"}  # names of layouts where `data convert` has another


def command_for(path: Path, layout: str, reading: Reading) -> str | None:
    """Write the command that reads a file of a layout (of `layouts.LAYOUTS`, or unknown).

    None where nothing can be told.
    """
    file = shlex.quote(str(path))
    if layout in (OURS, PREPARED, TREE):
        return f"jaxpriors reweight {file} DATA --out RUN{_options(reading)}"
    if layout == "unknown":
        columns = _guessed(path)
        if not columns:
            return None
        words = " ".join(f"{ours} {shlex.quote(theirs)}" for ours, theirs in columns.items())
        return f"jaxpriors data convert {file} OUT.h5 --columns {words}"
    return f"jaxpriors data prepare {layout} --files {file} --folder FOLDER"


def _options(reading: Reading) -> str:
    """Write the options that a reading differs by."""
    found = []
    if reading.columns:
        words = (f"{ours} {shlex.quote(theirs)}" for ours, theirs in reading.columns.items())
        found.append(f"--columns {' '.join(words)}")
    for name in ("level", "coordinates", "padding", "tree", "group", "cut"):
        value = getattr(reading, name)
        if value is not None:
            found.append(f"--{name} {shlex.quote(str(value))}")
    if reading.unit != "GeV":
        found.append(f"--unit {reading.unit}")
    if reading.ignore:
        found.append(f"--ignore {shlex.join(reading.ignore)}")
    if reading.identities == "ignore":
        found.append("--identities ignore")
    elif not isinstance(reading.identities, str):
        found.append("--identities " + " ".join(f"{a}={b}" for a, b in reading.identities.items()))
    return "".join(f" {each}" for each in found)


def _guessed(path: Path) -> dict[str, str]:
    """Guess which arrays of a file are what, by the last parts of their names."""
    try:
        with open_source(path) as source:
            names = sorted(source.arrays)
    except InputError:
        return {}
    found: dict[str, str] = {}
    for ours, theirs in SYNONYMS.items():
        fitting = [n for n in names if n.split("/")[-1].lower() in theirs]
        if len(fitting) == 1:
            found[ours] = fitting[0]
    whole = any({*base} <= found.keys() for base in col.BASES)
    if "p4" in found:
        return {n: at for n, at in found.items() if n not in {*"Em", "pt", "eta", "y", "phi"}}
    return found if whole else {}
