"""Do the errors of OmniFold cover the truth? Unfoldings of many toys whose truths are known.

    python -m experiments.unfolding_coverage --toys 100 --out runs/coverage

Each toy has data and a simulation of its own, of two Gaussian features, which the detector smears
and of which it loses some (`toy`); an MLP unfolds them with bootstrap replicas, whose spread gives
the error of each bin. 68.3 % of the intervals of ± one error should hold the expected content of
the bin. A share of intervals has the error that its toys, which are independent, give; the bins of
one toy are not.

The network sees the features and their squares: the log ratio of two Gaussians is a linear function
of them, so that what is tested is the method and its errors, and not whether a network can learn a
curve from the few events of a tail. Features alone (--inputs features) test that as well.

All toys have arrays of the same lengths, filled up by events of weight 0, and the networks see the
columns as they are, so that one program trains all of them. The numbers of events are Poisson
numbers. A killed call goes on with --resume, also to more toys.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist
from typing import Any, Literal, NamedTuple

import numpy as np
import tyro

from jaxpriors.data.events import Events
from jaxpriors.data.matched import Simulation
from jaxpriors.data.stored import Sample
from jaxpriors.models.mlp import MLPConfig
from jaxpriors.preprocessing.columns import ColumnsConfig
from jaxpriors.preprocessing.standardisation import Standardisation
from jaxpriors.ratio.classifier import RatioClassifier
from jaxpriors.run import preemption
from jaxpriors.run.folder import started
from jaxpriors.run.launch import guarded
from jaxpriors.run.ranges import MOST_NETWORKS, check_whole
from jaxpriors.run.storage import read_json, write_json
from jaxpriors.training.loop import TrainingConfig
from jaxpriors.training.optimizers import OptimizerConfig
from jaxpriors.unfolding.distributions import distribution
from jaxpriors.unfolding.omnifold import OmniFold, describe, unfold
from jaxpriors.unfolding.variance import design

MEANS, WIDTHS = (
    {"simulation": (0.0, 0.0), "data": (0.2, -0.1)},
    {
        "simulation": (1.0, 1.0),
        "data": (0.9, 1.1),
    },
)  # of the two features at particle level
SMEARING = 0.4
BATCH = 512
EDGES = np.array([-4.0, -1.0, -0.4, 0.2, 0.8, 4.0])
FEATURES = ("x", "y")
SQUARES = ("x_squared", "y_squared")
Inputs = Literal["squares", "features"]
COLUMNS: dict[Inputs, tuple[str, ...]] = {"squares": FEATURES + SQUARES, "features": FEATURES}
NORMAL = 2 * NormalDist().cdf(1) - 1  # 68.27 %


class Toy(NamedTuple):
    """Hold a simulation and data, and the expected contents of the bins, {feature: (K,)}."""

    simulation: Simulation
    data: Events
    expected: dict[str, np.ndarray]


@dataclass(frozen=True)
class AsTheyAre(ColumnsConfig):
    """Show columns to a network as they are."""

    def learn(self, events: Sample) -> Standardisation:
        """Give the standardisation that changes nothing."""
        return Standardisation((0.0,) * len(self.columns), (1.0,) * len(self.columns))


def toy(number: int, events: int, times: int) -> Toy:
    """Make a toy of Poisson numbers of events: ``events`` in the data, ``times`` that simulated.

    >>> one, other = toy(0, 500, 2), toy(1, 500, 2)
    >>> len(one.simulation) == len(other.simulation), one.data.weight.sum() < 500
    (True, True)
    """
    drawn = {}
    for place, (name, mean) in enumerate((("data", events), ("simulation", times * events))):
        rng = np.random.default_rng([number, place])
        size = rng.poisson(mean)
        true = rng.normal(MEANS[name], WIDTHS[name], (size, 2))
        measured = true + rng.normal(0, SMEARING, true.shape)
        found = rng.random(size) < 0.9 - 0.2 / (1 + np.exp(-3 * true[:, 0]))
        parts = [
            _filled(np.concatenate([true[part], measured[part]], axis=1), int(most))
            for part, most in ((found, 0.9 * mean), (~found, 0.35 * mean))
        ]
        rows, weight = (np.concatenate(x) for x in zip(*parts, strict=True))
        reco = np.arange(len(rows)) < len(parts[0][0])
        one, other = (Events.from_columns(_columns(rows[:, i : i + 2]), weight) for i in (0, 2))
        drawn[name] = Simulation.of(one, other, pass_reco=reco)
    expected = {}
    for feature, at, width in zip(FEATURES, MEANS["data"], WIDTHS["data"], strict=True):
        below = [NormalDist(at, width).cdf(edge) for edge in EDGES]
        expected[feature] = events * np.diff(below)
    return Toy(drawn["simulation"], drawn["data"].detector, expected)


def _filled(rows: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Add rows of zeros up to a size; give them all, and weights of 1, or of 0 for those added."""
    assert len(rows) <= size, f"{len(rows)} events, {size} at most"
    filled = np.zeros((size, rows.shape[1]))
    filled[: len(rows)] = rows
    return filled, (np.arange(size) < len(rows)).astype(float)


