"""Ops of savers and tables that open only files which the caller of the graph names, or files of the model.

A saver writes and reads the checkpoint whose path it is fed; a table of a SavedModel is filled from a file in
`assets/`. Most graphs contain such ops. They are identified by the origin of the file name, and savers also by the ops
that wait for them: the outputs of a graph do not. All other ops that open files are reported.
"""

import re
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ckpttool.formats.tensorflow.prefix import SAVED_MODEL_GRAPHS
from ckpttool.formats.wire.protos.graph_pb2 import FunctionDef, NodeDef
from ckpttool.graph.core import Graph, TensorRef
from ckpttool.graph.ops import PLACEHOLDERS
from ckpttool.graph.rewrite.functions import functions_in
from ckpttool.graph.rewrite.tables import asset_files

_SAVERS = {
    **dict.fromkeys(("Save", "SaveSlices", "SaveV2", "Restore", "RestoreSlice", "RestoreV2"), (0,)),
    "MergeV2Checkpoints": (0, 1),
}
_TABLES = dict.fromkeys(("InitializeTableFromTextFile", "InitializeTableFromTextFileV2"), (1,))
_OPENS = {**_SAVERS, **_TABLES}
"""Ops that open files, with the indices of the inputs that are file names."""
_READERS = ("Restore", "RestoreSlice", "RestoreV2")
_FIRST = {
    "Identity",
    "Switch",
    "RefSwitch",
    "ShardedFilename",
    "ShardedFilespec",
    "PlaceholderWithDefault",
    "ExpandDims",
}
"""Ops whose first input is a file name, which they pass on."""
_CALLS = ("PartitionedCall", "StatefulPartitionedCall")
_OF_SAVERS = frozenset({*_SAVERS, "ShardedFilename", "ShardedFilespec", "Pack", "NoOp", *_CALLS})
_ENDS_OF_SAVERS = frozenset({*_OF_SAVERS, "Identity", "Assign", "AssignVariableOp"})
_STRING = 7
_PLAIN = re.compile(rb"[\w.-]*(?<!\.\.)")


@dataclass(frozen=True)
class _Scope:
    """The ops of a graph, or of a function with its arguments."""

    nodes: Mapping[str, NodeDef]
    arguments: tuple[str, ...] = ()


