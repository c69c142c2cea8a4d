"""Files of any format by one door: whole, in blocks, and both levels of a simulation."""

import awkward
import h5py
import numpy as np
import pytest

from jaxpriors.cli.main import run
from jaxpriors.data import named_sample
from jaxpriors.data.formats.opening import blocks, read_levels, read_sample
from jaxpriors.data.reading import Reading
from jaxpriors.data.sample_files import read_events, write_events
from jaxpriors.data.unread import Unread
from jaxpriors.errors import InputError
from tests.helpers.jets import random_jets
from tests.helpers.trees import COLUMNS, constituents, momenta, write_tree

COUNTS = np.array([3, 1, 2, 4, 2, 1])
PASSING = np.array([True, False, True, True, False, True])


def two_levels(path, kind):
    """A tree with both levels; where an event was missed there is nothing at detector level."""
    truth, seen = constituents(COUNTS, 0), constituents(np.where(PASSING, COUNTS, 0), 1)
    branches = {f"gen_{name}": array for name, array in truth.items()}
    branches |= {f"reco_{name}": array for name, array in seen.items()}
    branches |= {"seen": awkward.Array(PASSING), "w": awkward.Array(np.arange(1.0, 7))}
    write_tree(path, branches, kind)
    return momenta(truth), momenta(seen)


def names(prefix, **more):
    return {ours: f"{prefix}_{theirs}" for ours, theirs in COLUMNS.items()} | more


@pytest.mark.parametrize("kind", ["TTree", "RNTuple", "parquet"])
def test_both_levels_of_a_tree_are_matched(tmp_path, kind):
    truth, seen = two_levels(tmp_path / "tree", kind)
    levels = names("gen", weight="w"), names("reco", weight="w", pass_reco="seen")
    found = read_levels(tmp_path / "tree", *(Reading(columns=columns) for columns in levels))
    assert found.pass_gen.all() and np.array_equal(found.pass_reco, PASSING)
    np.testing.assert_allclose(found.particle.p4, truth, rtol=1e-6)
    np.testing.assert_allclose(found.detector.p4, seen, rtol=1e-6)
    np.testing.assert_array_equal(found.weight, np.arange(1.0, 7))
    np.testing.assert_array_equal(found.detector.weight, np.arange(1.0, 7)[PASSING])


def test_a_tree_becomes_a_file_with_both_levels(tmp_path):
    truth, _ = two_levels(tmp_path / "tree.root", "TTree")
    words = [
        ["--particle", *(x for pair in names("gen", weight="w").items() for x in pair)],
        [
            "--detector",
            *(x for p in names("reco", weight="w", pass_reco="seen").items() for x in p),
        ],
    ]
    out = tmp_path / "out.h5"
    assert (
        run(["data", "convert", str(tmp_path / "tree.root"), str(out), *words[0], *words[1]]) == 0
    )
    assert run(["data", "check", str(out)]) == 0
    np.testing.assert_allclose(read_events(out, "particle").p4, truth, rtol=1e-6)
    found = read_events(out, "detector")
    np.testing.assert_array_equal(found.multiplicity, COUNTS[PASSING])
    np.testing.assert_array_equal(found.columns["entry"], np.flatnonzero(PASSING))


def test_blocks_are_the_whole_and_events_without_a_level_stay(tmp_path, monkeypatch):
    jets = random_jets(50, seed=2)
    passing = np.arange(50) % 3 > 0
    with h5py.File(tmp_path / "a.h5", "w") as file:
        p4, _, length = jets.padded()
        file["p4"], file["n"], file["columns/pass_reco"] = p4, length, passing
    reading = Reading(columns={"p4": "p4", "multiplicity": "n", "pass_reco": "columns/pass_reco"})
    monkeypatch.setattr(named_sample, "BLOCK", 7 * p4.shape[1])
    found = [
        block[""] for block, total in blocks(tmp_path / "a.h5", {"": reading}, 40) if total == 40
    ]
    assert [len(events) for events in found] == [7, 7, 7, 7, 7, 5]
    counts = np.concatenate([events.multiplicity for events in found])
    np.testing.assert_array_equal(counts, np.where(passing, jets.multiplicity, 0)[:40])
    whole = read_sample(tmp_path / "a.h5", reading)
    np.testing.assert_array_equal(whole.p4, np.concatenate([jets[passing].p4]))


def test_every_command_leaves_out_events_that_lack_the_level(tmp_path):
    jets = random_jets(30, seed=4)
    flags = np.arange(30) % 2 == 0
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for level in ("particle", "detector"):
            file[f"{level}/p4"], file[f"{level}/offsets"] = jets.p4, jets.offsets
        file["detector/columns/pass_reco"] = flags
    found = read_sample(tmp_path / "a.h5", Reading("detector"))
    np.testing.assert_array_equal(found.columns["entry"], np.flatnonzero(flags))
    assert len(read_sample(tmp_path / "a.h5", Reading("particle"))) == 30


def test_levels_of_other_lengths_are_refused(tmp_path):
    jets = random_jets(9, seed=3)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for name, events in (("one", jets), ("two", jets[:8])):
            file[f"{name}/p4"], file[f"{name}/n"] = events.p4, events.multiplicity
    readings = {
        level: Reading(columns={"p4": f"{at}/p4", "multiplicity": f"{at}/n"})
        for level, at in (("particle", "one"), ("detector", "two"))
    }
    with pytest.raises(InputError, match=r"levels of .*9.*8.* events, expected as many at both"):
        list(blocks(tmp_path / "a.h5", readings))


def test_units_identities_and_paddings_are_told(tmp_path):
    jets = random_jets(9, seed=3)
    p4, _, length = jets.padded()
    filled = np.arange(p4.shape[1]) < length[:, None]
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["p4"] = np.where(filled[..., None], 1e3 * p4, -9.0)
        file["pid"] = np.where(filled, 1, 0)
    path = tmp_path / "a.h5"
    reading = Reading(unit="MeV", padding=-9.0, identities={1: 130})
    found = read_sample(path, reading)
    np.testing.assert_allclose(found.p4, jets.p4, rtol=1e-6)
    assert (found.pid == 130).all()
    assert not read_sample(path, reading.replace(identities="ignore")).pid.any()
    with pytest.raises(InputError, match="E is not positive"):
        read_sample(path, Reading(identities="ignore"))
    with pytest.raises(InputError, match=r"pid is not known .*--identities 1=130 2=22"):
        read_sample(path, Reading(padding=-9.0))


def test_the_level_counts_only_where_there_are_several(tmp_path):
    write_events(tmp_path / "a.h5", random_jets(5, seed=1))
    assert len(read_sample(tmp_path / "a.h5", Reading("detector"))) == 5


def test_of_many_weights_the_chosen_one_is_read(tmp_path):
    branches = constituents(COUNTS) | {"genWeight": np.arange(6.0) + 1, "LHEWeight": np.ones(6)}
    write_tree(tmp_path / "a.root", {name: awkward.Array(x) for name, x in branches.items()})
    columns = dict(COLUMNS)
    with pytest.raises(InputError, match=r"--columns weight LHEWeight\) or .*--ignore LHEWeight"):
        read_sample(tmp_path / "a.root", Reading(columns=columns))
    columns["weight"] = "genWeight"
    with pytest.warns(Unread, match="not read: LHEWeight"):
        found = read_sample(tmp_path / "a.root", Reading(columns=columns))
    np.testing.assert_array_equal(found.weight, np.arange(6.0) + 1)
    ignoring = Reading(columns=COLUMNS, ignore=("*Weight",))
    assert (read_sample(tmp_path / "a.root", ignoring).weight == 1).all()
