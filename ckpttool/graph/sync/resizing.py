"""Resizing variables in a graph: their shapes, their initialisers, and constants that contain the old size."""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ckpttool.core.dtypes import dtype_numbered
from ckpttool.core.errors import PlanError
from ckpttool.core.shapes import written
from ckpttool.core.tensors import Array
from ckpttool.formats.tensorflow.tensor_proto import shape_of
from ckpttool.formats.wire.protos.graph_pb2 import NodeDef
from ckpttool.formats.wire.protos.meta_graph_pb2 import MetaGraphDef, VariableDef
from ckpttool.graph.collection_entries import entry_of
from ckpttool.graph.contents.constants import constant, numbers, single_number, uniform
from ckpttool.graph.contents.first_inputs import first_inputs
from ckpttool.graph.contents.op_outputs import known_shape
from ckpttool.graph.contents.savers import saver_entries, saver_ops, slice_text, texts
from ckpttool.graph.contents.shape_propagation import Propagation, ShapeChange, propagate_shapes
from ckpttool.graph.contents.stored import stored_tensors
from ckpttool.graph.contents.variable_ops import is_variable
from ckpttool.graph.contents.variables import Variable
from ckpttool.graph.core import Graph, TensorRef
from ckpttool.graph.ops import PLACEHOLDERS, RESTORES, SLICED_SAVERS
from ckpttool.graph.rewrite.collections import VARIABLE_COLLECTIONS
from ckpttool.graph.rewrite.draft import Draft, free_name
from ckpttool.graph.rewrite.savers import put_texts
from ckpttool.graph.sync.dropping import GRADIENTS, outputs, without_ops
from ckpttool.graph.sync.parts import follow_lookups, new_parts

Shape = tuple[int, ...]
_SHAPE = re.compile(r"Shape(?:_(\d{1,9}))?")


@dataclass(frozen=True)
class _Resize:
    """The resize of one variable, which may be a slice of a larger tensor."""

    variable: Variable
    old: Shape
    new: Shape
    offset: Shape
    whole: Shape

    @property
    def change(self) -> ShapeChange:
        """The dimensions whose size changes, counted from the last."""
        rank = len(self.old)
        pairs = enumerate(zip(self.old, self.new, strict=True))
        return ShapeChange(rank, {axis - rank: sizes for axis, sizes in pairs if sizes[0] != sizes[1]})


def resize_variables(graph: Graph, shapes: Mapping[str, Shape]) -> tuple[Graph, tuple[str, ...]]:
    """Return the graph with other shapes of variables (names in the checkpoint), and notes on the consequences.

    Initialisers produce the new shape; one that is data, or that other ops use, is replaced by zeros. Limits of random
    initialisers are unchanged. `_output_shapes` attributes are removed. Gradients contain constants into which
    TensorFlow folded known shapes: those of an op's inputs (`.../X_grad/Shape`) are changed. If another constant may
    depend on an old size (the factor of a mean over a kernel), the training op is removed, with its gradients.

    Raises:
        PlanError: the number of dimensions differs, a slice would be empty, or an op combines an old and a new size.
    """
    if not shapes:
        return graph, ()
    resizes = {resize.variable.op: resize for resize in _resizes(graph, shapes)}
    placeholders, changes = _followed(graph, resizes)
    draft = Draft(graph)
    for op, change in placeholders.items():
        _resize_placeholder(draft.op(op), change)
    for op, node in graph.nodes.items():
        if "_output_shapes" in node.attr:
            del draft.op(op).attr["_output_shapes"]
    zeroed = {op: name for op, resize in resizes.items() if (name := _resize(draft, resize))}
    for name, whole in shapes.items():
        stored = stored_tensors(graph)[name]
        if len(stored.members) > 1:
            follow_lookups(draft, stored, whole)
    _reslice(draft, resizes)
    _reform(draft, resizes)
    _describe(draft.header, resizes, zeroed)
    folded = _refold(draft, changes)
    after = draft.sealed()
    notes = [f"{op}:0 accepts {_shape_text(after.nodes[op])} now" for op in placeholders]
    notes += _doubts(changes, zeroed, folded)
    return without_ops(after, folded) if folded else after, tuple(notes)