class NamedFiles:
    """Which ops of a graph open only files that the caller names, or that belong to the model."""

    def __init__(self, graph: Graph) -> None:
        """Read the graph and its functions."""
        self._graph = graph
        assets = asset_files(graph) if Path(graph.source).name in SAVED_MODEL_GRAPHS else ()
        self._assets = {TensorRef.parse(asset.tensor_info.name).op for asset in assets}
        functions = {each.signature.name: _scope(each) for each in graph.header.graph_def.library.function}
        self._scopes = {"": _Scope(graph.nodes), **functions}
        self._otherwise = {
            each for scope in self._scopes.values() for node in scope.nodes.values() for each in _held(node)
        }
        self._calls: dict[str, list[tuple[str, NodeDef]]] = defaultdict(list)
        for name, scope in self._scopes.items():
            for node in scope.nodes.values():
                self._calls[_called(node)].append((name, node))
        self._files: dict[str, tuple[int, ...]] = {}
        self._inert: dict[str, bool] = {}
        self._outputs: set[str] | None = None

    def has(self, node: NodeDef, function: str) -> bool:
        """Return whether an op opens only such files; `function` contains it, or is empty for the graph itself."""
        return node.op in _OPENS and self._is_harmless(node, function, node.op in _TABLES)

    def _is_harmless(self, node: NodeDef, function: str, table: bool) -> bool:
        inputs = [text for text in node.input if not text.startswith("^")]
        scope = self._scopes[function]
        for place in self._file_inputs(node):
            if place >= len(inputs) or not self._is_outside(scope, inputs[place], table, set()):
                return False
        return self._is_given_such(function, table) if function else table or self._is_aside(node)

    def _is_given_such(self, function: str, table: bool) -> bool:
        """Return whether all calls of a function pass such file names; also True for a function without calls.

        A function that is used other than by plain calls (a branch, a loop's body) is not considered safe.
        """
        if function in self._otherwise:
            return False
        if function not in self._inert:
            self._inert[function] = True  # for recursive functions
            calls = self._calls[function]
            self._inert[function] = all(self._is_harmless(call, name, table) for name, call in calls)
        return self._inert[function]

    def _file_inputs(self, node: NodeDef) -> tuple[int, ...]:
        """Return the indices of an op's inputs that are file names, also for the function that it calls."""
        return _OPENS[node.op] if node.op in _OPENS else self._file_arguments(_called(node))

    def _file_arguments(self, function: str) -> tuple[int, ...]:
        """Return the indices of a function's arguments that are file names."""
        scope = self._scopes.get(function)
        if scope is None or not function:
            return ()
        if function not in self._files:
            self._files[function] = ()  # for recursive functions
            reached: set[str] = set()
            for node in scope.nodes.values():
                inputs = [text for text in node.input if not text.startswith("^")]
                for place in self._file_inputs(node):
                    if place < len(inputs):
                        self._is_outside(scope, inputs[place], node.op in _TABLES, reached)
            places = enumerate(scope.arguments)
            self._files[function] = tuple(place for place, argument in places if argument in reached)
        return self._files[function]

    def _is_outside(self, scope: _Scope, text: str, table: bool, reached: set[str]) -> bool:
        """Return whether a file name comes from the caller of the graph, or is a harmless constant (`_is_plain`).

        The arguments on which it depends are added to `reached`.
        """
        outside, seen, todo = True, set[tuple[str, bool]](), [(text, True)]
        while todo:
            text, first = todo.pop()
            name = text.partition(":")[0]
            if (name, first) in seen:
                continue
            seen.add((name, first))
            if name in scope.arguments:
                reached.add(name)
            elif node := scope.nodes.get(name):
                inputs = _through(node)
                todo += [(each, first and not (place and node.op == "StringJoin")) for place, each in enumerate(inputs)]
                is_asset = scope is self._scopes[""] and name in self._assets
                outside &= bool(inputs) or is_asset or node.op in PLACEHOLDERS or (not table and _is_plain(node, first))
            else:
                outside = False
        return outside

    def _is_aside(self, node: NodeDef) -> bool:
        """Return whether no output of the graph needs an op of a saver, and only ops of the saver wait for it."""
        if node.name in self._needed():
            return False
        if node.op in _READERS or node.op not in _OPENS:
            return True
        after = self._graph.descendants([node.name], control=True)
        return all(self._is_of_saver(name, after) for name in after if name in self._graph.nodes)

    def _is_of_saver(self, name: str, after: Collection[str]) -> bool:
        """Return whether an op that waits for a saver belongs to it: a group must not wait for ops of training."""
        nodes, node = self._graph.nodes, self._graph.nodes[name]
        if node.op == "NoOp":
            waited = {ref.op for ref in self._graph.inputs(name, control=True)} & nodes.keys()
            return all(each in after or nodes[each].op in _SAVERS for each in waited)
        is_text = node.op == "Identity" and "T" in node.attr and node.attr["T"].type == _STRING
        return is_text or node.op in _OF_SAVERS

    def _needed(self) -> set[str]:
        """Return the ops on which outputs, ops in collections, and ops without readers depend."""
        if self._outputs is None:
            header, nodes = self._graph.header, self._graph.nodes
            ends = [name for name in nodes if not self._graph.users.get(name) and nodes[name].op not in _ENDS_OF_SAVERS]
            ends += [text for each in header.collection_def.values() for text in each.node_list.value]
            ends += [info.name for each in header.signature_def.values() for info in each.outputs.values()]
            known = {TensorRef.parse(text.removeprefix("^")).op for text in ends} & nodes.keys()
            self._outputs = _ancestors(self._graph, known)
        return self._outputs


def _ancestors(graph: Graph, names: set[str]) -> set[str]:
    """Return the ops on which some ops depend, including these; missing ops of a damaged graph are ignored."""
    reached: set[str] = set()
    todo = list(names)
    while todo:
        name = todo.pop()
        if name not in reached and name in graph.nodes:
            reached.add(name)
            todo.extend(ref.op for ref in graph.inputs(name, control=True))
    return reached


def _scope(function: FunctionDef) -> _Scope:
    arguments = tuple(argument.name for argument in function.signature.input_arg)
    return _Scope({node.name: node for node in function.node_def}, arguments)


def _called(node: NodeDef) -> str:
    """Return the name of the function that an op calls: by its type, or by a call op's attribute."""
    return node.attr["f"].func.name if node.op in _CALLS and "f" in node.attr else node.op


def _held(node: NodeDef) -> Iterator[str]:
    """Yield the other functions of an op: branches, loop bodies, functions of maps."""
    for key, attr in node.attr.items():
        yield from (each.name for each in functions_in(attr) if not (node.op in _CALLS and key == "f"))


def _through(node: NodeDef) -> list[str]:
    """Return the inputs whose strings an op passes on or joins."""
    inputs = [text for text in node.input if not text.startswith("^")]
    if node.op in _FIRST:
        return inputs[:1]
    if node.op in ("Select", "SelectV2"):
        return inputs[1:]
    return inputs if node.op in ("Pack", "Merge", "StringJoin") else []


def _is_plain(node: NodeDef, first: bool) -> bool:
    """Return whether a constant is harmless in a file name: without `..`, and at the beginning without any folder."""
    tensor = node.attr["value"].tensor if node.op == "Const" and "value" in node.attr else None
    if tensor is None or tensor.dtype != _STRING:
        return False
    return all(_PLAIN.fullmatch(text) if first else b".." not in text for text in tensor.string_val)
