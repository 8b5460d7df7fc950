"""Version 1 checkpoints, written here by TensorFlow and only read by ckpttool."""

import numpy as np
import pytest
from conformance import SHAPES, ReadingTests, numbers, tensors_of
from crafted import built, table

from ckpttool import checkpoint
from ckpttool.core.dtypes import DTYPES, STRING
from ckpttool.core.errors import CorruptCheckpoint, FormatError, MissingFile
from ckpttool.core.tensors import Tensor
from ckpttool.formats.tensorflow.prefix import prefix_of
from ckpttool.formats.tensorflow.slices import FULL, encode_key
from ckpttool.formats.tensorflow.v1 import V1, files_of_version_1
from ckpttool.formats.wire.protos.saved_slices_pb2 import SavedTensorSlices

UNKNOWN = ("bfloat16", "qint16", "quint16", "uint32", "uint64", "float8_e5m2", "float8_e4m3fn", "int4", "uint4")
"""Dtypes that TensorFlow does not write in this format."""
HELD = [d for d in DTYPES if (d.itemsize or d is STRING) and d.name not in UNKNOWN]
GOLDEN = bytes.fromhex(
    "0000170a150a0f0a0174120412020802180322020a0012020801" + "00080f007400010101807f" + "120d0a017412020a001a043a020102"
)
"""The start of TensorFlow 2.21's file with `t`, int32 [1, 2]."""


def in_tensorflow(tf, dtype, array):
    if dtype.name.startswith("q"):
        return tf.bitcast(tf.constant(array), tf.dtypes.DType(dtype.number))
    return tf.constant(array, tf.dtypes.DType(dtype.number), shape=array.shape)


def save_with_tensorflow(path, tensors):
    import tensorflow as tf

    values = [in_tensorflow(tf, tensor.dtype, tensor.read()) for tensor in tensors.values()]
    tf.raw_ops.Save(filename=str(path), tensor_names=list(tensors), data=values)


class TestV1(ReadingTests):
    name = "v1"
    suffix = ".v1"

    def save(self, tensors, path, overwrite):
        save_with_tensorflow(path, tensors)

    test_no_tensors_at_all = None
    test_a_damaged_tensor_does_not_hide_the_others = None

    @pytest.mark.parametrize("shape", SHAPES, ids=str)
    @pytest.mark.parametrize("dtype", HELD, ids=str)
    def test_what_tensorflow_writes_is_read(self, path, dtype, shape):
        array = numbers(dtype, shape)
        save_with_tensorflow(path, tensors_of(before=np.zeros(3)) | {"a/b": Tensor.of("a/b", array, dtype)})
        read = V1().open(path)["a/b"]
        back = read.read()
        assert (read.dtype, back.dtype, back.shape) == (dtype, dtype.numpy, shape)
        assert back.tolist() == array.tolist()
        assert back.flags.writeable

    def test_the_bytes_are_those_that_are_known(self, path):
        self.save(tensors_of(t=np.array([1, 2], np.int32)), path, False)
        assert path.read_bytes().startswith(GOLDEN)

    def test_it_is_not_written(self, path):
        with pytest.raises(FormatError, match=r"read only; `to` bundle"):
            checkpoint.save(tensors_of(a=np.zeros(3)), path, format="v1")
        assert not path.exists()

    def test_every_flipped_bit_is_found(self, path):
        self.save(tensors_of(a=np.arange(5, dtype=np.int16), s=np.array([b"x"], object)), path, False)
        whole = path.read_bytes()
        for place in range(len(whole)):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
            assert not self._reads_well(path), place


def test_extreme_numbers_keep_their_bits(tmp_path):
    arrays = {
        "half": np.array([65504, -0.0, np.inf, 6e-8], np.float16),
        "float": np.frombuffer(np.random.default_rng(1).bytes(4000), np.float32),
        "low": np.array([-(2**63), 2**63 - 1], np.int64),
        "byte": np.array([-128, 127], np.int8),
        "word": np.array([0, 65535], np.uint16),
        "complex": np.array([1e300 - 1e-300j]),
    }
    save_with_tensorflow(tmp_path / "x", tensors_of(**arrays))
    for name, tensor in V1().open(tmp_path / "x").items():
        assert tensor.read().tobytes() == arrays[name].tobytes()


