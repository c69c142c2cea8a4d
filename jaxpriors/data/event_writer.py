"""Events written to a file of our layout, block by block; whole or not at all."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import h5py
import numpy as np

from jaxpriors.data.events import LEVELS, Events
from jaxpriors.data.named import FORMAT, VERSION
from jaxpriors.errors import InputError
from jaxpriors.physics import coordinates as col
from jaxpriors.physics import kinematics
from jaxpriors.run.hdf5 import written_hdf5

CHUNK = 2**16  # rows of an HDF5 chunk, which are compressed together
FAST, SMALL = 1, 9  # levels of compression


@dataclass
class EventWriter:
    """Write the samples (or levels) of a file, which `append` makes longer.

    lean: samples of which that is left out which a reader fills in: jets that are the sums of
    their constituents, identities that are all unknown. None writes all that there may be.
    """

    file: h5py.File
    levels: tuple[str, ...]
    compact: bool
    lean: Mapping[str, Events] | None = None
    written: dict[str, int] = field(default_factory=dict)  # constituents of each level so far

    @classmethod
    @contextlib.contextmanager
    def open(
        cls,
        path: str | os.PathLike[str],
        levels: tuple[str, ...],
        metadata: Mapping[str, Any],
        *,
        overwrite: bool,
        compact: bool = False,
        lean: Mapping[str, Events] | None = None,
    ) -> Iterator[EventWriter]:
        """Open a new file, which is there once the context ends well.

        levels: ("",) for one sample, or some of `LEVELS`.

        Raises:
            InputError: the file exists (and `overwrite` is false), unknown levels, metadata that
                JSON cannot hold.
        """
        if set(levels) != {""} and not (levels and set(levels) <= set(LEVELS)):
            raise InputError(f"{path}: levels are {list(levels)}, expected some of {list(LEVELS)}")
        try:
            text = json.dumps(dict(metadata))
        except (TypeError, ValueError) as error:
            raise InputError(f"{path}: metadata cannot be written as JSON ({error})") from None
        with written_hdf5(path, overwrite=overwrite) as file:
            file.attrs.update({"format": FORMAT, "version": VERSION, "metadata": text})
            for level in levels:
                group = file.require_group(level) if level else file
                group.attrs["coordinates"] = "pt,eta,phi" if compact else "E,px,py,pz"
            yield cls(file, levels, compact, lean)

    def append(self, samples: Mapping[str, Events]) -> None:
        """Add validated events, of every level as many.

        Raises InputError where labels or columns are not those of the events before, and (compact)
        for masses that do not follow from the identities.
        """
        for level in self.levels:
            group = self.file[level] if level else self.file
            arrays = self._arrays(level, samples[level])
            arrays["offsets"] = arrays["offsets"][1:] + self.written.get(level, 0)
            if level not in self.written:
                for name, array in arrays.items():
                    self._create(group, name, array)
                group["offsets"].resize(1, axis=0)  # which is the 0
                group["offsets"][0] = 0
            self.written[level] = self.written.get(level, 0) + len(samples[level].p4)
            present = {n for n in _datasets(group)}
            if present != arrays.keys():
                raise InputError(
                    f"found events with {sorted(arrays)}, expected as before: {sorted(present)}"
                )
            for name, array in arrays.items():
                dataset, rows = group[name], len(group[name])
                if dataset.shape[1:] != array.shape[1:] or not np.can_cast(
                    array.dtype, dataset.dtype, "same_kind"
                ):
                    raise InputError(
                        f"{name}: found {array.dtype}{list(array.shape[1:])}, expected as before: "
                        f"{dataset.dtype}{list(dataset.shape[1:])}"
                    )
                dataset.resize(rows + len(array), axis=0)
                dataset[rows:] = array

    def _create(self, group: h5py.Group, name: str, array: np.ndarray) -> None:
        level = SMALL if self.compact or self.lean is not None else FAST
        group.create_dataset(
            name,
            (0, *array.shape[1:]),
            array.dtype,
            maxshape=(None, *array.shape[1:]),
            chunks=(max(1, min(len(array) or 1, CHUNK)), *array.shape[1:]),
            compression="gzip",
            compression_opts=level,
            shuffle=True,
        )

    def _arrays(self, level: str, events: Events) -> dict[str, np.ndarray]:
        """Make the datasets of some events."""
        found = {"p4": events.p4, "pid": events.pid, "offsets": events.offsets}
        lean = None if self.lean is None else self.lean[level]
        if lean is None or not _are_sums(lean, self.compact):
            found["jet_p4"] = events.jet_p4
        if lean is not None and not lean.pid.any():
            del found["pid"]
        if self.compact:
            grid, p4 = col.to_grid(found.pop("p4"), events.pid)
            if np.any(np.abs(p4[:, 0] - events.p4[:, 0]) > 2e-3 * events.p4[:, 0]):
                raise InputError("compact form: energies do not follow from the masses of `pid`")
            found |= dict(zip(("pt", "eta", "phi"), grid.T, strict=True))
            if "jet_p4" in found:
                jets = events.jet_p4
                found["jet_p4"] = np.stack([*col.pt_eta_phi(jets), kinematics.mass(jets)], axis=-1)
        found["weight"] = events.weight
        if events.label is not None:
            found["label"] = events.label
        return found | {f"columns/{name}": array for name, array in events.columns.items()}


def _are_sums(events: Events, compact: bool) -> bool:
    """Tell whether the jets are the sums of their constituents, which a reader makes again."""
    total = col.sums(events.p4, events.offsets)
    tolerance = (1e-5 if compact else 1e-15) * np.abs(events.jet_p4[:, :1])
    return bool(np.all(np.abs(total - events.jet_p4) <= tolerance))


def _datasets(group: h5py.Group) -> Iterator[str]:
    """Name the datasets of a sample, columns among them."""
    for name, item in group.items():
        if isinstance(item, h5py.Dataset):
            yield name
        elif name == "columns":
            yield from (f"columns/{inner}" for inner in item)
