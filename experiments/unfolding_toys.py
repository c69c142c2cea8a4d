"""Toys with truths that are known: does OmniFold stay where it arrives when it iterates on?

    python -m experiments.unfolding_toys drift --toys 20 --out runs/drift
    python -m experiments.unfolding_toys jets --out runs/stable

``drift`` unfolds Gaussians of three features (4000 + 4000 events, smeared by 0.5, of which each
level lacks 10 %) with MLPs. The simulation is N(0, 1) in each, the data N(0.3, 1) in the first.
The mean of the first feature after each iteration, over many toys, is laid beside its truth and
what OmniFold would find with infinitely many events and a perfect classifier: that is iterative
Bayesian unfolding in fine bins, as only one feature differs. The mean over the toys shows a bias,
the spread of the differences to the data's own mean what the trainings add to the statistics.

Events without a particle level (fakes) are alike in data and simulation, as OmniFold needs them to
be; with ``--fakes shifted`` those of the data have the shape of the data's truth, and the limit is
another than the truth: OmniFold takes their shape from the simulation.

``jets`` unfolds the package's sample with small networks, ten iterations, and lays the distances to
the truth of each beside each other, on events that no network has seen.
"""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tyro

from experiments.unfolding_closure import with_all_observables
from jaxpriors.data.batching import split
from jaxpriors.data.events import Events
from jaxpriors.data.matched import Simulation, read_simulation
from jaxpriors.data.samples import zjets_path
from jaxpriors.evaluation.tables import aligned, discriminators
from jaxpriors.preprocessing.columns import ColumnsConfig
from jaxpriors.ratio.classifier import RatioClassifier
from jaxpriors.ratio.model import RatioModel, reweighted
from jaxpriors.ratio.names import ModelName
from jaxpriors.report.tables import tables
from jaxpriors.run.folder import Run, started
from jaxpriors.run.launch import guarded
from jaxpriors.training.options import TrainingOptions
from jaxpriors.unfolding import ibu
from jaxpriors.unfolding.omnifold import OmniFold, describe, later_training, log_ratios_of, unfold
from jaxpriors.unfolding.run import with_micro_batches

EVENTS, FEATURES, MEAN, SMEARING, LOST = 4000, ("x", "y", "z"), 0.3, 0.5, 0.1
TEST = 0.3  # share of the jets that no network sees
EPOCHS, LATER_EPOCHS = 4, 1  # of the networks on jets
Fakes = Literal["alike", "shifted"]
Variant = Literal["default", "continued", "best", "anew", "members"]


def toy(mean: float, seed: list[int], fakes: Fakes = "alike") -> Simulation:
    """Make EVENTS events of N(mean, 1) in the first feature and N(0, 1) in the others."""
    rng = np.random.default_rng(seed)
    shape, shift = (EVENTS, len(FEATURES)), np.array([mean, 0.0, 0.0])
    true = rng.normal(size=shape)
    gen, reco = rng.random((2, EVENTS)) > LOST
    moved = (gen if fakes == "alike" else np.ones(EVENTS, bool))[:, None] * shift
    measured = true + moved + rng.normal(0, SMEARING, shape)
    particle, detector = (
        Events.from_columns(dict(zip(FEATURES, values.T, strict=True)))
        for values in (true + shift, measured)
    )
    return Simulation.of(particle, detector, gen, reco)


def exact(iterations: int, fakes: Fakes = "alike") -> tuple[np.ndarray, float]:
    """Give the mean after each iteration (I + 1,) of infinitely many events, and the data's mean.

    The classifiers are perfect: each iteration is one of `ibu.unfold`, in bins of 0.05.
    """
    edges = np.linspace(-6, 6, 241)
    middle = (edges[1:] + edges[:-1]) / 2
    wide = math.hypot(1, SMEARING)
    response = ibu.Response(
        matrix=(1 - LOST) * _normal(middle, middle[:, None], SMEARING),
        prior=(1 - LOST) * _normal(0.0, middle, 1.0),
        fakes=LOST * (1 - LOST) * _normal(0.0, middle, wide),
    )
    of_fakes = 0.0 if fakes == "alike" else MEAN
    data = (1 - LOST) * _normal(MEAN, middle, wide) + LOST * _normal(of_fakes, middle, wide)
    found = ibu.unfold((1 - LOST) * data, response, iterations)
    return found @ middle / found.sum(1), float(data @ middle)


