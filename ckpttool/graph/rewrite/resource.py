"""Conversion of reference variables to resource variables, in the protobuf.

The output of TensorFlow 1's `VariableV2` is a reference, which any op can read and `Assign` or `Apply...` can write. A
`tf.function` supports only resource variables: a handle (`VarHandleOp`), explicit reads, and updates of the handle.
"""

from typing import NamedTuple

from ckpttool.core.errors import GraphError
from ckpttool.formats.wire.protos.graph_pb2 import DT_RESOURCE, NodeDef
from ckpttool.formats.wire.protos.meta_graph_pb2 import MetaGraphDef, VariableDef
from ckpttool.graph.collection_entries import entry_of
from ckpttool.graph.core import Graph, TensorRef
from ckpttool.graph.free_names import FreeNames
from ckpttool.graph.ops import REFERENCE_FLOW, REFERENCE_VARIABLES, UPDATES
from ckpttool.graph.rewrite.collections import VARIABLE_COLLECTIONS
from ckpttool.graph.rewrite.draft import control_inputs, copy_of, set_inputs, type_attr


class _Handle(NamedTuple):
    """The tensor of a reference's handle, and the update op whose output the reference was (or None)."""

    ref: TensorRef
    after: str | None


def to_resource(graph: Graph) -> Graph:
    """Return the graph with its reference variables converted to resource variables.

    Variables, reads, assigns and update ops keep their names. For an op that reads a reference directly, a
    `ReadVariableOp` is added; if it reads the output of an update, the `ReadVariableOp` waits for the update.

    Raises:
        GraphError: an op requires a reference and has no resource form; the message names it.
    """
    if not any(node.op in REFERENCE_VARIABLES for node in graph.nodes.values()):
        return graph
    rewriter = _Rewriter(graph)
    for name, old in graph.nodes.items():
        node = old
        if old.op in REFERENCE_VARIABLES or any(rewriter.handle(ref) for ref in graph.inputs(name)):
            node = copy_of(old)
            rewriter.rewrite(node)
        if node.op != old.op:
            node.attr.pop("_output_shapes", None)  # describes the reference, and would fail the import's check
        rewriter.new[name] = node  # after the reads that it now requires
    header = graph.header_copy()
    rewriter.rewrite_header(header)
    return graph.having(rewriter.new.values(), header)


