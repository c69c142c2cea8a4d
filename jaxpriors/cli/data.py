"""`jaxpriors data simulate`, `list`, `info`, `prepare`, `check` and `convert`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from jaxpriors.cli.options import In, SampleOptions

if TYPE_CHECKING:
    from jaxpriors.data.events import Events

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
]
Kind = Literal["jaxpriors", "prepared", "tree"] | Set
Layout = Literal[
    "named",
    "omnilearn",
    "omnilearn-jetclass",
    "omnilearn-dijets",
    "omnilearned",
    "omnilearned-momenta",
    "energyflow",
    "lhco",
]


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
        where = "your files" if entry.local else entry.homepage.removeprefix("https://doi.org/")
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
    level = next(iter(levels(folder)), None)
    console.print(f"{folder}: {len(open_prepared(folder, level))} events")
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


def data_convert(
    source: Path,
    out: Path,
    /,
    samples: In[SampleOptions] = SampleOptions(),
    particle: dict[str, str] | None = None,
    detector: dict[str, str] | None = None,
    layout: Layout = "named",
    sample: str | None = None,
    window: tuple[float, float] | None = None,
    events: int | None = None,
    compact: bool = False,
    overwrite: bool = False,
) -> int:
    """Bring a sample with other names and coordinates into the layout of jaxpriors.

    Files of named columns and trees are read and written block by block.

    Args:
        source: HDF5, npz, ROOT or parquet file; with an omnilearn layout also a folder of HDF5
            files; with layout energyflow the folder of the chunks.
        out: HDF5 file to write.
        samples: how to read the file.
        particle: like --columns, for the particle level; needs detector as well.
        detector: like --columns, for the detector level, matched event by event.
        layout: named (columns with names), omnilearn (datasets data, jet, pid, or reco and gen),
            omnilearn-jetclass (the same as made from JetClass: delta eta has the sign of the
            jet's eta, and jets with fewer than two constituents are left out), omnilearn-dijets
            (two jets an event, as of the LHC Olympics), omnilearned (and omnilearned-momenta, where
            column 4 is no identity), energyflow (the Z+jets samples of Zenodo
            3548091), or lhco (the particles of the LHC Olympics' R&D set, Zenodo 4536377, which
            are clustered into two jets).
        sample: for energyflow: pythia21, pythia25, pythia26 or herwig.
        window: for lhco: lowest and highest m_jj of the events to convert, in GeV.
        events: convert only the first events.
        compact: store rounded momenta, where masses follow from the identities.
        overwrite: replace an existing file.
    """
    from rich.console import Console

    from jaxpriors.data.event_writer import EventWriter
    from jaxpriors.data.events import Events
    from jaxpriors.data.formats.opening import blocks
    from jaxpriors.data.formats.trees import is_tree
    from jaxpriors.data.hdf5 import levels
    from jaxpriors.data.sample_files import read_metadata
    from jaxpriors.errors import InputError
    from jaxpriors.run.folder import counting
    from jaxpriors.run.storage import check_output

    check_output(out, source)
    if (particle is None) != (detector is None) or (samples.columns and particle):
        raise InputError("give either --columns, or both --particle and --detector")
    if events is not None and events < 1:
        raise InputError(f"--events is {events}, expected at least 1")
    if sample is not None and layout != "energyflow":
        raise InputError(f"--sample is of --layout energyflow; found it with {layout}")
    if window is not None and layout != "lhco":
        raise InputError(f"--window is of --layout lhco; found it with {layout}")
    if layout != "named" and (particle or samples != SampleOptions()):
        raise InputError(f"--layout {layout} has names and coordinates of its own; leave them out")
    console = Console(highlight=False, soft_wrap=True)
    metadata: dict[str, Any] = {}
    if layout == "named":
        reading = samples.reading()
        tree = is_tree(source)
        metadata = {} if tree else read_metadata(source)
        if particle is not None and detector is not None:
            named = {"particle": particle, "detector": detector}
            readings = {x: reading.replace(columns=names) for x, names in named.items()}
        elif reading.columns or reading.level or tree or not levels(source):
            readings = {"": reading}
        else:
            readings = {x: reading.replace(level=x) for x in levels(source)}
        found = blocks(source, readings, events)
        names = tuple(readings)
    else:
        read, metadata = _read_layout(source, layout, sample, window, events, console)
        whole = {"": read} if isinstance(read, Events) else dict(read)
        found, names = iter([whole]), tuple(whole)
    metadata |= {"converted_from": source.name}
    done = 0
    with (
        EventWriter.open(out, names, metadata, overwrite=overwrite, compact=compact) as writer,
        counting("events", console) as show,
    ):
        for block in found:
            writer.append(block)
            done += len(next(iter(block.values())))
            show("converting", done, events or done)
        if not done:
            raise InputError(f"{source}: found no events to convert")
    console.print(f"{out}: {done} events written")
    return 0


def _read_layout(
    source: Path,
    layout: Layout,
    sample: str | None,
    window: tuple[float, float] | None,
    events: int | None,
    console: Any,
) -> tuple[Events | dict[str, Events], dict[str, Any]]:
    """Read a file of a layout with names of its own; give its events and metadata."""
    from jaxpriors.run.folder import counting

    if layout == "energyflow":
        from jaxpriors.data.formats.energyflow import energyflow_files, read_energyflow

        chunks = energyflow_files(source, sample or "")
        return read_energyflow(chunks, events), {"sample": sample}
    if layout == "lhco":
        from jaxpriors.data.formats.lhco import lhco_rows, read_lhco_events

        lhco_rows(source)  # which tells what is not read
        with counting("events", console) as show:
            progress = partial(show, "reading and clustering")
            found = read_lhco_events(source, window=window, stop=events, progress=progress)
        return found, {"window": window}
    if layout == "omnilearn-dijets":
        from jaxpriors.data.formats.omnilearn_dijets import read_omnilearn_dijets

        return read_omnilearn_dijets(source, stop=events), {}
    if layout in ("omnilearned", "omnilearned-momenta"):
        from jaxpriors.data.formats.omnilearned import omnilearned_jets, read_omnilearned_events

        identities = layout == "omnilearned"
        omnilearned_jets(source, identities=identities)  # which tells what is not read
        return read_omnilearned_events(source, identities=identities, stop=events), {}
    from jaxpriors.data.formats.omnilearn import omnilearn_levels, read_omnilearn_events

    jetclass = layout == "omnilearn-jetclass"
    at_least = 2 if jetclass else None
    read = partial(
        read_omnilearn_events, source, signed_eta=jetclass, at_least=at_least, stop=events
    )
    present = omnilearn_levels(source)
    return {level: read(level) for level in present} if present else read(), {}
