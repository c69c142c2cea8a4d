"""Files appear whole or not at all; a JSON file that is not what was expected is said to be so."""

import re

import numpy as np
import pytest

from jaxpriors.errors import InputError
from jaxpriors.run.storage import digest, read_json, write_json, written_whole


def test_a_write_that_fails_leaves_what_was_there(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"a": 1})
    with pytest.raises(ZeroDivisionError), written_whole(path, overwrite=True) as partial:
        partial.write_text("half")
        assert partial.suffix == ".partial"
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == [path] and read_json(path) == {"a": 1}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "no such file, expected a recipe"),
        ("{", "found Expecting property name .*, expected JSON"),
        ("[1]", "found list, expected a JSON object"),
    ],
)
def test_what_is_no_json_object_is_refused(tmp_path, text, message):
    path = tmp_path / "a.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(InputError, match=f"{re.escape(str(path))}: {message}"):
        read_json(path, "a recipe")


def test_a_digest_is_of_the_numbers_in_their_order():
    array = np.arange(6.0).reshape(2, 3)
    assert digest("a", array, None) == digest("a", np.asfortranarray(array))
    assert len({digest(array, "a"), digest("a", array), digest(array.T)}) == 3
    assert digest() == "cae66941d9efbd404e4d88758ea67670"
