"""The new weights of a simulation in a file, and back in the tree that its events are from.

Layout of ``weights.h5``, in the order of the simulation's events:

| dataset              | shape  | dtype   | meaning                                              |
|----------------------|--------|---------|------------------------------------------------------|
| `<model>/log_ratio`  | (n,)   | float64 | log p_data / p_simulation of each simulated event    |
| `<model>/weight`     | (n,)   | float64 | the event's new weight; same sum as the old ones     |
| `<model>/log_ratios` | (k, n) | float64 | of each network, where `log_ratio` is the mean       |
| `part`               | (n,)   | bytes   | what the event was used for: train, validation, test |
| `event`              | (n,)   | int64   | number of the event: its entry in the tree it is     |
|                      |        |         | from (the column `entry`), otherwise in the sample   |
| `jet`                | (n,)   | int64   | its index there, where an entry can hold several     |

Attributes of the root: `simulation` and `data`, where the samples are from, if known; `rule`, what
the sum of the new weights is.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import h5py
import numpy as np

from jaxpriors.data.events import Events
from jaxpriors.data.friends import write_friend
from jaxpriors.errors import InputError
from jaxpriors.run import processes
from jaxpriors.run.hdf5 import written_hdf5

RULE = "the new weights of all events of the simulation have the sum of the old ones"


def write_weights(
    path: Path,
    simulation: Events,
    part: np.ndarray,
    log_ratios: Mapping[str, np.ndarray],
    weights: Mapping[str, np.ndarray],
    ensembles: Mapping[str, np.ndarray],
    names: Mapping[str, str],
) -> None:
    """Write or replace ``weights.h5``; whole or not at all.

    Args:
        path: of the file.
        simulation: the n events.
        part: (n,) bytes, what each was used for.
        log_ratios: model → (n,).
        weights: model → (n,).
        ensembles: model → (k, n), of the models that are ensembles.
        names: where the samples are from, `simulation` and `data`, as far as it is known.
    """
    with written_hdf5(path, overwrite=True) as file:
        file.attrs.update({**names, "rule": RULE})
        file.create_dataset("part", data=part)
        entry, jet = (_numbers(simulation, name) for name in ("entry", "jet"))
        file.create_dataset("event", data=np.arange(len(simulation)) if entry is None else entry)
        if entry is not None and jet is not None:
            file.create_dataset("jet", data=jet)
        for name, weight in weights.items():
            file.create_dataset(f"{name}/log_ratio", data=log_ratios[name])
            file.create_dataset(f"{name}/weight", data=weight)
        for name, of_each in ensembles.items():
            file.create_dataset(f"{name}/log_ratios", data=of_each)


def _numbers(events: Events, name: str) -> np.ndarray | None:
    """Give a column of integers (n,) int64; None where there is none."""
    column = events.columns.get(name)
    if column is None or column.ndim != 1 or column.dtype.kind not in "iu":
        return None
    return column.astype(np.int64)


def write_back(
    weights: Path, path: Path, entries: int | None = None, jets: np.ndarray | None = None
) -> None:
    """Write the weights of a run as a friend of the simulation's tree (`data.friends`).

    Its branches are ``weight_<model>`` and ``log_ratio_<model>``, with underscores for other signs
    of a model's name.

    Args:
        weights: ``weights.h5`` of the run.
        path: of the friend, which ends in .root or .parquet.
        entries: of the tree; None for those up to the last event.
        jets: (entries,) jets of each entry, where an entry can hold several.

    Raises InputError as ``write_friend`` does, and where the weights cannot be read.
    """
    if processes.index() > 0:
        return
    columns = {}
    try:
        with h5py.File(weights) as file:
            event, jet = file["event"][:], file["jet"][:] if "jet" in file else None
            for model in (name for name, group in file.items() if isinstance(group, h5py.Group)):
                for kind in ("weight", "log_ratio"):
                    columns[f"{kind}_{model.replace('-', '_')}"] = file[f"{model}/{kind}"][:]
    except (OSError, KeyError) as error:
        raise InputError(
            f"{weights}: cannot be read ({error}), expected the weights of a finished run with "
            "the numbers of its events"
        ) from None
    write_friend(path, columns, event, jet, entries=entries, jets=jets)
