"""Frozen graphs thawed: the constants that were variables are variables again, with initialisers and a saver."""

import math
from collections.abc import Iterator

import numpy as np

from ckpttool.core.tensors import BY_NAME, DType, dtype_numbered
from ckpttool.formats.tensorflow.frozen_weights import frozen_weights
from ckpttool.formats.tensorflow.tensor_proto import FIELDS, shape_of
from ckpttool.formats.wire.protos.graph_pb2 import NodeDef
from ckpttool.formats.wire.protos.meta_graph_pb2 import VariableDef
from ckpttool.graph.contents.constants import constant, uniform
from ckpttool.graph.core import FreeNames, Graph, TensorRef
from ckpttool.graph.rewrite.draft import Draft, type_attr
from ckpttool.graph.rewrite.resource import to_resource
from ckpttool.graph.rewrite.savers import with_saver

ONES = ("gamma", "moving_variance")
"""The weights that start as ones; other vectors start as zeros, and matrices as Glorot and Bengio draw them."""
AVERAGES = ("moving_mean", "moving_variance")
"""The weights that no gradient changes."""


def thawed(graph: Graph) -> Graph:
    """Return a frozen graph with resource variables for the constants that were variables; another one as it is.

    The variables have the names that `frozen_weights` says, and so have their tensors in the checkpoint of the graph's
    new saver. What they start with is drawn: the constants' values are for that checkpoint.
    """
    weights = frozen_weights(graph.nodes)
    if not weights:
        return graph
    draft, names = Draft(graph), FreeNames([*graph.nodes, *weights])
    moved: dict[TensorRef, TensorRef] = {}
    for name, op in weights.items():
        tensor = graph.nodes[op].attr["value"].tensor
        variable, initial, assign = _variable(name, shape_of(tensor), dtype_numbered(tensor.dtype), names)
        if name != op:
            moved[TensorRef(op, 0)] = TensorRef(name, 0)
            del draft.nodes[op]
        read = _read(graph, name, op)
        draft.nodes[name] = variable
        draft.add(*initial, assign, *([] if read in graph.nodes else [_identity(read, name, variable)]))
        entry = VariableDef(
            variable_name=f"{name}:0",
            initializer_name=assign.name,
            initial_value_name=f"{initial[-1].name}:0",
            snapshot_name=f"{read}:0",
            trainable="float" in dtype_numbered(tensor.dtype).name and not name.endswith(AVERAGES),
        )
        for key in ("variables", "trainable_variables") if entry.trainable else ("variables",):
            draft.header.collection_def[key].bytes_list.value.append(entry.SerializeToString())
    draft.redirect(moved)
    return with_saver(to_resource(draft.sealed()))


def _variable(
    name: str, shape: tuple[int, ...], dtype: DType, names: FreeNames
) -> tuple[NodeDef, list[NodeDef], NodeDef]:
    """Return a reference variable, the ops of what it starts with, the last of them giving it, and its assign."""
    variable = NodeDef(name=name, op="VariableV2")
    variable.attr["dtype"].CopyFrom(type_attr(dtype.number))
    variable.attr["shape"].shape.SetInParent()
    for size in shape:
        variable.attr["shape"].shape.dim.add(size=size)
    for key in ("container", "shared_name"):
        variable.attr[key].s = b""
    initial = list(first_value(names.free(f"{name}/Initializer"), shape, dtype, name))
    assign = NodeDef(name=names.free(f"{name}/Assign"), op="Assign", input=[name, initial[-1].name])
    assign.attr["T"].CopyFrom(type_attr(dtype.number))
    for key in ("use_locking", "validate_shape"):
        assign.attr[key].b = True
    return variable, initial, assign


def first_value(scope: str, shape: tuple[int, ...], dtype: DType, name: str) -> Iterator[NodeDef]:
    """Yield the ops that compute what a new variable starts with; the last of them gives it."""
    if len(shape) < 2 or "float" not in dtype.name:
        value = float(name.endswith(ONES))
        if dtype.name in FIELDS:
            yield uniform(f"{scope}/value", shape, value, dtype)
        else:
            yield constant(f"{scope}/value", np.full(shape, b"" if dtype.itemsize == 0 else value, dtype.numpy), dtype)
        return
    field = math.prod(shape[:-2])
    limit = math.sqrt(6 / max(field * (shape[-2] + shape[-1]), 1))
    yield constant(f"{scope}/shape", np.array(shape, np.int32), BY_NAME["int32"])
    drawn = NodeDef(name=f"{scope}/RandomUniform", op="RandomUniform", input=[f"{scope}/shape"])
    drawn.attr["dtype"].CopyFrom(type_attr(dtype.number))
    drawn.attr["T"].CopyFrom(type_attr(BY_NAME["int32"].number))
    for key in ("seed", "seed2"):
        drawn.attr[key].i = 0
    yield drawn
    for own, op, other, number in (("Mul", "Mul", "RandomUniform", 2 * limit), ("value", "Sub", "Mul", limit)):
        yield uniform(f"{scope}/{own}/y", (), number, dtype)
        computed = NodeDef(name=f"{scope}/{own}", op=op, input=[f"{scope}/{other}", f"{scope}/{own}/y"])
        computed.attr["T"].CopyFrom(type_attr(dtype.number))
        yield computed


def _read(graph: Graph, name: str, op: str) -> str:
    """Return the name of the read of a variable: of that of its constant, if there is one, else of a new one."""
    reads = [reader for reader in graph.consumers.get(op, []) if graph.nodes[reader].op == "Identity"]
    return next(iter(reads), f"{name}/read")


def _identity(name: str, variable: str, like: NodeDef) -> NodeDef:
    node = NodeDef(name=name, op="Identity", input=[variable])
    node.attr["T"].CopyFrom(like.attr["dtype"])
    return node