def _followed(graph: Graph, resizes: Mapping[str, _Resize]) -> tuple[dict[str, ShapeChange], Propagation]:
    """Return the placeholders whose shape changes with resized variables, and the resulting shapes of all ops.

    Raises:
        PlanError: the rows come from an op other than a placeholder, or an op combines an old and a new size.
    """
    forward = graph.ancestors(*(TensorRef.parse(name).op for name in outputs(graph)))
    resized = {op: resize.change for op, resize in resizes.items()}
    fed = first_inputs(graph, resized)
    if brought := next((ref for ref in fed if graph.nodes[ref.op].op not in PLACEHOLDERS), None):
        way = f"`strip` with the inputs X={brought} puts a placeholder there, which adapts to the new shapes"
        raise PlanError(f"{graph.source}: the new shapes do not fit the rows of {brought.op}; {way}")
    placeholders = {ref.op: change for ref, change in fed.items()}
    changes = propagate_shapes(graph, resized | placeholders, forward)
    if changes.clashes:
        raise PlanError(f"{graph.source}: the new shapes do not fit: {next(iter(changes.clashes.values()))}")
    return placeholders, changes


def _doubts(changes: Propagation, zeroed: Mapping[str, str], folded: Sequence[str]) -> Iterator[str]:
    """Yield notes on ops whose shapes are unknown, on replaced initialisers, and on constants in gradients."""
    if changes.unclear:
        listed = ", ".join(changes.unclear[:5])
        yield f"the effect of the new shapes beyond these ops shows only when they run: {listed}"
    if zeroed:
        yield f"now initialised with 0, as the graph had a value of the old shape: {', '.join(zeroed)}"
    if folded:
        yield f"the old sizes are in constants of the gradients: {', '.join(folded[:3])}"


def _resize_placeholder(node: NodeDef, change: ShapeChange) -> None:
    """Replace old sizes in a placeholder's shape by new ones."""
    dims = node.attr["shape"].shape.dim if "shape" in node.attr else []
    for axis, (old, new) in change.sizes.items():
        if -axis <= len(dims) and dims[axis].size == old:
            dims[axis].size = new


def _shape_text(node: NodeDef) -> str:
    shape = known_shape(node.attr["shape"].shape) if "shape" in node.attr else None
    return "any shape" if shape is None else written(shape)


def _resizes(graph: Graph, shapes: Mapping[str, Shape]) -> Iterator[_Resize]:
    stored = stored_tensors(graph)
    for name, whole in shapes.items():
        old = stored[name].shape or ()
        if len(old) != len(whole):
            raise PlanError(f"{graph.source}: {name} is {list(old)}; it cannot become {list(whole)}")
        for member, (new, offset) in zip(stored[name].members, new_parts(stored[name], whole), strict=True):
            if min(new, default=1) <= 0:
                raise PlanError(f"{graph.source}: {name} of {list(whole)} leaves no elements for its slice {member.op}")
            yield _Resize(member, member.shape or (), new, offset, whole)


def _resize(draft: Draft, resize: _Resize) -> str | None:
    """Resize a variable and its initialiser; return the zeros that replace an initialiser of data, or None."""
    variable = resize.variable
    shape = draft.op(variable.op).attr["shape"].shape
    for dim, size in zip(shape.dim, resize.new, strict=True):
        dim.size = size
    if variable.assign is None or variable.initial_value is None or variable.assign not in draft.nodes:
        return None
    if _resize_initial(draft, resize):
        return None
    zero = free_name(f"{variable.op}/Initializer/resized", draft.nodes)
    draft.add(uniform(zero, resize.new, 0, variable.dtype))
    draft.op(variable.assign).input[1] = zero
    return zero


def _resize_initial(draft: Draft, resize: _Resize) -> bool:
    """Change the constants of an initialiser in place, and return whether it now produces the new shape."""
    graph, variable = draft.graph, resize.variable
    ops = graph.ancestors(TensorRef.parse(variable.initial_value or "").op)
    own = {*ops, variable.assign}
    if any(is_variable(graph.nodes[op]) or not own.issuperset(graph.consumers.get(op, [])) for op in ops):
        return False
    changed = {op: node for op in ops if (node := _resized(graph.nodes[op], resize)) is not None}
    held = {size for size, _ in resize.change.sizes.values()}
    left = (numbers(graph.nodes[op]) for op in ops if op not in changed)
    if not changed or any(values is not None and may_hold(values, held) for values in left):
        return False
    for op, node in changed.items():
        draft.op(op).attr["value"].CopyFrom(node.attr["value"])
    return True


def _resized(node: NodeDef, resize: _Resize) -> NodeDef | None:
    """Return a constant for the new shape if the node is the old shape, or has it and a single value; else None."""
    if node.op != "Const":
        return None
    dtype = dtype_numbered(node.attr["dtype"].type)
    values = numbers(node)
    if values is not None and "int" in dtype.name and tuple(values.reshape(-1)) == resize.old and values.ndim == 1:
        return constant(node.name, np.array(resize.new, dtype.numpy), dtype)
    if shape_of(node.attr["value"].tensor) == resize.old and (number := single_number(node)) is not None:
        return uniform(node.name, resize.new, number, dtype)
    return None


