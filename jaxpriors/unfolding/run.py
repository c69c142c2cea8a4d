"""Unfolding in the folder of a run: configuration, micro-batches, metrics and figure."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from jaxpriors.data.events import Events
from jaxpriors.data.matched import Simulation
from jaxpriors.evaluation.figures import convergence_figure, save_figure
from jaxpriors.evaluation.observables import OBSERVABLES, with_observables
from jaxpriors.run.folder import Run
from jaxpriors.unfolding.omnifold import STEPS, OmniFold, check_samples, describe, unfold
from jaxpriors.unfolding.result import Unfolded


def run_unfolding(
    simulation: Simulation,
    data: Events,
    config: OmniFold,
    run: Run,
    sources: dict[str, Any],
) -> Unfolded:
    """Unfold in the folder of a run; write the metrics and the figure of the convergence.

    sources: origin of the samples. Raises InputError as ``unfold``.
    """
    run.progress({"stage": "looking at the samples"})
    check_samples(simulation, data, config)
    simulation, data = with_needed_observables(simulation, data, config)
    config = with_micro_batches(config, simulation, data, run)
    run.open({**describe(config), "sources": sources})
    result = unfold(simulation, data, config, run.folder, run.progress)
    drawn = convergence_figure({config.particle.model: result.reports})
    save_figure(drawn, run.folder / "figures" / "convergence")
    run.results(lambda: {"reports": result.reports})
    return result


def with_needed_observables(
    simulation: Simulation, data: Events, config: OmniFold
) -> tuple[Simulation, Events]:
    """Add the observables that the result holds, and those that the network of step 1 reads."""
    simulation = dataclasses.replace(simulation, particle=with_observables(simulation.particle))
    if set(OBSERVABLES) & set(config.detector.inputs.columns):
        detector = with_observables(simulation.detector)
        return dataclasses.replace(simulation, detector=detector), with_observables(data)
    return simulation, data


def with_micro_batches(
    config: OmniFold, simulation: Simulation, data: Events, run: Run
) -> OmniFold:
    """Fill in the micro-batches of both steps, in all iterations."""
    counts = {
        "detector": np.concatenate([simulation.detector.multiplicity, data.multiplicity]),
        "particle": simulation.particle.multiplicity,
    }
    filled = {
        level: getattr(config, level).with_micro_batch(
            counts[level], run.begun(level, "training"), run.progress
        )
        for level in STEPS
    }
    later: Any = config.later and tuple(
        dataclasses.replace(training, micro_batch=filled[level].training.micro_batch)
        for level, training in zip(STEPS, config.later, strict=True)
    )
    return dataclasses.replace(config, **filled, later=later)
