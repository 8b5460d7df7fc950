"""Values in the graph itself: initialisers that give imported values, so that running them needs no file."""

from collections.abc import Mapping
from itertools import count

from ckpttool.core.errors import PlanError
from ckpttool.core.tensors import Array, Tensor
from ckpttool.formats.wire.protos.meta_graph_pb2 import MetaGraphDef, VariableDef
from ckpttool.graph.contents.collections import GLOBAL_VARIABLES
from ckpttool.graph.contents.constants import MESSAGE_LIMIT, constant
from ckpttool.graph.contents.stored import assignments
from ckpttool.graph.contents.variables import Variable, variables
from ckpttool.graph.core import Graph
from ckpttool.graph.rewrite.draft import Draft


def bake(graph: Graph, values: Mapping[str, Tensor]) -> Graph:
    """Return the graph with the values, by checkpoint name, as constants before their variables' assign nodes.

    The old initial values stay in the graph, unused; the collections name the new ones.

    Raises:
        GraphError: a variable has no assign node.
        PlanError: the graph would be larger than a protobuf message can be.
    """
    check_size(graph, values)
    members = {key: variable for key, variable in variables(graph).items() if variable.name in values}
    found = assignments(graph, members)
    names = {key: _free_name(graph, f"{variable.op}/imported_value") for key, variable in members.items()}
    constants = {
        found[key].op: constant(names[key], _part(values[variable.name].read(), variable), variable.dtype)
        for key, variable in members.items()
    }
    draft = Draft(graph)
    draft.nodes = {}
    for name, node in graph.nodes.items():  # each constant before the assign that now reads it
        if name in constants:
            draft.add(constants[name])
        draft.add(node)
        if name in constants:
            draft.op(name).input[1] = constants[name].name
    _name_initial_values(draft.header, {f"{members[key].op}:0": f"{name}:0" for key, name in names.items()})
    return draft.sealed()


def check_size(graph: Graph, values: Mapping[str, Tensor]) -> None:
    """Check, before any value is read, that a graph can hold them.

    Raises:
        PlanError: it cannot.
    """
    size = graph.meta.ByteSize() + sum(tensor.nbytes for tensor in values.values())
    if size > MESSAGE_LIMIT:
        raise PlanError(
            f"{graph.source}: with the values it would be {size} bytes, and a protobuf message holds at most "
            f"{MESSAGE_LIMIT}; without `bake` they are in the checkpoint alone"
        )


def _free_name(graph: Graph, name: str) -> str:
    """Return the name, with a number behind it where the graph has that op already."""
    names = (name if number == 0 else f"{name}_{number}" for number in count())
    return next(candidate for candidate in names if candidate not in graph.nodes)


def _part(value: Array, variable: Variable) -> Array:
    """Return what a variable holds of a tensor: all of it, or its slice."""
    if variable.slice_offset is None or variable.shape is None:
        return value
    bounds = zip(variable.slice_offset, variable.shape, strict=True)
    return value[tuple(slice(start, start + size) for start, size in bounds)]


def _name_initial_values(meta: MetaGraphDef, new: Mapping[str, str]) -> None:
    """Write the new initial values into the collections of variables; a variable is named by its op's tensor there."""
    for key in GLOBAL_VARIABLES:
        entries = meta.collection_def[key].bytes_list.value if key in meta.collection_def else []
        for place, entry in enumerate(entries):
            definition = VariableDef.FromString(entry)
            if definition.variable_name in new:
                definition.initial_value_name = new[definition.variable_name]
                entries[place] = definition.SerializeToString()
