"""TensorFlow as the reference: what it writes is read here, what is written here it reads, bit for bit."""

import ml_dtypes
import numpy as np
import pytest
from conformance import SHAPES, numbers, tensors_of

from ckpttool import checkpoint
from ckpttool.core.dtypes import BY_NAME, DTYPES
from ckpttool.core.tensors import Tensor
from ckpttool.formats.tensorflow.bundle import Bundle
from ckpttool.formats.tensorflow.prefix import record_checkpoint, recorded_checkpoint

QUANTISED = [d for d in DTYPES if d.name.startswith("q")]
DIRECT = [d for d in DTYPES if d.itemsize and d not in QUANTISED] + [BY_NAME["string"]]


@pytest.fixture(scope="module")
def tf():
    return pytest.importorskip("tensorflow")


def save_with_tensorflow(tf, prefix, tensors):
    names = list(tensors)
    tf.raw_ops.SaveV2(
        prefix=str(prefix), tensor_names=names, shape_and_slices=[""] * len(names), tensors=list(tensors.values())
    )


def restore_with_tensorflow(tf, prefix, name, dtype):
    (tensor,) = tf.raw_ops.RestoreV2(
        prefix=str(prefix), tensor_names=[name], shape_and_slices=[""], dtypes=[tf.dtypes.DType(dtype.number)]
    )
    if dtype in QUANTISED:
        tensor = tf.bitcast(tensor, tf.as_dtype(dtype.numpy_name))
    return np.asarray(tensor.numpy(), dtype.numpy)


def in_tensorflow(tf, dtype, array):
    if dtype in QUANTISED:
        return tf.bitcast(tf.constant(array), tf.dtypes.DType(dtype.number))
    return tf.constant(array, tf.dtypes.DType(dtype.number), shape=array.shape)


def random_bits(dtype, shape, seed=1):
    """Return an array of random bits: NaNs with payloads, denormals, negative zeros."""
    if dtype.name in ("string", "bool", "int4", "uint4"):
        return numbers(dtype, shape)
    raw = np.random.default_rng(seed).bytes(int(np.prod(shape)) * dtype.itemsize)
    return np.frombuffer(raw, dtype.numpy).reshape(shape)


@pytest.mark.parametrize("dtype", DIRECT + QUANTISED, ids=str)
def test_both_ways_for_every_dtype_and_shape(tf, tmp_path, dtype):
    arrays = {f"t{len(shape)}": random_bits(dtype, shape) for shape in SHAPES}
    save_with_tensorflow(tf, tmp_path / "theirs", {n: in_tensorflow(tf, dtype, a) for n, a in arrays.items()})
    Bundle().save({n: Tensor.of(n, a, dtype) for n, a in arrays.items()}, tmp_path / "ours")
    for suffix in (".index", ".data-00000-of-00001"):
        assert (tmp_path / f"ours{suffix}").read_bytes() == (tmp_path / f"theirs{suffix}").read_bytes()
    for name, array in arrays.items():
        read = Bundle().open(tmp_path / "theirs")[name].read()
        restored = restore_with_tensorflow(tf, tmp_path / "ours", name, dtype)
        assert (read.shape, read.dtype, restored.shape) == (array.shape, array.dtype, array.shape)
        if dtype.itemsize:
            assert read.tobytes() == array.tobytes() == restored.tobytes()
        else:
            assert read.tolist() == array.tolist() == restored.tolist()


def test_an_index_of_several_blocks_is_the_same(tf, tmp_path):
    rng = np.random.default_rng(3)
    arrays = {f"scope_{i // 40}/{rng.bytes(30).hex()}/kernel": np.float32(i) for i in range(4000)}
    arrays["x" * 600_000] = np.float32(-1)
    save_with_tensorflow(tf, tmp_path / "theirs", {name: tf.constant(value) for name, value in arrays.items()})
    Bundle().save(tensors_of(**arrays), tmp_path / "ours")
    theirs = (tmp_path / "theirs.index").read_bytes()
    assert len(theirs) > 3 * 262_144
    assert (tmp_path / "ours.index").read_bytes() == theirs


