"""Prepared samples that were changed, damaged or edited are refused in one line, with the place."""

import io
import json
import os
import resource
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jaxpriors.data.arrays import BLOCK, BLOCKS, ENDS, fingerprint
from jaxpriors.data.manifest import MANIFEST
from jaxpriors.data.prepared import open_prepared, write_prepared
from jaxpriors.data.sample_files import read_events, read_metadata
from jaxpriors.data.stored import StoredEvents
from jaxpriors.errors import InputError
from tests.data.test_prepared import PIECES, WHOLE, same


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("prepared") / "sample"
    return write_prepared(place, PIECES[:1], {"name": "made"})


@pytest.fixture
def place(prepared: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(prepared, tmp_path / "sample"))


def changed(place: Path, name: str, array: np.ndarray, known: bool = True) -> None:
    """Replace an array; where the change is to be known, with its fingerprint."""
    np.save(place / f"{name}.npy", array)
    if known:
        new = fingerprint(place / f"{name}.npy")
        edited(place / MANIFEST, f"levels..fingerprints.{name}", new)


def edited(path: Path, where: str, value: Any) -> None:
    """Replace what stands at a place of a JSON file."""
    content = json.loads(path.read_text())
    inner = content
    *steps, last = where.split(".")
    for step in steps:
        inner = inner[step]
    inner[last] = value
    path.write_text(json.dumps(content))


@pytest.mark.parametrize("name", ["p4", "pid", "jet_p4", "weight", "label", "column-q2"])
def test_changed_contents_are_refused(place: Path, name: str) -> None:
    array = np.load(place / f"{name}.npy")
    array[3] += 1
    changed(place, name, array, known=False)
    for opened in (open_prepared, read_events):
        with pytest.raises(InputError, match=rf"{name}.npy: was changed since the sample was prep"):
            opened(place)


def test_a_copy_is_not_a_change(place: Path, tmp_path: Path) -> None:
    before = open_prepared(place).digest()
    shutil.copytree(place, tmp_path / "copy", copy_function=shutil.copyfile)
    assert open_prepared(tmp_path / "copy").digest() == before


def test_samples_without_fingerprints_are_those_of_earlier_versions(place: Path) -> None:
    before = open_prepared(place).digest()
    manifest = json.loads((place / MANIFEST).read_text())
    del manifest["levels"][""]["fingerprints"]
    (place / MANIFEST).write_text(json.dumps(manifest))
    assert open_prepared(place).digest() == before


def test_large_files_are_compared_in_size_ends_and_blocks(tmp_path: Path) -> None:
    size = 4 * (2 * ENDS + BLOCK * BLOCKS)
    places = [("p4", at) for at in (None, 0, size - 1, ENDS, size)]
    found = set()
    for name, at in [*places, ("weight", None), ("weight", ENDS + BLOCK + 9)]:
        path = tmp_path / f"{name}.npy"
        path.write_bytes(b"")
        os.truncate(path, size)
        if at is not None:
            with open(path, "r+b") as file:
                file.seek(at)
                file.write(b"x")
        found.add(fingerprint(path))
    assert len(found) == 7


def test_a_column_major_array_is_read_right_or_refused(place: Path) -> None:
    expected = open_prepared(place).read()
    changed(place, "jet_p4", np.asfortranarray(expected.jet_p4))
    same(open_prepared(place).read(), expected)
    same(read_events(place), expected)
    changed(place, "p4", np.asfortranarray(expected.p4))
    with pytest.raises(InputError, match=r"p4.npy: found a column-major array"):
        open_prepared(place)
    same(read_events(place), expected)


