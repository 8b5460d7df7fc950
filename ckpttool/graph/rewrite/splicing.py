"""Splicing: builds new ops in a small part of a graph, and adds them to the whole graph.

TensorFlow creates a Python object for every op of a graph in which new ops are built. New ops need only a few of a
network's thousands: those through which gradients pass. Other tensors are replaced by placeholders of the same names.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ckpttool.core.dtypes import DType
from ckpttool.core.errors import GraphError
from ckpttool.core.shapes import PartialShape
from ckpttool.formats.wire.protos.graph_pb2 import NodeDef
from ckpttool.formats.wire.protos.meta_graph_pb2 import (
    CollectionDef,
    MetaGraphDef,
    VariableDef,
)
from ckpttool.graph.contents.collections import CONTEXTS, Context
from ckpttool.graph.contents.op_outputs import dtype_of_output
from ckpttool.graph.contents.variables import variables
from ckpttool.graph.core import Graph, TensorRef
from ckpttool.graph.free_names import FreeNames
from ckpttool.graph.ops import REFERENCE_FLOW, RESOURCE_UPDATES, UPDATES
from ckpttool.graph.rewrite.collections import VARIABLE_COLLECTIONS, inner_of, is_there, units_of_control
from ckpttool.graph.rewrite.draft import Draft, control_inputs
from ckpttool.graph.rewrite.feeding import placeholder
from ckpttool.graph.rewrite.prune import part_ops, prune
from ckpttool.graph.rewrite.savers import with_saver

Output = tuple[DType, PartialShape | None]
"""The dtype and the shape of an op's output."""


@dataclass(frozen=True)
class Site:
    """A graph, and its ops that are needed to build new ones; tensors of other ops are replaced by placeholders."""

    graph: Graph
    ops: frozenset[str]
    read: tuple[TensorRef, ...] = ()

    @classmethod
    def of(cls, graph: Graph, ops: Iterable[str] = (), read: Iterable[str] = (), held: Collection[str] = ()) -> "Site":
        """Return the site for ops through which gradients pass, tensors that are read, and variables (their ops).

        Ops that compute integers and handles are included, because TensorFlow reads shapes and axes from them, and so
        are whole conditionals and loops. Otherwise different ops would be built.
        """
        known = [variable for variable in variables(graph).values() if variable.op in held]
        initial = [name for each in known for name in (each.op, each.assign, each.initial_value, each.read) if name]
        wanted = part_ops(graph, [name for name in initial if is_there(name, graph.nodes)], initializers=True)
        tensors = tuple(dict.fromkeys(map(TensorRef.parse, read)))
        whole = _Closure(graph).of({*ops, *wanted, *_makers(graph, tensors)})
        return cls(graph, frozenset(whole), tuple(ref for ref in tensors if ref.op not in whole))

    @cached_property
    def outside(self) -> list[str]:
        """The ops outside of the site whose tensors are read, in graph order."""
        read = {ref.op for ref in self.read} | {ref.op for name in self.ops for ref in self.graph.inputs(name)}
        return [name for name in self.graph.nodes if name in read and name not in self.ops]

    def part(self, outputs: Mapping[str, Sequence[Output]]) -> Graph:
        """Return the graph in which to build; ops outside are placeholders with the dtypes and shapes of `outputs`."""
        draft, names = Draft(self.graph), FreeNames(self.graph.nodes)
        prune(draft, self.ops.union(self.outside))
        for name in self.outside:
            given = outputs[name]
            fed = [placeholder(name if len(given) == 1 else names.free(f"{name}/given"), *each) for each in given]
            draft.nodes.pop(name)
            draft.nodes |= {node.name: node for node in [*fed, *([] if len(given) == 1 else [_joined(name, fed)])]}
        for key in VARIABLE_COLLECTIONS & draft.header.collection_def.keys():
            _keep_built(draft.header.collection_def[key], draft.nodes)
        return draft.sealed()

    def spliced(self, part: Graph, exported: MetaGraphDef) -> Graph:
        """Return the graph with the ops in `exported` that the part does not have, and with a saver of all variables.

        Raises:
            GraphError: two variables would have the same name in the checkpoint.
        """
        draft = Draft(self.graph)
        for node in exported.graph_def.node:
            if node.name not in part.nodes:
                draft.nodes[node.name] = node
            elif node.name in self.ops:
                _take_over(draft, part.nodes[node.name], node)
        _merge_headers(draft.header, part.header, exported)
        return _saved(draft.sealed())


