"""What a graph is fed: its input and label placeholders as data sets see them, and its training switch."""

import re
from collections.abc import Iterable, Mapping, Sequence

from ckpttool.core.errors import GraphError
from ckpttool.core.tensors import Tensor, dtype_numbered
from ckpttool.data.dataset import InputSpec, Split, Wanted, check_labels
from ckpttool.data.rows import Rows
from ckpttool.graph.contents.op_outputs import known_shape
from ckpttool.graph.contents.signatures import input_arguments
from ckpttool.graph.core import Graph, TensorRef
from ckpttool.graph.ops import PLACEHOLDERS
from ckpttool.graph.roles.losses import comparison_kind
from ckpttool.graph.roles.roles import Roles
from ckpttool.runtime.function import GraphFunction
from ckpttool.runtime.state import State
from ckpttool.runtime.streaming import Stream

_FEEDERS = re.compile(r"Queue\w*Dequeue\w*|IteratorGetNext\w*|OneShotIterator|Reader(Read|ReadUpTo)(V2)?")
"""Ops that bring rows without being fed."""


def input_specs(graph: Graph, roles: Roles) -> list[InputSpec]:
    """Return the inputs that a data set has to fill.

    Raises:
        GraphError: the graph has none.
    """
    if not roles.inputs:
        tops = [name for name in (roles.logits, roles.loss) if name]
        by = f", the graph is fed by {found}" if (found := feeder(graph, tops)) else ""
        raise GraphError(f"{graph.source}: no input placeholder is known{by}; name tensors to feed with --inputs")
    return [_spec(graph, tensor) for tensor in roles.inputs]


def wanted(graph: Graph, roles: Roles, features: str | None = None) -> Wanted:
    """Return what a graph wants of a data set; `features` says what records hold.

    Raises:
        GraphError: the graph has no inputs or labels that are known.
    """
    return Wanted(tuple(input_specs(graph, roles)), label_spec(graph, roles), features)


def feeder(graph: Graph, tensors: Iterable[str]) -> str | None:
    """Return the op that brings rows out of a queue or from an iterator to what computes tensors."""
    tops = [TensorRef.parse(name).op for name in tensors]
    found = (name for name in graph.ancestors(*tops) if _FEEDERS.fullmatch(graph.nodes[name].op))
    return min(found, default=None)


def label_spec(graph: Graph, roles: Roles) -> InputSpec:
    """Return the placeholder of the labels.

    Raises:
        GraphError: the graph has none.
    """
    if roles.labels is None:
        raise GraphError(f"{graph.source}: no placeholder for labels is known; name it with --labels")
    return _spec(graph, roles.labels)


def _spec(graph: Graph, tensor: str) -> InputSpec:
    node = graph.op(TensorRef.parse(tensor).op)
    signed = input_arguments(graph).get(tensor)
    if node.op not in PLACEHOLDERS and signed is not None:
        return InputSpec(node.name, signed.shape, signed.dtype)
    if node.op not in PLACEHOLDERS:
        raise GraphError(f"{graph.source}: {node.name} is a {node.op}, expected a placeholder that rows can be fed to")
    shape = known_shape(node.attr["shape"].shape) if "shape" in node.attr else None
    return InputSpec(node.name, shape, dtype_numbered(node.attr["dtype"].type))


def mode(roles: Roles, training: bool) -> dict[str, bool]:
    """Return the feed of the training switch, where the graph has one."""
    return {roles.training: training} if roles.training else {}


def feeds(roles: Roles, split: Split) -> dict[str, Rows]:
    """Return the rows of a split by the tensors that they are fed to."""
    arrays: dict[str, Rows] = {f"{name}:0": array for name, array in split.inputs.items()}
    return arrays if split.labels is None else {**arrays, str(roles.labels): split.labels}


def inference(
    graph: Graph, roles: Roles, values: Mapping[str, Tensor], tensors: Sequence[str], fed: Iterable[str]
) -> Stream:
    """Return what computes tensors of rows, which are `fed` to others, when nothing is trained."""
    constants = mode(roles, False)
    function = GraphFunction(graph, tensors, [*fed, *constants], modes=constants)
    return Stream(function, State(function.variables, values), constants)


def check_classes(
    graph: Graph, roles: Roles, values: Mapping[str, Tensor], splits: Sequence[Split]
) -> tuple[int, ...] | None:
    """Check that the model has an output for each label that is a class, by running it on one row.

    Returns the shape that the logits of a row have, None where they are not known.

    Raises:
        DataError: a label has none.
    """
    if roles.logits is None:
        return None
    first = {f"{name}:0": array[:1] for name, array in splits[0].inputs.items()}
    (found,) = next(inference(graph, roles, values, [roles.logits], first).over(first, 1))[1]
    kind = comparison_kind(graph, roles.loss, roles.logits) if roles.loss else None
    for split in splits if kind not in ("sigmoid", "difference") else ():
        check_labels(split, found.shape[-1])
    return found.shape[1:]
