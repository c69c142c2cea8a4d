"""`jaxpriors data simulate`, `list`, `info`, `prepare` and `check`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Literal

from jaxpriors.cli.options import In, SampleOptions

Variant = Literal[
    "simulation", "data", "vincia", "simulation-variations", "background", "signal", "sidebands"
]

Set = Literal[
    "zjets",
    "lhco",
    "jetclass",
    "toptagging",
    "quarkgluon",
    "jetnet",
    "omnilearn",
    "omnilearn-jetclass",
    "omnilearn-omnifold",
    "omnilearn-dijets",
    "omnilearned",
    "omnilearned-momenta",
    "h1",
]
Kind = Literal["jaxpriors", "prepared", "tree"] | Set


def data_simulate(
    recipe: Literal["zjets", "dis", "jetclass", "lhco"] = "zjets",
    /,
    variant: Variant = "simulation",
    events: int = 10_000,
    seed: int = 0,
    out: Path | None = None,
    processes: int = 1,
    overwrite: bool = False,
) -> int:
    """Generate a sample with Pythia and a parametric detector.

    Writes an HDF5 file with the levels particle and detector, matched event by event. The
    command resumes an interrupted run; the same request again returns at once.

    Args:
        recipe: zjets (jets that recoil against a Z boson), dis (jets of deep-inelastic ep
            scattering at HERA), jetclass (ten labelled classes of boosted jets, for pretraining)
            or lhco (events of two jets as in the LHC Olympics).
        variant: simulation; data, with other settings of Pythia (zjets: tune, hadronisation and
            recoil; dis: the shower); vincia, another shower (zjets); simulation-variations, which
            carries the exact weights of other shower scales (zjets, dis); background, signal and
            sidebands (lhco).
        events: number of accepted events.
        seed: same seed, same sample, whatever the number of processes.
        out: file to write; default: <recipe>-<variant>.h5 in this folder.
        processes: number of processes.
        overwrite: replace an existing file.
    """
    from rich.console import Console

    from jaxpriors.data.simulation.run import simulate
    from jaxpriors.run.folder import counting

    console = Console(highlight=False, soft_wrap=True)
    task = f"{recipe}, {variant}"
    with counting("events", console) as show:
        result = simulate(
            recipe,
            variant,
            events,
            seed,
            out=out or Path(f"{recipe}-{variant}.h5"),
            processes=processes,
            progress=partial(show, task),
            overwrite=overwrite,
        )
    state = "was there already" if result.cached else "written"
    console.print(f"{result.path}: {result.events} events, {state}")
    return 0


def data_list() -> int:
    """List the data sets that can be prepared, public ones and layouts of your own files."""
    from rich.console import Console
    from rich.table import Table

    from jaxpriors.data.catalog import SETS

    table = Table("set", "what it is", "where", "samples", "simulate", box=None, pad_edge=False)
    for entry in SETS.values():
        own = entry.local and not entry.get
        where = (
            "your files"
            if own
            else entry.homepage.removeprefix("https://").removeprefix("doi.org/")
        )
        table.add_row(
            entry.name, entry.title, where, ", ".join(entry.samples), entry.recipe and "yes"
        )
    Console(highlight=False, width=140).print(table)
    return 0


def data_info(name: Set, /) -> int:
    """Print the description of a data set: source, licence, citation, files, contents.

    Args:
        name: name of the set, see `jaxpriors data list`.
    """
    from rich.console import Console

    from jaxpriors.data.catalog import data_set

    say = Console(highlight=False, soft_wrap=True, markup=False).print
    entry = data_set(name)
    say(f"{entry.name}: {entry.title}")
    say(f"  source    {entry.homepage}")
    say(f"  licence   {entry.licence}")
    say(f"  cite      {entry.citation}")
    say(f"  events    {entry.holds}")
    if entry.levels:
        say(f"  levels    {', '.join(entry.levels)}, matched event by event")
    if entry.labels:
        labels = ", ".join(f"{i} {label}" for i, label in enumerate(entry.labels))
        say(f"  labels    {labels}")
    if entry.columns:
        say(f"  columns   {', '.join(entry.columns)}")
    if entry.get:
        say(f"  files     {entry.get}")
    if entry.recipe:
        say(f"  stand-in  jaxpriors data simulate {entry.recipe}")
    for sample, files in entry.samples.items():
        say(f"  sample {sample}, {len(files)} files")
        for file in files:
            size = "size: see the record" if file.size is None else f"{file.size} bytes"
            digest = file.digest or "no digest was published: what is found is recorded"
            say(f"    {file.name}  {size}  {digest}")
    return 0


def data_prepare(
    name: Set,
    /,
    folder: Path,
    sample: str | None = None,
    files: tuple[Path, ...] = (),
    events: int | None = None,
    processes: int = 1,
) -> int:
    """Bring a data set into mapped arrays: download or read the files, verify, convert.

    A folder of train, val and test (files or folders) becomes three samples of these names.

    Files may be larger than the memory. The command resumes interrupted downloads and conversions;
    the same request again returns at once.

    Args:
        name: name of the set, see `jaxpriors data list`.
        folder: new folder for the prepared events.
        sample: which sample of a public set with several, see `jaxpriors data info`.
        files: the files if you have them, or their folder, to which the command downloads missing
            files of a public set. Default: the folder's name + .files.
        events: prepare only the first events, and download only what they need.
        processes: number of processes that convert.
    """
    from rich.console import Console

    from jaxpriors.data.catalog.prepare import prepare
    from jaxpriors.data.formats.splits import splits_in
    from jaxpriors.data.hdf5 import levels
    from jaxpriors.data.prepared import open_prepared
    from jaxpriors.run.folder import counting

    console = Console(highlight=False, soft_wrap=True)
    with counting("bytes", console) as show:
        prepare(
            name,
            folder,
            sample=sample,
            files=files,
            events=events,
            processes=processes,
            downloads=show,
            progress=lambda done, total: console.print(f"{done}/{total} pieces converted"),
        )
    for made in splits_in(folder).values() or [folder]:
        level = next(iter(levels(made)), None)
        console.print(f"{made}: {len(open_prepared(made, level))} events")
    return 0


def data_check(
    file: Path,
    /,
    layout: Kind | None = None,
    samples: In[SampleOptions] = SampleOptions(),
) -> int:
    """Check a whole file: print what it holds and every problem; exit with 2 if there is any.

    The command also prints what it did not read, and the command that reads the file.

    Args:
        file: HDF5, npz, ROOT or parquet file in the layout of jaxpriors or of a set of the
            catalogue, an archive of JetClass, or the folder of a prepared sample or of files of
            one kind.
        layout: layout of the file, where it is not recognised.
        samples: how to read the file.
    """
    import json

    from rich.console import Console

    from jaxpriors.data.inspection.command import command_for
    from jaxpriors.data.inspection.examine import examine
    from jaxpriors.data.unread import listed

    say = Console(highlight=False, soft_wrap=True, markup=False).print
    reading = samples.reading()
    found = examine(file, layout, reading)
    say(f"{file}: layout {found.layout}")
    for level, summary in found.summaries.items():
        if level:
            say(f"{level} level")
        for line in summary.lines():
            say(f"  {line}")
    if found.metadata:
        say("metadata")
        say(json.dumps(found.metadata, indent=2))
    if found.unread:
        say(f"not read: {listed(found.unread)}")
    for note in found.notes:
        say(f"note: {note}")
    if command := command_for(file, found.layout, reading):
        say(f"to read it: {command}")
    say(f"problems: {len(found.problems) or 'none found'}")
    for problem in found.problems:
        say(f"  {problem}")
    return 2 if found.problems else 0
