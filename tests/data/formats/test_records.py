"""Entries as events: one jet, several, grouped, padded; cuts, units and what is refused."""

import awkward
import numpy as np
import pandas
import pytest

import jaxpriors
from jaxpriors.data.formats.frames import events_from_awkward, events_from_pandas
from jaxpriors.errors import InputError
from tests.helpers.trees import COLUMNS, constituents, momenta

COUNTS = np.array([3, 1, 2, 4])
BRANCHES = constituents(COUNTS)


def read(branches=None, **reading):
    reading = {"columns": COLUMNS, **reading}
    return events_from_awkward(awkward.Array({**BRANCHES, **(branches or {})}), **reading)


def test_one_jet_an_entry():
    weight = np.array([1.0, -2.0, 0.5, 3.0])
    jet = {f"jet_{n}": np.array([10.0, 20.0, 30.0, 1.0]) / 10**i for i, n in enumerate("abcd")}
    ours = dict(zip(("jet_pt", "jet_eta", "jet_phi", "jet_m"), jet, strict=True))
    events = read(
        {"w": weight, "kind": np.array([0, 1, 1, 0]), "x": np.arange(4.0), **jet},
        columns={**COLUMNS, "weight": "w", "label": "kind == 1", "twice": "2 * x", **ours},
    )
    np.testing.assert_array_equal(events.multiplicity, COUNTS)
    np.testing.assert_allclose(events.p4, momenta(BRANCHES), rtol=1e-6, atol=1e-5)
    np.testing.assert_array_equal(events.weight, weight)
    np.testing.assert_array_equal(events.label, [0, 1, 1, 0])
    np.testing.assert_array_equal(events.columns["twice"], [0.0, 2.0, 4.0, 6.0])
    np.testing.assert_array_equal(events.columns["entry"], np.arange(4))
    assert "jet" not in events.columns
    pt = np.hypot(events.jet_p4[:, 1], events.jet_p4[:, 2])
    np.testing.assert_allclose(pt, [10.0, 20.0, 30.0, 1.0], rtol=1e-6)


def grouped():
    """Two entries of five constituents: jets 0 and 2 of three, one of no jet; jet 1 of entry 1."""
    branches = constituents([5, 2])
    group = awkward.Array([[2, 0, -1, 2, 0], [0, 0]])
    jets = {"J_pt": awkward.Array([[300.0, 10.0, 200.0], [400.0]]), "w": np.array([0.5, 2.0])}
    return {**branches, "idx": group, **jets}


def test_several_jets_grouped_by_an_index():
    branches = grouped()
    events = events_from_awkward(
        awkward.Array(branches),
        columns={**COLUMNS, "weight": "w", "J": "J_pt"},
        group="idx",
        cut="J_pt > 100",
    )
    every = momenta(branches)
    np.testing.assert_array_equal(events.multiplicity, [2, 2, 2])
    np.testing.assert_allclose(events.p4, every[[1, 4, 0, 3, 5, 6]], rtol=1e-6, atol=1e-5)
    np.testing.assert_array_equal(events.columns["entry"], [0, 0, 1])
    np.testing.assert_array_equal(events.columns["jet"], [0, 2, 0])
    np.testing.assert_array_equal(events.columns["J"], [300.0, 200.0, 400.0])
    np.testing.assert_array_equal(events.weight, [0.5, 0.5, 2.0])


def test_constituents_may_be_looked_up_by_an_index_branch():
    branches = constituents([3, 2])
    index = awkward.Array([[2, 0], [1]])
    columns = {ours: f"{theirs}[places]" for ours, theirs in COLUMNS.items()}
    events = events_from_awkward(
        awkward.Array({**branches, "places": index, "jet": awkward.Array([[0, 0], [0]])}),
        columns=columns,
        group="jet",
    )
    np.testing.assert_allclose(events.p4, momenta(branches)[[2, 0, 4]], rtol=1e-6, atol=1e-5)


