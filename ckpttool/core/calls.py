"""The notation for everything that is chosen by name and has parameters: Python's call syntax, `momentum(0.01)`.

    hidden4 = dense(20, leaky_relu(0.2)); outputs = dense(10)

Each callable is a frozen dataclass, a subclass of its family, which is a subclass of `Call`. Its fields are the
parameters, and its `__post_init__` checks them. An optimizer, a schedule or a layer is added by writing its class.
Texts are never evaluated.
"""

import ast
import re
from dataclasses import MISSING, dataclass, fields, replace
from math import inf
from types import NoneType, UnionType
from typing import Annotated, Any, ClassVar, Literal, Self, TypeVar, Union, get_args, get_origin

from ckpttool.core.call_text import CallText, ParsedCall, nearest
from ckpttool.core.errors import PlanError, UnknownName
from ckpttool.core.suggestions import suggestion

LONG_NUMBER = 12
"""Numbers with more characters than this are written as a fraction if they are one."""


@dataclass(frozen=True)
class Call:
    """The base class of calls. A family sets `noun` and `example`, and each class of the family `name`.

    A field's type determines the syntax of its value: int, float, bool, str (a word), `Literal` or
    `Annotated[str, names]` (one of some words), `tuple[float, ...]` (`[1, 0.5]`), `tuple[int, int]` (`(3, 2)`, or 3 for
    both), another family (a call or a word), and any of these `| None`. `float | tuple[float, ...]` accepts a number or
    a list. The only parameter of a `variadic` class is a tuple of all arguments: `mean(1, 2, 3)`.

    >>> @dataclass(frozen=True)
    ... class Pet(Call):
    ...     noun, example = "pet", "cat(9)"
    >>> @dataclass(frozen=True)
    ... class Cat(Pet):
    ...     '''An animal that falls on its feet. It purrs.'''
    ...     name = "cat"
    ...     lives: int = 9
    ...     def __post_init__(self) -> None:
    ...         above_zero("lives", self.lives)
    >>> Pet.read("cat(7)", "`pet`"), str(Cat(7)), str(Cat()), Cat.describe()
    (Cat(lives=7), 'cat(lives=7)', 'cat', ('cat(lives=9)', 'An animal that falls on its feet.'))
    """

    name: ClassVar[str]
    noun: ClassVar[str]
    """The noun for a member of the family in messages."""
    example: ClassVar[str]
    """An example call of the family for messages."""
    variadic: ClassVar[bool] = False
    """Whether the arguments are the elements of the only parameter."""

    @classmethod
    def known(cls) -> dict[str, type[Self]]:
        """Return the classes of the family by name, in the order of their definition."""
        own = {cls.name: cls} if "name" in vars(cls) else {}
        return own | {name: each for below in cls.__subclasses__() for name, each in below.known().items()}

    @classmethod
    def read(cls, text: str, parameter: str) -> Self:
        """Parse a text of one call; a name alone is a call without arguments. `parameter` names the text in messages.

        Raises:
            PlanError: the text is not one call, or a value is invalid.
            UnknownName: the family has no such class, or the class no such parameter.
        """
        whole = CallText(text if "(" in text else f"{text}()", parameter, f"one {cls.noun} such as {cls.example}")
        statements = list(whole.statements())
        if len(statements) != 1 or statements[0][0] is not None:
            raise PlanError(f"{parameter} {text!r}: expected one {cls.noun} such as {cls.example}")
        node = statements[0][1]
        return _instance(whole, node, whole.call(node), cls, alone=True)

    @classmethod
    def read_all(cls, text: str, parameter: str, words: bool = False) -> list[tuple[str | None, Self]]:
        """Parse a text of calls, each with the name that is assigned to it, if any.

        With `words`, a name alone is a call without arguments.

        Raises:
            PlanError: the text is something else, two calls have the same name, or a value is invalid.
            UnknownName: the family has no such class, or a class no such parameter.
        """
        article = "an" if cls.noun[0] in "aeiou" else "a"
        whole = CallText(text, parameter, f"{article} {cls.noun} such as {cls.example}")
        read: list[tuple[str | None, Self]] = []
        taken: set[str] = set()
        for target, node in whole.statements():
            call = ParsedCall(node.id) if words and isinstance(node, ast.Name) else whole.call(node)
            read.append((target.id if target else None, _instance(whole, node, call, cls)))
            if target is not None:
                if problem := cls.problem_of_name(target.id):
                    raise whole.wrong(target, problem)
                if target.id in taken:
                    raise whole.wrong(target, f"two {cls.noun}s are named {target.id!r}")
                taken.add(target.id)
        if not read:
            raise PlanError(f"{parameter}: expected {article} {cls.noun} such as {cls.example}")
        return read

    @classmethod
    def problem_of_name(cls, name: str) -> str | None:
        """Return why a call may not be assigned to this name; None if it may."""
        del name
        return None

    @classmethod
    def describe(cls) -> tuple[str, str]:
        """Return the call with its parameters and their defaults, and the first sentence of the docstring."""
        written = [
            f"{'*' * cls.variadic}{field.name}"
            if field.default is MISSING
            else f"{field.name}={written_value(field.default, field.type)}"
            for field in fields(cls)
        ]
        paragraph = (cls.__doc__ or "").partition("\n\n")[0]
        summary = re.split(r"(?<=[.]) (?=[A-Z`])", " ".join(paragraph.split()))[0]
        return f"{cls.name}({', '.join(written)})", summary

    def __str__(self) -> str:
        """Return the call in its notation, without the parameters that have their default values."""
        if self.variadic:
            return f"{self.name}({', '.join(map(written_value, getattr(self, fields(self)[0].name)))})"
        given = [field for field in fields(self) if getattr(self, field.name) != field.default]
        written = [f"{field.name}={written_value(getattr(self, field.name), field.type)}" for field in given]
        return f"{self.name}({', '.join(written)})" if written else self.name


