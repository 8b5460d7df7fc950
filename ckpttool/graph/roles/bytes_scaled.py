"""Detecting inputs that a graph scales itself: its first arithmetic divides bytes, or subtracts their mean.

A network with a layer such as Keras's `Rescaling(1/255)` expects unscaled bytes of images.
"""

import numpy as np

from ckpttool.graph.contents.constants import numbers
from ckpttool.graph.core import Graph
from ckpttool.graph.ops import PICKS

_MOVES = PICKS | frozenset(
    {"Cast", "Pad", "PadV2", "MirrorPad", "StridedSlice", "Slice", "ReverseV2", "Pack", "Split", "Unpack"}
    | {"ResizeBilinear", "ResizeBicubic", "ResizeNearestNeighbor", "ResizeArea"}
) - {"MaxPool"}
"""Ops that move, select or resize pixels without changing their range."""
_FACTOR = 20
"""The minimum divisor or subtrahend (127.5, 255, a mean of about 100) from which values are assumed to be bytes."""


def bytes_scaled(graph: Graph, placeholder: str) -> str | None:
    """Return the first op that scales the bytes of an input to a small range, or None.

    Args:
        graph: The graph; calls of functions are not followed.
        placeholder: The name of the input's op.
    """
    todo, seen = [placeholder], {placeholder}
    for name in todo:
        for user in graph.consumers.get(name, ()):
            node = graph.op(user)
            if user in seen:
                continue
            if _scales(graph, user, name):
                return user
            if node.op in _MOVES:
                seen.add(user)
                todo.append(user)
    return None


def _scales(graph: Graph, name: str, data: str) -> bool:
    """Return whether an op multiplies by a small constant, or divides by, adds or subtracts a large one."""
    node, inputs = graph.op(name), graph.inputs(name)
    if node.op not in {"Mul", "RealDiv", "Div", "Sub", "Add", "AddV2", "BiasAdd"} or len(inputs) != 2:
        return False
    other = inputs[1] if inputs[0].op == data else inputs[0]
    number = numbers(graph.op(other.op))
    if number is None or not number.size or (node.op in {"RealDiv", "Div"} and inputs[0].op != data):
        return False
    sizes = np.abs(number.astype(np.float64))
    if node.op == "Mul":
        return bool((sizes > 0).all() and sizes.max() <= 1 / _FACTOR)
    return bool(sizes.min() >= _FACTOR)
