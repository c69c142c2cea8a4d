"""Simulated events at both levels, matched one by one, some of them known at one level alone."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np

from jaxpriors.data import unread
from jaxpriors.data.checks import located
from jaxpriors.data.events import LEVELS, PASS, Events
from jaxpriors.data.hdf5 import Opened, Source, open_source
from jaxpriors.data.named import as_flags, find_sample
from jaxpriors.data.named_unread import unread_names
from jaxpriors.data.reading import Reading
from jaxpriors.data.sample_files import read_named
from jaxpriors.data.weights import check_sum
from jaxpriors.errors import InputError
from jaxpriors.run.storage import digest


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
        check_matched(self.particle.weight, self.detector.weight, self.pass_gen, self.pass_reco)

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


def check_matched(
    particle: np.ndarray, detector: np.ndarray, pass_gen: np.ndarray, pass_reco: np.ndarray
) -> None:
    """Compare the weights of two levels, (those with `pass_gen`,) and (those with `pass_reco`,).

    Raises InputError where no event has both levels, weights differ, or their sum is not positive.
    """
    both = pass_gen & pass_reco
    if not both.any():
        raise InputError(
            f"pass_gen, pass_reco: of {len(both)} events {pass_gen.sum()} have a particle level, "
            f"{pass_reco.sum()} a detector level and none has both; expected some"
        )
    weights, others = particle[both[pass_gen]], detector[both[pass_reco]]
    if not np.array_equal(weights, others):
        worst = int(np.argmax(weights != others))
        raise InputError(
            f"weight: event {np.flatnonzero(both)[worst]} has {weights[worst]:g} at particle "
            f"level and {others[worst]:g} at detector level, expected one weight"
        )
    check_sum("simulated events with both levels", weights)


def read_simulation(
    path: Opened, weight: str | None = None, reading: Reading = Reading()
) -> Simulation:
    """Read the events of a file with both levels (layout: `jaxpriors.data.sample_files`).

    The columns ``pass_gen`` of the particle level and ``pass_reco`` of the detector level say
    which events have that level; all have, where there is no such column. weight: the column with
    the weights, at both levels, None for `weight`. reading: what else is to be known. Raises
    InputError as `read_events` and ``Simulation`` do, and for a file that lacks a level.

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
    if weight is not None:
        reading = reading.replace(columns={**reading.columns, "weight": weight})
    with open_source(path) as source:
        path, present = source.path, source.levels
        if set(present) != set(LEVELS):
            found = f"the level {present[0]}" if present else "one sample without levels"
            raise InputError(f"{path}: found {found}, expected {' and '.join(LEVELS)}")
        samples = [find_sample(source, _of_level(reading, level, source)) for level in LEVELS]
        unread.tell(path, unread_names(samples))
        sizes = {sample.size for sample in samples}
        if len(sizes) > 1:
            raise InputError(
                f"{path}: found levels of {sorted(sizes)} events, expected as many at both"
            )
        particle, detector = (sample.read() for sample in samples)
    gen, reco = (as_flags("", sample.flags, sample.size) for sample in samples)
    with located(path):
        return Simulation(particle, detector, gen, reco)


def _of_level(reading: Reading, level: str, source: Source) -> Reading:
    """Say how a level is read: the names of columns are those within the level."""
    names = {
        ours: name if name in source.arrays else f"{level}/columns/{name}"
        for ours, name in reading.columns.items()
    }
    return reading.replace(level=level, columns=names)


def read_data(path: Opened, weight: str | None = None, reading: Reading = Reading()) -> Events:
    """Read measured events: the detector level of a file, or its one sample; those `pass_reco`.

    weight, reading: as in ``read_simulation``. Raises InputError as `read_events` does.
    """
    with open_source(path) as source:
        level = "detector" if source.levels else None
        if weight is not None:
            name = weight if weight in source.arrays else f"columns/{weight}"
            if level and name not in source.arrays:
                name = f"{level}/{name}"
            reading = reading.replace(columns={**reading.columns, "weight": name})
        return read_named(source, reading.replace(level=level))
