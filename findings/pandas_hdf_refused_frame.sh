#!/usr/bin/env bash
# pandas 3.1.1, tables 3.11.1, numpy 2.4.6: `to_hdf` refuses a frame with categories after it has
# replaced what the file had under this key, and leaves a part that pandas cannot read.
#
# Seen: a file has a frame under "events". `to_hdf` of another with a categorical column, in its
# default format, "fixed", raises NotImplementedError, "Use format="table"". Then the first frame is
# gone: `read_hdf` raises AttributeError, "Attribute 'block1_items_variety' does not exist". A new
# file is left behind in the same state. A frame under another key of the file stays as it was.
#
# Exits with 0 while that is so, with 1 if it changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/python -m pip install --quiet pandas==3.1.1 tables==3.11.1 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import sys
import warnings

import pandas as pd

warnings.simplefilter("error")
plain = pd.DataFrame({"pt": [1.0, 2.0, 3.0], "label": [1, 0, 1]})
with_categories = plain.astype({"label": "category"})


def attempt(do):
    """What `do` returns, or the error it raises as text."""
    try:
        return do()
    except Exception as error:
        return f"{type(error).__name__}: {error}"


plain.to_hdf("old.h5", key="events")
plain.to_hdf("old.h5", key="other")
before = pd.read_hdf("old.h5", "events")
written = [attempt(lambda: with_categories.to_hdf(f, key="events")) for f in ("old.h5", "new.h5")]
after = [attempt(lambda: pd.read_hdf(f, "events")) for f in ("old.h5", "new.h5")]
print("to_hdf:  ", *written, sep="\n  ")
print("read_hdf:", *after, sep="\n  ")
same = (
    before.equals(plain)
    and pd.read_hdf("old.h5", "other").equals(plain)
    and all(str(error).startswith("NotImplementedError: Cannot store") for error in written)
    and all(str(error).startswith("AttributeError: ") for error in after)
)
sys.exit(0 if same else 1)
PYTHON
echo "as described"
