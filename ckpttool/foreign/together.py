"""Tensors that make a variable only together, such as those of a recurrent cell: which layout a rule might name."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import NamedTuple

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


class Joint(NamedTuple):
    """Tensors of a source that a layout makes variables of, together."""

    sources: tuple[str, ...]
    targets: tuple[str, ...]
    layout: Layout


class Together:
    """Which tensors make variables only together, of those that have no counterpart alone.

    What else a layout makes has to be wanted too. Of several layers that it may take, one with the numbers of the
    variable's name is the likeliest.

    >>> cell = {"rnn/kernel": (3, 20), "rnn/recurrent_kernel": (5, 20), "rnn/bias": (20,)}
    >>> found = Together(cell, {"lstm_cell/kernel": (8, 20), "lstm_cell/bias": (20,)})
    >>> found.hint("lstm_cell/kernel")
    '; a rule might take rnn/kernel rnn/recurrent_kernel rnn/bias by lstm(source=keras, target=tf1)'
    >>> [joint.targets for joint in found.sure()]
    [('lstm_cell/kernel', 'lstm_cell/bias')]
    """

    def __init__(self, shapes: Mapping[str, Shape], wanted: Mapping[str, Shape]) -> None:
        """Take the tensors that are left and the variables that are, with their shapes."""
        self._shapes, self._wanted = shapes, wanted
        layers = [*attentions(shapes), *cells(shapes)]
        every = {*wanted.values()}
        self._makers = {shape: list(_makers(layers, shapes, shape, every)) for shape in every}

    def hint(self, target: str) -> str:
        """Return, as the end of a message, the tensors that likely make a variable; '' where there are none."""
        found = self._likely(target) or self._makers[self._wanted[target]]
        return f"; a rule might take {' '.join(found[0].sources)} by {found[0].layout}" if found else ""

    def sure(self) -> Iterator[Joint]:
        """Yield what can only be so: one layer makes all these variables, each the only one of its shape."""
        groups: dict[_Maker, list[str]] = {}
        for target in self._wanted:
            if len(found := self._likely(target)) == 1:
                groups.setdefault(found[0], []).append(target)
        for maker, targets in groups.items():
            made = maker.layout.shapes([self._shapes[name] for name in maker.sources])
            by_shape = {self._wanted[target]: target for target in targets}
            if len(by_shape) == len(targets) == len(made) and by_shape.keys() == {*made}:
                yield Joint(maker.sources, tuple(by_shape[shape] for shape in made), maker.layout)

    def _likely(self, target: str) -> list["_Maker"]:
        """Return the layers that may make a variable: all, or where there are several those with its numbers."""
        found = self._makers[self._wanted[target]]
        return found if len(found) < 2 else [each for each in found if _numbers(each.sources[0]) == _numbers(target)]


class _Maker(NamedTuple):
    sources: tuple[str, ...]
    layout: Layout


def _makers(
    layers: Iterable[Sequence[str]], shapes: Mapping[str, Shape], wanted: Shape, every: set[Shape]
) -> Iterator[_Maker]:
    """Yield the layers that a layout makes a shape of."""
    for names in layers:
        if layout := _likeliest(names, [shapes[name] for name in names], wanted, every):
            yield _Maker(tuple(names), layout)


def _numbers(name: str) -> tuple[str, ...]:
    return tuple(re.findall(r"\d+", name))


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
