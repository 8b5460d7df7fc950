"""Caffe files: what protobuf writes with its caffe.proto is read without either, with Caffe's HDF5 names."""

import time
from functools import cache

import numpy as np
import pytest
from caffe_files import blob, messages, net, of_tensors
from conformance import SHAPES, ReadingTests, numbers

from ckpttool import checkpoint
from ckpttool.core.dtypes import BY_NAME
from ckpttool.core.errors import CkptError, CorruptCheckpoint, FormatError
from ckpttool.formats import registry
from ckpttool.formats.caffe import model
from ckpttool.formats.caffe.format import Caffe
from ckpttool.formats.format import Arrangement
from ckpttool.formats.reading.data_file import CheckpointFile
from ckpttool.formats.wire import varint
from ckpttool.formats.wire.protos.meta_graph_pb2 import MetaGraphDef

KERNEL, BIAS = np.arange(24, dtype=np.float32).reshape(2, 3, 2, 2), np.arange(2, dtype=np.float32)


class TestCaffe(ReadingTests):
    name = "caffe"
    suffix = ".caffemodel"
    checksums = False

    def save(self, tensors, path, overwrite):
        path.write_bytes(of_tensors(tensors))

    test_every_name_is_listed_and_no_other = test_names_are_not_files = None  # names are those of layers: see below
    test_a_damaged_tensor_does_not_hide_the_others = None  # these too
    test_every_cut_is_found = None  # below: a file that ends after a layer is one with fewer layers


def opened(tmp_path, content):
    content = content if isinstance(content, bytes) else content.SerializeToString()
    (tmp_path / "a.caffemodel").write_bytes(content)
    return checkpoint.open(tmp_path / "a.caffemodel")


def shapes(ckpt):
    return {name: tensor.shape for name, tensor in ckpt.items()}


@pytest.mark.parametrize("dtype", sorted(Caffe.HOLDS))
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_every_type_is_read(tmp_path, dtype, shape):
    array = numbers(BY_NAME[dtype], shape)
    read = opened(tmp_path, net(a=("Scale", array)))["a/0"]
    dtype = "float32" if dtype == "float64" and not array.size else dtype  # no number identifies it
    assert (read.shape, read.dtype, read.read().tolist()) == (shape, dtype, array.tolist())
    assert b"".join(read.pieces()) == array.tobytes()


def test_blobs_are_named_by_layer_and_number(tmp_path):
    names = ["conv1/bn", "../escape", "ünï", "a b", "x" * 300]
    ckpt = opened(tmp_path, net("tiny", **dict.fromkeys(names, ("Scale", BIAS, BIAS)), relu=("ReLU",)))
    assert list(ckpt) == [f"{name}/{number}" for name in names for number in (0, 1)]
    assert (ckpt.metadata, ckpt.framework) == ({"name": "tiny"}, "caffe")


@cache
def old(kind):
    """Return layers as Caffe wrote them before 2015, and before 2014, with shapes of four sizes."""
    made = messages()["Net"](name="old")
    layers = {"conv": (4, "conv", KERNEL, BIAS), "one": (39, "deconv", KERNEL[:1, :1], BIAS[:1])}
    layers["fc"] = (14, "innerproduct", KERNEL.reshape(4, 6), BIAS)
    for name, (number, word, *arrays) in layers.items():
        outer = made.layers.add()
        layer = outer.layer if kind == "V0" else outer
        layer.name, layer.type = name, word if kind == "V0" else number
        layer.blobs.extend(blob(array, legacy=True) for array in arrays)
    return made


@pytest.mark.parametrize("kind", ["V0", "V1"])
def test_layers_of_old_files_have_the_shapes_that_they_have_today(tmp_path, kind):
    ckpt = opened(tmp_path, old(kind))
    assert shapes(ckpt) == {
        **{"conv/0": (2, 3, 2, 2), "conv/1": (2,), "one/0": (1, 1, 2, 2), "one/1": (1,)},
        **{"fc/0": (4, 6), "fc/1": (2,)},
    }
    assert ckpt["fc/0"].read().tolist() == KERNEL.reshape(4, 6).tolist()


