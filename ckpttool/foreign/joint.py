"""Tensors that can be converted only jointly, by one layout: the parts of recurrent cells and of attentions."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import NamedTuple

from ckpttool.core.names import FARTHEST
from ckpttool.foreign.names import layer_by_role, scope_of
from ckpttool.foreign.whole_layers import LayerOrder, arranged
from ckpttool.layouts.candidates import candidates
from ckpttool.layouts.layout import Layout, Shape

_TORCH_CELL = re.compile(r"(?:weight|bias)_[ih]h(_l\d+(?:_reverse)?)?$")
_RECURRENT = re.compile(r"recurrent_kernel(_\d+)?$")
PROJECTIONS = (re.compile(r"q|query"), re.compile(r"k|key"), re.compile(r"v|value"))
_JOINED = re.compile(
    r"(?:(?P<scope>.+)[/.])?(?:in_proj_weight|(?:c_attn|w?qkv|qkv_proj|query_key_value)[/.][^/.]+)", re.I
)
"""The joint kernel of query, key and value, as in torch's MultiheadAttention, GPT-2 and others."""
_INTERLEAVED = re.compile(r"query_key_value", re.I)
"""A joint kernel in which some networks interleave query, key and value of each head: GPT-NeoX and BLOOM."""
_AROUND = re.compile(r"^(?:to|w)?_|^w(?=[qkv]$)|_?(?:proj|projection|lin|linear|layer|dense)$")


class Joint(NamedTuple):
    """Tensors of a source that a layout jointly converts to variables; `by_order` if only their order decides."""

    sources: tuple[str, ...]
    targets: tuple[str, ...]
    layout: Layout
    by_order: bool = False


class _Maker(NamedTuple):
    """The tensors of a layer, and the layout by which they result in a shape."""

    sources: tuple[str, ...]
    layout: Layout


class Together:
    """Finds joint conversions for tensors without individual counterparts.

    All results of a layout must be wanted variables. Of several layers, the one with the numbers in the variable's name
    is preferred.

    >>> cell = {"rnn/kernel": (3, 20), "rnn/recurrent_kernel": (5, 20), "rnn/bias": (20,)}
    >>> together = Together(cell, {"lstm_cell/kernel": (8, 20), "lstm_cell/bias": (20,)})
    >>> together.hint("lstm_cell/kernel")
    '; a rule could convert rnn/kernel rnn/recurrent_kernel rnn/bias with transform = lstm(source=keras, target=tf1)'
    >>> [joint.targets for joint in together.sure()]
    [('lstm_cell/kernel', 'lstm_cell/bias')]
    """

    def __init__(
        self, shapes: Mapping[str, Shape], wanted: Mapping[str, Shape], known: Sequence[list[str]] = ()
    ) -> None:
        """Store the remaining tensors and variables with their shapes, and the tensors of `known` layers."""
        self._shapes, self._wanted = shapes, wanted
        self._layers = layers = [*attentions(shapes), *cells(shapes), *known]
        every = {*wanted.values()}
        self._makers: dict[Shape, list[_Maker]] = {}
        for target in every:
            layouts = ((names, _likeliest(names, [shapes[name] for name in names], target, every)) for names in layers)
            self._makers[target] = [_Maker(tuple(names), layout) for names, layout in layouts if layout]

    def hint(self, target: str) -> str:
        """Return, as the end of a message, the tensors that probably result in a variable; empty if there are none."""
        makers = self._likely(target) or self._makers[self._wanted[target]]
        return (
            f"; a rule could convert {' '.join(makers[0].sources)} with transform = {makers[0].layout}"
            if makers
            else ""
        )

    def sure(self) -> Iterator[Joint]:
        """Yield the unambiguous conversions: one layer results in all these variables, which have different shapes."""
        groups: dict[_Maker, list[str]] = {}
        for target in self._wanted:
            if len(makers := self._likely(target)) == 1:
                groups.setdefault(makers[0], []).append(target)
        for maker, targets in groups.items():
            made = maker.layout.shapes([self._shapes[name] for name in maker.sources])
            by_shape = {self._wanted[target]: target for target in targets}
            if len(by_shape) == len(targets) == len(made) and by_shape.keys() == {*made}:
                yield Joint(maker.sources, tuple(by_shape[shape] for shape in made), maker.layout)

    def layer_by_layer(self, order: LayerOrder, outputs_first: Callable[[], bool | None]) -> Iterator[Joint]:
        """Yield the conversions of whole layers to whole layers, the largest first: an attention before its parts.

        Square kernels need `outputs_first`, which returns whether the source's matrices have their outputs first.
        """
        theirs = [*attentions(self._wanted), *cells(self._wanted)]
        ways = {
            (tuple(ours), tuple(names)): layout
            for ours in self._layers
            if not any(map(_INTERLEAVED.search, ours))
            for names in theirs
            if (layout := self._to_layer(ours, names, outputs_first))
        }
        used: set[str] = set()
        for size in sorted({len(names) for _, names in ways}, reverse=True):
            fits = [pair for pair in ways if len(pair[1]) == size and used.isdisjoint(pair[0] + pair[1])]
            for ours, names, by_order in arranged(fits, order):
                used |= {*ours, *names}
                yield Joint(ours, names, ways[ours, names], by_order)

    def _to_layer(
        self, ours: Sequence[str], names: Sequence[str], outputs_first: Callable[[], bool | None]
    ) -> Layout | None:
        shapes = [self._shapes[name] for name in ours]
        made = [self._wanted[name] for name in names]
        layouts = [each for each in _candidates(tuple(shapes), made[0]) if [*each.made_of(shapes)] == made]
        if len({_is_torch(each) for each in layouts}) > 1:
            first = outputs_first()
            layouts = [each for each in layouts if _is_torch(each) is first]
        return layouts[0] if layouts else None

    def _likely(self, target: str) -> list[_Maker]:
        """Return the layers that may result in a variable; of several, only those with its numbers."""
        makers = self._makers[self._wanted[target]]
        if len(makers) < 2:
            return makers
        return [each for each in makers if re.findall(r"\d+", each.sources[0]) == re.findall(r"\d+", target)]


