"""Serving: the part of a graph that computes outputs from inputs, and defaults for what nobody feeds."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from ckpttool.core.dtypes import BY_NAME
from ckpttool.core.errors import GraphError
from ckpttool.formats.wire.protos.graph_pb2 import AttrValue, TensorShapeProto
from ckpttool.graph.contents.constants import constant, numbers
from ckpttool.graph.contents.op_outputs import known_shape
from ckpttool.graph.contents.signatures import DEFAULT
from ckpttool.graph.core import Graph, TensorRef
from ckpttool.graph.ops import PLACEHOLDERS
from ckpttool.graph.rewrite.any_rows import lets_any_rows
from ckpttool.graph.rewrite.draft import Draft, free_name
from ckpttool.graph.rewrite.feeding import any_rows_place, feeding, with_placeholders
from ckpttool.graph.rewrite.inference import in_inference
from ckpttool.graph.rewrite.prune import subgraph, with_updates
from ckpttool.graph.rewrite.simplify import fold_branches
from ckpttool.graph.rewrite.whole_rows import with_whole_rows
from ckpttool.graph.roles.placeholders import mode_placeholders
from ckpttool.graph.roles.places import Place
from ckpttool.graph.roles.served import Served, served

_DEFAULTED = "PlaceholderWithDefault"


@dataclass(frozen=True)
class Serving:
    """The part of a graph that computes outputs from inputs, these as they are called in it, and what was done."""

    part: Graph
    served: Served
    notes: tuple[str, ...]


def serving_part(
    graph: Graph,
    inputs: Sequence[str] = (),
    outputs: Sequence[str] = (),
    signature: str = DEFAULT,
    training: bool = False,
) -> Serving:
    """Return what outputs need from inputs (as `served` finds them), with the variables' initialisers.

    Where a pipeline brings rows, placeholders take its place, and an input that was not a placeholder becomes one
    (`feeding`); what computed it goes. The part runs in inference mode, unless `training` goes on with it: then it
    keeps what moves the moving averages of what it computes.

    Raises:
        UnknownName: an input or output is not in the graph.
        GraphError: several tensors could be the outputs; they do not need an input.
    """
    asked = served(feeding(graph).graph, (), outputs, signature)
    fed = feeding(with_whole_rows(graph, list(asked.outputs.values())), inputs, tops=asked.outputs.values())
    again = [f"{key}={tensor}" for key, tensor in asked.outputs.items()]
    given = served(fed.graph, fed.named_inputs, again).inputs if fed.places or fed.made else asked.inputs
    serves = Served(given, asked.outputs, asked.why)
    refs = {key: TensorRef.parse(tensor) for key, tensor in given.items()}
    computed = [Place(ref) for ref in refs.values() if fed.graph.nodes[ref.op].op not in PLACEHOLDERS]
    whole, made = with_placeholders(fed.graph, computed)
    tensors = {key: made.get(ref, ref) for key, ref in refs.items()}
    needed = whole.ancestors(*(TensorRef.parse(tensor).op for tensor in serves.outputs.values()))
    for old, new in {**fed.made, **made}.items():
        if new in tensors.values() and new.op not in needed:
            raise GraphError(f"{graph.source}: `inputs` {old}: the outputs do not need it")
    named = {key: str(ref) for key, ref in tensors.items()}
    wanted, result = [*serves.outputs.values(), *named.values()], Served(named, serves.outputs, serves.why)
    notes = (*fed.notes, *_fixed_batches(whole, named.values()))
    if training:
        return Serving(with_updates(whole, wanted), result, notes)
    inference = in_inference(whole, serves.outputs.values(), named.values())
    part = subgraph(inference.graph, wanted, initializers=True)
    return Serving(part, result, (*notes, *inference.notes))


def _fixed_batches(graph: Graph, inputs: Collection[str]) -> list[str]:
    """Return how inputs that take a fixed number of rows could take any, where they could."""
    fixed = []
    for ref in map(TensorRef.parse, inputs):
        shape = known_shape(graph.nodes[ref.op].attr["shape"].shape) if "shape" in graph.nodes[ref.op].attr else None
        if shape and len(shape) > 1 and shape[0] is not None and lets_any_rows(graph, ref.op, shape[0]):
            fixed.append(f"{ref} accepts only batches of {shape[0]}")
    places = ", ".join(any_rows_place(graph, tensor) for tensor in inputs)
    return [f"{'; '.join(fixed)}; `inputs` '{places}' makes it accept any number"] if fixed else []


def switched_off(graph: Graph, fed: Collection[str]) -> Graph:
    """Return the graph whose training switches (ops that are not `fed`) are False unless somebody feeds them.

    A switch is a placeholder of a single boolean.
    """
    draft, defaults = Draft(graph), {}
    for name in mode_placeholders(graph):
        if name not in fed and graph.nodes[name].op != _DEFAULTED:
            node = draft.op(name)
            default = constant(free_name(f"{name}/default", graph.nodes), np.array(False), BY_NAME["bool"])
            node.op = _DEFAULTED
            node.input.append(default.name)
            node.attr["shape"].CopyFrom(AttrValue(shape=TensorShapeProto()))
            defaults[default.name] = default
    draft.nodes = defaults | draft.nodes
    return draft.sealed()


def pinned_to_defaults(graph: Graph, fed: Collection[str]) -> Graph:
    """Return the graph whose placeholders (ops that are not `fed`) give their defaults, and conditionals follow.

    What is then read no more is still there, for `subgraph` to leave out.
    """
    pinned = [name for name, node in graph.nodes.items() if node.op == _DEFAULTED and name not in fed]
    switches = mode_placeholders(graph)
    defaults = {name: numbers(graph.nodes[graph.inputs(name)[0].op]) for name in pinned if name in switches}
    truths = {name: bool(value) for name, value in defaults.items() if value is not None and value.size == 1}
    draft = Draft(fold_branches(graph, truths))
    for node in map(draft.op, pinned):
        node.op = "Identity"
        node.attr["T"].CopyFrom(node.attr["dtype"])
        for key in ("dtype", "shape"):
            node.attr.pop(key, None)
    return draft.sealed()
