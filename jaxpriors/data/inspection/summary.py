"""What a sample holds, gathered block by block: numbers, ranges, weights, labels, identities."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from jaxpriors.data.events import Events
from jaxpriors.physics import kinematics


@dataclass
class Range:
    """Smallest, largest and mean of the finite values that were added, and how many others."""

    low: float = np.inf
    high: float = -np.inf
    total: float = 0.0
    number: int = 0

    def add(self, values: np.ndarray) -> None:
        """Count the finite ones among some more values."""
        finite = values[np.isfinite(values)].astype(np.float64)
        if finite.size:
            self.low, self.high = min(self.low, finite.min()), max(self.high, finite.max())
            with np.errstate(over="ignore"):
                self.total += float(finite.sum())
            self.number += finite.size

    def __str__(self) -> str:
        """In words."""
        if not self.number:
            return "-"
        return f"{self.low:.5g} to {self.high:.5g}, mean {self.total / self.number:.5g}"


@dataclass
class Summary:
    """One sample, or one level of it; `add` some events, then `lines` tells what there was."""

    events: int = 0
    constituents: int = 0
    ranges: dict[str, Range] = field(default_factory=dict)
    columns: dict[str, tuple[str, Range]] = field(default_factory=dict)
    # the sums of the weights, of their squares and of their sizes
    weights: tuple[float, float, float] = (0.0, 0.0, 0.0)
    negative: int = 0
    labels: Counter[int] = field(default_factory=Counter)
    identities: Counter[int] = field(default_factory=Counter)

    def add(self, events: Events) -> None:
        """Look at some more events, whose values may be such that nothing else uses them."""
        self.events += len(events)
        self.constituents += len(events.p4)
        jet = events.jet_p4.astype(np.float64)
        with np.errstate(all="ignore"):
            found = {
                "multiplicity": events.multiplicity,
                "jet pt [GeV]": kinematics.pt(jet),
                "jet eta": kinematics.eta(jet),
                "jet mass [GeV]": kinematics.mass(jet),
                "weight": events.weight,
            }
        for name, values in found.items():
            self.ranges.setdefault(name, Range()).add(values)
        weight = events.weight[np.isfinite(events.weight)]
        with np.errstate(over="ignore"):
            sums = weight.sum(), (weight**2).sum(), np.abs(weight).sum()
        first, second, third = (a + float(b) for a, b in zip(self.weights, sums, strict=True))
        self.weights = first, second, third
        self.negative += int((weight < 0).sum())
        if events.label is not None:
            self.labels.update(_counts(events.label))
        self.identities.update(_counts(events.pid))
        for name, array in events.columns.items():
            kind = f"{array.dtype} {('events', *array.shape[1:])}".replace("'", "").replace(
                ",)", ")"
            )
            self.columns.setdefault(name, (kind, Range()))[1].add(array)

    def lines(self) -> list[str]:
        """Say what there was, a line each."""
        found = [f"events         {self.events}", f"constituents   {self.constituents}"]
        found += [f"{name:<15}{values}" for name, values in self.ranges.items()]
        total, squares, _ = self.weights
        if 0 < squares < np.inf:
            found.append(f"effective sample size {(total / squares**0.5) ** 2:.1f}")
        if self.negative:
            found.append(f"negative weights {self.negative}")
        shares = sorted(self.identities.items())
        if self.events:
            each = ", ".join(f"{code}: {n / self.events:.2f}" for code, n in shares)
            found.append(f"identities an event: {each}")
        if self.labels:
            found.append(f"labels {dict(sorted(self.labels.items()))}")
        found += [
            f"column {name} {kind}: {values}" for name, (kind, values) in self.columns.items()
        ]
        return found


def _counts(array: np.ndarray) -> dict[int, int]:
    values, counts = np.unique(array, return_counts=True)
    return dict(zip(values.tolist(), counts.tolist(), strict=True))
