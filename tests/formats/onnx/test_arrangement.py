"""What the nodes of a model say about its initialisers: layouts of kernels, epsilons, the tensors of a cell."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from ckpttool.core.errors import CorruptCheckpoint
from ckpttool.formats.format import Arrangement
from ckpttool.formats.onnx.format import Onnx

NOTHING = Arrangement()
node = helper.make_node


def said(folder: Path, *nodes: onnx.NodeProto, weights: tuple[str, ...] = ("w",)) -> dict[str, Arrangement]:
    """Return what is known of the weights of a model with some nodes."""
    tensors = [numpy_helper.from_array(np.ones(1, np.float32), name) for name in weights]
    path = folder / "x.onnx"
    path.write_bytes(helper.make_model(helper.make_graph(list(nodes), "graph", [], [], tensors)).SerializeToString())
    return {name: each for name, each in Onnx().arrangements(path).items() if name in weights}


@pytest.mark.parametrize("kind", ["Conv", "ConvTranspose"])
def test_the_kernel_of_a_convolution_has_its_outputs_first_and_its_bias_says_nothing(tmp_path, kind):
    found = said(tmp_path, node(kind, ["x", "w", "b"], ["y"]), weights=("w", "b"))
    assert found == {"w": Arrangement(outputs_first=True)}


@pytest.mark.parametrize(
    ("product", "outputs_first"),
    [
        (node("MatMul", ["x", "w"], ["y"]), False),
        (node("MatMul", ["w", "x"], ["y"]), True),
        (node("Gemm", ["x", "w"], ["y"]), False),
        (node("Gemm", ["x", "w"], ["y"], transB=0), False),
        (node("Gemm", ["x", "w"], ["y"], transB=1), True),
        (node("Gemm", ["x", "w"], ["y"], transA=1), False),
        (node("Gemm", ["w", "x"], ["y"]), True),
        (node("Gemm", ["w", "x"], ["y"], transA=1), False),
        (node("Gemm", ["w", "x"], ["y"], transB=1), True),
    ],
    ids=lambda each: f"{each.op_type}{[*each.input]}" if isinstance(each, onnx.NodeProto) else None,
)
def test_of_a_product_it_depends_on_the_side_and_on_what_is_transposed(tmp_path, product, outputs_first):
    assert said(tmp_path, product) == {"w": Arrangement(outputs_first=outputs_first)}


def test_the_bias_of_a_gemm_and_the_weights_of_other_nodes_say_nothing(tmp_path):
    assert said(tmp_path, node("Gemm", ["x", "y", "w"], ["z"]), node("Add", ["x", "w"], ["s"])) == {}


@pytest.mark.parametrize(
    ("perm", "swapped"),
    [(None, True), ([1, 0], True), ([0, 1], False), ([0, 2, 1], True), ([1, 0, 2], False), ([2, 0, 1], False)],
)
def test_a_kernel_that_is_transposed_on_the_way_is_the_other_way_round(tmp_path, perm, swapped):
    turned = node("Transpose", ["w"], ["t"], **({} if perm is None else {"perm": perm}))
    found = said(tmp_path, turned, node("MatMul", ["x", "t"], ["y"]))
    assert found == {"w": Arrangement(outputs_first=swapped)}
    found = said(tmp_path, turned, node("Conv", ["x", "t"], ["y"]))
    assert found == {"w": Arrangement(outputs_first=not swapped)}


def test_twice_transposed_is_as_before_and_casts_lie_between(tmp_path):
    way = [
        node("Transpose", ["w"], ["t"]),
        node("DequantizeLinear", ["t", "scale"], ["d"]),
        node("Cast", ["d"], ["c"], to=1),
        node("Transpose", ["c"], ["u"]),
        node("MatMul", ["x", "u"], ["y"]),
    ]
    assert said(tmp_path, *way, weights=("w", "scale")) == {"w": Arrangement(outputs_first=False)}


def test_a_way_in_a_circle_ends(tmp_path):
    circle = [node("Identity", ["w"], ["a"]), node("Identity", ["a"], ["w"]), node("Identity", ["a"], ["a"])]
    assert said(tmp_path, *circle, node("MatMul", ["a", "v"], ["y"]), weights=("w", "v")) == {
        "v": Arrangement(outputs_first=False)
    }


@pytest.mark.parametrize(("given", "epsilon"), [({}, 1e-5), ({"epsilon": 0.5}, 0.5)])
def test_the_four_tensors_of_a_batch_normalisation_have_its_epsilon(tmp_path, given, epsilon):
    names = ("scale", "bias", "mean", "variance")
    found = said(tmp_path, node("BatchNormalization", ["x", *names], ["y"], **given), weights=("x", *names))
    assert found == dict.fromkeys(names, Arrangement(epsilon=epsilon))


def test_the_tensors_of_a_cell_belong_together(tmp_path):
    inputs = ["x", "w", "r", "b", "lengths", "h"]
    cell = Arrangement(cell=("w", "r", "b"))
    found = said(tmp_path, node("LSTM", inputs, ["y"]), weights=tuple(inputs))
    assert found == {"w": cell, "r": cell, "b": cell}
    bare = Arrangement(cell=("w", "r"))
    found = said(tmp_path, node("LSTM", ["x", "w", "r", "", "lengths"], ["y"]), weights=("w", "r", "lengths"))
    assert found == {"w": bare, "r": bare}


@pytest.mark.parametrize("linear", [None, 0, 1])
def test_of_a_gru_only_one_of_its_two_forms_is_known(tmp_path, linear):
    given = {} if linear is None else {"linear_before_reset": linear}
    found = said(tmp_path, node("GRU", ["x", "w", "r", "b"], ["y"], **given), weights=("x", "w", "r", "b"))
    assert found == (dict.fromkeys("wrb", Arrangement(cell=("w", "r", "b"))) if linear else {})


FLAT = node("Flatten", ["c"], ["f"])
CONV = node("Conv", ["x", "k"], ["c"])
LAST = node("Transpose", ["c"], ["l"], perm=[0, 2, 3, 1])


@pytest.mark.parametrize(
    ("nodes", "channels_first"),
    [
        ([CONV, FLAT], True),
        ([node("MaxPool", ["x"], ["c"]), node("Reshape", ["c", "shape"], ["f"])], True),
        ([CONV, LAST, node("Relu", ["l"], ["m"]), node("Flatten", ["m"], ["f"])], False),
        ([CONV, node("Transpose", ["c"], ["l"], perm=[0, 1, 3, 2]), node("Flatten", ["l"], ["f"])], True),
        ([CONV, node("Transpose", ["c"], ["l"]), node("Flatten", ["l"], ["f"])], True),
        ([CONV, node("Flatten", ["c"], ["e"]), node("Transpose", ["e"], ["f"], perm=[0, 1])], True),
        ([CONV, node("Relu", ["c"], ["f"])], None),
        ([node("Relu", ["x"], ["c"]), FLAT], None),
        ([node("MatMul", ["x", "k"], ["c"]), FLAT], None),
        ([CONV, node("MatMul", ["c", "m"], ["p"]), node("Flatten", ["p"], ["f"])], None),
        ([node("Constant", [], ["c"], value_float=1.0), FLAT], None),
        ([node("Flatten", ["f"], ["f"])], None),
    ],
)
def test_the_rows_of_a_kernel_after_an_image_follow_its_channels(tmp_path, nodes, channels_first):
    found = said(tmp_path, *nodes, node("Gemm", ["f", "w"], ["y"]))
    assert found["w"] == Arrangement(outputs_first=False, channels_first=channels_first)


def test_the_first_node_that_says_something_counts_and_what_is_computed_has_no_layout(tmp_path):
    nodes = [
        node("Relu", ["w"], ["r"]),
        node("MatMul", ["x", "w"], ["y"]),
        node("Gemm", ["x", "w"], ["z"], transB=1),
        node("MatMul", ["z", "y"], ["q"]),
    ]
    assert said(tmp_path, *nodes, weights=("w", "x", "y", "r", "z")) == {
        "w": Arrangement(outputs_first=False),
        "x": Arrangement(outputs_first=True),
    }


TURNED = node("Transpose", ["w"], ["t"])


def with_attribute(folder: Path, attribute: bytes, first: onnx.NodeProto = TURNED) -> dict[str, Arrangement]:
    """Return what a model says whose first node has an attribute that is given as bytes."""
    turned = first.SerializeToString() + b"\x2a" + bytes([len(attribute)]) + attribute
    product = node("MatMul", ["x", "t"], ["y"]).SerializeToString()
    graph = b"".join(b"\x0a" + bytes([len(each)]) + each for each in (turned, product))
    (folder / "x.onnx").write_bytes(b"\x08\x07\x3a" + bytes([len(graph)]) + graph + b"\x42\0")
    return dict(Onnx().arrangements(folder / "x.onnx"))


@pytest.mark.parametrize(
    ("attribute", "outputs_first"),
    [
        (b"\x0a\4perm\x42\2\1\0", True),
        (b"\x0a\4perm\x42\2\0\1", False),
        (b"\x0a\4perm\x40\1\x40\0", True),
        (b"\x0a\4perm\x42\0", False),
        (b"\x0a\4perm\x18\1", False),
        (b"\x0a\4perm\x10\1", False),
        (b"\x0a\4perk\x42\2\0\1", True),
    ],
    ids=["packed", "packed, in order", "one by one", "empty", "one number", "no float", "another name"],
)
def test_lists_of_numbers_are_packed_or_one_by_one(tmp_path, attribute, outputs_first):
    assert with_attribute(tmp_path, attribute)["w"] == Arrangement(outputs_first=outputs_first)


def test_a_float_that_is_stored_as_an_integer_is_none(tmp_path):
    gemm = node("Gemm", ["x", "w"], ["z"])
    assert with_attribute(tmp_path, b"\x0a\6transB\x10\1", gemm)["w"] == Arrangement(outputs_first=False)
    assert with_attribute(tmp_path, b"\x0a\6transB\x15\0\0\x80\x3f", gemm)["w"] == Arrangement(outputs_first=True)


def test_a_list_that_is_cut_is_damage_with_the_name_of_the_file(tmp_path):
    with pytest.raises(CorruptCheckpoint, match=r"x\.onnx: a node is damaged: "):
        with_attribute(tmp_path, b"\x0a\4perm\x42\2\1\x80")


def test_a_node_that_ends_after_its_graph_is_told_once(tmp_path):
    with pytest.raises(CorruptCheckpoint, match=r"^[^:]*x\.onnx is damaged or truncated: the field at byte"):
        with_attribute(tmp_path, b"\x0a\x7fperm")