def _is_torch(layout: Layout) -> bool:
    """Return whether a layout is for kernels with their outputs first."""
    return str(getattr(layout, "source", "")).startswith("torch")


def _likeliest(names: Sequence[str], shapes: Sequence[Shape], target: Shape, wanted: set[Shape]) -> Layout | None:
    """Return the layout with the most results, all of which are wanted, for the source form that the names suggest."""
    is_torch = re.search(r"weight(_[ih]h\w*)?$", names[0]) is not None

    def rank(layout: Layout) -> tuple[int, bool]:
        return -len({*layout.made_of(shapes)}), _is_torch(layout) != is_torch

    layouts = _candidates(tuple(shapes), target)
    return min((each for each in layouts if wanted.issuperset(each.made_of(shapes))), key=rank, default=None)


@cache
def _candidates(shapes: tuple[Shape, ...], target: Shape) -> list[Layout]:
    return candidates(shapes, target)


def whole_layers(shapes: Mapping[str, Shape]) -> list[list[str]]:
    """Return the tensors of each layer that must be converted as a whole: Keras's cells, an attention's parts."""
    projections = dict.fromkeys(name for names in attentions(shapes) for name in names)
    return [*cells(projections), *(layer for layer in cells(shapes) if any(map(_RECURRENT.search, layer)))]


def is_of_cell(name: str) -> bool:
    """Return whether a tensor belongs to a PyTorch recurrent cell, whose gates have another order elsewhere.

    >>> is_of_cell("rnn.weight_hh_l0"), is_of_cell("rnn/kernel")
    (True, False)
    """
    return _TORCH_CELL.search(name) is not None


def cells(names: Iterable[str]) -> list[list[str]]:
    """Return the names of each layer with several tensors; each layer and direction of a torch network is separate.

    They are in the order that layouts expect: kernels, then biases, each first for the inputs, then recurrent.

    >>> cells(["lstm/bias", "lstm/kernel", "lstm/recurrent_kernel", "out/bias"])
    [['lstm/kernel', 'lstm/recurrent_kernel', 'lstm/bias']]
    """

    def place(name: str) -> tuple[bool, bool]:
        end = re.split(r"[/.]", name)[-1]
        return "bias" in end, "_hh" in end or "recurrent" in end

    layers: dict[str, list[str]] = {}
    for name in names:
        cell = _TORCH_CELL.search(name)
        layers.setdefault(layer_by_role(name) + (cell[1] or "" if cell else ""), []).append(name)
    return [sorted(each, key=place) for each in layers.values() if len(each) > 1]


def attentions(shapes: Mapping[str, Shape]) -> Iterator[list[str]]:
    """Yield the tensors of each attention, kernels before biases: with the output's projection, then without it.

    >>> names = [f"attention.{layer}.weight" for layer in ("output.dense", "self.key", "self.query", "self.value")]
    >>> for tensors in attentions(dict.fromkeys(names, (8, 8))):
    ...     print(*tensors)
    attention.self.query.weight attention.self.key.weight attention.self.value.weight attention.output.dense.weight
    attention.self.query.weight attention.self.key.weight attention.self.value.weight
    """
    layers: dict[str, list[str]] = {}
    for name in sorted(shapes, key=lambda name: "bias" in re.split(r"[/.]", name)[-1]):
        layers.setdefault(layer_by_role(name), []).append(name)
    # an attention's layers contain a matrix, normalisations do not; their names are not endless
    layers = {
        layer: names
        for layer, names in layers.items()
        if len(layer) <= FARTHEST and any(len(shapes[name]) > 1 for name in names)
    }
    below: dict[str, list[str]] = {}
    for layer in layers:
        scope = layer
        while scope:
            scope = scope_of(scope)
            below.setdefault(scope, []).append(layer)
    for scope, members in _projections(layers):
        projections = [name for layer in members for name in layers[layer]]
        output = _output(scope, below, members)
        yield from ([*projections, *layers[output]], projections) if output else (projections,)


def _projections(layers: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, list[str]]]:
    """Yield the layers that project to query, key and value (three, or a joint one), with their scope."""
    scopes: dict[str, list[str]] = {}
    for layer in layers:
        scopes.setdefault(scope_of(layer), []).append(layer)
    for scope, inside in scopes.items():
        members = [layer for which in PROJECTIONS for layer in inside if which.fullmatch(_role(layer))]
        if len(members) == len(PROJECTIONS):
            yield scope, members
    for layer, names in layers.items():
        if joined := _JOINED.fullmatch(names[0]):
            yield joined["scope"] or "", [layer]


def _role(layer: str) -> str:
    """Return the last component of a layer's name without the prefixes and suffixes of frameworks.

    >>> _role("attn/q_proj"), _role("attention.self.query"), _role("to_k"), _role("wv")
    ('q', 'query', 'k', 'v')
    """
    return _AROUND.sub("", re.split(r"[/.:]", layer)[-1].lower())


def _output(scope: str, below: Mapping[str, Sequence[str]], members: Sequence[str]) -> str | None:
    """Return the only other layer in the nearest scope with other layers, which is the output's projection, or None."""
    while True:
        others = [layer for layer in below.get(scope, ()) if layer not in members]
        if others or not scope:
            return others[0] if len(others) == 1 else None
        scope = scope_of(scope)