def _normal(mean: Any, x: np.ndarray, width: float) -> np.ndarray:
    density = np.exp(-0.5 * ((x - mean) / width) ** 2)
    return density / density.sum(0)


def config_of(variant: Variant, seed: int, iterations: int) -> OmniFold:
    """Configure a variant, as ``drift`` describes it."""
    step = RatioClassifier("mlp", inputs=ColumnsConfig(FEATURES))
    step = step.with_options(TrainingOptions(seed=seed))
    patience = step.training.patience
    best = dataclasses.replace(later_training(step), keep="best", patience=patience, epochs=10)
    changed: dict[str, dict[str, Any]] = {
        "default": {},
        "continued": {"from_one": False, "later": (best, best)},
        "best": {"later": (best, best)},
        "anew": {"warm_start": False},
        "members": {"members": 5},
    }
    config = OmniFold(step, step, iterations=iterations)
    return dataclasses.replace(config, **changed[variant])


def drift(
    out: Path,
    toys: int = 20,
    iterations: int = 10,
    variants: tuple[Variant, ...] = ("default", "continued"),
    fakes: Fakes = "alike",
    resume: bool = False,
) -> int:
    """Unfold toys of Gaussians; print the mean of the first feature after each iteration.

    Args:
        out: folder of the run; must not exist, unless --resume.
        toys: number of toys of each variant.
        iterations: of each unfolding.
        variants: default; continued, where the networks of step 1 go on with the ratio that is in
            the push weights, and the best epoch is kept; best, where it is kept and they start with
            a ratio of 1; anew, where no network goes on; members, five networks a step.
        fakes: whether those of the data are alike the simulation's, or shifted with its truth.
        resume: resume the run in the folder.
    """
    configs = {v: [describe(config_of(v, t, iterations)) for t in range(toys)] for v in variants}
    with started(out, resume) as opened:
        opened.open({"toys": toys, "fakes": fakes, "variants": configs})
        found: dict[str, list[Any]] = {
            v: [one_toy(v, t, iterations, fakes, opened) for t in range(toys)] for v in variants
        }
        metrics = opened.results(lambda: {"drift": summary(found, iterations, fakes)})
    print(format_drift(metrics["drift"]))
    return 0


def one_toy(variant: Variant, number: int, iterations: int, fakes: Fakes, run: Run) -> Any:
    """Unfold a toy, or read what an earlier call found."""
    inner = run.within(variant, f"toy-{number:03d}")

    def found() -> dict[str, Any]:
        run.progress({"stage": f"{variant}, toy {number}"})
        config = config_of(variant, number, iterations)
        simulation, data = toy(0.0, [number, 0]), toy(MEAN, [number, 1], fakes)
        inner.open(describe(config))
        result = unfold(simulation, data.detector, config, inner.folder)
        gen = result.pass_gen
        weights = [result.weights(i)[0, gen] for i in range(iterations + 1)]
        steps = [r for r in result.reports if r["level"] == "detector"]
        return {
            "mean": [float(np.average(result.observables["x"][gen], weights=w)) for w in weights],
            "data": float(data.detector.columns["x"].mean()),
            "data_error": float(data.detector.columns["x"].std() / np.sqrt(len(data.detector))),
            "gain": [r["gain"] for r in steps],
            "evidence": [r["evidence"] for r in steps],
            "chosen": result.chosen,
        }

    return inner.results(found)


def summary(found: dict[str, list[Any]], iterations: int, fakes: Fakes) -> dict[str, Any]:
    """Average over the toys, for each variant; errors of means are those of so many toys."""
    reference, measured = exact(iterations, fakes)
    dilution = (reference[-1] - reference[0]) / measured  # shift of the truth over that of the data
    rows: dict[str, Any] = {"truth": MEAN, "exact": reference.tolist(), "variants": {}}
    for variant, toys in found.items():
        mean = np.array([t["mean"] for t in toys])
        at_data = dilution * (np.array([t["data"] for t in toys]) - measured)
        own = mean - at_data[:, None]  # without what the data's own fluctuation does
        at_chosen = np.array([t["mean"][t["chosen"]] for t in toys])
        root = max(len(toys), 1) ** 0.5
        rows["variants"][variant] = {
            "toys": len(toys),
            "mean": mean.mean(0).tolist(),
            "error": (mean.std(0) / root).tolist(),
            "spread": mean.std(0).tolist(),
            "own_mean": own.mean(0).tolist(),
            "own_error": (own.std(0) / root).tolist(),
            "own_spread": own.std(0).tolist(),
            "gain": np.mean([t["gain"] for t in toys], axis=0).tolist(),
            "statistical": dilution * float(np.mean([t["data_error"] for t in toys])),
            "chosen": float(np.mean([t["chosen"] for t in toys])),
            "at_chosen": [float(at_chosen.mean()), float(at_chosen.std())],
            "at_chosen_own": [float(f(at_chosen - at_data)) for f in (np.mean, np.std)],
        }
    return rows


