"""`jaxpriors generate`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

if TYPE_CHECKING:
    from jaxpriors.data.events import Events
    from jaxpriors.generation.jets import Conditions, Generator


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

    The network makes the constituents of jets from their class, pT, eta, mass and number of
    constituents. With --like, one half of that sample gives these, and the command compares the
    generated jets with the other half: it prints the Wasserstein distances of mass, multiplicity
    and tau21, and writes them beside the events, as <out>.json. Generated constituents have no
    mass and no identities (pid is 0).

    Args:
        events: number of jets.
        out: HDF5 file to write.
        checkpoint: folder of a trained model, whose averaged network is taken where there is one,
            or the file of a ported network; otherwise the weights in this package.
        like: sample that gives the conditions. Without it, pT, eta, mass and multiplicity are
            independent normal variables with the means and widths of the training sample.
        level: particle or detector, where the sample holds both.
        jet_class: number (or name, of the ten JetClass classes) of the class to generate; without
            it, the classes of the sample, or all in turn.
        sampler: dpm-solver++, ddim, or ddpm (OmniLearn's, with steps of twice the time).
        steps: number of steps of the sampler; OmniLearn takes 512 with ddpm.
        batch_size: jets at a time.
        seed: seed of the noise and of the choice of conditions.
        normalisation: normalisation of the training of a ported network; a folder holds its own.
        classifier_test: also train a classifier to separate generated from simulated jets, and
            give its AUC (0.5: no difference). Needs --like.
        overwrite: replace an existing file.
    """
    from rich.console import Console

    from jaxpriors.data.sample_files import write_events
    from jaxpriors.errors import InputError
    from jaxpriors.generation import jets as generation
    from jaxpriors.ratio.finetuning import SHIPPED
    from jaxpriors.run.folder import counting, environment
    from jaxpriors.run.launch import set_up
    from jaxpriors.run.ranges import check_whole
    from jaxpriors.run.storage import check_output, write_json

    check_whole("events", events, 1)
    if classifier_test and like is None:
        raise InputError("--classifier-test compares with a sample; give one with --like")
    results = out.with_suffix(".json")
    if results == out:
        raise InputError(f"{out}: is the name of the metrics; give events another one, such as .h5")
    network = [] if checkpoint is None or not checkpoint.is_dir() else checkpoint.iterdir()
    inputs = checkpoint, like, *network
    for path in (out, results):
        check_output(path, *inputs)
    for path in (out, *([results] if like is not None else [])):
        if path.exists() and not overwrite:
            raise InputError(f"{path}: exists already; choose another name or --overwrite")
    config = generation.SamplingConfig(sampler, steps, batch_size, seed)
    set_up()
    generator = generation.Generator.load(checkpoint or SHIPPED.parent, normalisation)
    conditions, simulated = _conditions(generator, events, like, level, jet_class, seed)

    console = Console(highlight=False, soft_wrap=True, markup=False)
    with counting("jets", console) as show:
        generated = generation.generate_jets(
            generator, conditions, config, partial(show, "generating")
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
    """Draw the conditions, and give the simulated jets to compare with."""
    import numpy as np

    from jaxpriors.cli.options import SampleOptions
    from jaxpriors.data.batching import split
    from jaxpriors.errors import InputError
    from jaxpriors.generation.jets import conditions_like, normal_conditions

    label = None if jet_class is None else _label(jet_class, generator.classes)
    if like is None:
        labels = np.arange(number) % generator.classes if label is None else np.full(number, label)
        learnt = generator.preprocessing.standardisation
        return normal_conditions(learnt, labels.astype(np.int32), seed), None
    sample = SampleOptions(level).read_one(like)
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
    """Find the index of a class from a number or one of JetClass's names."""
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
    """Print and return the distances of generated to simulated jets."""
    from jaxpriors.generation.comparison import classifier_test, distances

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
        from jaxpriors.run.folder import shown

        with shown() as display:
            value, error = classifier_test(generated, simulated, seed=seed, progress=display)
        metrics["classifier_test"] = {"auc": value, "error": error}
        console.print(f"\nclassifier, generated against simulated: AUC {value:.4f} ± {error:.4f}")
    return metrics