def _columns(rows: np.ndarray) -> dict[str, np.ndarray]:
    return dict(zip(FEATURES + SQUARES, [*rows.T, *rows.T**2], strict=True))


def configuration(replicas: int, starts: int, iterations: int, inputs: Inputs) -> OmniFold:
    """Configure the unfolding of a toy."""
    seen = AsTheyAre(COLUMNS[inputs])
    rows = BATCH * len(design(replicas, starts))  # of all networks at once
    layers = {"squares": 1, "features": 2}[inputs]
    network = MLPConfig(len(seen.columns), hidden_channels=32, num_layers=layers)
    rule = OptimizerConfig("adamw", 3e-3, 0.0, warmup=0.05)
    how: Any = {"batch_size": BATCH, "micro_batch": rows, "buckets": 1, "keep": "last"}
    training = TrainingConfig(rule, epochs=16, **how)
    step = RatioClassifier("mlp", inputs=seen, network=network, training=training)
    constant = OptimizerConfig("adamw", 1e-3, 0.0, final_rate=1.0)
    later = TrainingConfig(constant, epochs=6, **how)
    return OmniFold(step, step, iterations, later=(later, later), replicas=replicas, starts=starts)


def measured(made: Toy, config: OmniFold, folder: Path, progress: Any) -> dict[str, Any]:
    """Unfold a toy: contents, errors and expected contents of all bins, and parts of variances.

    {"contents" or "shares": {"content", "error", "expected" and the parts: [of x, then of y]}}
    """
    result = unfold(made.simulation, made.data, config, folder, progress)
    found: dict[str, Any] = {}
    for kind, normalised in (("contents", False), ("shares", True)):
        rows = []
        for feature in FEATURES:
            values = result.observables[feature]
            one = distribution(result, values, EDGES, normalised=normalised)
            before = distribution(result, values, EDGES, 0, normalised)
            expected = made.expected[feature]
            expected = expected / expected.sum() if normalised else expected
            row = {"content": one.content, "error": one.error, "expected": expected}
            row["before"] = before.content
            if one.variance is not None:
                parts = one.variance._asdict()
                row |= {name: part for name, part in parts.items() if part is not None}
            rows.append(row)
        found[kind] = {n: np.concatenate([row[n] for row in rows]).tolist() for n in rows[0]}
    return found


