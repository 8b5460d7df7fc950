"""A cut with one row per example: if a feature's rows are regrouped (`reshape(-1, n)`), the cut is moved below that."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from math import prod

from ckpttool.graph.contents.constants import numbers
from ckpttool.graph.contents.op_outputs import known_shape, shape_of_output
from ckpttool.graph.core import Graph, TensorRef
from ckpttool.graph.freezing.closure import FrozenPart
from ckpttool.graph.ops import BROADCASTING, ELEMENTWISE, FORMS, JOINS, SHAPES

_BY_ROWS = (
    FORMS
    | ELEMENTWISE
    | BROADCASTING
    | JOINS
    | {"MatMul", "BiasAdd", "BiasAddV1", "Transpose", "Pack"}
    | {"ReverseV2", "Tile"}
)
"""Ops below which the cut may be moved: all are cheap to compute again."""


def regroups_rows(graph: Graph, part: FrozenPart) -> bool:
    """Return whether an op in a frozen part may regroup rows, as far as shapes are known."""
    return any(_regroups(graph, name) for name in part.ops)


def cut_below(graph: Graph, part: FrozenPart, tensors: Collection[str]) -> FrozenPart | None:
    """Return the part with some features (`tensors`) in its cut replaced by the inputs of their ops.

    None if one of the ops is not in `_BY_ROWS`.
    """
    order = {name: place for place, name in enumerate(graph.nodes)}
    inputs = [TensorRef.parse(text).op for text in _inputs(graph, part)]
    data = graph.descendants(inputs)
    features = {TensorRef.parse(text) for text in part.features if text not in tensors}
    direct = dict.fromkeys(part.direct)
    for text in tensors:
        ref = TensorRef.parse(text)
        if graph.nodes[ref.op].op not in _BY_ROWS:
            return None
        for below in _measured(graph, graph.inputs(ref.op), inputs):
            if below.op in part.ops and below.op in data:
                features.add(below)
            elif below.op in data:
                direct[str(below)] = None
    features = {ref for ref in features if not _is_made_of(graph, ref, features, data)}
    ordered = sorted(features, key=lambda ref: (order[ref.op], ref.index))
    return replace(part, features=tuple(map(str, ordered)), direct=tuple(direct))


def _measured(graph: Graph, refs: Sequence[TensorRef], inputs: Sequence[str]) -> list[TensorRef]:
    """Return tensors, with those that depend on rows only by their shape replaced by the tensors of these shapes."""
    values = graph.descendants(inputs, but=SHAPES)
    found: dict[TensorRef, None] = {}
    behind, seen = list(refs), set[TensorRef]()
    while behind:
        ref = behind.pop()
        if ref.op in values:
            found[ref] = None
        elif ref not in seen:
            seen.add(ref)
            behind.extend(graph.inputs(ref.op))
    return list(found)


def _is_made_of(graph: Graph, ref: TensorRef, others: Collection[TensorRef], data: Collection[str]) -> bool:
    """Return whether a tensor is another form of `others`, which is cheap to compute again."""
    sources = [source for source in graph.inputs(ref.op) if source.op in data]
    return graph.nodes[ref.op].op in FORMS | {"Transpose"} and bool(sources) and all(s in others for s in sources)


def _inputs(graph: Graph, part: FrozenPart) -> list[str]:
    """Return the placeholders on which the frozen part's features depend: the rows."""
    needed = graph.ancestors(*(TensorRef.parse(text).op for text in part.features))
    return [f"{name}:0" for name in needed if graph.nodes[name].op.startswith("Placeholder")]


def _regroups(graph: Graph, name: str) -> bool:
    kind = graph.nodes[name].op
    if kind not in ("Reshape", "Transpose"):
        return False
    source, second = graph.inputs(name)
    wanted = numbers(graph.nodes[second.op])
    if kind == "Transpose":
        return wanted is None or bool(wanted.reshape(-1)[0] != 0)
    shape = known_shape(shape_of_output(graph, source))
    if shape is None or wanted is None or None in shape[1:] or not wanted.size or wanted[0] != -1:
        return True
    return bool(prod(size or 1 for size in shape[1:]) != prod(wanted[1:].tolist()))
