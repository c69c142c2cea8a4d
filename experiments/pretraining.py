"""Pretraining of PET on ten classes of jets (OmniLearn, arXiv:2404.16091).

    python -m experiments.pretraining quick --out runs/pretraining
    python -m experiments.pretraining paper jetclass.h5 --out runs/pretraining-paper

``quick`` generates jets like those of JetClass with Pythia and a parametric detector (see
`jaxpriors.data.simulation.jetclass` for what they are not) and trains a small network, for two
cores. ``paper`` takes a file of your own, such as JetClass in OmniLearn's files after `jaxpriors
data convert --layout omnilearn-jetclass`, and the published network and settings, for a GPU.
"""

from pathlib import Path

import tyro

from jaxpriors.cli import guarded
from jaxpriors.commands.data import data_simulate
from jaxpriors.commands.pretrain import pretrain


def quick(
    out: Path,
    sample: Path | None = None,
    events: int = 40_000,
    epochs: int | None = None,
    seed: int = 0,
    resume: bool = False,
) -> int:
    """A small network on generated jets, for two cores.

    Args:
        out: folder of the run; must not exist, unless --resume.
        sample: file of the jets, generated if it is not there; default: jetclass.h5 beside the run.
        events: jets to generate.
        epochs: other than the size's own.
        seed: of the split into parts, the weights, the order of events and the noise.
        resume: go on with the run in the folder.
    """
    sample = sample or out.parent / "jetclass.h5"
    if not sample.exists():
        sample.parent.mkdir(parents=True, exist_ok=True)
        data_simulate("jetclass", "simulation", events, seed=0, out=sample, processes=2)
    return pretrain(sample, out, "small", level="detector", epochs=epochs, seed=seed, resume=resume)


def paper(
    sample: Path, /, out: Path, level: str | None = None, seed: int = 0, resume: bool = False
) -> int:
    """The published network and settings on a file of your own.

    Args:
        sample: HDF5 file of jets with labels from 0.
        out: folder of the run; must not exist, unless --resume.
        level: particle or detector, where the file holds both.
        seed: of the split into parts, the weights, the order of events and the noise.
        resume: go on with the run in the folder.
    """
    return pretrain(sample, out, "paper", level=level, seed=seed, resume=resume)


if __name__ == "__main__":
    raise SystemExit(
        guarded(lambda: tyro.extras.subcommand_cli_from_dict({"quick": quick, "paper": paper}))
    )
