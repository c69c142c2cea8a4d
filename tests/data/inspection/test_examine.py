"""Users' files looked at as a whole: layouts are recognised, all problems are found and counted."""

import dataclasses
import zipfile

import h5py
import numpy as np
import pytest
import safetensors.numpy

from jaxpriors.data import dijets
from jaxpriors.data.formats.omnilearn import write_omnilearn_events
from jaxpriors.data.inspection.examine import examine
from jaxpriors.data.inspection.layouts import recognise
from jaxpriors.data.prepared import write_prepared
from jaxpriors.data.sample_files import read_events, write_events
from jaxpriors.errors import InputError
from jaxpriors.ratio.examples import check_trainable
from tests.data.formats.test_lhco import write_omnilearn
from tests.helpers import published
from tests.helpers.dijets import random_dijets


def edit(path, name, change):
    """Replace a dataset by change(its array)."""
    with h5py.File(path, "r+") as file:
        array = change(file[name][()])
        del file[name]
        file[name] = array


def files(folder):
    """A file of every layout, by the layout's name."""
    events = published.jets(12, 0)
    both = {"particle": events, "detector": events}
    paths = {
        "jaxpriors": "a.h5",
        "zjets": "chunk.npz",
        "quarkgluon": "qg.npz",
        "jetnet": "g.hdf5",
        "toptagging": "top.h5",
        "lhco": "rnd.h5",
        "jetclass": "a.root",
        "omnilearn": "jets.h5",
        "omnilearn-omnifold": "both.h5",
        "omnilearn-dijets": "pairs.h5",
        "prepared": "prepared",
    }
    found = {layout: folder / name for layout, name in paths.items()}
    write_events(found["jaxpriors"], events)
    published.write_zjets(found["zjets"], events, events)
    published.write_quarkgluon(found["quarkgluon"], events)
    published.write_jetnet(found["jetnet"], events)
    published.write_top(found["toptagging"], published.jets(12, 0, massless=True))
    published.write_lhco(found["lhco"], published.lhco_rows(12, 0))
    published.write_jetclass(found["jetclass"], events)
    write_omnilearn_events(found["omnilearn"], events)
    write_omnilearn_events(found["omnilearn-omnifold"], both)
    write_omnilearn(found["omnilearn-dijets"], random_dijets(12, 0, width=0.05))
    write_prepared(found["prepared"], [_jets], {"made": "here"})
    return found


def _jets():
    return published.jets(12, 0)


def test_every_layout_is_recognised_and_summed_up(tmp_path):
    for layout, path in files(tmp_path).items():
        assert recognise(path) == layout
        found = examine(path)
        assert found.layout == layout and not found.problems, (layout, found.problems)
        assert all(summary.events == 12 for summary in found.summaries.values())
        levels = {"zjets": 2, "omnilearn-omnifold": 2}
        assert len(found.summaries) == levels.get(layout, 1)
    assert found.metadata == {"made": "here"}


def test_a_folder_of_files_is_looked_at_as_one(tmp_path):
    for kind, seed in (("g", 0), ("t", 1)):
        published.write_jetnet(tmp_path / f"{kind}.hdf5", published.jets(10, seed))
    published.write_jetnet(
        tmp_path / "w.hdf5", published.jets(10, 2), jet_features=np.ones((10, 3))
    )
    found = examine(tmp_path)
    assert found.summaries[""].events == 20 and found.summaries[""].labels == {0: 10, 2: 10}
    assert len(found.problems) == 1 and "w.hdf5: particle_features is" in found.problems[0]


def test_all_problems_are_listed_with_their_number(tmp_path):
    path, events = tmp_path / "a.h5", published.jets(40, 0)
    write_events(path, events)
    first = events.offsets[:-1]

    def spoil(p4):
        p4[first[7]] = np.nan
        p4[first[20]] = np.nan
        p4[first[30], 0] *= 0.5
        p4[first[31], 0] = -1
        return p4

    edit(path, "p4", spoil)
    edit(path, "weight", lambda w: np.where(np.arange(40) == 3, np.inf, w))
    edit(path, "pid", lambda pid: np.where(pid == 22, 4711, pid))
    found = examine(path)
    problems = "\n".join(found.problems)
    photons = int((events.pid == 22).sum())
    for part in (
        "p4 is not finite in event 7, constituent 0 (2 such constituents)",
        "p4 is spacelike in event 30, constituent 0 (1 such constituents)",
        "E is not positive in event 31, constituent 0 (1 such constituents)",
        f"({photons} such constituents): found [4711]",
        "weight is not finite in event 3 (1 such events)",
    ):
        assert part in problems
    assert found.summaries[""].events == 40
    assert found.summaries[""].ranges["weight"].number == 39


def test_events_that_a_reader_refuses_are_counted_one_by_one(tmp_path):
    path, events = tmp_path / "a.h5", published.jets(60, 0)
    write_omnilearn_events(path, events)

    def spoil(data):
        data[5, 0, 4] = np.nan
        data[6, 0, 4] = np.nan
        data[41] = 0
        return data

    edit(path, "data", spoil)
    edit(path, "jet", lambda jet: np.where(np.arange(60)[:, None] == 50, -jet, jet))
    found = examine(path)
    text = "\n".join(found.problems)
    assert len(found.problems) == 3
    assert "2 events, first event 5: " in text and "holds features that are not finite" in text
    assert "1 events, first event 41: " in text and "has no constituents" in text
    assert "1 events, first event 50: " in text and "pt is not positive" in text
    assert found.summaries[""].events == 56


