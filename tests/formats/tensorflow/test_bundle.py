import hashlib
import os
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from conformance import FormatTests, ReadBackTests, change_on_disk, numbers, save_as, tensors_of
from hypothesis import given, settings
from hypothesis import strategies as st

from ckpttool.core.dtypes import BY_NAME, DTYPES, STRING
from ckpttool.core.errors import CkptError, CorruptCheckpoint, ExistingOutput, FormatError, MissingFile
from ckpttool.core.tensors import Tensor
from ckpttool.formats.tensorflow.bundle import Bundle
from ckpttool.formats.tensorflow.prefix import BundleFiles

FIXTURES = Path(__file__).parents[3] / "fixtures" / "bundles"
GOLDEN_INDEX = bytes.fromhex(
    "00000608011a02080100010f7408011204120208052814356d6b9da3000000000100000000ebc4ffa6000000000100000000c0f2a1b0"
    "0001027500240000000001000000" + "00539b721e2908360e" + "00" * 36 + "57fb808b247547db"
)


class TestBundle(FormatTests, ReadBackTests):
    name = "bundle"
    suffix = ".ckpt"

    def test_the_bytes_are_those_of_tensorflow(self, path):
        Bundle().save(tensors_of(t=np.arange(1, 6, dtype=np.float32)), path)
        assert Path(f"{path}.index").read_bytes().hex() == GOLDEN_INDEX.hex()
        assert Path(f"{path}.data-00000-of-00001").read_bytes() == np.arange(1, 6, dtype="<f4").tobytes()

    def test_strings_have_the_bytes_of_tensorflow(self, path):
        Bundle().save(tensors_of(s=np.array([b"hello", b"", b"x" * 300], object)), path)
        data = Path(f"{path}.data-00000-of-00001").read_bytes()
        assert data.startswith(bytes.fromhex("0500ac02812c1d6d68656c6c6f"))
        assert len(data) == 313


def read_all(prefix):
    return {name: tensor.read().tolist() for name, tensor in Bundle().open(prefix).items()}


def test_every_dtype_that_tensorflow_wrote():
    opened = Bundle().open(FIXTURES / "dtypes.ckpt")
    for dtype in [d for d in DTYPES if d.itemsize]:
        for shape_name, shape in {"scalar": (), "empty": (0, 3), "vector": (5,), "five": (1, 2, 1, 3, 2)}.items():
            tensor = opened[f"{dtype}/{shape_name}"]
            expected = numbers(dtype, shape)
            if dtype.name.startswith("complex"):
                count = np.arange(expected.size).reshape(shape)
                expected = count - 1j * count
            assert (tensor.dtype, tensor.shape) == (dtype, shape)
            assert tensor.read().tolist() == expected.tolist()
    assert len(opened) == 4 * 24


def test_strings_that_tensorflow_wrote():
    assert read_all(FIXTURES / "strings.ckpt") == {
        "empty": [],
        "matrix": [[b"a", b"b"], [b"c", b""]],
        "scalar": b"one",
        "vector": [b"hello", b"", b"x" * 300, "Zürich".encode(), b"\x00\xff"],
    }


def test_parts_of_a_variable_are_joined():
    count = np.arange(28.0).reshape(7, 4).tolist()
    assert read_all(FIXTURES / "partitioned.ckpt") == {"columns": count, "rows": count, "whole": [0, 1, 2, 3]}
    rows = Bundle().open(FIXTURES / "partitioned.ckpt")["columns"]
    assert b"".join(rows.pieces()) == np.arange(28, dtype="<f4").tobytes()


def test_shards():
    expected = {f"layer{i}/{k}": [n + 10 * i + k for n in range(6)] for i in range(3) for k in range(2)}
    assert read_all(FIXTURES / "sharded.ckpt") == expected


def test_an_index_of_several_blocks():
    opened = Bundle().open(FIXTURES / "many.ckpt")
    names = [f"model/{hashlib.sha256(str(i).encode()).hexdigest()}/kernel" for i in range(3200)]
    assert list(opened) == sorted(names)
    assert [int(opened[name].read()) for name in names] == list(range(3200))


