"""The catalogue of data sets: public ones, and files of your own in layouts of other packages.

Each module holds one: what is said of it, and the reader of its published files. Events are those
of `jaxpriors.data.events`; `prepare` brings a set into mapped arrays once, `builders` makes
tensorflow-datasets of it (neither needs TensorFlow).
"""

from __future__ import annotations

from jaxpriors.data.catalog import (
    jetclass,
    jetnet,
    lhco,
    omnilearn,
    omnilearned,
    quarkgluon,
    toptagging,
    zjets,
)
from jaxpriors.data.catalog.sets import DataSet
from jaxpriors.errors import InputError

_PUBLIC = (zjets, lhco, jetclass, toptagging, quarkgluon, jetnet)
SETS: dict[str, DataSet] = {
    entry.name: entry
    for entry in (*(module.SET for module in _PUBLIC), *omnilearn.SETS, *omnilearned.SETS)
}


def data_set(name: str) -> DataSet:
    """Find the set of that name; InputError where there is none."""
    if name not in SETS:
        raise InputError(f"set: found {name!r}, expected one of {', '.join(SETS)}")
    return SETS[name]
