"""How far each step of an unfolding is to be trusted, and which iteration to take.

A step is measured on its held-out events, which its networks were not trained on (they choose the
epoch). What it changes is the log ratio: in step 1 from 0, with which the pull weights would be the
push weights, in step 2 from that of the push weights of the iteration before (in the first one from
0 as well, a loss of ln 2). The loss of a constant is no reference for later steps 2, which hold
what the iterations before have learnt.

- The *gain* is the fall of the held-out cross-entropy through the step, with its error.
- The *evidence* is how well held-out events confirm the direction of the change, in standard
  errors: the slope of their cross-entropy along it. In step 1 that is the difference of the mean
  log ratio of data and of simulation. It tells a right change that is too large, which gains
  nothing, from a wrong one.

| verdict | what was measured                                                                    |
|---------|--------------------------------------------------------------------------------------|
| learnt  | evidence above `LEVEL`: other events confirm what the step found                     |
| noise   | a gain below 0 by more than `LEVEL` errors: the weights follow their own events      |
| nothing | neither                                                                              |

The *move* of an iteration is how far it moved the unfolded spectra, in their statistical errors;
where none is one error away from those of an iteration before, iterations only add noise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

LEVEL = 2.0  # standard errors


class Gain(NamedTuple):
    """Hold gain, its statistical error and evidence of a step: see the module."""

    gain: float
    gain_error: float
    evidence: float

    @classmethod
    def of(cls, report: Mapping[str, Any]) -> Gain:
        """Take them from the report of a step."""
        return cls(*(report[name] for name in cls._fields))

    @property
    def verdict(self) -> str:
        """Give learnt, noise or nothing."""
        if self.gain < -LEVEL * self.gain_error:
            return "noise"
        return "learnt" if self.evidence > LEVEL else "nothing"


def measured(
    log_ratio: np.ndarray, before: np.ndarray, weight: np.ndarray, label: np.ndarray
) -> Gain:
    """Measure on n held-out events what a step changes from log ratios ``before`` (n,).

    weight, label: (n,), as in `ratio.examples`, whose loss this is the fall of; the labels lie
    between 0 and 1. The error is that of n independent events.

    >>> label, zero = np.repeat([0.0, 1.0], 50), np.zeros(100)
    >>> found = measured(np.where(label, 0.5, -0.5), zero, np.ones(100), label)
    >>> round(found.gain, 4), found.verdict
    (0.2191, 'learnt')
    >>> measured(zero, zero, np.ones(100), label).verdict
    'nothing'
    """

    def entropy(x: np.ndarray) -> np.ndarray:
        return np.logaddexp(0.0, x) - label * x

    root = len(log_ratio) ** 0.5
    fall = weight * (entropy(before) - entropy(log_ratio))
    change = log_ratio - before
    change = change - np.sum(weight * change) / np.sum(weight)
    slope = weight * (label - 1 / (1 + np.exp(-before))) * change
    mean = float(slope.mean())
    spread = max(float(slope.std()), 1e-9 * abs(mean))  # finite where all events agree
    evidence = mean * root / spread if spread > 0 else 0.0
    return Gain(float(fall.mean()), float(fall.std()) / root, evidence)


def move(before: np.ndarray, after: np.ndarray, error: np.ndarray, at: np.ndarray) -> float:
    """Tell how far a spectrum (K,) moved, in its statistical errors (K,).

    It is the larger one of the root mean square over the bins and the move of the mean, which a
    small shift of all bins shows first. at: the middles of the bins (K,). Bins without an error
    have no part.

    >>> at, error = np.array([0.5, 1.5]), np.array([3.0, 4.0])
    >>> move(np.array([10.0, 20.0]), np.array([13.0, 20.0]), error, at)
    0.8312579910688016
    """
    known = error > 0
    if not known.any() or not min(before[known].sum(), after[known].sum()) > 0:
        return 0.0
    before, after, error, at = (x[known] for x in (before, after, error, at))
    rms = float(np.sqrt(np.mean(((after - before) / error) ** 2)))
    means = [float(h @ at / h.sum()) for h in (before, after)]
    of_mean = float(np.sqrt(np.sum((error * (at - means[1])) ** 2)) / after.sum())
    return max(rms, abs(means[1] - means[0]) / of_mean) if of_mean > 0 else rms


def settled(reports: Sequence[Mapping[str, Any]]) -> int | None:
    """Find the first iteration from which no later spectrum is a statistical error away.

    None where there is no later one than that. ``moves`` of a report: from each iteration before,
    from 0 on.
    """
    moves = [r["moves"] for r in reports if r.get("moves")]
    for iteration in range(1, len(moves)):
        if all(later[iteration] < 1 for later in moves[iteration:]):
            return iteration
    return None


def unmeasured(report: Mapping[str, Any]) -> str | None:
    """Name what is no number in the report of a step with a gain; None where all is there."""
    names = "iteration", *Gain._fields
    return next((n for n in names if not isinstance(report.get(n), int | float)), None)


def chosen_iteration(reports: Sequence[Mapping[str, Any]], done: int) -> tuple[int, str]:
    """Choose one of the iterations that are done by the reports of all steps; also say why.

    It is the last one, unless step 1 of an iteration follows noise: then the one before that, as
    all that follows starts from weights that held-out events contradict. A gain within its error is
    no reason to stop: held-out events are few, and where every step starts from a ratio of 1, steps
    that find nothing change nothing. Reports of an earlier version choose the last iteration.
    """
    first = [r for r in reports if r.get("level") == "detector" and "gain" in r]
    for report in first:
        if report["iteration"] > 1 and Gain.of(report).verdict == "noise":
            at = report["iteration"]
            return at - 1, f"step 1 of iteration {at} follows noise, and what comes after it"
    if not first:
        return done, "the last one: its steps were not measured on held-out events"
    if done > 1 and Gain.of(first[-1]).verdict == "learnt":
        return done, "the last one, whose step 1 still learnt: try more iterations"
    return done, "the last one: held-out events contradict none"


def quality_notes(reports: Sequence[Mapping[str, Any]]) -> list[str]:
    """Say in sentences what the reports tell of an unfolding: steps in vain, moves, the choice."""
    known = [r for r in reports if "gain" in r]
    lines = []
    for verdict, meaning in (
        ("nothing", "learnt nothing that held-out events confirm"),
        ("noise", "follows noise: held-out events are described worse than before it; more events, "
         "fewer epochs, a lower rate or more networks (--members) help"),
    ):  # fmt: skip
        for number, level in enumerate(("detector", "particle"), 1):
            found = [
                r["iteration"]
                for r in known
                if r["level"] == level and Gain.of(r).verdict == verdict
            ]
            if found:
                some = ", ".join(map(str, found))
                lines.append(f"step {number} of iteration {some} {meaning}")
    if (since := settled(reports)) is not None:
        lines.append(
            f"from iteration {since} on, all spectra stay within their statistical errors: more "
            "iterations only add noise"
        )
    elif sum(bool(r.get("moves")) for r in reports) > 1:
        last = [r for r in reports if r.get("moves")][-1]
        lines.append(
            f"not settled: iteration {last['iteration']} moves {last['moved']} by "
            f"{last['moves'][-1]:.1f} statistical errors"
        )
    if reports:
        done = sum(r["level"] == "particle" for r in reports)
        number, reason = chosen_iteration(reports, done)
        lines.append(f"chosen iteration: {number} ({reason})")
    return lines
