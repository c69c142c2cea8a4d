"""Z+jets: reweight simulation into data at detector level (arXiv:2603.08802, Section 3.1, Table 2).

    python -m experiments.unfolding quick --out runs/unfolding
    python -m experiments.unfolding paper --simulation pythia.h5 --data herwig.h5 --out runs/paper

``quick`` takes the sample inside the package (two Pythia settings and a parametric detector, not
Pythia against Herwig with Delphes) and small networks, for two cores. ``paper`` takes files of the
layout in `jaxpriors.data.events` and the networks and trainings of Appendix B, PET's of OmniLearn
(arXiv:2404.16091), for a GPU. Its fine-tuned PET needs OmniLearn's own weights (--pretrained).

Discriminators and floors grow with the number of bins: here 20 for every observable (the bins
of `jaxpriors.evaluation.observables`), so that they compare with each other, not with numbers
that were made in other bins.
"""

from pathlib import Path

import tyro

from jaxpriors.cli import guarded
from jaxpriors.commands.reweight import classifier, run

MODELS = ("lgatr-slim", "lgatr", "pet", "pet-finetuned")
# of quick: fewer than what the small trainings have elsewhere, for a quarter of an hour in all
EPOCHS = {"lgatr-slim": 4, "lgatr": 3, "pet": 2, "pet-finetuned": 2}


def quick(out: Path, seed: int = 0, resume: bool = False) -> int:
    """Small networks of all kinds on the sample inside the package: minutes on two cores.

    Args:
        out: folder of the run; must not exist, unless --resume.
        seed: of the split into parts, the weights and the order of events.
        resume: go on with the run in the folder.
    """
    from jaxpriors.data.samples import zjets
    from jaxpriors.methods.reweighting import Reweighting

    classifiers = tuple(classifier(m, "small", seed, epochs=EPOCHS[m]) for m in MODELS)
    simulation, data = zjets("simulation", "detector"), zjets("data", "detector")
    sources = {"simulation": "the package's sample", "data": "the package's sample"}
    return run(simulation, data, Reweighting(classifiers, seed=seed), out, resume, sources)


def paper(
    simulation: Path,
    data: Path,
    out: Path,
    pretrained: Path | None = None,
    seed: int = 0,
    resume: bool = False,
) -> int:
    """The networks and trainings of the papers on files of your own.

    Args:
        simulation: HDF5 file of the sample to reweight.
        data: HDF5 file of the sample to look like.
        out: folder of the run; must not exist, unless --resume.
        pretrained: a PET ported by `jaxpriors port omnilearn`, or the folder of a pretraining;
            without it no PET is fine-tuned, as the one in this package is a small one.
        seed: of the split into parts, the weights and the order of events.
        resume: go on with the run in the folder.
    """
    from jaxpriors.data.events import read_events
    from jaxpriors.data.files import levels
    from jaxpriors.methods.classifier import FINE_TUNED
    from jaxpriors.methods.reweighting import Reweighting

    classifiers = [classifier(m, "paper", seed) for m in MODELS if m != FINE_TUNED]
    if pretrained is not None:
        classifiers.append(classifier(FINE_TUNED, "paper", seed, pretrained=pretrained))
    samples = [
        read_events(path, "detector" if levels(path) else None) for path in (simulation, data)
    ]
    sources = {"simulation": str(simulation), "data": str(data)}
    config = Reweighting(tuple(classifiers), seed=seed)
    return run(samples[0], samples[1], config, out, resume, sources)


if __name__ == "__main__":
    raise SystemExit(
        guarded(lambda: tyro.extras.subcommand_cli_from_dict({"quick": quick, "paper": paper}))
    )
