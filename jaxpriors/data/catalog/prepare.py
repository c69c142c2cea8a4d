"""A set of the catalogue made into mapped arrays: files brought, verified, converted once."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from jaxpriors.data.catalog import data_set
from jaxpriors.data.catalog.download import Progress, obtain, quiet, verify
from jaxpriors.data.catalog.sets import DataSet, File
from jaxpriors.data.formats.splits import splits_in
from jaxpriors.data.parts import Part, pieces
from jaxpriors.data.prepared import attributes, check_place, finished, write_prepared
from jaxpriors.errors import InputError

DOWNLOADS = ".files"  # added to a folder's name for that of its downloads


def prepare(
    name: str,
    folder: Path,
    *,
    sample: str | None = None,
    files: Sequence[Path] = (),
    events: int | None = None,
    processes: int = 1,
    downloads: Progress = quiet,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Path:
    """Prepare a set in a folder (`jaxpriors.data.prepared`); gives the folder.

    The parts of a split (a folder of train, val and test) become folders of these names in it.

    A call that was killed goes on where it was, with downloads as with the conversion. Memory holds
    one piece of the events for each process.

    Args:
        name: of the set.
        folder: of the prepared events.
        sample: of a public set with several.
        files: files that are there already, or one folder. A public set's published files that are
            missing in that folder are downloaded to it; without any, to the folder's name +
            `.files`.
        events: the first ones only; files that are not needed for them are not downloaded.
        processes: how many convert.
        downloads: called with (file, bytes that are done, bytes in all) while a file comes or is
            verified.
        progress: called with (pieces done, all pieces) of the conversion.

    Raises:
        InputError: unknown names, files that are absent, damaged, or not what was published,
            anything that the reader refuses.
    """
    entry = data_set(name)
    if events is not None and events < 1:
        raise InputError(f"events: found {events}, expected at least 1")
    if entry.local and not files:
        hint = entry.get or f"{name} has no published files, name your own"
        raise InputError(f"files: found none; {hint}")
    if entry.local and sample is not None:
        raise InputError(f"sample: found {sample!r}; {name} has none, its files are your own")
    if processes < 1:
        raise InputError(f"processes: found {processes}, expected at least 1")
    if entry.local and _is_folder(files) and (split := splits_in(files[0])):
        for part, path in split.items():
            prepare(
                name,
                folder / part,
                files=[path],
                events=events,
                processes=processes,
                downloads=downloads,
                progress=progress,
            )
        return folder
    check_place(folder)
    asked = {
        "set": name,
        "sample": next(iter(entry.samples)) if len(entry.samples) == 1 else sample,
        "first_events": events,
    }
    if not files and finished(folder):  # then its files need not be there any more
        metadata = json.loads(attributes(folder)[""]["metadata"])
        if asked != {key: metadata.get(key) for key in asked}:
            held = {key: metadata.get(key) for key in asked}
            raise InputError(
                f"{folder}: holds another prepared sample, found {held}, expected {asked}; choose "
                "another folder"
            )
        return folder
    parts: list[Part] = []
    used: list[dict[str, Any]] = []
    for path, digest in _sources(entry, folder, sample, files, downloads):
        parts += entry.parts(path)
        used.append({"name": path.name, "size": path.stat().st_size, "digest": digest})
        if events is not None and sum(part.events for part in parts) >= events:
            break
    if not sum(part.events for part in parts):
        raise InputError(f"{', '.join(part.name for part in parts)}: found no events")
    metadata = asked | {
        "homepage": entry.homepage,
        "licence": entry.licence,
        "citation": entry.citation,
        "labels": list(entry.labels),
        "files": used,
    }
    return write_prepared(folder, pieces(parts, events), metadata, processes, progress)


def _sources(
    entry: DataSet,
    folder: Path,
    sample: str | None,
    given: Sequence[Path],
    downloads: Progress,
) -> Iterator[tuple[Path, str]]:
    """Path and digest of each file, verified, in order; a generator, as each may be a download."""
    if entry.local or (given and not _is_folder(given)):
        known = {file.name: file for files in entry.samples.values() for file in files}
        if not entry.local and sample is not None:
            entry.files(sample)
        for path in _own_files(entry, given):
            file = known.get(path.name)
            yield path, verify(path, file or File(path.name, ""), downloads)
        return
    place = given[0] if given else folder.with_name(folder.name + DOWNLOADS)
    for file in entry.files(sample):
        path = obtain(file, place, downloads)
        yield path, file.digest or verify(path, file, downloads)


def _is_folder(given: Sequence[Path]) -> bool:
    return len(given) == 1 and given[0].is_dir()


def _own_files(entry: DataSet, given: Sequence[Path]) -> list[Path]:
    """List the files that were named, or those of the folder that was, by name."""
    if _is_folder(given):
        found = sorted(p for p in given[0].iterdir() if p.suffix in entry.suffixes)
        if not found:
            raise InputError(f"{given[0]}: holds no {' or '.join(entry.suffixes)} file")
        return found
    for path in given:
        if not path.is_file():
            raise InputError(f"{path}: no such file")
    return list(given)
