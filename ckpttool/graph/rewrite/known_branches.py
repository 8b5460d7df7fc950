"""Conditionals with a constant condition: an If or Case is replaced by a call of the selected branch."""

from collections.abc import Iterator

from ckpttool.formats.wire.protos.graph_pb2 import NameAttrList, NodeDef
from ckpttool.graph.contents.constants import numbers
from ckpttool.graph.core import Graph
from ckpttool.graph.ops import CASES, CONDITIONALS, READS
from ckpttool.graph.rewrite.draft import Draft


def with_known_branches(graph: Graph) -> Graph:
    """Return the graph in which Ifs and Cases with a constant condition are calls of the selected branch.

    Networks that were saved with `training=False` have such conditionals. A graph without any is returned unchanged.
    """
    draft = Draft(graph)
    for name, branch in _decided(graph):
        node = draft.op(name)
        inputs = list(node.input)[1:]
        chosen = NodeDef(
            name=name, op="PartitionedCall" if node.op.startswith("Stateless") else "StatefulPartitionedCall"
        )
        chosen.input[:], chosen.device = inputs, node.device
        chosen.attr["f"].func.CopyFrom(branch)
        for key in {"Tin", "Tout"} & set(node.attr):
            chosen.attr[key].CopyFrom(node.attr[key])
        draft.nodes[name] = chosen
    return draft.sealed()


def _decided(graph: Graph) -> Iterator[tuple[str, NameAttrList]]:
    """Yield the Ifs and Cases whose branch is known, with the branch."""
    for name, node in graph.nodes.items():
        if node.op not in CONDITIONALS and node.op not in CASES:
            continue
        choice = _constant(graph, node)
        if choice is None:
            continue
        if node.op in CONDITIONALS:
            key = "then_branch" if choice else "else_branch"
            yield from ((name, node.attr[key].func) for _ in range(key in node.attr))
        elif "branches" in node.attr and (branches := node.attr["branches"].list.func):
            place = int(choice)
            yield name, branches[place if 0 <= place < len(branches) else -1]


def _constant(graph: Graph, node: NodeDef) -> float | None:
    """Return the constant condition or index of an op, or None if it is computed."""
    seen = set[str]()
    text = next(iter(node.input), "^")
    while not text.startswith("^"):
        ref = graph.refs[text]
        maker = graph.nodes.get(ref.op)
        if maker is None or ref.op in seen or ref.index:
            return None
        if maker.op == "Const" and "value" in maker.attr:
            value = numbers(maker)
            return float(value) if value is not None and value.shape == () else None
        if maker.op not in READS:
            return None
        seen.add(ref.op)
        text = next(iter(maker.input), "^")
    return None
