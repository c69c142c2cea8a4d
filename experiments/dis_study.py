"""The study of `experiments.dis`: every model and seed, Table 4, known ratios and Figure 3."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from matplotlib.figure import Figure

from experiments import rows
from experiments.dry_run import noted
from experiments.surrogates import Say
from jaxpriors.data.events import Events
from jaxpriors.evaluation.figures import save_figure
from jaxpriors.evaluation.observable_figure import observable_figure
from jaxpriors.evaluation.ranges import spanning
from jaxpriors.ratio.classifier import RatioClassifier
from jaxpriors.ratio.model import reweighted
from jaxpriors.ratio.reweighting import Prepared, Reweighting, prepare_reweighting, run_reweighting
from jaxpriors.report.tables import tables
from jaxpriors.run import processes
from jaxpriors.run.folder import Run, started
from jaxpriors.run.hdf5 import written_hdf5
from jaxpriors.run.storage import exists

TABLE = "table4"
TRUTH = "truth"  # column of the known ratios
KNOWN = {"analytic": "known_ratio", "shower": "known_ratio_shower"}  # case → its table
TEST, RATIOS = "test.h5", "log_ratios.h5"  # of a run, and of each of its rows
Pair = tuple[Events, Events]
Fits = Mapping[str, Mapping[int, RatioClassifier]]
"""Label → seed → classifier."""


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Configure what is done with each classifier.

    calibrate: whether log ratios are divided by a temperature. part: the column that says what
    events are for; None to split them (`ratio.reweighting.Reweighting`).
    """

    calibrate: bool = True
    part: str | None = None

    def of(self, one: RatioClassifier, case: str) -> Reweighting:
        """Configure the reweighting of a classifier; all of a case have the same test events."""
        truth, part = (None, self.part) if case == TABLE else (TRUTH, None)
        return Reweighting(
            (one,), observables="jet", calibrate=self.calibrate, truth=truth, part=part
        )


def run_fits(
    make: Callable[[Say], dict[str, Pair]],
    fits: Fits,
    evaluation: Evaluation,
    out: Path,
    resume: bool,
    sources: dict[str, Any],
    notes: tuple[str, ...] = (),
) -> int:
    """Fit every model and seed, and print the tables.

    make: gives the pair "table4" and the pairs with known ratios, by case. notes: what else to say.
    """
    asked = {
        label: {seed: dataclasses.asdict(evaluation.of(one, TABLE)) for seed, one in some.items()}
        for label, some in fits.items()
    }
    with started(out, resume) as opened:
        samples = make(opened.progress)
        digests = {case: [e.digest() for e in pair] for case, pair in samples.items()}
        config = {rows.ROWS: rows.described(asked), "sources": sources, "samples": digests}
        opened.open(config)
        metrics = opened.results(lambda: study(samples, fits, evaluation, opened))
    print(noted(tables(metrics), sources.get("dry_run", False)))
    print("\n".join(["", *notes, f"weights, figures and metrics: {out}"]))
    return 0


def study(samples: dict[str, Pair], fits: Fits, evaluation: Evaluation, run: Run) -> dict[str, Any]:
    """Fit, draw Figure 3, and give {"rows": …, "table4": …, "closure": …, "known_ratio": …}."""
    first = next(one for some in fits.values() for one in some.values())
    prepared = prepare_reweighting(*samples[TABLE], evaluation.of(first, TABLE))
    write_test(run.folder / TEST, prepared)
    on_test = prepared.parts["simulation"]["test"]

    def row(label: str, seed: int, inner: Run) -> rows.Row:
        one, found = fits[label][seed], rows.Row(validation_loss={})
        for case, pair in samples.items():
            table = KNOWN.get(case, TABLE)
            within = inner.within(table)
            metrics = run_reweighting(*pair, evaluation.of(one, case), within, {"case": case})
            found[table] = metrics["table4" if case == TABLE else "known_ratio"][one.model]
            found["validation_loss"][table] = metrics["models"][one.model]["validation_loss"]
            if case == TABLE:
                found["closure"] = metrics["closure"][one.model]
                if not exists(inner.folder / RATIOS):
                    with h5py.File(within.folder / "weights.h5") as file:
                        ratios = file[f"{one.model}/log_ratio"][:][on_test]
                    with written_hdf5(inner.folder / RATIOS) as file:
                        file["log_ratio"] = ratios.astype(np.float32)
                    processes.wait()
        return found

    made = rows.measured(run, fits, row)
    return {rows.ROWS: made, **finished(run, made)}


def finished(run: Run, made: list[rows.Row]) -> dict[str, Any]:
    """Make the tables of rows, and draw Figure 3 of what stands in the folder of the run."""
    run.progress({"stage": "drawing"})
    save_figure(figure(run.folder, made), run.folder / "figures" / "observables")
    metrics = {TABLE: rows.over_seeds(made, TABLE), "closure": {}}
    for label in rows.labels(made):
        metrics["closure"][label] = rows.chosen(made, label, TABLE)["closure"]
    for table in KNOWN.values():
        if all(table in one for one in made):
            found = rows.over_seeds(made, table)
            metrics[table] = {label: row["chosen"] for label, row in found.items()}
    return metrics


def write_test(path: Path, prepared: Prepared) -> None:
    """Write observables and weights of the test events of both samples, unless they are there."""
    if exists(path):
        return
    with written_hdf5(path) as file:
        for name, events in zip(("simulation", "data"), prepared.part("test"), strict=True):
            file[f"{name}/weight"] = events.weight
            for observable, values in prepared.observables[name].items():
                file[f"{name}/observables/{observable}"] = values
    processes.wait()


def figure(folder: Path, made: list[rows.Row]) -> Figure:
    """Draw Figure 3: the test jets, reweighted by the mean log ratio of the seeds of each label.

    The band is the spread of the seeds by themselves.
    """
    with h5py.File(folder / TEST) as file:
        values = {
            name: {key: data[:] for key, data in file[f"{name}/observables"].items()}
            for name in ("simulation", "data")
        }
        weight = {name: file[f"{name}/weight"][:] for name in values}
    means, each = {}, {}
    for label in rows.labels(made):
        seeds = [row["seed"] for row in made if row["label"] == label]
        ratios = []
        for seed in seeds:
            with h5py.File(rows.place(folder, label, seed) / RATIOS) as file:
                ratios.append(file["log_ratio"][:].astype(np.float64))
        means[label] = reweighted(weight["simulation"], np.mean(ratios, axis=0))
        each[label] = np.stack([reweighted(weight["simulation"], one) for one in ratios])
    return observable_figure(
        values["data"],
        values["simulation"],
        means,
        data_weights=weight["data"],
        simulation_weights=weight["simulation"],
        observables=spanning(values["simulation"], values["data"]),
        trainings=each,
    )
