"""Tables 2 and 3 and Figures 1 and 2 of the study of unfolding, from what its runs keep.

`events.h5` holds the observables and weights of the events with which the study is measured, at
both levels, and `rows/LABEL/seed-N/weights.h5` what a row makes of the simulated ones: their
weights after step 1 of the first iteration (detector level, ``table2``) and after the last
iteration (particle level, ``table3``). No network is needed to make the tables and figures of them,
in any bins.

The seed that a table shows is the one with the smallest validation loss: for Table 2 that of step 1
of the first iteration, for Table 3 that of step 2 of the last (where each seed learns the pull
weights of its own step 1).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from experiments import rows
from experiments.rows import Row
from jaxpriors.data.matched import Simulation
from jaxpriors.evaluation.figures import convergence_figure, save_figure
from jaxpriors.evaluation.observable_figure import observable_figure
from jaxpriors.evaluation.observables import OBSERVABLES
from jaxpriors.evaluation.published import BINNINGS, Bins
from jaxpriors.evaluation.tables import discriminators
from jaxpriors.run.folder import Run
from jaxpriors.run.hdf5 import written_hdf5

EVENTS, WEIGHTS = "events.h5", "weights.h5"
LEVEL = {"table2": "detector", "table3": "particle"}
LABELS = {"mlp": "MultiFold"}
IBU = "IBU"
FLOOR = "floor: what two samples of one distribution, of these sizes and in these bins, would give"
Weights = np.ndarray | Mapping[str, np.ndarray]
"""(n,) of the simulated events of a level, or observable → such weights."""


@dataclass(frozen=True)
class Measured:
    """What tables and figures of a level need to know of the events.

    data, simulation: observable → values (n,), (m,); data_weight (n,); simulation_weight (m,); ibu:
    bins → observable → weights (m,) that give what iterative Bayesian unfolding finds in them.
    """

    data: dict[str, np.ndarray]
    simulation: dict[str, np.ndarray]
    data_weight: np.ndarray
    simulation_weight: np.ndarray
    ibu: dict[str, dict[str, np.ndarray]]

    @classmethod
    def of(cls, simulation: Simulation, data: Simulation, level: str) -> Measured:
        """Take the observables, which are among the columns, and the weights of a level."""
        found = [getattr(sample, level) for sample in (data, simulation)]
        values = [{name: events.columns[name] for name in OBSERVABLES} for events in found]
        return cls(values[0], values[1], found[0].weight, found[1].weight, {})

    def table(
        self, table: str, weights: Weights, bins: Bins, replicas: int = 100
    ) -> dict[str, Any]:
        """Measure these weights as `discriminators`: {"cells": by observable, "ranges": …}."""
        found = discriminators(
            self.data,
            self.simulation,
            {"": weights},
            table=table,
            data_weights=self.data_weight,
            simulation_weights=self.simulation_weight,
            observables=BINNINGS[bins].observables,
            error=BINNINGS[bins].error,
            replicas=replicas,
        )
        return {"cells": found[table][""], "ranges": found["ranges"][table]}


def write_measured(path: Path, levels: Mapping[str, Measured], told: str) -> None:
    """Write what is known of the events, by level; told: what a table says of them."""
    with written_hdf5(path, overwrite=True) as file:
        file.attrs["told"] = told
        for level, found in levels.items():
            values = {name: getattr(found, name) for name in ("data", "simulation")}
            values |= {f"ibu/{bins}": weights for bins, weights in found.ibu.items()}
            for name, of_observables in values.items():
                for observable, array in of_observables.items():
                    file[f"{level}/{name}/{observable}"] = array
            for name in ("data_weight", "simulation_weight"):
                file[f"{level}/{name}"] = getattr(found, name)


def read_measured(path: Path) -> tuple[dict[str, Measured], str]:
    """Read what `write_measured` wrote."""
    with h5py.File(path, "r") as file:

        def values(name: str) -> dict[str, np.ndarray]:
            return {o: file[name][o][:] for o in OBSERVABLES}

        levels = {}
        for level in LEVEL.values():
            weights = [file[f"{level}/{name}"][:] for name in ("data_weight", "simulation_weight")]
            ibu = {bins: values(f"{level}/ibu/{bins}") for bins in file.get(f"{level}/ibu", ())}
            samples = [values(f"{level}/{name}") for name in ("data", "simulation")]
            levels[level] = Measured(samples[0], samples[1], weights[0], weights[1], ibu)
        return levels, str(file.attrs["told"])


def write_row(folder: Path, weights: Mapping[str, np.ndarray]) -> None:
    """Write a row's weights (m,) of the simulated events of each table's level."""
    with written_hdf5(folder / WEIGHTS, overwrite=True) as file:
        for table, found in weights.items():
            file[table] = found


def read_row(folder: Path, row: Row, table: str) -> np.ndarray:
    """Read the weights (m,) of a row of a run."""
    with h5py.File(rows.place(folder, row["label"], row["seed"]) / WEIGHTS, "r") as file:
        weights: np.ndarray = file[table][:]
    return weights


def measured_again(folder: Path, found: Sequence[Row], bins: Bins) -> list[Row]:
    """Measure the rows of a run in these bins, from their weights."""
    levels, _ = read_measured(folder / EVENTS)
    return [
        row
        | {
            table: levels[level].table(table, read_row(folder, row, table), bins)["cells"]
            for table, level in LEVEL.items()
        }
        for row in found
    ]


def finished(run: Run, found: Sequence[Row], bins: Bins) -> dict[str, Any]:
    """Draw the figures of the rows of a run, and give {"table2", "table3", "ranges", "notes"}.

    bins: those in which the rows were measured.
    """
    run.progress({"stage": "drawing"})
    levels, told = read_measured(run.folder / EVENTS)
    metrics: dict[str, Any] = {"ranges": {}, "notes": [told, BINNINGS[bins].note, FLOOR]}
    for table, level in LEVEL.items():
        of_level = levels[level]
        summed = rows.over_seeds(found, table)
        metrics[table] = {LABELS.get(label, label): row for label, row in summed.items()}
        weights: dict[str, Weights] = {
            LABELS.get(label, label): read_row(run.folder, rows.chosen(found, label, table), table)
            for label in summed
        }
        before = of_level.table(table, of_level.simulation_weight, bins, replicas=2)
        metrics["ranges"][table] = before["ranges"]  # its errors are not needed
        if of_level.ibu:
            weights[IBU] = of_level.ibu[bins]
            metrics[table][IBU] = of_level.table(table, weights[IBU], bins)["cells"]
        drawn = observable_figure(
            of_level.data,
            of_level.simulation,
            weights,
            data_weights=of_level.data_weight,
            simulation_weights=of_level.simulation_weight,
            observables=BINNINGS[bins].observables,
            data_label="Data" if level == "detector" else "Truth",
        )
        save_figure(drawn, run.folder / "figures" / level)
    last = {label: rows.chosen(found, label, "table3") for label in rows.labels(found)}
    reports, courses = (
        {LABELS.get(label, label): row[what] for label, row in last.items()}
        for what in ("reports", "course")
    )
    save_figure(convergence_figure(reports, courses), run.folder / "figures" / "convergence")
    return metrics
