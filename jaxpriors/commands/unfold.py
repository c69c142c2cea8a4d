"""`jaxpriors unfold` and `jaxpriors unfold apply`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from jaxpriors.commands.reweight import Compute, Model

if TYPE_CHECKING:
    from jaxpriors.data.events import Events
    from jaxpriors.data.matched import Simulation
    from jaxpriors.methods.omnifold import OmniFold


def unfold(
    simulation: Path,
    data: Path,
    /,
    out: Path,
    model: Model = "lgatr-slim",
    detector_model: Model | None = None,
    size: Literal["small", "paper"] = "small",
    iterations: int = 5,
    members: int = 1,
    replicas: int = 0,
    warm_start: bool = True,
    clip: float | None = None,
    simulation_weight: str | None = None,
    data_weight: str | None = None,
    pretrained: Path | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    micro_batch: int | None = None,
    learning_rate: float | None = None,
    precision: Compute = "float32",
    seed: int = 0,
    resume: bool = False,
) -> int:
    """Unfold data with OmniFold: weights of simulated events that give particle-level truths.

    Writes unfolding.h5 (the weights of every iteration), the networks and figures into a folder.
    `jaxpriors unfold apply` makes distributions of it.

    Args:
        simulation: HDF5 file with the levels particle and detector; columns pass_gen and pass_reco
            of the levels tell which events have them.
        data: HDF5 file of the measured events (its detector level, if it has levels).
        out: folder of the run; must not exist, unless --resume.
        model: the network of step 2 and, but for --detector-model, of step 1; mlp sees the six
            observables alone (MultiFold).
        detector_model: the network of step 1.
        size: small (minutes on two cores) or paper (arXiv:2603.08802, Appendix B, and for PET
            OmniLearn, arXiv:2404.16091).
        iterations: of both steps.
        members: networks of each step, of which the median log ratio is taken.
        replicas: repetitions with bootstrap samples of data and simulation, for statistical errors.
        warm_start: go on with the networks of the iteration before, at a constant learning rate;
            with --no-warm-start every step starts anew.
        clip: largest ratio of a step, and one over the smallest; no limits by default.
        simulation_weight: the simulation's column with the event weights, at both levels.
        data_weight: the data's column with the event weights.
        pretrained: of pet-finetuned: a PET ported by `jaxpriors port omnilearn`, or the folder of
            a pretraining; otherwise the weights in this package.
        epochs: of the first iteration, other than the size's own.
        batch_size: other than the size's own; step 2 takes half as many events, each of them in
            both of its samples.
        micro_batch: events that a device works on at once, over which it accumulates the gradient
            of a batch; otherwise what `jaxpriors tune` found, else 8 on CPUs and all on GPUs.
        learning_rate: of the first iteration, other than the size's own.
        precision: in which the networks compute.
        seed: of the split for validation, the weights, the order of events and the replicas.
        resume: go on with the run in the folder.
    """
    from jaxpriors.data.matched import read_data, read_simulation
    from jaxpriors.errors import InputError
    from jaxpriors.methods.omnifold import OmniFold

    numbers = {
        "epochs": epochs,
        "batch_size": batch_size,
        "micro_batch": micro_batch,
        "learning_rate": learning_rate,
        "precision": precision,
    }
    if pretrained is not None and "pet-finetuned" not in (model, detector_model):
        raise InputError(f"pretrained: found {pretrained} for {model}, expected 'pet-finetuned'")
    names: dict[str, Model] = {"detector": detector_model or model, "particle": model}
    steps = {
        level: _classifier(name, size, seed, pretrained, numbers) for level, name in names.items()
    }
    config = OmniFold(
        **steps,
        iterations=iterations,
        warm_start=warm_start,
        members=members,
        replicas=replicas,
        clip=clip,
        seed=seed,
    )
    samples = read_simulation(simulation, simulation_weight), read_data(data, data_weight)
    sources = {
        "simulation": str(simulation),
        "data": str(data),
        "simulation_weight": simulation_weight,
        "data_weight": data_weight,
    }
    return run(*samples, config, out, resume, sources)


def _classifier(
    name: Model, size: Any, seed: int, pretrained: Path | None, numbers: dict[str, Any]
) -> Any:
    from jaxpriors.commands.reweight import classifier
    from jaxpriors.methods.trainings import FINE_TUNED

    return classifier(
        name, size, seed, pretrained=pretrained if name == FINE_TUNED else None, **numbers
    )


def run(
    simulation: Simulation,
    data: Events,
    config: OmniFold,
    out: Path,
    resume: bool,
    sources: dict[str, Any],
) -> int:
    """Unfold (or go on with it) in a run's folder and print the report of its weights."""
    from jaxpriors.commands.progress import Display
    from jaxpriors.commands.setup import use_all_cores, use_compilation_cache
    from jaxpriors.evaluation.plots import convergence_figure, save_figure
    from jaxpriors.evaluation.unfolding import format_reports
    from jaxpriors.methods import omnifold
    from jaxpriors.training.runs import environment, open_run, write_json

    use_all_cores()
    use_compilation_cache()
    with Display() as display:
        display({"stage": "looking at the samples"})
        omnifold.check(simulation, data, config)
        simulation, data = with_observables(simulation, data, config)
        config = in_chunks(config, simulation, data, out, display)
        open_run(out, {**omnifold.resolved(config), "sources": sources}, resume)
        result = omnifold.unfold(simulation, data, config, out, display)
    figures = out / "figures"
    figures.mkdir(exist_ok=True)
    save_figure(
        convergence_figure({config.particle.model: result.reports}), figures / "convergence"
    )
    write_json(out / "metrics.json", {"reports": result.reports, "environment": environment()})
    print(format_reports(result.reports))
    print(f"\nthe weights of every iteration: {out / omnifold.RESULT}")
    return 0


