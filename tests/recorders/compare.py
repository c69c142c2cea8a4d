"""Compare the arrays of stored cases with those that a recorder made again, and print the gaps.

    python tests/recorders/compare.py STORED MADE BAR

compares all cases of two folders, and exits 1 where a gap is above the bar.
"""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np


def gaps(
    stored: Mapping[str, np.ndarray],
    made: Mapping[str, np.ndarray],
    bar: Callable[[str, np.ndarray], float],
    units: Mapping[str, float] | None = None,
) -> list[tuple[str, float, float]]:
    """(name, largest difference, its bar) of each stored array in turn.

    Differences are in ``units`` by name, otherwise in units of the array's largest entry. An array
    that was not made, or that has another shape, is infinitely far.
    """
    rows = []
    for name, value in stored.items():
        ours = made.get(name)
        gap = float("inf")
        if ours is not None and np.shape(ours) == value.shape:
            wide, ours = value.astype(np.float64), np.asarray(ours, np.float64)
            unit = (units or {}).get(name) or float(np.abs(wide).max(initial=0)) or 1.0
            gap = float(np.abs(wide - ours).max(initial=0)) / unit
            gap = gap if gap == gap else float("inf")
        rows.append((name, gap, bar(name, value)))
    return rows


def report(case: str, rows: list[tuple[str, float, float]]) -> int:
    """Print each array of a case with its gap; give the number of those above their bar."""
    bad = 0
    for name, gap, bar in rows:
        above = not gap <= bar
        bad += above
        print(f"{case} {name} {gap:.1e}" + (f" ABOVE {bar:.0e}" if above else ""))
    return bad


def summary(
    found: dict[str, list[tuple[str, float, float]]], kind: Callable[[str, str], str]
) -> None:
    """Print the largest gap of each kind of array, told by case and name, and where it is."""
    largest: dict[str, tuple[float, str, float]] = {}
    for case, rows in found.items():
        for name, gap, bar in rows:
            if gap >= largest.get(kind(case, name), (-1.0, "", 0.0))[0]:
                largest[kind(case, name)] = (gap, f"{case} {name}", bar)
    arrays = sum(len(rows) for rows in found.values())
    print(f"\n{len(found)} cases, {arrays} arrays; the largest difference of each kind:")
    for name, (gap, where, bar) in sorted(largest.items()):
        print(f"{name:12} {gap:.1e} (bar {bar:.0e}) {where}")


def main() -> None:
    """Compare two folders."""
    stored, made = map(Path, sys.argv[1:3])
    found = {}
    for path in sorted(stored.glob("*.npz")):
        with np.load(path) as old, np.load(made / path.name) as new:
            found[path.stem] = gaps(dict(old), dict(new), lambda *_: float(sys.argv[3]))
    bad = sum(report(case, rows) for case, rows in found.items())
    summary(found, lambda _, name: name.split("/")[0].split("_")[0])
    if bad:
        raise SystemExit(f"{bad} arrays are above the bar")


if __name__ == "__main__":
    main()
