"""`jaxpriors generate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

if TYPE_CHECKING:
    from jaxpriors.data.events import Events
    from jaxpriors.methods.generation import Conditions, Generator


def generate(
    events: int,
    out: Path,
    checkpoint: Path | None = None,
    like: Path | None = None,
    level: str | None = None,
    jet_class: Annotated[str | None, tyro.conf.arg(name="class")] = None,
    sampler: Literal["dpm-solver++", "ddim", "ddpm"] = "dpm-solver++",
    steps: int = 100,
    batch_size: int = 256,
    seed: int = 0,
    normalisation: str = "jetclass",
    classifier_test: bool = False,
    overwrite: bool = False,
) -> int:
    """Generate jets with a trained PET.

    The network makes the constituents of jets whose class, pT, eta, mass and number of
    constituents are given. With --like, one half of that sample gives these, and the other half is
    what the generated jets are compared with: the Wasserstein distances of mass, multiplicity and
    tau21 are printed and written beside the events, as <out>.json. Constituents have no mass, and
    no identities (pid is 0): these are not generated.

    Args:
        events: number of jets.
        out: HDF5 file to write.
        checkpoint: folder of a trained model, whose averaged network is taken where there is one,
            or the file of a ported network; otherwise the weights in this package.
        like: sample to be like. Without it, pT, eta, mass and multiplicity are independent normal
            numbers of the training sample's means and widths, a stand-in.
        level: particle or detector, where the sample holds both.
        jet_class: number (or name, of the ten JetClass classes) of the class to generate; without
            it, the classes of the sample, or all in turn.
        sampler: dpm-solver++, ddim, or ddpm (OmniLearn's, twice the time for a step).
        steps: of the sampler; OmniLearn takes 512 of ddpm.
        batch_size: jets at a time.
        seed: of the noise and of the choice of conditions.
        normalisation: that a ported network was trained with; a folder knows its own.
        classifier_test: also train a classifier to tell generated from simulated jets, and give
            its AUC (0.5: it cannot). Needs --like.
        overwrite: replace an existing file.
    """
    from rich.console import Console
    from rich.progress import Progress

    from jaxpriors.commands.setup import use_all_cores, use_compilation_cache
    from jaxpriors.data.sample_files import write_events
    from jaxpriors.errors import InputError
    from jaxpriors.methods import generation
    from jaxpriors.methods.finetuning import SHIPPED
    from jaxpriors.training.runs import environment, write_json

    if events < 1:
        raise InputError(f"events: found {events}, expected at least 1")
    if classifier_test and like is None:
        raise InputError("--classifier-test compares with a sample; give one with --like")
    results = out.with_suffix(".json")
    if results == out:
        raise InputError(f"{out}: is the name of the metrics; give events another one, such as .h5")
    for path in (out, *([results] if like is not None else [])):
        if path.exists() and not overwrite:
            raise InputError(f"{path}: exists already; choose another name or --overwrite")
    config = generation.SamplingConfig(sampler, steps, batch_size, seed)
    use_all_cores()
    use_compilation_cache()
    generator = generation.Generator.load(checkpoint or SHIPPED.parent, normalisation)
    conditions, simulated = _conditions(generator, events, like, level, jet_class, seed)

    console = Console(highlight=False, soft_wrap=True, markup=False)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("jets", total=events)
        generated = generation.generate(
            generator, conditions, config, lambda done, total: bar.update(task, completed=done)
        )
    settings: dict[str, Any] = {
        "network": generator.source,
        "events": events,
        "like": None if like is None else str(like),
        "level": level,
        "class": jet_class,
        "sampler": sampler,
        "steps": steps,
        "seed": seed,
        "constituents_raised_to_least_pt": generated.raised,
    }
    notes = "massless constituents; identities are not generated (pid is 0)"
    metadata = {"generated": settings, "notes": notes, **environment()}
    write_events(out, generated.events, metadata, overwrite=overwrite)
    total = len(generated.events.p4)
    console.print(
        f"{out}: {events} jets of {total} constituents, "
        f"{generated.raised / total:.2%} of them raised to the least pT "
        f"({conditions.least_pt:.3g} GeV); massless, without identities"
    )
    if simulated is not None:
        metrics = _compare(generated.events, simulated, classifier_test, seed, console)
        write_json(results, {"settings": settings, **metrics, "environment": environment()})
        console.print(f"metrics: {results}")
    return 0


def _conditions(
    generator: Generator,
    number: int,
    like: Path | None,
    level: str | None,
    jet_class: str | None,
    seed: int,
) -> tuple[Conditions, Events | None]:
    """The conditions, and the simulated jets to compare with."""
    import numpy as np

    from jaxpriors.data.files import levels
    from jaxpriors.data.sample_files import read_events
    from jaxpriors.data.splitting import split
    from jaxpriors.errors import InputError
    from jaxpriors.methods.generation import conditions_like, normal_conditions

    label = None if jet_class is None else _label(jet_class, generator.classes)
    if like is None:
        labels = np.arange(number) % generator.classes if label is None else np.full(number, label)
        learnt = generator.preprocessing.standardisation
        return normal_conditions(learnt, labels.astype(np.int32), seed), None
    sample = read_events(like, level if levels(like) else None)
    if sample.label is None:
        if label is None:
            raise InputError(f"{like}: has no labels; name the class of its jets with --class")
        sample = sample.with_label(label)
    elif label is not None:
        found = np.unique(sample.label).tolist()
        sample = sample[sample.label == label]
        if len(sample) == 0:
            raise InputError(f"{like}: no jets of class {label}; found the classes {found}")
    if len(sample) < 2:
        raise InputError(
            f"{like}: found {len(sample)} jet, expected at least 2: one for the conditions, one to "
            "compare with"
        )
    given, compared = split(len(sample), (0.5, 0.5), seed)
    return conditions_like(sample[given], number, seed), sample[compared]


def _label(name: str, classes: int) -> int:
    """The number of a class, given as a number or as one of JetClass's names."""
    from jaxpriors.data.simulation.jetclass import LABELS
    from jaxpriors.errors import InputError

    names = LABELS if classes == len(LABELS) else ()
    if name in names:
        return names.index(name)
    if not name.isdecimal() or int(name) >= classes:
        also = f" or one of {', '.join(names)}" if names else ""
        raise InputError(f"class: found {name!r}, expected 0 to {classes - 1}{also}")
    return int(name)


def _compare(
    generated: Events, simulated: Events, test: bool, seed: int, console: Any
) -> dict[str, Any]:
    """Print and return how far generated jets are from simulated ones."""
    from jaxpriors.evaluation.generation import classifier_test, distances

    found = distances(generated, simulated, seed=seed)
    console.print(
        f"\nWasserstein-1 distance to {len(simulated)} simulated jets (their masses left out)\n"
        f"  {'':<14}{'generated':>12}{'floor':>12}"
    )
    for name, row in found.items():
        console.print(
            f"  {name:<14}{row['value']:>12.4g}{row['floor']:>12.4g} "
            f"± {row['floor_error']:.2g} {row['unit']}"
        )
    metrics: dict[str, Any] = {
        "simulated": len(simulated),
        "wasserstein1": found,
        "notes": "the multiplicity is one of the conditions: its distance is that of the two "
        "halves of the sample",
    }
    if test:
        from jaxpriors.commands.progress import Display

        with Display() as display:
            value, error = classifier_test(generated, simulated, seed=seed, progress=display)
        metrics["classifier_test"] = {"auc": value, "error": error}
        console.print(f"\nclassifier, generated against simulated: AUC {value:.4f} ± {error:.4f}")
    return metrics
