"""Samples in MeV where GeV are expected: refused where two differ, told where one looks so."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from itertools import combinations

from jaxpriors.data.events import Events
from jaxpriors.errors import InputError
from jaxpriors.physics.units import Scale, thousandfold, unit_of

REMEDY = "`--unit MeV` reads a file in MeV, here or in `jaxpriors data convert`"


class Unit(UserWarning):
    """Say that a sample is probably not in GeV."""


def check_units(samples: Mapping[str, Events]) -> None:
    """Compare the energies of samples, by name, with each other and with what GeV can be.

    Warns (`Unit`) of samples that are probably in MeV (`physics.units.unit_of`). Raises InputError
    for two whose median jet pT differ by a factor between 300 and 3000.
    """
    scales = {name: Scale.of(events.jet_p4, events.p4) for name, events in samples.items()}
    for (name, one), (other, two) in combinations(scales.items(), 2):
        if thousandfold(one, two):
            ratio = max(one.jet_pt, two.jet_pt) / min(one.jet_pt, two.jet_pt)
            raise InputError(
                f"units: found a median jet pT of {one.jet_pt:.4g} in {name} and of "
                f"{two.jet_pt:.4g} in {other}, a factor of {ratio:.0f}; expected both in GeV: "
                f"{REMEDY}"
            )
    suspected = [name for name, scale in scales.items() if unit_of(scale)]
    if suspected:
        found = ", ".join(f"{name} {scales[name].jet_pt:.4g}" for name in suspected)
        warnings.warn(
            f"units: probably in MeV: {' and '.join(suspected)} (median jet pT: {found}); "
            f"expected GeV: {REMEDY}",
            Unit,
            stacklevel=2,
        )
