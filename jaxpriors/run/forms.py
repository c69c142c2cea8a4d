"""JSON of a given form: what is read from a file is compared with the types that are expected."""

from __future__ import annotations

import dataclasses
import json
import math
import types
from collections.abc import Collection, Mapping
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from jaxpriors.errors import InputError

T = TypeVar("T")
DEEPEST = 100  # levels of JSON
SHOWN = 60  # characters of a value that a message shows


def parse_json(text: str | bytes, place: str) -> Any:
    """Parse JSON as the standard has it, with numbers that 64 bits hold.

    place: for messages, the file and where in it.

    Raises:
        InputError: the text is no JSON, nested without end, or holds NaN, infinities, or numbers
            beyond 64 bits.

    >>> parse_json('{"epochs": [1, 2.5]}', "a.json")
    {'epochs': [1, 2.5]}
    """
    try:
        found = json.loads(text, parse_int=_integer, parse_float=_number, parse_constant=_number)
        if _deeper(found, DEEPEST):
            raise RecursionError
    except RecursionError:
        raise InputError(
            f"{place}: found JSON that is nested too deeply, expected a table of at most {DEEPEST} "
            "levels"
        ) from None
    except (TypeError, ValueError) as error:
        raise InputError(f"{place}: found {error}, expected JSON") from None
    return found


def _deeper(content: Any, most: int) -> bool:
    """Tell whether JSON has more than so many levels."""
    level, depth = [content], 0
    while level:
        nested = [list(x.values()) if isinstance(x, dict) else x for x in level]
        level = [x for inner in nested if isinstance(inner, list) for x in inner]
        depth += 1
        if depth > most + 1:
            return True
    return False


def _integer(text: str) -> int:
    value = int(text) if len(text) <= 20 else 2**64
    if not -(2**63) <= value < 2**64:
        raise ValueError(f"the number {_short(text)} beyond 64 bits")
    return value


def _number(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"the number {_short(text)}, which is not finite")
    return value


def checked(value: Any, form: Any, place: str) -> Any:
    """Return a value of JSON where it has a form; lists become the tuples that the form asks for.

    Args:
        value: as `parse_json` gives it.
        form: a type hint of int, float (finite), str, bool, None, Literal, Any, X | Y, list[X],
            dict[str, X], tuple[X, ...] and tuple[X, Y].
        place: for messages.

    Raises:
        InputError: the value has another form.

    >>> checked([1, 2], tuple[float, ...], "model.json: mean")
    (1.0, 2.0)
    """
    origin, inner = get_origin(form), get_args(form)
    if form is Any:
        return value
    if origin in (Union, types.UnionType):
        for each in inner:
            try:
                return checked(value, each, place)
            except InputError:
                continue
    elif origin is Literal:
        if any(type(value) is type(each) and value == each for each in inner):
            return value
    elif origin is tuple and isinstance(value, list | tuple):
        every = inner[:1] * len(value) if inner[1:] == (Ellipsis,) else inner
        if len(every) == len(value):
            pairs = enumerate(zip(value, every, strict=True))
            return tuple(checked(v, each, f"{place}[{i}]") for i, (v, each) in pairs)
    elif origin is list and isinstance(value, list):
        return [checked(v, inner[0], f"{place}[{i}]") for i, v in enumerate(value)]
    elif origin is dict and isinstance(value, dict):
        return {k: checked(v, inner[1], f"{place}.{k}") for k, v in value.items()}
    elif form is float and type(value) in (int, float) and math.isfinite(value):
        return float(value)
    elif form in (None, types.NoneType) and value is None:
        return None
    elif form in (int, str, bool, dict, list) and type(value) is form:
        return value
    raise InputError(f"{place}: found {_short(value)}, expected {_words(form)}")


def made(cls: type[T], table: Any, place: str, optional: Collection[str] = ()) -> T:
    """Make a dataclass from a JSON object with its fields, of which only ``optional`` may lack.

    A default that the file does not hold would be another network, without a word.

    Raises:
        InputError: the object lacks a field, has one that is unknown, or a value of another form,
            or that the class refuses.
    """
    if not isinstance(table, Mapping):
        raise InputError(f"{place}: found {_short(table)}, expected a table")
    fields: Any = dataclasses.fields(cls)  # type: ignore[arg-type]
    known = {field.name for field in fields if field.init}
    needed = [f.name for f in fields if f.init and f.name not in optional]
    if unknown := sorted(set(table) - known):
        raise InputError(f"{place}: found {unknown[0]!r}, expected some of {sorted(known)}")
    if lacking := [name for name in needed if name not in table]:
        raise InputError(f"{place}: found no {lacking[0]!r}, expected {', '.join(needed)}")
    forms = get_type_hints(cls)
    values = {name: checked(v, forms[name], f"{place}.{name}") for name, v in table.items()}
    try:
        return cls(**values)
    except (TypeError, ValueError) as error:
        raise InputError(f"{place}: {error}") from None


def _short(value: Any) -> str:
    try:
        text = value if isinstance(value, str) else json.dumps(value)
    except (TypeError, ValueError, RecursionError):
        text = type(value).__name__
    text = " ".join(text.split())
    text = f"{text[:SHOWN]}…" if len(text) > SHOWN else text
    return repr(text) if isinstance(value, str) else text


def _words(form: Any) -> str:
    origin, inner = get_origin(form), get_args(form)
    if origin in (Union, types.UnionType):
        return " or ".join(map(_words, inner))
    if origin is Literal:
        return " or ".join(map(repr, inner))
    if origin in (tuple, list):
        every = inner[:1] if inner[1:] in ((), (Ellipsis,)) else inner
        return f"a list of {', '.join(map(_words, every))}"
    if origin is dict or form is dict:
        return "a table"
    names = {int: "an integer", float: "a finite number", str: "a text", bool: "true or false"}
    return "null" if form in (None, types.NoneType) else names.get(form, str(form))