def written_value(value: Any, kind: Any = None) -> str:
    """Return the notation of a parameter's value; `kind` is its type.

    >>> written_value(0.5), written_value(1.0), written_value((1.0, 2.0), tuple[float, ...]), written_value((3, 2))
    ('0.5', '1', '[1, 2]', '(3, 2)')
    >>> written_value(1 / 127.5), written_value(0.1)
    ('1/127.5', '0.1')
    """
    if isinstance(value, tuple | list):
        elements = ", ".join(map(written_value, value))
        listed = isinstance(value, list) or any(Ellipsis in get_args(each) for each in (kind, *get_args(kind)))
        return f"[{elements}]" if listed else f"({elements})"
    return _written_number(value) if isinstance(value, float) else str(value)


def _written_number(value: float) -> str:
    """Return the notation of a number: a fraction if that is the same number in far fewer digits."""
    whole = str(value).removesuffix(".0")
    divisor = f"{1 / value:.7g}" if len(whole) > LONG_NUMBER else ""
    return f"1/{divisor}" if divisor and len(divisor) < LONG_NUMBER and 1 / float(divisor) == value else whole


class WrongValue(PlanError):
    """A parameter's value is invalid; `parameter` is its name, so that the parser can report its position."""

    def __init__(self, parameter: str, problem: str) -> None:
        """Store the parameter's name and the whole message."""
        super().__init__(problem)
        self.parameter = parameter


def require(parameter: str, value: Any, valid: bool, expected: str) -> None:
    """Check a parameter; None, the value of an omitted optional parameter, is always valid.

    >>> require("rate", 2.0, False, "a number from 0 to 1")
    Traceback (most recent call last):
    ckpttool.core.calls.WrongValue: rate must be a number from 0 to 1, found 2

    Raises:
        WrongValue: the value is invalid.
    """
    if value is not None and not valid:
        raise WrongValue(parameter, f"{parameter} must be {expected}, found {written_value(value)}")


def require_made(parameter: str, value: Any, kind: type) -> None:
    """Check that a parameter is an instance of a class, and not the text that such an object is made from.

    >>> require_made("`objective`", "softmax", Call)
    Traceback (most recent call last):
    ckpttool.core.calls.WrongValue: `objective` must be Call('softmax'), found softmax
    """
    example = f"{kind.__name__}({value!r})" if isinstance(value, str) else f"of the class {kind.__name__}"
    require(parameter, value, isinstance(value, kind), example)


def above_zero(parameter: str, value: float | None, what: str = "a number") -> None:
    """Check that a parameter is above 0 and finite."""
    require(parameter, value, value is not None and 0 < value < inf, f"{what} above 0")


