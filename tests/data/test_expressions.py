"""Expressions of branches: values against numpy, and what is refused."""

import awkward
import numpy as np
import pytest

from jaxpriors.data.expressions import evaluate, names, unguarded
from jaxpriors.errors import InputError

JAGGED = awkward.Array([[5.0, 3.0], [2.0], []])
BRANCHES = {
    "pt": JAGGED,
    "Jet.pt": awkward.Array([[1.0], [], [7.0]]),
    "old weight": np.array([1.0, -2.0, 4.0]),
    "small": np.array([1, 2, 3], np.uint8),
    "half": np.array([60000.0, 1.0, 2.0], np.float16),
    "i": awkward.Array([[1, -1], [0], []]),
    "first": np.array([1, 0, -1]),
    "of_jets": awkward.Array([[[0, 1], [1]], [], []]),
    "fixed": np.arange(12, dtype=np.float32).reshape(3, 2, 2),
    "square": np.arange(9.0).reshape(3, 3),
    "missing": awkward.Array([[1, None], None, [2]]),
}


def listed(text):
    return awkward.to_list(evaluate(text, BRANCHES))


@pytest.mark.parametrize(
    "text, expected",
    [
        ("2 * pt + 1", [[11.0, 7.0], [5.0], []]),
        ("pt * `old weight`", [[5.0, 3.0], [-4.0], []]),
        ("Jet.pt - 1", [[0.0], [], [6.0]]),
        ("small - 2", [-1, 0, 1]),  # no wrap-around
        ("small == -1", [False, False, False]),
        ("half * 10", [600000.0, 10.0, 20.0]),  # no overflow
        ("0 < small < 3", [True, True, False]),
        ("num(pt) > 1 and not small > 2", [True, False, False]),
        ("num(pt) > 1 || small > 2", [True, False, True]),
        ("(num(pt) > 0) & ~(small == 2)", [True, False, False]),
        ("sum(pt[pt > 2.5])", [8.0, 0.0, 0.0]),
        ("where(pt > 2.5, pt, 0)", [[5.0, 3.0], [0.0], []]),
        ("all(pt > 2.5)", [True, False, True]),
        ("any(pt > 2.5)", [True, False, False]),
        ("hypot(3, 4) + 0 * small", [5.0, 5.0, 5.0]),
        ("maximum(pt, 4)", [[5.0, 4.0], [4.0], []]),
        ("small ** 2", [1.0, 4.0, 9.0]),
        ("pt[of_jets]", [[[5.0, 3.0], [3.0]], [], []]),
        ("fixed[0]", [[0.0, 1.0], [4.0, 5.0], [8.0, 9.0]]),
        ("fixed[:, 1]", [[1.0, 3.0], [5.0, 7.0], [9.0, 11.0]]),
        ("fixed[1, 0]", [2.0, 6.0, 10.0]),
        ("square + small", [[1.0, 2.0, 3.0], [5.0, 6.0, 7.0], [9.0, 10.0, 11.0]]),  # by entry
        ("pt[0:1]", [[5.0], [2.0], []]),
    ],
)
def test_values(text, expected):
    assert listed(text) == expected


@pytest.mark.parametrize(
    "text, expected",
    [
        ("pt[0]", [5.0, 2.0, None]),
        ("pt[1]", [3.0, None, None]),
        ("pt[-1]", [3.0, 2.0, None]),
        ("pt[1000000000]", [None, None, None]),
        ("pt[first]", [3.0, 2.0, None]),
        ("pt[i]", [[3.0, None], [2.0], []]),
        ("missing * 1", [[1.0, None], [], [2.0]]),
        ("sum(missing)", [None, 0.0, 2.0]),
    ],
)
def test_what_is_not_there_is_nan(text, expected):
    assert repr(listed(text)) == repr(expected).replace("None", "nan")


def test_a_branch_alone_keeps_its_dtype():
    assert evaluate("half", BRANCHES).type.content.primitive == "float16"
    assert evaluate("3", BRANCHES) == 3


def test_functions_agree_with_numpy():
    x = np.linspace(0.1, 2.0, 7)
    for name in ("sqrt", "abs", "exp", "log", "sin", "cos", "tan", "sinh", "cosh", "tanh"):
        found = awkward.to_numpy(evaluate(f"{name}(x)", {"x": x}))
        np.testing.assert_array_equal(found, getattr(np, name)(x))
    found = awkward.to_numpy(evaluate("arctan2(x, -x)", {"x": x}))
    np.testing.assert_array_equal(found, np.arctan2(x, -x))


def test_names():
    assert names("pt[i] + sum(Jet.pt) * `old weight` - pt") == ("pt", "i", "Jet.pt", "old weight")
    assert names("sum") == ("sum",) and names("3 + 4") == ()
    assert unguarded("isfinite(mass + m2) and mass > pt") == ("pt",)


@pytest.mark.parametrize(
    "text, message",
    [
        ("ptt + 1", "found no branch 'ptt'; did you mean pt"),
        ("sqrt + 1", "found 'sqrt' without brackets"),
        ("__import__('os').system('x')", "a call, which is not one of"),
        ("open(pt)", "the function 'open'"),
        ("pt[0].real", "an attribute of a computed value"),
        ("lambda: 1", "found a Lambda"),
        ("'text'", "found 'text'"),
        ("pt if small else 1", "found a IfExp"),
        ("[pt for x in small]", "found a ListComp"),
        ("sqrt(pt, 1)", "sqrt with 2 arguments, expected 1"),
        ("pt +", "is no expression"),
        ("", "is no expression"),
        ("!pt", "is no expression"),
        ("`pt", "odd number of backticks"),
        ("pt @ pt", "operator MatMult"),
        ("pt << 2", "operator LShift"),
        ("pt is pt", "a comparison that is not one of"),
        ("10000000000000000000 * pt", "an integer beyond 64 bits"),
        ("pt > 1 & small < 2", "conditions that & or | joins stand in brackets"),
        ("not small", "found a number where a condition is expected"),
        ("pt + Jet.pt", "which do not go together"),
        ("pt[small]", "found the index 2 in entry 101, expected less than 1"),
        ("pt[::0]", "a slice with a step"),
        ("pt[9999999999:]", "an index beyond 32 bits"),
        ("pt[0, 0]", "found 2 indices, expected at most 1"),
        ("small[0]", "an index on one number an entry"),
        ("sum(small)", "found sum of one number an entry"),
        ("pt[half]", "found an index of float16, expected integers"),
        ("pt[small > 1]", "chooses entries"),
        ("(" * 3000 + "pt" + ")" * 3000, "expected at most 4000"),
    ],
)
def test_what_is_refused(text, message):
    with pytest.raises(InputError, match=r"^expression ") as found:
        evaluate(text, BRANCHES, first=100)
    assert message in str(found.value) and "\n" not in str(found.value)


def test_huge_powers_are_no_hang():
    assert evaluate("9**9**9**9", {}) == np.inf
