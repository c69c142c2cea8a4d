"""The study of `experiments.unfolding`: samples, every model and seed, Tables 2 and 3, figures."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from experiments.unfolding_closure import cases, closures, with_all_observables
from jaxpriors.data.batching import split
from jaxpriors.data.events import Events
from jaxpriors.data.matched import Simulation
from jaxpriors.errors import InputError
from jaxpriors.evaluation.discriminators import triangular_discriminator
from jaxpriors.evaluation.figures import convergence_figure, save_figure
from jaxpriors.evaluation.observable_figure import observable_figure
from jaxpriors.evaluation.observables import OBSERVABLES
from jaxpriors.evaluation.tables import Table, discriminators, over_seeds
from jaxpriors.ratio.model import RatioModel, reweighted
from jaxpriors.report.tables import tables
from jaxpriors.run.folder import Run, started
from jaxpriors.unfolding import ibu, omnifold
from jaxpriors.unfolding.distributions import merged_edges
from jaxpriors.unfolding.omnifold import OmniFold
from jaxpriors.unfolding.run import with_micro_batches

TEST = 0.3  # share of the events of both samples for tables and figures
LABELS = {"mlp": "MultiFold"}
IBU = "IBU"
LEVEL = {"table2": "detector", "table3": "particle"}


@dataclasses.dataclass(frozen=True)
class Samples:
    """Hold simulation and data (with its truth), to unfold with and to test with."""

    simulation: Simulation
    data: Simulation
    test_simulation: Simulation
    test_data: Simulation

    @classmethod
    def of(cls, simulation: Simulation, data: Simulation) -> Samples:
        """Split the events for the unfolding and for tests."""
        parts = [split(len(sample), (1 - TEST, TEST), 0) for sample in (simulation, data)]
        return cls(
            simulation[parts[0][0]], data[parts[1][0]], simulation[parts[0][1]], data[parts[1][1]]
        )


def run_unfoldings(
    simulation: Simulation,
    data: Simulation,
    configs: dict[str, list[OmniFold]],
    closure: OmniFold | None,
    out: Path,
    resume: bool,
    shower: bool,
) -> int:
    """Unfold with every model and seed, and with IBU; print the tables.

    configs: model → one unfolding for each seed. closure: unfolding of the closure tests, None for
    none. shower: whether the simulation is the package's. Raises InputError where there is nothing
    to unfold.
    """
    if not configs or not all(configs.values()):
        raise InputError(f"models, seeds: found {configs}, expected at least one of each")
    asked = {
        "models": {m: [omnifold.describe(c) for c in some] for m, some in configs.items()},
        "closure": None if closure is None else omnifold.describe(closure),
        "samples": {"simulation": simulation.digest(), "data": data.digest()},
    }
    with started(out, resume) as opened:
        opened.open(asked)

        def measured() -> dict[str, Any]:
            opened.progress({"stage": "looking at the samples"})
            known, target = map(with_all_observables, (simulation, data))
            made = {} if closure is None else cases(known, shower, opened.progress)
            metrics = study(Samples.of(known, target), configs, opened)
            if closure is not None:
                metrics["closure"] = closures(made, closure, opened.within("closure"))
            return metrics

        metrics = opened.results(measured)
    print(tables(metrics))
    print(f"\nweights, figures and metrics: {out}")
    return 0


def study(samples: Samples, configs: dict[str, list[OmniFold]], run: Run) -> dict[str, Any]:
    """Unfold with every model, draw, and give {"table2": …, "table3": …}."""
    tables: dict[str, list[Table]] = {"table2": [], "table3": []}
    weights: dict[str, dict[str, Any]] = {"table2": {}, "table3": {}}
    reports, courses = {}, {}
    iterations = max(one.iterations for some in configs.values() for one in some)
    binned = iterative_bayesian(samples, iterations)
    for model, seeds in configs.items():
        label, rows = LABELS.get(model, model), {table: list[Table]() for table in tables}
        for seed, config in enumerate(seeds):
            run.progress({"stage": f"{label}, seed {seed}"})
            inner, data = run.within(model, f"seed-{seed}"), samples.data.detector
            config = with_micro_batches(config, samples.simulation, data, inner)
            inner.open(omnifold.describe(config))
            folder = inner.folder
            result = omnifold.unfold(samples.simulation, data, config, folder, run.progress)
            for table, iteration in (("table2", 1), ("table3", config.iterations)):
                found = step_weights(samples, config, folder, iteration, table)
                rows[table].append(tabulated(samples, table, {label: found}))
                weights[table].setdefault(label, found)
            if seed == 0:
                reports[label] = result.reports
                courses[label] = course(samples, config, folder)
        for table, some in rows.items():
            tables[table].append(over_seeds(some))
    weights["table3"][IBU] = binned
    tables["table3"].append(tabulated(samples, "table3", {IBU: binned}))

    run.progress({"stage": "drawing"})
    figures = run.folder / "figures"
    for table, level in LEVEL.items():
        drawn = observable_figure(
            *values(samples, level),
            weights[table],
            data_weights=getattr(samples.test_data, level).weight,
            simulation_weights=getattr(samples.test_simulation, level).weight,
            data_label="Data" if level == "detector" else "Truth",
        )
        save_figure(drawn, figures / level)
    save_figure(convergence_figure(reports, courses), figures / "convergence")
    return {table: {k: v for t in some for k, v in t.items()} for table, some in tables.items()}


def step_weights(
    samples: Samples, config: OmniFold, folder: Path, iteration: int, table: str
) -> np.ndarray:
    """Give the unfolded weights of the simulated test events by the networks of a step."""
    level = LEVEL[table]
    events: Events = getattr(samples.test_simulation, level)
    model = RatioModel.load(folder / "model" / f"iteration-{iteration}-{level}")
    return reweighted(events.weight, omnifold.log_ratios_of(model, events, config)[0])


def values(samples: Samples, level: str) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Give the observables of the test events, of data and of simulation."""
    parts = [
        getattr(sample, level).columns for sample in (samples.test_data, samples.test_simulation)
    ]
    found = [{name: columns[name] for name in OBSERVABLES} for columns in parts]
    return found[0], found[1]