def test_the_python_reader_lists_and_reads_what_is_written(tf, tmp_path):
    arrays = {"hidden1/kernel": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.array([1.5], ml_dtypes.bfloat16)}
    checkpoint.save(arrays, tmp_path / "x.ckpt")
    reader = tf.train.load_checkpoint(str(tmp_path / "x.ckpt"))
    assert reader.get_variable_to_shape_map() == {"hidden1/kernel": [2, 3], "b": [1]}
    assert reader.get_tensor("hidden1/kernel").tolist() == arrays["hidden1/kernel"].tolist()
    assert reader.get_tensor("b").tolist() == [1.5]


def test_tensorflow_reads_the_old_and_then_the_new_of_an_overwrite(tf, tmp_path):
    for value in (1.0, 2.0, 3.0):
        checkpoint.save({"a": np.array([value], np.float32)}, tmp_path / "x.ckpt", overwrite=True)
        assert tf.train.load_checkpoint(str(tmp_path / "x.ckpt")).get_tensor("a").tolist() == [value]


def test_partitioned_shapes_of_all_kinds(tf, tmp_path):
    whole = np.arange(2 * 6 * 8, dtype=np.float32).reshape(2, 6, 8)
    specs = {"2 6 8 0,2:0,6:0,3": whole[..., :3], "2 6 8 0,2:0,6:3,5": whole[..., 3:]}
    tf.raw_ops.SaveV2(
        prefix=str(tmp_path / "x"),
        tensor_names=["part\x00/w"] * 2,
        shape_and_slices=list(specs),
        tensors=list(specs.values()),
    )
    assert Bundle().open(tmp_path / "x")["part\x00/w"].read().tolist() == whole.tolist()


def test_a_variable_cut_on_two_axes(tf, tmp_path):
    whole = np.arange(200 * 70, dtype=np.int64).reshape(200, 70)
    cuts = [(r, c) for r in ((0, 65), (65, 135)) for c in ((0, 1), (1, 69))]
    tf.raw_ops.SaveV2(
        prefix=str(tmp_path / "x"),
        tensor_names=["w"] * 4,
        shape_and_slices=[f"200 70 {r[0]},{r[1]}:{c[0]},{c[1]}" for r, c in cuts],
        tensors=[whole[r[0] : sum(r), c[0] : sum(c)] for r, c in cuts],
    )
    assert Bundle().open(tmp_path / "x")["w"].read().tolist() == whole.tolist()
    checkpoint.save(checkpoint.open(tmp_path / "x"), tmp_path / "joined")
    assert tf.train.load_checkpoint(str(tmp_path / "joined")).get_tensor("w").tolist() == whole.tolist()


def test_variants_are_copied_so_that_tensorflow_reads_them(tf, tmp_path):
    rows = tf.raw_ops.TensorListFromTensor(tensor=tf.constant([[1.0, 2.0], [3.0, 4.0]]), element_shape=[2])
    save_with_tensorflow(tf, tmp_path / "x", {"rows": rows, "a": tf.constant(1.0)})
    checkpoint.save(checkpoint.open(tmp_path / "x"), tmp_path / "y")
    (copied,) = tf.raw_ops.RestoreV2(
        prefix=str(tmp_path / "y"), tensor_names=["rows"], shape_and_slices=[""], dtypes=[tf.variant]
    )
    stacked = tf.raw_ops.TensorListStack(input_handle=copied, element_shape=[2], element_dtype=tf.float32)
    assert stacked.numpy().tolist() == [[1, 2], [3, 4]]


def test_the_state_file_is_understood(tf, tmp_path):
    checkpoint.save({"a": np.zeros(1, np.float32)}, tmp_path / "x.ckpt-3")
    record_checkpoint(tmp_path, tmp_path / "x.ckpt-3")
    assert tf.train.latest_checkpoint(str(tmp_path)) == str(tmp_path / "x.ckpt-3")
    tf.compat.v1.train.update_checkpoint_state(str(tmp_path), "x.ckpt-3", ["x.ckpt-2", "x.ckpt-3"])
    assert recorded_checkpoint(tmp_path) == tmp_path / "x.ckpt-3"


def test_numbers_near_the_limits_of_a_dtype_cast_as_tensorflow_casts_them(tf):
    from ckpttool.core.casting import cast_array

    values = np.array([65504, 1e-8, -0.0, 1 / 3, np.inf, -np.inf, np.nan], np.float32)
    for name in ("float16", "bfloat16"):
        ours = cast_array("t", values, BY_NAME[name])
        assert ours.tobytes() == tf.cast(values, getattr(tf, name)).numpy().tobytes()
