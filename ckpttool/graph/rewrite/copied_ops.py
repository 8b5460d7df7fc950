"""Copying ops of one scope to others: ops that differ only in names and sizes are built once, and copied as protobufs.

Building an op in TensorFlow takes a hundred times as long as copying one, and twice that inside a conditional.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from ckpttool.formats.wire.protos.graph_pb2 import NodeDef
from ckpttool.formats.wire.protos.meta_graph_pb2 import CondContextDef, MetaGraphDef
from ckpttool.graph.collection_entries import entry_of
from ckpttool.graph.rewrite.header_names import rename_texts

Shape = tuple[int, ...]
"""The sizes of a tensor; -1 for an unknown one."""
_CONTEXTS = "cond_context"
_COLOCATED = "loc:@"


@dataclass(frozen=True)
class Original:
    """Ops of one scope, and the outside tensors that they read and that a copy replaces."""

    scope: str
    ops: Sequence[str]
    reads: Sequence[str]


@dataclass(frozen=True)
class Copy:
    """A copy of ops in another scope: the tensors that it reads (in the original's order), and the replaced shapes.

    Existing ops with names of the copy are placeholders for its ops.
    """

    original: Original
    scope: str
    reads: Sequence[str]
    shapes: Mapping[Shape, Shape]

    @cached_property
    def names(self) -> dict[str, str]:
        """The names of its ops, by the names of the original ops."""
        start = len(self.original.scope)
        return {name: f"{self.scope}{name[start:]}" for name in self.original.ops}

    @cached_property
    def tensors(self) -> dict[str, str]:
        """The tensors that it reads, by those that the original reads."""
        pairs = zip(self.original.reads, self.reads, strict=True)
        return {before.removesuffix(":0"): after.removesuffix(":0") for before, after in pairs}

    @cached_property
    def places(self) -> dict[str, str]:
        """The colocations of its ops, by those of the original."""
        beside = {before.partition(":")[0]: after.partition(":")[0] for before, after in self.tensors.items()}
        return {f"{_COLOCATED}{before}": f"{_COLOCATED}{after}" for before, after in (self.names | beside).items()}

    def renamed(self, text: str) -> str:
        """Return the copy's input for an input of the original: `op`, `op:1` or `^op`."""
        tensor = self.tensors.get(text.removesuffix(":0"))
        if tensor is not None:
            return tensor
        mark, rest = ("^", text[1:]) if text.startswith("^") else ("", text)
        op, colon, index = rest.partition(":")
        return f"{mark}{self.names.get(op, op)}{colon}{index}"

    def renamed_in_full(self, text: str) -> str:
        """Return the copy's name for a tensor or op, in which index 0 is not omitted: `op:0`."""
        renamed = self.renamed(text)
        return renamed if ":" in renamed or ":" not in text else f"{renamed}:0"

    def of(self, node: NodeDef) -> NodeDef:
        """Return the copy of an op."""
        copied = NodeDef()
        copied.CopyFrom(node)
        copied.name = self.names[node.name]
        copied.input[:] = map(self.renamed, node.input)
        if "_class" in node.attr:
            places = [place.decode() for place in node.attr["_class"].list.s]
            copied.attr["_class"].list.s[:] = [self.places.get(place, place).encode() for place in places]
        if "_output_shapes" in node.attr:
            for shape in copied.attr["_output_shapes"].list.shape:
                own = self.shapes.get(tuple(dim.size for dim in shape.dim), ())
                for dim, size in zip(shape.dim, own, strict=False):
                    dim.size = size
        return copied

    def of_context(self, context: CondContextDef) -> bytes:
        """Return the copy of a conditional's context, serialised."""
        copied = CondContextDef()
        copied.CopyFrom(context)
        rename_texts(copied, self.renamed_in_full)
        copied.context_name = f"{self.scope}{context.context_name.removeprefix(self.original.scope)}"
        return copied.SerializeToString()


def put_copies(meta: MetaGraphDef, copies: Sequence[Copy]) -> None:
    """Replace, in place, the placeholders of copies by the copied ops, and add the contexts of their conditionals."""
    if not copies:
        return
    nodes = {node.name: node for node in meta.graph_def.node}
    owners = {name: copy for copy in copies for name in copy.names.values() if name in nodes}
    ordered = list(_with_copies(nodes, owners))
    del meta.graph_def.node[:]
    meta.graph_def.node.extend(ordered)
    entries = meta.collection_def[_CONTEXTS].bytes_list.value
    contexts = [entry_of(CondContextDef, raw) for raw in entries]
    by_scope: dict[str, list[CondContextDef]] = {
        scope: [each for each in contexts if each.context_name.startswith(scope)]
        for scope in dict.fromkeys(copy.original.scope for copy in copies)
    }
    entries.extend(copy.of_context(each) for copy in copies for each in by_scope[copy.original.scope])


def _with_copies(nodes: Mapping[str, NodeDef], owners: Mapping[str, Copy]) -> Iterator[NodeDef]:
    put: set[int] = set()
    for name, node in nodes.items():
        copy = owners.get(name)
        if copy is None:
            yield node
        elif id(copy) not in put:
            put.add(id(copy))
            yield from (copy.of(nodes[each]) for each in copy.original.ops)
