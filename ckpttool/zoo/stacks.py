"""Stacks: the layers of a model from the bottom, as texts that are compared: `conv2d 3x3x1x8 8`, its kind and shapes.

Strangers write manifests: what is not a word or no size in one is left open here, and fits nothing by mistake.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import takewhile
from typing import Any

from ckpttool.core.shapes import PartialShape

Row = Mapping[str, Any]
UNKNOWN = "?"
"""What stands for a kind or a size that is not known."""
_KIND = re.compile(r"[a-z0-9_]{1,40}")
_BETWEEN = ";"
_FREE_OF_SIZE = re.compile(r"(depthwise_|separable_)?conv[123]d(_transpose)?|\w*_normalization|bias")
"""Kinds of layers whose weights are the same whatever the height and the width of what they take."""


def stack_text(layers: Iterable[Row], tensors: Iterable[Row] = ()) -> str:
    """Return the layers of a manifest, with the shapes that its tensors have.

    >>> stack_text([{"kind": "dense", "variables": ["a/kernel", "a/bias"], "shapes": [[784, 300], [300]]}])
    'dense 784x300 300'
    """
    shapes = {row.get("name"): row.get("shape") for row in tensors}
    return _BETWEEN.join(_layer_text(layer, shapes) for layer in layers)


def _layer_text(layer: Row, shapes: Mapping[Any, Any]) -> str:
    names, kind = layer.get("variables") or (), layer.get("kind")
    noted = dict(zip(names, layer.get("shapes") or (), strict=False))
    sizes = [size_text(shapes.get(name, noted.get(name))) for name in names]
    is_kind = isinstance(kind, str) and _KIND.fullmatch(kind)
    return " ".join([kind if is_kind and kind else UNKNOWN, *sorted(sizes, key=lambda text: (-text.count("x"), text))])


def stacked(text: str) -> list[str]:
    """Return the layers in a stack's text."""
    return text.split(_BETWEEN) if text else []


def size_text(shape: Any) -> str:
    """Return a shape as one word.

    >>> size_text([28, 28, 1]), size_text([None, 3]), size_text(None)
    ('28x28x1', '?x3', '?')
    """
    if not isinstance(shape, list | tuple):
        return UNKNOWN
    return "x".join(str(size) if type(size) is int and size >= 0 else UNKNOWN for size in shape) or "1"


def shape_of(text: str) -> PartialShape:
    """Return the shape that a word stands for."""
    return tuple(int(size) if size.isdecimal() else None for size in text.split("x"))


def input_text(inputs: Sequence[Row]) -> str | None:
    """Return the shape of a row that a model takes; None where it takes several, or the shape is not known."""
    shape = inputs[0].get("shape") if len(inputs) == 1 else None
    return size_text(shape[1:]) if isinstance(shape, list | tuple) and len(shape) > 1 else None


def common(stack: Sequence[str], other: Sequence[str]) -> int:
    """Return how many layers two stacks have in common from the bottom; of a kind that is not known shapes decide.

    >>> common(["dense 4x3 3", "dense 3x2 2"], ["dense 4x3 3", "dense 3x5 5"])
    1
    """
    return sum(1 for _ in takewhile(lambda pair: _is_alike(*pair), zip(stack, other, strict=False)))


def _is_alike(one: str, other: str) -> bool:
    (kind, _, shapes), (other_kind, _, other_shapes) = one.partition(" "), other.partition(" ")
    known = UNKNOWN not in shapes and shapes != ""
    return known and shapes == other_shapes and (kind == other_kind or UNKNOWN in (kind, other_kind))


def free_of_size(stack: Iterable[str]) -> Iterator[str]:
    """Yield the layers from the bottom whose weights do not depend on the height and the width of images."""
    return takewhile(lambda layer: _FREE_OF_SIZE.fullmatch(layer.partition(" ")[0]) is not None, stack)
