"""Closure tests of an unfolding: data with truths that are known, made of simulated events.

Half of the simulated events, reweighted by a known function of their particle level, are the data,
the other half is the simulation (in the last case, both halves have weights of the generator). A χ²
of the shapes compares, for every model, the simulation with the data at detector level, after step
1 of the first iteration, and the unfolded distributions with the truth at particle level, after the
last iteration. It holds the statistical errors of both samples as if these were independent. They
are not quite: the weights follow some of the fluctuations of the data, more so at detector level,
while the χ² leaves out the spread of the trainings. "total" is the sum of the weights over the true
one.

| case             | what it tests                                                            |
|------------------|--------------------------------------------------------------------------|
| analytic         | weights that are an analytic function of jet mass and multiplicity       |
| losses-and-signs | the same, where the detector loses 30 % of the jets at low pT and 10 %   |
|                  | at high, and 15 % of the weights are negative, in simulation and data    |
| variations       | Pythia's own weights of half and, for the simulation, of twice the scale |
|                  | of its final-state shower                                                |
"""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from experiments.surrogates import Say, surrogate
from jaxpriors.data.batching import split
from jaxpriors.data.events import Events
from jaxpriors.data.matched import Simulation, read_simulation
from jaxpriors.evaluation.metrics import chi2_test
from jaxpriors.evaluation.observables import OBSERVABLES, with_observables
from jaxpriors.physics import kinematics
from jaxpriors.run.folder import Run, started
from jaxpriors.unfolding.distributions import merged_edges
from jaxpriors.unfolding.omnifold import OmniFold, describe, unfold
from jaxpriors.unfolding.run import with_micro_batches

NEGATIVE = 0.15
VARIATIONS = "weight_fsr_mur_double", "weight_fsr_mur_half"  # of simulation and data
LEAST = 25  # effective events in a bin of the χ²
Case = tuple[Simulation, Simulation]
Closure = dict[str, dict[str, dict[str, dict[str, float]]]]
"""Case → level → observable → {"chi2", "ndf", "p", "prior_chi2", "total"}."""


def run_closures(
    simulation: Simulation,
    configs: Mapping[str, OmniFold],
    shower: bool,
    out: Path,
    resume: bool,
) -> dict[str, Any]:
    """Unfold every case with every model; return the metrics, {"closures": {model: `Closure`}}.

    shower: whether the simulation is the package's, for which there are events with the weights of
    another shower.
    """
    asked = {
        "models": {label: describe(config) for label, config in configs.items()},
        "simulation": simulation.digest(),
        "shower": shower,
    }
    with started(out, resume) as opened:
        opened.open(asked)

        def measured() -> dict[str, Any]:
            opened.progress({"stage": "looking at the sample"})
            made = cases(with_all_observables(simulation), shower, opened.progress)
            return {
                "closures": {
                    label: closures(made, config, opened.within(label))
                    for label, config in configs.items()
                }
            }

        return opened.results(measured)


def closures(made: Mapping[str, Case], config: OmniFold, run: Run) -> Closure:
    """Unfold every case with a model.

    prior_chi2: χ² of the simulation as it is, in the same bins. made: from ``cases``.
    """
    found: Closure = {}
    for case, (sample, data) in made.items():
        run.progress({"stage": f"closure of {run.folder.name}: {case}"})
        inner = run.within(case)
        filled = with_micro_batches(config, sample, data.detector, inner)
        inner.open(describe(filled))
        result = unfold(sample, data.detector, filled, inner.folder, run.progress)
        before = result.scale[0] * result.weight
        factors = {"detector": result.pull[0, 0], "particle": result.push[-1, 0]}
        found[case] = {}
        for level, factor in factors.items():
            known = sample.pass_reco if level == "detector" else sample.pass_gen
            weights = before[known] * factor[known]
            found[case][level] = compared(
                getattr(sample, level), weights, before[known], getattr(data, level)
            )
    return found


def cases(simulation: Simulation, shower: bool, say: Say) -> dict[str, Case]:
    """Make, by case, the simulation, and data with its truth.

    simulation: with the observables among the columns of both levels. shower: as in
    ``run_closures``.
    """
    sample, data = (simulation[i] for i in split(len(simulation), (0.5, 0.5), 1))
    weight = data.weight
    weight[data.pass_gen] *= analytic(data.particle)
    known = data.with_weight(weight)
    found = {"analytic": (sample, known)}
    found["losses-and-signs"] = (
        with_signs(with_losses(sample, 0), 2),
        with_signs(with_losses(known, 1), 3),
    )
    varied = variations(len(data), say) if shower else None
    return found if varied is None else found | {"variations": varied}


def analytic(particle: Events) -> np.ndarray:
    """Give weights (n,) that make jets heavier and richer in constituents."""
    mass, number = particle.columns["mass"], particle.columns["multiplicity"]
    weight = np.exp(0.25 * np.tanh((mass - 20) / 8) + 0.2 * np.tanh((number - 24) / 8))
    return weight / weight.mean()


def with_losses(sample: Simulation, seed: int) -> Simulation:
    """Let the detector miss some events of the sample."""
    pt = np.zeros(len(sample))
    pt[sample.pass_gen] = kinematics.pt(sample.particle.jet_p4.astype(np.float64))
    loss = 0.3 - 0.2 * np.clip((pt - 150) / 250, 0, 1)
    found = sample.pass_reco & (np.random.default_rng(seed).random(len(sample)) > loss)
    detector = sample.detector[found[sample.pass_reco]]
    return dataclasses.replace(sample, detector=detector, pass_reco=found)


def with_signs(sample: Simulation, seed: int) -> Simulation:
    """Make some weights of the sample negative."""
    negative = np.random.default_rng(seed).random(len(sample)) < NEGATIVE
    return sample.with_weight(np.where(negative, -1, 1) * sample.weight)


def variations(events: int, say: Say) -> Case | None:
    """Give two samples with the weights of two other showers; None without Pythia."""
    if any(importlib.util.find_spec(name) is None for name in ("pythia8mc", "fastjet")):
        say({"stage": "no Pythia: pip install 'jaxpriors[simulation]' for shower variations"})
        return None
    path = surrogate("zjets", "simulation-variations", 2 * events, 17, say)
    halves = split(2 * events, (0.5, 0.5), 1)
    sample, data = (
        read_simulation(path, weight=weight)[half]
        for weight, half in zip(VARIATIONS, halves, strict=True)
    )
    return with_all_observables(sample), with_all_observables(data)


def with_all_observables(sample: Simulation) -> Simulation:
    """Add the observables of both levels to the columns of the sample."""
    return dataclasses.replace(
        sample,
        particle=with_observables(sample.particle),
        detector=with_observables(sample.detector),
    )


def compared(
    simulated: Events, weights: np.ndarray, before: np.ndarray, truth: Events
) -> dict[str, dict[str, float]]:
    """Compare each observable of a level with its truth; before: weights without unfolding."""
    found = {}
    total = float(weights.sum() / truth.weight.sum())
    for name, observable in OBSERVABLES.items():
        true, values = truth.columns[name], simulated.columns[name]
        edges = merged_edges(observable.edges, true, truth.weight, LEAST)
        edges = merged_edges(edges, values, weights, LEAST)
        test, prior = (chi2_test(true, values, edges, truth.weight, w) for w in (weights, before))
        found[name] = {
            "chi2": test.chi2,
            "ndf": test.ndf,
            "p": test.p_value,
            "prior_chi2": prior.chi2,
            "total": total,
        }
    return found
