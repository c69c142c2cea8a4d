"""ROOT files as tables of branches: TTree and RNTuple (`uproot`).

Branches are named as they are, fields of an RNTuple with dots (`Jet.pt`). A branch within another
one of a TTree is named by its own name, or by both with a slash where that is not its alone.
"""

from __future__ import annotations

import contextlib
import importlib.util
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from jaxpriors.data.formats.tables import Table
from jaxpriors.data.reading import Reading
from jaxpriors.data.unread import listed
from jaxpriors.errors import InputError, one_line

_TREES = ("TTree", "TNtuple", "TNtupleD", "TChain", "ROOT::RNTuple", "ROOT::Experimental::RNTuple")


@contextlib.contextmanager
def table(path: Path, reading: Reading) -> Iterator[Table]:
    """Open the one tree of a ROOT file, or the chosen one.

    Raises InputError for a file that cannot be read, no tree or several, and where uproot is
    missing.
    """
    if importlib.util.find_spec("uproot") is None:
        raise InputError(f"{path}: ROOT files need uproot: pip install 'jaxpriors[data]'")
    import uproot

    with contextlib.ExitStack() as stack:
        try:
            file = stack.enter_context(uproot.open(path))
            kinds = file.classnames(cycle=False)
        except Exception as error:  # whatever uproot makes of a damaged file
            raise InputError(
                f"{path}: is no ROOT file that can be read ({one_line(error)})"
            ) from None
        name = _chosen(path, kinds, reading.tree)
        place = f"{path}:{name}"
        with undamaged(place):
            tree = file[name]
            keys = _keys(tree)
            entries = int(tree.num_entries)
            counters = _counters(tree, keys)

        def read(names: Sequence[str], start: int, stop: int) -> dict[str, Any]:
            found = {}
            for one in names:
                try:
                    found[one] = tree[keys[one]].array(
                        entry_start=start, entry_stop=stop, library="ak"
                    )
                except Exception as error:
                    raise InputError(
                        f"{place}: branch {one!r} cannot be read: damaged, or not of numbers "
                        f"({one_line(error)})"
                    ) from None
            return found

        with undamaged(place):
            check_entries(place, tree, list(keys.values()))
        yield Table(place, tuple(keys), entries, read, counters)


@contextlib.contextmanager
def undamaged(place: str) -> Iterator[None]:
    """Turn whatever uproot makes of a damaged file into an InputError."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"{place}: cannot be read: damaged ({one_line(error)})") from None


def check_entries(place: str, tree: Any, names: Sequence[str]) -> None:
    """Raise InputError where a TTree claims other entries than these of its branches hold."""
    if not hasattr(tree, "branches"):  # an RNTuple, whose columns are all of one list of clusters
        return
    entries = int(tree.num_entries)
    for name in names:
        found = int(tree[name].num_entries)
        held = int(sum(tree[name].entry_offsets[-1:]))
        if not found == held == entries:
            raise InputError(
                f"{place}: claims {entries} entries; branch {name!r} claims {found} and holds "
                f"{held}, expected as many"
            )


def _chosen(path: Path, kinds: dict[str, str], wanted: str | None) -> str:
    """Choose a tree by its name, or the only one."""
    trees = [name for name, kind in kinds.items() if kind in _TREES]
    if wanted is not None:
        if wanted not in trees:
            raise InputError(
                f"{path}: tree: found no {wanted!r}; there are {listed(trees) or 'no trees'}"
            )
        return wanted
    if not trees:
        raise InputError(
            f"{path}: found {listed(f'{n} ({k})' for n, k in kinds.items()) or 'nothing'}, "
            "expected a TTree or RNTuple"
        )
    if len(trees) > 1:
        raise InputError(
            f"{path}: found the trees {listed(trees)}, expected one to be chosen: --tree {trees[0]}"
        )
    return trees[0]


def _keys(tree: Any) -> dict[str, str]:
    """Find our name of each branch that holds values, and uproot's."""
    if not hasattr(tree, "branches"):  # an RNTuple
        every = tree.keys()
        inner = {name.rsplit(".", 1)[0] for name in every if "." in name}
        return {name: name for name in every if name not in inner}
    full = [key for key, branch in tree.iteritems(recursive=True) if not branch.branches]
    last = Counter(key.rsplit("/", 1)[-1] for key in full)
    return {short if last[short := key.rsplit("/", 1)[-1]] == 1 else key: key for key in full}


def _counters(tree: Any, keys: dict[str, str]) -> dict[str, str]:
    """Find the branches that count the elements of others, as our names."""
    if not hasattr(tree, "branches"):
        return {}
    found = {}
    for name, key in keys.items():
        counter = tree[key].count_branch
        if counter is not None:
            found[name] = counter.name
    return found
