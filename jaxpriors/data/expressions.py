"""Expressions of branches, such as `PFCands_pt[FatJetPFCands_pFCandsIdx] * 0.001`.

The language is a part of Python's. Names are those of branches, dots included (`Jet.pt`); names
with other signs stand in backticks. There are numbers, + - * / // % **, comparisons, and the
conditions `and`, `or`, `not` (also `&&`, `||`, and `&`, `|`, `~` between brackets), and the
functions in `FUNCTIONS`. An index counts within each entry: `x[0]` is the first element of each,
`x[1:3]` are two of them, `x[i]` are those at the places in another branch, `x[x > 30]` those that
pass a condition; an element that is not there (a place below 0 too, but for a number) is NaN.
`num`, `sum`, `any` and `all` run over the innermost elements. All arithmetic is in float64 and
int64, whatever the branches are.
"""

from __future__ import annotations

import ast
import difflib
import functools
import operator
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from jaxpriors.data.grammar import ARGUMENTS, CONDITIONS, name_of, names_in, parsed
from jaxpriors.data.unread import listed
from jaxpriors.errors import InputError

FUNCTIONS = tuple(ARGUMENTS)
_REDUCTIONS = ("num", "sum", "any", "all")
_OPERATORS: dict[type[ast.AST], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: lambda base, power: _float(base) ** _float(power),
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.BitAnd: operator.and_,
    ast.BitOr: operator.or_,
    ast.And: operator.and_,
    ast.Or: operator.or_,
}


def names(text: str) -> tuple[str, ...]:
    """Name the branches that an expression needs, in order, each once.

    Raises InputError for what is no expression.

    >>> names("sqrt(Jet.px**2 + Jet.py**2) * `old weight`")
    ('Jet.px', 'Jet.py', 'old weight')
    """
    return tuple(dict.fromkeys(names_in(parsed(text))))


def unguarded(text: str) -> tuple[str, ...]:
    """Name those branches that do not stand within `isfinite(...)` anywhere in the expression.

    >>> unguarded("isfinite(mass) & (mass > pt)")
    ('pt',)
    """
    guarded: set[str] = set()
    for node in ast.walk(parsed(text)):
        if isinstance(node, ast.Call) and name_of(node.func) == "isfinite":
            guarded |= set(names_in(node))
    return tuple(name for name in names(text) if name not in guarded)


def evaluate(text: str, arrays: Mapping[str, Any], first: int = 0) -> Any:
    """Compute an expression of branches.

    Args:
        text: the expression.
        arrays: branch → awkward or numpy array of n entries, flat, jagged or of fixed size.
        first: number of the first entry, for messages.

    Returns:
        An awkward array of n entries in which nothing is missing: numbers are NaN, lists are empty
        instead. A number, where the expression has no branch.

    Raises:
        InputError: no expression of this language, a branch that is not there, branches whose
            elements do not belong together, an index beyond its entry.

    Examples:
        >>> import awkward
        >>> pt, places = awkward.Array([[5.0, 3.0], [2.0]]), awkward.Array([[1], [0]])
        >>> evaluate("2 * pt[i]", {"pt": pt, "i": places}).tolist()
        [[6.0], [4.0]]
        >>> evaluate("num(pt) > 1 and pt[0] < 9", {"pt": pt}).tolist()
        [True, False]
    """
    tree = parsed(text)
    needed = names(text)
    for name in needed:
        if name not in arrays:
            raise InputError(unknown(text, name, arrays))
    try:
        with np.errstate(all="ignore"):  # what is not finite is found where it is used
            return _Evaluation(text, arrays, first).value(tree)
    except InputError:
        raise
    except (ValueError, TypeError, IndexError, OverflowError, ArithmeticError) as error:
        types = ", ".join(f"{name} ({_array(arrays[name]).type})" for name in needed) or "numbers"
        reason = next(iter(str(error).strip().splitlines()), "")
        raise InputError(
            f"expression {text!r}: found {types}, which do not go together ({reason}); expected "
            "as many elements in each entry"
        ) from None


def branch(arrays: Mapping[str, Any], name: str) -> Any:
    """Give a branch as an awkward array in which nothing is missing, as in `evaluate`."""
    return _filled(_array(arrays[name]))