def _reslice(draft: Draft, resizes: Mapping[str, _Resize]) -> None:
    """Change the slices of partitioned variables in savers."""
    graph = draft.graph
    for name in saver_ops(graph):
        if graph.nodes[name].op not in SLICED_SAVERS:
            continue
        place = graph.inputs(name)[2]
        slices = texts(graph, place)
        for entry in saver_entries(graph, name):
            resize = resizes.get(entry.variable or "")
            if resize is not None and slices[entry.position]:
                slices[entry.position] = slice_text(resize.whole, resize.offset, resize.new)
        put_texts(draft.op(place.op), slices)


def _reform(draft: Draft, resizes: Mapping[str, _Resize]) -> None:
    """Change the shapes to which savers reshape restored tensors."""
    graph = draft.graph
    restores = [name for name in saver_ops(graph) if graph.nodes[name].op in RESTORES]
    read = [(name, entry) for name in restores for entry in saver_entries(graph, name) if entry.variable in resizes]
    for name, entry in read:
        resize = resizes[str(entry.variable)]
        for reader in graph.readers.get(TensorRef(name, entry.position), []):
            place = graph.inputs(reader)[-1].op
            if graph.nodes[reader].op == "Reshape" and (new := _resized(graph.nodes[place], resize)) is not None:
                draft.op(place).attr["value"].CopyFrom(new.attr["value"])


def _describe(meta: MetaGraphDef, resizes: Mapping[str, _Resize], zeroed: Mapping[str, str]) -> None:
    """Change slices and initial values in the collections of variables, in place."""
    for key in VARIABLE_COLLECTIONS & meta.collection_def.keys():
        definitions = meta.collection_def[key].bytes_list.value
        for place, raw in enumerate(definitions):
            entry = entry_of(VariableDef, raw)
            op = TensorRef.parse(entry.variable_name).op
            if op in zeroed:
                entry.initial_value_name = f"{zeroed[op]}:0"
            if op in resizes and entry.save_slice_info_def.full_name:
                entry.save_slice_info_def.full_shape[:] = resizes[op].whole
                entry.save_slice_info_def.var_offset[:] = resizes[op].offset
                entry.save_slice_info_def.var_shape[:] = resizes[op].new
            definitions[place] = entry.SerializeToString()


def _refold(draft: Draft, spread_of: Propagation) -> list[str]:
    """Change sizes in the constants of gradients in place; return the constants that may depend on an old size.

    TensorFlow names an op's gradient after the op, and in it the shape of the op's input 1 `Shape_1`: these are known.
    Any other number that is a multiple of an old size may depend on it.
    """
    graph, unknown = draft.graph, []
    for name, node in graph.nodes.items():
        start = GRADIENTS.match(name)
        if start is None or node.op != "Const":
            continue
        parts = name[start.end() :].split("_grad/")
        heads = ("_grad/".join(parts[:count]) for count in range(len(parts) - 1, 0, -1))
        forward = next((head for head in heads if head in graph.nodes), None)
        inputs = [spread_of.tensors.get(ref) for ref in graph.inputs(forward)] if forward else []
        if (put := _refolded(node, inputs)) is not None:
            new = constant(name, put, dtype_numbered(node.attr["dtype"].type))
            draft.op(name).attr["value"].CopyFrom(new.attr["value"])
            continue
        changes = list(spread_of.tensors.values())
        if forward and not spread_of.unclear:
            changes = [change for change in (*inputs, spread_of.tensors.get(TensorRef(forward, 0))) if change]
        held = {old for change in changes for old, _ in change.sizes.values()}
        values, shape = numbers(node), shape_of(node.attr["value"].tensor)
        if held.intersection(shape) - {1} or (values is not None and may_hold(values, held)):
            unknown.append(name)
    return unknown


def _refolded(node: NodeDef, inputs: Sequence[ShapeChange | None]) -> Array | None:
    """Return the new shape of an op's input, or None if a constant is not such a shape, or does not change."""
    last = _SHAPE.fullmatch(node.name.rpartition("/")[2])
    values = numbers(node)
    if last is None or values is None or values.ndim != 1:
        return None
    place = int(last[1] or 0)
    change = inputs[place] if place < len(inputs) else None
    if change is None or any(-axis > len(values) or values[axis] != size[0] for axis, size in change.sizes.items()):
        return None
    put = np.array(values)
    for axis, size in change.sizes.items():
        put[axis] = size[1]
    return put


def may_hold(values: Array, sizes: Collection[int]) -> bool:
    """Return whether a number among `values` is a multiple of one of the sizes.

    >>> may_hold(np.array([-1, 3136]), {64}), may_hold(np.array([0.5, 1.0]), {64})
    (True, False)
    """
    return any(value > 1 and value % size == 0 for value in values.reshape(-1).tolist() for size in sizes if size > 1)
