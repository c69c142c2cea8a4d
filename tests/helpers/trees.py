"""Jets as branches of a tree, and files that hold them."""

import awkward
import numpy as np
import uproot

from jaxpriors.errors import InputError

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


def refusals(whole, folder, suffix, read):
    """Damage a file thirty times, and count how often it is refused, each time in one line."""
    draws = np.random.default_rng(5)
    refused = 0
    for trial in range(30):
        content = bytearray(whole[: draws.integers(4, len(whole))] if trial % 2 else whole)
        for place in draws.integers(4, len(content), 20):
            content[place] ^= int(draws.integers(1, 256))
        path = folder / f"{trial}{suffix}"
        path.write_bytes(content)
        try:
            read(path)
        except InputError as error:
            refused += 1
            assert str(error).startswith(str(path)) and "\n" not in str(error)
    return refused


def add_tree(file, branches, kind, name):
    if kind == "RNTuple":
        file.mkrntuple(name, branches)
        return
    types = {n: awkward.Array(x).type.content for n, x in branches.items()}
    file.mktree(name, {n: str(t) for n, t in types.items()})
    file[name].extend(branches)
