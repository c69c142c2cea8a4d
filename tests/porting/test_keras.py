"""Keras' weights files: every dataset is read, other files are refused by name."""

import os
import zipfile

import h5py
import numpy as np
import pytest

from jaxpriors.errors import InputError
from jaxpriors.porting.keras import count_layers, gaps, rank_layers, read_keras, write_keras
from jaxpriors.porting.omnilearn import inspect, read_omnilearn

INSIDE = "_layer_checkpoint_dependencies"


def test_datasets_and_groups_round_trip(tmp_path):
    path = tmp_path / "a.weights.h5"
    arrays = {
        f"body/{INSIDE}/dense/vars/0": np.arange(6, dtype=np.float32).reshape(2, 3),
        "optimizer/vars/0": np.array(7, np.int64),
    }
    write_keras(path, arrays, ["vars", f"body/{INSIDE}/add/vars"])
    found = read_keras(path)
    assert found.keys() == arrays.keys()
    for name, value in arrays.items():
        np.testing.assert_array_equal(found[name], value)
        assert found[name].dtype == value.dtype
    with h5py.File(path) as file:
        assert len(file["vars"]) == len(file[f"body/{INSIDE}/add/vars"]) == 0
    assert [p.name for p in tmp_path.iterdir()] == ["a.weights.h5"]


def test_layers_are_ranked_within_model_and_class():
    names = [
        f"body/{INSIDE}/dense_4/vars/0",
        f"body/{INSIDE}/dense_12/vars/0",  # by number, not by spelling
        f"body/{INSIDE}/layer_scale_3/vars/0",
        f"body/{INSIDE}/multi_head_attention/_query_dense/vars/1",
        "layers/functional_2/layers/dense_26/vars/0",
        "layers/functional_2/layers/dense_28/vars/1",
        "optimizer/vars/3",
    ]
    assert rank_layers(names) == {
        "body": {
            "dense/vars/0": names[0],
            "dense_1/vars/0": names[1],
            "layer_scale/vars/0": names[2],
            "multi_head_attention/_query_dense/vars/1": names[3],
        },
        "layers/functional_2": {"dense/vars/0": names[4], "dense_1/vars/1": names[5]},
    }
    found = rank_layers(names)["body"]
    assert count_layers(found) == {"dense": 2, "layer_scale": 1, "multi_head_attention": 1}
    assert gaps(names[:1]) == [f"body/{INSIDE}/dense{end}" for end in ("", "_1", "_2", "_3")]
    assert gaps(names[3:4]) == []


@pytest.mark.parametrize("container", [INSIDE, "layers"])
def test_a_functional_model_alone_is_named(tmp_path, container):
    path = tmp_path / "a.weights.h5"
    names = ["dense/vars/0", "dense_1/vars/0", "dense_1/vars/1", "batch_normalization/vars/0"]
    write_keras(path, {f"{container}/{name}": np.zeros(2) for name in names}, ["vars"])
    message = "one functional or sequential model of Keras with 1 batch_normalization, 2 dense"
    with pytest.raises(InputError, match=f"not of OmniLearn: found {message}, expected several"):
        read_omnilearn(path)
    assert message in inspect(path)


def claimed(path):
    with h5py.File(path, "w") as file:
        file.create_dataset("a/vars/0", (2**40,), "f4", chunks=(1024,), compression="gzip")


def older(path):
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = ["dense"]
        file["dense/dense/kernel:0"] = np.zeros((2, 3))


def older_model(path):
    with h5py.File(path, "w") as file:
        file.create_group("model_weights").attrs["layer_names"] = ["dense"]


def archive(path):
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("model.weights.h5", "")


def truncated(path):
    write_keras(path, {"a/vars/0": np.zeros(5000)})
    path.write_bytes(path.read_bytes()[:20000])


def damaged(path):
    with h5py.File(path, "w") as file:
        file.create_dataset("a/vars/0", data=np.arange(5000.0), compression="gzip")
    content = bytearray(path.read_bytes())
    content[-3000:-1000] = bytes(2000)
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "no such file"),
        (lambda path: path.write_bytes(b""), "not an HDF5 file, found 0 bytes"),
        (lambda path: path.write_text("{}"), "not an HDF5 file, found 2 bytes"),
        (archive, "found a zip archive"),
        (claimed, r"'a/vars/0' claims float32 of shape \(1099511627776,\)"),
        (lambda path: write_keras(path, {"a/vars/0": "text"}), "'a/vars/0' has dtype object"),
        (os.mkfifo, "is a pipe, a socket or a device"),
        (older, "older format of Keras"),
        (older_model, "older format of Keras"),
        (lambda path: write_keras(path, {}, ["vars"]), "no dataset"),
        (truncated, "truncated or damaged HDF5 file"),
        (damaged, "'a/vars/0' cannot be read: truncated or damaged"),
    ],
)
def test_files_that_cannot_be_read(tmp_path, make, message):
    path = tmp_path / "a.weights.h5"
    make(path)
    with pytest.raises(InputError, match=message) as caught:
        read_keras(path)
    assert str(path) in str(caught.value)


def test_a_failed_write_leaves_nothing(tmp_path):
    place = tmp_path / "no folder"
    place.write_text("")
    with pytest.raises(InputError, match="this folder cannot be made"):
        write_keras(place / "a.weights.h5", {"a": np.zeros(2)})
    with pytest.raises(TypeError, match="already exists"):  # what is in the way within the file
        write_keras(tmp_path / "a.weights.h5", {"a": np.zeros(2), "a/b": np.zeros(2)})
    assert list(tmp_path.iterdir()) == [place]
