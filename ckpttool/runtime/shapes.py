"""Shapes that TensorFlow infers when it imports a graph, without running it or building it in Python."""

from collections.abc import Mapping, Sequence

from ckpttool.core.shapes import PartialShape
from ckpttool.graph.contents.op_outputs import dtype_of_output
from ckpttool.graph.core import Graph, TensorRef
from ckpttool.graph.gate import require_computing
from ckpttool.graph.rewrite.draft import Draft
from ckpttool.graph.rewrite.feeding import placeholder
from ckpttool.graph.rewrite.importable import importable_part
from ckpttool.runtime.configure import running
from ckpttool.runtime.private import outputs_at_import
from ckpttool.runtime.registered import require_registered


def inferred_shapes(
    graph: Graph, tensors: Sequence[str], fed: Mapping[str, Sequence[int]] | None = None
) -> list[PartialShape | None]:
    """Return the inferred shapes of tensors, None for unknown sizes; `fed` has the shapes of fed arrays, by tensor.

    Raises:
        UnknownName: a tensor does not exist.
        GraphError: TensorFlow refuses the graph, or it has an op that can have side effects.
    """
    part = importable_part(graph, tensors, list(fed or {}))
    require_registered(part)
    require_computing(part)
    draft = Draft(part)
    for name, shape in (fed or {}).items():
        ref = TensorRef.parse(name)
        draft.nodes[ref.op] = placeholder(ref.op, dtype_of_output(graph, ref), tuple(shape))
    refs = [TensorRef.parse(name) for name in tensors]
    with running(graph.source):
        definition = draft.sealed().meta.graph_def.SerializeToString()
        outputs = outputs_at_import(definition, {ref.op for ref in refs})
    shapes = [outputs[ref.op][ref.index].shape for ref in refs]
    return [None if shape.rank is None else tuple(shape.as_list()) for shape in shapes]
