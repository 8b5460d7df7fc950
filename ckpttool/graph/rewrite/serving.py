"""Serving: the part of a graph that computes outputs from inputs, and defaults for placeholders that are not fed."""

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
    """The part of a graph that computes outputs from inputs, their names in the part, and notes."""

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
    """Return the part that computes the outputs from the inputs (as `served` finds them), with initialisers.

    The ends of input pipelines, and inputs that are not placeholders, are replaced by placeholders (`feeding`), and
    the ops that computed them are removed. The part is in inference mode; with `training`, it is in training mode, and
    keeps the updates of its moving averages.

    Raises:
        UnknownName: an input or output is not in the graph.
        GraphError: several tensors could be the outputs, or the outputs do not need an input.
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
    """Return a note on inputs with a fixed batch size that could accept any; empty if there are none."""
    fixed = []
    for ref in map(TensorRef.parse, inputs):
        shape = known_shape(graph.nodes[ref.op].attr["shape"].shape) if "shape" in graph.nodes[ref.op].attr else None
        if shape and len(shape) > 1 and shape[0] is not None and lets_any_rows(graph, ref.op, shape[0]):
            fixed.append(f"{ref} accepts only batches of {shape[0]}")
    places = ", ".join(any_rows_place(graph, tensor) for tensor in inputs)
    return [f"{'; '.join(fixed)}; `inputs` '{places}' makes it accept any number"] if fixed else []


def switched_off(graph: Graph, fed: Collection[str]) -> Graph:
    """Return the graph whose training switches (except `fed` ops) have the default False.

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
    """Return the graph whose placeholders with a default (except `fed` ops) are fixed to it, with folded branches.

    Ops that are no longer read stay in the graph; `subgraph` removes them.
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
