"""Simulated events at both levels, matched one by one, some of them known at one level alone."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np

from jaxpriors.data.checks import located
from jaxpriors.data.events import LEVELS, Events
from jaxpriors.data.hdf5 import Opened, Source, open_source, read_event_column
from jaxpriors.data.sample_files import read_events
from jaxpriors.errors import InputError
from jaxpriors.run.storage import digest

PASS = {"particle": "pass_gen", "detector": "pass_reco"}


@dataclass(frozen=True)
class Simulation:
    """Hold n simulated events, of which some have no particle level (fakes) or no detector level.

    Args:
        particle: those with ``pass_gen``, in order.
        detector: those with ``pass_reco``, in order.
        pass_gen: (n,) bool.
        pass_reco: (n,) bool.

    Raises:
        InputError: lengths that do not belong together, flags that leave no event with both levels,
            weights that differ between the levels or whose sum is not positive.

    Examples:
        Of three jets at particle level the detector missed the last one.

        >>> truth = Events.from_flat([[5.0, 3.0, 0.0, 4.0]] * 3, [1, 1, 1])
        >>> seen = Events.from_flat([[4.0, 2.0, 0.0, 3.0]] * 3, [1, 1, 1])
        >>> simulation = Simulation.of(truth, seen, pass_reco=[True, True, False])
        >>> len(simulation), len(simulation.particle), len(simulation.detector)
        (3, 3, 2)
        >>> simulation.both.tolist()
        [True, True, False]
    """

    particle: Events
    detector: Events
    pass_gen: np.ndarray
    pass_reco: np.ndarray

    def __post_init__(self) -> None:
        """Compare the levels."""
        if self.pass_gen.shape != self.pass_reco.shape:
            raise InputError(
                f"pass_gen, pass_reco: found shapes {self.pass_gen.shape} and "
                f"{self.pass_reco.shape}, expected the same events at both levels"
            )
        for level, name in PASS.items():
            events, flags = getattr(self, level), getattr(self, name)
            if len(events) != flags.sum():
                raise InputError(
                    f"{level} level: found {len(events)} events, expected {flags.sum()}, the "
                    f"number with {name}"
                )
        both = self.both
        if not both.any():
            raise InputError(
                f"pass_gen, pass_reco: of {len(both)} events {self.pass_gen.sum()} have a particle "
                f"level, {self.pass_reco.sum()} a detector level and none has both; expected some"
            )
        weights = self.particle.weight[both[self.pass_gen]]
        others = self.detector.weight[both[self.pass_reco]]
        if not np.array_equal(weights, others):
            worst = int(np.argmax(weights != others))
            raise InputError(
                f"weight: event {np.flatnonzero(both)[worst]} has {weights[worst]:g} at particle "
                f"level and {others[worst]:g} at detector level, expected one weight"
            )
        if not weights.sum() > 0:
            raise InputError(
                f"weight: the weights of the {len(weights)} simulated events with both levels sum "
                f"to {weights.sum():g}, expected a positive number"
            )

    @classmethod
    def of(
        cls,
        particle: Events,
        detector: Events,
        pass_gen: np.ndarray | None = None,
        pass_reco: np.ndarray | None = None,
    ) -> Simulation:
        """Match all n events at both levels; what stands for an absent level is not looked at.

        Flags (n,), None for all true. Raises InputError for levels of different lengths and flags
        that are none.
        """
        if len(particle) != len(detector):
            raise InputError(
                f"simulation: found {len(particle)} events at particle level and {len(detector)} "
                "at detector level, expected the same events at both"
            )
        gen = as_flags("pass_gen", pass_gen, len(particle))
        reco = as_flags("pass_reco", pass_reco, len(particle))
        return cls(particle[gen], detector[reco], gen, reco)

    def __len__(self) -> int:
        """Count the events, whatever levels they have."""
        return len(self.pass_gen)

    @property
    def both(self) -> np.ndarray:
        """Tell which events have both levels, (n,) bool."""
        return self.pass_gen & self.pass_reco

    @property
    def weight(self) -> np.ndarray:
        """Collect the event weights (n,) float64; 0 for an event without any level."""
        result = np.zeros(len(self))
        result[self.pass_reco] = self.detector.weight
        result[self.pass_gen] = self.particle.weight
        return result

    def with_weight(self, weight: np.ndarray) -> Simulation:
        """Replace the weights by others (n,)."""
        weight = np.asarray(weight, np.float64)
        if weight.shape != (len(self),):
            raise InputError(f"weight: found shape {weight.shape}, expected ({len(self)},)")
        return dataclasses.replace(
            self,
            particle=self.particle.with_weight(weight[self.pass_gen]),
            detector=self.detector.with_weight(weight[self.pass_reco]),
        )

    def __getitem__(self, index: np.ndarray) -> Simulation:
        """Choose events by their indices (m,), in that order."""
        chosen = []
        for level, name in PASS.items():
            flags = getattr(self, name)
            place = np.cumsum(flags) - 1
            chosen.append(getattr(self, level)[place[index][flags[index]]])
        return Simulation(chosen[0], chosen[1], self.pass_gen[index], self.pass_reco[index])

    def particle_columns(self) -> dict[str, np.ndarray]:
        """Collect the particle level's columns of one value an event, (n,), NaN where it is none.

        The flag of the level is not among them.
        """
        result = {}
        for name, column in self.particle.columns.items():
            if column.ndim == 1 and name != PASS["particle"]:
                result[name] = np.full(len(self), np.nan)
                result[name][self.pass_gen] = column
        return result

    def digest(self) -> str:
        """Hash the momenta at both levels and the flags, whatever weights and columns."""
        levels = (self.particle, self.detector)
        arrays = [array for e in levels for array in (e.p4, e.pid, e.offsets)]
        return digest(*arrays, *map(np.packbits, (self.pass_gen, self.pass_reco)))


def as_flags(name: str, flags: np.ndarray | None, n: int) -> np.ndarray:
    """Turn flags (n,) into bool, None into all true.

    Raises InputError where they are of another shape or kind.
    """
    if flags is None:
        return np.ones(n, bool)
    flags = np.asarray(flags)
    if flags.shape != (n,) or not np.isin(flags, (0, 1)).all():
        raise InputError(
            f"{name}: found shape {flags.shape} with values {np.unique(flags)[:4].tolist()}, "
            f"expected ({n},) of true and false"
        )
    return flags.astype(bool)


def read_simulation(path: Opened, weight: str | None = None) -> Simulation:
    """Read the events of a file with both levels (layout: `jaxpriors.data.sample_files`).

    The columns ``pass_gen`` of the particle level and ``pass_reco`` of the detector level say
    which events have that level; all have, where there is no such column. weight: the column with
    the weights, at both levels, None for `weight`. Raises InputError as `read_events` and
    ``Simulation`` do, and for a file that lacks a level.

    Examples:
        >>> import os, tempfile
        >>> from jaxpriors.data.sample_files import write_events
        >>> levels = {x: Events.from_flat([[5.0, 3.0, 0.0, 4.0]] * 2, [1, 1]) for x in LEVELS}
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = os.path.join(folder, "simulation.h5")
        ...     write_events(path, levels)
        ...     simulation = read_simulation(path)
        >>> len(simulation), simulation.weight.tolist()
        (2, [1.0, 1.0])
    """
    with open_source(path) as source:
        path, present = source.path, source.levels
        if set(present) != set(LEVELS):
            found = f"the level {present[0]}" if present else "one sample without levels"
            raise InputError(f"{path}: found {found}, expected {' and '.join(LEVELS)}")
        flags = {level: read_flags(source, level) for level in LEVELS}
        events = {level: _read_level(source, level, weight, flags[level]) for level in LEVELS}
    sizes = {len(f) for f in flags.values() if f is not None}
    sizes |= {len(events[level]) for level in LEVELS if flags[level] is None}
    if len(sizes) > 1:
        raise InputError(
            f"{path}: found levels of {sorted(sizes)} events, expected as many at both"
        )
    n = sizes.pop()
    gen, reco = (as_flags(PASS[level], flags[level], n) for level in LEVELS)
    with located(path):
        return Simulation(events["particle"], events["detector"], gen, reco)


def _read_level(
    source: Source, level: str | None, weight: str | None, chosen: np.ndarray | None
) -> Events:
    """Read one level, weighted by a column of that name; chosen: (n,) bool or all."""
    prefix = "" if level is None else f"{level}/"
    named = None if weight is None else {"weight": f"{prefix}columns/{weight}"}
    return read_events(source, level, named, chosen=chosen)


def read_data(path: Opened, weight: str | None = None) -> Events:
    """Read measured events: the detector level of a file, or its one sample; those `pass_reco`.

    weight: as in ``read_simulation``. Raises InputError as `read_events` does.
    """
    with open_source(path) as source:
        level = "detector" if source.levels else None
        return _read_level(source, level, weight, read_flags(source, level))


def read_flags(source: Source, level: str | None) -> np.ndarray | None:
    """Tell which events have that level (None: the measured one), (n,) bool; None: no such column.

    Raises InputError for a column that is not made of flags, or that no event passes.
    """
    name = PASS[level or "detector"]
    flags = read_event_column(source, level, name)
    if flags is None:
        return None
    with located(source.path):
        found = as_flags(name, flags, len(flags))
    if not found.any():
        raise InputError(
            f"{source.path}: {name}: none of {len(found)} events passes, expected some"
        )
    return found
