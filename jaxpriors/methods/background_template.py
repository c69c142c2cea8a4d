"""The realistic mode of anomaly detection: a template of the background made of the sidebands.

A generator (`jaxpriors.methods.dijet_generation`) learns what events outside of the signal region
are like at their m_jj, and makes events with the values of m_jj that the data have inside.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from jaxpriors import processes
from jaxpriors.data import dijets
from jaxpriors.data.dijets import Window
from jaxpriors.data.events import Events
from jaxpriors.data.files import read_metadata
from jaxpriors.data.sample_files import read_events, write_events
from jaxpriors.data.splitting import split
from jaxpriors.errors import InputError
from jaxpriors.evaluation.metrics import wasserstein
from jaxpriors.methods.dijet_generation import TemplateConfig, fit, generate
from jaxpriors.methods.generation import SamplingConfig
from jaxpriors.training.loop import Record
from jaxpriors.training.runs import environment, exists, write_json

TEMPLATE = "template.h5"


def split_region(
    sidebands: Events, data: Events, region: Window, events: int | None, seed: int
) -> tuple[Events, np.ndarray]:
    """The events outside of the signal region, and the m_jj of ``events`` to be generated inside.

    These are those of the data, each as often as the next, within one. Raises InputError for events
    that are not of two jets, and for a region that is empty or holds all of the sidebands.
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
    if number < 1:
        raise InputError(f"events: found {number}, expected at least 1")
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
) -> Events:
    """Train, generate one event for each m_jj (n,), and write them into a run's folder.

    ``model/`` holds the generator, ``template.h5`` the events, ``metrics.json`` by how much events
    were scaled and the Wasserstein-1 distances of the jets' features between sidebands that were
    not trained on and events generated at their m_jj ("distance"), and between two halves of these
    ("floor"). Goes on where an earlier call was killed.
    """
    if exists(folder / "metrics.json"):
        return read_events(folder / TEMPLATE)
    progress({"stage": f"training the generator on {len(sidebands)} events"})
    generator = fit(sidebands, config, folder / "checkpoints", progress)
    generator.save(folder / "model")
    if not exists(folder / TEMPLATE):
        progress({"stage": f"generating {len(mass)} events"})
        found = generate(generator, mass, sampling)
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
    alike = generate(generator, dijets.dijet_mass(known), sampling)
    metrics = {
        **read_metadata(folder / TEMPLATE),
        **distances(known, alike.events),
        "environment": environment(),
    }
    write_json(folder / "metrics.json", metrics)
    return read_events(folder / TEMPLATE)


def distances(known: Events, generated: Events) -> dict[str, dict[str, float]]:
    """Wasserstein-1 of each jet's features: {"distance", "floor": {column: …}}."""
    names = [name for name in dijets.COLUMNS[1:] if not name.endswith("phi")]
    half = len(known) // 2
    result: dict[str, dict[str, float]] = {"distance": {}, "floor": {}}
    for name in names:
        true = known.columns[name]
        result["distance"][name] = wasserstein(true, generated.columns[name])
        result["floor"][name] = wasserstein(true[:half], true[half:])
    return result
