"""Simulated events at two levels, some of them known at one alone."""

import dataclasses

import h5py
import numpy as np
import pytest

from jaxpriors.data.formats.opening import read_sample
from jaxpriors.data.matched import Simulation, read_data, read_simulation
from jaxpriors.data.reading import Reading
from jaxpriors.data.sample_files import write_events
from jaxpriors.errors import InputError
from tests.helpers.jets import random_jets

GEN = np.array([1, 1, 0, 1, 1, 0], bool)
RECO = np.array([1, 0, 1, 1, 1, 0], bool)


def _levels(n=6):
    weight = np.arange(1.0, n + 1)
    return [random_jets(n, seed).with_weight(weight) for seed in (0, 1)]


def _file(path, flags=None, empty=True):
    """Both levels with flags; what stands for an absent level is no jet at all."""
    particle, detector = _levels()
    gen, reco = flags or (GEN, RECO)
    levels = {
        "particle": dataclasses.replace(particle, columns={"pass_gen": gen}),
        "detector": dataclasses.replace(detector, columns={"pass_reco": reco}),
    }
    write_events(path, levels, overwrite=True)
    if not empty:
        return
    with h5py.File(path, "r+") as file:
        for level, flag in (("particle", gen), ("detector", reco)):
            group = file[level]
            counts = np.diff(group["offsets"][()])
            kept = np.repeat(flag, counts)
            for name in ("p4", "pid"):
                if name in group:
                    rows = group[name][()][kept]
                    del group[name]
                    group[name] = rows
            del group["offsets"]
            group["offsets"] = np.concatenate([[0], np.cumsum(counts * flag)])
            group["weight"][~flag] = np.nan


def test_the_levels_hold_the_events_that_have_them():
    particle, detector = _levels()
    found = Simulation.of(particle, detector, GEN, RECO)
    assert np.array_equal(found.particle.p4, particle[GEN].p4)
    assert np.array_equal(found.detector.p4, detector[RECO].p4)
    assert found.weight.tolist() == [1, 2, 3, 4, 5, 0]
    assert found.both.tolist() == (GEN & RECO).tolist()
    some = found[np.array([4, 0, 2])]
    assert np.array_equal(some.particle.p4, particle[[4, 0]].p4)
    assert np.array_equal(some.detector.p4, detector[[4, 0, 2]].p4)
    again = found.with_weight(2 * found.weight)
    assert again.weight.tolist() == [2, 4, 6, 8, 10, 0] and again.digest() == found.digest()
    assert some.digest() != found[np.array([4, 2, 0])].digest()


def test_columns_are_given_for_all_events():
    particle, detector = _levels()
    particle = dataclasses.replace(
        particle, columns={"x": np.arange(6.0), "p": np.ones((6, 2)), "pass_gen": GEN}
    )
    found = Simulation.of(particle, detector, GEN, RECO).particle_columns()
    assert list(found) == ["x"]
    assert np.array_equal(found["x"], [0, 1, np.nan, 3, 4, np.nan], equal_nan=True)


@pytest.mark.parametrize("empty", [False, True])
def test_a_file_with_flags(tmp_path, empty):
    _file(tmp_path / "s.h5", empty=empty)
    found, (particle, detector) = read_simulation(tmp_path / "s.h5"), _levels()
    assert np.array_equal(found.particle.p4, particle[GEN].p4)
    assert np.array_equal(found.detector.offsets, detector[RECO].offsets)
    assert found.pass_gen.tolist() == GEN.tolist() and found.pass_reco.tolist() == RECO.tolist()
    assert np.array_equal(read_data(tmp_path / "s.h5").p4, detector[RECO].p4)


def test_weights_may_be_a_column(tmp_path):
    particle, detector = _levels()
    other = {"other": np.arange(6.0) + 0.5}
    levels = {"particle": particle, "detector": detector}
    levels = {k: dataclasses.replace(e, columns=other) for k, e in levels.items()}
    write_events(tmp_path / "s.h5", levels)
    assert np.array_equal(read_simulation(tmp_path / "s.h5", "other").weight, other["other"])
    assert np.array_equal(read_data(tmp_path / "s.h5", "other").weight, other["other"])
    with pytest.raises(InputError, match="no dataset 'particle/columns/more'"):
        read_simulation(tmp_path / "s.h5", "more")


def test_what_does_not_belong_together_is_said(tmp_path):
    particle, detector = _levels()
    with pytest.raises(InputError, match="6 events at particle level and 5 at detector level"):
        Simulation.of(particle, detector[:5])
    with pytest.raises(InputError, match=r"pass_reco: found shape \(5,\)"):
        Simulation.of(particle, detector, GEN, RECO[:5])
    with pytest.raises(InputError, match=r"pass_gen: found shape \(6,\) with values \[0.0, 0.5"):
        Simulation.of(particle, detector, np.linspace(0, 2.5, 6))
    with pytest.raises(InputError, match="4 have a particle level, 2 a detector level and none"):
        Simulation.of(particle, detector, GEN, ~GEN)
    with pytest.raises(InputError, match="event 3 has 4 at particle level and 7 at detector level"):
        Simulation.of(particle, detector.with_weight(np.array([1, 9, 3, 7, 5, 6])), GEN, RECO)
    negative = -particle.weight
    with pytest.raises(InputError, match="with both levels: 3 events with weights that sum to -10"):
        Simulation.of(particle.with_weight(negative), detector.with_weight(negative), GEN, RECO)
    with pytest.raises(InputError, match=r"particle level: found 6 events, expected 4"):
        Simulation(particle, detector[RECO], GEN, RECO)
    write_events(tmp_path / "one.h5", particle)
    with pytest.raises(InputError, match="one sample without levels, expected particle and detect"):
        read_simulation(tmp_path / "one.h5")
    _file(tmp_path / "none.h5", (GEN, np.zeros(6, bool)), empty=False)
    with pytest.raises(InputError, match="pass_reco: none of 6 events passes"):
        read_simulation(tmp_path / "none.h5")
    _file(tmp_path / "numbers.h5", (GEN, np.arange(6)), empty=False)
    with pytest.raises(
        InputError, match=r"numbers.h5 .detector level.: pass_reco: found shape \(6,\) with values"
    ):
        read_simulation(tmp_path / "numbers.h5")


def test_a_file_is_opened_once(tmp_path, monkeypatch):
    particle, detector = _levels()
    write_events(tmp_path / "s.h5", {"particle": particle, "detector": detector}, {})
    opened, file = [], h5py.File
    monkeypatch.setattr(h5py, "File", lambda *args: opened.append(args) or file(*args))
    read_simulation(tmp_path / "s.h5")
    read_data(tmp_path / "s.h5")
    read_sample(tmp_path / "s.h5", Reading("particle"))
    assert len(opened) == 3