def test_momenta_may_be_doubles(place: Path) -> None:
    expected = open_prepared(place).read()
    for name in ("p4", "jet_p4"):
        changed(place, name, getattr(expected, name).astype(np.float64))
    found = open_prepared(place).read()
    for name in ("p4", "jet_p4"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("p4", lambda x: x.astype(">f4"), r"found >f4\[\d+, 4\], expected float32 or float64\["),
        ("p4", lambda x: x[:, :3], r"found float64\[\d+, 3\], expected"),
        ("p4", lambda x: x[0, 0], r"found float64\[\], expected"),
        ("pid", lambda x: x[:-1], r"found int32\[\d+\], expected int32\[\d+\]"),
        ("label", lambda x: x.astype(np.int64) + 2**32, r"found int64\[40\], expected int32\[40\]"),
        ("weight", lambda x: x[1:], r"found float64\[39\], expected float64\[40\]"),
        ("weight", lambda x: np.where(x == x[3], np.nan, x), "1 values are not finite"),
        ("offsets", lambda x: x[:-1], r"found int64\[40\], expected int64\[41\]"),
        ("offsets", lambda x: x + 1, "offsets run from 1 to"),
        ("offsets", lambda x: x[[0, 2, 1, *range(3, 41)]], "offsets fall in event 1"),
        ("column-q2", lambda x: x[1:], r"found shape \(39,\), expected \(40, …\)"),
        ("column-q2", lambda x: x[0], r"found shape \(\), expected"),
    ],
)
def test_arrays_that_contradict(place: Path, name: str, change: Any, message: str) -> None:
    changed(place, name, change(np.load(place / f"{name}.npy")))
    for opened in (open_prepared, read_events):
        with pytest.raises(InputError, match=rf"{name}\.npy: {message}"):
            opened(place)


def test_what_is_no_array_is_refused_and_not_waited_for(place: Path) -> None:
    path = place / "weight.npy"
    claims = {"descr": "<f8", "fortran_order": False, "shape": (2**50,)}
    huge, archive, objects = io.BytesIO(), io.BytesIO(), io.BytesIO()
    np.lib.format.write_array_header_1_0(huge, claims)
    np.savez(archive, weight=np.ones(40))
    np.save(objects, np.array([{}] * 40), allow_pickle=True)
    for content in (huge, archive, objects):
        path.write_bytes(content.getvalue())
        with pytest.raises(InputError, match=r"weight.npy: cannot be read: missing, truncated or"):
            open_prepared(place)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(InputError, match=r"weight.npy: .*it is no regular file"):
        open_prepared(place)
    path.unlink()
    path.mkdir()
    with pytest.raises(InputError, match=r"weight.npy: .*it is no regular file"):
        open_prepared(place)


ALL = ["p4", "pid", "offsets", "jet_p4", "weight"]


@pytest.mark.parametrize(
    ("where", "value"),
    [
        ("format", "another"),
        ("version", 2),
        ("version", True),
        ("version", 1.0),
        ("events", -1),
        ("events", 2**70),
        ("events", True),
        ("events", "40"),
        ("levels", []),
        ("levels", {}),
        ("levels", {"hadron": {}}),
        ("levels.", [1]),
        ("levels..arrays", "p4"),
        ("levels..arrays", ["p4", "pid"]),
        ("levels..arrays", [*ALL, "../../secret"]),
        ("levels..arrays", [*ALL, "column-/etc/x"]),
        ("levels..arrays", [*ALL, "weight"]),
        ("levels..arrays", [*ALL, {}]),
        ("levels..digest", 7),
        ("levels..undirected", {"constituents": 0}),
        ("levels..undirected", {"constituents": -1, "jets": 0}),
        ("levels..identities", 1),
        ("levels..fingerprints", {"p4": "0"}),
        ("request", None),
        ("request.metadata", [1, 2]),
    ],
)
def test_edited_manifests(place: Path, where: str, value: Any) -> None:
    edited(place / MANIFEST, where, value)
    for opened in (open_prepared, read_events, read_metadata):
        with pytest.raises(InputError, match=r"prepared\.json: .*found .*expected"):
            opened(place)


@pytest.mark.parametrize("text", ["[]", "null", '"a"', "7", "{", "[" * 9000 + "]" * 9000])
def test_manifests_of_another_kind(place: Path, text: str) -> None:
    (place / MANIFEST).write_text(text)
    with pytest.raises(InputError, match=r"prepared\.json: found .*, expected (a )?(JSON|table)"):
        open_prepared(place)


def test_a_full_disk_is_one_line_and_the_same_call_goes_on(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3000, hard))
    try:
        with pytest.raises(InputError, match=r"p4\.npy: cannot be written \(File too large\)"):
            write_prepared(tmp_path / "sample", PIECES, {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    same(open_prepared(write_prepared(tmp_path / "sample", PIECES, {})).read(), WHOLE)


def test_more_sets_than_a_byte_counts(prepared: Path) -> None:
    stored = open_prepared(prepared)
    many = StoredEvents.concatenate([stored[[n % 40]] for n in range(300)])
    same(many.read(), WHOLE[np.arange(300) % 40])