def test_several_jets_nested():
    inner = constituents([2, 1, 3])
    nested = {n: awkward.unflatten(x, [2, 0, 1]) for n, x in inner.items()}
    branches = {**nested, "w": np.array([1.0, 2.0, 3.0]), "x": awkward.Array([[1, 2], [], [3]])}
    events = events_from_awkward(
        awkward.Array(branches), columns={**COLUMNS, "weight": "w", "x": "x"}
    )
    np.testing.assert_array_equal(events.multiplicity, [2, 1, 3])
    np.testing.assert_allclose(events.p4, momenta(inner), rtol=1e-6, atol=1e-5)
    np.testing.assert_array_equal(events.columns["entry"], [0, 0, 2])
    np.testing.assert_array_equal(events.columns["jet"], [0, 1, 0])
    np.testing.assert_array_equal(events.weight, [1.0, 1.0, 3.0])
    np.testing.assert_array_equal(events.columns["x"], [1, 2, 3])
    per_entry = events_from_awkward(
        awkward.Array(branches), columns={**COLUMNS, "weight": "w", "x": "x"}, cut="w < 2"
    )
    np.testing.assert_array_equal(per_entry.columns["entry"], [0, 0])


@pytest.mark.parametrize("padding", [0.0, -9.0, np.nan])
def test_padded(padding):
    padded = {
        n: awkward.to_numpy(awkward.fill_none(awkward.pad_none(x, 6, clip=True), padding))
        for n, x in BRANCHES.items()
    }
    events = events_from_awkward(
        awkward.Array(padded), columns=COLUMNS, padding=None if padding == 0 else padding
    )
    assert events.digest() == read().digest()
    counted = {**padded, "n": COUNTS}
    by_number = events_from_awkward(
        awkward.Array(counted), columns={**COLUMNS, "multiplicity": "n"}
    )
    assert by_number.digest() == events.digest()


def test_a_mask_chooses_constituents():
    events = read(columns={**COLUMNS, "mask": "part_pt > 5"}, cut="any(part_pt > 5)")
    pt = awkward.to_numpy(awkward.flatten(BRANCHES["part_pt"]))
    found = np.hypot(events.p4[:, 1], events.p4[:, 2])
    np.testing.assert_allclose(found, pt[pt > 5], rtol=1e-6)


def test_momenta_as_one_array_units_and_identities():
    p4 = awkward.unflatten(momenta(BRANCHES) * 1000, COUNTS)
    pid = awkward.unflatten(np.array([1, 2, 211] + [22] * 7), COUNTS)
    events = events_from_awkward(
        awkward.Array({"p": p4, "id": pid}),
        columns={"p4": "p", "pid": "id"},
        coordinates="E,px,py,pz",
        unit="MeV",
        identities={1: 130, 2: 22},
    )
    np.testing.assert_allclose(events.p4, momenta(BRANCHES), rtol=1e-6, atol=1e-5)
    np.testing.assert_array_equal(events.pid[:4], [130, 22, 211, 22])
    mev = read(columns={**COLUMNS, "pt": "1000 * part_pt", "m": "1000 * part_m"}, unit="MeV")
    np.testing.assert_allclose(mev.p4, momenta(BRANCHES), rtol=1e-6, atol=1e-5)


def test_columns_alone():
    branches = {"a": np.arange(3.0), "b": np.array([1, 0, 1]), "w": np.array([1.0, 2.0, -1.0])}
    events = events_from_awkward(
        awkward.Array(branches), columns={"ratio": "a / 2", "label": "b", "weight": "w"}
    )
    np.testing.assert_array_equal(events.columns["ratio"], [0.0, 0.5, 1.0])
    np.testing.assert_array_equal(events.label, [1, 0, 1])
    np.testing.assert_array_equal(events.weight, [1.0, 2.0, -1.0])
    nested = awkward.Array({"a": [[1.0, 2.0], [3.0]], "w": [1.0, 2.0]})
    several = events_from_awkward(nested, columns={"a": "a", "weight": "w"}, cut="a > 1")
    np.testing.assert_array_equal(several.columns["a"], [2.0, 3.0])
    np.testing.assert_array_equal(several.columns["jet"], [1, 0])


