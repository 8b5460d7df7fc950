"""llama.cpp files: those written by the gguf package are read without it; packed numbers equal the package's."""

import gguf
import numpy as np
import pytest
from conformance import SHAPES, ReadingTests, numbers

from ckpttool import checkpoint
from ckpttool.core.dtypes import BY_NAME
from ckpttool.formats.gguf.blocks import PACKED
from ckpttool.formats.gguf.format import Gguf

HELD = [BY_NAME[name] for name in sorted(Gguf.HOLDS)]
KINDS = [gguf.GGMLQuantizationType(number) for number in PACKED]


def saved(path, arrays, kinds=(), **texts):
    writer = gguf.GGUFWriter(path, "llama")
    for key, value in texts.items():
        writer.add_string(f"general.{key}", value)
    writer.add_array("tokenizer.ggml.tokens", ["a", "", "ünï"])
    writer.add_array("tokenizer.ggml.scores", [0.5, 1.5])
    writer.add_bool("general.quick", True)
    for name, array in arrays.items():
        if array.dtype.name == "bfloat16":
            writer.add_tensor(name, array.view(np.uint16), raw_dtype=gguf.GGMLQuantizationType.BF16)
        else:
            writer.add_tensor(name, array, raw_dtype=dict(kinds).get(name))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


class TestGguf(ReadingTests):
    name = "gguf"
    suffix = ".gguf"
    checksums = False

    def save(self, tensors, path, overwrite):
        saved(path, {name: np.asarray(tensor.read()) for name, tensor in tensors.items()})

    test_every_cut_is_found = (
        None  # in test_header: the package pads the end of a file, and cutting the padding off is not damage
    )


@pytest.mark.parametrize("dtype", [dtype for dtype in HELD if dtype.name != "bfloat16"], ids=str)
@pytest.mark.parametrize("shape", [shape for shape in SHAPES if shape], ids=str)
def test_numbers_are_read_in_the_order_of_numpy(tmp_path, dtype, shape):
    array = numbers(dtype, shape)
    tensor = checkpoint.open(saved(tmp_path / "a.gguf", {"a": array}))["a"]
    assert (tensor.shape, tensor.dtype, tensor.read().tolist()) == (shape, dtype, array.tolist())


def test_bfloat16_is_bfloat16(tmp_path):
    array = np.arange(6).reshape(2, 3).astype(BY_NAME["bfloat16"].numpy)
    tensor = checkpoint.open(saved(tmp_path / "a.gguf", {"a": array}))["a"]
    assert (str(tensor.dtype), tensor.read().tolist()) == ("bfloat16", array.tolist())


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_packed_numbers_are_unpacked_as_the_package_does(tmp_path, kind):
    block, nbytes = gguf.GGML_QUANT_SIZES[kind]
    raw = np.random.default_rng(0).integers(0, 256, (4, 3 * nbytes), np.uint8)
    path = saved(tmp_path / "a.gguf", {"w": raw, "b": np.ones(3, np.float32)}, {"w": kind})
    tensor = checkpoint.open(path)["w"]
    with np.errstate(all="ignore"):
        expected = gguf.quants.dequantize(raw, kind)
    assert (str(tensor.dtype), tensor.shape) == ("float32", (4, 3 * block))
    np.testing.assert_array_equal(tensor.read(), expected)
    assert b"".join(tensor.pieces()) == tensor.read().tobytes()


def test_what_is_packed_is_near_to_what_it_was(tmp_path):
    array = np.random.default_rng(1).normal(size=(8, 64)).astype(np.float32)
    kind = gguf.GGMLQuantizationType.Q8_0
    path = saved(tmp_path / "a.gguf", {"w": gguf.quants.quantize(array, kind)}, {"w": kind})
    assert np.abs(checkpoint.open(path)["w"].read() - array).max() < 0.02


def test_texts_are_kept_and_words_passed_over(tmp_path):
    ckpt = checkpoint.open(saved(tmp_path / "a.gguf", {"a": np.ones(2, np.float32)}, name="Tiny"))
    assert ckpt.metadata == {"general.architecture": "llama", "general.name": "Tiny", "general.quick": "true"}


def test_a_type_that_is_not_read_is_left_out_and_named(tmp_path):
    kind = gguf.GGMLQuantizationType.Q2_K
    raw = np.zeros((1, gguf.GGML_QUANT_SIZES[kind][1]), np.uint8)
    opened = Gguf().open(saved(tmp_path / "a.gguf", {"w": raw, "b": np.ones(3, np.float32)}, {"w": kind}))
    assert (list(opened), opened.left_out) == (["b"], ("w (has type 10, Q2_K: not supported)",))