def unknown(text: str, name: str, present: Iterable[str]) -> str:
    """Say that an expression needs a branch that is not there, and which come close."""
    if name in FUNCTIONS:
        return f"expression {text!r}: found {name!r} without brackets, expected {name}(...)"
    present = sorted(present)
    close = difflib.get_close_matches(name, present, 3)
    meant = f"did you mean {', '.join(close)}? " if close else ""
    return f"expression {text!r}: found no branch {name!r}; {meant}there are {listed(present)}"


@dataclass(frozen=True)
class _Evaluation:
    text: str
    arrays: Mapping[str, Any]
    first: int

    def refuse(self, message: str) -> None:
        raise InputError(f"expression {self.text!r}: {message}")

    def value(self, node: ast.AST) -> Any:
        """Compute a node; what comes out of an operator is wide, a branch is as it is."""
        name = name_of(node)
        if name is not None:
            return branch(self.arrays, name)
        match node:
            case ast.Constant(value=value):
                return value
            case ast.Subscript(value=base, slice=index):
                parts = index.elts if isinstance(index, ast.Tuple) else [index]
                return self.item(self.value(base), parts)
            case ast.Call(func=func, args=args):
                return self.call(str(name_of(func)), [self.value(one) for one in args])
            case ast.UnaryOp(op=ast.Not() | ast.Invert(), operand=operand):
                return ~self.condition(self.value(operand))
            case ast.UnaryOp(op=op, operand=operand):
                value = _wide(self.value(operand))
                return -value if isinstance(op, ast.USub) else value
            case ast.BoolOp(op=op, values=below):
                conditions = [self.condition(self.value(one)) for one in below]
                return functools.reduce(_OPERATORS[type(op)], conditions)
            case ast.BinOp(left=left, op=op, right=right):
                prepared = self.condition if isinstance(op, CONDITIONS) else _wide
                return _OPERATORS[type(op)](*(prepared(self.value(x)) for x in (left, right)))
            case ast.Compare(left=left, ops=ops, comparators=others):
                values = [_wide(self.value(one)) for one in (left, *others)]
                found = [_OPERATORS[type(op)](*values[i : i + 2]) for i, op in enumerate(ops)]
                return functools.reduce(operator.and_, found)
        raise AssertionError(f"{node} was not checked")

    def condition(self, value: Any) -> Any:
        """Give a condition as it is; InputError for a number (`a > 1 & b > 2` lacks brackets)."""
        if dtype_of(value).kind != "b":
            self.refuse(
                "found a number where a condition is expected; conditions that & or | joins stand "
                "in brackets"
            )
        return _jagged(value) if _is_array(value) else np.bool_(value)

    def call(self, name: str, values: list[Any]) -> Any:
        import awkward

        if name == "where":
            return awkward.where(self.condition(values[0]), *map(_wide, values[1:]))
        if name not in _REDUCTIONS:
            return getattr(np, name)(*map(_wide, values))
        if not _is_array(values[0]) or values[0].ndim < 2:
            self.refuse(f"found {name} of one number an entry, expected several")
        return getattr(awkward, name)(_wide(values[0]), axis=-1)

    def item(self, base: Any, parts: list[ast.expr]) -> Any:
        """Choose elements within each entry: by numbers, slices, places or a condition."""
        if not _is_array(base) or base.ndim < 2:
            self.refuse("found an index on one number an entry, expected several")
        if len(parts) >= base.ndim:
            self.refuse(f"found {len(parts)} indices, expected at most {base.ndim - 1}")
        plain = [_plain(part) for part in parts]
        if None not in plain:
            for axis, number in reversed(list(enumerate(plain, start=1))):
                base = _along(base, number, axis)
            return base
        if len(parts) > 1:
            self.refuse("found a branch among several indices, expected one index")
        index = self.value(parts[0])
        kind = dtype_of(index).kind
        if not _is_array(index) or kind not in "biu":
            self.refuse(f"found an index of {dtype_of(index)}, expected integers")
        if kind != "b":
            return self.at_places(_jagged(base), _jagged(index))
        if index.ndim < 2:
            self.refuse("found an index that chooses entries, expected that in a cut")
        return _jagged(base)[_jagged(index)]

    def at_places(self, base: Any, index: Any) -> Any:
        """Choose the elements of base (n, var, ...) at places (n), (n, var) or (n, var, var)."""
        import awkward

        if index.ndim == 1:
            return self.at_places(base, _jagged(index[:, np.newaxis]))[:, 0]
        if index.ndim == 3:
            inner = awkward.flatten(awkward.num(index, axis=2))
            chosen = self.at_places(base, awkward.flatten(index, axis=2))
            flat = awkward.unflatten(awkward.flatten(chosen), inner)
            return awkward.unflatten(flat, awkward.num(index))
        beyond = index >= awkward.num(base)
        if awkward.any(beyond, axis=None):
            entry = int(np.argmax(awkward.to_numpy(awkward.any(beyond, axis=1))))
            self.refuse(
                f"found the index {index[entry][beyond[entry]][0]} in entry {self.first + entry}, "
                f"expected less than {len(base[entry])}, the number of elements there"
            )
        if awkward.any(index < 0, axis=None):
            index = awkward.mask(index, index >= 0)
        return _filled(base[index])


