"""Whole modules in pickles: the content of their `state_dict()`, without their classes.

A pickled module has its parameters, buffers and modules in three dicts (torch/nn/modules/module.py, `state_dict`). In a
TorchScript program, all are attributes, and its code lists for each class which are parameters and buffers
(torch/csrc/jit/serialization/python_print.cpp).
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from ckpttool.formats.pytorch.numpy_arrays import NumpyArray
from ckpttool.formats.pytorch.records import Object, Pairs, Unread, View

PARAMETERS, BUFFERS, MODULES = "_parameters", "_buffers", "_modules"
NOT_SAVED = "_non_persistent_buffers_set"
SCRIPTED = "__torch__."
MOST_PARTS = 1000
"""The maximum number of an attribute's parts that are examined: long lists contain numbers rather than tensors."""
TENSORS = (View, NumpyArray, Unread)
_CLASS = re.compile(r"^class (?P<name>\w+)\(Module\):\n(?P<body>(?:[ \t].*\n|\n)*)", re.MULTILINE)
_LISTED = re.compile(r"^[ \t]++__(?:parameters|buffers)__ = \[(.*)\]$", re.MULTILINE)

Classes = Mapping[str, list[str]]
"""The parameters and buffers of TorchScript classes, in order."""


class Constants(tuple[Any, ...]):
    """The constants of a program: its weights if it is frozen, else numbers of its code."""


class Member(NamedTuple):
    """A tensor or module in a module, or None; `saved` is whether `state_dict()` contains it."""

    name: str
    value: Any
    saved: bool


def is_module(value: Any) -> bool:
    """Return whether a value is a module: an object with parameters, buffers and modules, or a TorchScript object."""
    if not isinstance(value, Object):
        return False
    own = value.attributes
    held = [own.get(key) for key in (PARAMETERS, BUFFERS, MODULES)]
    return all(isinstance(each, Pairs) for each in held) or (
        value.name.startswith(SCRIPTED) and isinstance(value.state, Pairs)
    )


def holds_tensor(value: Any, depth: int = 3) -> bool:
    """Return whether a value is a tensor, or contains one down to a depth; nested modules are not searched."""
    if isinstance(value, TENSORS) or depth == 0 or is_module(value):
        return isinstance(value, TENSORS)
    if isinstance(value, Object):
        inside = [*value.parts, *(part for _, part in value.pairs or value.attributes)]
    elif isinstance(value, Pairs):
        inside = [part for _, part in value]
    else:
        inside = list(value) if isinstance(value, (list, tuple)) else []
    return any(holds_tensor(part, depth - 1) for part in inside[:MOST_PARTS])


def members(module: Object, classes: Classes) -> Iterator[Member]:
    """Yield the members of a module in the order of `state_dict()`, then other attributes that contain tensors."""
    own = module.attributes
    if module.name.startswith(SCRIPTED):
        yield from _scripted(own, classes.get(module.name.removeprefix(SCRIPTED)))
        return
    unsaved = own.get(NOT_SAVED)
    names = unsaved if isinstance(unsaved, (list, tuple)) else ()
    known: set[int] = set()
    for key in (PARAMETERS, BUFFERS, MODULES):
        for name, value in own.get(key) or ():
            known.add(id(value))
            yield Member(str(name), value, key != BUFFERS or not any(name == each for each in names))
    for name, value in own:
        again = all(id(each) in known for each in (value if isinstance(value, list) else [value]))  # as in an RNN
        if name not in (PARAMETERS, BUFFERS, MODULES) and not again and holds_tensor(value):
            yield Member(str(name), value, False)


def _scripted(attributes: Pairs, listed: list[str] | None) -> Iterator[Member]:
    """Yield the members of a TorchScript object; if its code is unknown, all its tensors count as saved."""
    values = {name: value for name, value in attributes if isinstance(name, str)}
    tensors = [name for name, value in values.items() if isinstance(value, (View, Unread))]
    saved = [name for name in listed if name in values] if listed is not None else tensors
    yield from (Member(name, values[name], True) for name in saved)
    yield from (Member(name, value, True) for name, value in values.items() if is_module(value))
    yield from (
        Member(name, value, False) for name, value in values.items() if name not in saved and holds_tensor(value)
    )


def classes_in(module: str, code: str) -> Iterator[tuple[str, list[str]]]:
    r"""Yield the classes of modules in a code file of a program, with the names of their parameters and buffers.

    >>> code = 'class Fc(Module):\n  __parameters__ = ["w", "b", ]\n  __buffers__ = ["mean", ]\n  w : Tensor\n'
    >>> list(classes_in("net", code))
    [('net.Fc', ['w', 'b', 'mean'])]
    """
    for found in _CLASS.finditer(code):
        names = [name for listed in _LISTED.findall(found["body"]) for name in re.findall(r'"([^"]*)"', listed)]
        yield f"{module}.{found['name']}" if module else found["name"], names
