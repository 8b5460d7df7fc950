"""Mutants of a module's functions: one small change each to what a check compares, decides, calls or raises."""

import ast
import types
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

OTHER: dict[type[ast.AST], type[Any]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.And: ast.Or,
    ast.Or: ast.And,
}
SIGNS: dict[type[ast.AST], str] = {
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
    ast.Eq: "==",
    ast.NotEq: "!=",
    ast.In: "in",
    ast.NotIn: "not in",
    ast.Is: "is",
    ast.IsNot: "is not",
    ast.And: "and",
    ast.Or: "or",
}
STAYS = ("_log", "super()")
"""Calls that are not removed: logging, and `super()`, which is required."""


class Mutant(NamedTuple):
    """A mutant: its function, its lines and their text, the change, and the function that makes it."""

    file: str
    function: str
    lines: range
    text: str
    change: str
    make: Callable[[], None]
    number: int = 1

    @property
    def key(self) -> str:
        """Its key in the list of survivors, without line numbers, because these change.

        Of equal changes in a function, the first has no number.
        """
        return f"{self.function}: {self.text} [{self.change}]{f' #{self.number}' if self.number > 1 else ''}"


class Source:
    """The source of a module, whose functions are mutated."""

    def __init__(self, path: Path, name: str) -> None:
        """Read and parse the file; `name` is its name in keys."""
        self.path, self.name = path, name
        self._text = path.read_text()
        self._lines = self._text.splitlines()
        self._tree = ast.parse(self._text)

    def mutants(self) -> Iterator[Mutant]:
        """Yield all mutants; `make` changes the tree permanently, so a process makes at most one."""
        seen: Counter[str] = Counter()
        for mutant in self._within(self._tree.body, ""):
            seen[mutant.key] += 1
            yield mutant._replace(number=seen[mutant.key])

    def compiled(self) -> Iterator[types.CodeType]:
        """Yield the code objects of the changed tree's functions."""
        yield from functions(compile(self._tree, str(self.path), "exec", dont_inherit=True))

    def _within(self, body: list[ast.stmt], scope: str) -> Iterator[Mutant]:
        for node in body:
            if isinstance(node, ast.ClassDef):
                yield from self._within(node.body, f"{scope}{node.name}.")
            elif isinstance(node, ast.FunctionDef):
                yield from self._block(node.body, f"{scope}{node.name}", inside=False, ends=True)

    def _block(self, body: list[ast.stmt], function: str, inside: bool, ends: bool) -> Iterator[Mutant]:
        """Yield the mutants of a block; `inside` if it is nested, `ends` if its end is the end of the function."""
        for place, node in enumerate(body):
            ends_here = ends and node is body[-1] and not isinstance(node, ast.For | ast.While)
            if taken := _taken_away(node, inside and not (ends_here and _gives_nothing(node))):
                yield self._mutant(function, node, node, f"{taken} -> pass", partial(_drop, body, place))
            if isinstance(node, ast.Raise):
                continue
            for field, value in ast.iter_fields(node):
                if isinstance(value, list) and value and isinstance(value[0], ast.stmt):
                    yield from self._block(value, function, True, ends_here)
                elif field == "handlers" or (field == "cases" and isinstance(value, list)):
                    for each in value:
                        yield from self._block(each.body, function, True, ends_here)
                elif field not in ("decorator_list", "args", "returns", "annotation"):
                    parts = value if isinstance(value, list) else [value]
                    yield from (
                        m for each in parts if isinstance(each, ast.AST) for m in self._in(each, function, node)
                    )
            if isinstance(node, ast.If | ast.While) and _is_plain(node.test):
                yield self._negated(function, node, node, "test")

    def _in(self, node: ast.AST, function: str, around: ast.stmt) -> Iterator[Mutant]:
        """Yield the mutants within an expression."""
        if isinstance(node, ast.JoinedStr):  # a message
            return
        if isinstance(node, ast.Compare):
            for place, sign in enumerate(node.ops):
                change = f"{SIGNS[type(sign)]} -> {SIGNS[OTHER[type(sign)]]}"
                yield self._mutant(function, node, around, change, partial(_other_sign, node, place))
            for each in [node.left, *node.comparators]:
                yield from self._numbers(each, function, around)
        if isinstance(node, ast.BoolOp):
            change = f"{SIGNS[type(node.op)]} -> {SIGNS[OTHER[type(node.op)]]}"
            yield self._mutant(function, node, around, change, partial(setattr, node, "op", OTHER[type(node.op)]()))
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            yield self._mutant(function, node, around, "not -> ", partial(setattr, node, "operand", _not(node.operand)))
        if isinstance(node, ast.IfExp) and _is_plain(node.test):
            yield self._negated(function, node, around, "test")
        if isinstance(node, ast.comprehension):
            for place, each in enumerate(node.ifs):
                if _is_plain(each):
                    make = partial(node.ifs.__setitem__, place, _not(each))
                    yield self._mutant(function, each, around, "if -> if not", make)
        for child in ast.iter_child_nodes(node):
            yield from self._in(child, function, around)

    def _numbers(self, node: ast.expr, function: str, around: ast.stmt) -> Iterator[Mutant]:
        """Yield mutants with each number in a comparison increased and decreased by 1, except in calls and indices."""
        if isinstance(node, ast.Constant) and type(node.value) is int:
            for step in (1, -1):
                change = f"{node.value} -> {node.value + step}"
                yield self._mutant(function, node, around, change, partial(setattr, node, "value", node.value + step))
        elif isinstance(node, ast.BinOp | ast.UnaryOp):
            for child in ast.iter_child_nodes(node):
                if isinstance(child, ast.expr):
                    yield from self._numbers(child, function, around)

    def _negated(self, function: str, node: ast.AST, around: ast.stmt, field: str) -> Mutant:
        tested = getattr(node, field)
        return self._mutant(function, tested, around, "if -> if not", partial(setattr, node, field, _not(tested)))

    def _mutant(self, function: str, node: ast.AST, around: ast.stmt, change: str, make: Callable[[], None]) -> Mutant:
        first, last = (node.lineno, node.end_lineno or node.lineno)  # type: ignore[attr-defined]
        begin = around.lineno if isinstance(around, ast.expr | ast.Assign | ast.Return | ast.Expr) else first
        text = self._lines[first - 1].partition("  # ")[0].strip()
        return Mutant(self.name, function, range(min(begin, first), last + 1), text, change, make)


