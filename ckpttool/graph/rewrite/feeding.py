"""Feeding: replaces the ends of input pipelines, or named tensors, by placeholders.

A placeholder has the name of the op that it replaces, so `IteratorGetNext:0` keeps its name; the second output of that
op becomes `IteratorGetNext_1:0`. `X=IteratorGetNext:0` specifies another name.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ckpttool.core.dtypes import DType
from ckpttool.core.errors import GraphError
from ckpttool.core.names import listed
from ckpttool.core.shapes import PartialShape, written
from ckpttool.formats.wire.protos.graph_pb2 import NodeDef, TensorShapeProto
from ckpttool.graph.contents.named import tensor_named
from ckpttool.graph.contents.op_outputs import dtype_of_output, known_shape
from ckpttool.graph.contents.pipelines import pipeline_ends, streamed_shape
from ckpttool.graph.contents.signatures import input_arguments, output_tensors, with_input_shapes
from ckpttool.graph.core import Graph, TensorRef
from ckpttool.graph.free_names import FreeNames
from ckpttool.graph.ops import PLACEHOLDERS
from ckpttool.graph.rewrite.any_rows import built_for, with_any_rows, without_shapes
from ckpttool.graph.rewrite.draft import Draft, type_attr
from ckpttool.graph.rewrite.prune import prune
from ckpttool.graph.roles.places import Place, parted
from ckpttool.graph.roles.resolve import certain_roles


@dataclass(frozen=True)
class Feeding:
    """A graph with placeholders for its rows, the new names of the specified tensors, and notes."""

    graph: Graph
    places: tuple[Place, ...] = ()
    labels: str | None = None
    notes: tuple[str, ...] = ()
    made: Mapping[TensorRef, TensorRef] = field(default_factory=dict)
    """The new placeholders, by the tensors that they replace."""
    rows: int | None = None
    """The batch size of the new placeholders, or None for any number of rows."""

    @property
    def inputs(self) -> tuple[str, ...]:
        """The tensors that were specified as inputs."""
        return tuple(str(place.tensor) for place in self.places)

    @property
    def named_inputs(self) -> list[str]:
        """The tensors that were specified as inputs, with the names by which callers feed them."""
        return [f"{place.name}={place.tensor}" if place.name else str(place.tensor) for place in self.places]

    def roles(self, roles: Mapping[str, Any] | None) -> dict[str, Any]:
        """Return roles that were specified for the original graph, with the tensors of this graph."""
        own = {"inputs": self.inputs, "labels": self.labels}
        return {**(roles or {}), **{role: value for role, value in own.items() if value}}


def feeding(
    graph: Graph,
    inputs: str | Sequence[str] = (),
    labels: str | None = None,
    tops: Iterable[str] = (),
    as_built: bool = False,
) -> Feeding:
    """Replace the tensors `inputs` and `labels`, and the ends of input pipelines, by placeholders.

    The pipelines are those on which `tops` (tensors) depend; without these, the loss, the logits and the accuracy. The
    name and shape of a placeholder may be specified: `X=IteratorGetNext:0[?,28,28,1]`. A graph with a fixed batch size
    is rewritten for any number of rows, unless `as_built`.

    Raises:
        UnknownName: the tensor does not exist.
        GraphError: an op requires a fixed batch size, but the specified shape leaves it open.
    """
    texts = parted([inputs] if isinstance(inputs, str) else inputs)
    places = [_place(graph, text, "inputs") for text in texts]
    label = _place(graph, labels, "labels") if labels else None
    asked = [*places, *([label] if label else [])]
    new = {place.tensor: place for place in asked if _is_new(graph, place)}
    needed = _needed(graph, tops, new.keys())
    ends = pipeline_ends(graph, needed, new.keys())
    fed, made = with_placeholders(graph, [*new.values(), *(Place(ref) for ref in ends if ref not in new)])
    now = [replace(place, tensor=made.get(place.tensor, place.tensor)) for place in asked]
    result, freed, rows = _any_rows(_shaped(fed, now), graph, made, now, as_built)
    if any(place.shape for place in now):
        shapes = {f"{name}:0": _sizes(result, Place(TensorRef(name, 0))) for name in result.nodes}
        result = with_input_shapes(without_shapes(result), shapes)
    shown = {
        ref: tensor
        for ref, tensor in made.items()
        if ref in new or needed is None or not needed.isdisjoint(graph.readers[ref])
    }
    notes = [*([_said(graph, result, shown)] if shown else []), *freed]
    labels = str(now[-1].tensor) if label else None
    return Feeding(result, tuple(now[: len(places)]), labels, ("; ".join(notes),) if notes else (), made, rows)


def _place(graph: Graph, text: str, parameter: str) -> Place:
    """Parse a place, and check that its tensor is in the graph, and that labels are not what the model computes."""
    place = Place.parse(text, parameter)
    ref = tensor_named(graph, str(place.tensor), f"`{parameter}` {text}")
    dtype_of_output(graph, ref)
    place = replace(place, tensor=ref)
    if parameter == "labels" and _is_new(graph, place) and str(ref) in output_tensors(graph):
        advice = f"leave `labels` out, and name the labels y or {text} in the data"
        raise GraphError(
            f"{graph.source}: `labels` {text}: {ref} is an output of the model, not a placeholder; {advice}"
        )
    return place


def _is_new(graph: Graph, place: Place) -> bool:
    """Return whether a place needs a new placeholder: it is neither a placeholder nor an input of a signature."""
    return graph.nodes[place.tensor.op].op not in PLACEHOLDERS and str(place.tensor) not in input_arguments(graph)


def _needed(graph: Graph, tops: Iterable[str], stop: Collection[TensorRef]) -> set[str] | None:
    """Return the ops on which the given tensors depend, else the loss, logits and accuracy; None without any."""
    roles = certain_roles(graph)
    names = [*tops] or [name for name in (roles.loss, roles.logits, roles.accuracy) if name]
    ops = [op for op in (TensorRef.parse(name).op for name in names) if op in graph.nodes]
    return graph.ancestors(*ops, stop=stop) if ops else None


def any_rows_place(graph: Graph, tensor: str) -> str:
    """Return the value of `inputs` that allows any number of rows of a tensor; without a known shape, its op."""
    ref = TensorRef.parse(tensor)
    shape = _sizes(graph, Place(ref))
    return f"{ref.op}{written((None, *shape[1:]))}" if shape else ref.op


def with_placeholders(graph: Graph, places: Sequence[Place]) -> tuple[Graph, dict[TensorRef, TensorRef]]:
    """Replace tensors by placeholders, and return the graph and the placeholders by the tensors that they replace.

    An op whose outputs are all replaced is removed; the placeholder of its first output has its name.
    """
    if not places:
        return graph, {}
    draft, names = Draft(graph), FreeNames(graph.nodes)
    fed = {place.tensor for place in places}
    read = {ref.op: {each for each in graph.readers if each.op == ref.op} for ref in fed}
    gone = {op for op, tensors in read.items() if fed.issuperset(tensors)}
    made: dict[TensorRef, TensorRef] = {}
    for place in places:
        ref = place.tensor
        stays = ref.op in gone and not ref.index
        own = stays and place.name in (None, ref.op)
        name = ref.op if own else names.free(place.name or (f"{ref.op}_{ref.index}" if ref.index else ref.op))
        made[ref] = TensorRef(name, 0)
        node = placeholder(name, dtype_of_output(graph, ref), streamed_shape(graph, ref))
        draft.add(node, behind=None if own else ref.op)
        if stays and not own:
            draft.add(_copy(node, ref.op))
    for name in {user for op in gone for user in graph.users.get(op, ())}:
        left = [text for text in draft.nodes[name].input if not (text.startswith("^") and text[1:] in gone)]
        if len(left) < len(draft.nodes[name].input):
            draft.op(name).input[:] = left
    draft.redirect({ref: new for ref, new in made.items() if ref.op not in gone or ref.index})
    return _without(draft.sealed(), gone - {ref.op for ref in made if not ref.index}), made


def _copy(placeholder: NodeDef, name: str) -> NodeDef:
    """Return an identity of a placeholder, under the name of the op that it replaces."""
    node = NodeDef(name=name, op="Identity", input=[placeholder.name])
    node.attr["T"].CopyFrom(placeholder.attr["dtype"])
    return node


def _without(graph: Graph, gone: set[str]) -> Graph:
    """Return the graph without some ops, which no other op reads."""
    draft = Draft(graph)
    prune(draft, graph.nodes.keys() - gone) if gone else None
    return draft.sealed()


def placeholder(name: str, dtype: DType, shape: PartialShape | None) -> NodeDef:
    """Return a placeholder with a dtype and a shape, or an unknown shape."""
    node = NodeDef(name=name, op="Placeholder")
    node.attr["dtype"].CopyFrom(type_attr(dtype.number))
    node.attr["shape"].shape.CopyFrom(shape_message(shape))
    return node


def shape_message(shape: PartialShape | None) -> TensorShapeProto:
    """Return a shape as a protobuf message."""
    if shape is None:
        return TensorShapeProto(unknown_rank=True)
    message = TensorShapeProto()
    for size in shape:
        message.dim.add(size=-1 if size is None else size)
    message.SetInParent()
    return message


def _shaped(graph: Graph, places: Sequence[Place]) -> Graph:
    """Return the graph with the specified shapes of placeholders."""
    draft = Draft(graph)
    asked = [place for place in places if place.shape is not None]
    for place in asked:
        node = graph.nodes[place.tensor.op]
        if node.op not in PLACEHOLDERS:
            raise GraphError(f"{graph.source}: {place.tensor} is a {node.op}, whose shape cannot be given")
        draft.op(node.name).attr["shape"].shape.CopyFrom(shape_message(place.shape))
    return draft.sealed()


def _any_rows(
    graph: Graph, before: Graph, made: Mapping[TensorRef, TensorRef], places: Sequence[Place], as_built: bool
) -> tuple[Graph, list[str], int | None]:
    """Return the graph for any number of rows instead of a fixed one, notes, and the batch size if it remains fixed.

    Raises:
        GraphError: an op requires a fixed batch size, but the specified shape leaves it open.
    """
    counts, opened = _fixed(graph, made, _asked(before, made, places))
    rows = next(iter(counts.values()), None)
    if as_built or rows is None:
        return graph, [], rows
    named = [place.tensor.op for place in places if place.shape]
    alike = list(dict.fromkeys([*counts, *(op for op in _batches_of(graph, rows) if op not in named)]))
    result, holders = with_any_rows(graph, alike, rows)
    if holders and opened:
        raise GraphError(f"{graph.source}: {alike[0]} accepts only batches of {rows}: {holders[0]}")
    count = "one row" if rows == 1 else f"{rows} rows"
    if holders:
        return graph, [f"{count} at a time, for {holders[0]}"], rows
    return result, [f"any number of rows at a time, where the graph was built for {count}"], None


_Asked = Mapping[str, tuple[PartialShape | None, PartialShape]]
"""The original and the specified shape of placeholders, by their ops."""


def _asked(before: Graph, made: Mapping[TensorRef, TensorRef], places: Sequence[Place]) -> _Asked:
    """Return the original and the specified shapes of placeholders."""
    stood = {new: ref for ref, new in made.items()}
    return {
        place.tensor.op: (_size_before(before, stood.get(place.tensor, place.tensor)), place.shape)
        for place in places
        if place.shape
    }


def _fixed(graph: Graph, made: Mapping[TensorRef, TensorRef], asked: _Asked) -> tuple[dict[str, int], dict[str, int]]:
    """Return the fixed batch sizes of placeholders that are to accept any, and those that were specified so."""
    fresh = {ref.op: _sizes(graph, Place(ref)) for ref in made.values() if ref.op not in asked}
    if any(shape == () for shape in fresh.values()):  # single rows: the first dimension is not a batch size
        fresh = {}
    built = built_for(graph, [*fresh, *(op for op, (_, new) in asked.items() if new[0] is None)])
    before = {op: (old[0] if old else None) or (None if new[0] else built) for op, (old, new) in asked.items()}
    opened = {op: count for op, count in before.items() if count and asked[op][1][0] != count}
    counts = {op: shape[0] or built for op, shape in fresh.items() if shape}
    return {op: count for op, count in counts.items() if count} | opened, opened


def _size_before(graph: Graph, ref: TensorRef) -> PartialShape | None:
    """Return the original shape of a tensor, or None if it is unknown."""
    is_placeholder = graph.nodes[ref.op].op in PLACEHOLDERS
    return _sizes(graph, Place(ref)) if is_placeholder else streamed_shape(graph, ref)


def _sizes(graph: Graph, place: Place) -> PartialShape | None:
    """Return the shape of a placeholder, or None if the op is not one."""
    node = graph.nodes.get(place.tensor.op)
    known = node is not None and node.op in PLACEHOLDERS and "shape" in node.attr
    return known_shape(node.attr["shape"].shape) if node is not None and known else None


def _batches_of(graph: Graph, rows: int) -> list[str]:
    """Return the placeholders with a batch size, also those whose rows are reshaped to that number."""
    sizes = {name: _sizes(graph, Place(TensorRef(name, 0))) for name in graph.nodes}
    return [name for name, shape in sizes.items() if shape and rows == (shape[0] or built_for(graph, [name]))]


def _said(before: Graph, graph: Graph, made: Mapping[TensorRef, TensorRef]) -> str:
    """Return the note on the new placeholders."""
    sizes = {ref: _sizes(graph, Place(ref)) for ref in made.values()}
    fed = [f"{ref} {_shown(sizes[ref])} {dtype_of_output(graph, ref)}" for ref in made.values()]
    ops = {op: before.nodes[op].op if op in before.nodes else "" for op in dict.fromkeys(ref.op for ref in made)}
    places = listed([f"{op} ({kind})" if kind != op else op for op, kind in ops.items()])
    return f"rows are fed in place of {places}: {listed(fed)}"


def _shown(shape: PartialShape | None) -> str:
    """Return a shape in the notation of `inputs`."""
    return "of any shape" if shape is None else written(shape)
