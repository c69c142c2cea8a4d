"""The catalogue as tensorflow-datasets, built and read without TensorFlow (extra `data`).

    builder = BUILDERS["jetnet"](data_dir="sets")
    builder.download_and_prepare()
    source = builder.as_data_source(split="events")
    events = events_of(source[0])

A record is a block of `RECORD` events: flat arrays, as in `Events`. A sample of a set is a
configuration (`config="herwig"`). Published files are taken from `manual_dir`, or downloaded to
`download_dir`; local sets read all their files in `manual_dir`. Importing this registers the
builders, by the names of their classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds

from jaxpriors.data.catalog import SETS
from jaxpriors.data.catalog.download import obtain
from jaxpriors.data.catalog.sets import DataSet
from jaxpriors.data.events import Events
from jaxpriors.data.parts import pieces
from jaxpriors.data.prepared import EventsOrLevels
from jaxpriors.errors import InputError

RECORD = 64  # events
SPLIT = "events"
INSTRUCTIONS = "Put the files into this folder."
VERSION = "2.0.0"  # momenta are float64 since
_DTYPES = {"p4": "float64", "pid": "int32", "offsets": "int64", "jet_p4": "float64"}
_DTYPES |= {"weight": "float64", "label": "int32"}


class EventsBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
    """What the builders share; each has its `SET`."""

    VERSION = tfds.core.Version(VERSION)
    MANUAL_DOWNLOAD_INSTRUCTIONS = INSTRUCTIONS
    SET: ClassVar[DataSet]

    def __init__(self, *, file_format: str = "array_record", **rest: Any) -> None:
        """Start as tensorflow-datasets' own do, with a format that needs no TensorFlow."""
        super().__init__(file_format=file_format, **rest)

    def _info(self) -> tfds.core.DatasetInfo:
        entry = self.SET
        sample = {name: _features(entry) for name in entry.levels} or _features(entry)
        return tfds.core.DatasetInfo(
            builder=self,
            description=f"{entry.title}: {entry.holds}. {_labels(entry)}".strip(),
            homepage=entry.homepage,
            citation=entry.citation,
            license=entry.licence,
            features=tfds.features.FeaturesDict(sample),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        try:
            folder = Path(dl_manager.manual_dir)
        except AssertionError:  # there is none
            if self.SET.local:
                raise InputError(
                    f"{self.SET.name}: found no manual_dir, expected the folder of your files"
                ) from None
            folder = Path(dl_manager.download_dir)
        if self.SET.local:
            paths = sorted(p for p in folder.iterdir() if p.suffix in self.SET.suffixes)
        else:
            paths = [obtain(file, folder) for file in self.SET.files(self.builder_config.name)]
        return {SPLIT: self._generate_examples(paths)}

    def _generate_examples(self, paths: Sequence[Path]) -> Iterator[tuple[int, dict[str, Any]]]:
        number = 0
        for path in paths:
            for piece in pieces(self.SET.parts(path)):
                for record in _records(piece(), self.SET):
                    yield number, record
                    number += 1


def _builder(entry: DataSet) -> type[EventsBuilder]:
    """Make the builder of one set."""
    configs = [
        tfds.core.BuilderConfig(name=name, description=f"{len(files)} files")
        for name, files in entry.samples.items()
    ]
    name = "".join(word.capitalize() for word in entry.name.split("-"))
    return type(
        name, (EventsBuilder,), {"SET": entry, "BUILDER_CONFIGS": configs, "__doc__": entry.title}
    )


BUILDERS: dict[str, type[EventsBuilder]] = {name: _builder(entry) for name, entry in SETS.items()}


def events_of(record: Mapping[str, Any]) -> EventsOrLevels:
    """Make events of a record, or its levels {"particle": …, "detector": …}."""
    if "p4" not in record:
        return {level: _events(arrays) for level, arrays in record.items()}
    return _events(record)


def _events(arrays: Mapping[str, Any]) -> Events:
    columns = {n: a for n, a in arrays.get("columns", {}).items() if len(a)}
    own = {name: arrays[name] for name in _DTYPES if name != "label"}
    return Events(label=arrays["label"] if len(arrays["label"]) else None, columns=columns, **own)


def _features(entry: DataSet) -> dict[str, Any]:
    """Arrays of one level; what a sample may lack is empty where it does."""
    widths = {"p4": 4, "jet_p4": 4}
    found: dict[str, Any] = {n: _tensor(dtype, widths.get(n)) for n, dtype in _DTYPES.items()}
    columns = {n: _tensor(dtype, entry.widths.get(n)) for n, dtype in entry.columns.items()}
    return found | ({"columns": columns} if columns else {})


def _tensor(dtype: str, width: int | None) -> tfds.features.Tensor:
    return tfds.features.Tensor(
        shape=(None,) if width is None else (None, width),
        dtype=np.dtype(dtype),
        encoding=tfds.features.Encoding.BYTES,
    )


def _records(sample: EventsOrLevels, entry: DataSet) -> Iterator[dict[str, Any]]:
    """Yield the events in blocks, as plain arrays."""
    events = sample if isinstance(sample, Events) else next(iter(sample.values()))
    for start in range(0, len(events), RECORD):
        block = slice(start, start + RECORD)
        if isinstance(sample, Events):
            yield _arrays(sample[block], entry)
        else:
            yield {level: _arrays(some[block], entry) for level, some in sample.items()}


def _arrays(events: Events, entry: DataSet) -> dict[str, Any]:
    found: dict[str, Any] = {
        name: np.zeros(0) if getattr(events, name) is None else getattr(events, name)
        for name in _DTYPES
    }
    found = {name: array.astype(_DTYPES[name], copy=False) for name, array in found.items()}
    columns = {}
    for name, dtype in entry.columns.items():
        width = entry.widths.get(name)
        empty = np.zeros((0,) if width is None else (0, width))
        columns[name] = np.asarray(events.columns.get(name, empty)).astype(dtype)
    return found | ({"columns": columns} if columns else {})


def _labels(entry: DataSet) -> str:
    names = ", ".join(f"{number} {name}" for number, name in enumerate(entry.labels))
    return f"Labels: {names}." if names else ""