def test_known_layouts():
    """Names of JetClass and of PFNano, with other first words."""
    p4 = momenta(BRANCHES)
    named = dict(zip(("cand_energy", "cand_px", "cand_py", "cand_pz"), p4.T, strict=True))
    like_jetclass = {n: awkward.unflatten(x, COUNTS) for n, x in named.items()}
    flags = ("ChargedHadron", "NeutralHadron", "Photon", "Electron", "Muon")
    kinds = np.arange(len(p4)) % 5
    like_jetclass |= {
        f"cand_is{flag}": awkward.unflatten(kinds == i, COUNTS) for i, flag in enumerate(flags)
    }
    like_jetclass["cand_charge"] = awkward.unflatten(np.full(len(p4), -1), COUNTS)
    jet = {"jet_pt": 7.0, "jet_eta": 0.5, "jet_phi": 1.0, "jet_energy": 9.0}
    like_jetclass |= {name: np.full(4, value) for name, value in jet.items()}
    events = events_from_awkward(awkward.Array(like_jetclass))
    np.testing.assert_allclose(events.p4, p4, rtol=1e-6, atol=1e-5)
    np.testing.assert_array_equal(events.pid[:5], [-211, 130, 22, 11, 13])
    expected = [9.0, 7 * np.cos(1), 7 * np.sin(1), 7 * np.sinh(0.5)]
    np.testing.assert_allclose(events.jet_p4[0], expected, rtol=1e-6)

    ends = {"part_pt": "pt", "part_eta": "eta", "part_phi": "phi", "part_m": "mass"}
    like_nano = {f"PFCands_{end}": BRANCHES[name] for name, end in ends.items()}
    like_nano |= {f"Muon_{end}": BRANCHES[name] for name, end in ends.items()}
    like_nano["FatJetPFCands_pFCandsIdx"] = awkward.Array([[2, 0], [0], [], [3, 1]])
    like_nano["FatJetPFCands_jetIdx"] = awkward.Array([[0, 0], [0], [], [1, 0]])
    with pytest.warns(UserWarning, match="not read: Muon_eta, Muon_mass, Muon_phi, Muon_pt"):
        events = events_from_awkward(awkward.Array(like_nano))
    np.testing.assert_allclose(events.p4, p4[[2, 0, 3, 7, 9]], rtol=1e-6, atol=1e-5)
    np.testing.assert_array_equal(events.columns["entry"], [0, 1, 3, 3])


def test_an_unknown_layout_is_told_with_a_command():
    renamed = {name.replace("part", "thing"): x for name, x in BRANCHES.items()}
    with pytest.raises(InputError) as found:
        events_from_awkward(awkward.Array(renamed))
    assert "there are thing_eta, thing_m, thing_phi, thing_pt" in str(found.value)
    assert "--columns pt thing_pt eta thing_eta phi thing_phi m thing_m" in str(found.value)


def test_weights_that_are_not_read_are_refused():
    branches = {"genWeight": np.ones(4), "height": np.ones(4)}
    with pytest.raises(InputError, match="found 'genWeight', which would not be read although"):
        read(branches)
    with pytest.warns(UserWarning, match="not read: height"):
        events = read(branches, ignore=("genWeight",))
    np.testing.assert_array_equal(events.weight, 1.0)


def put(name, entry, value):
    """A branch in which the first number of an entry is another."""
    rows = awkward.to_list(BRANCHES[name])
    rows[entry][0] = value
    return {name: awkward.Array(rows)}


@pytest.mark.parametrize(
    "branches, reading, message",
    [
        (put("part_pt", 2, np.nan), {}, "entry 2: pt 'part_pt': found nan (1 such values)"),
        (put("part_eta", 3, None), {}, "entry 3: eta 'part_eta': found nan"),
        (put("part_pt", 1, np.inf), {}, "entry 1: pt 'part_pt': found inf"),
        ({"w": [1, np.nan, 1, 1]}, {"weight": "w"}, "entry 1: weight 'w': found nan"),
        ({"x": [1, 2, 3, np.inf]}, {"x": "x"}, "entry 3: x 'x': found inf"),
        ({"k": [0, 1, 0.5, 1]}, {"label": "k"}, "label 'k' holds 0.5, expected integers"),
        ({"w": BRANCHES["part_pt"]}, {"weight": "w"}, "weight 'w': found several values an entry"),
        ({"q": [1, 2, 3, 4]}, {"pid": "q"}, "pid 'q': found no list"),
        ({"q": BRANCHES["part_pt"][:, 1:]}, {"pid": "q"}, "found 2 values in entry 0, expected 3"),
        ({}, {"entry": "part_pt[0]"}, "found 'entry', which is the column that tells"),
        ({}, {"jet_pt": "part_pt[0]"}, "expected jet_pt, jet_eta, jet_phi, jet_m"),
        ({}, {"E": "part_pt"}, "found the components E, eta, m, phi, pt"),
    ],
)
def test_values_are_refused_with_their_place(branches, reading, message):
    with pytest.raises(InputError) as found:
        read(branches, columns={**COLUMNS, **reading})
    assert str(found.value).startswith("awkward array: ") and message in str(found.value)


