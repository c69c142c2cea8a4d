"""Z+jets: unfolding with OmniFold (arXiv:2603.08802, Section 3.1, Tables 2 and 3, Figures 1, 2).

    python -m experiments.unfolding demo --out runs/demo
    python -m experiments.unfolding quick --out runs/unfolding
    python -m experiments.unfolding closure --out runs/closure
    python -m experiments.unfolding paper --simulation pythia21 --data herwig --folder DIR \\
        --bins published --evaluate training --pretrained pet.safetensors --out RUN
    python -m experiments.unfolding merge RUN RUN … --out ALL

``demo`` is only the first step, reweighting at detector level. ``quick`` unfolds the sample in the
package (two Pythia settings and a parametric detector, not Pythia against Herwig with Delphes) with
small networks, on two cores. ``closure`` tests whether a model finds truths that are known
(`experiments.unfolding_closure`). ``paper`` takes the files of EnergyFlow's samples (Zenodo
3548091) or files of the layout in `jaxpriors.data.sample_files`, and the published networks and
trainings (`jaxpriors.ratio.published`), for a GPU. Its fine-tuned PET needs OmniLearn's own weights
(--pretrained). ``merge`` makes one run of the rows of several (`experiments.rows`), also in other
bins.

Table 2 is at detector level, after step 1 of the first iteration; Table 3 at particle level, after
the last. Networks are applied to events that no training has seen, or to those of the training,
with which the published tables are made (--evaluate training). Discriminators and floors grow with
the number of bins: they compare with values in the same bins alone, the published ones in those of
`jaxpriors.evaluation.published` (--bins published).
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tyro

from experiments.dry_run import EVENTS, short_unfolding
from experiments.rows import check_asked
from experiments.unfolding_closure import run_closures
from experiments.unfolding_study import (
    TRAIN,
    Configs,
    Evaluated,
    Settings,
    merged_runs,
    run_unfoldings,
    shares,
)
from jaxpriors.data.formats import energyflow
from jaxpriors.data.matched import Simulation, read_simulation
from jaxpriors.data.samples import SAMPLES, zjets, zjets_path
from jaxpriors.errors import InputError
from jaxpriors.evaluation.published import Bins
from jaxpriors.ratio import published, reweighting
from jaxpriors.ratio.classifier import RatioClassifier
from jaxpriors.ratio.names import ModelName
from jaxpriors.ratio.reweighting import Reweighting
from jaxpriors.report.tables import tables
from jaxpriors.run.folder import started
from jaxpriors.run.launch import guarded
from jaxpriors.training.options import TrainingOptions
from jaxpriors.unfolding.omnifold import OmniFold, later_training

MODELS: tuple[ModelName, ...] = ("lgatr-slim", "lgatr", "pet", "pet-finetuned")
# of demo and quick: fewer than in size "small"
EPOCHS = {"lgatr-slim": 4, "lgatr": 3, "pet": 3, "pet-finetuned": 2, "mlp": 12}
SMALL: tuple[ModelName, ...] = ("mlp", *MODELS)
ROWS = published.rows("omnifold")
ROWS_FROM_SCRATCH = tuple(row for row in ROWS if row != "pet-finetuned")
LATER_EPOCHS = {"mlp": 4}  # of quick, in the iterations after the first; others: 1


def demo(out: Path, seed: int = 0, resume: bool = False) -> int:
    """Reweight at detector level with small networks of all models: minutes on two cores.

    Args:
        out: folder of the run; must not exist, unless --resume.
        seed: of the split into parts, the weights and the order of events.
        resume: resume the run in the folder.
    """
    classifiers = tuple(_small(m, seed) for m in MODELS)
    config = Reweighting(classifiers, fractions=(0.5, 0.1, 0.4), seed=seed)
    simulation, data = zjets("simulation", "detector"), zjets("data", "detector")
    sources = {"simulation": "the package's sample", "data": "the package's sample"}
    with started(out, resume) as opened:
        metrics = reweighting.run_reweighting(simulation, data, config, opened, sources)
    print(tables(metrics))
    print(f"\nweights, figures and metrics: {out}")
    return 0


def quick(
    out: Path,
    models: tuple[ModelName, ...] = SMALL,
    seeds: tuple[int, ...] = (0,),
    iterations: int = 5,
    resume: bool = False,
) -> int:
    """Make Tables 2 and 3 with small networks on the sample in the package.

    Args:
        out: folder of the run; must not exist, unless --resume.
        models: any of mlp (MultiFold), lgatr-slim, lgatr, pet, pet-finetuned.
        seeds: of the trainings of each model.
        iterations: of every unfolding.
        resume: resume the run in the folder.
    """
    check_asked(models, seeds, SMALL)
    configs: Configs = {m: {seed: _quick(m, seed, iterations) for seed in seeds} for m in models}
    simulation, data = (read_simulation(zjets_path(name)) for name in ("simulation", "data"))
    half = Settings(train=len(simulation) // 2)
    return run_unfoldings(simulation, data, configs, out, resume, half)


def closure(
    out: Path,
    models: tuple[str, ...] = (),
    size: Literal["small", "paper"] = "small",
    simulation: str = "simulation",
    folder: Path | None = None,
    events: int | None = None,
    pretrained: Path | None = None,
    dry_run: bool = False,
    resume: bool = False,
) -> int:
    """Unfold data whose truths are known, with every model, and compare both levels.

    Args:
        out: folder of the run; must not exist, unless --resume.
        models: those of ``quick`` or, of size paper, of ``paper``; by default all.
        size: small: the unfoldings of ``quick``; paper: those of ``paper``.
        simulation: the sample that simulation and data are made of, named as in ``paper``.
        folder: folder of EnergyFlow's files.
        events: number of them, the first ones; all by default.
        pretrained: for pet-finetuned of size paper: OmniLearn's PET.
        dry_run: take 500 events, one step of each training and two iterations.
        resume: resume the run in the folder.
    """
    configs: dict[str, OmniFold] = {}
    known: tuple[str, ...] = SMALL
    if size == "paper":
        known = ROWS if models or pretrained is not None else ROWS_FROM_SCRATCH
    models = models or known
    check_asked(models, (0,), known)
    for model in models:
        one = _quick(model, 0) if size == "small" else _paper(model, 0, "full", pretrained)
        configs[model] = short_unfolding(one, EVENTS) if dry_run else one
    found = sample(simulation, folder, EVENTS if dry_run else events)
    shower = simulation == "simulation" and not dry_run
    print(tables(run_closures(found, configs, shower, out, resume)))
    return 0


def _small(model: str, seed: int) -> RatioClassifier:
    """Make a small classifier of demo and quick."""
    options = TrainingOptions(epochs=EPOCHS[model], seed=seed)
    return RatioClassifier(model, "small").with_options(options)


def _quick(model: str, seed: int, iterations: int = 5) -> OmniFold:
    """Configure an unfolding with small networks; all seeds have the same validation events.

    Few epochs of a falling rate end with the best one, which the validation loss tells with noise.
    """
    one = _small(model, seed)
    one = dataclasses.replace(one, training=dataclasses.replace(one.training, keep="last"))
    later = dataclasses.replace(later_training(one), epochs=LATER_EPOCHS.get(model, 1))
    return OmniFold(one, one, iterations, later=(later, later))


def paper(
    simulation: str,
    data: str,
    out: Path,
    folder: Path | None = None,
    events: int | None = None,
    models: tuple[str, ...] = (),
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4),
    features: Literal["full", "momenta"] = "full",
    pretrained: Path | None = None,
    bins: Bins = "own",
    evaluate: Evaluated = "held-out",
    train: int = TRAIN,
    dry_run: bool = False,
    resume: bool = False,
) -> int:
    """Make Tables 2 and 3 with the networks and trainings of the papers.

    Args:
        simulation: pythia21, pythia25, pythia26 or herwig, of EnergyFlow; simulation or data, of
            the package; or an HDF5 file with both levels.
        data: another of these.
        out: folder of the run; must not exist, unless --resume.
        folder: folder of EnergyFlow's files.
        events: number of each sample, the first ones; all by default.
        models: rows of the tables, any of mlp (MultiFold), lgatr-slim, lgatr-1M, lgatr-2M, pet,
            pet-finetuned; by default all, the last one only where --pretrained is given.
        seeds: of the trainings of each row. A run of one model and one seed is one row; `merge`
            makes one run of several.
        features: what networks see: full (as published), or momenta alone.
        pretrained: for pet-finetuned: OmniLearn's PET, ported by `jaxpriors port omnilearn`.
        bins: own, with bootstrap errors, or published, with the published errors.
        evaluate: measure with held-out events, or with those of the training, as is published.
        train: events of each sample to train on; of a sample that has no more, 70 %.
        dry_run: take 500 events of each sample, one step of each training and two iterations; all
            runs, and no number means anything.
        resume: resume the run in the folder.
    """
    every = models or pretrained is not None
    left_out = () if every else tuple({*ROWS} - {*ROWS_FROM_SCRATCH})
    models = models or (ROWS if every else ROWS_FROM_SCRATCH)
    check_asked(models, seeds, ROWS)
    configs: Configs = {
        label: {seed: _paper(label, seed, features, pretrained) for seed in seeds}
        for label in models
    }
    if dry_run:
        events, used = EVENTS, round(2 * EVENTS * shares(EVENTS, train)[0])
        configs = {
            label: {seed: short_unfolding(one, used) for seed, one in some.items()}
            for label, some in configs.items()
        }
    samples = [sample(name, folder, events) for name in (simulation, data)]
    return run_unfoldings(
        samples[0],
        samples[1],
        configs,
        out,
        resume,
        settings=Settings(bins, evaluate, train, dry_run),
        notes=tuple(f"left out: {label}, which needs --pretrained" for label in left_out),
    )


def _paper(
    label: str, seed: int, features: Literal["full", "momenta"], pretrained: Path | None
) -> OmniFold:
    """Configure five iterations with a published network; as ``_quick``."""
    one = published.classifier(
        "omnifold",
        label,
        seed=seed,
        pretrained=pretrained if label == "pet-finetuned" else None,
        features="full" if label == "mlp" else features,  # it sees the observables
    )
    later = dataclasses.replace(published.later("omnifold", label), seed=seed)
    return OmniFold(one, one, later=(later, later))


def merge(
    runs: tuple[Path, ...], /, out: Path, bins: Bins | None = None, resume: bool = False
) -> int:
    """Make one run, with its tables and figures, of the rows of several finished ones.

    Args:
        runs: folders of runs of ``paper``, or of ``quick``, on the same samples.
        out: folder of the run; must not exist, unless --resume.
        bins: own or published: measure again, in these bins; by default, those of the runs.
        resume: resume the run in the folder.
    """
    metrics = merged_runs(runs, out, tuple(dict.fromkeys((*ROWS, "mlp", *MODELS))), bins, resume)
    print(tables(metrics))
    print(f"\nfigures and metrics: {out}")
    return 0


def sample(name: str, folder: Path | None, events: int | None) -> Simulation:
    """Read both levels of a sample: EnergyFlow's or the package's by name, or a file.

    Raises InputError for an EnergyFlow sample without a folder.
    """
    if name in energyflow.SAMPLES:
        if folder is None:
            raise InputError(f"folder: found none, expected that of the chunks of {name}")
        files = energyflow.energyflow_files(folder, name)
        levels = energyflow.read_energyflow(files, events)
        return Simulation.of(levels["particle"], levels["detector"])
    found = read_simulation(zjets_path(name) if name in SAMPLES else name)
    return found if events is None else found[np.arange(min(events, len(found)))]


COMMANDS: dict[str, Any] = {
    "demo": demo,
    "quick": quick,
    "closure": closure,
    "paper": paper,
    "merge": merge,
}

if __name__ == "__main__":
    raise SystemExit(guarded(lambda: tyro.extras.subcommand_cli_from_dict(COMMANDS)))