def test_a_rewritten_bundle_has_the_same_index_where_the_data_is_in_the_order_of_names(tmp_path):
    for name in ("adam.ckpt-3", "object.ckpt"):
        source = Bundle().open(FIXTURES / name)
        by_place = sorted(source, key=lambda n: source.entries[n].stored.offset)
        Bundle().save({n: source[n] for n in by_place}, tmp_path / name)
        for suffix in (".index", ".data-00000-of-00001"):
            assert (tmp_path / (name + suffix)).read_bytes() == (FIXTURES / (name + suffix)).read_bytes()


def test_variants_are_listed_and_copied_but_not_read(tmp_path):
    source = Bundle().open(FIXTURES / "variant.ckpt")
    assert source["rows"].dtype is BY_NAME["variant"]
    with pytest.raises(FormatError, match="rows is a variant"):
        source["rows"].read()
    Bundle().save({"b/rows": source["rows"].renamed("b/rows")}, tmp_path / "x")
    copy = Bundle().open(tmp_path / "x")
    assert copy["b/rows"].stored_bytes() == source["rows"].stored_bytes()
    assert copy.entries["b/rows"].stored.crc == source.entries["rows"].stored.crc


def test_a_variant_of_no_bundle_is_refused(tmp_path):
    loose = Tensor(Bundle().open(FIXTURES / "variant.ckpt")["rows"].spec, lambda: np.empty((), object))
    with pytest.raises(FormatError, match="only be copied"):
        Bundle().save({"rows": loose}, tmp_path / "x")


def test_listing_needs_no_data_files(tmp_path):
    (tmp_path / "x.index").write_bytes((FIXTURES / "sharded.ckpt.index").read_bytes())
    opened = Bundle().open(tmp_path / "x")
    assert len([tensor.spec for tensor in opened.values()]) == 6
    with pytest.raises(MissingFile, match=r"x.data-00000-of-00003 is missing"):
        opened["layer0/0"].read()


def test_a_missing_shard_hides_only_its_own_tensors(tmp_path):
    for path in FIXTURES.glob("sharded.ckpt*"):
        if "00001-of" not in path.name:
            (tmp_path / path.name).write_bytes(path.read_bytes())
    damaged = {item.name: item.problem for item in Bundle().verify(tmp_path / "sharded.ckpt") if item.problem}
    assert list(damaged) == ["layer1/0", "layer1/1"]
    assert "sharded.ckpt.data-00001-of-00003 is missing" in damaged["layer1/0"]


def test_a_merge_of_empty_shards_counts_more_shards_than_its_names_have(tmp_path):
    (tmp_path / "x.index").write_bytes(index_with_shards(2))
    (tmp_path / "x.data-00000-of-00001").write_bytes(np.arange(1, 6, dtype="<f4").tobytes())
    assert read_all(tmp_path / "x") == {"t": [1, 2, 3, 4, 5]}


def index_with_shards(count):
    import io

    from ckpttool.formats.wire.table_writer import TableWriter

    out = io.BytesIO()
    writer = TableWriter(out)
    writer.add(b"", bytes.fromhex(f"08{count:02x}1a020801"))
    writer.add(b"t", bytes.fromhex("08011204120208052814356d6b9da3"))
    writer.finish()
    return out.getvalue()


def test_a_prefix_that_ends_in_a_slash(tmp_path):
    for path in FIXTURES.glob("adam.ckpt-3.*"):
        (tmp_path / path.name.removeprefix("adam.ckpt-3")).write_bytes(path.read_bytes())
    assert read_all(tmp_path)["global_step"] == 3
    assert read_all(tmp_path / ".index")["global_step"] == 3


def test_shards_without_an_index_are_not_overwritten_unasked(tmp_path):
    (tmp_path / "x.data-00000-of-00001").write_bytes(b"someone's")
    with pytest.raises(ExistingOutput, match=r"x\.data-00000-of-00001"):
        save_as(Bundle(), tensors_of(a=np.ones(1)), tmp_path / "x")
    save_as(Bundle(), tensors_of(a=np.ones(1)), tmp_path / "x", True)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "x.data-00000-of-00002",
        "x.data-00001-of-00002",
        "x.index",
    ]


