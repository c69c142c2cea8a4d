"""The way back: files that OmniLearn writes are restored, what it has not is refused."""

import dataclasses

import pytest

from jaxpriors.errors import InputError
from jaxpriors.models.files import load_network, save_network
from jaxpriors.porting.keras import read_keras
from jaxpriors.porting.omnilearn import port
from jaxpriors.porting.omnilearn_export import export
from tests.helpers import keras_files
from tests.helpers.pet import NAMES, weights


@pytest.mark.parametrize("name", NAMES)
def test_the_way_back_restores_the_file(tmp_path, name):
    ours, average, back = tmp_path / "a.safetensors", tmp_path / "b.safetensors", tmp_path / "c.h5"
    port(weights(name), ours)
    averaged = name not in ("lhco_classifier_small", "train_omnifold_small")
    if averaged:
        port(weights(name), average, ema=True)
    export(ours, back, average if averaged else None)

    def kept(names):
        return {n for n in names if "optimizer" not in n}

    before, after = read_keras(weights(name)), read_keras(back)
    assert kept(before) == after.keys()
    for path, value in after.items():
        if "_metrics/" in path:  # Keras reads no file without these totals
            assert value.shape == () and value == 0.0, path
        elif not path.startswith("layers/pet/"):  # the event classifier does not use these
            assert value.tobytes() == before[path].tobytes(), path
    assert keras_files.groups(back) == kept(keras_files.groups(weights(name)))


def test_networks_that_the_peer_has_not(tmp_path):
    average, out = tmp_path / "a.safetensors", tmp_path / "b.weights.h5"
    port(weights("small_all"), average, ema=True)
    with pytest.raises(InputError, match="found a PET without classifier head"):
        export(average, out)
    port(weights("small_nolocal"), tmp_path / "c.safetensors")
    with pytest.raises(InputError, match=r"a\.safetensors: a network of other sizes than .*c\.saf"):
        export(tmp_path / "c.safetensors", out, average)
    assert not out.exists()


def test_averages_that_would_not_be_written(tmp_path):
    """A file without averages, and an average without the head that the file has twice."""
    ours, average, out = (tmp_path / name for name in ("a.safetensors", "b.safetensors", "c.h5"))
    for name, writer in (
        ("train_omnifold_small", "OmniFold classifier"),
        ("lhco_classifier_small", "LHC Olympics classifier"),
    ):
        port(weights(name), ours)
        with pytest.raises(InputError, match=f"file of OmniLearn's {writer} has no averages"):
            export(ours, out, ours)
    port(weights("small_all"), ours)
    save_network(average, dataclasses.replace(load_network(ours), gen=None))
    with pytest.raises(InputError, match=r"b\.safetensors: has no gen\.\S+, which is averaged"):
        export(ours, out, average)
    assert not out.exists()
