"""The messages of an ONNX model: what each check of their fields finds, and what is left out by which name."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from ckpttool import checkpoint
from ckpttool.checkpoint import Checkpoint
from ckpttool.core.errors import CorruptCheckpoint, FormatError
from ckpttool.formats.onnx import model
from ckpttool.formats.onnx.format import Onnx


def field(number: int, content: bytes) -> bytes:
    """Return a field with a message or a text."""
    return varint(number << 3 | 2) + varint(len(content)) + content


def varint(number: int) -> bytes:
    return bytes([number]) if number < 128 else bytes([number & 127 | 128]) + varint(number >> 7)


VERSION, OPSETS = b"\x08\x07", field(8, b"")
W = numpy_helper.from_array(np.arange(2, dtype=np.float32), "w").SerializeToString()


def opened(folder: Path, graph: bytes, *more: bytes, front: bytes = VERSION, back: bytes = OPSETS) -> Checkpoint:
    (folder / "x.onnx").write_bytes(front + field(7, graph) + b"".join(more) + back)
    return checkpoint.open(folder / "x.onnx")


def test_a_model_has_one_graph_and_a_list_of_operator_sets(tmp_path):
    assert opened(tmp_path, field(5, W))["w"].read().tolist() == [0, 1]
    with pytest.raises(CorruptCheckpoint, match=r"x\.onnx: the model has 2 graphs, expected one"):
        opened(tmp_path, b"", field(7, b""))
    with pytest.raises(CorruptCheckpoint, match=r"the model lacks its list of operator sets: it is truncated"):
        opened(tmp_path, field(5, W), back=b"")
    (tmp_path / "y.onnx").write_bytes(VERSION + OPSETS)
    with pytest.raises(CorruptCheckpoint, match=r"y\.onnx: the model has 0 graphs, expected one"):
        checkpoint.open(tmp_path / "y.onnx")


@pytest.mark.parametrize("odd", [field(99, b""), b"\x48\1", b"\x3a\x40"], ids=["number", "kind", "end"])
def test_a_file_whose_fields_are_not_all_of_a_model_is_not_known_by_its_bytes(tmp_path, odd):
    path = tmp_path / "weights.bin"
    path.write_bytes(VERSION + field(7, field(5, W)) + OPSETS)
    assert Onnx().recognises(path)
    path.write_bytes(path.read_bytes() + odd)
    assert not Onnx().recognises(path)
    with pytest.raises(CorruptCheckpoint, match=r"no known field begins at byte|is damaged or truncated"):
        Onnx().open(path)
    path.write_bytes(VERSION + OPSETS)
    assert not Onnx().recognises(path)


@pytest.mark.parametrize("graph", [b"\x28\1", b"\x78\1", b"\x08\1"], ids=["initializer", "sparse", "node"])
def test_a_number_where_a_message_belongs_is_damage(tmp_path, graph):
    with pytest.raises(CorruptCheckpoint, match=r"x\.onnx is damaged: expected a message at byte 4"):
        opened(tmp_path, graph)


def test_raw_data_that_is_a_number_is_damage(tmp_path):
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[0]).SerializeToString() + b"\x48\0"
    with pytest.raises(CorruptCheckpoint, match=r"w is declared as float32 \[0\], 0 bytes, but 1|expected a message"):
        opened(tmp_path, field(5, tensor))


def test_a_sparse_initializer_without_values_has_no_name(tmp_path):
    with pytest.raises(CorruptCheckpoint, match="the sparse initializer at byte 6 has no values"):
        opened(tmp_path, field(15, b""))


def test_names_and_texts_are_bounded(tmp_path, monkeypatch):
    head = sum(len(part) for part in (b"\x0a\1", b"\x08\2", b"\x10\1", b"\x42\1w")) - 1
    entry = field(14, field(1, b"author") + field(2, b"me"))
    monkeypatch.setattr(model, "HEADER_LIMIT", 7)
    monkeypatch.setattr(model, "TEXT_LIMIT", len(entry) - 2)
    assert head == 8
    assert opened(tmp_path, field(5, W), entry).metadata == {"author": "me"}
    monkeypatch.setattr(model, "TEXT_LIMIT", len(entry) - 3)
    with pytest.raises(CorruptCheckpoint, match="a text of its metadata has 12 bytes, which is too long"):
        opened(tmp_path, field(5, W), entry)
    monkeypatch.setattr(model, "HEADER_LIMIT", 6)
    with pytest.raises(CorruptCheckpoint, match="the tensor at byte 6 has a name or a shape that is too long"):
        opened(tmp_path, field(5, W))


def test_metadata_and_descriptions_that_are_no_messages_are_damage(tmp_path):
    with pytest.raises(CorruptCheckpoint, match=r"its metadata at byte \d+ is damaged"):
        opened(tmp_path, b"", field(14, b"\x0a\x7f"))
    with pytest.raises(CorruptCheckpoint, match="the tensor at byte 6 is damaged"):
        opened(tmp_path, field(5, field(8, b"\xff")))


@pytest.mark.parametrize(
    ("dims", "fits"),
    [([1] * 64, True), ([1] * 65, False), ([0, 1 << 62], True), ([0, 1 << 62, 2], False), ([0, -1], False)],
    ids=["rank", "one more", "size", "twice the size", "negative"],
)
def test_the_largest_shapes(tmp_path, dims, fits):
    size = 4 if 0 not in dims else 0
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=dims, raw_data=bytes(size)).SerializeToString()
    if fits:
        assert opened(tmp_path, field(5, tensor))["w"].shape == tuple(dims)
    else:
        with pytest.raises(CorruptCheckpoint, match=r"w has the impossible shape"):
            opened(tmp_path, field(5, tensor))


def test_raw_data_is_given_once(tmp_path):
    with pytest.raises(CorruptCheckpoint, match="w stores its numbers in several fields"):
        opened(tmp_path, field(5, W + field(9, bytes(8))))


def test_strings_in_a_data_file_are_refused(tmp_path):
    tensor = TensorProto(name="w", data_type=TensorProto.STRING, dims=[1], data_location=TensorProto.EXTERNAL)
    with pytest.raises(CorruptCheckpoint, match="w stores strings as raw bytes"):
        opened(tmp_path, field(5, tensor.SerializeToString()))


def test_a_dtype_that_no_one_knows_is_left_out_by_its_number(tmp_path):
    tensor = TensorProto(name="w", data_type=99, dims=[1], raw_data=b"x").SerializeToString()
    assert opened(tmp_path, field(5, tensor)).left_out == ("w (has dtype number 99, unknown, which is not supported)",)


def test_two_of_one_name_are_refused(tmp_path):
    with pytest.raises(FormatError, match="two initializers are named w"):
        opened(tmp_path, field(5, W) + field(5, W))


VALUE = numpy_helper.from_array(np.ones(2, np.float32), "value")
SPARSE = helper.make_sparse_tensor(VALUE, numpy_helper.from_array(np.zeros(2, np.int64), "i"), [3])
INNER = helper.make_graph([], "inner", [], [], [VALUE])
OUTER = helper.make_graph([helper.make_node("If", ["c"], ["inside"], then_branch=INNER)], "outer", [], [])


@pytest.mark.parametrize(
    ("node", "named"),
    [
        (helper.make_node("Constant", [], ["c"], value=VALUE), ["c"]),
        (helper.make_node("Constant", [], ["c"], sparse_value=SPARSE), ["c"]),
        (helper.make_node("Constant", [], ["c"], value_floats=[1.0, 2.0]), ["c"]),
        (helper.make_node("Constant", [], ["c"], value_ints=[1, 2]), []),
        (helper.make_node("Scaler", ["x"], ["s", "t"], domain="ai.onnx.ml", scale=[1.0]), ["s"]),
        (helper.make_node("Resize", ["x"], ["r"], scales=[1.0]), []),
        (helper.make_node("Any", ["x"], ["y"], tensors=[VALUE, VALUE]), ["y"]),
        (helper.make_node("If", ["x"], ["z"], then_branch=INNER), ["z"]),
        (helper.make_node("If", ["x"], ["z"], then_branch=OUTER), ["z"]),
        (helper.make_node("Any", ["x"], ["z"], graphs=[INNER, INNER]), ["z", "z"]),
        (helper.make_node("Relu", ["x"], ["y"], alpha=1.0), []),
    ],
    ids=lambda each: each.op_type if isinstance(each, onnx.NodeProto) else str(each),
)
def test_what_nodes_hold_is_left_out_by_their_first_output(tmp_path, node, named):
    found = opened(tmp_path, field(5, W) + field(1, node.SerializeToString()))
    assert (list(found), list(found.left_out)) == (["w"], named)


def test_functions_and_training_are_left_out_too(tmp_path):
    node = helper.make_node("Constant", [], ["c"], value=VALUE).SerializeToString()
    found = opened(tmp_path, field(5, W), field(25, field(7, node) + field(1, b"name")), field(20, b""))
    assert found.left_out == ("c", "training_info")
