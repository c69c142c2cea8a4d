"""Tables of pandas in both of its formats, read back as pandas reads them."""

import io
import pickle
import pickletools

import h5py
import numpy as np
import pandas
import pytest

from jaxpriors.data.formats.pandas_tables import names_in_pickle, one_table, tables
from jaxpriors.data.hdf5 import open_source
from jaxpriors.errors import InputError

FRAMES = {
    "numbers": pandas.DataFrame(np.arange(30.0).reshape(5, 6)),
    "strings": pandas.DataFrame(np.arange(15.0).reshape(5, 3), columns=["pt", "η", "phi"]),
    "bytes": pandas.DataFrame(np.arange(10.0).reshape(5, 2), columns=[b"a", b"b"]),
    "types": pandas.DataFrame({
        "label": [0, 1, 0, 1, 1],
        3: np.arange(5, dtype=np.float32),
        "flag": [True, False, True, True, False],
        "x": np.linspace(0, 1, 5),
    }),
}  # fmt: skip
NONE = "bytes", "table"


@pytest.mark.filterwarnings("ignore::pandas.errors.PerformanceWarning")
@pytest.mark.parametrize(
    ("name", "form"),
    # an appendable table cannot have names of bytes
    [(name, form) for name in FRAMES for form in ("fixed", "table") if (name, form) != NONE],
)
def test_columns_and_values_are_those_of_pandas(tmp_path, name, form):
    frame = FRAMES[name]
    frame.to_hdf(tmp_path / "a.h5", key="group/df", mode="w", format=form)
    expected = [x.decode() if isinstance(x, bytes) else x for x in frame.columns]
    with open_source(tmp_path / "a.h5") as source:
        table = one_table(source)
        assert list(table.columns) == expected and len(table) == 5 and table.name == "group/df"
        backwards = table.read(expected[::-1], 1, 4)
        assert table.read(expected, 4, 90).shape == (1, len(expected))
    np.testing.assert_array_equal(backwards, frame.to_numpy(np.float64)[1:4, ::-1])


def test_columns_that_pandas_keeps_alone_are_found_by_name(tmp_path):
    frame = FRAMES["types"].drop(columns=3)
    frame.to_hdf(tmp_path / "a.h5", key="df", mode="w", format="table", data_columns=["label"])
    with open_source(tmp_path / "a.h5") as source:
        table = one_table(source)
        assert list(table.columns) == ["label", "flag", "x"]
        assert table.read(["label"], 0, 5)[:, 0].tolist() == [0, 1, 0, 1, 1]


def test_text_is_no_number(tmp_path):
    frame = FRAMES["types"].drop(columns=3).assign(text="a")
    frame.to_hdf(tmp_path / "a.h5", key="df", mode="w")
    with open_source(tmp_path / "a.h5") as source:
        table = one_table(source)
        assert table.read(["x"], 0, 5).shape == (5, 1)
        with pytest.raises(InputError, match="column 'text' of 'df' has dtype object, expected"):
            table.read(["x", "text"], 0, 5)


def test_categories_are_no_numbers(tmp_path):
    label = pandas.Categorical([1, 0, 1, 0, 0], categories=[1, 0])  # whose codes are 0, 1, 0, …
    frame = FRAMES["numbers"].assign(label=label)
    frame.to_hdf(tmp_path / "a.h5", key="df", mode="w", format="table")
    with (
        open_source(tmp_path / "a.h5") as source,
        pytest.raises(InputError, match=r"label \(1\) of 'df' is a column of categories"),
    ):
        tables(source)


class Bomb:
    """Would leave a file where it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_what_is_pickled_is_not_run(tmp_path):
    data = pickle.dumps(["pt", Bomb(tmp_path / "bad"), "eta"])
    assert names_in_pickle(data) == [] and not (tmp_path / "bad").exists()
    frame = pandas.DataFrame({"pt": [1.0], 1: [2.0]})
    with pytest.warns(pandas.errors.PerformanceWarning):
        frame.to_hdf(tmp_path / "a.h5", key="df", mode="w")
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        del file["df/axis0"]
        kind = h5py.vlen_dtype(np.uint8)
        names = file.create_dataset("df/axis0", (1,), kind)
        names[0] = np.frombuffer(data, np.uint8)
    with (
        open_source(tmp_path / "a.h5") as source,
        pytest.raises(InputError, match=r"are no names that can be read and those"),
    ):
        tables(source)
    assert not (tmp_path / "bad").exists()


@pytest.mark.parametrize("protocol", range(6))
def test_names_are_found_in_pickles_of_every_protocol(protocol):
    names = ["pt", 0, 70_000, 2**70, "label", "pt"]
    pickled = pickle.dumps({"info": (1, ["other"], names)}, protocol)
    assert names_in_pickle(pickled) == names
    out = io.StringIO()
    pickletools.dis(pickled, out)  # the repeated name is fetched from those before
    assert "GET" in out.getvalue()
    assert names_in_pickle(pickled[:-9]) in ([], names, names[:-1])


def test_tables_that_contradict_themselves_are_refused(tmp_path):
    path = tmp_path / "a.h5"

    def written(change):
        FRAMES["strings"].to_hdf(path, key="df", mode="w")
        with h5py.File(path, "r+") as file:
            change(file)
        with open_source(path) as source:
            return one_table(source)

    def replaced(name, array):
        def change(file):
            del file[name]
            file[name] = array

        return change

    with pytest.raises(InputError, match=r"'df/block0_values' is float64\[5, 2\] and has the col"):
        written(replaced("df/block0_values", np.zeros((5, 2))))
    with pytest.raises(InputError, match=r"columns of 'df' are a, b \(2\) and those of its blocks"):
        written(replaced("df/axis0", np.array([b"a", b"b"])))
    with pytest.raises(
        InputError, match=r"'df' has an index and blocks of \[4, 5\] rows, expected"
    ):
        written(replaced("df/axis1", np.arange(4)))
    with pytest.raises(InputError, match="no dataset 'df/block0_items'"):
        written(lambda file: file.pop("df/block0_items"))
    with pytest.raises(InputError, match=r"found df/axis1, .*; expected one pandas table"):
        written(lambda file: file.pop("df/axis0"))
    FRAMES["strings"].to_hdf(path, key="other")
    FRAMES["strings"].to_hdf(path, key="df")
    with (
        open_source(path) as source,
        pytest.raises(InputError, match="found tables 'df', 'other'; expected one pandas table"),
    ):
        one_table(source)