def coverage(toys: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    """Compare all toys with the truth and with the mean of their results.

    toys: of ``measured``; kind: contents or shares. Per bin, (K,): "pull" and "width", mean and
    standard deviation of (content - expected) / error; "truth" and "mean", the shares of intervals
    that hold the expected content, and the mean content of all toys; "ratio", the mean squared
    error over the variance of the contents. "overall": of all bins, share and its error, of both.
    """
    stacked = {name: np.array([t[kind][name] for t in toys]) for name in toys[0][kind]}
    content, error = stacked["content"], stacked["error"]
    pulls = (content - stacked["expected"]) / error
    centred = (content - content.mean(0)) / error
    found: dict[str, Any] = {
        "expected": stacked["expected"][0],
        "before": stacked["before"].mean(0),
        "content": content.mean(0),
        "pull": pulls.mean(0),
        "width": pulls.std(0, ddof=1),
        "truth": (np.abs(pulls) < 1).mean(0),
        "mean": (np.abs(centred) < 1).mean(0),
        "ratio": (error**2).mean(0) / content.var(0, ddof=1),
    }
    for part in ("data", "simulation", "first_weights"):
        if part in stacked:
            found[part] = stacked[part].mean(0) / stacked["total"].mean(0)
    found["overall"] = {
        name: [float(each.mean()), float(each.std(ddof=1) / np.sqrt(len(toys)))]
        for name, values in (("truth", pulls), ("mean", centred))
        for each in [(np.abs(values) < 1).mean(1)]
    }
    return {n: x.tolist() if isinstance(x, np.ndarray) else x for n, x in found.items()}


def formatted(found: dict[str, Any], kind: str, toys: int) -> str:
    """Format what ``coverage`` gives as a table, with binomial errors."""
    parts = [n for n in ("data", "simulation", "first_weights") if n in found]
    heads = f"{'bin':>14} {'expected':>9} {'prior':>9} {'unfolded':>9} {'pull':>6} {'width':>6}"
    heads += f" {'error²/var':>10} {'holds truth':>15} {'holds mean':>15}"
    lines = [f"{kind}: {toys} toys", heads + "".join(f" {n.replace('_', ' '):>13}" for n in parts)]
    number = "9.1f" if kind == "contents" else "9.4f"
    for i in range(len(found["pull"])):
        feature, j = FEATURES[i // (len(EDGES) - 1)], i % (len(EDGES) - 1)
        line = f"{f'{feature} {EDGES[j]:g} … {EDGES[j + 1]:g}':>14}"
        line += "".join(f" {found[n][i]:{number}}" for n in ("expected", "before", "content"))
        line += f" {found['pull'][i]:6.2f} {found['width'][i]:6.2f} {found['ratio'][i]:10.2f}"
        for name in ("truth", "mean"):
            share = found[name][i]
            error = np.sqrt(share * (1 - share) / toys)
            line += f" {f'{100 * share:.0f} ± {100 * error:.0f} %':>15}"
        lines.append(line + "".join(f" {100 * found[n][i]:11.0f} %" for n in parts))
    truth, mean = (
        f"{100 * share:.1f} ± {100 * error:.1f} %"
        for share, error in (found["overall"][n] for n in ("truth", "mean"))
    )
    lines.append(
        f"of all intervals, {truth} hold the truth and {mean} the mean of all toys; "
        f"expected: {100 * NORMAL:.1f} %"
    )
    return "\n".join(lines)


def main(
    out: Path,
    toys: int = 100,
    events: int = 3000,
    times: int = 2,
    replicas: int = 20,
    starts: int = 1,
    iterations: int = 3,
    inputs: Inputs = "squares",
    resume: bool = False,
) -> int:
    """Unfold toys and print how often their errors cover the truth.

    Args:
        out: folder of the run; must not exist, unless --resume.
        toys: number of toys.
        events: expected number of events of the data, before losses.
        times: as many times that are simulated.
        replicas: bootstrap samples of each toy.
        starts: first weights of each of them; two or more tell the variances apart.
        iterations: of OmniFold.
        inputs: what the network sees: the features and their squares, or the features alone.
        resume: resume the run in the folder, also to more toys.
    """
    check_whole("toys", toys, 2)
    check_whole("replicas", replicas, 2, MOST_NETWORKS)
    config = configuration(replicas, starts, iterations, inputs)
    with started(out, resume) as run:
        run.open({**describe(config), "events": events, "times": times})
        found = []
        for number in range(toys):
            path = run.folder / "toys" / f"{number}.json"
            if not path.exists():
                run.progress({"stage": f"toy {number + 1} of {toys}"})
                scratch = path.with_suffix("")
                made = toy(number, events, times)
                write_json(path, measured(made, config, scratch, lambda record: None))
                shutil.rmtree(scratch)
                preemption.obey()
            found.append(read_json(path))
        tables = {kind: coverage(found, kind) for kind in ("contents", "shares")}
        write_json(run.folder / "metrics.json", {"toys": toys, **tables})
    print("\n\n".join(formatted(table, kind, toys) for kind, table in tables.items()))
    return 0


if __name__ == "__main__":
    raise SystemExit(guarded(lambda: tyro.cli(main, description=__doc__)))
