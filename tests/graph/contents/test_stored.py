import numpy as np
import pytest

from ckpttool.core.dtypes import BY_NAME
from ckpttool.core.errors import GraphError, UnknownName
from ckpttool.graph.contents.stored import assignments
from ckpttool.graph.core import Graph


@pytest.mark.parametrize("name", ["chapter", "resource", "partitioned", "adam"])
def test_feeding_an_assign_node_sets_its_variable(graph, metas, name):
    import tensorflow as tf

    found = assignments(graph(name))
    assert len(found) == len({assignment.op for assignment in found.values()}) >= 6

    with tf.Graph().as_default() as made, tf.compat.v1.Session() as session:
        tf.compat.v1.train.import_meta_graph(str(metas / f"{name}.meta"))
        values = {
            key: np.full(each.shape, number, each.dtype.numpy) for number, (key, each) in enumerate(found.items())
        }
        fed = {assignment.value: values[key] for key, assignment in found.items()}
        session.run([made.get_operation_by_name(assignment.op) for assignment in found.values()], fed)
        variables = tf.compat.v1.global_variables()
        now = {variable.op.name: session.run(variable) for variable in variables}

    by_op = {assignment.op.removesuffix("/Assign"): key for key, assignment in found.items()}
    assert set(now) == set(by_op)
    for op, value in now.items():
        np.testing.assert_array_equal(value, values[by_op[op]])


def test_an_assignment_says_what_may_go_in(graph):
    found = assignments(graph("chapter"), ["hidden1/kernel"])["hidden1/kernel"]

    assert (found.op, found.value) == ("hidden1/kernel/Assign", "hidden1/kernel/Initializer/random_uniform:0")
    assert (found.shape, found.dtype) == ((8, 5), BY_NAME["float32"])


def test_the_collections_initialiser_wins_over_the_ops_name(graph):
    """A saver's assign also writes to the variable; the initialiser is the one in the collection."""
    from ckpttool.formats.wire.protos.meta_graph_pb2 import MetaGraphDef, VariableDef

    meta = MetaGraphDef()
    meta.CopyFrom(graph("chapter").meta)
    entry = VariableDef.FromString(meta.collection_def["variables"].bytes_list.value[0])
    entry.initializer_name = "save/Assign_1"
    meta.collection_def["variables"].bytes_list.value[0] = entry.SerializeToString()

    assert assignments(Graph(meta))["hidden1/kernel"].op == "save/Assign_1"


def test_a_name_that_is_no_variable(graph):
    with pytest.raises(UnknownName, match=r"no variable named hiden1/kernel; nearest: hidden1/kernel"):
        assignments(graph("chapter"), ["hiden1/kernel"])


def test_a_variable_without_an_assign_node():
    from ckpttool.formats.wire.protos.graph_pb2 import DT_FLOAT
    from ckpttool.formats.wire.protos.meta_graph_pb2 import MetaGraphDef

    meta = MetaGraphDef()
    meta.graph_def.node.add(name="v", op="VariableV2").attr["dtype"].type = DT_FLOAT
    lonely = Graph(meta, "x.meta")

    assert assignments(lonely) == {}
    with pytest.raises(GraphError, match=r"x\.meta: variable v has no assign node"):
        assignments(lonely, ["v"])
