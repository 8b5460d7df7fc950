"""Variables of a graph: their names in the checkpoint, their kinds, and their initialisers."""

import re
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass

from ckpttool.core.dtypes import DType, dtype_numbered
from ckpttool.core.errors import FormatError, GraphError
from ckpttool.core.patterns import Pattern
from ckpttool.core.variable_kinds import VariableKind, base_name, is_average, kind_of_name
from ckpttool.formats.wire.protos.graph_pb2 import NodeDef
from ckpttool.formats.wire.protos.meta_graph_pb2 import VariableDef
from ckpttool.graph.contents.collections import GLOBAL_VARIABLES, LOCAL_VARIABLES, variable_defs
from ckpttool.graph.contents.savers import restored_keys, saver_keys, slice_of
from ckpttool.graph.contents.slots import applied_slots, assigned_slots, averages
from ckpttool.graph.contents.variable_ops import is_restored, is_variable
from ckpttool.graph.core import Graph, TensorRef, cached
from ckpttool.graph.ops import ASSIGNS, READS

_MOVING = re.compile(r"/moving_(mean|variance)$")


@dataclass(frozen=True)
class Variable:
    """A variable of a graph.

    `name` is its name in the checkpoint, which the graph's saver may define; `own_name` is its name in programs; `op`
    is its node (`hidden1/kernel/part_0` if partitioned). `shape` is None if the graph does not specify it. `assign` is
    the initialiser op, `initial_value` the tensor that it assigns, `read` the tensor of the value. A slice of a larger
    tensor has `full_shape` and `slice_offset`. For a slot, `owner` is the name of its variable, if the graph's updates
    or the slot's name determine it; `is_average` is whether the slot is a moving average of that variable.
    """

    name: str
    own_name: str
    op: str
    shape: tuple[int, ...] | None
    dtype: DType
    kind: VariableKind
    trainable: bool
    assign: str | None = None
    initial_value: str | None = None
    read: str | None = None
    resource: bool = True
    slice_offset: tuple[int, ...] | None = None
    full_shape: tuple[int, ...] | None = None
    owner: str | None = None
    is_average: bool = False


@cached
def variables(graph: Graph) -> Mapping[str, Variable]:
    """Return the variables in the graph's checkpoint, by their names there, in graph order.

    The slices of a partitioned variable share a name there, so each is listed under the name of its op. A frozen graph
    has no variables. In graphs without collections, they are found by their ops, and all float weights are trainable.

    Raises:
        FormatError: a collection or an attribute is malformed.
        GraphError: a collection names a variable that is not in the graph.
    """
    return dict(_Reader(graph).read())


def taken_by(pattern: Pattern, held: Mapping[str, Variable]) -> list[str]:
    """Return the variables that a pattern matches, by their names in the checkpoint or by their own names.

    An own name that is also another variable's name in the checkpoint refers to the latter.

    Raises:
        UnknownName: the pattern matches none.
    """
    own = {variable.own_name: name for name, variable in held.items() if variable.own_name not in held}
    taken = set(pattern.select([*held, *own]))
    return [name for name, variable in held.items() if name in taken or variable.own_name in taken & own.keys()]


