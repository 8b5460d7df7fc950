"""Graphs that no TensorFlow would write: the readers return or raise ckpttool's errors, and terminate."""

import random

import pytest

from ckpttool.core.errors import CkptError
from ckpttool.formats.wire.protos.graph_pb2 import NodeDef
from ckpttool.formats.wire.protos.meta_graph_pb2 import MetaGraphDef
from ckpttool.graph.contents.collections import entries
from ckpttool.graph.contents.layers import layers
from ckpttool.graph.contents.signatures import signatures
from ckpttool.graph.contents.stored import assignments
from ckpttool.graph.contents.variables import variables
from ckpttool.graph.core import Graph
from ckpttool.graph.roles.resolve import find_roles


def drop_op(meta: MetaGraphDef, chance: random.Random) -> None:
    del meta.graph_def.node[chance.randrange(len(meta.graph_def.node))]


def drop_inputs(meta: MetaGraphDef, chance: random.Random) -> None:
    del chance.choice(meta.graph_def.node).input[chance.randrange(2) :]


def drop_attributes(meta: MetaGraphDef, chance: random.Random) -> None:
    chance.choice(meta.graph_def.node).attr.clear()


def change_type(meta: MetaGraphDef, chance: random.Random) -> None:
    chance.choice(meta.graph_def.node).op = chance.choice(meta.graph_def.node).op


def rewire(meta: MetaGraphDef, chance: random.Random) -> None:
    """Read another input, which may well form a cycle."""
    node: NodeDef = chance.choice(meta.graph_def.node)
    for position in range(len(node.input)):
        node.input[position] = chance.choice(meta.graph_def.node).name


def forget_collection(meta: MetaGraphDef, chance: random.Random) -> None:
    if meta.collection_def:
        del meta.collection_def[chance.choice(sorted(meta.collection_def))]


CHANGES = (drop_op, drop_inputs, drop_attributes, change_type, rewire, rewire, forget_collection)


@pytest.mark.parametrize("name", ["chapter", "normalised", "regression", "recurrent", "resource"])
@pytest.mark.parametrize("seed", range(60))
def test_a_mangled_graph_ends_in_answers_or_errors_of_ours(graph, name, seed):
    meta, chance = MetaGraphDef(), random.Random(seed)
    meta.CopyFrom(graph(name).meta)
    for _ in range(seed):
        chance.choice(CHANGES)(meta, chance)

    mangled = Graph(meta)
    for look in (variables, layers, assignments, find_roles, signatures):
        try:
            look(mangled)
        except CkptError as error:
            assert "\n" not in str(error)
    for key in meta.collection_def:
        entries(mangled, key)


@pytest.mark.parametrize("op", ["Identity", "Reshape", "Assign", "Merge", "Sub", "SparseSoftmaxCrossEntropyWithLogits"])
def test_an_op_that_reads_itself(op):
    meta = MetaGraphDef()
    meta.graph_def.node.add(name="v", op="VariableV2").attr["dtype"].type = 1
    meta.graph_def.node.add(name="loop", op=op, input=["loop", "loop"])
    meta.graph_def.node.add(name="v/Assign_1", op="Assign", input=["v", "loop"])
    meta.graph_def.node.add(name="loss", op="Mean", input=["loop", "v"])

    found = Graph(meta)

    assert list(variables(found)) == ["v"]
    assert find_roles(found, needed=()).loss == "loss:0"
    assert [layer.name for layer in layers(found)] == ["v"]
