"""Dataclasses of plain values, made of JSON whose fields are checked: a saved file may say anything."""

from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, TypeVar, cast, get_args, get_origin, get_type_hints

T = TypeVar("T")
LARGEST_COUNT = 1 << 53
"""No step, epoch or row has a number as high as this."""


def made_of(kind: type[T], facts: Any) -> T:
    """Return a dataclass of JSON values, in which an `int` is a count and a `float` any number.

    >>> from dataclasses import dataclass
    >>> @dataclass
    ... class Epoch:
    ...     epoch: int
    ...     loss: float
    ...     rate: float | None = None
    >>> made_of(Epoch, {"epoch": 3, "loss": 1})
    Epoch(epoch=3, loss=1.0, rate=None)

    Args:
        kind: A dataclass with fields of bool, int, float, str, None, lists of one type, mappings, and such dataclasses.
        facts: What JSON says.

    Raises:
        ValueError: facts are no object, or a field is missing, unknown, or has a value of another type.
    """
    if not isinstance(facts, Mapping):
        raise ValueError(f"it has {_shown(facts)}, expected an object")
    known, types = {each.name: each for each in fields(cast(Any, kind))}, get_type_hints(kind)
    needed = [name for name, each in known.items() if each.default is MISSING and each.default_factory is MISSING]
    for name in (*(name for name in facts if name not in known), *(name for name in needed if name not in facts)):
        raise ValueError(f"{'it lacks' if name in known else 'it has'} {name!r}")
    return kind(**{name: _value(name, types[name], value) for name, value in facts.items()})


def _value(name: str, kind: Any, value: Any) -> Any:
    """Return the value of a field, a float as such.

    Raises:
        ValueError: it has another type.
    """
    if isinstance(kind, UnionType):
        allowed = get_args(kind)
        if value is None and NoneType in allowed:
            return None
        fitting = [each for each in allowed if each is not NoneType and _fits(each, value)]
        if fitting:
            return _value(name, fitting[0], value)
    elif _fits(kind, value):
        if get_origin(kind) is list:
            return [_value(name, get_args(kind)[0], each) for each in value]
        if is_dataclass(kind):
            return made_of(cast(Any, kind), value)
        return float(value) if kind is float else value
    raise ValueError(f"{name} is {_shown(value)}")


def _fits(kind: Any, value: Any) -> bool:
    if kind is Any:
        return True
    if kind is int:
        return type(value) is int and 0 <= value < LARGEST_COUNT
    if kind is float:
        return type(value) is float or (type(value) is int and abs(value) < LARGEST_COUNT)
    if is_dataclass(kind):
        return True  # `made_of` checks it
    return isinstance(value, Mapping if get_origin(kind) in (Mapping, dict) else get_origin(kind) or kind)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:36]} ..."