def layer(name, *blobs):
    """Return the bytes of a network with one layer of these blobs, each given as bytes."""
    body = b"\x0a" + varint.encode(len(name)) + name
    return around(body + b"".join(b"\x3a" + varint.encode(len(each)) + each for each in blobs))


def around(body):
    """Return the bytes of a network with one layer, given as bytes."""
    return b"\xa2\x06" + varint.encode(len(body)) + body


def test_numbers_in_several_pieces_are_joined(tmp_path):
    """Protobuf allows a packed list to be continued."""
    shape = b"\x3a\x03\x0a\x01\x04"
    ckpt = opened(tmp_path, layer(b"b", shape + 2 * (b"\x2a\x08" + BIAS.tobytes())))
    assert ckpt["b/0"].read().tolist() == [0, 1, 0, 1]
    assert b"".join(ckpt["b/0"].pieces()) == 2 * BIAS.tobytes()


def test_layers_say_how_their_blobs_lie(tmp_path):
    made = net(fc=("InnerProduct", KERNEL.reshape(4, 6)), bn=("BatchNorm", BIAS), other=("BatchNorm", BIAS))
    made.layer[0].inner_product_param.transpose = True
    made.layer[1].batch_norm_param.eps = 0.5
    made.layer[2].batch_norm_param.moving_average_fraction = 0.9
    opened(tmp_path, made)
    assert Caffe().arrangements(tmp_path / "a.caffemodel") == {
        "fc/0": Arrangement(False),
        "bn/0": Arrangement(epsilon=0.5),
        "other/0": Arrangement(epsilon=1e-5),
    }


def test_bytes_decide_whatever_the_name_is(tmp_path):
    (tmp_path / "a.bin").write_bytes(net(conv=("Convolution", KERNEL)).SerializeToString())
    assert registry.find(tmp_path / "a.bin").NAME == "caffe"
    (tmp_path / "a.bin").write_bytes(net(a=("ReLU",), b=("ReLU",), c=("Scale", BIAS)).SerializeToString())
    assert registry.find(tmp_path / "a.bin").NAME == "caffe"
    named_twice = net().SerializeToString() + net(conv=("Convolution", KERNEL)).SerializeToString()
    without_numbers = layer(b"a", b"\x3a\x03\x0a\x01\x04"), layer(b"a", b"\x2d" + bytes(4))
    for content in (net(relu=("ReLU",)).SerializeToString(), named_twice, *without_numbers):
        (tmp_path / "b.bin").write_bytes(content)
        with pytest.raises(FormatError, match="not a checkpoint"):
            registry.find(tmp_path / "b.bin")
    assert not Caffe().recognises(tmp_path)
    (tmp_path / "c.caffemodel").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(FormatError, match="git lfs pull"):
        registry.find(tmp_path / "c.caffemodel")


def test_a_graph_of_tensorflow_is_refused_by_its_first_field(tmp_path, monkeypatch):
    graph = MetaGraphDef()
    graph.meta_info_def.tensorflow_version = "2.21.0"
    for number in range(1000):
        graph.graph_def.node.add(name=f"layer_{number}/add", op="AddV2")
    (tmp_path / "a.meta").write_bytes(graph.SerializeToString())
    reads, piece = [], CheckpointFile.piece
    monkeypatch.setattr(CheckpointFile, "piece", lambda *read: reads.append(read) or piece(*read))
    assert not model.is_model(CheckpointFile(tmp_path / "a.meta"))
    assert len(reads) < 5


