"""The six jet observables of the Z+jets unfolding study (1911.09107; 2603.08802, Figure 1).

Each jet is the set of constituents of one event, its four-momentum and axis are those of their
sum, and ΔR is the distance in rapidity and azimuth, as in FastJet. Everything is float64 on the
host and a pure function of the events, so that callers may keep the result.

Jets are clustered many at once. All of one call have the same number of constituents m: a batch
needs no padding, and every jet merges its closest pair in the same step. Momenta add up as
four-vectors (E scheme). Axes of arrays: B jets, m constituents, 2m − 1 nodes of a tree
(constituents first, then one node for each merging, in the order of merging).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from jaxpriors.errors import InputError
from jaxpriors.physics import kinematics

if TYPE_CHECKING:
    from jaxpriors.data.events import Events

SOFT_DROP_Z_CUT = 0.1
LN_RHO_MINIMUM = -20.0  # ln ρ of a jet that no splitting of SoftDrop survives
CAMBRIDGE_AACHEN = 0
KT = 1
CELLS_PER_BATCH = 1 << 18  # pair distances held at a time: two megabytes of float64


@dataclass(frozen=True)
class Observable:
    """What a plot and a table need to know of an observable; the bins are equal in width.

    Values outside [low, high] count in no bin: histograms are normalised within their range.
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


