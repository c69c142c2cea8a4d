"""ROOT files: TTree and RNTuple give the same events, in blocks, cut by us."""

import pickle

import awkward
import numpy as np
import pytest
import uproot

from jaxpriors.data.formats import tables, trees
from jaxpriors.data.parts import pieces
from jaxpriors.data.reading import Reading
from jaxpriors.errors import InputError
from tests.helpers.trees import COLUMNS, add_tree, constituents, momenta, refusals, write_tree

KINDS = ("TTree", "RNTuple")
COUNTS = np.random.default_rng(3).integers(1, 9, 300)
BRANCHES = {**constituents(COUNTS), "genWeight": np.random.default_rng(4).normal(1, 0.5, 300)}
READING = Reading(columns={**COLUMNS, "weight": "genWeight"})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trees")
    for kind in KINDS:
        write_tree(folder / f"{kind}.root", BRANCHES, kind)
    return folder


@pytest.mark.parametrize("kind", KINDS)
def test_values_come_back(folder, kind):
    events = trees.read_tree(folder / f"{kind}.root", READING)
    np.testing.assert_array_equal(events.multiplicity, COUNTS)
    np.testing.assert_allclose(events.p4, momenta(BRANCHES), rtol=1e-6, atol=1e-5)
    np.testing.assert_array_equal(events.weight, BRANCHES["genWeight"])
    np.testing.assert_array_equal(events.columns["entry"], np.arange(300))
    assert trees.unread(folder / f"{kind}.root", READING) == ()


@pytest.mark.parametrize("kind", KINDS)
def test_blocks_give_what_one_block_gives(folder, kind, monkeypatch):
    path = folder / f"{kind}.root"
    reading = READING.replace(cut="sum(part_pt) > 60 and genWeight != 0")
    whole = trees.read_tree(path, reading)
    monkeypatch.setattr(tables, "BLOCK", 5000)
    found = trees.parts(path, reading)
    assert len(found) > 5 and sum(part.events for part in found) == len(whole)
    read = [pickle.loads(pickle.dumps(part.open))()(0, part.events) for part in found]
    assert [len(block) for block in read] == [part.events for part in found]
    assert tables.as_one(read).digest() == whole.digest()
    some = tables.as_one([piece() for piece in pieces(found, 37)])
    assert some.digest() == whole[:37].digest()


def test_the_cut_of_an_rntuple_is_applied(folder):
    """uproot 5.7.7: `RNTuple.arrays(cut=...)` returns all entries, without a word."""
    cut = "genWeight > 1"
    expected = np.flatnonzero(BRANCHES["genWeight"] > 1)
    for kind in KINDS:
        events = trees.read_tree(folder / f"{kind}.root", READING.replace(cut=cut))
        np.testing.assert_array_equal(events.columns["entry"], expected)
        np.testing.assert_array_equal(events.weight, BRANCHES["genWeight"][expected])
    if uproot.__version__ == "5.7.7":
        with uproot.open(folder / "RNTuple.root") as file:
            assert len(file["Events"].arrays(["genWeight"], cut=cut)) == 300 > len(expected)


@pytest.mark.parametrize("kind", KINDS)
def test_several_jets_an_entry(tmp_path, kind, monkeypatch):
    counts = np.array([5, 0, 2, 4])
    group = awkward.Array([[1, 0, -1, 1, 0], [], [0, 0], [0, 1, 2, 1]])
    jets = awkward.Array([[300.0, 200.0], [], [400.0], [50.0, 500.0, 10.0]])
    branches = {**constituents(counts), "idx": group, "J_pt": jets, "w": np.arange(1.0, 5.0)}
    write_tree(tmp_path / "a.root", branches, kind)
    reading = Reading(columns={**COLUMNS, "weight": "w", "J": "J_pt"}, group="idx", cut="J_pt > 40")
    monkeypatch.setattr(tables, "BLOCK", 1)  # an entry a block
    events = trees.read_tree(tmp_path / "a.root", reading)
    order = [1, 4, 0, 3, 5, 6, 7, 8, 10]
    np.testing.assert_allclose(events.p4, momenta(branches)[order], rtol=1e-6, atol=1e-5)
    np.testing.assert_array_equal(events.columns["entry"], [0, 0, 2, 3, 3])
    np.testing.assert_array_equal(events.columns["jet"], [0, 1, 0, 0, 1])
    np.testing.assert_array_equal(events.columns["J"], [300.0, 200.0, 400.0, 50.0, 500.0])
    np.testing.assert_array_equal(events.weight, [1.0, 1.0, 3.0, 4.0, 4.0])
    entries, found = trees.jets(tmp_path / "a.root", reading)
    assert entries == 4 and found.tolist() == [2, 0, 1, 3]


def test_nested_jets_of_an_rntuple(tmp_path):
    inner = constituents([2, 1, 3])
    nested = {n: awkward.unflatten(x, [2, 0, 1]) for n, x in inner.items()}
    write_tree(tmp_path / "a.root", nested, "RNTuple")
    events = trees.read_tree(tmp_path / "a.root", Reading(columns=COLUMNS))
    np.testing.assert_allclose(events.p4, momenta(inner), rtol=1e-6, atol=1e-5)
    np.testing.assert_array_equal(events.columns["jet"], [0, 1, 0])


