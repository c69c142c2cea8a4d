"""Parquet files: values, row groups, structures, nulls."""

import awkward
import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from jaxpriors.data.formats import parquet, tables, trees
from jaxpriors.data.reading import Reading
from jaxpriors.errors import InputError
from tests.helpers.trees import COLUMNS, constituents, momenta, refusals, write_tree

COUNTS = np.random.default_rng(3).integers(1, 9, 300)
BRANCHES = {**constituents(COUNTS), "w": np.random.default_rng(4).normal(1, 0.5, 300)}
READING = Reading(columns={**COLUMNS, "weight": "w"})


@pytest.mark.parametrize("rows", [7, 100, 1000])
def test_values_whatever_the_row_groups(tmp_path, monkeypatch, rows):
    path = tmp_path / "a.parquet"
    awkward.to_parquet(awkward.Array(BRANCHES), path, row_group_size=rows)
    monkeypatch.setattr(tables, "BLOCK", 5000)
    monkeypatch.setattr(parquet, "BATCH", 11)
    reading = READING.replace(cut="w > 1")
    assert len(trees.parts(path, reading)) > 5
    events = trees.read_tree(path, reading)
    kept = BRANCHES["w"] > 1
    np.testing.assert_array_equal(events.columns["entry"], np.flatnonzero(kept))
    np.testing.assert_array_equal(events.weight, BRANCHES["w"][kept])
    expected = momenta({name: BRANCHES[name][kept] for name in COLUMNS.values()})
    np.testing.assert_allclose(events.p4, expected, rtol=1e-6, atol=1e-5)


def test_structures_are_named_with_dots(tmp_path):
    records = awkward.zip({name: BRANCHES[name] for name in COLUMNS.values()})
    write_tree(tmp_path / "a.parquet", {"Cand": records, "w": BRANCHES["w"]}, "parquet")
    columns = {ours: f"Cand.{theirs}" for ours, theirs in COLUMNS.items()}
    events = trees.read_tree(tmp_path / "a.parquet", Reading(columns={**columns, "weight": "w"}))
    np.testing.assert_allclose(events.p4, momenta(BRANCHES), rtol=1e-6, atol=1e-5)


def test_nulls_are_not_a_number(tmp_path):
    rows = awkward.to_list(BRANCHES["part_pt"])
    rows[4][0] = None
    table = pyarrow.table({
        **{n: awkward.to_list(BRANCHES[n]) for n in COLUMNS.values()}, "part_pt": rows,
        "w": [None, *BRANCHES["w"][1:]],
    })  # fmt: skip
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(InputError, match="entry 0: weight 'w': found nan"):
        trees.read_tree(tmp_path / "a.parquet", READING)
    with pytest.raises(InputError, match="entry 4: pt 'part_pt': found nan"):
        trees.read_tree(tmp_path / "a.parquet", READING.replace(columns=COLUMNS, ignore=("w",)))
    events = trees.read_tree(
        tmp_path / "a.parquet", READING.replace(cut="isfinite(w) & all(isfinite(part_pt))")
    )
    np.testing.assert_array_equal(events.columns["entry"], [1, 2, 3, *range(5, 300)])


def test_what_cannot_be_read_is_refused_in_one_line(tmp_path):
    write_tree(tmp_path / "a.parquet", BRANCHES, "parquet")
    whole = (tmp_path / "a.parquet").read_bytes()
    assert refusals(whole, tmp_path, ".parquet", lambda p: trees.read_tree(p, READING)) > 15
    with pytest.raises(InputError, match="tree: found 'Events', expected none of a parquet file"):
        trees.parts(tmp_path / "a.parquet", READING.replace(tree="Events"))
