import pytest

from ckpttool.core.errors import GraphError, UnknownName
from ckpttool.formats.wire.protos.graph_pb2 import DT_FLOAT
from ckpttool.formats.wire.protos.meta_graph_pb2 import MetaGraphDef
from ckpttool.graph.core import Graph
from ckpttool.graph.roles.resolve import ROLE_KEYS, Roles, find_roles

CHAPTER = Roles(
    inputs=("X:0",),
    labels="y:0",
    logits="dnn/outputs/BiasAdd:0",
    loss="loss/loss:0",
    accuracy="eval/accuracy:0",
    training_op="GradientDescent",
)
NEW_HEAD = Roles(
    inputs=("X:0",),
    labels="y:0",
    logits="new_dnn/new_outputs/BiasAdd:0",
    loss="new_loss/loss:0",
    accuracy="new_eval/accuracy:0",
    training_op="new_train/GradientDescent",
)


def copy_of(graph):
    meta = MetaGraphDef()
    meta.CopyFrom(graph.meta)
    return Graph(meta, graph.source)


def test_the_chapters_network(graph):
    assert find_roles(graph("chapter")) == CHAPTER


def test_nothing_depends_on_names(graph):
    """The chapter's names replaced by numbers: gradients, cross entropy and hits still show the roles."""
    meta = copy_of(graph("chapter")).meta
    renamed = {"loss/loss": "n1", "eval/accuracy": "n2", "X": "n3", "y": "n4"}
    for node in meta.graph_def.node:
        node.name = renamed.get(node.name, node.name).replace("gradients/loss/loss_grad", "gradients/n1_grad")
        inputs = [
            renamed.get(text, text).replace("gradients/loss/loss_grad", "gradients/n1_grad") for text in node.input
        ]
        node.ClearField("input")
        node.input.extend(inputs)

    assert find_roles(Graph(meta)) == Roles(
        ("n3:0",), "n4:0", "dnn/outputs/BiasAdd:0", "n1:0", "n2:0", "GradientDescent"
    )


def test_adam_with_a_global_step(graph):
    assert find_roles(graph("adam")).training_op == "Adam"


def test_momentum_on_resource_variables(graph):
    assert find_roles(graph("resource")).training_op == "Momentum"


def test_the_training_switch_of_batch_normalisation(graph):
    assert find_roles(graph("normalised")) == Roles(
        inputs=("X:0",),
        labels="y:0",
        logits="bn2/batchnorm/add_1:0",
        loss="loss/loss:0",
        accuracy=None,
        training_op="train/GradientDescent",
        training="training:0",
    )


def test_a_regression_has_no_cross_entropy_and_a_keep_probability_is_no_input(graph):
    assert find_roles(graph("regression")) == Roles(
        inputs=("x:0",), labels="target:0", logits="prediction:0", loss="cost:0", training_op="Adagrad"
    )


def test_two_heads_are_ambiguous_and_the_error_lists_them(graph):
    with pytest.raises(GraphError) as caught:
        find_roles(graph("second_head"))

    assert str(caught.value).endswith(
        "second_head.meta: several ops could be the training op: GradientDescent (trains hidden1, hidden2, "
        "outputs), new_train/GradientDescent (trains hidden1, hidden2, new_outputs); specify `training_op`"
    )


@pytest.mark.parametrize("said", [{"loss": "new_loss/loss"}, {"training_op": "new_train/GradientDescent"}])
def test_one_word_tells_two_heads_apart(graph, said):
    assert find_roles(graph("second_head"), **said) == NEW_HEAD


def test_a_collection_of_important_ops_tells_two_heads_apart(graph):
    assert find_roles(graph("important")) == CHAPTER


def test_what_is_not_needed_may_be_ambiguous(graph):
    found = find_roles(graph("second_head"), needed=("inputs",))

    assert (found.training_op, found.loss) == (None, None)


def test_without_a_training_op_a_loss_is_known_by_its_name(graph):
    meta = copy_of(graph("second_head")).meta
    kept = [node for node in meta.graph_def.node if not node.name.startswith(("gradients", "new_train", "Gradient"))]
    del meta.graph_def.node[:]
    meta.graph_def.node.extend(kept)
    del meta.collection_def["train_op"]

    with pytest.raises(GraphError, match="several ops could be the loss: loss/loss:0, new_loss/loss:0; specify `loss`"):
        find_roles(Graph(meta))
    assert find_roles(Graph(meta), loss="loss/loss:0").logits == "dnn/outputs/BiasAdd:0"


def test_our_own_collections_come_first(graph):
    made = copy_of(graph("second_head"))
    made.meta.collection_def[ROLE_KEYS["loss"]].node_list.value.append("new_loss/loss:0")

    assert find_roles(Graph(made.meta)) == NEW_HEAD


def test_a_collection_of_ours_that_is_stale_is_refused(graph):
    made = copy_of(graph("chapter"))
    made.meta.collection_def[ROLE_KEYS["loss"]].node_list.value.append("gone:0")

    with pytest.raises(UnknownName, match="collection ckpttool/loss names gone:0, which is not in the graph"):
        find_roles(Graph(made.meta))


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"loss": "loss/los"}, "`loss` loss/los: no such op or tensor; nearest: loss/loss"),
        (
            {"training_op": "GradientDecent"},
            "`training_op` GradientDecent: no such op; the graph has GradientDescent (trains hidden1, hidden2, ",
        ),
        ({"inputs": ["X", "Z"]}, "`inputs` Z: no such op or tensor"),
    ],
)
def test_an_override_that_names_nothing_is_refused(graph, said, message):
    with pytest.raises(UnknownName) as caught:
        find_roles(graph("chapter"), **said)

    assert message in str(caught.value)


def test_overrides_take_ops_and_tensors(graph):
    found = find_roles(graph("chapter"), inputs="dnn/hidden1/Relu", labels="y:0", training_op="GradientDescent:0")

    assert (found.inputs, found.labels, found.training_op) == (("dnn/hidden1/Relu:0",), "y:0", "GradientDescent")


def test_a_graph_that_only_infers_has_its_signatures_inputs(graph):
    meta = MetaGraphDef()
    for name in ("a", "b"):
        meta.graph_def.node.add(name=name, op="Placeholder").attr["dtype"].type = DT_FLOAT
    assert find_roles(Graph(meta)).inputs == ("a:0", "b:0")

    meta.signature_def["serving_default"].inputs["x"].name = "b:0"
    assert find_roles(Graph(meta)).inputs == ("b:0",)


def test_an_empty_graph_has_no_roles():
    assert find_roles(Graph(MetaGraphDef())) == Roles()
