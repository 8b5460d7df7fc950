"""Whole modules in pickles: what their `state_dict()` would hold, under its names, without their classes.

A pickled module keeps its parameters, buffers and modules in three dicts (torch/nn/modules/module.py, `state_dict`). A
program of TorchScript has them all as attributes; its code lists by class which of them are parameters and buffers
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
TENSORS = (View, NumpyArray, Unread)
_CLASS = re.compile(r"^class (?P<name>\w+)\(Module\):\n(?P<body>(?:[ \t].*\n|\n)*)", re.MULTILINE)
_LISTED = re.compile(r"^\s+__(?:parameters|buffers)__ = \[(.*)\]$", re.MULTILINE)

Classes = Mapping[str, list[str]]
"""The parameters and buffers of TorchScript's classes, in their order."""


class Constants(tuple[Any, ...]):
    """The constants of a program: its weights where it is frozen, else numbers of its code."""


class Member(NamedTuple):
    """A tensor or a module in a module, or None in its place; `saved` says whether `state_dict()` has it."""

    name: str
    value: Any
    saved: bool


def is_module(value: Any) -> bool:
    """Say whether a value is a module: an object with parameters, buffers and modules, or a part of a program."""
    if not isinstance(value, Object):
        return False
    own = value.attributes
    held = [own.get(key) for key in (PARAMETERS, BUFFERS, MODULES)]
    return all(isinstance(each, Pairs) for each in held) or value.name.startswith(SCRIPTED)


def members(module: Object, classes: Classes) -> Iterator[Member]:
    """Yield what is in a module, in the order of `state_dict()`; then tensors that are attributes and nothing else."""
    own = module.attributes
    if module.name.startswith(SCRIPTED):
        yield from _scripted(own, classes.get(module.name.removeprefix(SCRIPTED)))
        return
    unsaved = own.get(NOT_SAVED)
    names = unsaved if isinstance(unsaved, (list, tuple)) else ()
    for key in (PARAMETERS, BUFFERS, MODULES):
        for name, value in own.get(key) or ():
            yield Member(str(name), value, key != BUFFERS or not any(name == each for each in names))
    for name, value in own:
        if any(isinstance(each, TENSORS) for each in (value if isinstance(value, (list, tuple)) else (value,))):
            yield Member(str(name), value, False)


def _scripted(attributes: Pairs, listed: list[str] | None) -> Iterator[Member]:
    """Yield the members of a part of a program; where its code is not known every tensor is taken for saved."""
    values = {name: value for name, value in attributes if isinstance(name, str)}
    tensors = [name for name, value in values.items() if isinstance(value, (View, Unread))]
    saved = [name for name in listed if name in values] if listed is not None else tensors
    yield from (Member(name, values[name], True) for name in saved)
    yield from (Member(name, value, True) for name, value in values.items() if is_module(value))
    yield from (Member(name, values[name], False) for name in tensors if name not in saved)


def classes_in(module: str, code: str) -> Iterator[tuple[str, list[str]]]:
    r"""Yield the classes of modules in a file of a program's code, with their parameters and buffers.

    >>> code = 'class Fc(Module):\n  __parameters__ = ["w", "b", ]\n  __buffers__ = ["mean", ]\n  w : Tensor\n'
    >>> list(classes_in("net", code))
    [('net.Fc', ['w', 'b', 'mean'])]
    """
    for found in _CLASS.finditer(code):
        names = [name for listed in _LISTED.findall(found["body"]) for name in re.findall(r'"([^"]*)"', listed)]
        yield f"{module}.{found['name']}" if module else found["name"], names
