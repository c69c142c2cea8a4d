#!/usr/bin/env bash
# pyarrow 26.0.1: `ParquetFile.iter_batches` and `ParquetFile.read` leave out a field of a list of
# structs that is asked for as "Cand.pt", without an error or a warning.
#
# Seen: of a column Cand, a list of structs {pt, eta}, and a column w, columns=["Cand.pt", "w"]
# gives w alone, and ["Cand.pt"] rows without columns. ["Cand.list.element.pt", "w"] gives Cand with
# pt, and w. Of a struct S, no list, "S.pt" does give S with pt. `pyarrow.parquet.read_table` raises
# for "Cand.pt" and for "Cand.list.element.pt": no name of this field suits both.
#
# Exits with 0 while that is so, with 1 if it changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/python -m pip install --quiet pyarrow==26.0.1
venv/bin/python - <<'PYTHON'
import sys
import warnings

import pyarrow as pa
import pyarrow.parquet as pq

warnings.simplefilter("error")
rows = [{"Cand": [{"pt": 1.0, "eta": 0.5}], "S": {"pt": 3.0, "eta": 0.0}, "w": 1.0},
        {"Cand": [], "S": {"pt": 4.0, "eta": 0.0}, "w": 2.0}]
pq.write_table(pa.Table.from_pylist(rows), "a.parquet")


def read(*columns):
    """The rows of `iter_batches` if those of `read` are the same, and the error of `read_table`."""
    with pq.ParquetFile("a.parquet") as file:
        found = [row for batch in file.iter_batches(columns=columns) for row in batch.to_pylist()]
        assert found == file.read(columns=list(columns)).to_pylist()
    try:
        pq.read_table("a.parquet", columns=list(columns))
        error = None
    except pa.ArrowInvalid as raised:
        error = str(raised).split(" in ")[0]
    print(*columns, "->", found, "| read_table:", error or "no error")
    return found, error is not None


same = (
    read("Cand.pt", "w") == ([{"w": 1.0}, {"w": 2.0}], True)
    and read("Cand.pt") == ([{}, {}], True)
    and read("Cand.list.element.pt", "w")
    == ([{"Cand": [{"pt": 1.0}], "w": 1.0}, {"Cand": [], "w": 2.0}], True)
    and read("S.pt") == ([{"S": {"pt": 3.0}}, {"S": {"pt": 4.0}}], False)
)
sys.exit(0 if same else 1)
PYTHON
echo "as described"
