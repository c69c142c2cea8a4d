"""The commands of `jaxpriors data`."""

from typing import get_args

import h5py
import numpy as np
import pytest

from jaxpriors.cli.convert import data_convert
from jaxpriors.cli.data import Kind, Set, data_check, data_simulate
from jaxpriors.cli.main import run as command
from jaxpriors.cli.options import SampleOptions
from jaxpriors.data.catalog import SETS
from jaxpriors.data.events import Events
from jaxpriors.data.inspection.layouts import LAYOUTS
from jaxpriors.data.prepared import open_prepared
from jaxpriors.data.sample_files import read_events, write_events
from jaxpriors.data.simulation import run
from jaxpriors.errors import InputError
from tests.helpers import published

P4 = np.array([[[5.0, 3, 0, 4], [1, 1, 0, 0]], [[2, 0, 2, 0], [0, 0, 0, 0]]])


def test_check_prints_what_is_there(tmp_path, capsys):
    events = Events.from_padded(P4, weight=[1, 3], label=[0, 1], columns={"z_pt": np.ones(2)})
    write_events(tmp_path / "a.h5", {"particle": events, "detector": events}, {"seed": 12})
    assert data_check(tmp_path / "a.h5") == 0
    text = capsys.readouterr().out
    for part in (
        "layout jaxpriors",
        "particle level",
        "detector level",
        "events         2",
        "constituents   3",
        "multiplicity   1 to 2, mean 1.5",
        "effective sample size 1.6",
        "labels {0: 1, 1: 1}",
        "column z_pt float64 (events): 1 to 1",
        '"seed": 12',
        "problems: none found",
    ):
        assert part in text


def test_check_lists_all_problems_and_exits_with_2(tmp_path, capsys):
    write_events(tmp_path / "a.h5", Events.from_padded(P4))
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        file["p4"][0, 0], file["weight"][1] = np.nan, np.inf
    assert command(["data", "check", str(tmp_path / "a.h5")]) == 2
    text = capsys.readouterr().out
    assert "p4 is not finite in event 0" in text and "weight is not finite in event 1" in text
    assert "events         2" in text


def test_list_and_info_tell_what_there_is(capsys):
    assert command(["data", "list"]) == 0
    text = capsys.readouterr().out
    assert all(name in text for name in SETS)
    assert command(["data", "info", "toptagging"]) == 0
    text = capsys.readouterr().out
    for part in ("doi:10.5281/zenodo.2603256", "CC BY 4.0", "labels    0 QCD, 1 top"):
        assert part in text
    assert "train.h5  1038496555 bytes  md5:45663819f47c13724f67eb0fd80bfa5c" in text
    with pytest.raises(SystemExit):
        command(["data", "info", "unknown"])


def test_prepare_writes_mapped_events(tmp_path, capsys):
    events = published.jets(30, 0)
    published.write_jetnet(tmp_path / "g150.hdf5", events, 150)
    out = tmp_path / "sets" / "gluons"
    line = ["data", "prepare", "jetnet", "--folder", str(out)]
    line += ["--files", str(tmp_path / "g150.hdf5"), "--events", "20"]
    assert command(line) == 0
    text = capsys.readouterr().out
    assert "1/1 pieces converted" in text and "gluons: 20 events" in text
    np.testing.assert_array_equal(open_prepared(out).multiplicity, events.multiplicity[:20])
    assert command(["data", "check", str(out)]) == 0
    assert '"set": "jetnet"' in capsys.readouterr().out


def test_the_commands_name_the_sets_and_layouts_that_there_are():
    assert set(get_args(Set)) == set(SETS)
    assert {name for kind in get_args(Kind) for name in (get_args(kind) or (kind,))} == set(LAYOUTS)


def test_convert_foreign_columns(tmp_path):
    np.savez(tmp_path / "a.npz", momenta=P4, w=np.array([1.0, 2.0]))
    columns = {"p4": "momenta", "weight": "w"}
    assert data_convert(tmp_path / "a.npz", tmp_path / "b.h5", SampleOptions(columns=columns)) == 0
    events = read_events(tmp_path / "b.h5")
    np.testing.assert_array_equal(events.multiplicity, [2, 1])
    np.testing.assert_array_equal(events.weight, [1, 2])


def test_convert_two_levels(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["truth"], file["reco"] = P4, 2 * P4
    levels = {"particle": {"p4": "truth"}, "detector": {"p4": "reco"}}
    data_convert(tmp_path / "a.h5", tmp_path / "b.h5", **levels)
    data_convert(tmp_path / "b.h5", tmp_path / "c.h5")
    for name in ("b.h5", "c.h5"):
        one, two = (read_events(tmp_path / name, level) for level in ("particle", "detector"))
        np.testing.assert_array_equal(2 * one.p4, two.p4)
    with pytest.raises(InputError, match="both --particle and --detector"):
        data_convert(tmp_path / "a.h5", tmp_path / "d.h5", particle={"p4": "truth"})


def test_simulate_reports_the_file(tmp_path, capsys, monkeypatch):
    calls = []

    def fake(*arguments, out, progress, **options):
        calls.append(arguments)
        progress(3, 3)
        return run.Simulated(out, 3, cached=True)

    monkeypatch.setattr(run, "simulate", fake)
    assert data_simulate("zjets", variant="data", events=3, seed=5, out=tmp_path / "a.h5") == 0
    assert calls == [("zjets", "data", 3, 5)]
    assert "a.h5: 3 events, was there already" in capsys.readouterr().out