def test_a_file_of_which_nothing_can_be_read_ends_soon(tmp_path):
    path = tmp_path / "qg.npz"
    published.write_quarkgluon(path, published.jets(3000, 0), y=np.full(3000, 7.0))
    found = examine(path)
    assert len(found.problems) == 1 and not found.summaries
    assert "cannot be read: at least 2" in found.problems[0] and "y is 7" in found.problems[0]


def test_levels_that_do_not_match(tmp_path):
    events = published.jets(20, 0)
    write_events(tmp_path / "a.h5", {"particle": events, "detector": events})
    edit(tmp_path / "a.h5", "detector/weight", lambda weight: 2 * weight)
    problems = examine(tmp_path / "a.h5").problems
    assert len(problems) == 1 and "expected one weight" in problems[0]


def test_layouts_that_are_none(tmp_path):
    (tmp_path / "notes.h5").write_text("these are notes")
    np.savez(tmp_path / "a.npz", other=np.zeros(3))
    for name, message in {
        "notes.h5": "expected an HDF5 or npz file",
        "a.npz": "found other; expected one of the layouts jaxpriors, prepared, tree, zjets",
        "absent.h5": "no such file",
    }.items():
        with pytest.raises(InputError, match=message):
            recognise(tmp_path / name)
        assert examine(tmp_path / name).problems
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no"):
        recognise(tmp_path / "empty")


def test_files_of_another_kind_are_called_what_they_are(tmp_path):
    def h5(name, **arrays):
        with h5py.File(tmp_path / name, "w") as file:
            for key, array in arrays.items():
                file[key] = array
        return tmp_path / name

    def folder(name, *names):
        for each in names:
            (tmp_path / name / each).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name / each).write_text("{}")
        return tmp_path / name

    def archive(name, member):
        with zipfile.ZipFile(tmp_path / name, "w") as file:
            file.writestr(member, "")
        return tmp_path / name

    one = np.ones((2, 2), np.float32)
    unfolding = h5("unfolding.h5", weight=np.ones(3), pass_gen=np.ones(3, bool))
    with h5py.File(unfolding, "r+") as file:
        file.attrs["format"] = "jaxpriors-unfolding"
    older = h5("older.h5", **{"model_weights/dense/kernel": one})
    safetensors.numpy.save_file({"a": one}, tmp_path / "network.safetensors")
    for path, what in {
        unfolding: "the result of an unfolding",
        h5("a.weights.h5", **{"body/layers/dense/vars/0": one}): "weights of a Keras network",
        older: "weights of a Keras network",
        h5(
            "weights.h5", **{"pet/log_ratio": one, "pet/weight": one}
        ): "the weights that a reweighting",
        tmp_path / "network.safetensors": "a network's tensors",
        archive("best_model.pt", "best_model/data.pkl"): "a checkpoint of PyTorch",
        archive("model.keras", "model.weights.h5"): "a network of Keras",
        folder("run", "config.json", "environment.json", "metrics.json"): "the folder of a run",
        folder("model", "model.json", "network.safetensors"): "a trained network",
        folder("set", "train/a.h5", "test/a.h5"): "a folder of train/, test/, which are given one",
    }.items():
        with pytest.raises(
            InputError, match=rf"{path.name}: is (the )?{what}.*, expected a sample"
        ):
            recognise(path)
        found = examine(path)
        assert len(found.problems) == 1 and what in found.problems[0]


def test_a_layout_that_is_named(tmp_path):
    events = published.jets(40, 0)
    write_omnilearn_events(tmp_path / "a.h5", events, signed_eta=True)
    assert "was delta eta multiplied by the sign" in examine(tmp_path / "a.h5").problems[0]
    found = examine(tmp_path / "a.h5", "omnilearn-jetclass")
    assert not found.problems
    assert found.summaries[""].events == (events.multiplicity > 1).sum()


def test_two_jet_events_keep_their_columns(tmp_path):
    events = random_dijets(12, 0, width=0.05)
    write_omnilearn(tmp_path / "pairs.h5", events)
    found = examine(tmp_path / "pairs.h5").summaries[""]
    assert set(dijets.COLUMNS) <= set(found.columns)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda e: {"weight": np.full(20, 1e308)}, "sizes of the weights sum to inf"),
        (lambda e: {"weight": np.full(20, 5e-324)}, "sizes of the weights sum to"),
        (lambda e: {"weight": -e.weight}, "weights sum to -20, expected a positive sum"),
        (lambda e: {"weight": np.tile([1.0, -1.0], 10)}, "weights sum to 0, expected a positive"),
        (lambda e: {"jet_p4": -e.jet_p4}, "found 20 jets with pT or E of 0"),
        (lambda e: {"jet_p4": 0 * e.jet_p4}, "found 20 jets with pT or E of 0"),
    ],
)
def test_what_a_training_refuses_is_found(tmp_path, change, problem):
    events = published.jets(20, 0)
    write_events(tmp_path / "a.h5", dataclasses.replace(events, **change(events)))
    found = examine(tmp_path / "a.h5")
    assert len(found.problems) == 1 and problem in found.problems[0]
    with pytest.raises(InputError):
        check_trainable(read_events(tmp_path / "a.h5"), "simulation")
