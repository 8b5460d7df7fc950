"""Gradients hold sizes: constants in which TensorFlow folded the shapes that it knew when it made them."""

import re
from collections.abc import Collection

import numpy as np

from ckpttool.core.tensors import Array, dtype_numbered
from ckpttool.formats.wire.protos.graph_pb2 import NodeDef
from ckpttool.graph.contents.constants import constant, numbers, shape_of
from ckpttool.graph.contents.shape_propagation import Change, Spread
from ckpttool.graph.core import Graph, TensorRef
from ckpttool.graph.rewrite.editing import Draft
from ckpttool.graph.sync.dropping import GRADIENTS

_SHAPE = re.compile(r"Shape(?:_(\d+))?")


def refold(draft: Draft, found: Spread) -> list[str]:
    """Put new sizes into the constants of gradients, in place; return those of which it is not known what they hold.

    TensorFlow names the gradient of an op after it, and in it the shape of the op's input 1 `Shape_1`: that is known.
    Any other number that is a multiple of an old size may be made of it.
    """
    graph, unknown = draft.graph, []
    for name, node in graph.nodes.items():
        start = GRADIENTS.match(name)
        if start is None or node.op != "Const":
            continue
        forward = _forward_op(graph, name[start.end() :])
        changes = _changes(graph, forward, found)
        if (put := _refolded(node, forward, changes)) is not None:
            new = constant(name, put, dtype_numbered(node.attr["dtype"].type))
            draft.op(name).attr["value"].CopyFrom(new.attr["value"])
        elif _is_suspect(node, _held(changes if forward and not found.unclear else list(found.tensors.values()))):
            unknown.append(name)
    return unknown


def may_hold(values: Array, sizes: Collection[int]) -> bool:
    """Say whether some numbers could be made of sizes.

    >>> may_hold(np.array([-1, 3136]), {64}), may_hold(np.array([0.5, 1.0]), {64})
    (True, False)
    """
    return any(value > 1 and value % size == 0 for value in values.reshape(-1).tolist() for size in sizes if size > 1)


def _forward_op(graph: Graph, name: str) -> str | None:
    """Return the op of whose gradient a name below `gradients/` is part, None where it is none's."""
    parts = name.split("_grad/")
    heads = ("_grad/".join(parts[:count]) for count in range(len(parts) - 1, 0, -1))
    return next((head for head in heads if head in graph.nodes), None)


def _changes(graph: Graph, forward: str | None, found: Spread) -> list[Change | None]:
    """Return what changes in an op's inputs, then in its output."""
    if forward is None:
        return []
    return [found.tensors.get(ref) for ref in (*graph.inputs(forward), TensorRef(forward, 0))]


def _refolded(node: NodeDef, forward: str | None, changes: list[Change | None]) -> Array | None:
    """Return the shape of an op's input with the new sizes, None where a constant is no such shape, or stays."""
    last = _SHAPE.fullmatch(node.name.rpartition("/")[2])
    values = numbers(node)
    if forward is None or last is None or values is None or values.ndim != 1:
        return None
    place = int(last[1] or 0)
    change = changes[place] if place < len(changes) - 1 else None
    if change is None or any(-axis > len(values) or values[axis] != size[0] for axis, size in change.sizes.items()):
        return None
    put = np.array(values)
    for axis, size in change.sizes.items():
        put[axis] = size[1]
    return put


def _held(changes: Collection[Change | None]) -> set[int]:
    return {old for change in changes if change is not None for old, _ in change.sizes.values()}


def _is_suspect(node: NodeDef, sizes: set[int]) -> bool:
    values = numbers(node)
    shape = shape_of(node.attr["value"].tensor)
    return bool(sizes.intersection(shape) - {1}) or (values is not None and may_hold(values, sizes))
