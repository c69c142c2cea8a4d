"""`jaxpriors unfold check` and `jaxpriors unfold leakage`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from jaxpriors.cli.options import In, LevelOptions
from jaxpriors.ratio.names import ModelName

if TYPE_CHECKING:
    import numpy as np

    from jaxpriors.data.events import Events
    from jaxpriors.data.matched import Simulation
    from jaxpriors.evaluation.metrics import Chi2Test
    from jaxpriors.unfolding.leakage import Check, Found
    from jaxpriors.unfolding.result import Unfolded


def check(
    result: Path,
    simulation: Path,
    data: Path,
    /,
    observables: tuple[str, ...] = (),
    bins: tuple[float, float, int] | None = None,
    models: tuple[str, ...] = (),
    levels: In[LevelOptions] = LevelOptions(),
) -> int:
    """Check a result against the data: folded back, and the bottom line; exit with 1 if one fails.

    Args:
        result: unfolding.h5 of a run.
        simulation: the file of the simulation that was unfolded with.
        data: the file of the data that were unfolded.
        observables: columns of both levels, or observables of jets; by default the six observables.
        bins: lowest edge, highest edge and number of bins, at both levels; by default the usual
            ones, joined to at most ten, or a third of the replicas.
        models: columns of both levels with event weights of other models, for the bottom line.
        levels: how to read the files, as they were for unfolding.
    """
    from jaxpriors.cli.unfold import usual_or
    from jaxpriors.evaluation.observables import OBSERVABLES
    from jaxpriors.unfolding import checks
    from jaxpriors.unfolding.result import Unfolded

    found = Unfolded.read(result)
    sample, measured = levels.read(simulation, data)
    _check_same(found, result, sample, measured)
    names, passed, lines = observables or tuple(OBSERVABLES), True, []
    sample, measured = _with(sample, measured, names)
    print("folded back: data and simulation at detector level, χ²/ndf (probability) of the shapes")
    print(f"{'observable':>14} {'not unfolded':>24} {'unfolded':>24}")
    for name in names:
        particle, simulated = (_column(sample, level, name) for level in ("particle", "detector"))
        values = measured.columns[name]
        edges = usual_or(
            bins, partial(checks.common_edges, found, name, particle, simulated, values)
        )
        folded = checks.folded_back(found, simulated, values, edges, measured.weight)
        verdict = "" if folded.passed else "   FAILS: does not describe the data"
        print(f"{name:>14} {_test(folded.before):>24} {_test(folded.after):>24}{verdict}")
        passed &= folded.passed
        if found.draws.max() < checks.LEAST_REPLICAS:
            continue
        for model in ("", *models):
            weight = _weight(sample, model) if model else None
            line = checks.bottom_line(
                found, particle, simulated, values, edges, measured.weight, weight
            )
            verdict = "" if line.passed else "   FAILS: told more than the data tell"
            cells = f"{_test(line.detector):>24} {_test(line.particle):>24} ± {line.error:<6.1f}"
            lines.append(f"{name:>14} {model or 'simulation':>14} {cells}{verdict}")
            passed &= line.passed
    if lines:
        print("bottom line: a model against the data and against the unfolded result, likewise")
        print(f"{'observable':>14} {'model':>14} {'detector level':>24} {'particle level':>24}")
        print("\n".join(lines))
    else:
        print(
            f"bottom line: not done, found {found.draws.max()} bootstrap samples in the result, "
            f"expected at least {checks.LEAST_REPLICAS}: unfold with --replicas"
        )
    print("all checks that were done hold" if passed else "a check FAILS")
    return 0 if passed else 1


def leakage(
    simulation: Path,
    data: Path,
    /,
    truth: tuple[str, ...] = (),
    model: ModelName = "mlp",
    events: int = 2000,
    levels: In[LevelOptions] = LevelOptions(),
) -> int:
    """Check that no truth leaks into an unfolding of these files; exit with 1 if some does.

    Poisons the truth of the data, and what stands in the place of absent levels, in copies of the
    files (in the folder for temporary files), unfolds one iteration of each and compares.

    Args:
        simulation: HDF5 file of the simulation, as for unfolding.
        data: HDF5 file of the data, or pseudo-data.
        truth: datasets or groups of the data's file that hold its truth; by default the group
            particle.
        model: the network of both steps.
        events: number of events of each sample, the first ones.
        levels: how to read the files, as for unfolding.
    """
    import tempfile

    from jaxpriors.run.launch import set_up
    from jaxpriors.run.ranges import check_whole
    from jaxpriors.unfolding.leakage import leakage as compared
    from jaxpriors.unfolding.leakage import shared_events

    check_whole("events", events, 1)
    set_up()

    def refit(simulation: Path, data: Path) -> Found:
        return _refitted(*levels.read(simulation, data), model, events)

    sample, measured = levels.read(simulation, data)
    checks = [shared_events(measured, sample.detector)]
    with tempfile.TemporaryDirectory(prefix="jaxpriors-") as folder:
        checks += compared(refit, simulation, data, Path(folder), truth)
    for found in checks:
        print(f"{found.what:<70} {_verdict(found)}")
    leaks = any(found.leaks for found in checks)
    print("truth LEAKS into the unfolding" if leaks else "nothing leaks of what was looked at")
    return 1 if leaks else 0


def _verdict(found: Check) -> str:
    if found.leaks is None:
        return "nothing to look at"
    return f"LEAK: {', '.join(found.leaks)}" if found.leaks else "no leak"


def _refitted(sample: Simulation, measured: Events, model: ModelName, events: int) -> Found:
    """Unfold one iteration with a network that hardly trains: all that is read, and the weights."""
    import dataclasses
    import tempfile

    import numpy as np

    from jaxpriors.ratio.classifier import RatioClassifier
    from jaxpriors.training.options import TrainingOptions
    from jaxpriors.unfolding.omnifold import OmniFold, unfold
    from jaxpriors.unfolding.run import with_needed_observables

    read: Found = {}
    for name, part in (
        ("simulation, particle level", sample.particle),
        ("simulation, detector level", sample.detector),
        ("data", measured),
    ):
        arrays = {n: getattr(part, n) for n in ("p4", "pid", "offsets", "jet_p4", "weight")}
        for column, array in (arrays | part.columns).items():
            read[f"{name}: {column}"] = np.asarray(array)
    sample = sample[np.arange(min(events, len(sample)))]
    measured = measured[np.arange(min(events, len(measured)))]
    step = RatioClassifier(model).with_options(TrainingOptions(epochs=1, batch_size=64))
    step = dataclasses.replace(step, training=dataclasses.replace(step.training, micro_batch=None))
    config = OmniFold(step, step, iterations=1)
    with tempfile.TemporaryDirectory(prefix="jaxpriors-") as folder:
        chosen = with_needed_observables(sample, measured, config)
        read["the unfolded weights"] = unfold(*chosen, config, folder).push
    return read


def _check_same(found: Unfolded, result: Path, sample: Simulation, data: Events) -> None:
    """Raise InputError where the result is of another simulation or of other data."""
    from jaxpriors.errors import InputError
    from jaxpriors.evaluation.observables import with_observables

    samples = found.metadata.get("samples")
    known = samples if isinstance(samples, dict) else {}
    if sample.digest() != known.get("simulation"):
        raise InputError(
            f"{result}: is of another simulation than this of {len(sample)} events; expected that "
            f"of {len(found.weight)} events that was unfolded with"
        )
    if known.get("data") not in (data.digest(), with_observables(data).digest()):
        raise InputError(
            f"{result}: is of other data than these {len(data)} events, or they were read in "
            "another way; expected those that were unfolded"
        )


def _with(sample: Simulation, data: Events, names: tuple[str, ...]) -> tuple[Simulation, Events]:
    """Add the observables where names are no columns; raise InputError for unknown names."""
    import dataclasses

    from jaxpriors.errors import InputError
    from jaxpriors.evaluation.observables import with_observables

    parts = [sample.particle, sample.detector, data]
    if not all(set(names) <= set(part.columns) for part in parts):
        parts = [with_observables(part) for part in parts]
    for name in names:
        if not all(name in part.columns for part in parts):
            both = sorted(set(parts[0].columns) & set(parts[1].columns) & set(parts[2].columns))
            raise InputError(f"observables: found {name!r}, expected some of {both}")
    return dataclasses.replace(sample, particle=parts[0], detector=parts[1]), parts[2]


def _column(sample: Simulation, level: str, name: str) -> np.ndarray:
    """Give a column of a level, (n,), NaN for events without it."""
    import numpy as np

    from jaxpriors.data.events import PASS

    found = np.full(len(sample), np.nan)
    found[getattr(sample, PASS[level])] = getattr(sample, level).columns[name]
    return found


def _weight(sample: Simulation, name: str) -> np.ndarray:
    """Give the weights of a model (n,); raise InputError where a level lacks the column."""
    import numpy as np

    from jaxpriors.errors import InputError

    for level in ("particle", "detector"):
        if name not in getattr(sample, level).columns:
            there = sorted(getattr(sample, level).columns)
            raise InputError(f"models: found {name!r}, expected some of {there} at {level} level")
    weights = (_column(sample, level, name) for level in ("particle", "detector"))
    first, second = weights
    return np.nan_to_num(np.where(sample.pass_gen, first, second))


def _test(test: Chi2Test) -> str:
    return f"{test.chi2:.1f}/{test.ndf} ({test.p_value:.3f})"
