"""The study of `experiments.unfolding`: samples, models and seeds, and what each row measures."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from experiments import rows
from experiments.dry_run import NOTE
from experiments.rows import Row
from experiments.unfolding_closure import with_all_observables
from experiments.unfolding_tables import (
    EVENTS,
    LEVEL,
    WEIGHTS,
    Measured,
    finished,
    measured_again,
    read_measured,
    write_measured,
    write_row,
)
from jaxpriors.data.batching import split
from jaxpriors.data.events import Events
from jaxpriors.data.matched import Simulation
from jaxpriors.errors import InputError
from jaxpriors.evaluation.discriminators import triangular_discriminator
from jaxpriors.evaluation.observables import Observable
from jaxpriors.evaluation.published import BINNINGS, Bins, check_bins
from jaxpriors.ratio.model import RatioModel, reweighted
from jaxpriors.report.tables import tables
from jaxpriors.run.folder import Run, started
from jaxpriors.run.ranges import check_whole
from jaxpriors.run.storage import exists, read_json
from jaxpriors.unfolding import ibu, omnifold
from jaxpriors.unfolding.distributions import merged_edges
from jaxpriors.unfolding.omnifold import OmniFold
from jaxpriors.unfolding.run import with_micro_batches

TRAIN = 1_600_000  # events of each sample to train on, as OmniLearn takes
HELD_OUT = 0.3  # share of a sample that is not larger
LEAST = 50  # events to measure with
Evaluated = Literal["held-out", "training"]
Configs = Mapping[str, Mapping[int, OmniFold]]
"""Label → seed → unfolding."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """Choose how a study is measured.

    bins: own, with bootstrap errors, or those of the published tables with their errors
    (`jaxpriors.evaluation.published`). evaluate: with events that no training has seen, or with
    those of the training, as OmniLearn does. train: events of each sample to train on; of a sample
    that has no more, 70 %. dry_run: whether the numbers mean nothing (`experiments.dry_run`).
    """

    bins: Bins = "own"
    evaluate: Evaluated = "held-out"
    train: int = TRAIN
    dry_run: bool = False

    def __post_init__(self) -> None:
        """Raise InputError for a number of events that is none."""
        check_whole("train", self.train, 1)


@dataclasses.dataclass(frozen=True)
class Samples:
    """Hold simulation and data (with its truth), to unfold with and to test with."""

    simulation: Simulation
    data: Simulation
    tested_simulation: Simulation
    tested_data: Simulation

    @classmethod
    def of(cls, simulation: Simulation, data: Simulation, settings: Settings) -> Samples:
        """Split the events; raise InputError where hardly any are left to test with."""
        given = simulation, data
        parts = [split(len(sample), shares(len(sample), settings.train), 0) for sample in given]
        trained = [sample[part[0]] for sample, part in zip(given, parts, strict=True)]
        if settings.evaluate == "training":
            return cls(*trained, *trained)
        if (fewest := min(len(part[1]) for part in parts)) < LEAST:
            raise InputError(
                f"evaluate: found {fewest} events of a sample held out, expected at least {LEAST}: "
                "train on fewer (--train), or measure with those (--evaluate training)"
            )
        tested = [sample[part[1]] for sample, part in zip(given, parts, strict=True)]
        return cls(*trained, *tested)

    def told(self, settings: Settings) -> str:
        """Say how many events there are to unfold with and to test with."""
        numbers = [len(getattr(self, field.name)) for field in dataclasses.fields(self)]
        unseen = settings.evaluate == "held-out"
        which = "events that no training has seen" if unseen else "the same events"
        text = (
            f"trained on {numbers[0]} simulated events and {numbers[1]} of the data; measured with "
            f"{numbers[2]} and {numbers[3]}, {which}"
        )
        return f"{NOTE}\n{text}" if settings.dry_run else text


def shares(events: int, train: int = TRAIN) -> tuple[float, float]:
    """Give the shares of a sample's events to unfold with, and that are held out.

    >>> [[round(share, 3) for share in shares(events)] for events in (2_000_000, 50_000)]
    [[0.8, 0.2], [0.7, 0.3]]
    """
    trained = train / events if events > train else 1 - HELD_OUT
    return trained, 1 - trained


def run_unfoldings(
    simulation: Simulation,
    data: Simulation,
    configs: Configs,
    out: Path,
    resume: bool,
    settings: Settings = Settings(),
    notes: tuple[str, ...] = (),
) -> int:
    """Unfold with every model and seed, and with IBU; print the tables.

    notes: what else the tables are to say.
    """
    check_bins(settings.bins, simulation.weight, data.weight)
    described = {
        m: {n: omnifold.describe(c) for n, c in some.items()} for m, some in configs.items()
    }
    asked = {
        rows.ROWS: rows.described(described),
        "samples": {"simulation": simulation.digest(), "data": data.digest()},
        **dataclasses.asdict(settings),
    }
    with started(out, resume) as opened:
        opened.open(asked)
        for note in notes:
            opened.progress({"stage": note})

        def measured() -> dict[str, Any]:
            opened.progress({"stage": "looking at the samples"})
            known, target = map(with_all_observables, (simulation, data))
            return study(Samples.of(known, target, settings), configs, opened, settings)

        metrics = opened.results(measured)
    print(tables(metrics))
    print("\n".join(["", *notes, f"weights, figures and metrics: {out}"]))
    return 0


def merged_runs(
    runs: Sequence[Path], out: Path, known: Sequence[str], bins: Bins | None, resume: bool
) -> dict[str, Any]:
    """Merge runs of the study (`rows.merge`); bins: to measure again in, None for those they have.

    Raises InputError as ``rows.merge``, and for bins that the weights do not fit.
    """

    def finish(run: Run, found: list[Row]) -> dict[str, Any]:
        asked = read_json(run.folder / "config.json")["bins"]
        again = found if bins is None else measured_again(run.folder, found, asked)
        return {rows.ROWS: again, **finished(run, again, asked)}

    if bins is not None and runs and exists(runs[0] / EVENTS):
        levels, _ = read_measured(runs[0] / EVENTS)
        each = [(one.data_weight, one.simulation_weight) for one in levels.values()]
        check_bins(bins, *(weight for pair in each for weight in pair))
    changed = {} if bins is None else {"bins": bins}
    return rows.merge(
        runs,
        out,
        finish,
        known,
        files=[WEIGHTS],
        shared=[EVENTS],
        changed=changed,
        resume=resume,
    )


def study(
    samples: Samples, configs: Configs, run: Run, settings: Settings = Settings()
) -> dict[str, Any]:
    """Unfold with every model, draw, and give {"rows": …, "table2": …, "table3": …}."""
    iterations = max(one.iterations for some in configs.values() for one in some.values())
    levels = {
        level: Measured.of(samples.tested_simulation, samples.tested_data, level)
        for level in LEVEL.values()
    }
    of_ibu = {
        bins: iterative_bayesian(samples, iterations, binning.observables)
        for bins, binning in BINNINGS.items()
    }
    levels["particle"] = dataclasses.replace(levels["particle"], ibu=of_ibu)
    write_measured(run.folder / EVENTS, levels, samples.told(settings))

    def one(label: str, seed: int, inner: Run) -> Row:
        return inner.results(
            lambda: unfolded(samples, levels, configs[label][seed], inner, settings.bins)
        )

    found = rows.measured(run, configs, one)
    return {rows.ROWS: found, **finished(run, found, settings.bins)}


def unfolded(
    samples: Samples, levels: Mapping[str, Measured], config: OmniFold, run: Run, bins: Bins
) -> Row:
    """Unfold in the folder of a row, and measure."""
    config = with_micro_batches(config, samples.simulation, samples.data.detector, run)
    run.open(omnifold.describe(config))
    result = omnifold.unfold(
        samples.simulation, samples.data.detector, config, run.folder, run.progress
    )
    run.progress({"stage": "measuring"})
    stages = {"table2": [step_weights(samples, config, run.folder, 1, "table2")]}
    stages["table3"] = [
        step_weights(samples, config, run.folder, i + 1, "table3") for i in range(config.iterations)
    ]
    last = {table: weights[-1] for table, weights in stages.items()}
    write_row(run.folder, last)
    reports = result.reports
    return {
        "validation_loss": {
            "table2": reports[0]["validation_loss"],
            "table3": reports[-1]["validation_loss"],
        },
        **{t: levels[LEVEL[t]].table(t, weights, bins)["cells"] for t, weights in last.items()},
        "reports": reports,
        "course": course(levels["particle"], stages["table3"], bins),
    }


def step_weights(
    samples: Samples, config: OmniFold, folder: Path, iteration: int, table: str
) -> np.ndarray:
    """Give the unfolded weights of the simulated events by the networks of a step."""
    level = LEVEL[table]
    events: Events = getattr(samples.tested_simulation, level)
    model = RatioModel.load(folder / "model" / f"iteration-{iteration}-{level}")
    return reweighted(events.weight, omnifold.log_ratios_of(model, events, config)[0])


def course(measured: Measured, stages: list[np.ndarray], bins: Bins) -> dict[str, list[float]]:
    """Measure, by observable, discriminators to the truth after each iteration.

    The first value is before the unfolding.
    """
    return {
        o.name: [
            triangular_discriminator(
                measured.data[o.name],
                measured.simulation[o.name],
                o.edges,
                measured.data_weight,
                weights,
            )
            for weights in (measured.simulation_weight, *stages)
        ]
        for o in BINNINGS[bins].observables
    }


def iterative_bayesian(
    samples: Samples, iterations: int, observables: Sequence[Observable]
) -> dict[str, np.ndarray]:
    """Find, by observable, weights of the tested simulated events that give IBU's distribution.

    Bins with few simulated events are merged; values outside of the histograms (as of jets that
    fail SoftDrop) have two more bins.
    """
    simulation, data, test = samples.simulation, samples.data.detector, samples.tested_simulation
    result = {}
    for observable in observables:
        name = observable.name
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
