"""The study of `experiments.unfolding`: tables and figures of several methods."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from experiments.stand_ins import Say
from experiments.unfolding_closure import cases, closures, format_closures, with_all_observables
from jaxpriors.commands.progress import Display
from jaxpriors.commands.setup import use_all_cores, use_compilation_cache
from jaxpriors.commands.unfold import in_chunks
from jaxpriors.data.events import Events
from jaxpriors.data.matched import Simulation
from jaxpriors.data.splitting import split
from jaxpriors.errors import InputError
from jaxpriors.evaluation.metrics import triangular_discriminator
from jaxpriors.evaluation.observables import OBSERVABLES
from jaxpriors.evaluation.plots import convergence_figure, observable_figure, save_figure
from jaxpriors.evaluation.report import Table, discriminators, format_table, over_seeds
from jaxpriors.evaluation.unfolding import merged_edges
from jaxpriors.methods import ibu, omnifold
from jaxpriors.methods.omnifold import OmniFold
from jaxpriors.methods.ratio import RatioModel, reweighted
from jaxpriors.training.runs import environment, exists, open_run, read_json, write_json

TEST = 0.3  # share of the events of both samples that tables and figures are made of
LABELS = {"mlp": "MultiFold"}
IBU = "IBU"
LEVEL = {"table2": "detector", "table3": "particle"}


@dataclasses.dataclass(frozen=True)
class Samples:
    """Simulation and data (with its truth), to unfold with and to test with."""

    simulation: Simulation
    data: Simulation
    test_simulation: Simulation
    test_data: Simulation

    @classmethod
    def of(cls, simulation: Simulation, data: Simulation) -> Samples:
        """Share the events out."""
        parts = [split(len(sample), (1 - TEST, TEST), 0) for sample in (simulation, data)]
        return cls(
            simulation[parts[0][0]], data[parts[1][0]], simulation[parts[0][1]], data[parts[1][1]]
        )


def run(
    simulation: Simulation,
    data: Simulation,
    configs: dict[str, list[OmniFold]],
    closure: OmniFold | None,
    out: Path,
    resume: bool,
    shower: bool,
) -> int:
    """Unfold with every model and seed, and with IBU; print the tables.

    configs: model → one unfolding for each seed. closure: that of the closure tests, None for none.
    shower: whether the simulation is the package's. InputError where there is nothing to unfold.
    """
    if not configs or not all(configs.values()):
        raise InputError(f"models, seeds: found {configs}, expected at least one of each")
    use_all_cores()
    use_compilation_cache()
    asked = {
        "models": {m: [omnifold.resolved(c) for c in some] for m, some in configs.items()},
        "closure": None if closure is None else omnifold.resolved(closure),
        "samples": {"simulation": simulation.digest(), "data": data.digest()},
    }
    open_run(out, asked, resume)
    if not exists(out / "metrics.json"):
        with Display() as display:
            display({"stage": "looking at the samples"})
            simulation, data = map(with_all_observables, (simulation, data))
            made = {} if closure is None else cases(simulation, shower, display)
            metrics = study(Samples.of(simulation, data), configs, out, display)
            if closure is not None:
                metrics["closure"] = closures(made, closure, out / "closure", display)
            write_json(out / "metrics.json", {**metrics, "environment": environment()})
    metrics = read_json(out / "metrics.json")
    print(format_table(metrics))
    if closure is not None:
        print(f"\n{format_closures(metrics['closure'])}")
    print(f"\nweights, figures and metrics: {out}")
    return 0


def study(
    samples: Samples, configs: dict[str, list[OmniFold]], out: Path, say: Say
) -> dict[str, Any]:
    """Unfold with every model, draw, and give {"table2": …, "table3": …}."""
    tables: dict[str, list[Table]] = {"table2": [], "table3": []}
    weights: dict[str, dict[str, Any]] = {"table2": {}, "table3": {}}
    reports, courses = {}, {}
    iterations = max(one.iterations for some in configs.values() for one in some)
    binned = iterative_bayesian(samples, iterations)
    for model, seeds in configs.items():
        label, rows = LABELS.get(model, model), {table: list[Table]() for table in tables}
        for seed, config in enumerate(seeds):
            say({"stage": f"{label}, seed {seed}"})
            folder = out / model / f"seed-{seed}"
            data = samples.data.detector
            config = in_chunks(config, samples.simulation, data, folder, say)
            open_run(folder, omnifold.resolved(config), resume=True)
            result = omnifold.unfold(samples.simulation, data, config, folder, say)
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

    say({"stage": "drawing"})
    figures = out / "figures"
    figures.mkdir(exist_ok=True)
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
    """The complete weights of the simulated test events by the networks of a step."""
    level = LEVEL[table]
    events: Events = getattr(samples.test_simulation, level)
    model = RatioModel.load(folder / "model" / f"iteration-{iteration}-{level}")
    return reweighted(events.weight, omnifold.log_ratios_of(model, events, config)[0])


def values(samples: Samples, level: str) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """The observables of the test events, of data and of simulation."""
    parts = [
        getattr(sample, level).columns for sample in (samples.test_data, samples.test_simulation)
    ]
    found = [{name: columns[name] for name in OBSERVABLES} for columns in parts]
    return found[0], found[1]


def tabulated(samples: Samples, table: str, weights: dict[str, Any]) -> Table:
    """The rows of a table that belong to these weights of the simulated test events."""
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
    """Observable → discriminators to the truth of test events, before and after each iteration."""
    truth, simulated = values(samples, "particle")
    own = samples.test_simulation.particle.weight
    iterations = range(1, config.iterations + 1)
    stages = [own, *(step_weights(samples, config, folder, i, "table3") for i in iterations)]
    of_data = samples.test_data.particle.weight
    return {
        name: [
            triangular_discriminator(truth[name], simulated[name], o.edges, of_data, weights)
            for weights in stages
        ]
        for name, o in OBSERVABLES.items()
    }


def iterative_bayesian(samples: Samples, iterations: int) -> dict[str, np.ndarray]:
    """Observable → weights of the simulated test events that give IBU's distribution.

    Bins with few simulated events are merged; what lies outside of the histograms (jets that fail
    SoftDrop, say) has bins of its own.
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