def tabulated(samples: Samples, table: str, weights: dict[str, Any]) -> Table:
    """Make the rows of a table for these weights of the simulated test events."""
    level = LEVEL[table]
    found = discriminators(
        *values(samples, level),
        weights,
        table=table,
        data_weights=getattr(samples.test_data, level).weight,
        simulation_weights=getattr(samples.test_simulation, level).weight,
    )
    return found[table]


def course(samples: Samples, config: OmniFold, folder: Path) -> dict[str, list[float]]:
    """Measure, by observable, discriminators to the truth of test events at each iteration.

    The first value is before the unfolding.
    """
    truth, simulated = values(samples, "particle")
    weight = samples.test_simulation.particle.weight
    iterations = range(1, config.iterations + 1)
    stages = [weight, *(step_weights(samples, config, folder, i, "table3") for i in iterations)]
    of_data = samples.test_data.particle.weight
    return {
        name: [
            triangular_discriminator(truth[name], simulated[name], o.edges, of_data, weights)
            for weights in stages
        ]
        for name, o in OBSERVABLES.items()
    }


def iterative_bayesian(samples: Samples, iterations: int) -> dict[str, np.ndarray]:
    """Find, by observable, weights of the simulated test events that give IBU's distribution.

    Bins with few simulated events are merged; values outside of the histograms (as of jets that
    fail SoftDrop) have two more bins.
    """
    simulation, data, test = samples.simulation, samples.data.detector, samples.test_simulation
    result = {}
    for name, observable in OBSERVABLES.items():
        columns = {"particle": np.zeros(len(simulation)), "detector": np.zeros(len(simulation))}
        columns["particle"][simulation.pass_gen] = simulation.particle.columns[name]
        columns["detector"][simulation.pass_reco] = simulation.detector.columns[name]
        edges, at_detector = (
            merged_edges(
                np.concatenate([[-np.inf], observable.edges, [np.inf]]),
                level.columns[name],
                level.weight,
            )
            for level in (simulation.particle, simulation.detector)
        )
        response = ibu.Response.of_events(
            columns["particle"],
            columns["detector"],
            edges,
            at_detector,
            simulation.weight,
            simulation.pass_gen,
            simulation.pass_reco,
        )
        places = ibu.bins(data.columns[name], at_detector)
        measured = np.bincount(places, data.weight, len(at_detector) - 1)
        ratio = ibu.unfold(measured, response, iterations)[-1] / response.prior
        result[name] = test.particle.weight * ratio[ibu.bins(test.particle.columns[name], edges)]
    return result