class _Rewriter:
    """Converts a graph once: finds the variable of each reference, and collects the new nodes."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.new: dict[str, NodeDef] = {}
        self.names = FreeNames(graph.nodes)
        self.operators = {op.name: op for op in graph.header.meta_info_def.stripped_op_list.op}

    def handle(self, ref: TensorRef, seen: frozenset[str] = frozenset()) -> _Handle | None:
        """Return the handle for a tensor that was a reference, or None for a plain value."""
        node = self.graph.nodes.get(ref.op)
        if node is None or ref.index < 0 or ref.op in seen:
            return None
        if node.op in REFERENCE_VARIABLES:
            return _Handle(ref, None)
        inputs = self.graph.inputs(ref.op)
        if node.op in REFERENCE_FLOW:
            is_reference = any(self.handle(text, seen | {ref.op}) for text in inputs)
            return _Handle(ref, None) if is_reference and not (node.op == "RefMerge" and ref.index == 1) else None
        if node.op in UPDATES and UPDATES[node.op].returns_reference and ref.index == 0:
            through = self.handle(inputs[0], seen | {ref.op})
            return _Handle(through.ref, ref.op) if through else None
        return None

    def rewrite(self, node: NodeDef) -> None:
        """Rewrite a node in place: a variable, or an op that reads a reference."""
        first = next(iter(self.graph.inputs(node.name)), None)
        is_reference = first is not None and self.handle(first) is not None
        if node.op in REFERENCE_VARIABLES:
            node.op = "VarHandleOp"
            if not node.attr["shared_name"].s:
                node.attr["shared_name"].s = node.name.encode()
        elif is_reference and node.op in UPDATES:
            form = UPDATES[node.op]
            self._take_handles(node, form.references)
            node.op = form.resource
            for old, new in form.renamed_attrs:
                if old in node.attr:
                    node.attr[new].CopyFrom(type_attr(node.attr[old].type))
                    del node.attr[old]
            for name in form.dropped_attrs:
                node.attr.pop(name, None)
        elif is_reference and node.op in REFERENCE_FLOW:  # passes the handle instead
            self._take_handles(node, len(self.graph.inputs(node.name)) if node.op == "RefMerge" else 1)
            node.op = REFERENCE_FLOW[node.op]
            node.attr["T"].CopyFrom(type_attr(DT_RESOURCE))
        elif is_reference and node.op == "Identity":  # becomes the read, with the same name
            dtype = node.attr["T"].type
            self._take_handles(node, 1)
            node.op = "ReadVariableOp"
            del node.attr["T"]
            node.attr["dtype"].CopyFrom(type_attr(dtype))
        elif is_reference and node.op == "IsVariableInitialized":
            self._take_handles(node, 1)
            node.op = "VarIsInitializedOp"
            node.attr.pop("dtype", None)
        else:
            self._refuse_references(node)
            self._take_handles(node, 0)

    def _take_handles(self, node: NodeDef, count: int) -> None:
        """Replace the first `count` inputs by handles, and all other references by reads."""
        waited = control_inputs(node)
        control, data = list(waited), []
        for position, ref in enumerate(self.graph.inputs(node.name)):
            handle = self.handle(ref)
            if handle is None:
                data.append(ref)
            elif position < count:
                data.append(handle.ref)
                control += [handle.after] if handle.after else []
            else:
                data.append(self._read(node.name, handle, waited))
        set_inputs(node, data, control)

    def _read(self, reader: str, handle: _Handle, control: list[str]) -> TensorRef:
        """Add a read of a variable for one reader, with the reader's control inputs."""
        name = self.names.free(f"{reader}/ReadVariableOp")
        node = NodeDef(name=name, op="ReadVariableOp")
        set_inputs(node, [handle.ref], control + ([handle.after] if handle.after else []))
        node.attr["dtype"].CopyFrom(type_attr(self._dtype(handle.ref)))
        self.new[name] = node
        return TensorRef(name, 0)

    def _dtype(self, ref: TensorRef) -> int:
        """Return the number of the dtype of a handle's variable; the handle may pass through conditionals."""
        node = self.graph.nodes[ref.op]
        while node.op not in REFERENCE_VARIABLES:
            behind = next(
                handle for text in self.graph.inputs(node.name) if (handle := self.handle(text, frozenset({node.name})))
            )
            node = self.graph.nodes[behind.ref.op]
        return int(node.attr["dtype"].type)

    def _refuse_references(self, node: NodeDef) -> None:
        """Raise an error if an op without a resource form requires a reference."""
        definition = self.operators.get(node.op)
        if definition is None or node.op in UPDATES:
            return
        pairs = zip(definition.input_arg, self.graph.inputs(node.name), strict=False)
        if any(argument.is_ref and self.handle(ref) for argument, ref in pairs):
            raise GraphError(
                f"{self.graph.source}: {node.name} ({node.op}) needs a reference variable and has no resource form"
            )

    def rewrite_header(self, header: MetaGraphDef) -> None:
        """Replace references in collections and signatures by reads, and mark variables as resources."""
        infos = [
            info
            for signature in header.signature_def.values()
            for info in (*signature.inputs.values(), *signature.outputs.values())
        ]
        texts = [text for entry in header.collection_def.values() for text in entry.node_list.value if ":" in text]
        reads = {}
        for text in dict.fromkeys([*texts, *(info.name for info in infos)]):
            handle = self.handle(TensorRef.parse(text))
            if handle is not None:
                reads[text] = str(self._read(TensorRef.parse(text).op, handle, []))
        for info in infos:
            if info.name in reads:
                info.name = reads[info.name]
        for key, collection in header.collection_def.items():
            for position, text in enumerate(collection.node_list.value):
                collection.node_list.value[position] = reads.get(text, text)
            if key in VARIABLE_COLLECTIONS and collection.WhichOneof("kind") == "bytes_list":
                for position, raw in enumerate(collection.bytes_list.value):
                    entry = entry_of(VariableDef, raw)
                    entry.is_resource = True
                    collection.bytes_list.value[position] = entry.SerializeToString()
