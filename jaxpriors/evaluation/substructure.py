"""Sequential recombination of many jets at once: clustering trees, SoftDrop, N-subjettiness.

All jets of one call have the same number of constituents m, so that a batch needs no padding and
every jet merges its closest pair in the same step. Distances are those of the plane of rapidity
and azimuth, momenta add up as four-vectors (E scheme), everything is float64 on the host.

Axes of arrays: B jets, m constituents, 2m − 1 nodes of a tree (constituents first, then one node
for each merging, in the order of merging).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from jaxpriors import kinematics

CAMBRIDGE_AACHEN = 0
KT = 1


class Tree(NamedTuple):
    """The merging history of B jets.

    p4 (B, 2m − 1, 4): four-momenta of the nodes in GeV; parents (B, m − 1, 2): the two nodes
    that step s merged into node m + s. Steps that were not carried out hold zeros and −1.
    """

    p4: np.ndarray
    parents: np.ndarray

    @property
    def constituents(self) -> int:
        """m, the number of constituents of each jet."""
        return self.parents.shape[1] + 1


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
    slots = np.stack(_coordinates(p4, algorithm))
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
    count, rows = tree.constituents, np.arange(len(p4))
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
    nearest = np.sqrt(_distance(_plane(p4)[..., :, None], _plane(axis)[..., None, :]).min(axis=2))
    return (transverse * nearest).sum(axis=1) / transverse.sum(axis=1)


def _plane(p4: np.ndarray) -> np.ndarray:
    return np.stack(_coordinates(p4, CAMBRIDGE_AACHEN))


def _coordinates(p4: np.ndarray, power: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rapidity, azimuth and pT^2p of four-momenta, (..., 4) → three of (...)."""
    scale = (p4[..., 1] ** 2 + p4[..., 2] ** 2) ** power
    return kinematics.rapidity(p4), kinematics.phi(p4), scale


def _distance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """min(pT^2p) ΔR² between (rapidity, azimuth, pT^2p) stacked on the first axis."""
    delta_phi = kinematics.delta_phi(a[1], b[1])
    return np.minimum(a[2], b[2]) * ((a[0] - b[0]) ** 2 + delta_phi**2)