class _Closure:
    """The ops that must be included with some ops."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.units = units_of_control(graph.header)

    def of(self, ops: Collection[str]) -> set[str]:
        """Return the ops with those that compute their integers and handles, and with whole conditionals and loops."""
        reached: set[str] = set()
        todo = list(ops)
        while todo:
            while todo:
                name = todo.pop()
                if name not in reached:
                    reached.add(name)
                    todo += _makers(self.graph, self.graph.inputs(name))
            begun = (unit for unit in self.units if not reached.isdisjoint(unit))
            todo = [op for unit in begun for op in unit - reached if op in self.graph.nodes]
        return reached


def _makers(graph: Graph, tensors: Iterable[TensorRef]) -> Iterator[str]:
    """Yield the ops of the tensors that a placeholder cannot replace."""
    for ref in tensors:
        node = graph.nodes[ref.op]
        is_source = not graph.inputs(ref.op)
        passes_reference = node.op in UPDATES or node.op in RESOURCE_UPDATES or node.op in REFERENCE_FLOW
        if is_source or passes_reference or "float" not in dtype_of_output(graph, ref).name:
            yield ref.op


def _joined(name: str, nodes: Sequence[NodeDef]) -> NodeDef:
    """Return an op that has several placeholders as its outputs."""
    node = NodeDef(name=name, op="IdentityN", input=[each.name for each in nodes])
    node.attr["T"].list.type.extend(each.attr["dtype"].type for each in nodes)
    return node


def _keep_built(collection: CollectionDef, ops: Collection[str]) -> None:
    """Keep, in place, only the variables that exist with their initialisers: others cannot be built."""
    entries = [(raw, VariableDef.FromString(raw)) for raw in collection.bytes_list.value]
    collection.bytes_list.value[:] = [
        raw
        for raw, entry in entries
        if all(
            is_there(name, ops)
            for name in (entry.variable_name, entry.initializer_name, entry.initial_value_name, entry.snapshot_name)
            if name
        )
    ]


def _take_over(draft: Draft, before: NodeDef, after: NodeDef) -> None:
    """Apply the change of an existing op by the building: gradients of loops add outputs to the loops."""
    data = [text for text in after.input if not text.startswith("^")]
    waits = {*control_inputs(after)} - {*control_inputs(before)}
    changed = {key for key in before.attr if key != "_class" and before.attr[key] != after.attr[key]}
    if data == [text.removesuffix(":0") for text in before.input if not text.startswith("^")] and not waits | changed:
        return
    node = draft.op(before.name)
    own = control_inputs(node)
    node.input[:] = [*data, *(f"^{name}" for name in dict.fromkeys([*own, *sorted(waits)]))]
    for key in changed:
        node.attr[key].CopyFrom(after.attr[key])


def _merge_headers(header: MetaGraphDef, before: MetaGraphDef, after: MetaGraphDef) -> None:
    """Apply, in place, the building's changes of the part's collections, functions and op definitions."""
    for key in {*before.collection_def, *after.collection_def}:
        _merge(key, header, *(each.collection_def.get(key, CollectionDef()) for each in (before, after)))
    library = header.graph_def.library
    functions = {each.signature.name for each in library.function}
    library.function.extend(each for each in after.graph_def.library.function if each.signature.name not in functions)
    gradients = {each.function_name for each in library.gradient}
    library.gradient.extend(each for each in after.graph_def.library.gradient if each.function_name not in gradients)
    information, made_by = header.meta_info_def, after.meta_info_def
    new = {op.name for op in made_by.stripped_op_list.op}
    kept = [op for op in information.stripped_op_list.op if op.name not in new]
    del information.stripped_op_list.op[:]
    information.stripped_op_list.op.extend(sorted([*kept, *made_by.stripped_op_list.op], key=lambda op: op.name))
    information.tensorflow_version = made_by.tensorflow_version
    information.tensorflow_git_version = made_by.tensorflow_git_version


def _merge(key: str, header: MetaGraphDef, before: CollectionDef, after: CollectionDef) -> None:
    """Apply, in place, the entries added to and removed from a collection of the part, and changed contexts."""
    kind = after.WhichOneof("kind") or before.WhichOneof("kind")
    collection = header.collection_def[key]
    if kind in ("node_list", "bytes_list"):
        was, now = ({_identity(key, raw): raw for raw in getattr(each, kind).value} for each in (before, after))
        own = {_identity(key, raw): raw for raw in getattr(collection, kind).value}
        kept = {name: raw for name, raw in own.items() if name not in was or name in now}
        if key in CONTEXTS:
            kept |= {name: _whole_context(key, kept[name], was[name], now[name]) for name in kept.keys() & was.keys()}
        entries = [*kept.values(), *(raw for name, raw in now.items() if name not in was)]
        getattr(collection, kind).value[:] = entries
        kind = kind if entries else None
    elif before != after:
        collection.CopyFrom(after)
    if kind is None:
        del header.collection_def[key]


def _identity(key: str, raw: Any) -> object:
    """Return the key of an entry of a collection."""
    if key in VARIABLE_COLLECTIONS and isinstance(raw, bytes):
        return VariableDef.FromString(raw).variable_name
    return CONTEXTS[key].FromString(raw).context_name if key in CONTEXTS else raw


def _whole_context(key: str, *versions: bytes) -> bytes:
    """Return the built context, with the values of ops that were not in the part."""
    own, part, built = (CONTEXTS[key].FromString(raw) for raw in versions)
    _give_back(own, part, built)
    return built.SerializeToString()


def _give_back(own: Context, part: Context, built: Context) -> None:
    """Restore the values in a context and its nested ones that were not in the part."""
    values, without = own.values_def, part.values_def
    built.values_def.values.extend(name for name in values.values if name not in without.values)
    for name in values.external_values.keys() - without.external_values.keys():
        built.values_def.external_values[name] = values.external_values[name]
    parts, now = ({inner_of(each).context_name: inner_of(each) for each in of.nested_contexts} for of in (part, built))
    for each in map(inner_of, own.nested_contexts):
        if each.context_name in parts.keys() & now.keys():
            _give_back(each, parts[each.context_name], now[each.context_name])


def _saved(graph: Graph) -> Graph:
    """Return the graph with a saver of all its variables, by their names in the checkpoint."""
    owners: dict[str, str] = {}
    for variable in variables(graph).values():
        other = owners.setdefault(variable.name, variable.own_name)
        if other != variable.own_name:
            raise GraphError(
                f"{graph.source}: the Saver stores {other} as {variable.name}, which would be the name "
                f"of {variable.own_name} too; rename the layer of the head, or remove the variable (`strip`)"
            )
    saved = with_saver(graph)
    return Graph(saved.bare_header, graph.source, [*saved.nodes.values()]).allowing(graph.allowed)
