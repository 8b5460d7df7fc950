"""Gradients that nobody reads, no longer computed, and zeros that add nothing.

`tf.gradients` computes the gradients of all inputs of an op, and lets none of them go on before all are there: each
passes through an `Identity` that waits for a `NoOp`, which waits for them all. So those of data, of dropout's masks and
of frozen weights are computed too. What comes out of a conditional's branch that is not taken is filled with zeros.
"""

from collections.abc import Collection, Sequence

from ckpttool.formats.wire.protos.graph_pb2 import NodeDef
from ckpttool.graph.contents.constants import numbers
from ckpttool.graph.core import Graph, TensorRef
from ckpttool.graph.freezing.randomness import is_changing
from ckpttool.graph.rewrite.editing import Draft, control_inputs, set_inputs
from ckpttool.graph.rewrite.prune import needed


def without_idle_gradients(graph: Graph, wanted: Sequence[str], fed: Collection[str] = ()) -> Graph:
    """Return the graph in which a gradient waits only for those of its siblings that something else needs.

    `wanted` are tensors or ops that will be computed, `fed` tensors that are given. What has effects is still waited
    for, and so is what reads a weight before it is changed.
    """
    stop = {TensorRef.parse(name) for name in fed}
    part = needed(graph, wanted, stop)
    siblings = {name: found for name in part if (found := _siblings(graph, name))}
    effects = [name for name in part if is_changing(graph.nodes[name]) or graph.nodes[name].op == "Assert"]
    alone = Draft(graph)
    for name in siblings:
        set_inputs(alone.op(name), graph.inputs(name))
    used = needed(alone.sealed(), [*wanted, *effects], stop)
    draft = Draft(graph)
    for name, waited in siblings.items():
        if any(op not in used for op in waited):
            set_inputs(draft.op(name), graph.inputs(name), [op for op in waited if op in used])
    return draft.sealed()


def without_zeros(graph: Graph) -> Graph:
    """Return the graph in which sums leave out what is filled with zeros."""
    draft = Draft(graph)
    for name, node in graph.nodes.items():
        if node.op != "AddN":
            continue
        terms = graph.inputs(name)
        kept = [ref for ref in terms if not _is_zeros(graph, graph.nodes.get(ref.op))]
        if 0 < len(kept) < len(terms):
            set_inputs(draft.op(name), kept, control_inputs(node))
            draft.op(name).attr["N"].i = len(kept)
    return draft.sealed()


def _siblings(graph: Graph, name: str) -> list[str]:
    """Return the gradients that one waits for before it is passed on, its own op among them."""
    node = graph.nodes[name]
    if node.op != "Identity" or [graph.nodes[op].op for op in control_inputs(node)] != ["NoOp"]:
        return []
    waited = control_inputs(graph.nodes[control_inputs(node)[0]])
    return waited if graph.inputs(name)[0].op in waited else []


def _is_zeros(graph: Graph, node: NodeDef | None) -> bool:
    if node is None or node.op != "Fill":
        return False
    value = numbers(graph.nodes[graph.inputs(node.name)[1].op])
    return value is not None and not value.any()
