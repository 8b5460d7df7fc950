"""The arrays that a graph needs from a data set: the names, shapes and dtypes with which its placeholders are fed."""

from dataclasses import replace

from ckpttool.core.dtypes import dtype_numbered
from ckpttool.core.errors import GraphError
from ckpttool.data.files import InputSpec, Wanted
from ckpttool.graph.contents.class_names import class_names
from ckpttool.graph.contents.op_outputs import known_shape
from ckpttool.graph.contents.signatures import input_arguments, input_keys
from ckpttool.graph.core import Graph, TensorRef
from ckpttool.graph.ops import PLACEHOLDERS
from ckpttool.graph.roles.resolve import Roles, needs_no_labels
from ckpttool.graph.roles.served import output_names
from ckpttool.training.preprocessing import kept_steps


def wanted_by(graph: Graph, roles: Roles, features: str | None = None, labels: bool = True) -> Wanted:
    """Return which arrays a graph needs from a data set; a loss computed from the inputs alone needs no labels.

    Raises:
        GraphError: the inputs are unknown, or the labels are unknown and needed.
    """
    if not roles.inputs:
        raise GraphError(f"{graph.source}: no input placeholder is known; specify `inputs`")
    specs, names = [placeholder_spec(graph, tensor) for tensor in roles.inputs], class_names(graph)
    steps = kept_steps(graph, specs, TensorRef.parse(roles.labels).op if roles.labels else None)
    inputs = tuple(replace(spec, steps=steps.get(spec.name)) for spec in specs)
    taken = {name for spec in specs for name in spec.names}
    outputs = {key: tensors for key, tensors in output_names(graph).items() if key not in taken}
    target = placeholder_spec(graph, roles.labels) if roles.labels else None
    if target is not None:
        own = tuple(key for key, tensors in outputs.items() if roles.logits in tensors)
        target = replace(target, steps=steps.get(target.name), keys=(*target.keys, *own))
    beside = tuple(dict.fromkeys([*(target.names if target else ()), *outputs]))
    wanted = Wanted(inputs, target, features, beside=beside, classes=names)
    if not labels or (target is None and needs_no_labels(graph, roles)):
        return replace(wanted, labels=None)
    if target is None:
        raise GraphError(f"{graph.source}: no placeholder for labels is known; specify `labels`, or an `objective`")
    return wanted


def placeholder_spec(graph: Graph, tensor: str) -> InputSpec:
    """Return the name, shape and dtype of a tensor that rows are fed to.

    Raises:
        GraphError: it is neither a placeholder nor an argument of a signature.
    """
    node, keys = graph.op(TensorRef.parse(tensor).op), tuple(input_keys(graph, tensor))
    if node.op in PLACEHOLDERS:
        shape = known_shape(node.attr["shape"].shape) if "shape" in node.attr else None
        return InputSpec(node.name, shape, dtype_numbered(node.attr["dtype"].type), keys=keys)
    signed = input_arguments(graph).get(tensor)
    if signed is None:
        raise GraphError(f"{graph.source}: {node.name} is a {node.op}, expected a placeholder that rows can be fed to")
    return InputSpec(node.name, signed.shape, signed.dtype, keys=keys)
