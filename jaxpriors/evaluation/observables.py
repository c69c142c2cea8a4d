"""The six jet observables of the Z+jets unfolding study (1911.09107; 2603.08802, Figure 1).

Each jet is the set of constituents of one event, its four-momentum and axis are those of their
sum, and ΔR is the distance in rapidity and azimuth, as in FastJet. Everything is float64 on the
host and a pure function of the events, so that callers may keep the result.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from jaxpriors import kinematics
from jaxpriors.errors import InputError
from jaxpriors.evaluation.substructure import n_subjettiness, soft_drop

if TYPE_CHECKING:
    from jaxpriors.data.events import Events

SOFT_DROP_Z_CUT = 0.1
LN_RHO_MINIMUM = -20.0  # ln ρ of a jet that no splitting of SoftDrop survives
CELLS_PER_BATCH = 1 << 18  # pair distances held at a time: two megabytes of float64


@dataclass(frozen=True)
class Observable:
    """What a plot and a table need to know of an observable; the bins are equal in width.

    Values outside [low, high] count nowhere: histograms are normalised within their range.
    """

    name: str
    symbol: str  # for plain text
    label: str  # for figures
    unit: str
    low: float
    high: float
    bins: int

    @property
    def edges(self) -> np.ndarray:
        """Bin edges (bins + 1,) float64, in `unit`."""
        return np.linspace(self.low, self.high, self.bins + 1)


# The ranges are those of 1911.09107; the bins are wide enough for samples of 10⁴ jets. A bin of
# the multiplicity holds exactly four integers.
OBSERVABLES: dict[str, Observable] = {
    observable.name: observable
    for observable in (
        Observable("mass", "m", r"Jet mass $m$", "GeV", 0.0, 75.0, 20),
        Observable("width", "w", r"Jet width $w$", "", 0.0, 0.6, 20),
        Observable("multiplicity", "M", r"Constituent multiplicity $M$", "", -0.5, 79.5, 20),
        Observable("groomed_mass", "ln rho", r"Groomed mass $\ln\rho$", "", -14.0, -2.0, 20),
        Observable("zg", "z_g", r"Groomed momentum fraction $z_g$", "", 0.0, 0.5, 20),
        Observable("tau21", "tau_21", r"$N$-subjettiness ratio $\tau_{21}$", "", 0.0, 1.2, 20),
    )
}


def observables(
    events: Events, progress: Callable[[int, int], None] | None = None
) -> dict[str, np.ndarray]:
    """All six observables, name → (n,) float64, in the order of OBSERVABLES.

    `progress(done, total)` is called with numbers of jets. Raises InputError as every function
    of this file does: for an event without constituents and for a constituent without pT.
    """
    jet = _jets(events)
    groomed, zg, tau2 = _by_multiplicity(events, _substructure, progress)
    width = _width(events, jet)
    return {
        "mass": kinematics.mass(jet),
        "width": width,
        "multiplicity": events.multiplicity.astype(np.float64),
        "groomed_mass": _ln_rho(groomed, zg, jet),
        "zg": zg,
        "tau21": _ratio(tau2, width),
    }


def jet_observables(events: Events) -> dict[str, np.ndarray]:
    """pT and mass in GeV, multiplicity and width of the jets, name → (n,) float64."""
    jet = _jets(events)
    return {
        "pt": kinematics.pt(jet),
        "mass": kinematics.mass(jet),
        "multiplicity": events.multiplicity.astype(np.float64),
        "width": _width(events, jet),
    }


def spanning(
    one: Mapping[str, np.ndarray], other: Mapping[str, np.ndarray], bins: int = 20
) -> tuple[Observable, ...]:
    """What ``jet_observables`` gave of two samples, in ranges that hold 99 % of each.

    Bins of the multiplicity hold as many integers each, as few as ``bins`` at most can.
    """
    found = []
    for name, symbol, label, unit in (
        ("pt", "pT", r"Jet $p_T$", "GeV"),
        ("mass", "m", r"Jet mass $m$", "GeV"),
        ("multiplicity", "M", r"Constituent multiplicity $M$", ""),
        ("width", "w", r"Jet width $w$", ""),
    ):
        both = [np.quantile(sample[name], (0.005, 0.995)) for sample in (one, other)]
        low, high = min(q[0] for q in both), max(q[1] for q in both)
        count = bins
        if name == "multiplicity":
            low, step = np.floor(low) - 0.5, np.ceil((np.ceil(high) - np.floor(low) + 1) / bins)
            count = int(np.ceil((np.ceil(high) + 0.5 - low) / step))
            high = low + count * step
        high = high if high > low else low + 1  # all alike
        found.append(Observable(name, symbol, label, unit, float(low), float(high), count))
    return tuple(found)


def with_observables(events: Events) -> Events:
    """The events with their observables among their columns, in place of any of these names."""
    return dataclasses.replace(events, columns=events.columns | observables(events))


def jet_mass(events: Events) -> np.ndarray:
    """Invariant mass of the sum of the constituents in GeV, (n,)."""
    return kinematics.mass(_jets(events))


def jet_width(events: Events) -> np.ndarray:
    """w = Σ pT_i ΔR_i / Σ pT_i with ΔR_i to the jet axis, (n,): τ1; 0 for one constituent."""
    return _width(events, _jets(events))


def multiplicity(events: Events) -> np.ndarray:
    """Number of constituents as float64, (n,)."""
    _check(events)
    return events.multiplicity.astype(np.float64)


def groomed_mass(events: Events) -> np.ndarray:
    """ln ρ = ln(m_SD² / pT²) with the pT of the ungroomed jet, (n,); SoftDrop as in `zg`.

    Not below LN_RHO_MINIMUM, which also stands for the jets that fail SoftDrop (those of one
    constituent among them). It lies outside the histogram, as those jets do in 1911.09107.
    """
    jet = _jets(events)
    groomed, sharing, _ = _by_multiplicity(events, _substructure)
    return _ln_rho(groomed, sharing, jet)


def zg(events: Events) -> np.ndarray:
    """SoftDrop momentum sharing z_g (C/A, β = 0, z_cut = 0.1), (n,); 0 for jets that fail."""
    _check(events)
    return _by_multiplicity(events, _substructure)[1]


def tau21(events: Events) -> np.ndarray:
    """τ2 / τ1 with β = 1, (n,): τ2 about two exclusive-kT axes (E scheme), τ1 the jet width.

    0 where both vanish (all constituents in one direction), as in the evaluation of 1911.09107.
    """
    width = jet_width(events)
    return _ratio(_by_multiplicity(events, _substructure)[2], width)


def _check(events: Events) -> None:
    counts = events.multiplicity
    if (counts < 1).any():
        raise InputError(
            f"observables: {(counts < 1).sum()} of {len(counts)} events have no constituents "
            f"(the first is event {int(np.argmax(counts < 1))}); expected at least one in each"
        )
    transverse = kinematics.pt(events.p4)
    bad = ~(np.isfinite(events.p4).all(axis=-1) & (transverse > 0))
    if bad.any():
        first = int(np.argmax(bad))
        raise InputError(
            f"observables: {bad.sum()} of {len(bad)} constituents have no direction (constituent "
            f"{first} is {events.p4[first].tolist()}); expected finite (E, px, py, pz) and pT > 0"
        )


def _sum(events: Events, values: np.ndarray) -> np.ndarray:
    """Sum of constituent values (total, …) over each event, (n, …)."""
    return np.add.reduceat(values, events.offsets[:-1], axis=0) if len(events) else values[:0]


def _jets(events: Events) -> np.ndarray:
    """Checked events' jet four-momenta (n, 4) float64 in GeV."""
    _check(events)
    return _sum(events, events.p4.astype(np.float64))


