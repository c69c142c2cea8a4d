"""Weights come back to the entries, and jets, that they belong to."""

import awkward
import numpy as np
import pytest
import uproot

from jaxpriors.data.friends import check_friend, write_friend
from jaxpriors.errors import InputError


def read(path):
    if path.suffix == ".parquet":
        return awkward.from_parquet(path)
    with uproot.open(path) as file:
        return file["weights"].arrays()


@pytest.mark.parametrize("ending", [".root", ".parquet"])
def test_permuted_weights_return_to_their_entries(tmp_path, ending):
    draws = np.random.default_rng(0)
    entry = draws.permutation(1000)[:700]
    weights = {"weight_a": draws.normal(size=700), "log_ratio_a": draws.normal(size=700)}
    write_friend(tmp_path / f"a{ending}", weights, entry, entries=1000)
    found = read(tmp_path / f"a{ending}")
    for name, values in weights.items():
        column = awkward.to_numpy(found[name])
        np.testing.assert_array_equal(column[entry], values)
        assert len(column) == 1000 and np.isnan(column).sum() == 300


@pytest.mark.parametrize("ending", [".root", ".parquet"])
def test_several_jets_an_entry_are_jagged(tmp_path, ending):
    entry, jet = np.array([3, 0, 3, 0]), np.array([2, 1, 0, 0])
    jets = np.array([2, 1, 0, 4])
    weight = {"weight": np.array([1.0, 2.0, 3.0, 4.0])}
    write_friend(tmp_path / f"a{ending}", weight, entry, jet, entries=4, jets=jets)
    found = awkward.to_list(read(tmp_path / f"a{ending}")["weight"])
    assert repr(found) == "[[4.0, 2.0], [nan], [], [3.0, nan, 1.0, nan]]"
    write_friend(tmp_path / f"b{ending}", weight, entry, jet)
    assert repr(awkward.to_list(read(tmp_path / f"b{ending}")["weight"])) == (
        "[[4.0, 2.0], [], [], [3.0, nan, 1.0]]"
    )


@pytest.mark.parametrize(
    "entry, jet, more, message",
    [
        ([0, 5], None, {"entries": 5}, "found entry 5 of event 1, expected 0 to 4"),
        ([0, -1], None, {"entries": 5}, "found entry -1 of event 1"),
        ([2, 2], None, {"entries": 5}, "found two events of entry 2"),
        ([2, 2], [1, 1], {}, "found two events of entry 2"),
        ([0, 1], [0, 1], {"entries": 2, "jets": np.array([1, 1])}, "found jet 1 of event 1"),
    ],
)
def test_places_that_are_none_are_refused(tmp_path, entry, jet, more, message):
    jet = None if jet is None else np.array(jet)
    with pytest.raises(InputError, match=message):
        write_friend(tmp_path / "a.root", {"w": np.ones(2)}, np.array(entry), jet, **more)
    assert list(tmp_path.iterdir()) == []


def test_where_no_friend_can_be_written(tmp_path):
    with pytest.raises(InputError, match=r"found the ending '.h5', expected .root or .parquet"):
        check_friend(tmp_path / "a.h5")
    (tmp_path / "a.root").write_text("mine")
    with pytest.raises(InputError, match="exists already"):
        check_friend(tmp_path / "a.root")
    assert (tmp_path / "a.root").read_text() == "mine"
