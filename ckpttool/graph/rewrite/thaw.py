"""Thawing frozen graphs: the constants that were variables become variables again, with initialisers and a saver."""

import math
from collections.abc import Iterator

import numpy as np

from ckpttool.core.dtypes import BY_NAME, DType, dtype_numbered
from ckpttool.formats.tensorflow.frozen_weights import frozen_weights
from ckpttool.formats.tensorflow.tensor_proto import FIELDS, shape_of
from ckpttool.formats.wire.protos.graph_pb2 import NodeDef
from ckpttool.graph.contents.constants import constant, uniform
from ckpttool.graph.core import Graph
from ckpttool.graph.free_names import FreeNames
from ckpttool.graph.rewrite.draft import type_attr
from ckpttool.graph.rewrite.new_variables import NewVariable, with_new_variables

ONES = ("gamma", "moving_variance")
"""Name endings of weights that are initialised to ones; other vectors are zeros, and matrices Glorot uniform."""
AVERAGES = ("moving_mean", "moving_variance")
"""Name endings of weights that are not trained."""


def thawed(graph: Graph) -> Graph:
    """Return a frozen graph with resource variables instead of the constants that were variables; others unchanged.

    The variables and their tensors in the checkpoint have the names that `frozen_weights` determines. Their
    initialisers are those of new weights: the constants' values belong into the checkpoint.
    """
    weights = frozen_weights(graph.nodes, graph.header.graph_def.library.function)
    if not weights:
        return graph
    names = FreeNames([*graph.nodes, *weights])
    return with_new_variables(graph, [_variable(graph, name, op, names) for name, op in weights.items()])


def _variable(graph: Graph, name: str, op: str, names: FreeNames) -> NewVariable:
    tensor = graph.nodes[op].attr["value"].tensor
    shape, dtype = shape_of(tensor), dtype_numbered(tensor.dtype)
    initial = list(first_value(names.free(f"{name}/Initializer"), shape, dtype, name))
    return NewVariable(name, op, shape, dtype, "float" in dtype.name and not name.endswith(AVERAGES), initial)


def first_value(scope: str, shape: tuple[int, ...], dtype: DType, name: str) -> Iterator[NodeDef]:
    """Yield the ops that compute a new variable's initial value; the last of them returns it."""
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
