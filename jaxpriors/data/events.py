"""Events: jets with a varying number of constituents, held as flat columns."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from jaxpriors.data import checks
from jaxpriors.data.momenta import momenta_of
from jaxpriors.errors import InputError
from jaxpriors.physics import coordinates as col
from jaxpriors.run.storage import digest

LEVELS = ("particle", "detector")
PASS = {"particle": "pass_gen", "detector": "pass_reco"}  # columns of flags


@dataclasses.dataclass(frozen=True)
class Events:
    """Hold n events with `total` constituents; momenta are (E, px, py, pz) in GeV.

    Args:
        p4: (total, 4) float32 or float64, constituents of all events one after another.
        pid: (total,) int32 PDG code, 0 where unknown.
        offsets: (n+1,) int64, event i holds the constituents offsets[i] to offsets[i+1].
        jet_p4: (n, 4) float64.
        weight: (n,) float64, of either sign.
        label: (n,) int32 or None.
        columns: named event-level arrays whose first axis is n.

    Raises:
        InputError: shapes that do not belong together. `validate` looks at the values.

    Examples:
        >>> p4 = [[5.0, 3.0, 0.0, 4.0], [2.0, 0.0, 2.0, 0.0], [1.0, 1.0, 0.0, 0.0]]
        >>> events = Events.from_flat(p4, multiplicity=[2, 1])
        >>> len(events), events.multiplicity.tolist(), events.jet_p4[0].tolist()
        (2, [2, 1], [7.0, 3.0, 2.0, 4.0])
        >>> events[1:].p4.tolist()
        [[1.0, 1.0, 0.0, 0.0]]
        >>> events.with_weight([0.5, -1.0]).weight.tolist()
        [0.5, -1.0]
    """

    p4: np.ndarray
    pid: np.ndarray
    offsets: np.ndarray
    jet_p4: np.ndarray
    weight: np.ndarray
    label: np.ndarray | None = None
    columns: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        """Bring the arrays to their dtypes and compare their shapes."""
        for name, dtype in _DTYPES.items():
            if getattr(self, name) is not None:
                array = np.asarray(getattr(self, name))
                checks.check_numbers(name, array)
                if np.issubdtype(dtype, np.integer):
                    checks.check_integers(name, array, dtype)
                elif name == "p4" and array.dtype == np.float32:
                    dtype = np.float32
                object.__setattr__(self, name, array.astype(dtype, copy=False))
        if self.offsets.ndim != 1 or not len(self.offsets):
            raise InputError(f"offsets has shape {self.offsets.shape}, expected (n+1,)")
        n, total = len(self), len(self.p4)
        expected: dict[str, tuple[int, ...]] = {
            "p4": (total, 4), "pid": (total,), "jet_p4": (n, 4), "weight": (n,), "label": (n,)
        }  # fmt: skip
        for name, shape in expected.items():
            array = getattr(self, name)
            if array is not None and array.shape != shape:
                raise InputError(
                    f"{name} has shape {array.shape}, expected {shape} "
                    f"for {n} events with {total} constituents"
                )
        for name, array in self.columns.items():
            if array.shape[:1] != (n,):
                raise InputError(
                    f"column {name!r} has shape {array.shape}, expected ({n}, ...) for {n} events"
                )

    def __len__(self) -> int:
        """Count the events."""
        return len(self.offsets) - 1

    @property
    def multiplicity(self) -> np.ndarray:
        """Count the constituents of each event, (n,) int64."""
        return np.diff(self.offsets)

    def __getitem__(self, index: int | slice | np.ndarray | Sequence[int]) -> Events:
        """Choose events: a slice, booleans (n,), integers in any order, or one integer."""
        chosen = np.asarray(index) if not isinstance(index, slice) else index
        if isinstance(chosen, np.ndarray) and chosen.dtype == bool and chosen.shape != (len(self),):
            raise InputError(f"selection has shape {chosen.shape}, expected ({len(self)},)")
        if isinstance(chosen, np.ndarray) and not chosen.size:
            chosen = chosen.astype(np.int64)
        if isinstance(chosen, slice) or chosen.dtype == bool:
            chosen = np.arange(len(self))[chosen]
        events = np.atleast_1d(chosen).astype(np.int64, copy=False)
        if events.min(initial=0) < -len(self):
            raise IndexError(f"found event {events.min()}, expected {-len(self)} … {len(self) - 1}")
        events = np.where(events < 0, events + len(self), events)
        starts = self.offsets[events]
        counts = self.offsets[events + 1] - starts
        offsets = col.offsets_of(counts)
        rows = np.arange(offsets[-1]) + np.repeat(starts - offsets[:-1], counts)
        return self._with(
            p4=self.p4[rows],
            pid=self.pid[rows],
            offsets=offsets,
            jet_p4=self.jet_p4[events],
            weight=self.weight[events],
            label=None if self.label is None else self.label[events],
            columns={name: array[events] for name, array in self.columns.items()},
        )

    def _with(self, **arrays: Any) -> Events:
        """Replace arrays by others that are known to fit: nothing is compared again."""
        events = copy.copy(self)
        vars(events).update(arrays)
        return events

    @property
    def passing(self) -> np.ndarray | None:
        """Tell which events have their level, (n,) bool; None for all, without such a column.

        The others, whose column `pass_gen` or `pass_reco` is false, need no constituents.
        """
        flags = [self.columns[name] for name in PASS.values() if name in self.columns]
        if not any(flag.ndim == 1 and not flag.all() for flag in flags):
            return None
        return np.logical_and.reduce([flag != 0 for flag in flags])

    def read(self) -> Events:
        """Return these events, which are in memory (those of `data.stored` are on disk)."""
        return self

    @property
    def identities(self) -> bool:
        """Tell whether any constituent has an identity."""
        return bool(self.pid.any())

    def undirected(self) -> dict[str, int]:
        """Count the constituents and jets that have pT or E of 0: {"constituents", "jets"}."""
        both = {"constituents": self.p4, "jets": self.jet_p4}
        return {
            what: int(np.sum((np.hypot(p4[:, 1], p4[:, 2]) <= 0) | (p4[:, 0] <= 0)))
            for what, p4 in both.items()
        }

    def digest(self) -> str:
        """Hash all that a network can see: the same for the same events, weights, labels.

        Networks see momenta in single precision.
        """
        p4, jet_p4 = (a.astype(np.float32, copy=False) for a in (self.p4, self.jet_p4))
        own = (p4, self.pid, self.offsets, jet_p4, self.weight, self.label)
        return digest(*own, *(self.columns[name] for name in sorted(self.columns)))

    def with_columns(self, names: Sequence[str]) -> Events:
        """Keep these columns alone, in this order.

        Raises InputError where one is missing or is not one value an event.
        """
        for name in names:
            if name not in self.columns or self.columns[name].ndim != 1:
                found = {k: v.shape for k, v in self.columns.items()}
                raise InputError(
                    f"column {name!r}: found the columns {found}, expected it among them with one "
                    "number an event"
                )
        return self._with(columns={name: self.columns[name] for name in names})

    def with_weight(self, weight: np.ndarray) -> Events:
        """Replace the weights by others (n,)."""
        return dataclasses.replace(self, weight=weight)

    def with_label(self, label: np.ndarray | int) -> Events:
        """Replace the labels by others (n,), or one label for all."""
        return dataclasses.replace(self, label=np.broadcast_to(label, (len(self),)).copy())

    def sorted_by_pt(self) -> Events:
        """Order the constituents of each event by falling transverse momentum."""
        event = np.repeat(np.arange(len(self)), self.multiplicity)
        order = np.lexsort((-np.hypot(self.p4[:, 1], self.p4[:, 2]), event))
        return self._with(p4=self.p4[order], pid=self.pid[order])

    def hardest(self, most: int) -> Events:
        """Keep at most so many constituents of each event, those of largest pT.

        The jets' four-momenta stay as they are. Raises InputError for less than one.
        """
        if most < 1:
            raise InputError(f"constituents: found {most}, expected at least 1 of each event")
        ordered = self.sorted_by_pt()
        place = np.arange(len(self.p4)) - np.repeat(self.offsets[:-1], self.multiplicity)
        kept = place < most
        offsets = col.offsets_of(np.minimum(self.multiplicity, most))
        return ordered._with(p4=ordered.p4[kept], pid=ordered.pid[kept], offsets=offsets)

    def padded(self, maximum: int | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Lay the constituents out as rectangular arrays, padded with zeros at the end.

        Args:
            maximum: P, of which only the first constituents are kept (`sorted_by_pt` puts the
                hardest first); default: the largest multiplicity.

        Returns:
            p4 (n, P, 4) of the dtype here, pid (n, P) int32, lengths (n,) int64.
        """
        counts = self.multiplicity
        if maximum is None:
            maximum = int(counts.max(initial=0))
        lengths = np.minimum(counts, maximum)
        filled = np.arange(maximum) < lengths[:, None]
        rows = (self.offsets[:-1, None] + np.arange(maximum))[filled]
        p4 = np.zeros((len(self), maximum, 4), dtype=self.p4.dtype)
        pid = np.zeros((len(self), maximum), dtype=np.int32)
        p4[filled], pid[filled] = self.p4[rows], self.pid[rows]
        return p4, pid, lengths

    @classmethod
    def concatenate(cls, samples: Sequence[Events]) -> Events:
        """Join the events of all samples, one sample after another.

        Raises:
            InputError: no sample, or samples whose labels or columns differ in kind.
        """
        if not samples:
            raise InputError("nothing to concatenate: expected at least one sample")
        names = list(samples[0].columns)
        for place, sample in enumerate(samples):
            if set(sample.columns) != set(names):
                raise InputError(
                    f"sample {place} has the columns {sorted(sample.columns)}, "
                    f"expected those of sample 0: {sorted(names)}"
                )
            if (sample.label is None) != (samples[0].label is None):
                raise InputError(f"label is present in only one of the samples 0 and {place}")
        labels = [sample.label for sample in samples if sample.label is not None]
        return cls(
            p4=np.concatenate([sample.p4 for sample in samples]),
            pid=np.concatenate([sample.pid for sample in samples]),
            offsets=col.offsets_of(np.concatenate([sample.multiplicity for sample in samples])),
            jet_p4=np.concatenate([sample.jet_p4 for sample in samples]),
            weight=np.concatenate([sample.weight for sample in samples]),
            label=np.concatenate(labels) if labels else None,
            columns={name: np.concatenate([s.columns[name] for s in samples]) for name in names},
        )

    @classmethod
    def from_flat(
        cls,
        p4: np.ndarray,
        multiplicity: np.ndarray,
        *,
        coordinates: str = "E,px,py,pz",
        pid: np.ndarray | None = None,
        jet_p4: np.ndarray | None = None,
        weight: np.ndarray | None = None,
        label: np.ndarray | None = None,
        columns: Mapping[str, np.ndarray] | None = None,
        scale: float = 1.0,
        faults: list[checks.Fault] | None = None,
    ) -> Events:
        """Make validated events of flat momenta (total, components) and multiplicities (n,).

        Absent: `pid` is 0, `weight` is 1, `jet_p4` is the sum of the constituents, in float64.
        `coordinates` (`coordinates.components`) holds for `jet_p4` too, which has a mass where it
        has no energy, and no identity. `scale`: factor on energies, momenta and masses that makes
        them GeV. `faults`: takes what is wrong with the values, which raises otherwise. Cartesian
        single precision stays; everything else becomes double precision, so that masses of forward
        jets are not lost.

        Raises:
            InputError: anything that `validate` refuses, values that cannot be right in their
                coordinates, shapes that do not fit.
        """
        p4, multiplicity = np.asarray(p4), np.asarray(multiplicity)
        checks.check_integers("multiplicity", multiplicity)
        multiplicity = multiplicity.astype(np.int64)
        offsets = col.offsets_of(multiplicity)
        made = momenta_of(p4, offsets, coordinates, pid, jet_p4, scale)
        events = cls(
            p4=made.p4,
            pid=made.pid,
            offsets=offsets,
            jet_p4=made.jet_p4,
            weight=np.ones(len(multiplicity)) if weight is None else weight,
            label=label,
            columns={k: np.asarray(v) for k, v in (columns or {}).items()},
        )
        if faults is None:
            for fault in made.faults:
                raise InputError(fault.message)
            return events.validate()
        kinds = {fault.what for fault in made.faults}
        faults += [*made.faults, *(fault for fault in events.faults() if fault.what not in kinds)]
        return events

    @classmethod
    def from_columns(
        cls, columns: Mapping[str, np.ndarray], weight: np.ndarray | None = None
    ) -> Events:
        """Make validated events of which columns (n,) alone are known.

        Each has one constituent, of 1 GeV along x, which stands for nothing. Raises InputError for
        no columns, lengths that differ, and values that are not finite.
        """
        if not columns:
            raise InputError("columns: found none, expected at least one")
        n = len(next(iter(columns.values())))
        p4 = np.broadcast_to(np.array([1.0, 1.0, 0.0, 0.0]), (n, 4))
        return cls.from_flat(p4, np.ones(n, np.int64), weight=weight, columns=columns)

    @classmethod
    def from_padded(
        cls,
        p4: np.ndarray,
        mask: np.ndarray | None = None,
        *,
        coordinates: str = "E,px,py,pz",
        pid: np.ndarray | None = None,
        padding: float | None = None,
        **rest: Any,
    ) -> Events:
        """Make validated events of padded momenta (n, P, components).

        Args:
            p4: momenta in `coordinates`.
            mask: (n, P), true for constituents, or (n,) multiplicities; default: padding are the
                rows of zeros (pt = 0, where there is a pt).
            coordinates: as `coordinates.components` takes them.
            pid: (n, P) PDG codes.
            padding: value of the first component of padded rows, NaN among them, where it is not 0.
            rest: jet_p4, weight, label, columns, scale and faults as in `from_flat`.
        """
        p4 = np.asarray(p4)
        width = len(col.components(coordinates))
        if p4.ndim != 3 or p4.shape[2] != width:
            raise InputError(f"p4 has shape {p4.shape}, expected (n, P, {width}): {coordinates}")
        if mask is not None and padding is not None:
            raise InputError("padding: found it beside a mask, expected one of both")
        mask = None if mask is None else np.asarray(mask)
        filled = col.filled_rows(p4, coordinates, mask, padding)
        if pid is not None:
            pid = np.asarray(pid)
            if pid.shape != p4.shape[:2]:
                raise InputError(f"pid has shape {pid.shape}, expected {p4.shape[:2]}")
            pid = pid[filled]
        return cls.from_flat(
            p4[filled], filled.sum(axis=1), coordinates=coordinates, pid=pid, **rest
        )

    @classmethod
    def from_ragged(
        cls,
        p4: Sequence[np.ndarray],
        *,
        coordinates: str = "E,px,py,pz",
        pid: Sequence[np.ndarray] | None = None,
        **rest: Any,
    ) -> Events:
        """Make validated events of one (multiplicity, 3 or 4) array each; `rest`: `from_flat`."""
        width = len(col.components(coordinates))
        return cls.from_flat(
            np.concatenate([np.zeros((0, width)), *p4]),
            np.array([len(event) for event in p4], dtype=np.int64),
            coordinates=coordinates,
            pid=None if pid is None else np.concatenate([np.zeros(0, dtype=np.int32), *pid]),
            **rest,
        )

    def faults(self) -> Iterator[checks.Fault]:
        """Find every kind of value that cannot be used, with its first place and their number."""
        passing = self.passing
        yield from checks.constituent_faults(self.p4, self.offsets, passing)
        yield from checks.identity_faults(self.pid, self.offsets)
        named = {f"column {name!r}": array for name, array in self.columns.items()}
        yield from checks.column_faults({"jet_p4": self.jet_p4, "weight": self.weight}, None)
        yield from checks.column_faults(named, passing)

    def validate(self) -> Events:
        """Return these events, if every value can be used.

        Raises:
            InputError: naming the column, the first bad event, what was found and expected:
                offsets that fall or miss the end, events without constituents (unless their
                column `pass_gen` or `pass_reco` says that they lack the level), values that are
                not finite, energies that are not positive, spacelike constituents, unknown
                identities, weights that are all zero.
        """
        checks.check_offsets(self.offsets, len(self.p4))
        for fault in self.faults():
            raise InputError(fault.message)
        if len(self) and not self.weight.any():
            raise InputError("weight is zero for all events, expected at least one other weight")
        return self


_DTYPES: dict[str, type] = {
    "p4": np.float64, "pid": np.int32, "offsets": np.int64, "jet_p4": np.float64,
    "weight": np.float64, "label": np.int32,
}  # fmt: skip