def test_several_files_and_slices_of_one_variable(tmp_path):
    """A sharded Saver writes the parts of a partitioned variable to the files of their devices."""
    import tensorflow as tf

    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session(config=v1.ConfigProto(device_count={"CPU": 2})) as session:
        whole = np.arange(28, dtype=np.float32).reshape(7, 4)
        for number, (start, stop) in enumerate(((0, 3), (3, 7))):
            with tf.device(f"/cpu:{number}"):
                part = v1.Variable(whole[start:stop], name=f"part_{number}", use_resource=False)
                part._set_save_slice_info(v1.Variable.SaveSliceInfo("rows", [7, 4], [start, 0], [stop - start, 4]))
        session.run(v1.global_variables_initializer())
        saver = v1.train.Saver(sharded=True, write_version=v1.train.SaverDef.V1)
        saver.save(session, str(tmp_path / "x.ckpt"), global_step=3)

    files = sorted(path.name for path in tmp_path.glob("x*of*"))
    assert files == ["x.ckpt-3-00000-of-00002", "x.ckpt-3-00001-of-00002"]
    for path in (tmp_path, tmp_path / "x.ckpt-3", tmp_path / files[1]):
        opened = checkpoint.open(path)
        assert (opened.format, opened.path) == ("v1", tmp_path / "x.ckpt-3")
        assert {name: tensor.read().tolist() for name, tensor in opened.items()} == {"rows": whole.tolist()}

    (tmp_path / files[0]).unlink()
    with pytest.raises(MissingFile, match=r"x\.ckpt-3-00000-of-00002 is missing: .* has 2 files"):
        checkpoint.open(tmp_path / files[1])


def test_tensorflow_agrees_on_the_values_and_reads_them_as_a_bundle(tmp_path):
    import tensorflow as tf

    arrays = {"hidden1/kernel": np.arange(6.0).reshape(2, 3), "global_step": np.array(7), "s": np.array([b"a"], object)}
    save_with_tensorflow(tmp_path / "x", tensors_of(**arrays))
    theirs = tf.train.load_checkpoint(str(tmp_path / "x"))
    checkpoint.save(checkpoint.open(tmp_path / "x"), tmp_path / "y.ckpt")
    copy = tf.train.load_checkpoint(str(tmp_path / "y.ckpt"))
    for name, tensor in checkpoint.open(tmp_path / "x").items():
        assert tensor.read().tolist() == np.asarray(theirs.get_tensor(name)).tolist() == copy.get_tensor(name).tolist()


def test_a_checkpoint_of_many_blocks_says_which_tensor_is_damaged(tmp_path):
    arrays = {f"w{i}": np.full(60000, i, np.float32) for i in range(8)}
    save_with_tensorflow(tmp_path / "x", tensors_of(**arrays))
    raw = bytearray((tmp_path / "x").read_bytes())
    raw[raw.index(np.full(9, 5, np.float32).tobytes())] ^= 1
    (tmp_path / "x").write_bytes(raw)
    problems = {checked.name: checked.problem for checked in V1().verify(tmp_path / "x")}
    assert list(problems) == list(arrays)
    assert problems["w1"] is None
    assert "w5 is damaged" in problems["w5"]
    assert "the checksum of a block" in problems["w5"]
    with pytest.raises(CorruptCheckpoint, match="w5 is damaged"):
        V1().open(tmp_path / "x")["w5"].read()


def test_a_graph_beside_it_is_found(tmp_path, new_network):
    network = new_network()
    with network.building():
        x, y, _ = network.inputs()
        network.classify(network.dense(x, 3, "outputs"), y)
        saver = network.v1.train.Saver(write_version=network.v1.train.SaverDef.V1)
        with network.v1.Session() as session:
            session.run(network.v1.global_variables_initializer())
            saver.save(session, str(tmp_path / "x.ckpt"), write_state=False)
    from ckpttool.verbs.layers import layer_rows
    from ckpttool.verbs.verify import verdict

    assert [(row["name"], row["output"]) for row in layer_rows(tmp_path / "x.ckpt")] == [("outputs", "outputs/Relu:0")]
    found = verdict(tmp_path / "x.ckpt")
    assert (found.format, found.tensors, found.ops > 10, found.holds) == ("v1", 2, True, True)


