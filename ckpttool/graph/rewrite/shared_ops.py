"""Shared ops: merges equal ops of a graph's signatures.

Keras 3 exports a network under two names, and TensorFlow saves a function for each: without merging, the graph would
contain the network twice, with the same variables.
"""

from collections.abc import Iterator, Sequence

from ckpttool.formats.wire.protos.graph_pb2 import NodeDef
from ckpttool.formats.wire.protos.meta_graph_pb2 import SignatureDef
from ckpttool.graph.contents.signatures import DEFAULT
from ckpttool.graph.core import Graph, TensorRef
from ckpttool.graph.ops import PLACEHOLDERS
from ckpttool.graph.rewrite.draft import Draft
from ckpttool.graph.rewrite.functions import functions_in, functions_with_effects, is_ordered
from ckpttool.graph.rewrite.header_names import rename_in_header

_LOOKS_UP = frozenset(
    {"ReadVariableOp", "ResourceGather", "ResourceGatherNd", "VariableShape", "LookupTableFindV2", "LookupTableSizeV2"}
)
"""Ops that read state without changing it: equal ops with the same control inputs return the same value."""
_CALLS_BRANCHES = frozenset({"If", "While", "Case", "StatefulPartitionedCall"})


def with_shared_ops(graph: Graph) -> Graph:
    """Return the graph whose signatures share equal ops, and placeholders that are fed under the same name.

    The ops of the default signature are preferred. Ops that are no longer read stay in the graph; `keep` removes them.
    """
    definitions = graph.header.signature_def
    moved = _Merging(graph).moved([definitions[name] for name in sorted(definitions, key=lambda n: (n != DEFAULT, n))])
    if not moved:
        return graph
    draft = Draft(graph)
    used = {ref for name in graph.nodes for ref in graph.inputs(name, control=True) if ref.op in moved}
    draft.redirect({ref: TensorRef(moved[ref.op], ref.index) for ref in used})
    rename_in_header(draft.header, lambda text: _renamed(text, moved))
    return draft.sealed().apart()


def _renamed(text: str, moved: dict[str, str]) -> str:
    name, colon, place = text.partition(":")
    return moved.get(name, name) + colon + place


class _Merging:
    """Compares the signatures of a graph op by op."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.effects = functions_with_effects(graph.header.graph_def.library)
        self.first: dict[str, str] = {}
        """The first op that is equal to each op."""
        self.known: dict[bytes, str] = {}
        """The first op with each key (`_what`) in earlier signatures."""

    def moved(self, definitions: Sequence[SignatureDef]) -> dict[str, str]:
        """Return the ops of later signatures that are equal to ops of earlier ones, with these."""
        moved: dict[str, str] = {}
        inputs: dict[tuple[str, bytes], str] = {}
        for definition in definitions:
            self._share_placeholders(definition, inputs, moved)
            found: dict[bytes, str] = {}
            for name in self._in_order(definition):
                what = self._what(self.graph.nodes[name])
                if what in self.known:
                    self.first[name] = moved[name] = self.known[what]
                else:
                    self.first[name] = found.setdefault(what, name) if what else name
            self.known |= found
        return {old: new for old, new in moved.items() if old != new}

    def _share_placeholders(
        self, definition: SignatureDef, inputs: dict[tuple[str, bytes], str], moved: dict[str, str]
    ) -> None:
        """Replace a signature's placeholders by equal ones of earlier signatures with the same input name."""
        for key, info in definition.inputs.items():
            op = TensorRef.parse(info.name).op
            node = self.graph.nodes.get(op, NodeDef())
            if node.op in PLACEHOLDERS and op not in self.first:
                self.first[op] = moved[op] = inputs.setdefault((key, _attributes(node)), op)

    def _in_order(self, definition: SignatureDef) -> Iterator[str]:
        """Yield the ops that a signature needs and that were not visited yet, each after its inputs."""
        opened: set[str] = set()
        todo = [TensorRef.parse(info.name).op for info in definition.outputs.values()]
        while todo:
            name = todo[-1]
            if name in self.first or name not in self.graph.nodes:
                todo.pop()
            elif name in opened:
                yield todo.pop()
            else:
                opened.add(name)
                todo += [ref.op for ref in self.graph.inputs(name, control=True) if ref.op not in opened]

    def _what(self, node: NodeDef) -> bytes:
        """Return a key that equal ops share; empty if the op may have side effects, or is part of a loop."""
        refs = self.graph.inputs(node.name, control=True)
        functions = {each.name for attr in node.attr.values() for each in functions_in(attr)}
        plain = not is_ordered(node.op) or node.op in _LOOKS_UP or node.op in _CALLS_BRANCHES
        if not plain or not self.effects.isdisjoint(functions) or any(ref.op not in self.first for ref in refs):
            return b""
        texts = [f"{self.first[ref.op]}:{ref.index}" for ref in refs if ref.index >= 0]
        waits = sorted({f"^{self.first[ref.op]}" for ref in refs if ref.index < 0})
        return _attributes(node, [*texts, *waits])


def _attributes(node: NodeDef, inputs: Sequence[str] = ()) -> bytes:
    """Return an op with these inputs in serialised form, without its name, device and colocations."""
    bare = NodeDef(op=node.op, input=inputs)
    for key, attr in node.attr.items():
        if key != "_class":
            bare.attr[key].CopyFrom(attr)
    return bare.SerializeToString(deterministic=True)
