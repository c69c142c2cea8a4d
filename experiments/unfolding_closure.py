"""Closure tests of an unfolding: data with truths that are known, made of simulated events.

Half of the simulated events, reweighted by a known function of their particle level, play the data;
the other half is the simulation. The unfolded distributions are compared with the truth by a χ²
that holds the statistical errors of both samples.

| case       | what it tests                                                                  |
|------------|--------------------------------------------------------------------------------|
| analytic   | weights that are an analytic function of jet mass and multiplicity             |
| losses     | the same, where the detector loses 30 % of the jets at low pT and 10 % at high |
| signs      | the same, where 15 % of the weights are negative, in simulation and data       |
| variations | Pythia's own weights of another scale of its final-state shower                |
"""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from jaxpriors import kinematics
from jaxpriors.commands.setup import cache_folder
from jaxpriors.commands.unfold import in_chunks
from jaxpriors.data.events import Events
from jaxpriors.data.matched import Simulation, read_simulation
from jaxpriors.evaluation.metrics import chi2_test
from jaxpriors.evaluation.observables import OBSERVABLES, with_observables
from jaxpriors.evaluation.unfolding import merged_edges
from jaxpriors.methods.classifier import split
from jaxpriors.methods.omnifold import OmniFold, unfold
from jaxpriors.training.loop import Record

NEGATIVE = 0.15
VARIATION = "weight_fsr_mur_half"
LEAST = 25  # events in a bin of the χ², effective ones
Closure = dict[str, dict[str, dict[str, float]]]


def closures(
    simulation: Simulation,
    config: OmniFold,
    folder: Path,
    say: Callable[[Record], None],
) -> Closure:
    """Unfold every case; {case: {observable: {"chi2", "ndf", "p", "prior_chi2"}}}.

    The last is the χ² of the simulation as it was, in bins that may be merged otherwise.
    simulation: with the observables among the columns of both levels.
    """
    halves = [simulation[i] for i in split(len(simulation), (0.5, 0.5), 1)]
    found: Closure = {}
    for case, (sample, data) in cases(halves[0], halves[1], say).items():
        say({"stage": f"closure: {case}"})
        chunked = in_chunks(config, sample, data.detector, folder / case, say)
        result = unfold(sample, data.detector, chunked, folder / case, say)
        after, before = (
            compared(sample.particle, result.weights(i)[0, sample.pass_gen], data.particle)
            for i in (None, 0)
        )
        found[case] = {n: row | {"prior_chi2": before[n]["chi2"]} for n, row in after.items()}
    return found


def cases(
    sample: Simulation, data: Simulation, say: Callable[[Record], None]
) -> dict[str, tuple[Simulation, Simulation]]:
    """Case → simulation, and data with its truth."""
    known = data.with_weight(data.weight * analytic(data.particle))
    found = {"analytic": (sample, known)}
    found["losses"] = (with_losses(sample, 0), with_losses(known, 1))
    found["signs"] = (with_signs(sample, 2), with_signs(known, 3))
    varied = variations(len(data), say)
    if varied is not None:
        found["variations"] = (sample, varied)
    return found


def analytic(particle: Events) -> np.ndarray:
    """Weights (n,) that make jets heavier and richer in constituents."""
    mass, number = particle.columns["mass"], particle.columns["multiplicity"]
    weight = np.exp(0.25 * np.tanh((mass - 20) / 8) + 0.2 * np.tanh((number - 24) / 8))
    return weight / weight.mean()


def with_losses(sample: Simulation, seed: int) -> Simulation:
    """The sample, of which the detector misses some events."""
    pt = kinematics.pt(sample.particle.jet_p4.astype(np.float64))
    loss = 0.3 - 0.2 * np.clip((pt - 150) / 250, 0, 1)
    found = np.random.default_rng(seed).random(len(sample)) > loss
    return dataclasses.replace(sample, detector=sample.detector[found], pass_reco=found)


def with_signs(sample: Simulation, seed: int) -> Simulation:
    """The sample, some of whose weights are negative."""
    negative = np.random.default_rng(seed).random(len(sample)) < NEGATIVE
    return sample.with_weight(np.where(negative, -1, 1) * sample.weight)


def variations(events: int, say: Callable[[Record], None]) -> Simulation | None:
    """Events weighted as another shower would have it; None without Pythia."""
    if any(importlib.util.find_spec(name) is None for name in ("pythia8mc", "fastjet")):
        say({"stage": "no Pythia: pip install 'jaxpriors[simulation]' for shower variations"})
        return None
    from jaxpriors.data.simulation.run import simulate

    say({"stage": "simulating events with the weights of shower variations, or taking them"})
    path = cache_folder() / "samples" / f"zjets-variations-{events}.h5"
    simulate("zjets", "simulation-variations", events, seed=17, out=path, processes=2)
    sample = read_simulation(path, weight=VARIATION)
    return dataclasses.replace(
        sample,
        particle=with_observables(sample.particle),
        detector=with_observables(sample.detector),
    )


def compared(particle: Events, weights: np.ndarray, truth: Events) -> dict[str, dict[str, float]]:
    """χ² of each unfolded observable to its truth."""
    found = {}
    for name, observable in OBSERVABLES.items():
        edges = merged_edges(observable.edges, truth.columns[name], truth.weight, LEAST)
        edges = merged_edges(edges, particle.columns[name], weights, LEAST)
        test = chi2_test(truth.columns[name], particle.columns[name], edges, truth.weight, weights)
        found[name] = {"chi2": test.chi2, "ndf": test.ndf, "p": test.p_value}
    return found


def format_closures(found: dict[str, Any]) -> str:
    """χ² / ndf and probability of every case and observable as text."""
    lines = ["Closure: χ²/ndf (probability) of unfolded distributions to truths that are known"]
    lines.append(f"{'':14}" + "".join(f"{OBSERVABLES[n].symbol:>18}" for n in OBSERVABLES))
    for case, row in found.items():
        cells = [f"{r['chi2']:.1f}/{r['ndf']} ({r['p']:.3f})" for r in row.values()]
        priors = [f"{r['prior_chi2']:.1f}" for r in row.values()]
        lines.append(f"{case:14}" + "".join(f"{cell:>18}" for cell in cells))
        lines.append(f"{'  not unfolded':14}" + "".join(f"{cell:>18}" for cell in priors))
    return "\n".join(lines)
