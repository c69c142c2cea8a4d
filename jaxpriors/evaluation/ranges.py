"""Ranges of observables for figures and tables: published, following the samples, or given."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from jaxpriors.errors import InputError
from jaxpriors.evaluation.observables import LN_RHO_MINIMUM, OBSERVABLES, Observable

HELD = 0.99  # the share of each sample's events that a range should hold
# What is shown of any jets, in ranges that follow them.
JET_OBSERVABLES = tuple(
    Observable(name, symbol, label, unit, 0.0, 1.0, 20)
    for name, symbol, label, unit in (
        ("pt", "pT", r"Jet $p_T$", "GeV"),
        ("mass", "m", r"Jet mass $m$", "GeV"),
        ("multiplicity", "M", r"Constituent multiplicity $M$", ""),
        ("width", "w", r"Jet width $w$", ""),
    )
)


def spanning(
    one: Mapping[str, np.ndarray], other: Mapping[str, np.ndarray]
) -> tuple[Observable, ...]:
    """Bin what ``jet_observables`` gave of two samples, in ranges that hold 99 % of each."""
    return tuple(spanned(o, one[o.name], other[o.name]) for o in JET_OBSERVABLES)


def fitting(
    one: Mapping[str, np.ndarray], other: Mapping[str, np.ndarray]
) -> tuple[Observable, ...]:
    """Bin what ``observables`` gave of two samples, in the published ranges where they fit.

    A range of OBSERVABLES stays where it holds 99 % of the events of each sample, whatever their
    weights; otherwise it is what holds 99 % of each (``spanned``). Jets that fail SoftDrop have no
    groomed mass and do not count there.

    >>> light = {name: np.full(9, (o.low + o.high) / 2) for name, o in OBSERVABLES.items()}
    >>> heavy = light | {"mass": np.linspace(100.0, 180.0, 9)}
    >>> [(o.name, o.low, round(o.high, 1)) for o in fitting(light, heavy)][:2]
    [('mass', 37.5, 179.6), ('width', 0.0, 0.6)]
    """
    return tuple(fitted(o, one[o.name], other[o.name]) for o in OBSERVABLES.values())


def fitted(observable: Observable, *samples: np.ndarray) -> Observable:
    """Keep the range where it holds 99 % of each sample (n,), or else take one that does."""
    known = [_known(observable, values) for values in samples]
    low, high = observable.low, observable.high
    held = [np.mean((values >= low) & (values <= high)) for values in known if len(values)]
    return observable if all(share >= HELD for share in held) else spanned(observable, *samples)


def spanned(observable: Observable, *samples: np.ndarray) -> Observable:
    """Give the observable a range that holds the central 99 % of each sample (n,).

    Values that are not finite do not count; without any others the range stays. Bins of the
    multiplicity hold as many integers each, as few as its number of bins at most can.
    """
    known = [values for each in samples if len(values := _known(observable, each))]
    if not known:
        return observable
    tail = (1 - HELD) / 2
    both = np.array([np.quantile(values, (tail, 1 - tail)) for values in known])
    low, high, bins = both[:, 0].min(), both[:, 1].max(), observable.bins
    if observable.name == "multiplicity":
        low, step = np.floor(low) - 0.5, np.ceil((np.ceil(high) - np.floor(low) + 1) / bins)
        bins = int(np.ceil((np.ceil(high) + 0.5 - low) / step))
        high = low + bins * step
    if not high - low > 1e-9 * abs(low):  # all alike
        low, high = low - 0.5, low + 0.5
    return dataclasses.replace(observable, low=float(low), high=float(high), bins=bins)


def ranged(
    observables: Sequence[Observable], ranges: Mapping[str, tuple[float, float]]
) -> tuple[Observable, ...]:
    """Give observables other ranges, by name: (low, high), in their units.

    Raises InputError for an unknown name and a range that is none.
    """
    names = [o.name for o in observables]
    for name, (low, high) in ranges.items():
        if name not in names:
            raise InputError(f"ranges: found {name!r}, expected some of {', '.join(names)}")
        if not (np.isfinite([low, high]).all() and low < high):
            raise InputError(f"ranges: {name}: found {low:g} to {high:g}, expected low < high")
    return tuple(
        dataclasses.replace(o, low=float(ranges[o.name][0]), high=float(ranges[o.name][1]))
        if o.name in ranges
        else o
        for o in observables
    )


def _known(observable: Observable, values: np.ndarray) -> np.ndarray:
    """Choose the values, as float64, that are finite and of jets that have the observable."""
    values = np.asarray(values, np.float64)
    known = np.isfinite(values)
    if observable.name == "groomed_mass":
        known &= values > LN_RHO_MINIMUM
    return values[known]
