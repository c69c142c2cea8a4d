"""`jaxpriors unfold` and `jaxpriors unfold apply`."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxpriors.cli.options import In, NetworkOptions, RunOptions, SampleOptions
from jaxpriors.ratio.names import ModelName
from jaxpriors.training.options import TrainingOptions

if TYPE_CHECKING:
    from jaxpriors.data.events import Events
    from jaxpriors.data.matched import Simulation

MOST_BINS = 100_000


def unfold(
    simulation: Path,
    data: Path,
    /,
    run: In[RunOptions],
    model: ModelName = "lgatr-slim",
    detector_model: ModelName | None = None,
    network: In[NetworkOptions] = NetworkOptions(),
    iterations: int = 5,
    members: int = 1,
    replicas: int = 0,
    warm_start: bool = True,
    clip: float | None = None,
    simulation_weight: str | None = None,
    data_weight: str | None = None,
    particle: dict[str, str] | None = None,
    detector: dict[str, str] | None = None,
    data_columns: dict[str, str] | None = None,
    samples: In[SampleOptions] = SampleOptions(),
    training: In[TrainingOptions] = TrainingOptions(),
) -> int:
    """Unfold data with OmniFold: find weights of simulated events that give the particle level.

    Writes unfolding.h5 (the weights of every iteration), the networks and figures into a folder.
    `jaxpriors unfold apply` makes distributions from it.

    Args:
        simulation: HDF5 file with the levels particle and detector; the columns pass_gen
            and pass_reco show which events have each level.
        data: HDF5 file of the measured events (its detector level, if it has levels).
        run: folder of the run and its processes.
        model: the network of step 2 and, without --detector-model, of step 1; mlp sees only the
            six observables (MultiFold).
        detector_model: the network of step 1.
        network: size, start and precision of the networks.
        iterations: number of iterations of both steps.
        members: networks of each step, whose median log ratio is used.
        replicas: repetitions with bootstrap samples of data and simulation, for statistical errors.
        warm_start: continue training the networks of the previous iteration, at a constant learning
            rate; with --no-warm-start every step starts anew.
        clip: largest ratio of a step, and the inverse of the smallest; no limits by default.
        simulation_weight: the simulation's column with the event weights, at both levels.
        data_weight: the data's column with the event weights.
        particle: our names of columns and the simulation's at particle level, where they are not
            those of jaxpriors; of a tree, expressions of its branches. Needs detector as well.
        detector: the same at detector level.
        data_columns: the same of the data; by default those of the detector level, without the
            event weights and pass_reco.
        samples: how to read the files.
        training: options of the first iteration; step 2 takes half the batch size, each event in
            both classes.
    """
    from jaxpriors.ratio.classifier import RatioClassifier
    from jaxpriors.run.folder import started
    from jaxpriors.unfolding.distributions import format_reports
    from jaxpriors.unfolding.omnifold import RESULT, OmniFold
    from jaxpriors.unfolding.run import run_unfolding

    names = detector_model or model, model
    pretrained = network.pretrained_for(names)
    of_step_1, of_step_2 = (
        RatioClassifier(name, network.size, pretrained=pretrained[name]).with_options(
            training, network.precision
        )
        for name in names
    )
    config = OmniFold(
        of_step_1,
        of_step_2,
        iterations=iterations,
        warm_start=warm_start,
        members=members,
        replicas=replicas,
        clip=clip,
        seed=training.seed,
    )
    weights = simulation_weight, data_weight
    named = particle, detector, data_columns
    read = _read(simulation, data, weights, named, samples)
    sources: dict[str, Any] = {
        "simulation": str(simulation),
        "data": str(data),
        "simulation_weight": simulation_weight,
        "data_weight": data_weight,
    }
    if any(named) or samples != SampleOptions():
        sources["read as"] = {
            "particle": particle,
            "detector": detector,
            "data_columns": data_columns,
            **samples.as_json(),
        }
    with started(run.out, run.resume) as opened:
        result = run_unfolding(*read, config, opened, sources)
    print(format_reports(result.reports))
    print(f"\nthe weights of every iteration: {run.out / RESULT}")
    return 0


def _read(
    simulation: Path,
    data: Path,
    weights: tuple[str | None, str | None],
    named: tuple[dict[str, str] | None, dict[str, str] | None, dict[str, str] | None],
    samples: SampleOptions,
) -> tuple[Simulation, Events]:
    """Read the samples of an unfolding; named: columns at particle and detector level, and of data.

    Raises InputError for names of one level alone.
    """
    from jaxpriors.data.formats.opening import read_levels, read_sample
    from jaxpriors.data.matched import read_data, read_simulation
    from jaxpriors.errors import InputError

    particle, detector, columns = named
    reading = samples.reading()
    if (particle is None) != (detector is None) or reading.columns:
        given = {"--particle": particle, "--detector": detector, "--columns": reading.columns}
        found = ", ".join(name for name, columns in given.items() if columns)
        raise InputError(f"columns: found {found}, expected both --particle and --detector")
    if particle is None or detector is None:
        simulated = read_simulation(simulation, weights[0], reading)
    else:
        if weights[0] is not None:
            raise InputError(f"simulation-weight: found {weights[0]} beside --particle, expected "
                             "it among the columns (weight NAME)")  # fmt: skip
        levels = (reading.replace(columns=names) for names in (particle, detector))
        simulated = read_levels(simulation, *levels)
        own = {n: at for n, at in detector.items() if n not in ("weight", "pass_reco", "label")}
        columns = own if columns is None else columns
    if columns is None:
        return simulated, read_data(data, weights[1], reading)
    if weights[1] is not None:
        columns = {**columns, "weight": weights[1]}
    return simulated, read_sample(data, reading.replace(columns=columns))


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
        bins: lowest edge, highest edge and number of bins; by default the published ones, or those
            that hold 99 % of the simulated events where these do not.
        iteration: None for the last, 0 for the simulation without unfolding.
        simulation: HDF5 file of the simulation, for observables that the result does not hold.
        out: JSON file for the table.
    """
    import numpy as np

    from jaxpriors.errors import InputError
    from jaxpriors.run.storage import check_output, write_json
    from jaxpriors.unfolding import distributions as unfolding
    from jaxpriors.unfolding.result import Unfolded

    if out is not None:
        check_output(out, result, simulation)
    found = Unfolded.read(result)
    if simulation is not None:
        found = _of_sample(found, result, simulation)
    values = unfolding.find_observable(found, observable)
    if bins is not None:
        low, high, number = bins
        if not (math.isfinite(high - low) and low < high and 0 < number <= MOST_BINS):
            raise InputError(f"bins: found {bins}, expected low < high and 1 … {MOST_BINS} of them")
        edges = np.linspace(low, high, number + 1)
    else:
        edges = unfolding.usual_edges(observable, values[found.pass_gen])
    after = unfolding.distribution(found, values, edges, iteration)
    before = unfolding.distribution(found, values, edges, 0)
    source = "replicas" if len(after.replicas) > 1 else "simulation's statistics alone"
    done = len(found.push) if iteration is None else iteration
    print(f"{observable}, iteration {done} of {found.iterations}; errors: {source}")
    print(f"{'from':>10} {'to':>10} {'simulation':>12} {'unfolded':>12} {'error':>10}")
    for row in zip(edges[:-1], edges[1:], before.content, after.content, after.error, strict=True):
        print(f"{row[0]:10.4g} {row[1]:10.4g} {row[2]:12.5g} {row[3]:12.5g} {row[4]:10.3g}")
    for side in ("below", "above"):
        sums = getattr(before, side), getattr(after, side)
        if any(sums):
            print(f"{side:>21} {sums[0]:12.5g} {sums[1]:12.5g}")
    if out is not None:
        table = {
            "observable": observable,
            "iteration": done,
            "edges": edges.tolist(),
            "simulation": before.content.tolist(),
            "unfolded": after.content.tolist(),
            "error": after.error.tolist(),
            "errors_of": source,
            "outside": {
                side: {"simulation": getattr(before, side), "unfolded": getattr(after, side)}
                for side in ("below", "above")
            },
        }
        write_json(out, table)
    return 0


def _of_sample(found: Any, result: Path, path: Path) -> Any:
    """Add all columns of the simulation; raise InputError where the result is of another sample."""
    import dataclasses

    import numpy as np

    from jaxpriors.data.matched import read_simulation
    from jaxpriors.errors import InputError

    sample = read_simulation(path)
    columns = sample.particle_columns()
    samples = found.metadata.get("samples")
    known = samples.get("simulation") if isinstance(samples, dict) else None
    same = sample.digest() == known and all(
        np.array_equal(columns[name], found.observables[name], equal_nan=True)
        for name in columns.keys() & found.observables.keys()
    )
    if not same:
        raise InputError(
            f"{result}: is of another simulation than {path} ({len(sample)} events); expected the "
            f"file that was unfolded with, of {len(found.weight)} events"
        )
    return dataclasses.replace(found, observables=columns | found.observables)
