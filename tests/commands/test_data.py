"""The commands of `jaxpriors data`."""

import h5py
import numpy as np
import pytest

from jaxpriors.commands.data import data_convert, data_inspect, data_simulate
from jaxpriors.data.events import Events
from jaxpriors.data.sample_files import read_events, write_events
from jaxpriors.data.simulation import run
from jaxpriors.errors import InputError

P4 = np.array([[[5.0, 3, 0, 4], [1, 0, 0, 1]], [[2, 0, 2, 0], [0, 0, 0, 0]]])


def test_inspect_prints_what_is_there(tmp_path, capsys):
    events = Events.from_padded(P4, weight=[1, 3], label=[0, 1], columns={"z_pt": np.ones(2)})
    write_events(tmp_path / "a.h5", {"particle": events, "detector": events}, {"seed": 12})
    assert data_inspect(tmp_path / "a.h5") == 0
    text = capsys.readouterr().out
    for part in (
        "particle level",
        "detector level",
        "events         2",
        "constituents   3",
        "multiplicity   1 to 2, mean 1.5",
        "effective sample size 1.6",
        "labels {0: 1, 1: 1}",
        "column z_pt float64 (2,)",
        '"seed": 12',
    ):
        assert part in text


def test_convert_foreign_columns(tmp_path):
    np.savez(tmp_path / "a.npz", momenta=P4, w=np.array([1.0, 2.0]))
    columns = {"p4": "momenta", "weight": "w"}
    assert data_convert(tmp_path / "a.npz", tmp_path / "b.h5", columns=columns) == 0
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
