"""Jets as branches of a tree, and files that hold them."""

import awkward
import numpy as np
import uproot

COLUMNS = {"pt": "part_pt", "eta": "part_eta", "phi": "part_phi", "m": "part_m"}


def constituents(counts, seed=0):
    """Name → jagged branch, of so many constituents an entry."""
    draws = np.random.default_rng(seed)
    total = int(np.sum(counts))
    flat = {
        "part_pt": draws.uniform(1, 50, total),
        "part_eta": draws.normal(size=total),
        "part_phi": draws.uniform(-3, 3, total),
        "part_m": draws.uniform(0.1, 0.5, total),
    }
    return {name: awkward.unflatten(values, counts) for name, values in flat.items()}


def momenta(branches):
    """(E, px, py, pz) of all constituents, by formulas of this file's own."""
    flat = {n: awkward.to_numpy(awkward.flatten(branches[n], axis=None)) for n in COLUMNS.values()}
    pt, eta, phi, m = (flat[n] for n in COLUMNS.values())
    p = pt * np.cosh(eta)
    return np.stack([np.hypot(p, m), pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta)], -1)


def write_tree(path, branches, kind="TTree", name="Events"):
    """Write one tree: TTree, RNTuple or parquet."""
    if kind == "parquet":
        awkward.to_parquet(awkward.Array(branches), path)
        return
    with uproot.recreate(path) as file:
        add_tree(file, branches, kind, name)


def add_tree(file, branches, kind, name):
    if kind == "RNTuple":
        file.mkrntuple(name, branches)
        return
    types = {n: awkward.Array(x).type.content for n, x in branches.items()}
    file.mktree(name, {n: str(t) for n, t in types.items()})
    file[name].extend(branches)
