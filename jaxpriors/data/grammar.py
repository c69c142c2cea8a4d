"""The language of expressions: what is read, and what is refused, before anything is computed."""

from __future__ import annotations

import ast
import functools
import re

from jaxpriors.errors import InputError

LONGEST = 4000  # signs of an expression
ARGUMENTS = {  # of each function
    **dict.fromkeys(("sqrt", "abs", "exp", "log", "sin", "cos", "tan", "sinh", "cosh", "tanh"), 1),
    "isfinite": 1,
    **dict.fromkeys(("arctan2", "hypot", "minimum", "maximum"), 2),
    "where": 3,
    **dict.fromkeys(("num", "sum", "any", "all"), 1),
}
CONDITIONS = (ast.BitAnd, ast.BitOr)
_ARITHMETIC = (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod, ast.Pow)
_COMPARISONS = (ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE)
_QUOTED = "quoted_"


@functools.lru_cache(256)
def parsed(text: str) -> ast.expr:
    """Parse an expression; names in backticks become plain ones, of their characters' codes."""
    if len(text) > LONGEST:
        raise InputError(
            f"expression {text[:40]!r}…: found {len(text)} signs, expected at most {LONGEST}"
        )
    pieces = text.split("`")
    if len(pieces) % 2 == 0:
        raise InputError(f"expression {text!r}: found an odd number of backticks, expected pairs")
    for i, piece in enumerate(pieces):
        if i % 2:
            pieces[i] = _QUOTED + piece.encode().hex()
        else:
            pieces[i] = piece.replace("&&", " and ").replace("||", " or ")
    try:
        tree = ast.parse("".join(pieces).strip(), mode="eval").body
        _check(tree, text)
    except InputError:
        raise
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise InputError(
            f"expression {text!r}: is no expression; expected names of branches (odd ones in "
            f"backticks), numbers, + - * / ** comparisons, and, or, not, x[i], and "
            f"{', '.join(ARGUMENTS)}"
        ) from None
    return tree


def name_of(node: ast.AST) -> str | None:
    """Join a name and its dotted parts; None for anything else."""
    if isinstance(node, ast.Name):
        if re.fullmatch(f"{_QUOTED}(?:[0-9a-f]{{2}})+", node.id):
            return bytes.fromhex(node.id.removeprefix(_QUOTED)).decode()
        return node.id
    if isinstance(node, ast.Attribute):
        inner = name_of(node.value)
        return None if inner is None else f"{inner}.{node.attr}"
    return None


def names_in(node: ast.AST) -> list[str]:
    name = name_of(node)
    if name is not None:
        return [name]
    below = list(ast.iter_child_nodes(node))
    if isinstance(node, ast.Call):
        below = list(node.args)
    return [found for child in below for found in names_in(child)]


def _check(node: ast.AST, text: str) -> None:
    """Raise InputError for what the language does not have."""
    refused: str | None = None
    below: list[ast.AST] = []
    match node:
        case ast.Name() | ast.Attribute():
            refused = None if name_of(node) is not None else "an attribute of a computed value"
        case ast.Constant(value=value):
            if isinstance(value, bool) or not isinstance(value, int | float):
                refused = None if isinstance(value, bool) else repr(value)
            elif not -(2**63) <= value < 2**63 and isinstance(value, int):
                refused = "an integer beyond 64 bits"
        case ast.BinOp(left=left, op=op, right=right):
            below = [left, right]
            if type(op) not in (*_ARITHMETIC, *CONDITIONS):
                refused = f"the operator {type(op).__name__}"
        case ast.UnaryOp(operand=operand):
            below = [operand]
        case ast.BoolOp(values=values):
            below = [*values]
        case ast.Compare(left=left, ops=ops, comparators=others):
            below = [left, *others]
            if any(type(op) not in _COMPARISONS for op in ops):
                refused = "a comparison that is not one of == != < <= > >="
        case ast.Subscript(value=value, slice=index):
            below = [value, *(index.elts if isinstance(index, ast.Tuple) else [index])]
            if any(isinstance(one, ast.Slice) and one.step is not None for one in below):
                refused = "a slice with a step"
            below = [part for one in below for part in _bounds(one)]
            integers = [x.value for x in map(_unsigned, below) if isinstance(x, ast.Constant)]
            if any(isinstance(x, int) and x >= 2**31 for x in integers):
                refused = "an index beyond 32 bits"
        case ast.Call(func=func, args=args, keywords=keywords):
            below = [*args]
            function = name_of(func)
            if function not in ARGUMENTS:
                what = "a call" if function is None else f"the function {function!r}"
                refused = f"{what}, which is not one of {', '.join(ARGUMENTS)}"
            elif keywords or len(args) != ARGUMENTS[function]:
                number = ARGUMENTS[function]
                refused = f"{function} with {len(args)} arguments, expected {number}"
        case _:
            refused = f"a {type(node).__name__}"
    if refused:
        raise InputError(
            f"expression {text!r}: found {refused}; expected an expression of branches"
        )
    for child in below:
        _check(child, text)


def _bounds(node: ast.AST) -> list[ast.AST]:
    """Give the parts of a slice, or what is none."""
    if isinstance(node, ast.Slice):
        return [part for part in (node.lower, node.upper) if part is not None]
    return [node]


def _unsigned(node: ast.AST) -> ast.AST:
    """Give what stands behind a sign."""
    return node.operand if isinstance(node, ast.UnaryOp) else node
