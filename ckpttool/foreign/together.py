"""Tensors that make a variable only together, such as those of a recurrent cell: which layout a rule might name."""

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache

from ckpttool.foreign.attentions import attentions
from ckpttool.foreign.layouts.candidates import candidates
from ckpttool.foreign.layouts.layout import Layout, Shape
from ckpttool.foreign.likeness import layer_of

_TORCH_CELL = re.compile(r"(?:weight|bias)_[ih]h(_l\d+(?:_reverse)?)?$")
_RECURRENT = re.compile(r"recurrent_kernel(_\d+)?$")


def is_of_cell(name: str) -> bool:
    """Say whether a tensor is one of PyTorch's recurrent cells, whose gates lie in another order elsewhere.

    >>> is_of_cell("rnn.weight_hh_l0"), is_of_cell("rnn/kernel")
    (True, False)
    """
    return _TORCH_CELL.search(name) is not None


def cells(names: Iterable[str]) -> list[list[str]]:
    """Return names by their layers, those that have several; each layer and direction of a torch network is one.

    They are in the order that layouts want: kernels, then biases, each the inputs' before the recurrent one.

    >>> cells(["lstm/bias", "lstm/kernel", "lstm/recurrent_kernel", "out/bias"])
    [['lstm/kernel', 'lstm/recurrent_kernel', 'lstm/bias']]
    """
    layers: dict[str, list[str]] = {}
    for name in names:
        cell = _TORCH_CELL.search(name)
        layers.setdefault(layer_of(name) + (cell[1] or "" if cell else ""), []).append(name)
    return [sorted(each, key=_place) for each in layers.values() if len(each) > 1]


def _place(name: str) -> tuple[bool, bool]:
    end = re.split(r"[/.]", name)[-1]
    return "bias" in end, "_hh" in end or "recurrent" in end


def whole_layers(shapes: Mapping[str, Shape]) -> list[list[str]]:
    """Return the names of each layer whose tensors change their form together: Keras's cells, an attention's parts."""
    projections = dict.fromkeys(name for names in attentions(shapes) for name in names)
    return [*cells(projections), *(layer for layer in cells(shapes) if any(map(_RECURRENT.search, layer)))]


def joined_layers(shapes: Mapping[str, Shape]) -> list[list[str]]:
    """Return the names of tensors that might make variables together: of attentions, and of one layer."""
    return [*attentions(shapes), *cells(shapes)]


def together(
    layers: Iterable[Sequence[str]], shapes: Mapping[str, Shape], target: str, wanted: Mapping[str, Shape]
) -> str:
    """Return, as the end of a message, tensors that a layout makes a variable of; '' where there are none.

    What else it makes has to be `wanted` too. Of several such layers, one with the numbers of the variable's name is
    the likeliest.

    >>> cell = {"rnn/kernel": (3, 20), "rnn/recurrent_kernel": (5, 20), "rnn/bias": (20,)}
    >>> together(cells(cell), cell, "lstm_cell/kernel", {"lstm_cell/kernel": (8, 20), "lstm_cell/bias": (20,)})
    '; a rule might take rnn/kernel rnn/recurrent_kernel rnn/bias by lstm(source=keras, target=tf1)'
    """
    every = {*wanted.values()}
    found = ((names, _likeliest(names, [shapes[name] for name in names], wanted[target], every)) for names in layers)
    fitting = [(names, layout) for names, layout in found if layout]
    if not fitting:
        return ""
    numbers = re.findall(r"\d+", target)
    names, layout = min(fitting, key=lambda found: re.findall(r"\d+", found[0][0]) != numbers)
    return f"; a rule might take {' '.join(names)} by {layout}"


def _likeliest(names: Sequence[str], shapes: Sequence[Shape], target: Shape, wanted: set[Shape]) -> Layout | None:
    """Return the layout that makes the most of what is wanted and nothing else, from the form that the names tell."""
    is_torch = re.search(r"weight(_[ih]h\w*)?$", names[0]) is not None

    def rank(layout: Layout) -> tuple[int, bool]:
        return -len({*layout.made_of(shapes)}), getattr(layout, "source", "").startswith("torch") != is_torch

    found = _candidates(tuple(shapes), target)
    return min((layout for layout in found if wanted.issuperset(layout.made_of(shapes))), key=rank, default=None)


@cache
def _candidates(shapes: tuple[Shape, ...], target: Shape) -> list[Layout]:
    return candidates(shapes, target)
