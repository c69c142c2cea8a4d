"""What a file holds beside what was read: told, refused where it looks as if it counts, ignored."""

import h5py
import numpy as np
import pytest

from jaxpriors.data.sample_files import read_events
from jaxpriors.data.unread import WEIGHTS, Unread, account, suspected, tell
from jaxpriors.errors import InputError
from tests.helpers.jets import random_jets

JETS = random_jets(6, seed=0)


WEIGHT = ["weights", "mc_weight", "raw/EventWeight", "evt_wgt"]
FLAG = ["pass_reco", "passReco", "is_pass"]
LABEL = ["label", "truth_label", "label_QCD", "isSignal", "is_signal_new"]


@pytest.mark.parametrize("name", [*WEIGHT, *FLAG, *LABEL])
def test_names_that_look_as_if_they_counted(name):
    assert suspected(name)
    with pytest.raises(InputError, match=rf"a.h5: found '{name}', which would not be read .*looks"):
        account("a.h5", ["p4", name], ["p4"])
    assert account("a.h5", ["p4", name], ["p4"], ignore=[name]) == ()


@pytest.mark.parametrize("name", ["height", "wtd", "growth", "compass", "labelled", "pt", "boson"])
def test_others_are_told(name):
    assert account("a.h5", ["p4", name], ["p4"]) == (name,)
    with pytest.warns(Unread, match=f"a.h5: not read: {name}"):
        tell("a.h5", [name])


def test_patterns_ignore_many_and_must_ignore_some():
    present = ["p4", "LHEWeight", "PSWeight", "trigger"]
    assert account("a.h5", present, ["p4"], ignore=["*Weight"]) == ("trigger",)
    assert account("a.h5", present, ["p4"], settled={WEIGHTS}) == tuple(present[1:])
    with pytest.raises(InputError, match=r"ignore: found no \*wgt; there are p4, LHEWeight"):
        account("a.h5", present, ["p4"], ignore=["*wgt"])


def test_where_weights_are_in_their_place_others_are_told(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["p4"], file["offsets"] = JETS.p4, JETS.offsets
        file["weight"], file["raw/mc_weight"] = np.full(6, 2.0), np.full(6, 3.0)
    with pytest.warns(Unread, match="not read: raw/mc_weight"):
        assert (read_events(tmp_path / "a.h5").weight == 2).all()
    with pytest.warns(Unread, match="not read: raw/mc_weight"):
        read_events(tmp_path / "a.h5", columns={"weight": "weight"})
    found = read_events(tmp_path / "a.h5", columns={"weight": "raw/mc_weight"})
    assert (found.weight == 3).all()


def test_fields_of_a_table_are_not_hidden(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["p4"], file["offsets"] = JETS.p4, JETS.offsets
        file["events"] = np.zeros(6, [("run", "i4"), ("weight", "f8")])
    with pytest.raises(InputError, match="'events' is a table whose field 'weight' looks like"):
        read_events(tmp_path / "a.h5")
    assert len(read_events(tmp_path / "a.h5", ignore=("events",))) == 6


@pytest.mark.parametrize("place", ["pass_reco", "flags/pass_reco", "columns/pass_gen"])
def test_flags_out_of_their_place_are_refused(tmp_path, place):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["p4"], file["offsets"], file[place] = JETS.p4, JETS.offsets, np.ones(6, bool)
    with pytest.raises(InputError, match=f"found '{place}', which is not where such flags are"):
        read_events(tmp_path / "a.h5")
    assert len(read_events(tmp_path / "a.h5", ignore=(place,))) == 6


def test_a_column_of_weights_is_no_column_where_there_are_no_weights(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["p4"], file["offsets"] = JETS.p4, JETS.offsets
        file["columns/mc_weight"] = np.full(6, 3.0)
    with pytest.raises(InputError, match="the column 'mc_weight' and no 'weight'"):
        read_events(tmp_path / "a.h5")
    found = read_events(tmp_path / "a.h5", columns={"weight": "columns/mc_weight"})
    assert (found.weight == 3).all()
    assert (read_events(tmp_path / "a.h5", ignore=("columns/*",)).weight == 1).all()
