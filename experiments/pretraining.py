"""Pretraining of PET on ten classes of jets (OmniLearn, arXiv:2404.16091).

    python -m experiments.pretraining quick --out runs/pretraining
    python -m experiments.pretraining paper jetclass.h5 --out runs/pretraining-paper

``quick`` simulates jets like those of JetClass with Pythia and a parametric detector
(`jaxpriors.data.simulation.jetclass` lists the differences) and trains a small network, on two
cores. ``paper`` takes your own file, such as JetClass in OmniLearn's files after `jaxpriors data
convert --layout omnilearn-jetclass`, and the published network and settings, for a GPU.
"""

import dataclasses
from pathlib import Path

import tyro

from experiments.dry_run import EVENTS, shortened
from experiments.surrogates import simulated_file
from jaxpriors.generation.pretraining import TRAINING, Pretraining, run_pretraining
from jaxpriors.ratio.names import Size
from jaxpriors.report.tables import tables
from jaxpriors.run.folder import started
from jaxpriors.run.launch import guarded
from jaxpriors.training.options import TrainingOptions


def quick(
    out: Path,
    sample: Path | None = None,
    events: int = 40_000,
    epochs: int | None = None,
    seed: int = 0,
    resume: bool = False,
) -> int:
    """Pretrain a small network on simulated jets, on two cores.

    Args:
        out: folder of the run; must not exist, unless --resume.
        sample: file of the jets, simulated if it does not exist; default: jetclass.h5 beside the
            run.
        events: number of jets to simulate.
        epochs: number of epochs; default: that of the size.
        seed: seed of the split into parts, the weights, the order of events and the noise.
        resume: resume the run in the folder.
    """
    sample = sample or out.parent / "jetclass.h5"
    options = TrainingOptions(epochs=epochs, seed=seed)
    return _run(sample, out, "small", "detector", options, resume, events)


def paper(
    sample: Path,
    /,
    out: Path,
    level: str | None = None,
    seed: int = 0,
    dry_run: bool = False,
    resume: bool = False,
) -> int:
    """Pretrain the published network with its settings on your own file.

    Args:
        sample: HDF5 file of jets with labels from 0.
        out: folder of the run; must not exist, unless --resume.
        level: particle or detector, where the file holds both.
        seed: seed of the split into parts, the weights, the order of events and the noise.
        dry_run: take 500 events and one step of the training: no number means anything.
        resume: resume the run in the folder.
    """
    few = EVENTS if dry_run else None
    return _run(sample, out, "paper", level, TrainingOptions(seed=seed), resume, few=few)


def _run(
    sample: Path,
    out: Path,
    size: Size,
    level: str | None,
    options: TrainingOptions,
    resume: bool,
    events: int | None = None,
    few: int | None = None,
) -> int:
    """Pretrain on a file; events: number of jets to simulate where there is no file.

    few: number of events for a dry run, None for a whole one.
    """
    config = Pretraining(size, training=TRAINING[size].with_options(options))
    if few is not None:  # all classes in all parts
        config = dataclasses.replace(
            config, training=shortened(config.training, few), fractions=(0.5, 0.25, 0.25)
        )
    with started(out, resume) as run:
        if events is not None and not sample.exists():
            simulated_file(sample, "jetclass", "simulation", events, 0, run.progress)
        metrics = run_pretraining(sample, level, config, run, few)
    print(tables(metrics))
    print(f"\nnetworks, their card, figures and metrics: {out}")
    return 0


if __name__ == "__main__":
    raise SystemExit(
        guarded(lambda: tyro.extras.subcommand_cli_from_dict({"quick": quick, "paper": paper}))
    )
