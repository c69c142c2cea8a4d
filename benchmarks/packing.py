"""Time training steps on realistic multiplicities: padded, in length buckets, or packed.

    python -m benchmarks.packing --json benchmarks/results/packing.json

A packed row holds several jets one after the other, whose particles attend to their own jet alone
(``Mask.segments``). PET has norms over whole jets and cannot be packed so. Ratios are to one padded
length, beside the number of tokens that are computed. Packed and padded jets are the same, and
their losses are compared first.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import jax
import numpy as np
import tyro
from jax import Array

from benchmarks.measure import time_in_turn
from benchmarks.networks import (
    Benchmarked,
    benchmarked,
    in_buckets,
    loss,
    multiplicities,
    train_program,
)
from benchmarks.tables import Result, compared, report
from jaxpriors.layers.attention import Mask
from jaxpriors.physics.algebra import embed_vector
from jaxpriors.run.launch import set_up


def packing(
    models: tuple[str, ...] = ("lgatr", "lgatr-slim"),
    batch: int = 64,
    row: int = 128,
    chunk: int = 2,
    rounds: int = 5,
    size: str = "paper",
    json: Path | None = None,
) -> int:
    """Time the steps and print the table.

    Args:
        models: lgatr, lgatr-slim or both.
        batch: jets in a training step.
        row: tokens in a packed row, at least 101.
        chunk: size of a micro-batch, the jets or rows that a device works on at once.
        rounds: number of rounds, of which the median counts.
        size: paper, or small for a quick look.
        json: file for the results.
    """
    set_up()
    results = [r for m in models for r in measured(m, size, batch, row, chunk, rounds)]
    report(results, "padded", json)
    return 0


def measured(
    model: str, size: str, batch: int, row: int, micro_batch: int, rounds: int
) -> list[Result]:
    """Measure a row for one, two, four and eight buckets and one for packed rows."""
    task = benchmarked(model, size)
    network = task.init(jax.random.key(0))
    multiplicity = multiplicities(batch)
    tokens, programs = {}, {}
    for buckets in (1, 2, 4, 8):
        parts = in_buckets(task, multiplicity, buckets)
        name = f"{buckets} buckets" if buckets > 1 else "padded"
        tokens[name] = sum(p[0].shape[0] * p[0].shape[1] for p in parts)
        programs[name] = train_program(task, network, parts, micro_batch)
    jets = task.ragged(multiplicity)
    rows = packed(jets, row, micro_batch * jax.device_count())
    one_row = together(model, task)
    compare(task, one_row, network, jets, rows)
    tokens["packed"] = rows[2].size
    programs["packed"] = train_program(one_row, network, (rows,), micro_batch)
    timings = time_in_turn(programs, rounds)
    padded = timings["padded"]
    return [
        compared(
            model,
            f"train {name}",
            timing.seconds,
            padded.seconds,
            "s",
            max(timing.spread, padded.spread),
            f"{tokens[name]} tokens",
        )
        for name, timing in timings.items()
    ]


def shares(multiplicity: np.ndarray, row: int) -> list[list[int]]:
    """Share the jets out to rows: the longest first, each into the first row with room."""
    rows: list[list[int]] = []
    for jet in np.argsort(-multiplicity, kind="stable"):
        room = (r for r in rows if multiplicity[r].sum() + multiplicity[jet] <= row)
        found = next(room, None)
        if found is None:
            rows.append([int(jet)])
        else:
            found.append(int(jet))
    return rows


def packed(jets: tuple[Array, ...], row: int, multiple: int) -> tuple[np.ndarray, ...]:
    """Pack padded jets: momenta (R, row, 4), features (R, row, F), segments and first (R, row).

    segments: the number of the jet within its row, from 1, or 0; first: whether a particle is the
    first of its jet. R is a multiple of ``multiple``, so that whole micro-batches fill the devices.
    Raises ValueError where a jet is longer than a row.
    """
    momenta, features, multiplicity = (np.asarray(a) for a in jets)
    if multiplicity.max() > row:
        raise ValueError(
            f"row: found {row}, expected at least {multiplicity.max()}, the longest jet"
        )
    held = shares(multiplicity, row)
    held += [[]] * (-len(held) % multiple)
    segments = np.zeros((len(held), row), np.int32)
    first = np.zeros((len(held), row), bool)
    found = [np.zeros((len(held), row, a.shape[-1]), np.float32) for a in (momenta, features)]
    for r, members in enumerate(held):
        start = 0
        for number, jet in enumerate(members, 1):
            end = start + multiplicity[jet]
            for rows, padded in zip(found, (momenta, features), strict=True):
                rows[r, start:end] = padded[jet, : multiplicity[jet]]
            segments[r, start:end], first[r, start] = number, True
            start = end
    return (*found, segments, first)


def together(model: str, task: Benchmarked) -> Benchmarked:
    """Make the task of packed rows."""
    return dataclasses.replace(task, forward=_lgatr if model == "lgatr" else _slim)


def _lgatr(network: Any, momenta: Array, features: Array, segments: Array, first: Array) -> Array:
    """Compute (R, row, outputs): of the first particle of each jet, zero elsewhere."""
    out, _ = network(embed_vector(momenta)[:, :, None], features, Mask(segments=segments))
    return out[..., 0] * first[..., None]


def _slim(network: Any, momenta: Array, features: Array, segments: Array, first: Array) -> Array:
    """Compute the same as ``_lgatr``."""
    _, out = network(momenta[:, :, None], features, Mask(segments=segments))
    return out * first[..., None]


def compare(padded: Benchmarked, in_rows: Benchmarked, network: Any, jets: Any, rows: Any) -> None:
    """Raise RuntimeError where the losses of padded and packed jets differ."""
    losses = [
        float(jax.jit(loss(task))(network, batch, None))
        for task, batch in ((padded, jets), (in_rows, rows))
    ]
    if abs(losses[0] - losses[1]) > 1e-4 * abs(losses[0]):
        raise RuntimeError(f"packed jets have the loss {losses[1]}, padded ones {losses[0]}")


if __name__ == "__main__":
    raise SystemExit(tyro.cli(packing))
