"""Arrays are measured before they are read: what was not written, or claims more, is refused."""

import io
import os
import tracemalloc
import zipfile

import h5py
import numpy as np
import pytest

from jaxpriors.errors import InputError
from jaxpriors.run.stored_arrays import (
    npz_array,
    npz_names,
    read_npz,
    read_numbers,
    regular_file,
    stored_whole,
)

ROWS = np.arange(12.0).reshape(6, 2)


@pytest.fixture
def file(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as opened:
        yield opened


def refused(dataset, message):
    dataset.file.flush()
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match=message) as caught:
            read_numbers(dataset, "a.h5: 'x'")
        assert tracemalloc.get_traced_memory()[1] < 2e6
    finally:
        tracemalloc.stop()
    assert str(caught.value).startswith("a.h5: 'x'") and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "no such file, expected a sample"),
        (lambda path: path.mkdir(), "is a folder, expected a sample"),
        (os.mkfifo, "is a pipe, a socket or a device, expected a sample"),
        (lambda path: path.symlink_to("nowhere"), "is a link to nothing, expected a sample"),
    ],
)
def test_what_is_no_file_is_not_opened(tmp_path, make, message):
    make(tmp_path / "a")
    with pytest.raises(InputError, match=f"a: {message}"):
        regular_file(tmp_path / "a", "a sample")


@pytest.mark.parametrize("name", ["a\0b", "x" * 300, b"\xff\xfe"])
def test_names_that_are_no_text_or_no_names(tmp_path, name):
    with pytest.raises(InputError, match="expected a file"):
        regular_file(os.path.join(os.fsdecode(tmp_path), os.fsdecode(name)))


def test_a_link_to_a_file_is_a_file(tmp_path):
    (tmp_path / "a").write_text("x")
    (tmp_path / "b").symlink_to("a")
    assert regular_file(tmp_path / "b") == tmp_path / "b"


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"chunks": (4, 2)},
        {"chunks": (4, 2), "compression": "gzip", "shuffle": True, "fletcher32": True},
        {"maxshape": (None, 2), "compression": "lzf"},
    ],
)
def test_what_was_written_is_read(file, options):
    rows = file.create_dataset("x", data=ROWS, **options)
    empty = file.create_dataset("none", (0, 2), "f8", maxshape=(None, 2))
    zeros = file.create_dataset("zeros", data=np.zeros(10**6), compression="gzip")
    file.flush()
    np.testing.assert_array_equal(read_numbers(rows, ""), ROWS)
    assert read_numbers(empty, "").shape == (0, 2)
    assert not read_numbers(zeros, "").any()


@pytest.mark.parametrize("packed", [{}, {"compression": "gzip"}, {"compression": "lzf"}])
@pytest.mark.parametrize("some", [0, 6])
def test_a_claimed_size_is_refused_before_anything_is_read(file, packed, some):
    claimed = file.create_dataset("x", (2**40, 2), "f8", chunks=(64, 2), **packed)
    claimed[:some] = ROWS[:some]
    refused(
        claimed, rf"shape \(1099511627776, 2\), found {int(some > 0)} of its 17179869184 chunks"
    )


def test_what_was_never_written_is_refused(file):
    refused(file.create_dataset("x", (6, 2), "f8"), "found 0 bytes of it")
    part = file.create_dataset("y", (6, 2), "f8", chunks=(2, 2))
    part[:4] = ROWS[:4]
    refused(part, "found 2 of its 3 chunks")


def test_other_things_than_numbers_are_refused(file):
    file["null"] = h5py.Empty("f8")
    file["text"] = ["a", "b"]
    file["pairs"] = np.zeros(3, [("a", "f4")])
    refused(file["null"], "has a null data space")
    refused(file["text"], "has dtype object, expected numbers")
    refused(file["pairs"], "expected numbers")
    refused(file.create_group("group"), "is a group, expected a dataset")