def not_negative(parameter: str, value: float | None, what: str = "a number") -> None:
    """Check that a parameter is 0 or more and finite."""
    require(parameter, value, value is not None and 0 <= value < inf, f"{what} not below 0")


def below_one(parameter: str, value: float | None) -> None:
    """Check that a parameter is at least 0 and below 1."""
    require(parameter, value, value is not None and 0 <= value < 1, "at least 0 and below 1")


def from_to(parameter: str, value: float | None, low: float, high: float, what: str = "a number") -> None:
    """Check that a parameter is in a closed range."""
    within = value is not None and low <= value <= high
    require(parameter, value, within, f"{what} from {written_value(low)} to {written_value(high)}")


Family = TypeVar("Family", bound=Call)


def _instance(text: CallText, node: ast.expr, call: ParsedCall, family: type[Family], alone: bool = False) -> Family:
    """Return the instance of a family that a call describes.

    If the call is `alone` in the text, messages have its name, else the line and the column.
    """
    known = family.known()
    if call.name not in known:
        problem = f"no {family.noun} {call.name}; known: {', '.join(known)}{suggestion(call.name, known)}"
        raise UnknownName(problem) if alone else text.wrong(node, problem, UnknownName)
    kind = known[call.name]
    types = {field.name: field.type for field in fields(kind)}
    given = text.bound(node, _gathered(node, call) if kind.variadic else call, list(types))
    if missing := [each.name for each in fields(kind) if each.default is MISSING and each.name not in given]:
        raise text.wrong(node, f"{call.name} needs {' and '.join(missing)}")
    values = {name: _value(text, value, types[name], name) for name, value in given.items()}
    try:
        return kind(**values)
    except (PlanError, UnknownName) as error:
        if alone:
            raise PlanError(f"{text.what} {call.name}: {error}") from error
        place = given.get(error.parameter, node) if isinstance(error, WrongValue) else node
        raise text.wrong(place, f"{call.name}: {error}") from error


def _gathered(node: ast.expr, call: ParsedCall) -> ParsedCall:
    """Return the call with its arguments as one list, if they are not one already."""
    if not call.arguments or isinstance(call.arguments[0], ast.List | ast.Tuple):
        return call
    return replace(call, arguments=(ast.copy_location(ast.List(list(call.arguments)), node),))


def _value(text: CallText, node: ast.expr, kind: Any, parameter: str) -> Any:
    """Return a parameter's value, parsed according to its type."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        if isinstance(node, ast.Constant) and node.value is None:
            return None
        several = isinstance(node, ast.List | ast.Tuple)
        kinds = [each for each in arguments if each is not NoneType]
        fitting = (each for each in kinds if (get_origin(each) is tuple) == several)
        return _value(text, node, next(fitting, kinds[0]), parameter)
    if origin is Literal or origin is Annotated:
        names = arguments if origin is Literal else arguments[1]
        if text.word(node) not in names:
            raise text.wrong(node, f"no {parameter} {text.word(node)}{nearest(text.word(node), names)}", UnknownName)
        return text.word(node)
    if origin is tuple:
        return _tuple(text, node, arguments, parameter)
    if issubclass(kind, Call):
        call = text.call(node) if isinstance(node, ast.Call) else ParsedCall(text.word(node))
        return _instance(text, node, call, kind)
    readers = {bool: text.flag, str: text.word, int: text.whole, float: text.number}
    return kind(readers[kind](node))


def _tuple(text: CallText, node: ast.expr, types: tuple[Any, ...], parameter: str) -> tuple[Any, ...]:
    """Parse `[1, 0.5]`, of any length, or `(3, 2)`, of a fixed length, for which one value stands for all elements."""
    if Ellipsis in types:
        if not isinstance(node, ast.List | ast.Tuple) or not node.elts:
            raise text.wrong(node, "expected a list of numbers such as [1, 0.5]")
        return tuple(_value(text, each, types[0], parameter) for each in node.elts)
    fits = isinstance(node, ast.Tuple) and len(node.elts) == len(types)
    elements = node.elts if isinstance(node, ast.Tuple) and fits else [node] * len(types)
    return tuple(_value(text, each, kind, parameter) for each, kind in zip(elements, types, strict=True))
