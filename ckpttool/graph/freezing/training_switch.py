"""Pinning: some ops always read the `training` placeholder as False, the others continue to read the fed value."""

from collections.abc import Collection

from ckpttool.core.errors import GraphError
from ckpttool.formats.wire.protos.graph_pb2 import NodeDef, TensorProto
from ckpttool.formats.wire.protos.meta_graph_pb2 import CondContextDef, MetaGraphDef
from ckpttool.graph.collection_entries import entry_of
from ckpttool.graph.contents.flow import Flow
from ckpttool.graph.core import Graph, TensorRef
from ckpttool.graph.free_names import FreeNames
from ckpttool.graph.freezing.closure import FrozenPart
from ckpttool.graph.ops import PLACEHOLDERS, RANDOM, STATEFUL
from ckpttool.graph.rewrite.draft import Draft, copy_of, redirect

_FALSE = {
    10: TensorProto(bool_val=[False]),
    3: TensorProto(int_val=[0]),
    9: TensorProto(int64_val=[0]),
    1: TensorProto(float_val=[0.0]),
}
"""The value of "not training" in the dtypes of mode placeholders: bool, int32, int64, float32."""


def pin_training(graph: Graph, part: FrozenPart) -> Graph:
    """Return the graph with the frozen part's ops (`part.pinned`) reading its `training` placeholders as False.

    They read a constant `<placeholder>/frozen` instead. Ops that pass the mode to pinned ops only are changed in place;
    those that other ops read too are duplicated as `<name>/frozen`. Gradients of pinned ops read the same values.

    Raises:
        GraphError: a placeholder has a dtype without a value for False.
    """
    return _Pinning(graph, part.pinned, part.training).rewritten() if part.training else graph


class _Pinning:
    """Rewrites a graph once: finds the ops that pass on a mode, the pinned readers, and the duplicated ops."""

    def __init__(self, graph: Graph, pinned: Collection[str], modes: Collection[str]) -> None:
        self.graph = graph
        self.modes = modes
        self.flow = Flow.of(graph)
        self.passing = _mode_only(self.flow, modes)
        # TensorFlow makes gradients of an op as `gradients/<op>_grad/...`.
        gradients = {name for name in graph.nodes if "_grad/" in name and _is_gradient_of(name, pinned)}
        self.readers = {*pinned, *gradients} - set(modes)
        for name in reversed(self.flow.order):  # an op that passes the mode to readers only needs no duplicate
            users = graph.users.get(name)
            if name in self.passing and name not in modes and users and users <= self.readers:
                self.readers.add(name)
        self.draft = Draft(graph)
        self.names = FreeNames(graph.nodes)
        self.standins: dict[str, NodeDef] = {}

    def rewritten(self) -> Graph:
        for name in self.graph.nodes:
            refs = self.graph.inputs(name, control=True) if name in self.readers else []
            live = [ref for ref in refs if ref.op in self.passing and ref.op not in self.readers]
            if live:
                redirect(self.draft.op(name), {ref: TensorRef(self._standin(ref.op), ref.index) for ref in live})
        for name, node in self.standins.items():
            self.draft.add(node, behind=name)
        if "cond_context" in self.graph.header.collection_def:
            self._pin_contexts(self.draft.header)
        return self.draft.sealed()

    def _standin(self, name: str) -> str:
        """Return the pinned duplicate of an op, created on first use."""
        if name not in self.standins:
            node = copy_of(self.graph.nodes[name])
            node.name = self.names.free(f"{name}/frozen")
            self.standins[name] = node
            if name in self.modes:
                self._make_false(node)
            else:
                refs = [ref for ref in self.graph.inputs(name, control=True) if ref.op in self.passing]
                redirect(node, {ref: TensorRef(self._standin(ref.op), ref.index) for ref in refs})
        return self.standins[name].name

    def _make_false(self, node: NodeDef) -> None:
        number = node.attr["dtype"].type
        if number not in _FALSE:
            raise GraphError(f"{self.graph.source}: {node.name}: a mode of dtype number {number} has no False")
        node.op = "Const"
        node.ClearField("input")
        node.ClearField("attr")
        node.attr["dtype"].type = number
        node.attr["value"].tensor.CopyFrom(_FALSE[number])
        node.attr["value"].tensor.dtype = number
        node.attr["value"].tensor.tensor_shape.SetInParent()

    def _pin_contexts(self, meta: MetaGraphDef) -> None:
        """Set the pinned predicate in the contexts of pinned conditionals, from which new gradients read it."""
        entries = meta.collection_def["cond_context"].bytes_list.value
        for position, raw in enumerate(entries):
            context = entry_of(CondContextDef, raw)
            predicate = TensorRef.parse(context.pred_name)
            if TensorRef.parse(context.pivot_name).op in self.readers and predicate.op in self.standins:
                context.pred_name = str(TensorRef(self.standins[predicate.op].name, predicate.index))
                entries[position] = context.SerializeToString()


def _mode_only(flow: Flow, modes: Collection[str]) -> set[str]:
    """Return the modes, and the ops that depend on modes and constants only."""
    nodes = flow.nodes
    others = {
        name
        for name, node in nodes.items()
        if name not in modes
        and (node.op in PLACEHOLDERS or node.op in RANDOM or node.op in STATEFUL)
        | (not flow.inputs[name] and node.op != "Const")
    }
    return flow.descendants(modes) - flow.descendants(others)


def _is_gradient_of(name: str, pinned: Collection[str]) -> bool:
    """Return whether a gradient's name contains the name of a pinned op, under any scopes.

    >>> _is_gradient_of("train/gradients/dnn/bn1/If_grad/If", {"dnn/bn1/If"})
    True
    """
    parts = name.split("/")
    ends = [position for position, part in enumerate(parts) if part.endswith("_grad")]
    for end in ends:
        forward = [*parts[:end], parts[end].removesuffix("_grad")]
        if any("/".join(forward[start:]) in pinned for start in range(len(forward))):
            return True
    return False
