"""ONNX models: those written by the onnx package are read without it, and nothing outside of a model's folder is."""

import os
import random
import re

import numpy as np
import onnx
import pytest
from conformance import SHAPES, ReadingTests, numbers
from onnx import TensorProto, helper, numpy_helper

from ckpttool import checkpoint
from ckpttool.core.dtypes import BY_NAME, STRING
from ckpttool.core.errors import CkptError, CorruptCheckpoint, FormatError, MissingFile
from ckpttool.formats.onnx.format import Onnx
from ckpttool.formats.onnx.values import NUMBERED

NUMBER_OF = {name: number for number, name in NUMBERED.items()}
HELD = [BY_NAME[name] for name in NUMBERED.values()]


def model(*tensors, nodes=(), sparse=(), **texts):
    graph = helper.make_graph(list(nodes), "graph", [], [], list(tensors), sparse_initializer=list(sparse))
    made = helper.make_model(graph)
    helper.set_model_props(made, texts)
    return made


def saved(path, *tensors, **more):
    path.write_bytes(model(*tensors, **more).SerializeToString())
    return path


def listed(name, array, dtype):
    """A tensor whose numbers are in a list of their type, as written by `make_tensor`."""
    values = array.ravel().tolist()
    return helper.make_tensor(name, NUMBER_OF[dtype.name], array.shape, values)


def raw(name, array):
    return numpy_helper.from_array(np.asarray(array), name)


def in_onnx(tensor):
    array = tensor.read()
    return listed(tensor.name, array, STRING) if tensor.dtype is STRING else raw(tensor.name, array)


class TestOnnx(ReadingTests):
    name = "onnx"
    suffix = ".onnx"
    checksums = False

    def save(self, tensors, path, overwrite):
        saved(path, *map(in_onnx, tensors.values()))

    @pytest.mark.parametrize("form", [raw, listed])
    @pytest.mark.parametrize("shape", SHAPES, ids=str)
    @pytest.mark.parametrize("dtype", HELD, ids=str)
    def test_what_onnx_writes_is_read(self, path, dtype, shape, form):
        array = numbers(dtype, shape)
        tensor = raw("a/b", array) if form is raw and dtype is not STRING else listed("a/b", array, dtype)
        saved(path, raw("before", np.zeros(3)), tensor)
        read = self.format.open(path)["a/b"]
        back = read.read()
        assert (read.dtype, back.dtype, back.shape, back.tolist()) == (dtype, array.dtype, shape, array.tolist())
        if dtype is not STRING:
            assert b"".join(read.pieces()) == array.tobytes()


@pytest.mark.parametrize("dtype", [dtype for dtype in HELD if dtype.numpy_name[0] in "iu" and dtype.itemsize], ids=str)
def test_the_least_and_the_greatest_number(tmp_path, dtype):
    limits = np.array([np.iinfo(dtype.numpy).min, np.iinfo(dtype.numpy).max], dtype.numpy)
    opened = checkpoint.open(saved(tmp_path / "x.onnx", listed("typed", limits, dtype), raw("raw", limits)))
    assert opened["typed"].read().tolist() == opened["raw"].read().tolist() == limits.tolist()


def test_it_is_known_by_its_bytes(tmp_path):
    opened = checkpoint.open(saved(tmp_path / "weights.bin", raw("a", np.arange(3)), author="me"))
    assert (opened.format, opened.metadata, opened["a"].read().tolist()) == ("onnx", {"author": "me"}, [0, 1, 2])


def test_a_folder_is_no_model(tmp_path):
    (tmp_path / "x.onnx").mkdir()
    assert not Onnx().recognises(tmp_path / "x.onnx")


def test_a_list_of_numbers_is_not_read_from_a_file_that_changed(tmp_path):
    opened = checkpoint.open(saved(tmp_path / "x.onnx", listed("a", VALUES["b"], BY_NAME["int64"])))
    os.utime(tmp_path / "x.onnx", ns=(1, 1))
    with pytest.raises(CorruptCheckpoint, match=r"^\S+ changed while it was read"):
        opened["a"].read()


def test_nothing_is_written(tmp_path):
    with pytest.raises(FormatError, match=r"x\.onnx: models of ONNX are read only; `to` safetensors"):
        checkpoint.save({"a": np.zeros(1)}, tmp_path / "x.onnx", format="onnx")


def test_constants_in_nodes_and_inner_graphs_are_left_out_and_named(tmp_path):
    constant = helper.make_node("Constant", [], ["scale"], value=raw("value", np.ones(2)))
    inner = helper.make_graph([], "inner", [], [], [raw("hidden", np.ones(2))])
    branch = helper.make_node("If", ["cond"], ["chosen"], then_branch=inner, else_branch=inner)
    plain = helper.make_node("Relu", ["a"], ["b"])
    opened = checkpoint.open(saved(tmp_path / "x.onnx", raw("a", np.ones(2)), nodes=[constant, plain, branch]))
    assert (list(opened), sorted(set(opened.left_out))) == (["a"], ["chosen", "scale"])