class _Reader:
    """Reads a graph's variables once, from its collections and its ops."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.defs = self._defs()
        listed = self.defs if variable_defs(graph, "variables") else [*self.defs, *self._ops()]
        self.keys = {op: entry for op, entry in saver_keys(graph).items() if op in graph.nodes}
        self.own_names = {op: self._own_name(op) for op in [*listed, *(op for op in self.keys if op not in listed)]}
        self.names = {op: self.keys[op].key if op in self.keys else own for op, own in self.own_names.items()}
        self.called = {own: self.names[op] for op, own in self.own_names.items()}
        trainable = variable_defs(graph, "trainable_variables")
        self.trainable = {_op(entry.variable_name) for entry in trainable} if trainable else None
        self.steps = {_op(entry.variable_name) for entry in variable_defs(graph, "global_step")}
        self.slots = self._slots()
        self.averages = averages(graph, self.slots, self._initial())

    def read(self) -> Iterator[tuple[str, Variable]]:
        """Yield each variable under a unique key, in graph order."""
        known = frozenset(self.own_names.values())
        taken: set[str] = set()
        for op in (name for name in self.graph.nodes if name in self.names):
            variable = self._variable(op, known)
            key = op if variable.slice_offset is not None or variable.name in taken else variable.name
            taken.add(key)
            yield key, variable

    def _slots(self) -> dict[str, str | None]:
        """Return the slots with the ops of their variables: by optimizers' ops, else by updates made of plain ops."""
        slots = applied_slots(self.graph)
        trained = self.trainable or set()
        others = [op for op in self.names if op not in slots and op not in trained and op not in self.steps]
        others = [op for op in others if not _MOVING.search(op)]
        initial = self._initial()
        return slots | assigned_slots(self.graph, trained & self.names.keys(), others, initial)

    def _initial(self) -> set[str]:
        """Return the ops that initialise variables."""
        return {f"{op}/Assign" for op in self.names} | {_op(entry.initializer_name) for entry in self.defs.values()}

    def _defs(self) -> dict[str, VariableDef]:
        """Return the collection entry of each variable's op, preferring one with an initialiser."""
        defs: dict[str, VariableDef] = {}
        for key in GLOBAL_VARIABLES:
            for entry in variable_defs(self.graph, key):
                op = _op(entry.variable_name)
                if op not in self.graph.nodes:
                    raise GraphError(f"{self.graph.source}: collection {key} has {op}, which is not in the graph")
                if is_variable(self.graph.nodes[op]) and not (op in defs and defs[op].initializer_name):
                    defs[op] = entry
        return defs

    def _ops(self) -> list[str]:
        """Return the variables' ops if no collection lists them, without local ones and those that are not restored."""
        local = {_op(entry.variable_name) for key in LOCAL_VARIABLES for entry in variable_defs(self.graph, key)}
        ops = [name for name, node in self.graph.nodes.items() if is_variable(node) and name not in local]
        restored = restored_keys(self.graph)
        return [name for name in ops if name in restored] if restored else ops

    def _own_name(self, op: str) -> str:
        """Return a variable's own name, which is also that in the checkpoint unless a saver defines another."""
        entry = self.defs.get(op)
        if entry is not None:
            return entry.save_slice_info_def.full_name or op
        node = self.graph.nodes[op]
        return node.attr["shared_name"].s.decode("utf-8", "replace") or op if node.op == "VarHandleOp" else op

    def _variable(self, op: str, known: Container[str]) -> Variable:
        """Return the variable of an op; `known` has the own names of all variables."""
        node, entry = self.graph.nodes[op], self.defs.get(op, VariableDef())
        own_name, dtype = self.own_names[op], _dtype(node, self.graph.source)
        kind = self._kind(op, own_name, known)
        assign = _op(entry.initializer_name)
        if assign not in self.graph.nodes or self.graph.nodes[assign].op not in ASSIGNS:
            assign = self._assign(op) or assign
        offset, full = _slice(entry, self.keys[op].part if op in self.keys else "")
        return Variable(
            name=self.names[op],
            own_name=own_name,
            op=op,
            shape=_shape(node),
            dtype=dtype,
            kind=kind,
            trainable=self._is_trainable(op, entry, kind, dtype),
            assign=assign if assign in self.graph.nodes else None,
            initial_value=self._initial_value(assign, entry),
            read=entry.snapshot_name or self._read(op),
            resource=node.op == "VarHandleOp",
            slice_offset=offset,
            full_shape=full,
            owner=self._owner(op, own_name, known) if kind == "slot" else None,
            is_average=kind == "slot" and (op in self.averages or is_average(own_name)),
        )

    def _kind(self, op: str, name: str, known: Container[str]) -> VariableKind:
        """Return the kind by the graph (the global step, trainable, a slot), else by the name; a step by either."""
        by_name = kind_of_name(name, known)
        if op in self.steps or by_name == "step":
            return "step"
        if self.trainable is not None and op in self.trainable:
            return "weight"
        if op in self.slots:
            return "slot"
        return "weight" if by_name == "object-graph" else by_name

    def _owner(self, op: str, name: str, known: Container[str]) -> str | None:
        """Return the name of a slot's variable, by the graph, else by the slot's own name; None if unknown."""
        owner = self.slots.get(op)
        base = base_name(name, known)
        return self.names[owner] if owner in self.names else self.called.get(str(base))

    def _is_trainable(self, op: str, entry: VariableDef, kind: VariableKind, dtype: DType) -> bool:
        if self.trainable is not None:
            return op in self.trainable
        if op in self.defs:
            return entry.trainable
        return kind == "weight" and "float" in dtype.name and not _MOVING.search(op)

    def _consumers(self, op: str, ops: Container[str]) -> list[str]:
        """Return the ops of the given types whose first input is the variable."""
        readers = self.graph.consumers.get(op, [])
        return [name for name in readers if self.graph.nodes[name].op in ops and self.graph.inputs(name)[0].op == op]

    def _assign(self, op: str) -> str | None:
        """Return the initialiser: the assign op named after the variable, else one that does not restore; or None."""
        assigns = self._consumers(op, ASSIGNS)
        own = [name for name in assigns if name == f"{op}/Assign"]
        return next(iter(own or [name for name in assigns if not is_restored(self.graph, name)]), None)

    def _initial_value(self, assign: str | None, entry: VariableDef) -> str | None:
        """Return the tensor that the initialiser assigns, or without an assign op the one that the collection names."""
        if assign in self.graph.nodes and self.graph.nodes[assign].op in ASSIGNS:
            inputs = self.graph.inputs(assign)
            return str(inputs[1]) if len(inputs) > 1 else None
        return entry.initial_value_name or None

    def _read(self, op: str) -> str | None:
        """Return the tensor of the value: that of the read op named after the variable, else of the first; or None."""
        reads = self._consumers(op, READS)
        own = [name for name in reads if name in (f"{op}/read", f"{op}/Read/ReadVariableOp")]
        return next((f"{name}:0" for name in own or reads), None)


def _op(tensor: str) -> str:
    """Return the op of a tensor's name."""
    return TensorRef.parse(tensor).op


def _dtype(node: NodeDef, source: str) -> DType:
    """Return a variable's element type."""
    try:
        return dtype_numbered(node.attr["dtype"].type)
    except FormatError as error:
        raise FormatError(f"{source}: variable {node.name}: {error}") from error


def _shape(node: NodeDef) -> tuple[int, ...] | None:
    """Return a variable's shape, or None if a dimension or the rank is unknown."""
    shape = node.attr["shape"].shape
    sizes = tuple(dim.size for dim in shape.dim)
    return None if shape.unknown_rank or min(sizes, default=0) < 0 else sizes


def _slice(entry: VariableDef, part: str) -> tuple[tuple[int, ...] | None, tuple[int, ...] | None]:
    """Return a slice's offset and the whole tensor's shape; both are None if the slice is the whole tensor.

    In a graph without collections, the slice is the `part` that its saver reads.
    """
    info = entry.save_slice_info_def
    if info.full_name and list(info.full_shape) != list(info.var_shape):
        return tuple(info.var_offset), tuple(info.full_shape)
    read = slice_of(part) if part and not info.full_name else None
    return (read[1], read[0]) if read is not None and read[0] != read[2] else (None, None)
