"""Poisoned truth changes nothing of an honest unfolding, and is found in one that leaks."""

import dataclasses

import h5py
import numpy as np
import pytest

from jaxpriors.data.matched import read_data, read_simulation
from jaxpriors.data.sample_files import read_events, write_events
from jaxpriors.errors import InputError
from jaxpriors.unfolding.leakage import leakage, poison_absent, poison_truth, shared_events
from tests.helpers.jets import random_jets

GEN, RECO = np.arange(60) % 7 > 0, np.arange(60) % 5 > 0


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A simulation, of which some events lack a level, and pseudo-data with their truth."""
    folder = tmp_path_factory.mktemp("leakage")
    particle, detector = random_jets(60, 0), random_jets(60, 1)
    levels = {
        "particle": dataclasses.replace(particle, columns={"pass_gen": GEN, "x": np.arange(60.0)}),
        "detector": dataclasses.replace(detector, columns={"pass_reco": RECO}),
    }
    write_events(folder / "sim.h5", levels)
    write_events(
        folder / "data.h5", {"particle": random_jets(50, 2), "detector": random_jets(50, 3)}
    )
    return folder / "sim.h5", folder / "data.h5"


def _honest(simulation, data):
    """What an unfolding reads, and weights that depend on all of it."""
    sample, measured = read_simulation(simulation), read_data(data)
    weights = (
        sample.weight * measured.p4.sum() + sample.particle.p4.sum() + sample.detector.p4.sum()
    )
    return {"data": measured.p4, "weights": weights}


def test_an_honest_unfolding_does_not_leak(files, tmp_path):
    of_data, of_simulation = leakage(_honest, *files, tmp_path)
    assert of_data.leaks == () and of_simulation.leaks == ()
    assert of_data.what.startswith("data: 3 datasets of the truth poisoned")
    assert of_simulation.what.endswith(f"{(~GEN).sum()} at particle level, {(~RECO).sum()} at "
                                       "detector level")  # fmt: skip


def _reads_the_truth(simulation, data):
    found = _honest(simulation, data)
    truth = read_events(data, "particle").jet_p4[:, 0].sum()
    return found | {"weights": found["weights"] * truth}


def _sees_the_truth_by_its_order(simulation, data):
    """The data come sorted by their true energy."""
    with h5py.File(data) as file:
        ends = file["particle/offsets"][()]
        energy = np.add.reduceat(file["particle/p4"][:, 0], ends[:-1])
    order = np.argsort(energy, kind="stable")
    return {"weights": read_data(data).jet_p4[order]}


def _reads_absent_levels(simulation, data):
    with h5py.File(simulation) as file:
        weight = np.nan_to_num(file["particle/columns/x"][()])
    return _honest(simulation, data) | {"weights": weight}


@pytest.mark.parametrize(
    ("leaking", "expected"),
    [
        (_reads_the_truth, [True, False]),
        (_sees_the_truth_by_its_order, [True, False]),
        (_reads_absent_levels, [False, True]),
    ],
)
def test_a_leak_is_found(files, tmp_path, leaking, expected):
    found = leakage(leaking, *files, tmp_path)
    assert [bool(check.leaks) for check in found] == expected
    (named,) = [check.leaks for check in found if check.leaks]
    assert named == ("weights",) or named[0].startswith("an error: ")


def test_the_files_stay_as_they_are_and_the_copies_hold_poison(files, tmp_path):
    before = [path.read_bytes() for path in files]
    names = poison_truth(files[1], tmp_path / "data.h5")
    counts = poison_absent(files[0], tmp_path / "sim.h5")
    assert [path.read_bytes() for path in files] == before
    assert counts == {"particle": (~GEN).sum(), "detector": (~RECO).sum()}
    with h5py.File(tmp_path / "data.h5") as file:
        assert "particle/p4" in names and np.isnan(file["particle/p4"][()]).all()
        assert np.isfinite(file["detector/p4"][()]).all()
    with h5py.File(tmp_path / "sim.h5") as file:
        x, p4, ends = (file[f"particle/{n}"][()] for n in ("columns/x", "p4", "offsets"))
        assert np.array_equal(np.isnan(x), ~GEN)
        assert np.array_equal(np.isnan(p4[:, 0]), np.repeat(~GEN, np.diff(ends)))


def test_what_cannot_be_looked_at_is_said(files, tmp_path):
    write_events(tmp_path / "real.h5", random_jets(50, 3))
    write_events(
        tmp_path / "all.h5", {level: random_jets(60, 1) for level in ("particle", "detector")}
    )
    found = leakage(_honest, tmp_path / "all.h5", tmp_path / "real.h5", tmp_path)
    assert [check.leaks for check in found] == [None, None]
    numbers = iter(range(9))
    with pytest.raises(InputError, match="other values of x in a second unfolding"):
        leakage(lambda a, b: {"x": np.array(next(numbers))}, *files, tmp_path)
    with pytest.raises(InputError, match="truth: found no dataset or group 'gen'"):
        leakage(_honest, *files, tmp_path, truth=("gen",))
    (tmp_path / "data.root").write_bytes(b"root")
    with pytest.raises(InputError, match="found no HDF5 file, expected one, which can be poisoned"):
        poison_truth(tmp_path / "data.root", tmp_path / "copy")
    with h5py.File(tmp_path / "linked.h5", "w") as file:
        file["detector"] = h5py.ExternalLink(str(files[1]), "detector")
    with pytest.raises(InputError, match="'detector' is in another file"):
        poison_truth(tmp_path / "linked.h5", tmp_path / "copy")


def test_events_in_both_samples_are_found():
    simulation, data = random_jets(40, 0), random_jets(30, 1)
    assert shared_events(data, simulation).leaks == ()
    index = np.array([3, 5, 7])
    mixed = type(data).concatenate([data, simulation[index]])
    found = shared_events(mixed, simulation)
    assert found.leaks and found.what.endswith("3 of 33")
