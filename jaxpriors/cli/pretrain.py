"""`jaxpriors pretrain`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from jaxpriors.cli.options import In, RunOptions
from jaxpriors.ratio.names import Size
from jaxpriors.training.options import Compute, TrainingOptions


def pretrain(
    sample: Path,
    /,
    run: In[RunOptions],
    size: Size = "small",
    mode: Literal["all", "classifier", "generator"] = "all",
    level: str | None = None,
    training: In[TrainingOptions] = TrainingOptions(),
    precision: Compute = "float32",
) -> int:
    """Pretrain PET on a sample of labelled jets.

    Trains one network to separate the classes, to predict the features of the jets and to generate
    constituents by diffusion, and writes model/network.safetensors, metrics.json and figures into
    a folder.

    Args:
        sample: HDF5 file of jets with labels from 0, or the folder of a prepared sample, which
            stays on disk.
        run: folder of the run and its processes.
        size: small (under an hour on two cores) or paper (OmniLearn's, arXiv:2404.16091).
        mode: the whole objective, or the part of one head.
        level: particle or detector, where the file holds both.
        training: options of the training; the seed is also that of the noise.
        precision: precision of the networks; weights, losses and norms are float32 either way.
    """
    from jaxpriors.generation.card import CARD
    from jaxpriors.generation.pretraining import TRAINING, Pretraining, run_pretraining
    from jaxpriors.report.tables import tables
    from jaxpriors.run.folder import started

    config = Pretraining(size, mode, training=TRAINING[size].with_options(training, precision))
    with started(run.out, run.resume) as opened:
        metrics = run_pretraining(sample, level, config, opened)
    print(tables(metrics))
    print(f"\nnetworks, figures and metrics: {run.out}\ncard of the networks: {run.out / CARD}")
    return 0
