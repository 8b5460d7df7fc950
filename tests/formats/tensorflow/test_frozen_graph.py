"""Frozen graphs as checkpoints: which constants are weights, with which names; damage is reported."""

import numpy as np
import pytest
from conformance import FormatTests, ReadingTests

from ckpttool import checkpoint
from ckpttool.core.dtypes import BY_NAME, STRING
from ckpttool.core.errors import CorruptCheckpoint, MissingFile
from ckpttool.formats.tensorflow.frozen_weights import frozen_weights
from ckpttool.formats.wire.protos.graph_pb2 import FunctionDef, GraphDef, NodeDef
from ckpttool.formats.wire.protos.meta_graph_pb2 import MetaGraphDef, SavedModel
from ckpttool.graph.contents.constants import constant, uniform

FLOAT = BY_NAME["float32"]


def op(name, kind, *inputs):
    return NodeDef(name=name, op=kind, input=inputs)


def floats(name, *shape):
    return constant(name, np.ones(shape, np.float32), FLOAT)


def found(*nodes):
    return frozen_weights({node.name: node for node in nodes})


class TestFrozen(ReadingTests):
    name = "frozen"
    suffix = ".pb"
    refused = ()
    test_round_trip = FormatTests.test_round_trip  # its `save` here can write every dtype
    test_it_says_which_dtypes_it_holds = FormatTests.test_it_says_which_dtypes_it_holds
    checksums = False

    def save(self, tensors, path, overwrite):
        nodes = [(constant(n, t.read(), t.dtype), op(f"{n}/read", "Identity", n)) for n, t in tensors.items()]
        path.write_bytes(GraphDef(node=[node for pair in nodes for node in pair]).SerializeToString())

    test_no_tensors_at_all = None
    test_every_cut_is_found = None  # an op between two others can be cut out of a graph: a message has no length
    test_a_damaged_tensor_does_not_hide_the_others = None


def test_what_is_read_as_variables_are_counts_whatever_it_is():
    step = constant("step", np.array(7, np.int64), BY_NAME["int64"])
    assert found(step, op("step/read", "Identity", "step")) == {"step": "step"}
    assert found(step, op("copy", "Identity", "step")) == {}


@pytest.mark.parametrize(
    ("kind", "inputs"),
    [
        ("MatMul", ("x", "w")),
        ("MatMul", ("w", "x")),
        ("Conv2D", ("x", "w")),
        ("DepthwiseConv2dNative", ("x", "w")),
        ("GatherV2", ("w", "x", "axis")),
        ("FusedBatchNormV3", ("x", "w", "w", "w", "w")),
        ("BiasAdd", ("x", "w")),
    ],
)
def test_what_a_layer_computes_with_counts_also_past_casts_and_into_loops(kind, inputs):
    x, w = op("x", "Placeholder"), floats("w", 2, 2)
    assert found(x, w, op("out", kind, *inputs)) == {"w": "w"}
    entered = [op("half", "Cast", "w"), op("enter", "Enter", "half")]
    assert found(x, w, *entered, op("out", kind, *("enter" if each == "w" else each for each in inputs))) == {"w": "w"}


def test_what_is_added_behind_a_layer_counts_and_what_is_taken_from_an_image_does_not():
    x, mean, w, b = op("x", "Placeholder"), floats("mean", 3), floats("w", 3, 2), floats("b", 2)
    layer = [
        op("centred", "Sub", "x", "mean"),
        op("MatMul", "MatMul", "centred", "w"),
        op("add", "AddV2", "MatMul", "b"),
    ]
    assert found(x, mean, w, b, *layer) == {"w": "w", "b": "b"}


def test_what_scales_a_normalised_row_counts():
    """Layer normalisation divides by a deviation computed from the row, and PReLU scales negative values."""
    x, w, gamma, alpha = op("x", "Placeholder"), floats("w", 3, 2), floats("gamma", 2), floats("alpha", 2)
    layer = [
        op("MatMul", "MatMul", "x", "w"),
        op("mean", "Mean", "MatMul", "axis"),
        op("squares", "SquaredDifference", "MatMul", "mean"),
        op("deviation", "Rsqrt", "squares"),
        op("factor", "Mul", "deviation", "gamma"),
        op("negative", "Neg", "factor"),
        op("rest", "Relu", "negative"),
        op("slope", "Neg", "alpha"),
        op("out", "Mul", "slope", "rest"),
    ]
    assert found(x, w, gamma, alpha, *layer) == {"w": "w", "gamma": "gamma", "alpha": "alpha"}


@pytest.mark.parametrize("through", [False, True])
def test_what_a_loop_hands_on_unchanged_counts_and_what_it_starts_with_does_not(through):
    body = FunctionDef()
    body.signature.name = "body"
    for name in ("state", "kernel"):
        body.signature.input_arg.add(name=name)
        body.signature.output_arg.add(name=f"{name}_out")
    body.node_def.append(op("product", "MatMul", "state", "kernel"))
    body.node_def.append(op("same", "Identity", "kernel"))
    body.ret["state_out"], body.ret["kernel_out"] = "product:product:0", "same:output:0" if through else "kernel"
    loop = op("loop", "While", "zeros", "kernel")
    loop.attr["body"].func.name = "body"
    nodes = {node.name: node for node in (floats("zeros", 1, 2), floats("kernel", 2, 2), loop)}

    assert frozen_weights(nodes, [body]) == {"kernel": "kernel"}
    assert frozen_weights(nodes) == {}