def _plain(node: ast.expr) -> int | slice | None:
    """Give the number or slice that an index is; None for a branch."""
    try:
        if isinstance(node, ast.Slice):
            bounds = (node.lower, node.upper)
            return slice(*(None if x is None else ast.literal_eval(x) for x in bounds))
        index = ast.literal_eval(node)
    except ValueError:
        return None
    return index if isinstance(index, int) and not isinstance(index, bool) else None


def _along(base: Any, index: Any, axis: int) -> Any:
    """Choose along an axis; where an entry is too short for a number, the value is NaN."""
    import awkward

    before = (slice(None),) * axis
    if isinstance(index, slice):
        return base[(*before, index)]
    if index < 0:
        base, index = base[(*before, slice(None, None, -1))], -index - 1
    if awkward.any(awkward.num(base, axis=axis) <= index, axis=None):
        base = _jagged(base)[(*before, slice(index, index + 1))]
        return _filled(awkward.firsts(base, axis=axis))
    return base[(*before, index)]


def _is_array(value: Any) -> bool:
    import awkward

    return isinstance(value, awkward.Array)


def _array(array: Any) -> Any:
    import awkward

    return array if _is_array(array) else awkward.Array(np.asarray(array))


def _jagged(array: Any) -> Any:
    """Let lists of a fixed size count as those of any: other rules of broadcasting would apply."""
    import awkward

    return awkward.from_regular(array, axis=None)


def _filled(array: Any) -> Any:
    """Replace missing numbers by NaN, and missing lists by empty ones."""
    import awkward

    if "?" not in str(array.type) and "option" not in str(array.type):
        return array
    for axis in range(array.ndim - 1):
        if awkward.any(awkward.is_none(array, axis=axis), axis=None):
            array = awkward.fill_none(_jagged(array), [], axis=axis)
    if awkward.any(awkward.is_none(array, axis=-1), axis=None):
        array = awkward.fill_none(awkward.values_astype(array, np.float64), np.nan, axis=-1)
    return awkward.transform(_without_option, array)


def _without_option(layout: Any, **kwargs: Any) -> Any:
    """Take away from a layout that anything could be missing; nothing is."""
    import awkward

    if not layout.is_option:
        return None
    return awkward.transform(_without_option, layout.project(), highlevel=False)


def dtype_of(value: Any) -> np.dtype:
    """Find the dtype of the innermost elements."""
    import awkward

    if not _is_array(value):
        return np.asarray(value).dtype
    return awkward.to_numpy(awkward.flatten(value[:0], axis=None)).dtype


def _wide(value: Any) -> Any:
    """Bring to float64 or int64 (conditions as 0 and 1), with lists of any size."""
    import awkward

    wanted = np.float64 if dtype_of(value).kind == "f" else np.int64
    return awkward.values_astype(_jagged(value), wanted) if _is_array(value) else wanted(value)


def _float(value: Any) -> Any:
    import awkward

    return awkward.values_astype(value, np.float64) if _is_array(value) else np.float64(value)
