"""Z+jets: unfolding with OmniFold (arXiv:2603.08802, Section 3.1, Tables 2 and 3, Figures 1, 2).

    python -m experiments.unfolding demo --out runs/demo
    python -m experiments.unfolding quick --out runs/unfolding
    python -m experiments.unfolding paper --simulation pythia26 --data herwig --folder DIR --out RUN

``demo`` is only the first step, reweighting at detector level. ``quick`` unfolds the sample in the
package (two Pythia settings and a parametric detector, not Pythia against Herwig with Delphes) with
small networks, on two cores, and tests whether it finds known truths. ``paper`` takes the files of
EnergyFlow's samples (Zenodo 3548091) or files of the layout in `jaxpriors.data.sample_files`, and
the networks and trainings of Appendix B, for PET those of OmniLearn (arXiv:2404.16091), for a GPU.
Its fine-tuned PET needs OmniLearn's own weights (--pretrained).

Table 2 is at detector level, after step 1 of the first iteration; Table 3 at particle level, after
the last. Both use events that no training has seen, to which the networks are applied.
Discriminators and floors grow with the number of bins, here 20 for every observable (the bins of
`jaxpriors.evaluation.observables`): they compare with each other, not with values in other bins.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from experiments.unfolding_study import run_unfoldings
from jaxpriors.data.formats import energyflow
from jaxpriors.data.matched import Simulation, read_simulation
from jaxpriors.data.samples import SAMPLES, zjets, zjets_path
from jaxpriors.errors import InputError
from jaxpriors.ratio import reweighting
from jaxpriors.ratio.classifier import RatioClassifier
from jaxpriors.ratio.names import ModelName
from jaxpriors.ratio.presets import find_model
from jaxpriors.ratio.reweighting import Reweighting
from jaxpriors.report.tables import tables
from jaxpriors.run.folder import started
from jaxpriors.run.launch import guarded
from jaxpriors.training.options import TrainingOptions
from jaxpriors.unfolding.omnifold import OmniFold, later_training

MODELS: tuple[ModelName, ...] = ("lgatr-slim", "lgatr", "pet", "pet-finetuned")
# of demo and quick: fewer than in size "small"
EPOCHS = {"lgatr-slim": 4, "lgatr": 3, "pet": 2, "pet-finetuned": 2, "mlp": 12}
LATER_EPOCHS = {"mlp": 3}  # of quick, in the iterations after the first; others: 1


def demo(out: Path, seed: int = 0, resume: bool = False) -> int:
    """Reweight at detector level with small networks of all models: minutes on two cores.

    Args:
        out: folder of the run; must not exist, unless --resume.
        seed: of the split into parts, the weights and the order of events.
        resume: resume the run in the folder.
    """
    config = Reweighting(tuple(_small(m, seed) for m in MODELS), seed=seed)
    simulation, data = zjets("simulation", "detector"), zjets("data", "detector")
    sources = {"simulation": "the package's sample", "data": "the package's sample"}
    with started(out, resume) as opened:
        metrics = reweighting.run_reweighting(simulation, data, config, opened, sources)
    print(tables(metrics))
    print(f"\nweights, figures and metrics: {out}")
    return 0


def quick(
    out: Path,
    seeds: int = 1,
    models: tuple[ModelName, ...] = ("mlp", *MODELS),
    closure: bool = True,
    resume: bool = False,
) -> int:
    """Make Tables 2 and 3 with small networks on the sample in the package, and closure tests.

    Args:
        out: folder of the run; must not exist, unless --resume.
        seeds: number of trainings of each model.
        models: any of mlp (MultiFold), lgatr-slim, lgatr, pet, pet-finetuned.
        closure: whether to unfold to known truths as well.
        resume: resume the run in the folder.
    """
    configs: dict[str, list[OmniFold]] = {
        m: [_quick(m, seed) for seed in range(seeds)] for m in models
    }
    samples = [read_simulation(zjets_path(name)) for name in ("simulation", "data")]
    cases = _quick("lgatr-slim", 0) if closure else None
    return run_unfoldings(samples[0], samples[1], configs, cases, out, resume, shower=True)


def _small(model: str, seed: int) -> RatioClassifier:
    """Make a small classifier of demo and quick."""
    options = TrainingOptions(epochs=EPOCHS[model], seed=seed)
    return RatioClassifier(model, "small").with_options(options)


def _quick(model: str, seed: int) -> OmniFold:
    """Configure five iterations with small networks."""
    one = _small(model, seed)
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
    """Make Tables 2 and 3 with the networks and trainings of the papers.

    Args:
        simulation: pythia21, pythia25, pythia26 or herwig, of EnergyFlow; simulation or data, of
            the package; or an HDF5 file with both levels.
        data: another of these.
        out: folder of the run; must not exist, unless --resume.
        folder: folder of EnergyFlow's files.
        events: number of each sample, the first ones; all by default.
        pretrained: a PET ported by `jaxpriors port omnilearn`, or the folder of a pretraining;
            without it no PET is fine-tuned, as the PET in this package is small.
        seeds: number of trainings of each model.
        closure: whether to unfold to known truths as well.
        resume: resume the run in the folder.
    """
    configs: dict[str, list[OmniFold]] = {}
    for model in ("mlp", *MODELS):
        takes = find_model(model).pretrained
        if takes and pretrained is None:
            continue
        source = pretrained if takes else None
        one = RatioClassifier(model, "paper", pretrained=source)
        steps = [one.with_options(TrainingOptions(seed=seed)) for seed in range(seeds)]
        configs[model] = [OmniFold(one, one, seed=seed) for seed, one in enumerate(steps)]
    samples = [sample(name, folder, events) for name in (simulation, data)]
    cases = configs["lgatr-slim"][0] if closure and seeds > 0 else None
    shower = simulation == "simulation"
    return run_unfoldings(samples[0], samples[1], configs, cases, out, resume, shower)


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


COMMANDS: dict[str, Any] = {"demo": demo, "quick": quick, "paper": paper}

if __name__ == "__main__":
    raise SystemExit(guarded(lambda: tyro.extras.subcommand_cli_from_dict(COMMANDS)))