def test_the_parts_of_a_partitioned_variable_count():
    axis = constant("axis", np.array(0, np.int32), BY_NAME["int32"])
    parts = [floats("w/part_0", 2, 3), floats("w/part_1", 2, 3), axis]
    layer = [op("x", "Placeholder"), op("w", "ConcatV2", "w/part_0", "w/part_1", "axis"), op("out", "MatMul", "x", "w")]
    assert list(found(*parts, *layer)) == ["w/part_0", "w/part_1"]


def test_shapes_numbers_and_empty_constants_do_not_count():
    shape = constant("shape", np.array([2, 2], np.int32), BY_NAME["int32"])
    empty, scalar = floats("Const", 0), floats("rate")
    nodes = [op("x", "Placeholder"), op("r", "Reshape", "x", "shape"), op("m", "Mul", "r", "rate")]
    assert found(shape, empty, scalar, *nodes, op("n", "FusedBatchNorm", "m", "Const", "Const")) == {}


def test_a_graph_that_still_has_variables_is_not_frozen():
    assert found(floats("w", 2, 2), op("w/read", "Identity", "w"), op("v", "VarHandleOp")) == {}


@pytest.mark.parametrize("scope", ["fc", "model/dense_1"])
def test_constants_that_bear_the_names_of_reads_are_named_for_their_layers(scope):
    names = [f"{scope}/MatMul/ReadVariableOp", f"{scope}/BiasAdd/ReadVariableOp"]
    nodes = [op("x", "Placeholder")]
    for name, *shape in ((names[0], 3, 2), (names[1], 2)):
        nodes += [floats(f"{name}/resource", *shape), op(name, "Identity", f"{name}/resource")]
    nodes += [
        op(f"{scope}/MatMul", "MatMul", "x", names[0]),
        op(f"{scope}/BiasAdd", "BiasAdd", f"{scope}/MatMul", names[1]),
    ]
    assert found(*nodes) == {f"{scope}/kernel": f"{names[0]}/resource", f"{scope}/bias": f"{names[1]}/resource"}


def test_numbers_that_repeat_are_kept_once(tmp_path):
    nodes = [uniform("w", (2, 3), 0.5, FLOAT), op("w/read", "Identity", "w")]
    nodes += [constant("s", np.array([b"a", b"b"], object), STRING), op("s/read", "Identity", "s")]
    nodes[2].attr["value"].tensor.tensor_shape.dim[0].size = 4
    (tmp_path / "g.pb").write_bytes(GraphDef(node=nodes).SerializeToString())
    opened = checkpoint.open(tmp_path / "g.pb")
    assert opened["w"].read().tolist() == [[0.5] * 3] * 2
    assert opened["s"].read().tolist() == [b"a", b"b", b"b", b"b"]


def test_a_meta_graph_is_read_too_and_large_constants_that_are_no_weights_are_named(tmp_path):
    nodes = [floats("w", 2, 2), op("w/read", "Identity", "w"), floats("anchors", 50, 4)]
    (tmp_path / "g.meta").write_bytes(MetaGraphDef(graph_def=GraphDef(node=nodes)).SerializeToString())
    opened = checkpoint.open(tmp_path / "g.meta")
    assert (list(opened), opened.left_out, opened.format) == (["w"], ("anchors",), "frozen")


@pytest.mark.parametrize("size", [1, 3, 1 << 40])
def test_a_shape_that_its_numbers_do_not_fill_is_damage(tmp_path, size):
    node = constant("w", np.ones(2, np.float32), FLOAT)
    node.attr["value"].tensor.tensor_shape.dim[0].size = size
    (tmp_path / "g.pb").write_bytes(GraphDef(node=[node, op("w/read", "Identity", "w")]).SerializeToString())
    if size == 3:  # the last one is repeated
        assert checkpoint.open(tmp_path / "g.pb")["w"].read().tolist() == [1, 1, 1]
    else:
        with pytest.raises(CorruptCheckpoint, match="w is damaged"):
            checkpoint.open(tmp_path / "g.pb")["w"].read()


def saved_model(folder, *tags):
    """A SavedModel with a graph for each tag, whose weights are constants with as many rows as the graph's number."""
    graphs = []
    for rows, tag in enumerate(tags, 2):
        meta = MetaGraphDef(graph_def=GraphDef(node=[floats("w", rows, 3), op("y", "MatMul", "x", "w")]))
        meta.meta_info_def.tags.append(tag)
        graphs.append(meta)
    folder.mkdir()
    (folder / "saved_model.pb").write_bytes(SavedModel(meta_graphs=graphs).SerializeToString())
    return folder


@pytest.mark.parametrize(("tags", "rows"), [(["serve"], 2), (["train"], 2), (["train", "serve"], 3)])
def test_the_folder_of_a_saved_model_has_those_of_its_graph(tmp_path, tags, rows):
    folder = saved_model(tmp_path / "model", *tags)
    for path in (folder, folder / "saved_model.pb"):
        opened = checkpoint.open(path)
        assert (opened.format, opened.path) == ("frozen", folder / "saved_model.pb")
        assert {name: tensor.shape for name, tensor in opened.items()} == {"w": (rows, 3)}


def test_of_several_graphs_none_of_which_serves_none_is_taken(tmp_path):
    with pytest.raises(MissingFile, match="SavedModel without variables"):
        checkpoint.open(saved_model(tmp_path / "model", "train", "eval"))
