"""`jaxpriors data convert`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from jaxpriors.cli.options import In, SampleOptions

if TYPE_CHECKING:
    from jaxpriors.data.events import Events

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
        elif reading.level and not reading.columns:
            readings = {reading.level: reading}
        elif reading.columns or tree or not levels(source):
            readings = {"": reading}
        else:
            readings = {x: reading.replace(level=x) for x in levels(source)}
        found = blocks(source, readings, events)
        names = tuple(readings)
    else:
        read, metadata = _read_layout(source, layout, sample, window, events, console)
        whole = {"": read} if isinstance(read, Events) else dict(read)
        found, names = iter([(whole, len(next(iter(whole.values()))))]), tuple(whole)
    metadata |= {"converted_from": source.name}
    done = 0
    with (
        EventWriter.open(out, names, metadata, overwrite=overwrite, compact=compact) as writer,
        counting("events", console) as show,
    ):
        for block, total in found:
            writer.append(block)
            done += len(next(iter(block.values())))
            show("converting", done, total)
        if not done:
            raise InputError(f"{source}: found no events to convert, expected some")
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