def test_virtual_datasets_need_all_of_their_sources(file, tmp_path):
    with h5py.File(tmp_path / "b.h5", "w") as other:
        other["part"] = ROWS[3:]
    file["first"] = ROWS[:3]
    layout = h5py.VirtualLayout((6, 2), "f8")
    layout[:3] = h5py.VirtualSource(".", "first", (3, 2))
    part = file.create_virtual_dataset("part", layout)
    refused(part, "found sources of 6 of its 12 numbers")
    layout[3:] = h5py.VirtualSource("b.h5", "part", (3, 2))
    whole = file.create_virtual_dataset("whole", layout)
    file.flush()
    np.testing.assert_array_equal(read_numbers(whole, ""), ROWS)
    name = file.filename
    file.close()  # what was written no longer knows the shapes of its sources
    with h5py.File(name) as again:
        np.testing.assert_array_equal(read_numbers(again["whole"], ""), ROWS)
    file = h5py.File(name, "a")
    whole = file["whole"]
    (tmp_path / "b.h5").unlink()
    with pytest.raises(InputError, match=r"b\.h5: no such file, expected a source of 'whole'"):
        stored_whole(whole, "'whole'")


def test_numbers_in_another_file_must_be_there(file, tmp_path):
    ROWS[:3].tofile(tmp_path / "raw")
    there = file.create_dataset("x", (3, 2), "f8", external=[(str(tmp_path / "raw"), 0, 48)])
    np.testing.assert_array_equal(read_numbers(there, ""), ROWS[:3])
    more = file.create_dataset("y", (6, 2), "f8", external=[(str(tmp_path / "raw"), 0, 96)])
    with pytest.raises(InputError, match="expected 96 bytes in"):
        stored_whole(more, "a.h5: 'y'")


def header(shape, descr="<f8"):
    buffer = io.BytesIO()
    table = {"descr": descr, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(buffer, table)
    return buffer.getvalue()


MEMBERS = {
    "claims more": (header((2**40,)) + bytes(96), r"claims float64 of shape \(1099511627776,\)"),
    "claims less": (header((2,)) + bytes(96), "16 bytes, found 96 bytes"),
    "negative": (header((-3, -4)) + bytes(96), "claims float64 of shape"),
    "objects": (header((1,), "|O") + b"\x80\x02N.", "is an array of objects, expected numbers"),
    "text": (b"not an array", "cannot be read"),
    "empty": (b"", "cannot be read"),
    "nested": (b"\x93NUMPY\x01\x00\xd0\x07" + b"(" * 2000, "cannot be read"),
}


@pytest.mark.parametrize("name", MEMBERS)
def test_a_member_of_npz_that_is_no_array_of_numbers(tmp_path, name):
    content, message = MEMBERS[name]
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", content)
    with zipfile.ZipFile(tmp_path / "a.npz") as archive:
        with pytest.raises(InputError, match=rf"a\.npz: 'x'.* ?{message}"):
            npz_array(archive, "x", "a.npz: 'x'")
        with pytest.raises(InputError, match="no such array, found x"):
            npz_array(archive, "y", "a.npz: 'y'")


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_arrays_of_npz_come_back(tmp_path, save):
    arrays = {
        "rows": ROWS,
        "columns": np.asfortranarray(ROWS),
        "big": np.arange(300_000, dtype=">i8"),
        "scalar": np.array(3.0),
        "none": np.zeros((0, 4)),
        "flags": np.array([True, False]),
    }
    save(tmp_path / "a.npz", **arrays)
    found = read_npz(tmp_path / "a.npz")
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype and found[name].flags.writeable
    with zipfile.ZipFile(tmp_path / "a.npz") as archive:
        assert npz_names(archive) == list(arrays)


def test_a_changed_byte_in_npz_is_found(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, x=np.arange(3000.0))
    content = bytearray(path.read_bytes())
    content[5000] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"a\.npz: 'x' cannot be read.*CRC"):
        read_npz(path)
    path.write_bytes(content[:9000])
    with pytest.raises(InputError, match=r"a\.npz: not a readable \.npz file"):
        read_npz(path)
