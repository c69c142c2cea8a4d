"""What the catalogue says of a data set, and the published files with their checksums.

The files stand in `files.tsv`, one a line: set, sample, Zenodo record, name, size in bytes (- where
it was not published beside the checksum) and digest. The digests are those that the public packages
which download the sets verify: EnergyFlow (zjets, quarkgluon), Particle Transformer (jetclass) and
public download scripts (toptagging, jetnet, lhco).
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path

from jaxpriors.data.parts import Part
from jaxpriors.errors import InputError

URL = "https://zenodo.org/records/{record}/files/{name}?download=1"


@dataclass(frozen=True)
class File:
    """Describe a published file by name, address, size in bytes and digest ("md5:…").

    Size and digest are None where they are unknown.
    """

    name: str
    url: str
    size: int | None = None
    digest: str | None = None


@dataclass(frozen=True)
class DataSet:
    """Describe one entry of the catalogue.

    Args:
        name: as in `jaxpriors data prepare NAME`.
        title: in a few words.
        homepage: where it is published; of local files, where their layout is from.
        licence: of the data, "" where it is yours.
        citation: papers and records to cite.
        holds: what the events are, and their labels and columns.
        parts: the events of one file.
        suffixes: of its files, where a folder is given.
        samples: the published files by sample; none for local files.
        levels: of its events, none for a single one.
        labels: names of the classes 0, 1, …
        columns: event-level columns of the events, with their dtypes; each is (n,) but for those
            in `widths`.
        widths: of columns that are (n, width).
        recipe: of `jaxpriors data simulate`, that makes a surrogate sample.
        get: of local files that are published, how to get them; "" for those that are your own.
    """

    name: str
    title: str
    homepage: str
    licence: str
    citation: str
    holds: str
    parts: Callable[[Path], list[Part]]
    suffixes: tuple[str, ...]
    samples: Mapping[str, tuple[File, ...]] = field(default_factory=dict)
    levels: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    columns: Mapping[str, str] = field(default_factory=dict)
    widths: Mapping[str, int] = field(default_factory=dict)
    recipe: str | None = None
    get: str = ""

    @property
    def local(self) -> bool:
        """Tell whether its files are given by the user."""
        return not self.samples

    def files(self, sample: str | None) -> tuple[File, ...]:
        """List the published files of a sample, which need not be named where there is only one.

        Raises InputError for an unknown sample, or none where there are several.
        """
        if sample is None and len(self.samples) == 1:
            return next(iter(self.samples.values()))
        if sample is None or sample not in self.samples:
            known = ", ".join(self.samples) or "none, its files are your own"
            raise InputError(f"sample: found {sample!r}, expected one of {self.name}: {known}")
        return self.samples[sample]


def published(name: str) -> dict[str, tuple[File, ...]]:
    """List the files of a set by sample, in their order."""
    text = resources.files(__package__).joinpath("files.tsv").read_text()
    found: dict[str, list[File]] = {}
    for row in csv.DictReader(text.splitlines(), delimiter="\t"):
        if row["set"] == name:
            url = URL.format(record=row["record"], name=row["name"])
            size = None if row["size"] == "-" else int(row["size"])
            found.setdefault(row["sample"], []).append(File(row["name"], url, size, row["digest"]))
    return {sample: tuple(files) for sample, files in found.items()}
