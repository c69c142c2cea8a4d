"""Files: round trips, foreign layouts, and what cannot be read or written."""

import h5py
import numpy as np
import pytest

from jaxpriors.data.events import Events
from jaxpriors.data.formats.opening import read_sample
from jaxpriors.data.hdf5 import levels
from jaxpriors.data.reading import Reading
from jaxpriors.data.sample_files import (
    grid_rounded,
    read_events,
    read_metadata,
    write_events,
)
from jaxpriors.data.unread import Unread
from jaxpriors.errors import InputError


def sample(n: int = 20, seed: int = 0) -> Events:
    random = np.random.default_rng(seed)
    multiplicity = random.integers(1, 9, n)
    total = int(multiplicity.sum())
    pt, eta = random.exponential(20, total) + 0.5, random.normal(0, 1, total)
    momenta = np.stack([pt, eta, random.uniform(-3, 3, total)], axis=-1)
    return Events.from_flat(
        momenta,
        multiplicity,
        coordinates="pt,eta,phi",
        pid=random.choice([211, -211, 22, 130, 11, -13, 2212], total),
        weight=random.normal(1, 1, n),
        label=np.arange(n) % 2,
        columns={"z_pt": random.uniform(200, 300, n).astype(np.float32)},
    )


def assert_same(a: Events, b: Events, rtol: float = 0.0) -> None:
    for name in ("p4", "pid", "offsets", "jet_p4", "weight", "label"):
        if getattr(a, name) is None:
            assert getattr(b, name) is None
            continue
        np.testing.assert_allclose(getattr(a, name), getattr(b, name), rtol, 1e-5 * bool(rtol))
    assert a.columns.keys() == b.columns.keys()
    for name, column in a.columns.items():
        np.testing.assert_array_equal(column, b.columns[name], err_msg=name)


@pytest.fixture
def padded_file(tmp_path):
    """A file of foreign layout: padded, named otherwise."""
    events = sample()
    p4, pid, lengths = events.padded(12)
    pt = np.hypot(p4[..., 1], p4[..., 2])
    with h5py.File(tmp_path / "foreign.h5", "w") as file:
        file["jets/momenta"] = p4
        file["jets/id"] = pid
        file["jets/valid"] = np.arange(12) < lengths[:, None]
        file["jets/pt"], file["jets/phi"] = pt, np.arctan2(p4[..., 2], p4[..., 1])
        file["jets/eta"] = np.arcsinh(p4[..., 3] / np.where(pt > 0, pt, 1))
        file["w"], file["boson"] = events.weight, events.columns["z_pt"]
    return tmp_path / "foreign.h5", events


def test_round_trip_of_one_sample(tmp_path):
    events = sample()
    write_events(tmp_path / "a.h5", events, {"seed": 3})
    assert_same(read_events(tmp_path / "a.h5"), events)
    assert levels(tmp_path / "a.h5") == ()
    assert read_metadata(tmp_path / "a.h5") == {"seed": 3}


@pytest.mark.parametrize("compact", [False, True])
def test_round_trip_of_two_levels(tmp_path, compact):
    two = {"particle": grid_rounded(sample()), "detector": grid_rounded(sample(seed=1))}
    write_events(tmp_path / "sub" / "a.h5", two, compact=compact)
    assert levels(tmp_path / "sub" / "a.h5") == ("particle", "detector")
    for level, events in two.items():
        assert_same(read_events(tmp_path / "sub" / "a.h5", level), events)


def test_compact_files_keep_a_jet_that_is_not_the_sum(tmp_path):
    events = grid_rounded(sample())
    jet_p4 = events.jet_p4 * np.float32(1.1)
    other = Events(events.p4, events.pid, events.offsets, jet_p4, events.weight)
    write_events(tmp_path / "a.h5", other, compact=True)
    # Single precision of large energies limits what is known of a jet's mass, not of its momenta.
    np.testing.assert_allclose(read_events(tmp_path / "a.h5").jet_p4, jet_p4, rtol=1e-4, atol=1e-4)


def test_compact_refuses_other_masses(tmp_path):
    events = Events.from_flat(np.array([[5.0, 3, 0, 0]]), [1], pid=np.array([22]))
    with pytest.raises(InputError, match="energies do not follow from the masses"):
        write_events(tmp_path / "a.h5", events, compact=True)
    assert list(tmp_path.iterdir()) == []