# The ranges are those of 1911.09107, for jets as light as there (others: `evaluation.ranges`); the
# bins are wide enough for samples of 10⁴ jets. A bin of the multiplicity holds four integers.
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
    """Compute all six observables, name → (n,) float64, in the order of OBSERVABLES.

    mass: of the sum of the constituents, in GeV. width: Σ pT_i ΔR_i / Σ pT_i with ΔR_i to the
    jet axis (τ1); 0 for one constituent. multiplicity: the number of constituents.

    groomed_mass: ln ρ = ln(m_SD² / pT²) with the pT of the ungroomed jet. Not below
    LN_RHO_MINIMUM, which also stands for the jets that fail SoftDrop (those of one constituent
    among them). It lies outside the histogram, as those jets do in 1911.09107.

    zg: SoftDrop momentum sharing z_g (C/A, β = 0, z_cut = 0.1); 0 for jets that fail. tau21:
    τ2 / τ1 with β = 1, τ2 about two exclusive-kT axes (E scheme); 0 where both vanish (all
    constituents in one direction), as in the evaluation of 1911.09107.

    `progress(done, total)` is called with numbers of jets. Raises InputError for an event without
    constituents and for a constituent without pT.

    >>> from jaxpriors.data.events import Events
    >>> jet = Events.from_flat([[5.0, 3.0, 4.0, 0.0], [5.0, 3.0, -4.0, 0.0]], [2])
    >>> values = observables(jet)
    >>> values["mass"].item(), values["multiplicity"].item(), values["zg"].item()
    (8.0, 2.0, 0.5)
    """
    found = jet_observables(events)
    pt, width = found.pop("pt"), found["width"]
    counts, done = events.multiplicity, 0
    groomed, zg, tau2 = np.zeros((len(counts), 4)), np.zeros(len(counts)), np.zeros(len(counts))
    for count in np.unique(counts):  # batches that share a multiplicity and fit the cache
        alike = np.flatnonzero(counts == count)
        size = max(1, CELLS_PER_BATCH // int(count) ** 2)
        for start in range(0, len(alike), size):
            batch = alike[start : start + size]
            rows = events.offsets[batch][:, None] + np.arange(count)
            p4 = events.p4[rows].astype(np.float64)
            groomed[batch], zg[batch] = soft_drop(p4, SOFT_DROP_Z_CUT)
            tau2[batch] = n_subjettiness(p4, 2)
            done += len(batch)
            if progress is not None:
                progress(done, len(counts))
    ratio = np.maximum(kinematics.mass(groomed) / pt, np.exp(LN_RHO_MINIMUM / 2))
    values = found | {
        "groomed_mass": np.where(zg > 0, 2 * np.log(ratio), LN_RHO_MINIMUM),
        "zg": zg,
        "tau21": np.divide(tau2, width, out=np.zeros_like(width), where=width > 0),
    }
    return {name: values[name] for name in OBSERVABLES}


def jet_observables(events: Events) -> dict[str, np.ndarray]:
    """Compute pT and mass in GeV, multiplicity and width of the jets, name → (n,) float64.

    As in `observables`, and with the same errors.
    """
    counts = events.multiplicity
    if (counts < 1).any():
        raise InputError(
            f"observables: {(counts < 1).sum()} of {len(counts)} events have no constituents "
            f"(the first is event {int(np.argmax(counts < 1))}); expected at least one in each"
        )
    bad = ~(np.isfinite(events.p4).all(axis=-1) & (kinematics.pt(events.p4) > 0))
    if bad.any():
        first = int(np.argmax(bad))
        raise InputError(
            f"observables: {bad.sum()} of {len(bad)} constituents have no direction (constituent "
            f"{first} is {events.p4[first].tolist()}); expected finite (E, px, py, pz) and pT > 0"
        )
    p4, starts = events.p4.astype(np.float64), events.offsets[:-1]
    jet = np.add.reduceat(p4, starts, axis=0)
    axis = np.repeat(jet, counts, axis=0)
    delta_r = np.hypot(
        kinematics.rapidity(p4) - kinematics.rapidity(axis),
        kinematics.delta_phi(kinematics.phi(p4), kinematics.phi(axis)),
    )
    delta_r[np.repeat(counts == 1, counts)] = 0.0
    transverse = kinematics.pt(p4)
    return {
        "pt": kinematics.pt(jet),
        "mass": kinematics.mass(jet),
        "multiplicity": counts.astype(np.float64),
        "width": np.add.reduceat(transverse * delta_r, starts)
        / np.add.reduceat(transverse, starts),
    }


def with_observables(events: Events) -> Events:
    """Put the observables among the events' columns, in place of any of these names."""
    return dataclasses.replace(events, columns=events.columns | observables(events))


class Tree(NamedTuple):
    """The merging history of B jets.

    p4 (B, 2m − 1, 4): four-momenta of the nodes in GeV; parents (B, m − 1, 2): the two nodes
    that step s merged into node m + s. Steps that were not carried out hold zeros and −1.
    """

    p4: np.ndarray
    parents: np.ndarray


def cluster(p4: np.ndarray, algorithm: int, stop: int = 1) -> tuple[Tree, np.ndarray]:
    """Merge the closest pair of each jet until `stop` pseudojets remain.

    The distance is min(pT_i^2p, pT_j^2p) ΔR², with the power p = 0 for CAMBRIDGE_AACHEN and
    p = 1 for (exclusive) KT (0802.1189, without the beam distance). p4 (B, m, 4) float64 in GeV
    with pT > 0. Returns the tree and the nodes that remain, (B, min(stop, m)) int.
    """
    jets, count = p4.shape[:2]
    rows = np.arange(jets)
    tree = Tree(
        np.zeros((jets, 2 * count - 1, 4)), np.full((jets, count - 1, 2), -1, dtype=np.int64)
    )
    tree.p4[:, :count] = p4
    # One slot for each pseudojet that is still alive: node number, rapidity, azimuth, pT^2p.
    node = np.tile(np.arange(count), (jets, 1))
    slots = _coordinates(p4, algorithm)
    distance = _distance(slots[..., :, None], slots[..., None, :])
    distance[:, np.arange(count), np.arange(count)] = np.inf

    for step in range(count - max(stop, 1)):
        alive = count - step
        pair = distance[:, :alive, :alive].reshape(jets, -1).argmin(axis=1)
        first, second = np.divmod(pair, alive)  # first < second: the matrix is symmetric
        merged, last = count + step, alive - 1
        tree.parents[:, step, 0] = node[rows, first]
        tree.parents[:, step, 1] = node[rows, second]
        tree.p4[:, merged] = tree.p4[rows, node[rows, first]] + tree.p4[rows, node[rows, second]]
        # The last slot moves to the second parent's place, the merged pseudojet to the first's.
        node[rows, second] = node[:, last]
        slots[:, rows, second] = slots[:, :, last]
        distance[rows, second] = distance[:, last]
        distance[rows, :, second] = distance[:, :, last]
        distance[rows, second, second] = np.inf
        node[rows, first] = merged
        slots[:, rows, first] = _coordinates(tree.p4[:, merged], algorithm)
        to_merged = _distance(slots[:, rows, first][..., None], slots)
        distance[rows, first] = to_merged
        distance[rows, :, first] = to_merged
        distance[rows, first, first] = np.inf
    return tree, node[:, : min(max(stop, 1), count)]


def soft_drop(p4: np.ndarray, z_cut: float) -> tuple[np.ndarray, np.ndarray]:
    """Groomed four-momentum (B, 4) and momentum sharing z_g (B,) of jets p4 (B, m, 4) in GeV.

    The C/A tree is declustered along the branch of larger pT until
    z = min(pT1, pT2) / (pT1 + pT2) > z_cut: SoftDrop with β = 0 (1402.2657), where the reference
    radius drops out. A jet none of whose splittings passes has z_g = 0 and keeps the one
    constituent at which the declustering ends.
    """
    tree, _ = cluster(p4, CAMBRIDGE_AACHEN)
    count, rows = p4.shape[1], np.arange(len(p4))
    transverse = kinematics.pt(tree.p4)
    node = np.full(len(p4), 2 * count - 2)
    sharing = np.zeros(len(p4))
    while True:
        open_ = np.flatnonzero((node >= count) & (sharing == 0))
        if open_.size == 0:
            return tree.p4[rows, node], sharing
        parents = tree.parents[open_, node[open_] - count]
        parent_pt = transverse[open_[:, None], parents]
        z = parent_pt.min(axis=1) / parent_pt.sum(axis=1)
        harder = parents[np.arange(open_.size), parent_pt.argmax(axis=1)]
        passed = z > z_cut
        sharing[open_[passed]] = z[passed]
        node[open_[~passed]] = harder[~passed]


def n_subjettiness(p4: np.ndarray, axes: int) -> np.ndarray:
    """τ_N (B,) of jets p4 (B, m, 4) in GeV, with β = 1 and N = `axes` exclusive-kT axes.

    τ_N = Σ_i pT_i min_k ΔR_ik / Σ_i pT_i (1011.2268), not divided by a jet radius. The axes are
    the E-scheme pseudojets of exclusive kT clustering without further minimisation; N = 1 gives
    the jet's own axis. Jets with at most N constituents have τ_N = 0.
    """
    if p4.shape[1] <= axes:
        return np.zeros(len(p4))
    tree, nodes = cluster(p4, KT, stop=axes)
    axis = np.take_along_axis(tree.p4, nodes[..., None], axis=1)
    transverse = kinematics.pt(p4)
    own, of_axis = (_coordinates(x, CAMBRIDGE_AACHEN) for x in (p4, axis))
    nearest = np.sqrt(_distance(own[..., :, None], of_axis[..., None, :]).min(axis=2))
    return (transverse * nearest).sum(axis=1) / transverse.sum(axis=1)


def _coordinates(p4: np.ndarray, power: int) -> np.ndarray:
    """Compute rapidity, azimuth and pT^2p of four-momenta, (..., 4) → (3, ...)."""
    scale = (p4[..., 1] ** 2 + p4[..., 2] ** 2) ** power
    return np.stack([kinematics.rapidity(p4), kinematics.phi(p4), scale])


def _distance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Compute min(pT^2p) ΔR² between (rapidity, azimuth, pT^2p) stacked on the first axis."""
    delta_phi = kinematics.delta_phi(a[1], b[1])
    return np.minimum(a[2], b[2]) * ((a[0] - b[0]) ** 2 + delta_phi**2)
