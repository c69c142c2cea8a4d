"""HDF5 files appear whole or not at all, and a full disk is one error, at whatever byte."""

import contextlib
import resource

import h5py
import numpy as np
import pytest

from jaxpriors.errors import InputError
from jaxpriors.run.hdf5 import written_hdf5

VALUES = np.random.default_rng(0).normal(size=(20_000, 4))


def _fill(file):
    file.attrs["metadata"] = "{}"
    file.create_dataset("empty", data=np.zeros((0, 4)))
    file.create_dataset("packed", data=VALUES, compression="gzip", chunks=(1000, 4))
    grown = file.create_dataset("grown", (0, 4), "f4", maxshape=(None, 4), chunks=(500, 4))
    for start in range(0, len(VALUES), 5000):
        grown.resize(start + 5000, axis=0)
        grown[start:] = VALUES[start : start + 5000]


@contextlib.contextmanager
def _files_of_at_most(size):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_what_is_written_is_read_back(tmp_path):
    with written_hdf5(tmp_path / "a.h5") as file:
        _fill(file)
    with h5py.File(tmp_path / "a.h5") as file:
        assert file.attrs["metadata"] == "{}" and file["empty"].shape == (0, 4)
        np.testing.assert_array_equal(file["packed"], VALUES)
        np.testing.assert_array_equal(file["grown"], VALUES.astype(np.float32))
    assert [p.name for p in tmp_path.iterdir()] == ["a.h5"]


@pytest.mark.parametrize("size", [0, 100, 3000, 100_000, 700_000])
def test_a_full_disk_is_one_error_and_leaves_what_was_there(tmp_path, size):
    path = tmp_path / "a.h5"
    path.write_text("before")
    with (
        pytest.raises(InputError, match=r"a\.h5: cannot be written \(File too large\)$"),
        _files_of_at_most(size),
        written_hdf5(path, overwrite=True) as file,
    ):
        _fill(file)
    assert [p.name for p in tmp_path.iterdir()] == ["a.h5"] and path.read_text() == "before"


def test_an_error_of_the_writer_is_the_one_that_is_raised(tmp_path):
    with pytest.raises(ZeroDivisionError), written_hdf5(tmp_path / "a.h5") as file:
        _fill(file)
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []
