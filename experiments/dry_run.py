"""Shortened studies: every training of a ``paper`` command takes one step, on a few events.

With ``--dry-run`` a command does all that it would do, from the first line to the last table, with
the published networks and their settings, but reads `EVENTS` events of each sample, and every
training is one epoch of one step. The numbers mean nothing. What it shows is that the files can be
read, that the networks compile and fit into the memory, and that tables and figures are made; most
of the time goes into compilation.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from jaxpriors.data.batching import UNITS
from jaxpriors.ratio.classifier import RatioClassifier
from jaxpriors.training.loop import TrainingConfig
from jaxpriors.unfolding.omnifold import OmniFold

EVENTS = 500  # of each sample
NOTE = "a dry run, of one step each training: no number means anything"
ITERATIONS = 2  # of an unfolding: the first has settings of its own


def noted(text: str, dry: bool) -> str:
    """Put before the tables of a dry run that they are of one."""
    return f"{NOTE}\n\n{text}" if dry else text


def shortened(training: TrainingConfig, examples: int = 2 * EVENTS) -> TrainingConfig:
    """Train for one epoch of one step, on that many events at most.

    >>> short = shortened(TrainingConfig(), examples=500)
    >>> short.epochs, short.batch_size
    (1, 512)
    """
    batch = -(-examples // UNITS) * UNITS
    return dataclasses.replace(training, epochs=1, batch_size=batch)


def short_fit(one: RatioClassifier, examples: int = 2 * EVENTS) -> RatioClassifier:
    """Shorten the training of a classifier; examples: events of both samples, at most."""
    return dataclasses.replace(one, training=shortened(one.training, examples))


def short_unfolding(config: OmniFold, examples: int = 2 * EVENTS) -> OmniFold:
    """Shorten every training of an unfolding, and take two iterations.

    examples: events of both samples, at most.
    """
    later: Any = config.later and tuple(shortened(one, examples) for one in config.later)
    return dataclasses.replace(
        config,
        detector=short_fit(config.detector, examples),
        particle=short_fit(config.particle, examples),
        later=later,
        iterations=min(config.iterations, ITERATIONS),
    )
