"""Names of HDF5 files that lead elsewhere: followed, or refused when they are asked for."""

import h5py
import numpy as np
import pytest

from jaxpriors.data.hdf5 import open_source
from jaxpriors.data.matched import read_simulation
from jaxpriors.data.sample_files import read_events
from jaxpriors.data.unread import Unread
from jaxpriors.errors import InputError
from tests.helpers.jets import random_jets

JETS = random_jets(40, seed=0)
WEIGHT = np.random.default_rng(0).normal(1, 0.3, 40)


@pytest.fixture
def path(tmp_path):
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["w"] = WEIGHT
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["p4"], file["offsets"], file["raw/mc_weight"] = JETS.p4, JETS.offsets, WEIGHT
    return tmp_path / "a.h5"


def link(path, name, to):
    with h5py.File(path, "a") as file:
        file[name] = file[to] if isinstance(to, str) else to


def virtual(path, source, rows=40):
    """A virtual dataset of the weights, of which only some rows may have a source."""
    layout = h5py.VirtualLayout((40,), "f8")
    layout[:rows] = h5py.VirtualSource(str(source), "w", (40,))[:rows]
    with h5py.File(path, "a") as file:
        file.create_virtual_dataset("weight", layout)


@pytest.mark.parametrize("to", [h5py.SoftLink("/raw/mc_weight"), "raw/mc_weight"])
def test_links_within_a_file(path, to):
    link(path, "weight", to)
    np.testing.assert_array_equal(read_events(path).weight, WEIGHT)  # and nothing is unread


def test_links_to_another_file(path):
    link(path, "weight", h5py.ExternalLink("other.h5", "/w"))
    with pytest.warns(Unread, match="not read: raw/mc_weight"):
        np.testing.assert_array_equal(read_events(path).weight, WEIGHT)


def test_virtual_datasets(path, tmp_path):
    virtual(path, tmp_path / "other.h5")
    with pytest.warns(Unread, match="raw/mc_weight"):
        np.testing.assert_array_equal(read_events(path).weight, WEIGHT)


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (lambda p: link(p, "weight", h5py.SoftLink("/no")), "'weight' is a link to '/no', which"),
        (lambda p: link(p, "weight", h5py.ExternalLink("no.h5", "/w")), "'/w' of 'no.h5', which"),
        (lambda p: virtual(p, "no.h5"), "no such file, expected a source of .*'weight'"),
        (lambda p: virtual(p, p.parent / "other.h5", 20), "sources of 20 of its 40 numbers"),
        (lambda p: link(p, "weight", h5py.SoftLink("weight")), "'weight' is a link to 'weight'"),
    ],
)
def test_what_leads_nowhere_is_not_absent(path, broken, message):
    broken(path)
    with pytest.raises(InputError, match=message):
        read_events(path, ignore=("raw/*",))


def test_groups_behind_links_and_circles(path):
    with h5py.File(path, "a") as file:
        file["raw/p4"], file["raw/offsets"] = file["p4"], file["offsets"]
        file["raw/weight"] = h5py.SoftLink("mc_weight")
        del file["p4"], file["offsets"]
        file["detector"] = h5py.SoftLink("/raw")
        file["raw/up"] = h5py.SoftLink("/")
        file["raw/again"] = file["raw"]
    found = read_events(path)
    np.testing.assert_array_equal(found.weight, WEIGHT)
    np.testing.assert_array_equal(found.p4, JETS.p4)


def test_a_name_that_nobody_asks_for_may_lead_nowhere(path):
    link(path, "weight", "raw/mc_weight")
    link(path, "notes", h5py.SoftLink("/no"))
    with pytest.warns(Unread, match="not read: notes"):
        read_events(path)
    with open_source(path) as source, pytest.raises(InputError, match="'notes' is a link to"):
        source.read("notes")


def test_flags_behind_a_link(tmp_path):
    passing = np.arange(40) % 3 > 0
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for level in ("particle", "detector"):
            file[f"{level}/p4"], file[f"{level}/offsets"] = JETS.p4, JETS.offsets
        file["flags/pass_reco"] = passing
        file["detector/columns/pass_reco"] = h5py.SoftLink("/flags/pass_reco")
    np.testing.assert_array_equal(read_simulation(tmp_path / "a.h5").pass_reco, passing)


def test_what_was_never_written_is_not_zero(path):
    with h5py.File(path, "a") as file:
        file.create_dataset("weight", (40,), "f8", chunks=(10,))
        file["weight"][:10] = 1
    with pytest.raises(InputError, match="found 1 of its 4 chunks, expected all to be written"):
        read_events(path, ignore=("raw/*",))


def test_compressions_of_hdf5plugin_are_read(tmp_path):
    import hdf5plugin

    for number, packed in enumerate((hdf5plugin.Blosc(), hdf5plugin.Zstd(), hdf5plugin.LZ4())):
        with h5py.File(tmp_path / f"{number}.h5", "w") as file:
            file.create_dataset("p4", data=JETS.p4, **packed)
            file["offsets"] = JETS.offsets
        np.testing.assert_array_equal(read_events(tmp_path / f"{number}.h5").p4, JETS.p4)
