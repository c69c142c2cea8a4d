"""`jaxpriors unfold` and `jaxpriors unfold apply`."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxpriors.cli.options import In, LevelOptions, NetworkOptions, RunOptions
from jaxpriors.ratio.names import ModelName
from jaxpriors.run.ranges import check_whole
from jaxpriors.training.options import TrainingOptions

if TYPE_CHECKING:
    import numpy as np

    from jaxpriors.unfolding.distributions import Distribution
    from jaxpriors.unfolding.result import Unfolded

MOST_BINS = 100_000
MOST_COVARIANCE = 1000  # bins of a covariance matrix


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
    starts: int = 1,
    warm_start: bool = True,
    clip: float | None = None,
    levels: In[LevelOptions] = LevelOptions(),
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
        replicas: repetitions with bootstrap samples of data and simulation, for errors.
        starts: first weights of each bootstrap sample; two or more tell apart the variances due to
            data, simulation and first weights, by starts × (1 + 2 × replicas) unfoldings.
        warm_start: continue training the networks of the previous iteration, at a constant learning
            rate; with --no-warm-start every step starts anew.
        clip: largest ratio of a step, and the inverse of the smallest; no limits by default.
        levels: how to read the files.
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
        starts=starts,
        clip=clip,
        seed=training.seed,
    )
    read = levels.read(simulation, data)
    sources = {"simulation": str(simulation), "data": str(data), **levels.as_json()}
    with started(run.out, run.resume) as opened:
        result = run_unfolding(*read, config, opened, sources)
    print(format_reports(result.reports))
    print(f"\nthe weights of every iteration: {run.out / RESULT}")
    return 0


def apply(
    result: Path,
    /,
    observable: str = "mass",
    bins: tuple[float, float, int] | None = None,
    iteration: int | None = None,
    normalised: bool = False,
    simulation: Path | None = None,
    out: Path | None = None,
) -> int:
    """Print the unfolded distribution of an observable, with errors; write its covariance matrix.

    Args:
        result: unfolding.h5 of a run.
        observable: one of those in the result, or a column of the simulation's particle level.
        bins: lowest edge, highest edge and number of bins; by default the published ones, or those
            that hold 99 % of the simulated events where these do not.
        iteration: None for the chosen one, 0 for the simulation without unfolding.
        normalised: whether each bin is given as its share of the sum of all.
        simulation: HDF5 file of the simulation, for observables that the result does not hold.
        out: file for the table and, with replicas, the covariance matrices: JSON, or HDF5 where
            its name ends in .h5.
    """

    from jaxpriors.run.storage import check_output
    from jaxpriors.unfolding import distributions as unfolding
    from jaxpriors.unfolding.result import Unfolded

    if out is not None:
        check_output(out, result, simulation)
    found = Unfolded.read(result)
    if simulation is not None:
        found = of_sample(found, result, simulation)
    values = unfolding.find_observable(found, observable)
    edges = usual_or(bins, lambda: unfolding.usual_edges(observable, values[found.pass_gen]))
    if out is not None and found.draws.max() > 1:
        check_whole("bins for a covariance matrix", len(edges) - 1, 1, MOST_COVARIANCE)
    after = unfolding.distribution(found, values, edges, iteration, normalised)
    before = unfolding.distribution(found, values, edges, 0, normalised)
    source = "simulation's statistics alone" if after.variance is None else "replicas"
    done = found.chosen if iteration is None else iteration
    what = f"{observable}{', normalised' if normalised else ''}, iteration {done}"
    print(f"{what} of {found.iterations}; errors: {source}")
    _print(edges, before, after)
    if out is None:
        return 0
    table: dict[str, Any] = {
        "observable": observable,
        "iteration": done,
        "normalised": normalised,
        "edges": edges,
        "simulation": before.content,
        "unfolded": after.content,
        "error": after.error,
        "errors_of": source,
        "outside": {
            side: {"simulation": getattr(before, side), "unfolded": getattr(after, side)}
            for side in ("below", "above")
        },
    }
    if after.variance is not None:
        parts = found.covariance(values, edges, iteration, normalised)._asdict()
        table["covariance"] = {n: matrix for n, matrix in parts.items() if matrix is not None}
    _write(out, table)
    return 0


def usual_or(bins: tuple[float, float, int] | None, usual: Callable[[], np.ndarray]) -> np.ndarray:
    """Make edges (K + 1,) of lowest, highest and number of bins, or the usual ones.

    Raises InputError for bins that are none.
    """
    import numpy as np

    from jaxpriors.errors import InputError

    if bins is None:
        return usual()
    low, high, number = bins
    if not (math.isfinite(high - low) and low < high and 0 < number <= MOST_BINS):
        raise InputError(f"bins: found {bins}, expected low < high and 1 … {MOST_BINS} of them")
    return np.linspace(low, high, number + 1)


def _print(edges: np.ndarray, before: Distribution, after: Distribution) -> None:
    """Print a table of the bins, with the error's parts where replicas tell them apart."""
    parts = {} if after.variance is None else after.variance._asdict()
    parts = {n: part for n, part in parts.items() if n != "total" and part is not None}
    heads = "".join(f" {name.replace('_', ' '):>13}" for name in parts)
    print(f"{'from':>10} {'to':>10} {'simulation':>12} {'unfolded':>12} {'error':>10}{heads}")
    rows = zip(edges[:-1], edges[1:], before.content, after.content, after.error, strict=True)
    for k, row in enumerate(rows):
        cells = (
            f" {f'{math.sqrt(part[k]):.3g}' if part[k] >= 0 else 'below 0':>13}"
            for part in parts.values()
        )
        line = f"{row[0]:10.4g} {row[1]:10.4g} {row[2]:12.5g} {row[3]:12.5g} {row[4]:10.3g}"
        print(line + "".join(cells))
    for side in ("below", "above"):
        sums = getattr(before, side), getattr(after, side)
        if any(sums):
            print(f"{side:>21} {sums[0]:12.5g} {sums[1]:12.5g}")
    if any((part < 0).any() for part in parts.values()):
        print(
            "below 0: that variance, estimated without bias, came out negative, and counts so in "
            "the error; it is compatible with 0, and more replicas or starts would tell"
        )


def _write(out: Path, table: dict[str, Any]) -> None:
    """Write a table of numbers, texts and arrays: JSON, or HDF5 where the name ends in .h5."""
    import json

    import numpy as np

    from jaxpriors.run.hdf5 import written_hdf5
    from jaxpriors.run.storage import write_json

    if out.suffix != ".h5":
        write_json(out, json.loads(json.dumps(table, default=np.ndarray.tolist)))
        return
    with written_hdf5(out, overwrite=True) as file:
        for name, value in table.items():
            if not isinstance(value, np.ndarray | dict):
                file.attrs[name] = value
            elif name == "outside":
                file.attrs[name] = json.dumps(value)
            else:
                for key, array in value.items() if isinstance(value, dict) else [("", value)]:
                    file[f"{name}/{key}".rstrip("/")] = array


def of_sample(found: Unfolded, result: Path, path: Path) -> Unfolded:
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
