"""An unfolding's file that was edited is refused by what contradicts the rest of it."""

import json
import shutil

import h5py
import numpy as np
import pytest

from jaxpriors import Unfolded
from jaxpriors.errors import InputError
from tests.helpers.recorded import FIXTURES


def replace(name, change):
    def edit(file):
        array = file[name][()]
        del file[name]
        file[name] = change(array)

    return edit


def attribute(name, value):
    def edit(file):
        del file.attrs[name]
        if value is not None:
            file.attrs[name] = value

    return edit


def first(value):
    def change(array):
        array[(0,) * array.ndim] = value
        return array

    return change


EDITS = {
    "a weight too few": (replace("weight", lambda a: a[:-1]), "'pass_gen': found shape"),
    "weights of two axes": (replace("weight", lambda a: a[None]), "'weight': found shape"),
    "NaN": (replace("push", first(np.nan)), "'push': found nan, expected finite numbers"),
    "negative": (replace("pull", first(-1.0)), "'pull': found -1, expected no negative number"),
    "flags as text": (replace("pass_gen", lambda a: a.astype("S5")), "'pass_gen'"),
    "flags as numbers": (
        replace("pass_reco", lambda a: a * 2.5),
        "'pass_reco': found dtype float64, expected booleans",
    ),
    "other counts": (replace("replicas", first(3)), "other counts than 1 in replica 0"),
    "a replica more": (replace("replicas", lambda a: np.concatenate([a, a])), "found shape"),
    "an iteration less": (replace("pull", lambda a: a[:0]), "iterations in 'pull' and 'push'"),
    "few observables": (
        replace("observables/mass", lambda a: a[:3]),
        r"'observables/mass': found shape \(3,\)",
    ),
    "negative iterations": (
        attribute("iterations", -3),
        "'iterations': found -3, expected an integer of at least 1",
    ),
    "iterations of text": (attribute("iterations", "three"), "'iterations': found three"),
    "many iterations": (attribute("iterations", np.arange(3)), "'iterations': found"),
    "no scale": (attribute("scale", None), "found no attribute 'scale'"),
    "scales": (attribute("scale", np.ones(7)), r"'scale': found shape \(7,\)"),
    "a list": (attribute("metadata", "[1]"), r"attribute 'metadata': found \[1\], expected"),
    "without end": (attribute("metadata", "[" * 9000 + "]" * 9000), "nested too deeply"),
    "a report less": (attribute("reports", "[]"), "'reports': found 0, expected"),
    "reports of text": (attribute("reports", '["x"]'), r"'reports'\[0\]: found 'x', expected"),
    "another format": (attribute("format", np.arange(2)), "expected 'jaxpriors-unfolding'"),
    "another version": (attribute("version", 3), "version 3; expected"),
    "no draws": (attribute("version", 2), "no dataset 'draws'"),
}


@pytest.mark.parametrize("name", EDITS)
def test_an_edited_file_is_refused(tmp_path, name):
    edit, message = EDITS[name]
    path = shutil.copy(FIXTURES / "written" / "unfolding.h5", tmp_path / "unfolding.h5")
    with h5py.File(path, "a") as file:
        edit(file)
    with pytest.raises(InputError, match=message) as caught:
        Unfolded.read(path)
    assert str(caught.value).startswith(str(path)) and "\n" not in str(caught.value)


DRAWS = {
    "a draw of nothing": (first(1), "'draws': found 0 replicas of the samples as they are"),
    "no design": (replace("draws", lambda a: a[::-1]), "that are no design of bootstrap samples"),
    "negative draws": (replace("draws", lambda a: a - 1), "'draws': found -1, expected no neg"),
    "draws of data alone": (replace("draws", lambda a: a[:, :1]), r"'draws': found shape \(\d, 1"),
    "draws as numbers": (replace("draws", lambda a: a * 1.0), "'draws': found dtype float64"),
}


@pytest.mark.parametrize("name", DRAWS)
def test_draws_that_do_not_belong_to_the_replicas_are_refused(tmp_path, name):
    edit, message = DRAWS[name]
    edit = replace("draws", edit) if name == "a draw of nothing" else edit
    path = tmp_path / "unfolding.h5"
    Unfolded.read(FIXTURES / "written" / "unfolding.h5").write(path)
    with h5py.File(path, "a") as file:
        assert file["draws"][()].tolist() == [[i, i] for i in range(len(file["draws"]))]
        edit(file)
    with pytest.raises(InputError, match=message):
        Unfolded.read(path)


def test_what_is_written_is_read(tmp_path):
    """The written file is of version 1, without draws: each replica holds samples of its own."""
    found = Unfolded.read(FIXTURES / "written" / "unfolding.h5")
    found.write(tmp_path / "a.h5")
    again = Unfolded.read(tmp_path / "a.h5")
    np.testing.assert_array_equal(again.draws, found.draws)
    np.testing.assert_array_equal(again.weights(), found.weights())
    assert json.dumps(again.reports) == json.dumps(found.reports)