def test_data_is_never_renamed_over_data(tmp_path, monkeypatch):
    Bundle().save(tensors_of(a=np.array([1.0])), tmp_path / "x")
    seen = []
    rename, replace = Path.rename, Path.replace

    def spy(self, target, do):
        if Path(target).parent == tmp_path and Path(target).name.startswith("x."):
            seen.append((Path(target).name, Path(target).exists()))
        return do(self, target)

    monkeypatch.setattr(Path, "rename", lambda self, target: spy(self, target, rename))
    monkeypatch.setattr(Path, "replace", lambda self, target: spy(self, target, replace))
    save_as(Bundle(), tensors_of(a=np.array([2.0])), tmp_path / "x", True)
    assert seen == [("x.data-00000-of-00002", False), ("x.data-00001-of-00002", False), ("x.index", True)]
    assert read_all(tmp_path / "x") == {"a": [2.0]}


def test_texts_and_variants_that_the_disk_changed_are_found(tmp_path, monkeypatch):
    """Their checksums are only in the index: they are read through it, after it is written."""
    variant = Bundle().open(FIXTURES / "variant.ckpt")["rows"]
    for tensor, old in (
        (Tensor.of("t", np.array([b"nine", b""], object)), b"nine"),
        (variant, variant.stored_bytes()[8:]),
    ):
        with monkeypatch.context() as patch:
            change_on_disk(patch, old, bytes([old[0] ^ 1]) + old[1:])
            with pytest.raises(CorruptCheckpoint, match=f"{tensor.name} is damaged: the checksum"):
                Bundle().save({tensor.name: tensor}, tmp_path / "x")
        assert not (tmp_path / "x.index").exists()
    Bundle().save({"rows": variant}, tmp_path / "x")


def test_everything_is_on_the_disk_before_the_index_has_its_name(tmp_path, monkeypatch):
    calls = []
    fsync, replace, rename = os.fsync, Path.replace, Path.rename
    monkeypatch.setattr(os, "fsync", lambda fd: (calls.append("fsync"), fsync(fd))[1])
    monkeypatch.setattr(Path, "rename", lambda s, t: (calls.append("data"), rename(s, t))[1])
    monkeypatch.setattr(Path, "replace", lambda s, t: (calls.append("index"), replace(s, t))[1])
    Bundle().save(tensors_of(a=np.ones(1)), tmp_path / "x")
    assert calls == ["fsync", "data", "fsync", "fsync", "index", "fsync"]


def test_the_mode_of_a_replaced_index_stays(tmp_path):
    Bundle().save(tensors_of(a=np.ones(1)), tmp_path / "x")
    (tmp_path / "x.index").chmod(0o640)
    save_as(Bundle(), tensors_of(a=np.ones(1)), tmp_path / "x", True)
    assert (tmp_path / "x.index").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("name", ["", "\0part/w\0\1\0"])
def test_names_that_mean_something_else_are_refused(tmp_path, name):
    with pytest.raises(FormatError, match="reserved"):
        Bundle().save({name: Tensor.of(name, np.ones(1))}, tmp_path / "x")


def test_a_name_without_bytes_is_refused(tmp_path):
    with pytest.raises(FormatError, match="cannot be encoded as bytes"):
        Bundle().save({"\ud800": Tensor.of("\ud800", np.ones(1))}, tmp_path / "x")


def test_an_object_that_is_no_string_is_refused(tmp_path):
    with pytest.raises(CkptError, match="s contains a int"):
        Bundle().save({"s": Tensor.of("s", np.array([1], object))}, tmp_path / "x")


