"""Samples that ship with the package: two Pythia variants of Z+jets, each at both levels."""

from __future__ import annotations

from pathlib import Path

from jaxpriors.data.events import Events
from jaxpriors.data.sample_files import read_events
from jaxpriors.errors import InputError

SAMPLES = ("simulation", "data")


def zjets_path(variant: str) -> Path:
    """Find the HDF5 file of 20 000 Z+jets events: `simulation` or `data`.

    Levels `particle` and `detector`, matched; layout: `jaxpriors.data.sample_files`. The files were
    made by `jaxpriors data simulate` (the command is in their metadata).

    Raises:
        InputError: another variant.
    """
    if variant not in SAMPLES:
        raise InputError(f"shipped sample {variant!r} is unknown; known: {', '.join(SAMPLES)}")
    return Path(__file__).parent / f"zjets_{variant}.h5"


def zjets(variant: str, level: str) -> Events:
    """Read the 20 000 Z+jets events of `zjets_path`, at level `particle` or `detector`.

    Columns: `z_pt` (GeV, generated), `parton` (PDG code of the hard parton).
    """
    return read_events(zjets_path(variant), level)
