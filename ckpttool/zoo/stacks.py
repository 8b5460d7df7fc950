"""Stacks: the layers of a model from the bottom, as comparable strings of kind and shapes: `conv2d 3x3x1x8 8`.

Manifests are untrusted: invalid kinds and sizes are treated as unknown, and do not match by accident.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import takewhile
from typing import Any

from ckpttool.core.shapes import PartialShape

Row = Mapping[str, Any]
UNKNOWN = "?"
"""The placeholder for an unknown kind or size."""
_KIND = re.compile(r"[a-z0-9_]{1,40}")
_BETWEEN = ";"
_FREE_OF_SIZE = re.compile(r"(depthwise_|separable_)?conv[123]d(_transpose)?|\w*_normalization|bias")
"""Kinds of layers whose weights do not depend on the height and width of their input."""


def stack_text(layers: Iterable[Row], tensors: Iterable[Row] = ()) -> str:
    """Return the stack of a manifest's layers as one string, with the shapes of their tensors.

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
    """Split the string of a stack into its layers."""
    return text.split(_BETWEEN) if text else []


def size_text(shape: Any) -> str:
    """Return a shape as a string.

    >>> size_text([28, 28, 1]), size_text([None, 3]), size_text(None)
    ('28x28x1', '?x3', '?')
    """
    if not isinstance(shape, list | tuple):
        return UNKNOWN
    return "x".join(str(size) if type(size) is int and size >= 0 else UNKNOWN for size in shape) or "1"


def shape_of(text: str) -> PartialShape:
    """Parse the string of a shape; unknown sizes are None."""
    return tuple(int(size) if size.isdecimal() else None for size in text.split("x"))


def input_text(inputs: Sequence[Row]) -> str | None:
    """Return the shape of an input row as a string; None if the model has several inputs or the shape is unknown."""
    shape = inputs[0].get("shape") if len(inputs) == 1 else None
    return size_text(shape[1:]) if isinstance(shape, list | tuple) and len(shape) > 1 else None


def common(stack: Sequence[str], other: Sequence[str]) -> int:
    """Return the number of bottom layers that two stacks share; if a kind is unknown, shapes suffice.

    >>> common(["dense 4x3 3", "dense 3x2 2"], ["dense 4x3 3", "dense 3x5 5"])
    1
    """
    return sum(1 for _ in takewhile(lambda pair: _is_alike(*pair), zip(stack, other, strict=False)))


def _is_alike(one: str, other: str) -> bool:
    (kind, _, shapes), (other_kind, _, other_shapes) = one.partition(" "), other.partition(" ")
    known = UNKNOWN not in shapes and shapes != ""
    return known and shapes == other_shapes and (kind == other_kind or UNKNOWN in (kind, other_kind))


def free_of_size(stack: Iterable[str]) -> Iterator[str]:
    """Yield the bottom layers whose weights do not depend on the height and width of images."""
    return takewhile(lambda layer: _FREE_OF_SIZE.fullmatch(layer.partition(" ")[0]) is not None, stack)
