"""Restoring: whether a graph's own saver could restore a checkpoint, determined from its ops and the index only.

`Saver.restore` fails if a key is missing, if the dtype or slice that an op reads differs from the file's, if a variable
has another shape, or if an op reads files of another version.
"""

from collections.abc import Iterator, Mapping

from ckpttool.core.dtypes import BY_NUMBER
from ckpttool.core.errors import PlanError
from ckpttool.core.tensors import TensorSpec
from ckpttool.graph.contents.savers import SaverEntry, own_entries, slice_of
from ckpttool.graph.contents.variable_ops import written_variable
from ckpttool.graph.contents.variables import variables
from ckpttool.graph.core import Graph, TensorRef
from ckpttool.graph.ops import RESTORES, SAVER_DTYPES


def require_restorable(graph: Graph, specs: Mapping[str, TensorSpec]) -> None:
    """Check that a graph's own saver could restore tensors of these names, shapes and dtypes.

    Raises:
        PlanError: it could not; the message has the first reason.
    """
    for problem in restore_problems(graph, specs):
        raise PlanError(f"{graph.source}: its Saver cannot restore this: {problem}")


def restore_problems(graph: Graph, specs: Mapping[str, TensorSpec]) -> Iterator[str]:
    """Yield the reasons why the graph's own saver could not restore tensors: what an op reads, and what exists."""
    shapes = {variable.op: variable.shape for variable in variables(graph).values()}
    for op, entry in own_entries(graph):
        if graph.nodes[op].op not in RESTORES:
            continue
        spec = specs.get(entry.key)
        if graph.nodes[op].op != "RestoreV2":
            yield f"{op} ({graph.nodes[op].op}) reads files of version 1 only"
        if spec is None:
            yield f"no value for {entry.key}"
            continue
        asked = BY_NUMBER.get(_dtype_number(graph, op, entry.position))
        if asked != spec.dtype:
            yield f"{entry.key} is {spec.dtype}, but {op} reads {asked}"
        shape: tuple[int, ...] | None = spec.shape
        if entry.part:
            read = slice_of(entry.part)
            if read is None or read[0] != spec.shape or not _lies_in(*read):
                yield f"{entry.key} is {list(spec.shape)}, but {op} reads the slice {entry.part!r}"
            shape = read and read[2]
        if shape is not None and _assigns_as_it_is(graph, op, entry) and shapes.get(str(entry.variable)) is not None:
            held = shapes[str(entry.variable)] or ()
            if held != shape:
                yield f"{entry.key} is {list(shape)}, but {entry.variable} is {list(held)}"


def _dtype_number(graph: Graph, op: str, position: int) -> int:
    """Return the dtype (by number) that a saver's op reads; 0 if the op does not specify it."""
    node = graph.nodes[op]
    key = SAVER_DTYPES.get(node.op, "dt")
    if key not in node.attr:
        return 0
    types = node.attr[key].list.type
    if key == "dt":
        return int(node.attr[key].type)
    return int(types[position]) if position < len(types) else 0


def _lies_in(whole: tuple[int, ...], start: tuple[int, ...], sizes: tuple[int, ...]) -> bool:
    return all(first >= 0 and first + size <= of for first, size, of in zip(start, sizes, whole, strict=True))


def _assigns_as_it_is(graph: Graph, op: str, entry: SaverEntry) -> bool:
    """Return whether a restored tensor is assigned without a change of shape, by an assign that checks the shape."""
    todo = list(graph.readers.get(TensorRef(op, entry.position), []))
    while todo:
        reader = todo.pop()
        node = graph.nodes[reader]
        if entry.variable is not None and written_variable(graph, reader) == entry.variable:
            return "validate_shape" not in node.attr or node.attr["validate_shape"].b
        if node.op in ("Identity", "Cast"):
            todo += graph.consumers.get(reader, [])
    return False
