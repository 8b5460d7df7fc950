"""Parts of a partitioned variable whose whole tensor is resized, and lookups of rows in them."""

from collections.abc import Iterator, Sequence

import numpy as np

from ckpttool.core.dtypes import dtype_numbered
from ckpttool.core.errors import PlanError
from ckpttool.graph.contents.constants import constant, numbers, single_number
from ckpttool.graph.contents.stored import StoredTensor
from ckpttool.graph.core import Graph
from ckpttool.graph.ops import READS
from ckpttool.graph.rewrite.draft import Draft

Shape = tuple[int, ...]
_LOOKS_UP = frozenset({"Gather", "GatherV2", "ResourceGather"})
_PASSES = READS | {"Cast", "Reshape"}
_DIVISIONS = frozenset({"FloorDiv", "FloorMod", "Div", "Mod"})
"""Ops by which a lookup computes the part and row of an id."""


def even_sizes(total: int, count: int) -> list[int]:
    """Return the sizes of even parts as by TensorFlow's partitioners: the first ones have one more.

    >>> even_sizes(13, 3), even_sizes(9, 3)
    ([5, 4, 4], [3, 3, 3])
    """
    return [total // count + (place < total % count) for place in range(count)]


def new_parts(stored: StoredTensor, whole: Shape) -> Iterator[tuple[Shape, Shape]]:
    """Yield the new shape and offset of each of a tensor's parts, in the order of its variables.

    Even parts remain even. Of other parts, only those at the end of a dimension change.
    """
    old, members = stored.shape or (), stored.members
    offsets = [member.slice_offset or (0,) * len(old) for member in members]
    shapes = [member.shape or () for member in members]
    cut = [axis for axis in range(len(old)) if any(offset[axis] for offset in offsets)]
    order = sorted(range(len(members)), key=lambda place: offsets[place])
    sizes = [shapes[place][cut[0]] for place in order] if len(cut) == 1 else []
    if sizes and sizes == even_sizes(old[cut[0]], len(sizes)):
        new = dict(zip(order, even_sizes(whole[cut[0]], len(sizes)), strict=True))
        starts = {place: sum(new[other] for other in order[:rank]) for rank, place in enumerate(order)}
        for place in range(len(members)):
            yield (
                tuple(new[place] if axis == cut[0] else size for axis, size in enumerate(whole)),
                tuple(starts[place] if axis == cut[0] else 0 for axis in range(len(whole))),
            )
        return
    for shape, offset in zip(shapes, offsets, strict=True):
        ends = zip(shape, offset, old, whole, strict=True)
        yield tuple(total - at if at + size == before else size for size, at, before, total in ends), offset


def follow_lookups(draft: Draft, stored: StoredTensor, whole: Shape) -> None:
    """Change, in place, the number or shape of rows in lookups in a tensor's parts.

    `embedding_lookup` computes an id's part from the number of rows, and reshapes the result to rows: both are
    constants in the graph.

    Raises:
        PlanError: ids are assigned to parts in turn (the strategy `mod`), so rows added at the end have no ids.
    """
    graph, old = draft.graph, stored.shape or whole
    lookups = list(_lookups(graph, [member.op for member in stored.members]))
    if old[1:] != whole[1:]:
        _shape_rows(draft, lookups, old[1:], whole[1:])
    if old[0] != whole[0]:
        _count_rows(draft, stored, lookups, whole[0])


def _shape_rows(draft: Draft, lookups: Sequence[str], old: Shape, new: Shape) -> None:
    graph = draft.graph
    stitched = [reader for name in lookups for reader in graph.consumers.get(name, [])]
    formed = [reader for name in stitched if "Stitch" in graph.nodes[name].op for reader in graph.consumers[name]]
    shapes = [graph.inputs(name)[1].op for name in formed if graph.nodes[name].op == "Reshape"]
    for part in dict.fromkeys(ref.op for shape in shapes for ref in graph.inputs(shape)):
        node, values = graph.nodes[part], numbers(graph.nodes[part])
        if values is not None and tuple(values.reshape(-1)) == old:
            dtype = dtype_numbered(node.attr["dtype"].type)
            draft.op(part).attr["value"].CopyFrom(constant(part, np.array(new, dtype.numpy), dtype).attr["value"])


def _count_rows(draft: Draft, stored: StoredTensor, lookups: Sequence[str], total: int) -> None:
    graph, old = draft.graph, (stored.shape or (0,))[0]
    for partitions in dict.fromkeys(_partitions(graph, lookups)):
        if graph.nodes[partitions].op in ("FloorMod", "Mod"):
            raise PlanError(
                f"{graph.source}: {stored.name} is looked up in its {len(stored.members)} parts in turn "
                f"({partitions}, partition_strategy mod), so that no id refers to a row appended at the end"
            )
        below = graph.ancestors(partitions)
        divided = [graph.inputs(name)[0].op for name in below if graph.nodes[name].op in _DIVISIONS]
        for name in (_source(graph, op) for op in divided):
            node = graph.nodes[name]
            if node.op == "Const" and single_number(node) == old:
                dtype = dtype_numbered(node.attr["dtype"].type)
                new = constant(name, np.array(total, dtype.numpy), dtype)
                draft.op(name).attr["value"].CopyFrom(new.attr["value"])


def _lookups(graph: Graph, parts: Sequence[str]) -> Iterator[str]:
    """Yield the ops that look up rows in some parts."""
    todo = list(parts)
    while todo:
        for reader in graph.consumers.get(todo.pop(), []):
            if graph.nodes[reader].op in READS:
                todo.append(reader)
            if graph.nodes[reader].op in READS | _LOOKS_UP:
                yield reader


def _partitions(graph: Graph, lookups: Sequence[str]) -> Iterator[str]:
    """Yield the ops that compute the part of each id."""
    for name in (name for name in lookups if graph.nodes[name].op in _LOOKS_UP and len(graph.inputs(name)) > 1):
        chooser = _source(graph, graph.inputs(name)[1].op)
        if graph.nodes[chooser].op == "DynamicPartition":
            yield _source(graph, graph.inputs(chooser)[1].op)


def _source(graph: Graph, op: str) -> str:
    """Return the op whose value an op passes on, possibly cast or reshaped."""
    seen: set[str] = set()
    while graph.nodes[op].op in _PASSES and graph.inputs(op) and op not in seen:
        seen.add(op)
        op = graph.inputs(op)[0].op
    return op