def test_what_is_cut_off_is_refused_or_has_fewer_layers(tmp_path):
    whole = net(conv=("Convolution", KERNEL, BIAS), fc=("InnerProduct", BIAS)).SerializeToString()
    read = set()
    for size in range(len(whole)):
        try:
            read.add(tuple(opened(tmp_path, whole[:size])))
        except CkptError as error:
            assert "a.caffemodel" in str(error)
    assert read == {(), ("conv/0", "conv/1")}


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda made: made.shape.dim.append(2), r"a/0 is declared as float32 \[2, 2\], 16 bytes, but 8 are"),
        (lambda made: made.shape.dim.append(-2), "a/0 has the impossible shape"),
        (lambda made: made.shape.dim.extend([1 << 40] * 3), "a/0 has the impossible shape"),
        (lambda made: made.shape.dim.extend([0] * 40), "a/0 has the impossible shape"),
        (lambda made: made.double_data.append(1), "contains its numbers twice"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path, change, message):
    made = net(a=("Scale", BIAS))
    change(made.layer[0].blobs[0])
    with pytest.raises(CorruptCheckpoint, match=rf"a\.caffemodel.*{message}"):
        opened(tmp_path, made)


@pytest.mark.parametrize(
    "content, message",
    [
        (b"\x90\x03\x01", "is not a model of Caffe: no known field begins at byte 0"),
        (b"\x08\x01", "is not a model of Caffe: no known field begins at byte 0"),
        (around(b"\x08\x01"), "expected a name at byte 3"),
        (layer(b"n" * 101), "expected a name at byte 3"),
        (around(b"\x38\x01"), "expected a blob at byte 3"),
        (layer(b"a", b"\x3a\x05\x0d\0\0\0\0"), "expected sizes at byte 10"),
        (layer(b"a", b"\x3a\x68\x0a\x66" + bytes(102)), "expected sizes at byte 10"),
        (layer(b"a", b"\x3a\x03\x0a\x01\x80"), "sizes at byte 10 are damaged"),
    ],
)
def test_fields_of_another_kind_and_long_ones_are_damaged(tmp_path, monkeypatch, content, message):
    monkeypatch.setattr(model, "NAME_LIMIT", 100)
    with pytest.raises(CorruptCheckpoint, match=rf"a\.caffemodel.*{message}"):
        opened(tmp_path, content)


def test_numbers_in_several_pieces_of_a_file_that_changes_are_not_given(tmp_path):
    ckpt = opened(tmp_path, layer(b"b", b"\x3a\x03\x0a\x01\x04" + 2 * (b"\x2a\x08" + BIAS.tobytes())))
    pieces = ckpt["b/0"].pieces()
    assert [bytes(next(pieces)) for _ in range(2)] == [BIAS.tobytes()] * 2
    (tmp_path / "a.caffemodel").write_bytes(b"")
    with pytest.raises(CorruptCheckpoint, match=r"a\.caffemodel changed while it was read"):
        next(pieces)


def test_two_layers_of_one_name_and_an_empty_file_are_refused(tmp_path):
    made = net(a=("Scale", BIAS))
    made.layer.add(name="a", type="Scale").blobs.append(blob(BIAS))
    with pytest.raises(FormatError, match="two layers with blobs are named a"):
        opened(tmp_path, made)
    with pytest.raises(CorruptCheckpoint, match="is empty"):
        opened(tmp_path, b"")


def test_what_is_not_read_is_left_out_and_named(tmp_path):
    made = net(a=("Scale", BIAS, BIAS))
    made.layer[0].blobs[0].ClearField("data")
    made.layer[0].blobs[0].raw_type, made.layer[0].blobs[0].raw_data = 3, bytes(8)
    ckpt = opened(tmp_path, made)
    assert (list(ckpt), ckpt.left_out) == (["a/1"], ("a/0 (has raw numbers of type 3: not supported)",))
    ckpt = opened(tmp_path, layer(b"a", b"\x2d" + bytes(4)))
    assert ckpt.left_out == ("a/0 (each number in a separate field: not supported)",)


def test_a_file_of_countless_fields_is_refused_soon(tmp_path, monkeypatch):
    monkeypatch.setattr(model, "FIELD_LIMIT", 1000)
    begun = time.monotonic()
    with pytest.raises(FormatError, match="more than 1,000 fields"):
        opened(tmp_path, b"\x38\x01" * 1_000_000)
    assert time.monotonic() - begun < 1