def external(path, values, **options):
    onnx.save_model(
        model(*(raw(name, array) for name, array in values.items())),
        path,
        save_as_external_data=True,
        size_threshold=0,
        convert_attribute=False,
        **options,
    )
    return path


VALUES = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.arange(4), "flags": np.array([True, False])}


@pytest.mark.parametrize("one", [True, False])
def test_data_beside_the_model(tmp_path, one):
    external(tmp_path / "x.onnx", VALUES, all_tensors_to_one_file=one, location="x.data" if one else None)
    opened = checkpoint.open(tmp_path / "x.onnx")
    assert {name: tensor.read().tolist() for name, tensor in opened.items()} == {
        n: v.tolist() for n, v in VALUES.items()
    }
    checkpoint.save(opened, tmp_path / "y.safetensors")
    assert checkpoint.open(tmp_path / "y.safetensors")["b"].read().tolist() == [0, 1, 2, 3]


def outside(location, offset=None, length=None, nbytes=8):
    tensor = TensorProto(name="w", data_type=TensorProto.DOUBLE, dims=[nbytes // 8])
    tensor.data_location = TensorProto.EXTERNAL
    said = {"location": location, "offset": offset, "length": length}
    for key, value in said.items():
        if value is not None:
            tensor.external_data.add(key=key, value=value)
    return tensor


@pytest.fixture
def inner(tmp_path):
    """A folder with data in it, and data above it that must not be accessible."""
    (tmp_path / "inner" / "deep").mkdir(parents=True)
    for place in ("secret", "inner/w.data", "inner/deep/w.data"):
        (tmp_path / place).write_bytes(np.array([1.5, 2.5]).tobytes())
    return tmp_path / "inner"


@pytest.mark.parametrize("location", ["w.data", "deep/w.data", "./deep/w.data"])
def test_a_place_in_the_models_folder(inner, location):
    opened = checkpoint.open(saved(inner / "x.onnx", outside(location, "8", "8")))
    assert opened["w"].read().tolist() == [2.5]


@pytest.mark.parametrize(
    "location", ["../secret", "deep/../../secret", "/etc/passwd", "..", "", "C:\\x", "a\0b", "link"]
)
def test_a_place_outside_is_refused(inner, location):
    (inner / "link").symlink_to(inner.parent / "secret")
    with pytest.raises(FormatError, match="outside of its folder"):
        checkpoint.open(saved(inner / "x.onnx", outside(location)))


@pytest.mark.parametrize(
    ("place", "error", "says"),
    [
        (("none.data",), MissingFile, r"none\.data is missing: it contains w of x\.onnx"),
        (("deep",), FormatError, "deep is not a file"),
        (("w.data",), CorruptCheckpoint, "w has 8 bytes, but 16 are declared"),
        (("w.data", "16", "8"), CorruptCheckpoint, "w ends at byte 24, the file has 16"),
        (("w.data", "-8", "8"), CorruptCheckpoint, "'-8', expected a number"),
        (("w.data", "0", "8e0"), CorruptCheckpoint, "'8e0', expected a number"),
        (("w.data", "9" * 30, "8"), CorruptCheckpoint, "expected a number"),
    ],
)
def test_a_place_without_the_bytes_is_refused_where_it_is_read(inner, place, error, says):
    with pytest.raises(error, match=says):
        checkpoint.open(saved(inner / "x.onnx", outside(*place), raw("whole", np.ones(2))))["w"].read()
    if error is not FormatError:
        checked = {item.name: item.problem for item in Onnx().verify(inner / "x.onnx")}
        assert re.search(says, checked["w"])
        assert checked["whole"] is None


def tensor_of(**fields):
    return TensorProto(**({"name": "w", "data_type": TensorProto.FLOAT, "dims": [2]} | fields))


@pytest.mark.parametrize(
    ("tensor", "says"),
    [
        (tensor_of(raw_data=bytes(9)), "w is declared as float32 .2., 8 bytes, but 9 are there"),
        (tensor_of(raw_data=bytes(8), dims=[1 << 40]), "4398046511104 bytes, but 8 are there"),
        (tensor_of(float_data=[1.0], dims=[1 << 40]), "4398046511104 bytes, "),
        (tensor_of(raw_data=bytes(8), dims=[-2]), "impossible shape"),
        (tensor_of(raw_data=bytes(8), dims=[1 << 62, 1 << 62]), "impossible shape"),
        (tensor_of(raw_data=b"", dims=[0] + [1 << 62] * 2), "impossible shape"),
        (tensor_of(raw_data=bytes(8), dims=[1] * 65), "impossible shape"),
        (tensor_of(raw_data=bytes(8), name=""), "no name"),
        (tensor_of(raw_data=bytes(8), segment=TensorProto.Segment(begin=0, end=1)), "segment of a tensor"),
        (tensor_of(raw_data=bytes(8), float_data=[1.0, 2.0]), "several fields"),
        (tensor_of(raw_data=bytes(8), data_location=TensorProto.EXTERNAL), "several fields"),
        (tensor_of(int32_data=[1, 2]), "8 bytes, but 0 are there"),
        (tensor_of(data_type=TensorProto.STRING, raw_data=bytes(8)), "strings as raw bytes"),
        (tensor_of(data_type=TensorProto.STRING, string_data=[b"one"], dims=[3]), "6 bytes, but 5 are there"),
    ],
)
def test_a_tensor_that_is_not_what_it_says(tmp_path, tensor, says):
    with pytest.raises(CorruptCheckpoint, match=says):
        checkpoint.open(saved(tmp_path / "x.onnx", tensor))


@pytest.mark.parametrize(
    ("tensor", "says"),
    [
        (tensor_of(float_data=[1.0, 2.0, 3.0]), "3 numbers are there, its shape .2. needs 2"),
        (tensor_of(data_type=TensorProto.INT8, int32_data=[1, 300]), "the number 300 is out of range for int8"),
        (tensor_of(data_type=TensorProto.BFLOAT16, int32_data=[-1, 0]), "the number -1 is out of range for uint16"),
        (tensor_of(data_type=TensorProto.BOOL, int32_data=[0, 2]), "the number 2 is out of range for bool"),
        (tensor_of(data_type=TensorProto.UINT32, uint64_data=[0, 1 << 32]), "is out of range for uint32"),
        (tensor_of(data_type=TensorProto.BOOL, raw_data=b"\0\2"), "a bool that is neither 0 nor 1"),
    ],
)
def test_numbers_that_do_not_fit_are_found_when_they_are_read(tmp_path, tensor, says):
    path = saved(tmp_path / "x.onnx", tensor, raw("whole", np.ones(2)))
    opened = checkpoint.open(path)
    with pytest.raises(CorruptCheckpoint, match=says):
        opened["w"].read()
    assert [item.name for item in Onnx().verify(path) if item.problem] == ["w"]


@pytest.mark.parametrize("name", ["FLOAT8E4M3FNUZ", "FLOAT8E5M2FNUZ", "FLOAT4E2M1", "FLOAT8E8M0"])
def test_dtypes_that_no_checkpoint_has(tmp_path, name):
    tensor = tensor_of(data_type=getattr(TensorProto, name), raw_data=bytes(2))
    opened = checkpoint.open(saved(tmp_path / "x.onnx", tensor, raw("a", np.ones(1))))
    assert list(opened) == ["a"]
    assert re.fullmatch(rf"w [(]has dtype number \d+, {name}, which is not supported[)]", *opened.left_out)


def test_two_of_one_name_are_refused_and_sparse_ones_left_out(tmp_path):
    with pytest.raises(FormatError, match="two initializers are named a"):
        checkpoint.open(saved(tmp_path / "x.onnx", raw("a", np.ones(1)), raw("a", np.ones(2))))
    sparse = helper.make_sparse_tensor(raw("s", np.ones(1)), raw("i", np.zeros(1, np.int64)), [3])
    opened = checkpoint.open(saved(tmp_path / "x.onnx", raw("a", np.ones(1)), sparse=[sparse]))
    assert (list(opened), opened.left_out) == (["a"], ("s (a sparse initializer)",))


def test_a_pointer_of_git_lfs_is_said_to_be_one(tmp_path):
    (tmp_path / "x.onnx").write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(FormatError, match="git lfs pull"):
        checkpoint.open(tmp_path / "x.onnx")


def test_damaged_bytes_are_said_or_harmless(tmp_path):
    whole = saved(
        tmp_path / "x.onnx", *(raw(n, v) for n, v in VALUES.items()), listed("i", VALUES["b"], BY_NAME["int64"])
    )
    data, draw = whole.read_bytes(), random.Random(3)
    for _ in range(400):
        changed = bytearray(data)
        for _ in range(draw.randint(1, 4)):
            changed[draw.randrange(len(data))] = draw.randrange(256)
        whole.write_bytes(changed)
        try:
            for tensor in checkpoint.open(whole).values():
                tensor.read()
        except CkptError:
            pass
