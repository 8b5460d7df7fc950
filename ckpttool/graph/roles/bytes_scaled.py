"""Inputs that a graph scales itself: the first thing done to their numbers divides bytes, or takes their mean away.

A network with a layer such as Keras's `Rescaling(1/255)` takes the bytes of images as they are.
"""

import numpy as np

from ckpttool.graph.contents.constants import numbers
from ckpttool.graph.core import Graph
from ckpttool.graph.ops import PICKS

_MOVES = PICKS | frozenset(
    {"Cast", "Pad", "PadV2", "MirrorPad", "StridedSlice", "Slice", "ReverseV2", "Pack", "Split", "Unpack"}
    | {"ResizeBilinear", "ResizeBicubic", "ResizeNearestNeighbor", "ResizeArea"}
) - {"MaxPool"}
"""What moves, picks or resizes the numbers of images, and leaves their range as it is."""
_FACTOR = 20
"""Numbers that are divided by so much, or have so much taken away, are bytes: 127.5, 255, or a mean of about 100."""


def bytes_scaled(graph: Graph, placeholder: str) -> str | None:
    """Return the first op that brings the bytes of an input into a small range; None where there is no such op.

    Args:
        graph: The graph; calls of functions are not followed.
        placeholder: The input, an op's name.
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
    """Return whether an op multiplies by a small constant, divides by a large one, or takes a large one away."""
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
