"""Files appear whole or not at all; a JSON file that is not what was expected is said to be so."""

import os
import re

import numpy as np
import pytest

from jaxpriors.errors import InputError
from jaxpriors.run.storage import check_output, digest, read_json, write_json, written_whole


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
        (
            "[" * 20_000 + "]" * 20_000,
            "found JSON that is nested too deeply",
        ),
        (
            '{"a": ' * 101 + "1" + "}" * 101,
            "found JSON that is nested too deeply",
        ),
        (b"\xff{}", "found 'utf-8' codec can't decode byte 0xff .*, expected JSON"),
    ],
)
def test_what_is_no_json_object_is_refused(tmp_path, text, message):
    path = tmp_path / "a.json"
    if text is not None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InputError, match=f"{re.escape(str(path))}: {message}"):
        read_json(path, "a recipe")


def test_what_is_no_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match=r"pipe: is a pipe, a socket or a device, expected"):
        read_json(tmp_path / "pipe")
    with pytest.raises(InputError, match=r"is a folder, expected that of a finished run"):
        read_json(tmp_path)


def test_an_output_that_is_an_input_is_refused_by_whatever_path(tmp_path):
    source, other, folder = tmp_path / "a.h5", tmp_path / "b.h5", tmp_path / "folder"
    source.write_text("mine")
    folder.mkdir()
    check_output(other, source, None, tmp_path / "absent")
    check_output(source, None, other)
    os.link(source, other)
    (tmp_path / "c.h5").symlink_to(source)
    for path in (source, other, tmp_path / "c.h5", folder / ".." / "a.h5"):
        with pytest.raises(InputError, match=r"is the input .*a\.h5 itself; choose another"):
            check_output(path, None, source)
    with pytest.raises(InputError, match="is the input"):
        check_output(folder, tmp_path / "." / "folder")


def test_a_digest_is_of_the_numbers_in_their_order():
    array = np.arange(6.0).reshape(2, 3)
    assert digest("a", array, None) == digest("a", np.asfortranarray(array))
    assert len({digest(array, "a"), digest("a", array), digest(array.T)}) == 3
    assert digest() == "cae66941d9efbd404e4d88758ea67670"
