"""What the studies of arXiv:2603.08802 cost on one GPU, from the steps that were measured.

    python -m experiments.costs

Measured were training steps on an H100 (`MEASURED`, docs/performance.md), in bfloat16, of 512 jets
of 46 particles on average. From these follow, by the operations of a training
(benchmarks/results/resources.json), the rates of networks that were not measured; operations grow
as the parameters, time as the number of particles. In float32, as the papers train, steps that are
bound by the memory's bandwidth take twice as long. So this is a guide: compilation (minutes for
each network), validation, tests and figures come on top; early stopping takes off.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jax
import tyro

from experiments.anomaly import PAPER_BACKGROUND, PAPER_INJECTED, PAPER_SEEDS, PAPER_TEMPLATE
from jaxpriors.errors import InputError
from jaxpriors.evaluation.tables import aligned
from jaxpriors.ratio import published, settings
from jaxpriors.run.launch import guarded
from jaxpriors.run.storage import read_json

RESULTS = Path(__file__).parents[1] / "benchmarks" / "results" / "resources.json"
MEASURED = {"lgatr-slim": 29_200.0, "pet": 26_900.0}  # jets a second, docs/performance.md
CLOSEST = {"lgatr": "lgatr-slim", "lgatr-slim": "lgatr-slim", "pet": "pet", "pet-finetuned": "pet"}
PARTICLES = 46.0  # of a jet of the measurement, on average
FLOAT32 = 2.0  # bytes of a number, over those of bfloat16


@dataclass(frozen=True)
class Work:
    """Say what one seed of a study trains on.

    jets: of an epoch. trainings: one after another. particles: of a jet, on average. seeds: of the
    published tables.
    """

    jets: float
    trainings: int
    particles: float
    seeds: int


# numbers of particles: means of the jets' multiplicity in OmniLearn's scripts/utils.py
WORK = {
    # 1.6e6 events of each sample, a tenth of them to validate on; two steps of five iterations
    "omnifold": Work(2 * 1.6e6 * 0.9, 10, 18.9, 5),
    # OmniLearn's preprocess_h1.py
    "dis": Work(2.5e6, 1, 11.7, 5),
    # two jets an event, all trainings of an injection at once; one seed is all of the injections
    "anomaly": Work(
        2 * (PAPER_BACKGROUND + PAPER_TEMPLATE) * 0.85, len(PAPER_INJECTED), 57.2, len(PAPER_SEEDS)
    ),
}


@dataclass(frozen=True)
class Cost:
    """Hold the cost of one seed of a row.

    jets: trained on in all, each as often as it is. rate: jets a second in bfloat16. measured:
    whether a step of this network was.
    """

    study: str
    row: str
    parameters: int
    jets: float
    rate: float
    measured: bool
    seeds: int

    @property
    def hours(self) -> float:
        """Hours of one seed in bfloat16."""
        return self.jets / self.rate / 3600


def costs(studies: Sequence[str] = published.STUDIES) -> list[Cost]:
    """Compute the cost of every row of these studies, but for MultiFold's small MLP."""
    return [cost(study, row) for study in studies for row in published.rows(study) if row != "mlp"]


def cost(study: str, row: str) -> Cost:
    """Compute the cost of one row.

    >>> one = cost("omnifold", "lgatr-slim")
    >>> one.measured, round(one.rate)
    (True, 71069)
    """
    work, model = WORK[study], settings.MODEL_OF.get(row, row)
    closest, size = CLOSEST[model], _base(model)
    counts = {(r["model"], r["task"]): r["ours"] for r in read_json(RESULTS)["results"]}
    tuned = row == "pet-finetuned"  # the network of the checkpoint, which is PET's
    parameters = _parameters(study, "pet" if tuned else row)
    operations = counts[size, "training"] * parameters / counts[size, "parameters"]
    slower = operations / counts[closest, "training"]
    same = abs(parameters / counts[size, "parameters"] - 1) < 0.1 and size == closest
    epochs = settings.published(study, row)["epochs"]
    return Cost(
        study=study,
        row=row,
        parameters=parameters,
        jets=work.jets * work.trainings * epochs,
        rate=MEASURED[closest] * PARTICLES / work.particles / (1.0 if same else slower),
        measured=same,
        seeds=work.seeds,
    )


def _base(model: str) -> str:
    return "pet" if model == "pet-finetuned" else model


def _parameters(study: str, row: str) -> int:
    """Count the parameters of a row's network."""
    one = published.classifier(study, row)
    shapes = jax.eval_shape(lambda key: one.initial(key)[0], jax.random.key(0))
    return sum(x.size for x in jax.tree.leaves(shapes))


def main(study: tuple[str, ...] = published.STUDIES) -> int:
    """Print the table.

    Args:
        study: any of omnifold, dis, anomaly.
    """
    if unknown := set(study) - set(WORK):
        raise InputError(f"study: found {min(unknown)!r}, expected any of {', '.join(WORK)}")
    heads = [
        "",
        "parameters",
        "jets",
        "jets/s",
        "",
        "hours of a seed",
        "in float32",
        "of all seeds",
    ]
    table = [heads]
    for one in costs(study):
        table.append(
            [
                f"{one.study} {one.row}",
                f"{one.parameters}",
                f"{one.jets:.2g}",
                f"{one.rate:.3g}",
                "measured" if one.measured else "estimated",
                f"{one.hours:.1f}",
                f"{FLOAT32 * one.hours:.1f}",
                f"{FLOAT32 * one.hours * one.seeds:.0f}",
            ]
        )
    print("\n".join(["One H100, at most (no early stopping), a guide", "", *aligned(table)]))
    return 0


if __name__ == "__main__":
    raise SystemExit(guarded(lambda: tyro.cli(main)))
