"""Simplification: folds known branches, and bypasses unread gradients, zeros in sums and copies of constants.

Ops that are no longer read stay in the graph; `subgraph` removes them.
"""

import math
from collections.abc import Collection, Iterator, Mapping, Sequence

from ckpttool.formats.tensorflow.tensor_proto import shape_of
from ckpttool.formats.wire.protos.graph_pb2 import NodeDef, TensorShapeProto
from ckpttool.graph.contents.constants import numbers
from ckpttool.graph.contents.flow import Flow, is_pivot
from ckpttool.graph.core import Graph, TensorRef
from ckpttool.graph.ops import MERGES, STATEFUL, SWITCHES
from ckpttool.graph.rewrite.draft import Draft, control_inputs, copy_of, last_of, make_identity, set_inputs
from ckpttool.graph.rewrite.prune import part_ops
from ckpttool.graph.roles.placeholders import dead_ops, known_truths


def fold_branches(graph: Graph, modes: Mapping[str, bool], fed: Collection[str] = ()) -> Graph:
    """Return the graph in which readers of a conditional read the branch that the values of the modes select.

    These are TensorFlow 1's conditionals, made of Switch and Merge ops. Loops and readers of `fed` tensors are
    unchanged.
    """
    if not modes or not any(node.op in SWITCHES for node in graph.nodes.values()):
        return graph
    flow = Flow.of(graph)
    truths = known_truths(flow, modes)
    decided = {
        name
        for name, node in graph.nodes.items()
        if node.op in SWITCHES and any(ref.op in truths for ref in graph.inputs(name)[1:2])
    }
    if not decided:
        return graph
    dead, lost = dead_ops(flow, truths)
    replacements: dict[TensorRef, TensorRef] = {}
    draft, given = Draft(graph), set(map(TensorRef.parse, fed))
    for name, node in graph.nodes.items():
        inputs = graph.inputs(name)
        if name in decided:
            replacements[TensorRef(name, int(truths[inputs[1].op]))] = inputs[0]
        elif node.op in MERGES and not flow.is_loop_merge(name) and TensorRef(name, 1) not in graph.readers:
            live = [ref for ref in inputs if ref not in lost and ref.op not in dead]
            if len(live) == 1:  # and no op reads the index of the taken branch (output 1)
                replacements[TensorRef(name, 0)] = live[0]
                if node.op == "Merge":
                    make_identity(draft.op(name), live[0])
    replacements = {ref: by for ref, by in replacements.items() if ref not in given}
    draft.redirect({ref: last_of(ref, replacements) for ref in replacements})
    pivots = {*decided, *(name for each in decided for name in graph.consumers[each] if is_pivot(graph, name))}
    for name in {name for pivot in pivots for name in graph.users[pivot]} - dead:
        waited = control_inputs(graph.nodes[name])
        if not pivots.isdisjoint(waited):  # ops in a taken branch need no control input from its pivot
            data = [ref for ref in map(TensorRef.parse, draft.nodes[name].input) if ref.index >= 0]
            set_inputs(draft.op(name), data, [op for op in waited if op not in pivots])
    return draft.sealed()


def constant_choices(graph: Graph) -> dict[str, bool]:
    """Return the constants (ops) that are conditions of TensorFlow 1's conditionals, with their values."""
    preds = {ref.op for name, node in graph.nodes.items() if node.op in SWITCHES for ref in graph.inputs(name)[1:2]}
    values = {name: numbers(graph.nodes[name]) for name in preds if name in graph.nodes}
    return {name: bool(value) for name, value in values.items() if value is not None and value.shape == ()}


def without_dead_gradients(graph: Graph, wanted: Sequence[str], fed: Collection[str] = ()) -> Graph:
    """Return the graph in which a gradient waits only for the sibling gradients that other ops need.

    `tf.gradients` computes the gradients of all inputs of an op, and returns each only when all are computed: each
    passes through an `Identity` with a control input from a `NoOp` that waits for all. So the gradients of data, of
    dropout masks and of frozen weights are computed too.

    `wanted` are the tensors or ops that will be computed, `fed` the tensors that will be fed. Gradients still wait for
    ops with side effects, and for reads of a weight before its update.
    """
    part = part_ops(graph, wanted, fed)
    siblings = {name: waited for name in part if (waited := _siblings(graph, name))}
    if not siblings:
        return graph
    effects = [name for name in part if graph.nodes[name].op in STATEFUL or graph.nodes[name].op == "Assert"]
    alone = Draft(graph)
    for name in siblings:
        set_inputs(alone.op(name), graph.inputs(name))
    used = part_ops(alone.sealed(), [*wanted, *effects], fed)
    draft = Draft(graph)
    for name, waited in siblings.items():
        set_inputs(draft.op(name), graph.inputs(name), [op for op in waited if op in used])
    return draft.sealed()