@pytest.mark.parametrize(
    "branches, reading, message",
    [
        ({}, {"cut": "part_pt > 1"}, "cut 'part_pt > 1': found several values an entry"),
        ({}, {"cut": "sum(part_pt)"}, "found a number, expected a condition"),
        (
            {},
            {"group": "part_pt"},
            "group 'part_pt': found 4 * var * float64, expected one integer",
        ),
        ({"g": [[0, 0, 2], [0], [0, 0], [0] * 4]}, {"group": "g"}, "entry 0, jet 1: no constitue"),
        ({"g": [[0, 0, 0], [-2], [0, 0], [0] * 4]}, {"group": "g"}, "found -2 in entry 1"),
        (
            {"x": [1, np.nan, 3, 4]},
            {"cut": "x > 2"},
            "found NaN in 'x' in entry 1 (1 such entries)",
        ),
    ],
)
def test_cuts_and_groups_are_refused_with_their_place(branches, reading, message):
    with pytest.raises(InputError) as found:
        read(branches, **reading)
    assert message in str(found.value)


def test_what_a_cut_leaves_out_may_hold_anything():
    events = read({**put("part_pt", 2, np.nan), "good": np.array([1, 1, 0, 1])}, cut="good == 1")
    np.testing.assert_array_equal(events.columns["entry"], [0, 1, 3])
    guarded = read({"x": np.array([1, np.nan, 3, 4])}, cut="isfinite(x) & (x > 2)")
    np.testing.assert_array_equal(guarded.columns["entry"], [2, 3])


def test_jets_without_constituents():
    branches = constituents([2, 0, 1])
    with pytest.raises(InputError, match=r"entry 1: no constituents \(1 such jets\)"):
        events_from_awkward(awkward.Array(branches), columns=COLUMNS)
    events = events_from_awkward(awkward.Array(branches), columns=COLUMNS, cut="num(part_pt) > 0")
    np.testing.assert_array_equal(events.columns["entry"], [0, 2])


def test_faults_that_events_find_name_the_entry():
    with pytest.raises(InputError, match=r"in entry 3, constituent 1"):
        read({"id": [[22] * 3, [22], [22] * 2, [22, 77, 22, 22]]},
             columns={**COLUMNS, "pid": "id"}, cut="num(part_pt) != 1")  # fmt: skip


def test_a_frame_of_constituents_in_any_order():
    flat = {name: awkward.to_numpy(awkward.flatten(x)) for name, x in BRANCHES.items()}
    frame = pandas.DataFrame(flat)
    frame["number"] = np.repeat([30, 10, 20, 5], COUNTS)
    frame["w"] = np.repeat([1.0, 2.0, -3.0, 4.0], COUNTS)
    columns = {**COLUMNS, "weight": "w"}
    events = jaxpriors.events_from_pandas(frame, "number", columns=columns)
    np.testing.assert_array_equal(events.columns["entry"], [30, 10, 20, 5])
    np.testing.assert_array_equal(events.weight, [1.0, 2.0, -3.0, 4.0])
    np.testing.assert_allclose(events.p4, momenta(BRANCHES), rtol=1e-6, atol=1e-5)
    mixed = frame.sample(frac=1, random_state=3)
    others = events_from_pandas(mixed, "number", columns=columns)
    place = {entry: i for i, entry in enumerate(events.columns["entry"])}
    order = [place[entry] for entry in others.columns["entry"]]
    np.testing.assert_array_equal(others.weight, events.weight[order])
    np.testing.assert_allclose(others.jet_p4, events.jet_p4[order], rtol=1e-5, atol=1e-4)
    frame.loc[0, "w"] = 7.0
    with pytest.raises(InputError, match=r"column 'w': found \[7.0, 1.0, 1.0\] in event 30"):
        events_from_pandas(frame, "number", columns=columns)


def test_a_frame_of_features():
    frame = pandas.DataFrame({"a": [1.0, 2.0], "b": [3, 4], "weight": [1.0, -0.5], "s": ["x", "y"]})
    with pytest.warns(UserWarning, match="not read: s"):
        events = events_from_pandas(frame)
    assert sorted(events.columns) == ["a", "b", "entry"]
    np.testing.assert_array_equal(events.weight, [1.0, -0.5])
    with pytest.raises(InputError, match="found 'mc_weight', which would not be read"):
        events_from_pandas(frame.rename(columns={"weight": "mc_weight"}))
