"""The realistic mode of anomaly detection: a background template from the sidebands.

A generator (`jaxpriors.generation.dijets`) learns the events outside of the signal region at their
m_jj, and generates events with the values of m_jj of the data inside.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from jaxpriors.data import dijets
from jaxpriors.data.batching import split
from jaxpriors.data.dijets import Window
from jaxpriors.data.events import Events
from jaxpriors.data.sample_files import read_metadata, write_events
from jaxpriors.errors import InputError
from jaxpriors.evaluation.metrics import wasserstein
from jaxpriors.generation.dijets import TemplateConfig, fit_generator, generate_dijets
from jaxpriors.generation.jets import SamplingConfig
from jaxpriors.run import processes
from jaxpriors.run.folder import Run
from jaxpriors.run.ranges import check_whole
from jaxpriors.run.storage import exists
from jaxpriors.training.loop import Record

TEMPLATE = "template.h5"


def split_region(
    sidebands: Events, data: Events, region: Window, events: int | None, seed: int
) -> tuple[Events, np.ndarray]:
    """Select the events outside of the signal region, and m_jj of ``events`` to generate inside.

    m_jj (GeV) are values of the data, which occur equally often, up to one. Raises InputError for
    events that are not of two jets, and for a region without data or without sidebands on both
    sides.
    """
    dijets.check(sidebands, "sidebands")
    dijets.check(data, "data")
    outside = sidebands[~dijets.inside(sidebands, region)]
    mass = dijets.dijet_mass(data)[dijets.inside(data, region)]
    span = f"the signal region {region[0]:g} < m_jj < {region[1]:g} GeV"
    if not len(mass):
        raise InputError(f"data: found no event in {span}")
    side = dijets.dijet_mass(outside)
    if not (side < region[1]).any() or not (side > region[0]).any():
        raise InputError(
            f"sidebands: found {int(np.sum(side <= region[0]))} events below and "
            f"{int(np.sum(side >= region[1]))} above {span}, expected some on both sides"
        )
    number = len(mass) if events is None else events
    check_whole("events", number, 1)
    rng = np.random.default_rng([seed, len(mass), 3])
    rounds = [rng.permutation(mass) for _ in range(-(-number // len(mass)))]
    return outside, np.concatenate(rounds)[:number]


def make_template(
    sidebands: Events,
    mass: np.ndarray,
    config: TemplateConfig,
    sampling: SamplingConfig,
    folder: Path,
    progress: Callable[[Record], None] = lambda record: None,
) -> dict[str, Any]:
    """Train, generate one event for each m_jj (n,) in GeV, and write them into the folder of a run.

    ``model/`` holds the generator, ``template.h5`` the events. Returns the metrics: the scale
    factors of the events and the Wasserstein-1 distances of the jet features: between sideband
    events not trained on and events generated at their m_jj ("distance"), and between two halves of
    the former ("floor"). A call with the folder of a killed call resumes it.
    """
    progress({"stage": f"training the generator on {len(sidebands)} events"})
    generator = fit_generator(sidebands, config, folder / "checkpoints", progress)
    generator.save(folder / "model")
    if not exists(folder / TEMPLATE):
        progress({"stage": f"generating {len(mass)} events"})
        found = generate_dijets(generator, mass, sampling)
        summary = {
            "events": len(mass),
            "scale": {"mean": float(found.scale.mean()), "std": float(found.scale.std())},
            "raised": found.raised / len(found.events.p4),
        }
        write_events(folder / TEMPLATE, found.events, summary)
        processes.wait()
    progress({"stage": "generating events of the sidebands, to compare"})
    shares = (1 - config.validation, config.validation)
    known = sidebands[split(len(sidebands), shares, config.training.seed)[1]]
    alike = generate_dijets(generator, dijets.dijet_mass(known), sampling)
    return {**read_metadata(folder / TEMPLATE), **distances(known, alike.events)}


def run_template(
    sidebands: Events,
    data: Events,
    region: Window,
    events: int | None,
    config: TemplateConfig,
    sampling: SamplingConfig,
    run: Run,
    sources: dict[str, Any],
) -> dict[str, Any]:
    """Make a template in the folder of a run unless that is done; return the metrics.

    events: number to generate, None for as many as the data have in the region. sources: origin of
    the samples. Raises InputError as ``split_region`` does.
    """
    outside, mass = split_region(sidebands, data, region, events, sampling.seed)
    asked = {**sources, "region": region, "digests": [outside.digest(), data.digest()]}
    settings = {"template": dataclasses.asdict(config), "sampling": dataclasses.asdict(sampling)}
    run.open({**settings, "events": events, "sources": asked})
    return run.results(
        lambda: make_template(outside, mass, config, sampling, run.folder, run.progress)
    )


def distances(known: Events, generated: Events) -> dict[str, dict[str, float]]:
    """Measure Wasserstein-1 of the features of each jet: {"distance", "floor": {column: …}}."""
    names = [name for name in dijets.COLUMNS[1:] if not name.endswith("phi")]
    half = len(known) // 2
    result: dict[str, dict[str, float]] = {"distance": {}, "floor": {}}
    for name in names:
        true = known.columns[name]
        result["distance"][name] = wasserstein(true, generated.columns[name])
        result["floor"][name] = wasserstein(true[:half], true[half:])
    return result