def _not(node: ast.expr) -> ast.expr:
    return ast.copy_location(ast.UnaryOp(ast.Not(), node), node)


def _is_plain(node: ast.expr) -> bool:
    """Return whether a condition is one for which there is no other mutant."""
    return not isinstance(node, ast.Compare | ast.BoolOp) and not (
        isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not)
    )


def _taken_away(node: ast.stmt, inside: bool) -> str | None:
    """Return what is removed with a statement (an error, a call, an early return or continue), or None."""
    if isinstance(node, ast.Raise):
        return "raise"
    if isinstance(node, ast.Return | ast.Continue) and inside:
        # without its only `super()`, a function has no `__class__`, and could not be replaced
        return None if ast.unparse(node).startswith(f"return {STAYS[1]}") else type(node).__name__.lower()
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call | ast.Yield | ast.YieldFrom):
        return None if ast.unparse(node).startswith(STAYS) else type(node.value).__name__.lower()
    return None


def _gives_nothing(node: ast.stmt) -> bool:
    """Return whether a statement is a `return` without a value, which is redundant at the end of a function."""
    return isinstance(node, ast.Return) and (node.value is None or ast.unparse(node.value) == "None")


def _drop(body: list[ast.stmt], place: int) -> None:
    node = body[place]
    keeps = isinstance(node, ast.Expr) and isinstance(node.value, ast.Yield | ast.YieldFrom)
    # without its `yield`, a generator would become a function
    new: ast.stmt = ast.If(ast.Constant(False), [node], []) if keeps else ast.Pass()
    body[place] = ast.fix_missing_locations(ast.copy_location(new, node))


def _other_sign(node: ast.Compare, place: int) -> None:
    node.ops[place] = OTHER[type(node.ops[place])]()


def functions(code: types.CodeType) -> Iterator[types.CodeType]:
    """Yield a code object, and those nested in it."""
    yield code
    for each in code.co_consts:
        if isinstance(each, types.CodeType):
            yield from functions(each)
