"""JSON is parsed as the standard has it, and compared with the form that is expected."""

import dataclasses
from typing import Any, Literal

import pytest

from jaxpriors.errors import InputError
from jaxpriors.run.forms import checked, made, parse_json


@dataclasses.dataclass(frozen=True)
class Settings:
    width: int
    rate: float = 0.5
    sizes: tuple[int, ...] = ()
    kind: Literal["a", "b"] = "a"
    limit: int | None = None

    def __post_init__(self) -> None:
        if self.width < 1:
            raise ValueError(f"width is {self.width}, expected at least 1")


WHOLE = {"width": 3, "rate": 1, "sizes": [1, 2], "kind": "b", "limit": None}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 100_000 + "]" * 100_000, "nested too deeply"),
        ("[" * 500 + "]" * 500, "nested too deeply"),
        ('{"a": ' * 500 + "1" + "}" * 500, "nested too deeply"),
        ("[NaN]", "the number 'NaN', which is not finite"),
        ("[-Infinity]", "which is not finite"),
        ("[1e999]", "the number '1e999', which is not finite"),
        ("[18446744073709551616]", "the number '18446744073709551616' beyond 64 bits"),
        ("9" * 5000, "beyond 64 bits"),
        (b"\xff\xfe\x00", "expected JSON"),
        ("", "expected JSON"),
        (None, "expected JSON"),
    ],
)
def test_what_is_no_json_is_told_in_one_line(text, message):
    with pytest.raises(InputError, match=message) as caught:
        parse_json(text, "a.json")
    assert str(caught.value).startswith("a.json: ") and "\n" not in str(caught.value)
    assert len(str(caught.value)) < 200


def test_numbers_of_64_bits_are_exact():
    numbers = [2**64 - 1, -(2**63), 0.1, 1e308]
    assert parse_json(repr(numbers), "a.json") == numbers


@pytest.mark.parametrize(
    ("value", "form", "message"),
    [
        (True, int, "found true, expected an integer"),
        (1.0, int, "found 1.0, expected an integer"),
        ("1", float, "found '1', expected a finite number"),
        (True, float, "expected a finite number"),
        (1, bool, "expected true or false"),
        (None, str, "found null, expected a text"),
        ("c", Literal["a", "b"], "found 'c', expected 'a' or 'b'"),
        ([], Literal["a"], "expected 'a'"),
        ({}, list[int], "expected a list of an integer"),
        ([1, "x"], tuple[int, ...], r"at\[1\]: found 'x', expected an integer"),
        ([1], tuple[int, int], "expected a list of an integer, an integer"),
        ({"a": 1}, dict[str, str], "at.a: found 1, expected a text"),
        (1.5, int | None, "expected an integer or null"),
    ],
)
def test_other_forms_are_refused(value, form, message):
    with pytest.raises(InputError, match=message):
        checked(value, form, "at")


def test_values_of_the_form_come_back():
    assert checked(2, float, "") == 2.0 and type(checked(2, float, "")) is float
    assert checked([[1, 2], [3]], tuple[tuple[int, ...], ...], "") == ((1, 2), (3,))
    assert checked(None, int | None, "") is None
    assert checked({"a": [1]}, dict[str, Any], "") == {"a": [1]}


def test_a_dataclass_is_made_of_all_its_fields():
    assert made(Settings, WHOLE, "") == Settings(3, 1.0, (1, 2), "b")
    less = {name: WHOLE[name] for name in WHOLE if name != "rate"}
    with pytest.raises(InputError, match=r"a\.json: found no 'rate', expected width, rate, sizes"):
        made(Settings, less, "a.json")
    assert made(Settings, less, "a.json", ("rate",)).rate == 0.5
    for change, message in (
        ({"depth": 1}, "found 'depth', expected some of"),
        ({"width": "3"}, r"a\.json\.width: found '3', expected an integer"),
        ({"width": 0}, r"a\.json: width is 0, expected at least 1"),
    ):
        with pytest.raises(InputError, match=message):
            made(Settings, WHOLE | change, "a.json")
    with pytest.raises(InputError, match=r"a\.json: found null, expected a table"):
        made(Settings, None, "a.json")