def test_optional_datasets_are_filled_in(tmp_path):
    events = sample()
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["p4"], file["multiplicity"] = events.p4, events.multiplicity
    found = read_events(tmp_path / "a.h5")
    np.testing.assert_array_equal(found.pid, 0)
    np.testing.assert_array_equal(found.weight, 1)
    np.testing.assert_allclose(found.jet_p4, events.jet_p4, rtol=1e-5, atol=1e-3)
    assert found.label is None


def test_mapped_padded_columns(padded_file):
    path, events = padded_file
    names = {"p4": "jets/momenta", "pid": "jets/id", "weight": "w", "z_pt": "boson"}
    for mask in ({}, {"mask": "jets/valid"}):
        with pytest.warns(Unread, match="not read: jets/eta, jets/phi, jets/pt"):
            found = read_events(path, columns=names | mask)
        np.testing.assert_array_equal(found.p4, events.p4)
        np.testing.assert_array_equal(found.pid, events.pid)
        np.testing.assert_array_equal(found.weight, events.weight)
        np.testing.assert_array_equal(found.columns["z_pt"], events.columns["z_pt"])


def test_mapped_components(padded_file):
    path, events = padded_file
    names = {name: f"jets/{name}" for name in ("pt", "eta", "phi")} | {"pid": "jets/id"}
    with pytest.warns(Unread, match="not read: boson, jets/momenta, jets/valid, w"):
        found = read_events(path, columns=names)
    np.testing.assert_allclose(found.p4, events.p4, rtol=1e-4, atol=1e-4)


def test_npz_files_are_read_as_hdf5_files_are(tmp_path):
    events = sample()
    np.savez(tmp_path / "a.npz", p4=events.p4, pid=events.pid, offsets=events.offsets)
    np.testing.assert_array_equal(read_events(tmp_path / "a.npz").p4, events.p4)


def test_missing_columns_are_named_with_what_was_found(padded_file):
    path, _ = padded_file
    with pytest.raises(
        InputError,
        match=r"no dataset 'p4', nor one set of components such as .*found: boson, jets/eta",
    ):
        read_events(path)
    with pytest.raises(InputError, match="no dataset 'nothing'; found: "):
        read_events(path, columns={"p4": "jets/momenta", "weight": "nothing"})
    with pytest.raises(InputError, match="no dataset 'nothing'; found: "):
        read_events(path, columns={"p4": "jets/momenta", "z_pt": "nothing"})
    with pytest.raises(InputError, match="no dataset 'phi'; found: "):
        read_events(path, None, {"pt": "jets/pt", "eta": "jets/eta"}, "pt,eta,phi")
    with pytest.raises(InputError, match="components of the momenta differ in shape"):
        names = {"pt": "jets/pt", "eta": "w", "phi": "jets/phi"}
        read_events(path, None, names, "pt,eta,phi")


def test_levels_are_named(tmp_path):
    events = sample()
    write_events(tmp_path / "one.h5", events)
    write_events(tmp_path / "two.h5", {"particle": events, "detector": events})
    write_events(tmp_path / "detector.h5", {"detector": events})
    with pytest.raises(InputError, match="'particle' is absent; found: one sample at the root"):
        read_events(tmp_path / "one.h5", "particle")
    with pytest.raises(InputError, match="holds the levels particle, detector; choose one"):
        read_events(tmp_path / "two.h5")
    with pytest.raises(InputError, match="'truth' is absent; found: particle, detector"):
        read_events(tmp_path / "two.h5", "truth")
    assert_same(read_events(tmp_path / "detector.h5"), events)


def test_a_level_counts_where_a_file_holds_several(tmp_path):
    one, two = sample(), sample(seed=1)
    write_events(tmp_path / "one.h5", one)
    write_events(tmp_path / "two.h5", {"particle": one, "detector": two})
    assert_same(read_sample(tmp_path / "one.h5", Reading("detector")), one)
    assert_same(read_sample(tmp_path / "two.h5", Reading("detector")), two)