def test_records_of_an_rntuple_are_named_with_dots(tmp_path):
    names = dict(zip(("pt", "eta", "phi", "m"), COLUMNS.values(), strict=True))
    records = awkward.zip({ours: BRANCHES[theirs] for ours, theirs in names.items()})
    write_tree(tmp_path / "a.root", {"Cand": records, "pt": BRANCHES["genWeight"]}, "RNTuple")
    reading = Reading(columns={n: f"Cand.{n}" for n in names})
    assert trees.unread(tmp_path / "a.root", reading) == ("pt",)
    events = trees.read_tree(tmp_path / "a.root", reading)
    np.testing.assert_allclose(events.p4, momenta(BRANCHES), rtol=1e-6, atol=1e-5)


def test_arrays_of_a_fixed_size(tmp_path):
    padded = {
        n: awkward.to_numpy(awkward.fill_none(awkward.pad_none(BRANCHES[n], 8, clip=True), 0.0))
        for n in COLUMNS.values()
    }
    with uproot.recreate(tmp_path / "a.root") as file:
        file.mktree("t", dict.fromkeys(padded, "8 * float64"))
        file["t"].extend(padded)
    events = trees.read_tree(tmp_path / "a.root", Reading(columns=COLUMNS))
    np.testing.assert_array_equal(events.multiplicity, COUNTS)
    np.testing.assert_allclose(events.p4, momenta(BRANCHES), rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_a_known_tree_needs_no_names(tmp_path, kind):
    """The branches of PFNano; uproot writes a counter beside each jagged branch of a TTree."""
    ends = dict(zip(COLUMNS.values(), ("pt", "eta", "phi", "mass"), strict=True))
    branches = {f"PFCands_{end}": BRANCHES[name] for name, end in ends.items()}
    branches["FatJetPFCands_pFCandsIdx"] = awkward.local_index(BRANCHES["part_pt"])
    branches["FatJetPFCands_jetIdx"] = 0 * branches["FatJetPFCands_pFCandsIdx"]
    branches["genWeight"] = BRANCHES["genWeight"]
    write_tree(tmp_path / "a.root", branches, kind)
    events = trees.read_tree(tmp_path / "a.root", Reading(columns={"weight": "genWeight"}))
    np.testing.assert_allclose(events.p4, momenta(BRANCHES), rtol=1e-6, atol=1e-5)
    np.testing.assert_array_equal(events.columns["jet"], 0)


@pytest.mark.parametrize("kind", KINDS)
def test_one_of_several_trees_is_chosen(tmp_path, kind):
    with uproot.recreate(tmp_path / "a.root") as file:
        add_tree(file, BRANCHES, kind, "nominal")
        add_tree(file, {"x": np.zeros(3)}, kind, "other")
    with pytest.raises(InputError, match="found the trees nominal, other, expected one"):
        trees.parts(tmp_path / "a.root", READING)
    events = trees.read_tree(tmp_path / "a.root", READING.replace(tree="nominal"))
    assert len(events) == 300
    with pytest.raises(InputError, match="found no 'third'; there are nominal, other"):
        trees.parts(tmp_path / "a.root", READING.replace(tree="third"))


@pytest.mark.parametrize("kind", KINDS)
def test_errors_name_the_file_and_the_place(folder, kind):
    path = folder / f"{kind}.root"
    place = f"{path}:Events: "
    for reading, message in (
        (Reading(columns=COLUMNS), "found 'genWeight', which would not be read although"),
        (READING.replace(columns={**COLUMNS, "pt": "part_p"}), "did you mean part_p"),
        (READING.replace(cut="genWeight > 100"), "no jets that pass the cut 'genWeight > 100'"),
        (READING.replace(ignore=("that",)), "ignore: found no that"),
    ):
        with pytest.raises(InputError) as found:
            trees.parts(path, reading)
        assert str(found.value).startswith(place) and message in str(found.value)


def test_a_fault_is_found_in_its_entry_in_any_block(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "BLOCK", 5000)
    pt = awkward.to_list(BRANCHES["part_pt"])
    pt[250][0] = np.nan
    write_tree(tmp_path / "a.root", {**BRANCHES, "part_pt": awkward.Array(pt)})
    with pytest.raises(InputError, match="entry 250: pt 'part_pt': found nan"):
        trees.read_tree(tmp_path / "a.root", READING)


def test_many_branches_are_not_all_listed(tmp_path):
    more = {f"HLT_{i}": np.zeros(300) for i in range(200)}
    write_tree(tmp_path / "a.root", {**BRANCHES, **more})
    unread = trees.unread(tmp_path / "a.root", READING)
    assert len(unread) == 200
    with pytest.raises(InputError) as found:
        trees.parts(tmp_path / "a.root", READING.replace(columns={"pt": "nothing"}))
    assert len(str(found.value)) < 1000


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_files_are_refused_in_one_line(folder, tmp_path, kind):
    whole = (folder / f"{kind}.root").read_bytes()
    assert refusals(whole, tmp_path, ".root", lambda p: trees.read_tree(p, READING)) > 15


def test_what_is_no_tree(tmp_path):
    (tmp_path / "text.root").write_text("text")
    with uproot.recreate(tmp_path / "histogram.root") as file:
        file["h"] = np.histogram([1.0, 2.0])
    assert not trees.is_tree(tmp_path / "text.root") and not trees.is_tree(tmp_path)
    assert trees.is_tree(tmp_path / "histogram.root")
    with pytest.raises(InputError, match="starts with b'text', expected a ROOT or parquet file"):
        trees.parts(tmp_path / "text.root")
    with pytest.raises(InputError, match=r"found h \(TH1D\), expected a TTree or RNTuple"):
        trees.parts(tmp_path / "histogram.root")
    with pytest.raises(InputError, match="no such file"):
        trees.parts(tmp_path / "absent.root")
