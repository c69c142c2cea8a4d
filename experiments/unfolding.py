"""Z+jets: unfolding with OmniFold (arXiv:2603.08802, Section 3.1, Tables 2 and 3, Figures 1, 2).

    python -m experiments.unfolding demo --out runs/demo
    python -m experiments.unfolding quick --out runs/unfolding
    python -m experiments.unfolding paper --simulation pythia26 --data herwig --folder DIR --out RUN

``demo`` is the first step alone, reweighting at detector level. ``quick`` unfolds the sample inside
the package (two Pythia settings and a parametric detector, not Pythia against Herwig with Delphes)
with small networks, for two cores, and looks whether truths that are known are found. ``paper``
takes the chunks of EnergyFlow's samples (Zenodo 3548091) or files of the layout in
`jaxpriors.data.sample_files`, and the networks and trainings of Appendix B, PET's of OmniLearn
(arXiv:2404.16091), for a GPU. Its fine-tuned PET needs OmniLearn's own weights (--pretrained).

Table 2 is at detector level, after step 1 of the first iteration; Table 3 at particle level, after
the last. Both are of events that no training has seen: the networks are functions of the events.
Discriminators and floors grow with the number of bins: here 20 for every observable (the bins
of `jaxpriors.evaluation.observables`), so that they compare with each other, not with numbers
that were made in other bins.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import tyro

from jaxpriors.cli import guarded
from jaxpriors.commands.reweight import Model, classifier, run

if TYPE_CHECKING:
    from jaxpriors.data.matched import Simulation
    from jaxpriors.methods.omnifold import OmniFold

MODELS: tuple[Model, ...] = ("lgatr-slim", "lgatr", "pet", "pet-finetuned")
# of demo and quick: fewer than what the small trainings have elsewhere
EPOCHS = {"lgatr-slim": 4, "lgatr": 3, "pet": 2, "pet-finetuned": 2, "mlp": 12}
LATER_EPOCHS = {"mlp": 3}  # of quick, in the iterations after the first; others: 1


def demo(out: Path, seed: int = 0, resume: bool = False) -> int:
    """Reweighting at detector level by small networks of all kinds: minutes on two cores.

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


def quick(
    out: Path,
    seeds: int = 1,
    models: tuple[Model, ...] = ("mlp", *MODELS),
    closure: bool = True,
    resume: bool = False,
) -> int:
    """Tables 2 and 3 with small networks on the sample inside the package, and closure tests.

    Args:
        out: folder of the run; must not exist, unless --resume.
        seeds: trainings of each model.
        models: any of mlp (MultiFold), lgatr-slim, lgatr, pet, pet-finetuned.
        closure: whether known truths are unfolded as well.
        resume: go on with the run in the folder.
    """
    from experiments import unfolding_study
    from jaxpriors.data.matched import read_simulation
    from jaxpriors.data.samples import zjets_path

    configs: dict[str, list[OmniFold]] = {
        m: [_quick(m, seed) for seed in range(seeds)] for m in models
    }
    samples = [read_simulation(zjets_path(name)) for name in ("simulation", "data")]
    cases = _quick("lgatr-slim", 0) if closure else None
    return unfolding_study.run(samples[0], samples[1], configs, cases, out, resume, shower=True)


def _quick(model: str, seed: int) -> "OmniFold":
    """Five iterations with small networks."""
    import dataclasses

    from jaxpriors.methods.omnifold import OmniFold, later_training

    one = classifier(model, "small", seed, epochs=EPOCHS[model])
    later = dataclasses.replace(later_training(one), epochs=LATER_EPOCHS.get(model, 1))
    return OmniFold(one, one, later=(later, later), seed=seed)


def paper(
    simulation: str,
    data: str,
    out: Path,
    folder: Path | None = None,
    events: int | None = None,
    pretrained: Path | None = None,
    seeds: int = 5,
    closure: bool = True,
    resume: bool = False,
) -> int:
    """Tables 2 and 3 with the networks and trainings of the papers.

    Args:
        simulation: pythia21, pythia25, pythia26 or herwig, of EnergyFlow; simulation or data, of
            the package; or an HDF5 file with both levels.
        data: another of these.
        out: folder of the run; must not exist, unless --resume.
        folder: where EnergyFlow's chunks are.
        events: the first so many of each sample; all by default.
        pretrained: a PET ported by `jaxpriors port omnilearn`, or the folder of a pretraining;
            without it no PET is fine-tuned, as the one in this package is a small one.
        seeds: trainings of each model.
        closure: whether known truths are unfolded as well.
        resume: go on with the run in the folder.
    """
    from experiments import unfolding_study
    from jaxpriors.methods.omnifold import OmniFold
    from jaxpriors.methods.trainings import FINE_TUNED

    configs: dict[str, list[OmniFold]] = {}
    for model in ("mlp", *MODELS):
        if model == FINE_TUNED and pretrained is None:
            continue
        source = pretrained if model == FINE_TUNED else None
        steps = [classifier(model, "paper", seed, pretrained=source) for seed in range(seeds)]
        configs[model] = [OmniFold(one, one, seed=seed) for seed, one in enumerate(steps)]
    samples = [sample(name, folder, events) for name in (simulation, data)]
    cases = configs["lgatr-slim"][0] if closure and seeds > 0 else None
    shower = simulation == "simulation"
    return unfolding_study.run(samples[0], samples[1], configs, cases, out, resume, shower)


def sample(name: str, folder: Path | None, events: int | None) -> "Simulation":
    """Both levels of a sample: EnergyFlow's or the package's by name, or a file.

    Raises InputError for an EnergyFlow sample without a folder.
    """
    import numpy as np

    from jaxpriors.data import energyflow
    from jaxpriors.data.matched import Simulation, read_simulation
    from jaxpriors.data.samples import SAMPLES, zjets_path
    from jaxpriors.errors import InputError

    if name in energyflow.SAMPLES:
        if folder is None:
            raise InputError(f"folder: found none, expected that of the chunks of {name}")
        files = energyflow.energyflow_files(folder, name)
        levels = energyflow.read_energyflow(files, events)
        return Simulation.of(levels["particle"], levels["detector"])
    found = read_simulation(zjets_path(name) if name in SAMPLES else name)
    return found if events is None else found[np.arange(min(events, len(found)))]


COMMANDS: dict[str, Any] = {"demo": demo, "quick": quick, "paper": paper}

if __name__ == "__main__":
    raise SystemExit(guarded(lambda: tyro.extras.subcommand_cli_from_dict(COMMANDS)))