def test_big_endian_bundles_are_read(tmp_path):
    little = {
        "h": np.arange(4, dtype=np.int16),
        "f": np.array([1.5, -2.25], np.float32),
        "b": np.array([1.5, 3], ml_dtypes.bfloat16),
        "c": np.array([1 + 2j], np.complex64),
        "z": np.array([3 - 4j], np.complex128),
        "byte": np.array([1, 2], np.uint8),
        "t": np.array([True, False]),
    }
    write_big_endian(tmp_path, little, [b"hello", b"", b"x" * 300])
    opened = Bundle().open(tmp_path / "x")
    for name, array in little.items():
        assert opened[name].read().tolist() == array.tolist()
        assert b"".join(opened[name].pieces()) == array.tobytes()
    assert opened["s"].read().tolist() == [b"hello", b"", b"x" * 300]
    assert [item.problem for item in Bundle().verify(tmp_path / "x")] == [None] * 8


def write_big_endian(folder, arrays, texts):
    """Write a bundle as a big-endian machine would."""
    import struct

    from ckpttool.core.dtypes import dtype_of
    from ckpttool.formats.wire import crc
    from ckpttool.formats.wire.elements import encode_string_lengths, string_lengths_checksum
    from ckpttool.formats.wire.protos.bundle_pb2 import BundleEntryProto
    from ckpttool.formats.wire.table_writer import TableWriter

    data, rows = b"", {}
    for name, array in arrays.items():
        part = 2 if array.dtype.kind == "c" else 1
        raw = array.view(f"u{array.itemsize // part}").byteswap().tobytes()
        rows[name] = (dtype_of(array), array.shape, len(data), len(raw), crc.mask(crc.extend(0, raw)))
        data += raw
    checksum = string_lengths_checksum([len(text) for text in texts], big_endian=True)
    stored = struct.pack(">I", crc.mask(checksum))
    head = encode_string_lengths(texts)[0][:-4] + stored
    running = crc.extend(crc.extend(checksum, stored), b"".join(texts))
    rows["s"] = (STRING, (len(texts),), len(data), len(head) + sum(map(len, texts)), crc.mask(running))
    data += head + b"".join(texts)
    with (folder / "x.index").open("wb") as file:
        table = TableWriter(file)
        table.add(b"", bytes.fromhex("080110011a020801"))
        for name, (dtype, shape, offset, size, check) in sorted(rows.items()):
            entry = BundleEntryProto(dtype=dtype.number, offset=offset, size=size, crc32c=check)
            for dim in shape:
                entry.shape.dim.add(size=dim)
            table.add(name.encode(), entry.SerializeToString())
        table.finish()
    (folder / "x.data-00000-of-00001").write_bytes(data)


keys = st.binary(min_size=1, max_size=40).map(lambda raw: raw.decode("utf-8", "surrogateescape"))
arrays = st.one_of(
    st.lists(st.floats(width=32), max_size=20).map(lambda v: np.array(v, np.float32)),
    st.lists(st.integers(-(2**63), 2**63 - 1), max_size=20).map(lambda v: np.array(v, np.int64)),
    st.lists(st.binary(max_size=200), max_size=20).map(lambda v: np.array([*v, b""], object)[: len(v)]),
    st.booleans().map(np.array),
)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(tensors=st.dictionaries(keys, arrays, max_size=40))
def test_whatever_is_written_is_read(tmp_path_factory, tensors):
    from ckpttool.formats.tensorflow.bundle_index import is_slice_key, key_of

    tensors = {name: array for name, array in tensors.items() if not is_slice_key(key_of(name))}
    prefix = tmp_path_factory.mktemp("bundle") / "x"
    Bundle().save(tensors_of(**tensors), prefix)
    opened = Bundle().open(prefix)
    assert list(opened) == sorted(tensors, key=key_of)
    for name, array in tensors.items():
        read = opened[name].read()
        assert (read.shape, read.dtype) == (array.shape, array.dtype)
        assert read.tolist() == array.tolist() if array.dtype == object else read.tobytes() == array.tobytes()


def test_the_names_of_the_files():
    files = BundleFiles("models/x.ckpt")
    assert files.index == Path("models/x.ckpt.index")
    assert files.shard(2, 13) == Path("models/x.ckpt.data-00002-of-00013")
