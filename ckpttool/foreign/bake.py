"""Baking imported values into a graph: its initialisers are constants, so that running them needs no file."""

from collections.abc import Mapping

from ckpttool.core.errors import PlanError
from ckpttool.core.tensors import Tensor
from ckpttool.formats.tensorflow.tensor_proto import MESSAGE_LIMIT
from ckpttool.formats.wire.protos.graph_pb2 import NodeDef
from ckpttool.formats.wire.protos.meta_graph_pb2 import VariableDef
from ckpttool.graph.contents.collections import GLOBAL_VARIABLES
from ckpttool.graph.contents.constants import constant
from ckpttool.graph.contents.stored import assignments, window
from ckpttool.graph.contents.variables import variables
from ckpttool.graph.core import Graph
from ckpttool.graph.free_names import FreeNames
from ckpttool.graph.rewrite.draft import Draft


def bake(graph: Graph, values: Mapping[str, Tensor]) -> Graph:
    """Return the graph with the values, by checkpoint name, as constants before their variables' assign nodes.

    The old initial values stay in the graph, unused; the collections name the new ones.

    Raises:
        GraphError: a variable has no assign node.
        PlanError: the graph would exceed the maximum size of a protobuf message.
    """
    check_size(graph, values)
    members = {key: variable for key, variable in variables(graph).items() if variable.name in values}
    assigns, names = assignments(graph, members), FreeNames(graph.nodes)
    constants: dict[str, NodeDef] = {}  # by the assign op that will read each
    initial_values: dict[str, str] = {}
    for key, variable in members.items():
        name, value = names.free(f"{variable.op}/imported_value"), values[variable.name].read()
        constants[assigns[key].op] = constant(name, value[window(variable)], variable.dtype)
        initial_values[f"{variable.op}:0"] = f"{name}:0"
    draft = Draft(graph)
    draft.nodes = {}
    for name, node in graph.nodes.items():  # each constant before the assign that now reads it
        if name in constants:
            draft.add(constants[name])
        draft.add(node)
        if name in constants:
            draft.op(name).input[1] = constants[name].name
    for collection in GLOBAL_VARIABLES:  # entries name variables by the tensor of their op
        entries = (
            draft.header.collection_def[collection].bytes_list.value
            if collection in draft.header.collection_def
            else []
        )
        for place, entry in enumerate(entries):
            definition = VariableDef.FromString(entry)
            if definition.variable_name in initial_values:
                definition.initial_value_name = initial_values[definition.variable_name]
                entries[place] = definition.SerializeToString()
    return draft.sealed()


def check_size(graph: Graph, values: Mapping[str, Tensor]) -> None:
    """Check, before any value is read, that the graph with the values does not exceed the maximum size.

    Raises:
        PlanError: it does.
    """
    size = graph.meta.ByteSize() + sum(tensor.nbytes for tensor in values.values())
    if size > MESSAGE_LIMIT:
        raise PlanError(
            f"{graph.source}: with the values it would have {size} bytes, and a protobuf message has at most "
            f"{MESSAGE_LIMIT}; without `bake` they are only in the checkpoint"
        )
