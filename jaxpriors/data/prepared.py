"""Prepared samples: folders of arrays that are mapped into memory, for sets of any size.

| file             | shape      | dtype   | meaning                                               |
|------------------|------------|---------|-------------------------------------------------------|
| `prepared.json`  |            |         | format, events, levels, metadata, facts of each level |
| `p4.npy`         | (total, 4) | floats  | (E, px, py, pz) in GeV of all constituents            |
| `pid.npy`        | (total,)   | int32   | PDG code, 0 where unknown                             |
| `offsets.npy`    | (n+1,)     | int64   | event i holds constituents offsets[i]:offsets[i+1]    |
| `jet_p4.npy`     | (n, 4)     | floats  | (E, px, py, pz) in GeV                                |
| `weight.npy`     | (n,)       | float64 | event weight, of either sign                          |
| `label.npy`      | (n,)       | int32   | class of the event; may be absent                     |
| `column-….npy`   | (n, …)     | any     | further event-level columns                           |

A set with both levels has them in the folders `particle` and `detector`, matched event by event. A
sample is prepared piece by piece: pieces are made by several processes and kept, so that a call
that was killed goes on; then their arrays are joined, and they are removed.

The manifest keeps a fingerprint of each array (`jaxpriors.data.arrays`), which is compared when the
sample is opened: an array that was changed is refused. Samples of the first versions have none.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from jaxpriors.data.arrays import check_array, fingerprint, mapped
from jaxpriors.data.checks import check_offsets, located
from jaxpriors.data.events import LEVELS, Events
from jaxpriors.data.manifest import (
    BEGUN,
    COLUMN,
    FORMAT,
    MANIFEST,
    PREPARED,
    VERSION,
    check_facts,
    check_fingerprints,
    read_manifest,
)
from jaxpriors.data.stored import PreparedArrays, Rows, StoredEvents
from jaxpriors.data.workers import done_by_processes
from jaxpriors.errors import InputError
from jaxpriors.physics import coordinates as col
from jaxpriors.run.storage import digest, read_json, write_json, written_whole

FLOATS = ("float32", "float64")

EventsOrLevels = Events | Mapping[str, Events]  # the levels {"particle": …, "detector": …}, matched
Piece = Callable[[], EventsOrLevels]  # a function that pickle knows by name


def write_prepared(
    folder: str | os.PathLike[str],
    pieces: Sequence[Piece],
    metadata: Mapping[str, Any],
    processes: int = 1,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Path:
    """Write the events of all pieces, one after another, into a folder.

    A call that was killed goes on where it was; once all is there, the same request returns at
    once. Memory holds one piece for each process.

    Args:
        folder: to be made, or that of an earlier call.
        pieces: functions that make the events (`functools.partial` of a module's own).
        metadata: whatever JSON can hold; with the number of pieces it is what a request is.
        processes: how many to use.
        progress: called with (pieces done, all pieces).

    Raises:
        InputError: the folder holds something else, no piece, pieces whose levels, labels or
            columns differ, anything that a piece or `Events.validate` refuses.
    """
    folder = Path(folder)
    if not pieces or processes < 1:
        raise InputError(
            f"found {len(pieces)} pieces and {processes} processes, expected at least one of each"
        )
    request = json.loads(json.dumps({"metadata": dict(metadata), "pieces": len(pieces)}))
    if (folder / MANIFEST).exists():
        if read_json(folder / MANIFEST, PREPARED).get("request") != request:
            raise InputError(f"{folder}: holds another prepared sample; choose another folder")
        _clear(folder)
        return folder
    _begin(folder, request)
    places = [folder / f"piece-{number:05d}" for number in range(len(pieces))]
    missing = [i for i, place in enumerate(places) if not place.exists()]
    progress(len(pieces) - len(missing), len(pieces))
    tasks = {i: partial(_write_piece, pieces[i], places[i]) for i in missing}
    for done, _ in enumerate(done_by_processes(tasks, processes), len(pieces) - len(missing) + 1):
        progress(done, len(pieces))
    manifest = _join(folder, places)
    write_json(folder / MANIFEST, {**manifest, "request": request})
    _clear(folder)
    return folder


def is_prepared(path: str | os.PathLike[str]) -> bool:
    """Tell whether a path is the folder of a prepared sample, finished or begun."""
    return any((Path(path) / name).is_file() for name in (MANIFEST, BEGUN))


def finished(folder: Path) -> bool:
    """Tell whether a folder holds a whole prepared sample."""
    return (folder / MANIFEST).is_file()


def mapped_arrays(folder: Path) -> dict[str, np.ndarray]:
    """Map all arrays into memory, by the names that they have in a file (`data.sample_files`).

    Raises InputError as ``open_prepared`` does.
    """
    found = {}
    manifest = read_manifest(folder)
    for level, facts in manifest["levels"].items():
        for name, array in _arrays_of(folder / level, facts, manifest["events"]).items():
            column = name.startswith(COLUMN)
            inner = f"columns/{name.removeprefix(COLUMN)}" if column else name
            found[f"{level}/{inner}" if level else inner] = array
    return found


def attributes(folder: Path) -> dict[str, dict[str, str]]:
    """Return the attributes of the root, as a file has them."""
    return {"": {"metadata": json.dumps(read_manifest(folder)["request"]["metadata"])}}


def open_prepared(folder: str | os.PathLike[str], level: str | None = None) -> StoredEvents:
    """Open the events of a prepared sample, which are read as they are needed.

    level: particle or detector, of a sample that holds both. Raises InputError where the folder
    holds no finished sample, lacks the level, or an array is missing, damaged, of another kind, or
    was changed since it was prepared (`data.arrays`).
    """
    folder = Path(folder)
    manifest = read_manifest(folder)
    levels = list(manifest["levels"])
    if (level or "") not in levels:
        raise InputError(f"{folder}: level {level}: found {', '.join(filter(None, levels))}")
    facts = manifest["levels"][level or ""]
    place = folder / level if level else folder
    arrays = _arrays_of(place, facts, manifest["events"])
    columns = {n.removeprefix(COLUMN): x for n, x in arrays.items() if n.startswith(COLUMN)}
    source = PreparedArrays(
        p4=Rows.of(place / "p4.npy", arrays["p4"]),
        pid=Rows.of(place / "pid.npy", arrays["pid"]),
        offsets=arrays["offsets"],
        jet_p4=arrays["jet_p4"],
        weight=np.array(arrays["weight"]),
        label=np.array(arrays["label"]) if "label" in arrays else None,
        columns=columns,
        **{name: facts[name] for name in ("digest", "undirected", "identities")},
    )
    return StoredEvents.of(source)


def _arrays_of(place: Path, facts: dict[str, Any], events: int) -> dict[str, np.ndarray]:
    """Map the arrays of a level into memory, those that were prepared and that fit together."""
    found = {name: mapped(place / f"{name}.npy") for name in facts["arrays"]}
    total = len(found["p4"]) if found["p4"].ndim else 0
    kinds: dict[str, tuple[Sequence[str], tuple[int, ...]]] = {
        "p4": (FLOATS, (total, 4)),
        "pid": (("int32",), (total,)),
        "offsets": (("int64",), (events + 1,)),
        "jet_p4": (FLOATS, (events, 4)),
        "weight": (("float64",), (events,)),
        "label": (("int32",), (events,)),
    }
    for name, array in found.items():
        path = place / f"{name}.npy"
        if name in kinds:
            dtypes, shape = kinds[name]
            check_array(path, array, dtypes, *shape)
        elif array.shape[:1] != (events,):
            raise InputError(f"{path}: found shape {array.shape}, expected ({events}, …)")
    check_fingerprints(place, facts)
    with located(place / "offsets.npy"):
        check_offsets(found["offsets"], total)
    bad = int(np.sum(~np.isfinite(found["weight"])))
    if bad:
        raise InputError(f"{place / 'weight.npy'}: {bad} values are not finite, expected none")
    return found


def _begin(folder: Path, request: dict[str, Any]) -> None:
    """Make the folder, or go on with that of the same request."""
    if (folder / BEGUN).exists():
        if read_json(folder / BEGUN) != request:
            raise InputError(f"{folder}: another preparation was begun there; choose another")
        return
    check_place(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / BEGUN, request)


def check_place(folder: Path) -> None:
    """Raise InputError where a folder can neither be made nor be that of a prepared sample."""
    if is_prepared(folder) or not folder.exists():
        return
    if not folder.is_dir() or any(not p.name.startswith(".") for p in folder.iterdir()):
        raise InputError(f"{folder}: exists and is not a prepared sample; choose another folder")


def _clear(folder: Path) -> None:
    """Remove what only an unfinished preparation needs."""
    for place in folder.glob("piece-*"):
        shutil.rmtree(place)
    for scratch in folder.glob(".piece-*"):  # one may be that of a process that is ending
        shutil.rmtree(scratch, ignore_errors=True)
    for left in folder.rglob(".*.partial"):
        left.unlink()
    (folder / BEGUN).unlink(missing_ok=True)


def _write_piece(piece: Piece, place: Path) -> None:
    """Write the arrays of one piece, whole or not at all."""
    made = piece()
    samples = {"": made} if isinstance(made, Events) else dict(made)
    if len({len(events) for events in samples.values()}) != 1 or (
        set(samples) != {""} and not set(samples) <= set(LEVELS)
    ):
        sizes = {level: len(events) for level, events in samples.items()}
        raise InputError(f"found levels with these events: {sizes}, expected as many in each")
    scratch = place.with_name(f".{place.name}.{os.getpid()}.partial")
    shutil.rmtree(scratch, ignore_errors=True)
    facts = {}
    for level, events in samples.items():
        (scratch / level).mkdir(parents=True, exist_ok=True)
        with located(place.name):
            arrays = _arrays(events.validate())
        for name, array in arrays.items():
            with written_whole(scratch / level / f"{name}.npy") as path, open(path, "wb") as file:
                _write_array(file, array.dtype, array.shape, [array])
        facts[level] = {
            "events": len(events),
            "digest": events.digest(),
            "undirected": events.undirected(),
            "identities": events.identities,
            "arrays": sorted(arrays),
        }
    write_json(scratch / "facts.json", facts)
    try:
        os.replace(scratch, place)
    except OSError:
        if not place.is_dir():
            raise
        shutil.rmtree(scratch)  # a process of a killed call, that had not ended yet, was first


def _arrays(events: Events) -> dict[str, np.ndarray]:
    own = {
        "p4": events.p4,
        "pid": events.pid,
        "offsets": events.offsets,
        "jet_p4": events.jet_p4,
        "weight": events.weight,
    }
    nested = [name for name in events.columns if "/" in name]
    if nested:
        raise InputError(f"columns: found the names {nested}, expected none with a slash")
    label = {} if events.label is None else {"label": events.label}
    return own | label | {COLUMN + name: array for name, array in events.columns.items()}


def _join(folder: Path, places: list[Path]) -> dict[str, Any]:
    """Join the pieces' arrays; the manifest without its request."""
    pieces = [read_json(place / "facts.json", PREPARED) for place in places]
    for place, piece in zip(places, pieces, strict=True):
        for level, facts in piece.items():
            check_facts(place / "facts.json", level, facts)
    levels: dict[str, Any] = {}
    for level, first in pieces[0].items():
        for number, piece in enumerate(pieces):
            found = piece.get(level, {}).get("arrays")
            if set(piece) != set(pieces[0]) or found != first["arrays"]:
                raise InputError(
                    f"{folder}: piece {number} has the levels {sorted(piece)} with arrays {found}, "
                    f"expected those of piece 0: {sorted(pieces[0])}, {first['arrays']}"
                )
        of_level = [piece[level] for piece in pieces]
        (folder / level).mkdir(exist_ok=True)
        for name in first["arrays"]:
            paths = [place / level / f"{name}.npy" for place in places]
            _join_array(paths, folder / level / f"{name}.npy", offsets=name == "offsets")
        digests = " ".join(each["digest"] for each in of_level)
        levels[level] = {
            "arrays": first["arrays"],
            "digest": digest(digests),
            "undirected": {
                what: sum(each["undirected"][what] for each in of_level)
                for what in first["undirected"]
            },
            "identities": any(each["identities"] for each in of_level),
            "fingerprints": {
                name: fingerprint(folder / level / f"{name}.npy") for name in first["arrays"]
            },
        }
    events = sum(next(iter(piece.values()))["events"] for piece in pieces)
    return {"format": FORMAT, "version": VERSION, "events": events, "levels": levels}


def _join_array(paths: list[Path], joined: Path, offsets: bool) -> None:
    """Join one array of all pieces, whole or not at all, in place of theirs.

    offsets: whether it holds offsets, which are counted on from piece to piece.
    """
    if joined.exists():
        return
    dtypes, rows = set(), 0
    for path in paths:  # one after the other: there may be more than a process can open
        array = np.load(path, mmap_mode="r")
        dtypes.add((array.dtype, array.shape[1:]))
        rows += len(array)
    if len(dtypes) != 1:
        found = sorted(f"{dtype}{list(shape)}" for dtype, shape in dtypes)
        raise InputError(f"{joined.stem}: found pieces of {found}, expected one kind")
    [(dtype, shape)] = dtypes
    arrays: Iterable[np.ndarray] = (np.load(path, mmap_mode="r") for path in paths)
    if offsets:
        arrays = [col.offsets_of(np.concatenate([np.diff(array) for array in arrays]))]
        rows -= len(paths) - 1
    with written_whole(joined) as scratch, open(scratch, "wb") as file:
        _write_array(file, dtype, (rows, *shape), arrays)
    for path in paths:
        path.unlink()


def _write_array(
    file: BinaryIO, dtype: np.dtype, shape: tuple[int, ...], parts: Iterable[np.ndarray]
) -> None:
    """Write an array, row-major, of which there are parts."""
    descr = np.lib.format.dtype_to_descr(dtype)
    header = {"descr": descr, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)
    for part in parts:
        file.write(np.ascontiguousarray(part).reshape(-1).view(np.uint8).data)
