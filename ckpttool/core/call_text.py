"""Texts in Python's call syntax, which are parsed by `ast` and never evaluated.

A call has names, numbers, fractions of two numbers, lists of numbers, strings, True, False, None and other calls as
arguments; anything else is refused, with its position and text. `calls.py` makes instances of classes from calls.
"""

import ast
import sys
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ckpttool.core.counts import counted
from ckpttool.core.errors import PlanError, UnknownName
from ckpttool.core.suggestions import suggestion

LONGEST = 100_000
"""The maximum length of a text in characters, so that the parser's memory stays bounded."""


@dataclass(frozen=True)
class ParsedCall:
    """A parsed call: the function's name, and the arguments as `ast` nodes."""

    name: str
    arguments: tuple[ast.expr, ...] = ()
    keywords: tuple[ast.keyword, ...] = ()


class CallText:
    """A text of calls, named or not, one per line or separated by semicolons."""

    def __init__(self, text: str, what: str, example: str) -> None:
        """Store the lines without their indentation, which may come from quoting in a shell.

        `what` describes the text in messages, and `example` is the expected form in them.
        """
        self.what, self._example = what, example
        lines = text.splitlines()
        self._lines = [line.strip() for line in lines]
        self._indents = [len(line) - len(line.lstrip()) for line in lines]

    def statements(self) -> Iterator[tuple[ast.Name | None, ast.expr]]:
        """Yield the name and the expression of each `name = call(...)` or `call(...)`.

        Raises:
            PlanError: a statement is something else, or the text is not valid Python.
        """
        for statement in self._parsed().body:
            match statement:
                case ast.Expr(value=value):
                    yield None, value
                case ast.Assign(targets=[ast.Name() as target], value=value):
                    yield target, value
                case _:
                    raise self.wrong(statement, f"expected {self._example}")

    def wrong(self, node: ast.AST, problem: str, error: type[PlanError | UnknownName] = PlanError) -> Exception:
        """Return an error with the line, the column and the text of a node."""
        segment = ast.get_source_segment("\n".join(self._lines), node) or ""
        line, start = getattr(node, "lineno", 1), getattr(node, "col_offset", 0)
        column = len(self._lines[line - 1].encode()[:start].decode()) + 1
        return error(f"{self.what}, {self._place(line, column)}, at {_shorten(segment)!r}: {problem}")

    def call(self, node: ast.expr) -> ParsedCall:
        """Return the parsed call of a plain name.

        Raises:
            PlanError: the node is something else.
        """
        match node:
            case ast.Call(func=ast.Name(id=name)):
                return ParsedCall(name, tuple(node.args), tuple(node.keywords))
        example = self._example.rpartition(" = ")[2].rpartition(" such as ")[2]
        raise self.wrong(node, f"expected a call such as {example}")

    def bound(self, node: ast.expr, call: ParsedCall, names: list[str]) -> dict[str, ast.expr]:
        """Return the arguments by parameter name, bound as Python does."""
        if len(call.arguments) > len(names):
            problem = f"{call.name} takes at most {counted(len(names), 'argument')}, found {len(call.arguments)}"
            raise self.wrong(node, problem)
        given = dict(zip(names, call.arguments, strict=False))
        for keyword in call.keywords:
            name = keyword.arg or "**"
            if name not in names:
                raise self.wrong(keyword, f"{call.name} has no argument {name!r}{nearest(name, names)}", UnknownName)
            if name in given:
                raise self.wrong(keyword, f"{call.name} is given {name} twice")
            given[name] = keyword.value
        return given

    def number(self, node: ast.expr) -> int | float:
        """Return a finite number, which may be written with a sign, or as a fraction such as 1/127.5."""
        match node:
            case ast.BinOp(left=ast.Constant() | ast.UnaryOp() as above, op=ast.Div(), right=ast.Constant() as below):
                divisor = self.number(below)
                if not divisor:
                    raise self.wrong(node, "expected a finite number")
                value = self.number(above) / divisor
            case ast.UnaryOp(op=ast.USub(), operand=ast.BinOp() | ast.Constant(value=int() | float()) as operand):
                value = -self.number(operand)
            case ast.Constant(value=int() | float() as value):
                pass
            case _:
                raise self.wrong(node, "expected a number")
        if isinstance(value, bool) or not abs(value) <= sys.float_info.max:
            raise self.wrong(node, "expected a finite number")
        return value

    def whole(self, node: ast.expr) -> int:
        """Return an integer."""
        value = self.number(node)
        if not isinstance(value, int):
            raise self.wrong(node, "expected a whole number")
        return value

    def word(self, node: ast.expr) -> str:
        """Return a name, written plainly or as a string; None is the name `None`."""
        match node:
            case ast.Name(id=name) | ast.Constant(value=str() as name):
                return name
            case ast.Constant(value=None):
                return "None"
        raise self.wrong(node, "expected a name such as relu")

    def flag(self, node: ast.expr) -> bool:
        """Return True or False."""
        match node:
            case ast.Constant(value=bool() as value):
                return value
        raise self.wrong(node, "expected True or False")

    def _parsed(self) -> ast.Module:
        code = "\n".join(self._lines)
        if len(code) > LONGEST:
            raise PlanError(f"{self.what}: {len(code)} characters, expected at most {LONGEST}")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Python's own advice on backslashes in strings
                return ast.parse(code)
        except SyntaxError as error:
            place, line = self._place(error.lineno or 1, error.offset or 1), _shorten(error.text or code)
            raise PlanError(f"{self.what}, {place}, at {line!r}: {error.msg}") from error
        except (ValueError, RecursionError, MemoryError) as error:
            raise PlanError(f"{self.what}: {_shorten(code)!r} cannot be parsed: {error}") from error

    def _place(self, line: int, column: int) -> str:
        indent = self._indents[line - 1] if line <= len(self._indents) else 0
        return f"line {line}, column {column + indent}"


def nearest(wanted: str, names: Iterable[str]) -> str:
    """Return the end of a message about an unknown name: the nearest names, or all if none is near.

    >>> nearest("rleu", ["relu", "tanh"]), nearest("softmax", ["relu", "tanh"])
    ('; nearest: relu', '; there are relu, tanh')
    """
    return suggestion(wanted, names) or f"; there are {', '.join(names)}"


def _shorten(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 60 else f"{line[:57]}..."