def test_refuses_files_that_are_not_there_foreign_or_truncated(tmp_path):
    with pytest.raises(InputError, match=r"a\.h5: no such file"):
        read_events(tmp_path / "a.h5")
    with pytest.raises(InputError, match="is a folder"):
        read_events(tmp_path)
    (tmp_path / "text.h5").write_text("version https://git-lfs")
    with pytest.raises(InputError, match="starts with b'version ', expected an HDF5 or npz file"):
        read_events(tmp_path / "text.h5")
    write_events(tmp_path / "whole.h5", sample())
    whole = (tmp_path / "whole.h5").read_bytes()
    for size in (0, len(whole) // 3, len(whole) - 1):
        (tmp_path / "part.h5").write_bytes(whole[:size])
        with pytest.raises(InputError, match=r"part\.h5: (cannot be read|starts with b'')"):
            read_events(tmp_path / "part.h5")


def test_damaged_data_are_an_error(tmp_path):
    write_events(tmp_path / "a.h5", sample(2000))
    with h5py.File(tmp_path / "a.h5") as file:
        position = file["p4"].id.get_chunk_info(0).byte_offset
    raw = bytearray((tmp_path / "a.h5").read_bytes())
    raw[position + 50 : position + 5000] = bytes(4950)
    (tmp_path / "a.h5").write_bytes(raw)
    with pytest.raises(InputError, match=r"a\.h5: .*cannot be read"):
        read_events(tmp_path / "a.h5")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"p4": np.array([[1.0, 0, 0, np.nan]])}, r"a\.h5: p4 is not finite in event 0"),
        ({"p4": np.ones((1, 5))}, r"a\.h5: 'p4' has shape \(1, 5\)"),
        ({"p4": np.ones((1, 2, 5))}, r"a\.h5: 'p4' has shape \(1, 2, 5\)"),
        ({"offsets": np.array([0, 2])}, r"a\.h5: offsets run from 0 to 2, expected 0 to 1"),
        ({"offsets": np.array([0, 3, 1])}, r"a\.h5: offsets fall in event 1"),
        ({"offsets": np.array([0, 0, 1])}, r"a\.h5: no constituents in event 0"),
        ({"pid": np.array([99])}, r"a\.h5: pid is not known in event 0, .* found \[99\]"),
        ({"weight": np.zeros(1)}, r"a\.h5: weight is zero"),
        ({"p4": np.array([[b"a"]])}, r"a\.h5: 'p4' has dtype \|S1, expected numbers"),
    ],
)
def test_refuses_bad_datasets(tmp_path, change, message):
    good = {"p4": np.array([[2.0, 0, 0, 1]]), "offsets": np.array([0, 1])}
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for name, array in (good | change).items():
            file[name] = array
    with pytest.raises(InputError, match=message):
        read_events(tmp_path / "a.h5")


def test_flat_momenta_need_offsets(tmp_path):
    np.savez(tmp_path / "a.npz", p4=np.array([[2.0, 0, 0, 1]]))
    with pytest.raises(InputError, match="neither `offsets` nor `multiplicity`"):
        read_events(tmp_path / "a.npz")


def test_existing_files_are_kept_unless_told(tmp_path):
    path = tmp_path / "a.h5"
    write_events(path, sample())
    before = path.read_bytes()
    with pytest.raises(InputError, match="exists already"):
        write_events(path, sample(seed=1))
    assert path.read_bytes() == before
    write_events(path, sample(seed=1), overwrite=True)
    assert_same(read_events(path), sample(seed=1))


def test_nothing_half_written(tmp_path, monkeypatch):
    path = tmp_path / "a.h5"
    write_events(path, sample())
    before = path.read_bytes()

    def full_disk(*arguments, **options):
        raise OSError("no space left")

    monkeypatch.setattr(h5py.Group, "create_dataset", full_disk)
    with pytest.raises(InputError, match=r"cannot be written \(no space left"):
        write_events(path, sample(), overwrite=True)
    assert [file.name for file in tmp_path.iterdir()] == ["a.h5"]
    assert path.read_bytes() == before


def test_refuses_what_cannot_be_written(tmp_path):
    events = sample()
    with pytest.raises(InputError, match=r"expected some of \['particle', 'detector'\]"):
        write_events(tmp_path / "a.h5", {"truth": events})
    with pytest.raises(InputError, match="levels differ in their numbers of events"):
        write_events(tmp_path / "a.h5", {"particle": events, "detector": events[:3]})
    with pytest.raises(InputError, match="metadata cannot be written as JSON"):
        write_events(tmp_path / "a.h5", events, {"x": np.zeros(2)})
    with pytest.raises(InputError, match="weight is zero"):
        write_events(tmp_path / "a.h5", events.with_weight(np.zeros(len(events))))
    assert list(tmp_path.iterdir()) == []