def with_observables(
    simulation: Simulation, data: Events, config: OmniFold
) -> tuple[Simulation, Events]:
    """The samples with the observables that the result holds and that an MLP sees."""
    import dataclasses

    from jaxpriors.evaluation.observables import with_observables
    from jaxpriors.numbers import NumbersConfig

    simulation = dataclasses.replace(simulation, particle=with_observables(simulation.particle))
    if isinstance(config.detector.resolved().inputs, NumbersConfig):
        detector = with_observables(simulation.detector)
        return dataclasses.replace(simulation, detector=detector), with_observables(data)
    return simulation, data


def in_chunks(
    config: OmniFold, simulation: Simulation, data: Events, out: Path, display: Any
) -> OmniFold:
    """The configuration with the chunk sizes of both steps filled in."""
    import dataclasses

    from jaxpriors.commands.chunks import begun, multiplicity, with_chunks

    detector, particle = (
        with_chunks(getattr(config, level), counts, begun(out, level, "training"), display)
        for level, counts in (
            ("detector", multiplicity(simulation.detector, data)),
            ("particle", simulation.particle.multiplicity),
        )
    )
    later = config.later
    if later is not None:
        assert detector.training is not None and particle.training is not None
        later = (
            dataclasses.replace(later[0], micro_batch=detector.training.micro_batch),
            dataclasses.replace(later[1], micro_batch=particle.training.micro_batch),
        )
    return dataclasses.replace(config, detector=detector, particle=particle, later=later)


def apply(
    result: Path,
    /,
    observable: str = "mass",
    bins: tuple[float, float, int] | None = None,
    iteration: int | None = None,
    simulation: Path | None = None,
    out: Path | None = None,
) -> int:
    """Print the unfolded distribution of an observable, with errors.

    Args:
        result: unfolding.h5 of a run.
        observable: one of those in the result, or a column of the simulation's particle level.
        bins: lowest edge, highest edge and number of bins.
        iteration: None for the last, 0 for the simulation as it was.
        simulation: HDF5 file of the simulation, for observables that the result does not hold.
        out: JSON file for the table.
    """
    import numpy as np

    from jaxpriors.data.unfolded import Unfolded
    from jaxpriors.errors import InputError
    from jaxpriors.evaluation import unfolding
    from jaxpriors.evaluation.observables import OBSERVABLES
    from jaxpriors.training.runs import write_json

    found = Unfolded.read(result)
    if simulation is not None:
        found = _of_sample(found, result, simulation)
    values = unfolding.find_observable(found, observable)
    if bins is not None:
        low, high, number = bins
        if not (low < high and number > 0):
            raise InputError(f"bins: found {bins}, expected low < high and at least one bin")
        edges = np.linspace(low, high, number + 1)
    elif observable in OBSERVABLES:
        edges = OBSERVABLES[observable].edges
    else:
        edges = unfolding.default_edges(values[found.pass_gen])
    after = unfolding.distribution(found, values, edges, iteration)
    before = unfolding.distribution(found, values, edges, 0)
    source = "replicas" if len(after.replicas) > 1 else "simulation's statistics alone"
    done = len(found.push) if iteration is None else iteration
    print(f"{observable}, iteration {done} of {found.iterations}; errors: {source}")
    print(f"{'from':>10} {'to':>10} {'simulation':>12} {'unfolded':>12} {'error':>10}")
    for row in zip(edges[:-1], edges[1:], before.content, after.content, after.error, strict=True):
        print(f"{row[0]:10.4g} {row[1]:10.4g} {row[2]:12.5g} {row[3]:12.5g} {row[4]:10.3g}")
    if out is not None:
        table = {
            "observable": observable,
            "iteration": done,
            "edges": edges.tolist(),
            "simulation": before.content.tolist(),
            "unfolded": after.content.tolist(),
            "error": after.error.tolist(),
            "errors_of": source,
        }
        write_json(out, table)
    return 0


def _of_sample(found: Any, result: Path, path: Path) -> Any:
    """The result with all columns of the simulation; InputError where it is of another sample."""
    import dataclasses

    import numpy as np

    from jaxpriors.data.matched import read_simulation
    from jaxpriors.errors import InputError

    sample = read_simulation(path)
    columns = sample.particle_columns()
    same = sample.digest() == found.metadata["samples"]["simulation"] and all(
        np.array_equal(columns[name], found.observables[name], equal_nan=True)
        for name in columns.keys() & found.observables.keys()
    )
    if not same:
        raise InputError(
            f"{result}: is of another simulation than {path} ({len(sample)} events); expected the "
            f"file that was unfolded with, of {len(found.weight)} events"
        )
    return dataclasses.replace(found, observables=columns | found.observables)
