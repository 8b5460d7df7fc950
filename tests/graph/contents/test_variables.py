import pytest

from ckpttool.core.dtypes import BY_NAME
from ckpttool.core.errors import FormatError, GraphError
from ckpttool.formats.wire.protos.graph_pb2 import DT_FLOAT
from ckpttool.formats.wire.protos.meta_graph_pb2 import MetaGraphDef
from ckpttool.graph.contents.variables import Variable, variables
from ckpttool.graph.core import Graph


def test_a_variable_says_what_it_is_and_how_it_is_initialised(graph):
    found = variables(graph("chapter"))

    assert list(found) == [
        f"{layer}/{part}" for layer in ("hidden1", "hidden2", "outputs") for part in ("kernel", "bias")
    ]
    assert found["hidden1/kernel"] == Variable(
        name="hidden1/kernel",
        own_name="hidden1/kernel",
        op="hidden1/kernel",
        shape=(8, 5),
        dtype=BY_NAME["float32"],
        kind="weight",
        trainable=True,
        assign="hidden1/kernel/Assign",
        initial_value="hidden1/kernel/Initializer/random_uniform:0",
        read="hidden1/kernel/read:0",
        resource=False,
    )


def test_adam_has_slots_and_beta_powers_and_the_global_step_is_a_step(graph):
    found = variables(graph("adam"))

    kinds = {name: variable.kind for name, variable in found.items()}
    weights = [name for name, kind in kinds.items() if kind == "weight"]
    assert len(weights) == 6
    assert kinds["global_step"] == "step"
    slots = {name for name, kind in kinds.items() if kind == "slot"}
    assert slots == {f"{name}/{slot}" for name in weights for slot in ("Adam", "Adam_1")} | {
        "beta1_power",
        "beta2_power",
    }
    assert [name for name, variable in found.items() if variable.trainable] == weights


def test_resource_variables_and_their_momentum(graph):
    found = variables(graph("resource"))

    kernel = found["hidden1/kernel"]
    assert kernel.resource
    assert kernel.assign == "hidden1/kernel/Assign"
    assert kernel.initial_value == "hidden1/kernel/Initializer/random_uniform:0"
    assert kernel.read == "hidden1/kernel/Read/ReadVariableOp:0"
    assert found["hidden1/kernel/Momentum"].kind == "slot"


def test_the_slices_of_a_variable_are_listed_each_with_its_place(graph):
    found = variables(graph("partitioned"))

    parts = [found[f"hidden1/kernel/part_{number}"] for number in (0, 1)]
    assert [part.name for part in parts] == ["hidden1/kernel"] * 2
    assert [part.shape for part in parts] == [(4, 5), (4, 5)]
    assert [part.slice_offset for part in parts] == [(0, 0), (4, 0)]
    assert [part.full_shape for part in parts] == [(8, 5), (8, 5)]
    assert "hidden1/kernel" not in found


def test_a_variable_in_one_part_has_its_plain_name(graph):
    kernel = variables(graph("one_part"))["hidden1/kernel"]

    assert kernel.op == "hidden1/kernel/part_0"
    assert (kernel.shape, kernel.slice_offset, kernel.full_shape) == ((8, 5), None, None)


def test_moving_averages_are_weights_that_are_not_trained(graph):
    found = variables(graph("normalised"))

    assert (found["bn1/moving_mean"].kind, found["bn1/moving_mean"].trainable) == ("weight", False)
    assert (found["bn1/gamma"].kind, found["bn1/gamma"].trainable) == ("weight", True)


def test_local_variables_are_not_in_the_checkpoint(graph):
    found = variables(graph("regression"))

    assert {name: variable.kind for name, variable in found.items()} == {
        "W": "weight",
        "b": "weight",
        "W/Adagrad": "slot",
        "b/Adagrad": "slot",
    }


@pytest.mark.parametrize("name", ["chapter", "adam", "resource", "normalised"])
def test_without_collections_the_ops_say_the_same(graph, name):
    whole = graph(name)
    bare = Graph(MetaGraphDef(graph_def=whole.meta.graph_def))

    assert variables(bare) == variables(whole)


@pytest.mark.parametrize("name", ["chapter", "adam", "resource", "one_part", "normalised", "regression", "second_head"])
def test_the_names_are_those_that_the_saver_writes(graph, metas, name):
    import tensorflow as tf

    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        tf.compat.v1.train.import_meta_graph(str(metas / f"{name}.meta"))
        saved = session.run("save/SaveV2/tensor_names:0")

    assert {text.decode() for text in saved} == set(variables(graph(name)))


def test_a_variable_with_unknown_dimensions_has_no_shape():
    meta = MetaGraphDef()
    node = meta.graph_def.node.add(name="v", op="VariableV2")
    node.attr["dtype"].type = DT_FLOAT
    node.attr["shape"].shape.dim.add(size=-1)

    assert variables(Graph(meta))["v"].shape is None


def test_a_collection_that_names_a_missing_variable_is_refused(graph):
    meta = MetaGraphDef()
    meta.CopyFrom(graph("chapter").meta)
    del meta.graph_def.node[:]

    with pytest.raises(GraphError, match="collection variables has hidden1/kernel, which is not in the graph"):
        variables(Graph(meta, "cut.meta"))


def test_a_damaged_collection_and_an_unknown_dtype_are_refused(graph):
    meta = MetaGraphDef()
    meta.collection_def["variables"].bytes_list.value.append(b"\xff\xff")
    with pytest.raises(FormatError, match=r"x\.meta: collection variables has an entry that is not a variable"):
        variables(Graph(meta, "x.meta"))

    meta = MetaGraphDef()
    meta.graph_def.node.add(name="v", op="VariableV2").attr["dtype"].type = 99
    with pytest.raises(FormatError, match=r"x\.meta: variable v: dtype number 99 is unknown"):
        variables(Graph(meta, "x.meta"))


def test_what_was_found_in_a_graph_is_not_looked_for_again(graph):
    one, other = graph("chapter"), graph("chapter")
    assert variables(one) is variables(one)
    assert variables(one) is not variables(other)
    assert variables(one) == variables(other)