def _siblings(graph: Graph, name: str) -> list[str]:
    """Return the gradients for which a `tuple/control_dependency` identity waits, including its own; else empty."""
    node = graph.nodes[name]
    if node.op != "Identity" or [graph.nodes[op].op for op in control_inputs(node)] != ["NoOp"]:
        return []
    waited = control_inputs(graph.nodes[control_inputs(node)[0]])
    return waited if graph.inputs(name)[0].op in waited else []


def without_zeros(graph: Graph) -> Graph:
    """Return the graph in which AddN ops do not read terms that are filled with zeros.

    The gradient from the branch of a conditional that is not taken is such a term.
    """
    draft = Draft(graph)
    for name, node in graph.nodes.items():
        if node.op == "AddN":
            terms = graph.inputs(name)
            kept = [ref for ref in terms if not _is_zeros(graph, graph.nodes.get(ref.op))]
            if 0 < len(kept) < len(terms):
                set_inputs(draft.op(name), kept, control_inputs(node))
                draft.op(name).attr["N"].i = len(kept)
    return draft.sealed()


def _is_zeros(graph: Graph, node: NodeDef | None) -> bool:
    if node is None or node.op != "Fill":
        return False
    filling = [graph.nodes.get(ref.op) for ref in graph.inputs(node.name)[1:2]]
    value = numbers(filling[0]) if filling and filling[0] is not None else None
    return value is not None and not value.any()


def without_copies(graph: Graph, wanted: Collection[str], unknown: Collection[str] = ()) -> Graph:
    """Return the graph whose ops read constants directly, instead of their identities and reshapes.

    A `Reshape` to a constant shape becomes a constant of that shape. The names of `wanted` ops are kept, and so are
    copies with control inputs (in conditionals and loops), and reshapes of constants whose values are `unknown` yet.
    """
    reshaped = graph.having(_reshaped(graph, unknown))
    sources = {name: _source(reshaped, name) for name in reshaped.nodes if name not in wanted}
    straight = {name: source for name, source in sources.items() if source is not None and source != name}
    draft = Draft(reshaped)
    draft.redirect(
        {TensorRef(name, index): TensorRef(source, index) for name, source in straight.items() for index in (0, -1)}
    )
    return draft.sealed()


def _reshaped(graph: Graph, unknown: Collection[str]) -> Iterator[NodeDef]:
    """Yield the nodes; reshapes of constants are replaced by constants."""
    for name, node in graph.nodes.items():
        source = _source(graph, graph.inputs(name)[0].op) if node.op == "Reshape" else None
        shape = _shape(graph, name, source) if source is not None and source not in unknown else None
        if source is None or shape is None:
            yield node
        else:
            constant = copy_of(graph.nodes[source])
            constant.name = name
            constant.attr["value"].tensor.tensor_shape.CopyFrom(shape)
            constant.attr.pop("_output_shapes", None)
            yield constant


def _source(graph: Graph, name: str) -> str | None:
    """Return the constant that an op is or passes on unchanged; None for other ops, and for ops with control inputs."""
    while graph.nodes[name].op == "Identity" and not control_inputs(graph.nodes[name]):
        name = graph.inputs(name)[0].op
    node = graph.nodes[name]
    return name if node.op == "Const" and not control_inputs(node) else None


def _shape(graph: Graph, name: str, source: str) -> TensorShapeProto | None:
    """Return the shape to which a constant is reshaped; None if it is computed or does not fit."""
    wanted = _source(graph, graph.inputs(name)[1].op)
    sizes = numbers(graph.nodes[wanted]) if wanted is not None else None
    if sizes is None or control_inputs(graph.nodes[name]):
        return None
    count = math.prod(shape_of(graph.nodes[source].attr["value"].tensor))
    known = math.prod(int(size) for size in sizes if size >= 0)
    whole = [int(size) if size >= 0 else count // max(known, 1) for size in sizes]
    fits = math.prod(whole) == count and sum(size < 0 for size in sizes) <= 1
    return TensorShapeProto(dim=[TensorShapeProto.Dim(size=size) for size in whole]) if fits else None