def format_drift(found: dict[str, Any]) -> str:
    """Format the mean of each iteration, its error and the spreads, one table a variant."""
    lines = []
    for variant, row in found["variants"].items():
        lines.append(
            f"{variant}: {row['toys']} toys, truth {found['truth']:.4f}, statistical error of the "
            f"data {row['statistical']:.4f}"
        )
        table = [["iteration", "exact", "mean", "spread", "less the data's", "spread", "gain"]]
        for i, reference in enumerate(found["exact"]):
            table.append(
                [
                    str(i),
                    f"{reference:.4f}",
                    f"{row['mean'][i]:.4f} ± {row['error'][i]:.4f}",
                    f"{row['spread'][i]:.4f}",
                    f"{row['own_mean'][i]:.4f} ± {row['own_error'][i]:.4f}",
                    f"{row['own_spread'][i]:.4f}",
                    f"{row['gain'][i - 1]:.5f}" if i else "",
                ]
            )
        chosen = row["at_chosen"], row["at_chosen_own"]
        table.append(
            [
                f"chosen ({row['chosen']:.1f})",
                "",
                f"{chosen[0][0]:.4f}",
                f"{chosen[0][1]:.4f}",
                f"{chosen[1][0]:.4f}",
                f"{chosen[1][1]:.4f}",
                "",
            ]
        )
        lines += [*aligned(table), ""]
    lines.append(
        "mean: over the toys; less the data's: without the fluctuation of each toy's data, whose "
        "spread is what simulation and trainings add; gain: of step 1, on held-out events"
    )
    return "\n".join(lines)


def jets(
    out: Path,
    model: ModelName = "lgatr-slim",
    events: int = 6000,
    iterations: int = 10,
    seed: int = 0,
    resume: bool = False,
) -> int:
    """Unfold the package's sample with a small network; compare iterations with the truth.

    Args:
        out: folder of the run; must not exist, unless --resume.
        model: the network of both steps.
        events: of each sample, the first ones.
        iterations: of the unfolding, whose first five are those of an unfolding of five.
        seed: of the weights and the order of events.
        resume: resume the run in the folder.
    """
    step = RatioClassifier(model).with_options(TrainingOptions(epochs=EPOCHS, seed=seed))
    later = dataclasses.replace(later_training(step), epochs=LATER_EPOCHS)
    config = OmniFold(step, step, iterations=iterations, later=(later, later), seed=seed)
    read = [read_simulation(zjets_path(name)) for name in ("simulation", "data")]
    samples = [with_all_observables(each[np.arange(min(events, len(each)))]) for each in read]
    parts = [split(len(sample), (1 - TEST, TEST), 0) for sample in samples]
    simulation, data = (sample[part[0]] for sample, part in zip(samples, parts, strict=True))
    tested, truth = (sample[part[1]].particle for sample, part in zip(samples, parts, strict=True))
    with started(out, resume) as opened:
        config = with_micro_batches(config, simulation, data.detector, opened)
        opened.open(describe(config))

        def measured() -> dict[str, Any]:
            found = unfold(simulation, data.detector, config, opened.folder, opened.progress)
            weights = {}
            for i in range(1, iterations + 1):
                networks = RatioModel.load(opened.folder / "model" / f"iteration-{i}-particle")
                ratio = log_ratios_of(networks, tested, config)[0]
                weights[f"iteration {i}"] = reweighted(tested.weight, ratio)
            table = discriminators(
                truth.columns,
                tested.columns,
                weights,
                table="table3",
                data_weights=truth.weight,
                simulation_weights=tested.weight,
            )
            return {**table, "reports": found.reports}

        metrics = opened.results(measured)
    print(tables(metrics))
    return 0


COMMANDS: dict[str, Any] = {"drift": drift, "jets": jets}

if __name__ == "__main__":
    raise SystemExit(guarded(lambda: tyro.extras.subcommand_cli_from_dict(COMMANDS)))
