"""Arranging layers that are converted as a whole: which of several alike is which, by direction, names and order."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from ckpttool.foreign.names import natural, without_numbers

Layer = tuple[str, ...]
"""The names of a layer's tensors."""
_BACKWARD = re.compile(r"_reverse|backward|(?<![a-z])bw(?![a-z])")
_GENERIC = re.compile(
    r"(?:weight|bias)_[ih]h_l\d+(?:_reverse)?|(?:in|out)_proj(?:_weight|_bias)?|bidirectional|forward|backward|"
    r"(?<![a-z])(?:[fb]w|b?lstm|gru|rnn|cell|basic|layer|layers|kernel|weight|bias|multi|head|self|attention|attn|"
    r"attend|query|key|value|q|k|v|qkv|output|dense|c|proj|gates|candidate|weights|w|to)(?![a-z])",
    re.IGNORECASE,
)
"""Words that tell nothing about which layer of its kind a layer is."""
Key = TypeVar("Key")


@dataclass(frozen=True)
class LayerOrder:
    """What is known about the order of layers.

    `is_sorted` is whether the source's names are sorted, so that only their numbers show an order. `chained` tells of
    variables of a graph whether data flows through them one after another.
    """

    is_sorted: bool
    chained: Callable[[Sequence[str]], bool]


def arranged(fits: Sequence[tuple[Layer, Layer]], order: LayerOrder) -> Iterator[tuple[Layer, Layer, bool]]:
    """Yield layers of the source with layers of the graph, given which fit, and whether only their order decides.

    Ambiguous layers are skipped: those that fit unequal numbers of others, or that nothing distinguishes.

    >>> ours, theirs = ("rnn.weight_ih_l0", "rnn.weight_hh_l0"), ("lstm/kernel", "lstm/recurrent_kernel")
    >>> [*arranged([(ours, theirs)], LayerOrder(True, lambda names: True))] == [(ours, theirs, False)]
    True
    """
    fitting: dict[Layer, list[Layer]] = {}
    for source, target in fits:
        fitting.setdefault(target, []).append(source)
    for sources, targets in _by({target: tuple(each) for target, each in fitting.items()}).items():
        outside = {source for source, target in fits if target not in targets}
        if len(sources) == len(targets) and outside.isdisjoint(sources):
            yield from _of_direction(sources, targets, order)


def _of_direction(
    sources: Sequence[Layer], targets: Sequence[Layer], order: LayerOrder
) -> Iterator[tuple[Layer, Layer, bool]]:
    """Yield pairs of layers with one direction."""
    for ours, theirs in _shared(sources, targets, lambda layer: bool(_BACKWARD.search(layer[0]))):
        named = list(_shared(ours, theirs, _own_words)) or [(ours, theirs)]
        for some, others in named:
            yield from _in_order(some, others, order)


def _shared(
    sources: Sequence[Layer], targets: Sequence[Layer], key: Callable[[Layer], Key]
) -> Iterator[tuple[list[Layer], list[Layer]]]:
    """Yield the layers of both sides by a key, if each has as many layers on both sides; else nothing."""
    ours, theirs = _by({each: key(each) for each in sources}), _by({each: key(each) for each in targets})
    if {each: len(names) for each, names in ours.items()} == {each: len(names) for each, names in theirs.items()}:
        yield from ((names, theirs[each]) for each, names in ours.items())


def _own_words(layer: Layer) -> tuple[str, ...]:
    """Return the words of a layer's name that may distinguish it, without numbers.

    >>> _own_words(("encoder.weight_ih_l0",)), _own_words(("encoder/lstm_cell/kernel",))
    (('encoder',), ('encoder',))
    """
    return tuple(word.lower() for word in re.findall(r"[A-Za-z]+", _GENERIC.sub(" ", layer[0])))


def _in_order(
    sources: Sequence[Layer], targets: Sequence[Layer], order: LayerOrder
) -> Iterator[tuple[Layer, Layer, bool]]:
    """Yield pairs of layers that nothing but their order distinguishes, if both sides have one."""
    if len(sources) == 1:
        yield sources[0], targets[0], False
        return
    is_numbered = len({without_numbers(layer[0]) for layer in sources}) == 1
    if (is_numbered or not order.is_sorted) and order.chained([layer[0] for layer in targets]):
        ours = sorted(sources, key=lambda layer: natural(layer[0])) if is_numbered else sources
        yield from ((ours[place], target, True) for place, target in enumerate(targets))


def _by(values: Mapping[Layer, Key]) -> dict[Key, list[Layer]]:
    """Return the layers with each value, in order."""
    found: dict[Key, list[Layer]] = {}
    for layer, value in values.items():
        found.setdefault(value, []).append(layer)
    return found
