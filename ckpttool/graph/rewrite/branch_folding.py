"""Taking branches: where it is known what decides TensorFlow 1's conditionals, their Switch and Merge ops go."""

from collections.abc import Mapping

from ckpttool.graph.contents.flow import Flow, is_loop_merge
from ckpttool.graph.core import Graph, TensorRef
from ckpttool.graph.ops import MERGES, SWITCHES
from ckpttool.graph.rewrite.editing import Draft
from ckpttool.graph.roles.modes import dead_ops, known_truths

Replacements = dict[TensorRef, TensorRef]


def take_branches(graph: Graph, modes: Mapping[str, bool]) -> Graph:
    """Return the graph with what reads a conditional reading what its taken branch gives, given the modes' values.

    The ops that are then read no more are still there, for `subgraph` to leave out. Loops stay as they are. What is
    left has fewer ops to run, and gives the same.
    """
    flow = Flow(graph)
    truths = known_truths(flow, modes)
    if not any(graph.nodes[name].op in SWITCHES and _decided(graph, name, truths) for name in graph.nodes):
        return graph
    dead, lost = dead_ops(flow, truths)
    replacements: Replacements = {}
    for name, node in graph.nodes.items():
        if node.op in SWITCHES and _decided(graph, name, truths):
            replacements[TensorRef(name, int(truths[graph.inputs(name)[1].op]))] = graph.inputs(name)[0]
        elif node.op in MERGES and not is_loop_merge(graph, name) and not _tells_branch(graph, name):
            live = [ref for ref in graph.inputs(name) if ref not in lost and ref.op not in dead]
            if len(live) == 1:
                replacements[TensorRef(name, 0)] = live[0]
    final = {ref: _followed(ref, replacements) for ref in replacements}
    draft = Draft(graph)
    draft.redirect(final)
    return draft.sealed()


def _decided(graph: Graph, name: str, truths: Mapping[str, bool]) -> bool:
    inputs = graph.inputs(name)
    return len(inputs) > 1 and inputs[1].op in truths


def _tells_branch(graph: Graph, name: str) -> bool:
    """Say whether an op reads which branch a Merge took."""
    return any(TensorRef(name, 1) in graph.inputs(reader) for reader in graph.consumers.get(name, []))


def _followed(ref: TensorRef, replacements: Replacements) -> TensorRef:
    while ref in replacements:
        ref = replacements[ref]
    return ref