def crafted(tmp_path, change=lambda message: None, data=None):
    """Write a file with one float32 tensor, changed by the test, with `data` as its values."""
    listed = SavedTensorSlices()
    meta = listed.meta.tensor.add(name="w", type=1)
    meta.shape.SetInParent()
    for size in (2, 3):
        meta.shape.dim.add(size=size)
    meta.slice.add()
    change(listed.meta)
    stored = SavedTensorSlices()
    stored.data.name = "w"
    stored.data.data.float_val.append(np.arange(6, dtype="<f4").tobytes() if data is None else data)
    rows = [(b"", listed.SerializeToString()), (encode_key(b"w", (FULL,) * 2), stored.SerializeToString())]
    (tmp_path / "x").write_bytes(table(built(rows)))
    return tmp_path / "x"


def test_what_is_crafted_well_is_read(tmp_path):
    assert V1().open(crafted(tmp_path))["w"].read().tolist() == [[0, 1, 2], [3, 4, 5]]


def set_dtype(number):
    return lambda meta: setattr(meta.tensor[0], "type", number)


def set_size(size):
    return lambda meta: setattr(meta.tensor[0].shape.dim[0], "size", size)


def add_slice(start, length):
    def change(meta):
        for begin, size in ((start, length), (0, 3)):
            meta.tensor[0].slice[0].extent.add(start=begin, length=size)

    return change


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (set_dtype(20), FormatError, "w has dtype number 20 .resource., which is not supported"),
        (set_dtype(99), FormatError, "w has dtype number 99 .unknown."),
        (set_size(-1), CorruptCheckpoint, "w has the impossible shape"),
        (set_size(1 << 62), CorruptCheckpoint, "w has the impossible shape"),
        (lambda meta: setattr(meta.tensor[0].shape, "unknown_rank", True), CorruptCheckpoint, "impossible shape"),
        (lambda meta: meta.tensor[0].slice.add(), CorruptCheckpoint, "w cannot be joined: its slices overlap"),
        (
            lambda meta: meta.tensor[0].ClearField("slice"),
            CorruptCheckpoint,
            "w cannot be joined: its slices contain 0",
        ),
        (add_slice(1, 2), CorruptCheckpoint, "w cannot be joined: a slice from 1 of length 2 exceeds"),
        (lambda meta: setattr(meta.versions, "min_consumer", 2), FormatError, "version 2 and above, this one is 1"),
    ],
)
def test_a_list_that_cannot_be(tmp_path, change, error, words):
    with pytest.raises(error, match=words):
        V1().open(crafted(tmp_path, change))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"change": set_size(1 << 40)}, "6 elements are there, .* has 3298534883328"),
        ({"data": bytes(23)}, r"5.75 elements are there"),
        ({"data": b""}, "0 elements are there"),
        ({"change": set_dtype(3)}, "0 elements are there"),
        ({"change": set_dtype(7)}, "0 elements are there"),
        ({"change": add_slice(0, 2)}, "a slice of it is missing"),
    ],
)
def test_values_that_do_not_fit_are_refused_before_memory_is_taken(tmp_path, options, words):
    path = crafted(tmp_path, **options)
    with pytest.raises(CorruptCheckpoint, match=words):
        V1().open(path)["w"].read()
    assert words.split()[0] in next(checked.problem for checked in V1().verify(path))


def test_numbers_too_large_for_their_dtype_are_refused(tmp_path):
    listed, stored = SavedTensorSlices(), SavedTensorSlices()
    listed.meta.tensor.add(name="w", type=4).slice.add()
    stored.data.data.int_val.append(256)
    rows = [(b"", listed.SerializeToString()), (encode_key(b"w", ()), stored.SerializeToString())]
    path = tmp_path / "x"
    path.write_bytes(table(built(rows)))
    with pytest.raises(CorruptCheckpoint, match="w is damaged: a number is too large for uint8"):
        V1().open(path)["w"].read()


def test_what_the_list_leaves_out_is_found(tmp_path):
    path = crafted(tmp_path, lambda meta: meta.ClearField("tensor"))
    assert [checked.problem for checked in V1().verify(path)] == [
        f"{path}: w has a slice that is not in the list of tensors"
    ]


