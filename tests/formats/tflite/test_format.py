"""TensorFlow Lite: its converter's files are read without TensorFlow, codes with its interpreter's values."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conformance import SHAPES, ReadingTests, numbers
from tflite_files import buffer, model, of_tensors, packed, schema, tensor

from ckpttool import checkpoint
from ckpttool.core.dtypes import BY_NAME, STRING
from ckpttool.core.errors import CorruptCheckpoint, FormatError
from ckpttool.core.tensors import Tensor
from ckpttool.formats.reading import limits
from ckpttool.formats.reading.data_file import CheckpointFile
from ckpttool.formats.tflite import values
from ckpttool.formats.tflite.format import Tflite
from ckpttool.verbs.convert import plan_convert

HELD = [BY_NAME[name] for name in sorted(Tflite.HOLDS)]
INT8, INT4 = 9, 17
CONVERTER = Path(__file__).parents[1] / "tflite_converter.py"


class TestTflite(ReadingTests):
    name = "tflite"
    suffix = ".tflite"
    checksums = False

    def save(self, tensors, path, overwrite):
        path.write_bytes(of_tensors(tensors))

    test_every_cut_is_found = None  # in test_model: the builder's padding at the end of a file is not damage


@pytest.mark.parametrize("dtype", HELD, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_every_type_is_read(tmp_path, dtype, shape):
    array = numbers(dtype, shape)
    (tmp_path / "a.tflite").write_bytes(of_tensors({"a": Tensor.of("a", array, dtype)}))
    read = checkpoint.open(tmp_path / "a.tflite")["a"]
    assert (read.shape, read.dtype, read.read().tolist()) == (shape, dtype, array.tolist())
    if dtype is not STRING:
        assert b"".join(read.pieces()) == array.astype(dtype.numpy).tobytes()


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    """Write a network as its converter does: with floats, and with 8-bit codes."""
    folder = tmp_path_factory.mktemp("lite")
    subprocess.run([sys.executable, CONVERTER, str(folder)], check=True, capture_output=True)
    return folder


@pytest.mark.parametrize("name", ["float", "int8"])
def test_constants_are_those_that_the_interpreter_has(converted, name):
    opened = checkpoint.open(converted / f"{name}.tflite")
    assert {4, 2} <= {len(each.shape) for each in opened.values()}
    with np.load(converted / f"{name}.npz") as expected:
        for key, each in opened.items():
            np.testing.assert_array_equal(each.read(), expected[key], key)
            assert b"".join(each.pieces()) == each.read().tobytes()
    assert opened.metadata["min_runtime_version"]


def test_codes_are_near_to_what_was_quantised_and_how_is_told(converted):
    opened = checkpoint.open(converted / "int8.tflite")
    (kernel,) = (each for each in opened.values() if each.shape == (8, 3, 3, 3))
    assert str(kernel.dtype) == "float32"
    np.testing.assert_allclose(kernel.read().transpose(1, 2, 3, 0), np.load(converted / "kernel.npy"), atol=0.02)
    told = json.loads(opened.metadata[f"quantization.{kernel.name}"])
    assert (told["dtype"], told["axis"], len(told["scales"]), set(told["zero_points"])) == ("int8", 0, 8, {0})


@pytest.mark.parametrize("kind, codes", [(INT8, np.arange(-6, 6, dtype=np.int8)), (INT4, np.arange(-6, 6))])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_scales_lie_along_an_axis(tmp_path, monkeypatch, kind, codes, axis):
    monkeypatch.setattr(values, "STEP", 4)  # pieces start within a row
    shape = (2, 2, 3)
    scales = np.arange(1, shape[axis] + 1, dtype=np.float32) / 4
    raw = codes.tobytes() if kind == INT8 else bytes((b & 15) | (c & 15) << 4 for b, c in codes.reshape(-1, 2).tolist())
    listed = tensor("w", shape, kind, 1, scales, range(shape[axis]), axis)
    (tmp_path / "a.tflite").write_bytes(packed(model([listed], [buffer(raw)])))
    along = [-1 if each == axis else 1 for each in range(3)]
    expected = (codes.reshape(shape) - np.arange(shape[axis]).reshape(along)) * scales.reshape(along)
    np.testing.assert_array_equal(checkpoint.open(tmp_path / "a.tflite")["w"].read(), expected)


def test_names_that_two_tensors_have_are_told_apart(tmp_path):
    one, two = np.float32(1).tobytes(), np.float32(2).tobytes()
    listed = [tensor("w", (), 0, 1), tensor("w", (), 0, 2), tensor("w", (), 0, 1), tensor("", (), 0, 2)]
    made = model(listed, [buffer(one), buffer(two)])
    inner = schema().SubGraphT()
    inner.name, inner.tensors = "body", [tensor("w", (), 0, 2), tensor("x", (1,), 0, 0)]
    made.subgraphs.append(inner)
    (tmp_path / "a.tflite").write_bytes(packed(made))
    opened = checkpoint.open(tmp_path / "a.tflite")
    assert {name: float(each.read()) for name, each in opened.items()} == {
        **{"w": 1, "w_1": 2, "tensor3": 2, "body/w": 2}
    }


def test_what_is_not_read_is_left_out_and_named(tmp_path):
    sparse, own = tensor("s", (1,), 0, 1), tensor("b", (1,), INT8, 2)
    sparse.sparsity = schema().SparsityParametersT()
    own.quantization = schema().QuantizationParametersT()
    own.quantization.detailsType, own.quantization.details = 1, schema().CustomQuantizationT()
    made = model([sparse, own, tensor("t", (4,), 19, 3)], [buffer(bytes(4)), buffer(b"1"), buffer(b"1")])
    (tmp_path / "a.tflite").write_bytes(packed(made))
    opened = checkpoint.open(tmp_path / "a.tflite")
    assert (list(opened), opened.left_out) == (
        [],
        (
            "s (is sparse: not supported)",
            "b (is quantised by a custom method: not supported)",
            "t (has type 19, INT2: not supported)",
        ),
    )


@pytest.mark.parametrize(
    "raw",
    [
        b"\2\0\0\0",
        b"\1\0\0\0" + bytes(7),
        b"\1\0\0\0\x0b\0\0\0\x0e\0\0\0ab",
        b"\1\0\0\0\x0c\0\0\0\x40\0\0\0ab",
        b"\1\0\0\0\x0c\0\0\0\x0b\0\0\0ab",
    ],
)
def test_texts_that_lost_their_places_are_damaged(tmp_path, raw):
    (tmp_path / "a.tflite").write_bytes(packed(model([tensor("t", (1,), 5, 1)], [buffer(raw)])))
    with pytest.raises(CorruptCheckpoint, match=r"t has . texts in"):
        checkpoint.open(tmp_path / "a.tflite")["t"].read()


def test_codes_of_a_scalar_and_texts_without_a_letter_are_read(tmp_path):
    listed = [tensor("w", (), INT8, 1, (0.5,), (3,)), tensor("t", (2,), 5, 2)]
    raw = b"\2\0\0\0\x10\0\0\0\x10\0\0\0\x11\0\0\0a"
    (tmp_path / "a.tflite").write_bytes(packed(model(listed, [buffer(b"\7"), buffer(raw)])))
    opened = checkpoint.open(tmp_path / "a.tflite")
    assert (float(opened["w"].read()), opened["t"].read().tolist()) == (2.0, [b"", b"a"])


def test_codes_and_texts_of_a_file_that_changes_are_not_given(tmp_path, monkeypatch):
    path, stream = tmp_path / "a.tflite", CheckpointFile.stream
    raw = b"\1\0\0\0\x0c\0\0\0\x0d\0\0\0a"
    content = packed(
        model([tensor("w", (), INT8, 1, (0.5,), (3,)), tensor("t", (1,), 5, 2)], [buffer(b"\7"), buffer(raw)])
    )

    def read_and_change(self, *where):
        yield from stream(self, *where)
        path.write_bytes(b"")

    monkeypatch.setattr(CheckpointFile, "stream", read_and_change)
    for name in ("w", "t"):
        path.write_bytes(content)
        opened = checkpoint.open(path)
        with pytest.raises(CorruptCheckpoint, match=r"a\.tflite changed while it was read"):
            opened[name].read()


def test_kernels_go_to_keras_as_they_lie_there(tmp_path):
    from ckpttool.runtime.configure import tensorflow

    tensorflow()
    import keras
    from keras import layers

    image = [layers.Conv2D(6, 3, name="conv"), layers.DepthwiseConv2D(3, depth_multiplier=2, name="deep")]
    ends = [
        layers.Conv2DTranspose(4, 2, name="up"),
        layers.Flatten(),
        *(layers.Dense(25, name=n) for n in ("low", "top")),
    ]
    keras.Sequential([keras.Input((8, 8, 3)), *image, *ends]).save(tmp_path / "net.keras")
    like = checkpoint.open(tmp_path / "net.keras")
    draw = np.random.default_rng(0).normal
    arrays = {name: draw(size=tensor.shape).astype("f") for name, tensor in like.items()}
    lite = {
        "conv/kernel": arrays["conv/kernel"].transpose(3, 0, 1, 2),
        "deep/kernel": arrays["deep/kernel"].reshape(1, 3, 3, 12),
        "up/kernel": arrays["up/kernel"].transpose(2, 0, 1, 3),
        **{f"{name}/kernel": arrays[f"{name}/kernel"].T for name in ("low", "top")},
    }
    lite |= {name: array for name, array in arrays.items() if name.endswith("bias")}
    tensors = {f"net/{name}": Tensor.of(f"net/{name}", np.ascontiguousarray(array)) for name, array in lite.items()}
    (tmp_path / "net.tflite").write_bytes(of_tensors(tensors))
    plan_convert(tmp_path / "net.tflite", "keras", like=tmp_path / "net.keras").write(tmp_path / "out.keras")
    found = checkpoint.open(tmp_path / "out.keras")
    for name, array in arrays.items():
        assert np.array_equal(found[name].read(), array), name


def test_tensors_that_are_the_same_bytes_over_and_over_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(limits, "UNPACKED_LIMIT", 1000)
    monkeypatch.setattr(limits, "RATIO_LIMIT", 3)
    for count in (3, 4):
        tensors = [tensor(f"w{number}", (100,), 0, 1) for number in range(count)]
        made = model(tensors, [buffer(bytes(400))])
        (tmp_path / f"{count}.tflite").write_bytes(packed(made))
    assert len(checkpoint.open(tmp_path / "3.tflite")) == 3
    with pytest.raises(FormatError, match="its tensors repeat 400 bytes to 1600"):
        checkpoint.open(tmp_path / "4.tflite")


def test_a_file_is_known_by_its_identifier_and_a_folder_or_a_short_file_is_not(tmp_path):
    (tmp_path / "a").write_bytes(bytes(4) + b"TFL3")
    (tmp_path / "b").write_bytes(bytes(4) + b"TFL")
    (tmp_path / "c").write_bytes(bytes(4) + b"TFL2" + bytes(99))
    assert [Tflite().recognises(tmp_path / name) for name in ("a", "b", "c", "absent", ".")] == [True, *[False] * 4]