def _width(events: Events, jet: np.ndarray) -> np.ndarray:
    p4 = events.p4.astype(np.float64)
    axis = np.repeat(jet, events.multiplicity, axis=0)
    delta_r = np.hypot(
        kinematics.rapidity(p4) - kinematics.rapidity(axis),
        kinematics.delta_phi(kinematics.phi(p4), kinematics.phi(axis)),
    )
    delta_r[np.repeat(events.multiplicity == 1, events.multiplicity)] = 0.0
    transverse = kinematics.pt(p4)
    return _sum(events, transverse * delta_r) / _sum(events, transverse)


def _substructure(p4: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    groomed, sharing = soft_drop(p4, SOFT_DROP_Z_CUT)
    return groomed, sharing, n_subjettiness(p4, 2)


def _ln_rho(groomed: np.ndarray, sharing: np.ndarray, jet: np.ndarray) -> np.ndarray:
    ratio = kinematics.mass(groomed) / kinematics.pt(jet)
    smallest = np.exp(LN_RHO_MINIMUM / 2)
    return np.where(sharing > 0, 2 * np.log(np.maximum(ratio, smallest)), LN_RHO_MINIMUM)


def _ratio(tau2: np.ndarray, tau1: np.ndarray) -> np.ndarray:
    return np.divide(tau2, tau1, out=np.zeros_like(tau1), where=tau1 > 0)


def _batches(counts: np.ndarray) -> Iterator[np.ndarray]:
    """Indices of events, in batches that share a multiplicity and fit the cache."""
    for count in np.unique(counts):
        group = np.flatnonzero(counts == count)
        size = max(1, CELLS_PER_BATCH // int(count) ** 2)
        for start in range(0, len(group), size):
            yield group[start : start + size]


def _by_multiplicity(
    events: Events,
    function: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray, np.ndarray]],
    progress: Callable[[int, int], None] | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Apply a function of jets (B, m, 4) with equal multiplicities m to all events."""
    counts, done = events.multiplicity, 0
    out = (np.zeros((len(counts), 4)), np.zeros(len(counts)), np.zeros(len(counts)))
    for batch in _batches(counts):
        constituents = events.offsets[batch][:, None] + np.arange(counts[batch[0]])
        for full, part in zip(
            out, function(events.p4[constituents].astype(np.float64)), strict=True
        ):
            full[batch] = part
        done += len(batch)
        if progress is not None:
            progress(done, len(counts))
    return out
