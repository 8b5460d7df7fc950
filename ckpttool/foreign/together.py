"""Tensors that make a variable only together, such as those of a recurrent cell: which layout a rule might name."""

import re
from collections.abc import Iterable, Mapping
from functools import cache

from ckpttool.foreign.layouts.candidates import candidates
from ckpttool.foreign.layouts.layout import Layout, Shape
from ckpttool.foreign.likeness import layer_of

_TORCH_CELL = re.compile(r"(?:weight|bias)_[ih]h(_l\d+(?:_reverse)?)?$")


def is_of_cell(name: str) -> bool:
    """Say whether a tensor is one of PyTorch's recurrent cells, whose gates lie in another order elsewhere.

    >>> is_of_cell("rnn.weight_hh_l0"), is_of_cell("rnn/kernel")
    (True, False)
    """
    return _TORCH_CELL.search(name) is not None


def cells(names: Iterable[str]) -> list[list[str]]:
    """Return names by their layers, those that have several; each layer and direction of a torch network is one."""
    layers: dict[str, list[str]] = {}
    for name in names:
        cell = _TORCH_CELL.search(name)
        layers.setdefault(layer_of(name) + (cell[1] or "" if cell else ""), []).append(name)
    return [each for each in layers.values() if len(each) > 1]


def together(layers: Iterable[list[str]], shapes: Mapping[str, Shape], target: Shape) -> str:
    """Return, as the end of a message, the first tensors of one layer that a layout makes a variable of; '' if none.

    >>> cell = {"rnn/kernel": (3, 20), "rnn/recurrent_kernel": (5, 20), "rnn/bias": (20,)}
    >>> together(cells(cell), cell, (8, 20))
    '; a rule might take rnn/kernel rnn/recurrent_kernel rnn/bias by lstm(source=keras, target=tf1)'
    """
    for names in layers:
        if layout := _layout(tuple(shapes[name] for name in names), target):
            return f"; a rule might take {' '.join(names)} by {layout}"
    return ""


@cache
def _layout(shapes: tuple[Shape, ...], target: Shape) -> Layout | None:
    return next(iter(candidates(shapes, target)), None)
