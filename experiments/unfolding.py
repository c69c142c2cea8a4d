"""Z+jets: unfolding with OmniFold (arXiv:2603.08802, Section 3.1, Tables 2 and 3, Figures 1, 2).

    python -m experiments.unfolding demo --out runs/demo
    python -m experiments.unfolding quick --out runs/unfolding
    python -m experiments.unfolding paper --simulation pythia26 --data herwig --folder DIR --out RUN

``demo`` is only the first step, reweighting at detector level. ``quick`` unfolds the sample in the
package (two Pythia settings and a parametric detector, not Pythia against Herwig with Delphes) with
small networks, on two cores, and tests whether it finds known truths. ``paper`` takes the files of
EnergyFlow's samples (Zenodo 3548091) or files of the layout in `jaxpriors.data.sample_files`, and
the networks and trainings of Appendix B, for PET those of OmniLearn (arXiv:2404.16091), for a GPU.
Its fine-tuned PET needs OmniLearn's own weights (--pretrained).

Table 2 is at detector level, after step 1 of the first iteration; Table 3 at particle level, after
the last. Both use events that no training has seen, to which the networks are applied.
Discriminators and floors grow with the number of bins, here 20 for every observable (the bins of
`jaxpriors.evaluation.observables`): they compare with each other, not with values in other bins.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from experiments.unfolding_closure import cases, closures, with_all_observables
from jaxpriors.data.batching import split
from jaxpriors.data.events import Events
from jaxpriors.data.formats import energyflow
from jaxpriors.data.matched import Simulation, read_simulation
from jaxpriors.data.samples import SAMPLES, zjets, zjets_path
from jaxpriors.errors import InputError
from jaxpriors.evaluation.discriminators import triangular_discriminator
from jaxpriors.evaluation.figures import convergence_figure, save_figure
from jaxpriors.evaluation.observable_figure import observable_figure
from jaxpriors.evaluation.observables import OBSERVABLES
from jaxpriors.evaluation.tables import Table, discriminators, over_seeds
from jaxpriors.ratio import reweighting
from jaxpriors.ratio.classifier import RatioClassifier
from jaxpriors.ratio.model import RatioModel, reweighted
from jaxpriors.ratio.names import ModelName
from jaxpriors.ratio.presets import find_model
from jaxpriors.ratio.reweighting import Reweighting
from jaxpriors.report.tables import tables
from jaxpriors.run.folder import Run, started
from jaxpriors.run.launch import guarded
from jaxpriors.training.options import TrainingOptions
from jaxpriors.unfolding import ibu, omnifold
from jaxpriors.unfolding.distributions import merged_edges
from jaxpriors.unfolding.omnifold import OmniFold, later_training
from jaxpriors.unfolding.run import with_micro_batches

MODELS: tuple[ModelName, ...] = ("lgatr-slim", "lgatr", "pet", "pet-finetuned")
# of demo and quick: fewer than in size "small"
EPOCHS = {"lgatr-slim": 4, "lgatr": 3, "pet": 2, "pet-finetuned": 2, "mlp": 12}
LATER_EPOCHS = {"mlp": 3}  # of quick, in the iterations after the first; others: 1
TEST = 0.3  # share of the events of both samples for tables and figures
LABELS = {"mlp": "MultiFold"}
IBU = "IBU"
LEVEL = {"table2": "detector", "table3": "particle"}


def demo(out: Path, seed: int = 0, resume: bool = False) -> int:
    """Reweight at detector level with small networks of all models: minutes on two cores.

    Args:
        out: folder of the run; must not exist, unless --resume.
        seed: of the split into parts, the weights and the order of events.
        resume: resume the run in the folder.
    """
    config = Reweighting(tuple(_small(m, seed) for m in MODELS), seed=seed)
    simulation, data = zjets("simulation", "detector"), zjets("data", "detector")
    sources = {"simulation": "the package's sample", "data": "the package's sample"}
    with started(out, resume) as opened:
        metrics = reweighting.run_reweighting(simulation, data, config, opened, sources)
    print(tables(metrics))
    print(f"\nweights, figures and metrics: {out}")
    return 0


def quick(
    out: Path,
    seeds: int = 1,
    models: tuple[ModelName, ...] = ("mlp", *MODELS),
    closure: bool = True,
    resume: bool = False,
) -> int:
    """Make Tables 2 and 3 with small networks on the sample in the package, and closure tests.

    Args:
        out: folder of the run; must not exist, unless --resume.
        seeds: number of trainings of each model.
        models: any of mlp (MultiFold), lgatr-slim, lgatr, pet, pet-finetuned.
        closure: whether to unfold to known truths as well.
        resume: resume the run in the folder.
    """
    configs: dict[str, list[OmniFold]] = {
        m: [_quick(m, seed) for seed in range(seeds)] for m in models
    }
    samples = [read_simulation(zjets_path(name)) for name in ("simulation", "data")]
    cases = _quick("lgatr-slim", 0) if closure else None
    return run_unfoldings(samples[0], samples[1], configs, cases, out, resume, shower=True)


def _small(model: str, seed: int) -> RatioClassifier:
    """Make a small classifier of demo and quick."""
    options = TrainingOptions(epochs=EPOCHS[model], seed=seed)
    return RatioClassifier(model, "small").with_options(options)


def _quick(model: str, seed: int) -> OmniFold:
    """Configure five iterations with small networks."""
    one = _small(model, seed)
    later = dataclasses.replace(later_training(one), epochs=LATER_EPOCHS.get(model, 1))
    return OmniFold(one, one, later=(later, later), seed=seed)


def paper(
    simulation: str,
    data: str,
    out: Path,
    folder: Path | None = None,
    events: int | None = None,
    pretrained: Path | None = None,
    seeds: int = 5,
    closure: bool = True,
    resume: bool = False,
) -> int:
    """Make Tables 2 and 3 with the networks and trainings of the papers.

    Args:
        simulation: pythia21, pythia25, pythia26 or herwig, of EnergyFlow; simulation or data, of
            the package; or an HDF5 file with both levels.
        data: another of these.
        out: folder of the run; must not exist, unless --resume.
        folder: folder of EnergyFlow's files.
        events: number of each sample, the first ones; all by default.
        pretrained: a PET ported by `jaxpriors port omnilearn`, or the folder of a pretraining;
            without it no PET is fine-tuned, as the PET in this package is small.
        seeds: number of trainings of each model.
        closure: whether to unfold to known truths as well.
        resume: resume the run in the folder.
    """
    configs: dict[str, list[OmniFold]] = {}
    for model in ("mlp", *MODELS):
        takes = find_model(model).pretrained
        if takes and pretrained is None:
            continue
        source = pretrained if takes else None
        one = RatioClassifier(model, "paper", pretrained=source)
        steps = [one.with_options(TrainingOptions(seed=seed)) for seed in range(seeds)]
        configs[model] = [OmniFold(one, one, seed=seed) for seed, one in enumerate(steps)]
    samples = [sample(name, folder, events) for name in (simulation, data)]
    cases = configs["lgatr-slim"][0] if closure and seeds > 0 else None
    shower = simulation == "simulation"
    return run_unfoldings(samples[0], samples[1], configs, cases, out, resume, shower)


def sample(name: str, folder: Path | None, events: int | None) -> Simulation:
    """Read both levels of a sample: EnergyFlow's or the package's by name, or a file.

    Raises InputError for an EnergyFlow sample without a folder.
    """
    if name in energyflow.SAMPLES:
        if folder is None:
            raise InputError(f"folder: found none, expected that of the chunks of {name}")
        files = energyflow.energyflow_files(folder, name)
        levels = energyflow.read_energyflow(files, events)
        return Simulation.of(levels["particle"], levels["detector"])
    found = read_simulation(zjets_path(name) if name in SAMPLES else name)
    return found if events is None else found[np.arange(min(events, len(found)))]


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


COMMANDS: dict[str, Any] = {"demo": demo, "quick": quick, "paper": paper}

if __name__ == "__main__":
    raise SystemExit(guarded(lambda: tyro.extras.subcommand_cli_from_dict(COMMANDS)))