def test_an_index_under_another_name_is_told(tmp_path):
    checkpoint.save({"a": np.zeros(3)}, tmp_path / "x.ckpt")
    (tmp_path / "x.ckpt.index").rename(tmp_path / "backup")
    with pytest.raises(FormatError, match=r"backup is a bundle's index under a name that does not end in \.index"):
        checkpoint.open(tmp_path / "backup")


def test_names_of_shards_stand_for_their_prefix():
    assert prefix_of("models/export-00000-of-00001") == prefix_of("models/export")
    assert prefix_of("models/export-?????-of-00004") == prefix_of("models/export")


def add_dims(*sizes):
    return lambda meta: [meta.tensor[0].shape.dim.add(size=size) for size in sizes]


@pytest.mark.parametrize(
    ("change", "shape"),
    [
        (set_size(0), (0, 3)),
        (add_dims(*(1,) * 252), (2, 3) + (1,) * 252),
        (lambda meta: meta.versions.bad_consumers.extend([2, 0]), (2, 3)),
        (lambda meta: setattr(meta.versions, "min_consumer", 1), (2, 3)),
    ],
)
def test_what_a_list_may_say(tmp_path, change, shape):
    assert V1().open(crafted(tmp_path, change))["w"].shape == shape


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (add_dims(*(1,) * 253), "w has the impossible shape"),
        (lambda meta: [set_size(1 << 61)(meta), setattr(meta.tensor[0].shape.dim[1], "size", 4)], "impossible shape"),
        (lambda meta: meta.versions.bad_consumers.extend([2, 1]), "written for readers of version 0 and above"),
    ],
)
def test_what_a_list_may_not_say(tmp_path, change, words):
    with pytest.raises(FormatError, match=words):
        V1().open(crafted(tmp_path, change))


def test_tables_of_something_else(tmp_path):
    listed = SavedTensorSlices().SerializeToString()
    for rows, words in (
        ([(b"a", listed)], "the list of tensors is missing: the first key is b'a'"),
        ([], "the list of tensors is missing: the first key is None"),
        ([(b"", b"\xff")], "the list of tensors is damaged"),
    ):
        (tmp_path / "x").write_bytes(table(built(rows)))
        with pytest.raises(CorruptCheckpoint, match=words):
            V1().open(tmp_path / "x")
    (tmp_path / "x").write_bytes(table(built([(b"", listed), (b"nonsense", b"")])))
    (checked,) = V1().verify(tmp_path / "x")
    assert "the key b'nonsense' is damaged: a slice's key starts with a zero byte" in checked.problem


def shards(tmp_path, *changes):
    """Write a file for each of several changes."""
    for number, change in enumerate(changes):
        (tmp_path / "one").mkdir(exist_ok=True)
        crafted(tmp_path / "one", change).rename(tmp_path / f"x-{number:05d}-of-{len(changes):05d}")
    return tmp_path / "x"


def test_files_that_do_not_fit_one_another(tmp_path):
    with pytest.raises(CorruptCheckpoint, match="w has another shape or dtype than in another file"):
        V1().open(shards(tmp_path, lambda meta: None, set_size(3)))
    with pytest.raises(CorruptCheckpoint, match="w has another shape or dtype than in another file"):
        V1().open(shards(tmp_path, lambda meta: None, set_dtype(3)))
    with pytest.raises(CorruptCheckpoint, match="w cannot be joined: its slices overlap"):
        V1().open(shards(tmp_path, lambda meta: None, lambda meta: None))


def test_a_file_of_several_is_missing(tmp_path):
    prefix = shards(tmp_path, lambda meta: None, lambda meta: meta.ClearField("tensor"))
    for path in (prefix, tmp_path / "x-00001-of-00002", tmp_path / "x-00000-of-00002"):
        assert V1().open(path)["w"].shape == (2, 3)
    (tmp_path / "x-00001-of-00002").unlink()
    with pytest.raises(MissingFile, match=r"x-00001-of-00002 is missing: the checkpoint .*x has 2 files"):
        V1().open(prefix)
    (tmp_path / "x-00000-of-00003").write_bytes((tmp_path / "x-00000-of-00002").read_bytes())
    assert files_of_version_1(prefix) == []
    (tmp_path / "x-00000-of-00003").write_bytes(b"no table")
    assert len(files_of_version_1(prefix)) == 2
    assert files_of_version_1(tmp_path / "none" / "x") == files_of_version_1(tmp_path) == []
