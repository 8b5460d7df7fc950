"""safetensors: what the package writes is read, it reads what is written, and damaged headers are rejected."""

import json
import os

import ml_dtypes
import numpy as np
import pytest
import safetensors
import safetensors.numpy
from conformance import FormatTests, ReadBackTests, numbers, tensors_of
from hypothesis import given, settings
from hypothesis import strategies as st

from ckpttool import checkpoint
from ckpttool.core.dtypes import DTYPES
from ckpttool.core.errors import CorruptCheckpoint, FormatError, MissingFile
from ckpttool.core.tensors import Tensor
from ckpttool.formats.format import Writing
from ckpttool.formats.reading.data_file import CheckpointFile
from ckpttool.formats.safetensors.format import Safetensors
from ckpttool.formats.safetensors.header import DTYPES as HELD
from ckpttool.formats.safetensors.header import NAMES, UNREAD, readable_header
from ckpttool.lineage.output import KEY

BY_PACKAGE = {"F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2", "BF16": "bfloat16"}


class TestSafetensors(FormatTests, ReadBackTests):
    name = "safetensors"
    suffix = ".safetensors"
    missed = "header"
    refused = tuple(dtype.name for dtype in DTYPES if dtype.name not in NAMES.values())
    checksums = False

    def test_what_is_written_has_the_bytes_of_the_package(self, path):
        arrays = {f"{dtype}/w": numbers(dtype, (2, 3)) for dtype in HELD.values()}
        arrays |= {'q"uo\\te\n\u007fü': np.zeros((0, 3), np.float16), "scalar": np.array(1.5)}
        self.save(tensors_of(**arrays), path, False)
        specs = {
            name: safetensors.TensorSpec(
                dtype=array.dtype.name, shape=list(array.shape), data_ptr=array.ctypes.data, data_len=array.nbytes
            )
            for name, array in arrays.items()
        }
        assert path.read_bytes() == bytes(safetensors.serialize(specs))

    @pytest.mark.parametrize("text", HELD)
    def test_the_package_reads_what_is_written(self, path, text):
        array = numbers(HELD[text], (2, 3))
        self.save(tensors_of(w=array), path, False)
        ((name, found),) = safetensors.deserialize(path.read_bytes())
        assert (name, found["dtype"], found["shape"]) == ("w", text, [2, 3])
        assert bytes(found["data"]) == array.tobytes()

    def test_what_the_package_writes_is_read(self, path):
        arrays = {"b": np.arange(6.0).reshape(2, 3), "a": np.array([True, False]), "c": np.array(2 - 1j, np.complex64)}
        safetensors.numpy.save_file(arrays, path, {"format": "np", "tied": "a"})
        opened = checkpoint.open(path)
        assert {name: tensor.read().tolist() for name, tensor in opened.items()} == {
            name: array.tolist() for name, array in arrays.items()
        }
        assert opened.metadata == {"format": "np", "tied": "a"}
        assert (opened.path, opened.format) == (path, "safetensors")

    def test_metadata_is_kept(self, path):
        self.format.save(tensors_of(a=np.ones(1)), path, Writing(metadata={"lm_head.weight": "wte", "ä": "\n"}))
        with safetensors.safe_open(path, "np") as read:
            assert read.metadata() == {"lm_head.weight": "wte", "ä": "\n"}
        assert self.format.open(path).metadata == {"lm_head.weight": "wte", "ä": "\n"}


def header(said, data=b"", pad=0):
    raw = said if isinstance(said, bytes) else json.dumps(said).encode()
    return (len(raw) + pad).to_bytes(8, "little") + raw + b" " * pad + data


def entry(dtype="F32", shape=(2,), offsets=(0, 8), **more):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets), **more}


TWICE = b'{"w":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"w":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}'
EIGHT = bytes(8)
DAMAGED = {
    "no-bytes": (b"", "fewer than the length of a header"),
    "seven-bytes": (bytes(7), "fewer than the length of a header"),
    "header-beyond-the-file": ((50).to_bytes(8, "little") + b"{}", "ends at byte 58, the file has 10"),
    "huge-header": ((1 << 40).to_bytes(8, "little") + b"{}", "a declared length of 1099511627776 bytes"),
    "empty-header": (bytes(8), r"begins with b''"),
    "space-first": (header(b" {}"), r"begins with b' '"),
    "list": (header([]), r"begins with b'\['"),
    "not-utf-8": (header(b'{"\xff":1}'), "not valid JSON in UTF-8"),
    "not-json": (header(b"{w:1}"), "not valid JSON"),
    "two-values": (header(b"{} {}"), "not valid JSON"),
    "half-a-surrogate": (
        header(b'{"\\ud800":' + json.dumps(entry()).encode() + b"}", EIGHT),
        "not valid JSON in UTF-8",
    ),
    "nan": (header(b'{"w":NaN}'), "NaN is not a valid number"),
    "deep": (header(b'{"w":' + b"[" * 100_000 + b"]" * 100_000 + b"}"), "nested too deeply"),
    "name-twice": (header(TWICE, b"\0"), "the key 'w' appears twice"),
    "field-twice": (
        header(b'{"w":{"dtype":"U8","dtype":"I8","shape":[0],"data_offsets":[0,0]}}'),
        "'dtype' appears twic",
    ),
    "metadata-twice": (header(b'{"__metadata__":{"a":"1","a":"2"}}'), "the key 'a' appears twice"),
    "metadata-number": (header({"__metadata__": {"a": 1}}), "expected an object of texts"),
    "metadata-text": (header({"__metadata__": "a"}), "expected an object of texts"),
    "no-shape": (header({"w": {"dtype": "F32", "data_offsets": [0, 8]}}, EIGHT), "w is declared as"),
    "another-field": (header({"w": entry(strides=[1])}, EIGHT), "w is declared as"),
    "tensor-is-a-list": (header({"w": [1]}), "w is declared as"),
    "negative-size": (header({"w": entry(shape=(-2,))}, EIGHT), r"w has the shape \[-2\]"),
    "negative-twice": (header({"w": entry(shape=(-1, -1, 2))}, EIGHT), r"w has the shape \[-1, -1, 2\]"),
    "true-as-size": (header({"w": entry(shape=(True,), offsets=(0, 4))}, bytes(4)), "w has the shape"),
    "float-as-size": (header({"w": entry(shape=(2.0,))}, EIGHT), "w has the shape"),
    "rank": (header({"w": entry(shape=(1,) * 65, offsets=(0, 4))}, bytes(4)), "w has 65 dimensions"),
    "product-overflows": (header({"w": entry(shape=(1 << 62, 1 << 62))}, EIGHT), "impossible shape"),
    "empty-and-huge": (header({"w": entry(shape=(1 << 62, 1 << 62, 0), offsets=(0, 0))}), "impossible shape"),
    "size-differs": (header({"w": entry(shape=(3,))}, EIGHT), "declared with 8 bytes, but float32 .* has 12"),
    "three-offsets": (header({"w": entry(offsets=(0, 8, 8))}, EIGHT), "expected two numbers"),
    "backwards": (header({"w": entry(offsets=(8, 0))}, EIGHT), "declared with -8 bytes"),
    "hole-before": (
        header({"w": entry(offsets=(4, 12))}, bytes(12)),
        "w begins at byte 4 .* expected 0: there is a gap",
    ),
    "hole-between": (header({"v": entry(), "w": entry(offsets=(9, 17))}, bytes(17)), "w begins at byte 9"),
    "overlap": (header({"v": entry(), "w": entry(offsets=(4, 12))}, bytes(12)), "w begins at byte 4"),
    "same-bytes": (header({"v": entry(), "w": entry()}, EIGHT), "w begins at byte 0"),
    "bytes-after": (header({"w": entry()}, bytes(9)), "by its header"),
    "bytes-missing": (header({"w": entry()}, bytes(7)), "by its header"),
    "unknown-dtype": (header({"w": entry("F128")}, EIGHT), "w has the dtype F128, which the format does not have"),
    "dtype-is-a-list": (header({"w": entry(["F32"])}, EIGHT), "w has the dtype"),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_damaged_files(tmp_path, case):
    raw, says = DAMAGED[case]
    path = tmp_path / "x.safetensors"
    path.write_bytes(raw)
    with pytest.raises(FormatError, match=says) as error:
        checkpoint.open(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


# The package accepts these, and programs interpret them differently.
LENIENT = {"name-twice", "metadata-twice", "another-field", "space-first", "empty-and-huge", "rank"}


@pytest.mark.parametrize("case", sorted(DAMAGED.keys() - LENIENT))
def test_what_is_refused_the_package_refuses_too(case):
    with pytest.raises(safetensors.SafetensorError):
        safetensors.deserialize(DAMAGED[case][0])


@pytest.mark.parametrize("dtype", sorted(UNREAD))
def test_dtypes_that_are_not_read_are_named(tmp_path, dtype):
    count = 8 if dtype == "F4" else 4 if dtype.startswith("F6") else 3
    raw = header({"scale": entry(dtype, (count,), (0, 4 if dtype == "F4" else 3))}, bytes(4 if dtype == "F4" else 3))
    assert [name for name, _ in safetensors.deserialize(raw)] == ["scale"]
    (tmp_path / "x.safetensors").write_bytes(raw)
    opened = checkpoint.open(tmp_path / "x.safetensors")
    assert (list(opened), opened.left_out) == ([], (f"scale ({dtype}, which is not supported)",))


def test_a_header_in_any_order_padded_with_spaces(tmp_path):
    path = tmp_path / "x.bin"
    said = {"late": entry("U8", (2,), (4, 6)), "none": entry("I64", (0,), (4, 4)), "first": entry("F32", (), (0, 4))}
    path.write_bytes(header(said, np.float32(2.5).tobytes() + b"\1\2", pad=21))
    opened = checkpoint.open(path)
    assert {name: tensor.read().tolist() for name, tensor in opened.items()} == {
        "first": 2.5,
        "none": [],
        "late": [1, 2],
    }


def test_every_flip_in_a_header_is_found_or_says_the_same_bytes_are_others(tmp_path):
    """A flip may produce another name or dtype of the same size, which is valid; the numbers stay."""
    path = tmp_path / "x.safetensors"
    Safetensors().save(tensors_of(w=np.arange(3, dtype=np.float32)), path)
    whole = path.read_bytes()
    for at in range(len(whole) - 12):
        for bit in range(8):
            path.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << bit]) + whole[at + 1 :])
            try:
                opened = Safetensors().open(path)
            except FormatError:
                continue
            assert [b"".join(tensor.pieces()) for tensor in opened.values()] == [whole[-12:]]


def test_a_truth_value_that_is_none(tmp_path):
    path = tmp_path / "x.safetensors"
    said = {"flag": entry("BOOL", (3,), (0, 3)), "w": entry("U8", (1,), (3, 4))}
    path.write_bytes(header(said, b"\0\1\2\7"))
    assert [(item.name, bool(item.problem)) for item in Safetensors().verify(path)] == [("flag", True), ("w", False)]
    with pytest.raises(CorruptCheckpoint, match="flag contains a bool that is neither 0 nor 1"):
        checkpoint.open(path)["flag"].read()
    with pytest.raises(CorruptCheckpoint, match="flag contains a bool"):
        checkpoint.save(checkpoint.open(path), tmp_path / "y.ckpt")


def test_a_file_that_changes_is_never_read_in_part(tmp_path):
    path = tmp_path / "x.safetensors"
    Safetensors().save(tensors_of(w=np.zeros(4)), path)
    opened = checkpoint.open(path)
    with path.open("r+b") as file:
        file.seek(-8, os.SEEK_END)
        file.write(b"12345678")
    with pytest.raises(CorruptCheckpoint, match="changed while it was read"):
        opened["w"].read()
    with pytest.raises(CorruptCheckpoint, match="changed while it was read"):
        checkpoint.save(opened, tmp_path / "y.ckpt")


def test_an_open_checkpoint_that_is_replaced_stays_the_old_one(tmp_path):
    path = tmp_path / "x.safetensors"
    checkpoint.save({"w": np.zeros(4)}, path)
    opened = checkpoint.open(path)
    checkpoint.save({"w": np.ones(4)}, path, overwrite=True)
    assert opened["w"].read().tolist() == [0] * 4


def test_to_a_bundle_and_back_the_bytes_are_the_same(tmp_path):
    arrays = {"a": np.arange(6, dtype=ml_dtypes.bfloat16), "b": np.array([True, False]), "c": np.arange(3)}
    checkpoint.save(arrays, tmp_path / "x.safetensors")
    checkpoint.save(checkpoint.open(tmp_path / "x.safetensors"), tmp_path / "y.ckpt")
    Safetensors().save(checkpoint.open(tmp_path / "y.ckpt"), tmp_path / "z.safetensors")  # without lineage
    assert (tmp_path / "x.safetensors").read_bytes() == (tmp_path / "z.safetensors").read_bytes()


@pytest.mark.parametrize(("name", "says"), [("__metadata__", "reserved"), ("\ud800", "it is not valid text")])
def test_names_that_are_refused(tmp_path, name, says):
    with pytest.raises(FormatError, match=says):
        checkpoint.save({name: np.ones(1)}, tmp_path / "x.safetensors")
    assert not list(tmp_path.iterdir())


def test_an_lfs_pointer_is_told_from_damage(tmp_path):
    (tmp_path / "x.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    with pytest.raises(FormatError, match="git lfs pull"):
        checkpoint.open(tmp_path / "x.safetensors")


names = st.text(st.characters(exclude_categories=["Cs"]), max_size=30).filter(lambda name: name != "__metadata__")


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.dictionaries(names, st.lists(st.floats(width=32), max_size=9)), st.dictionaries(names, names, max_size=3))
def test_whatever_is_written_both_read(tmp_path_factory, values, texts):
    path = tmp_path_factory.mktemp("any") / "x.safetensors"
    texts = {key: text for key, text in texts.items() if text not in values and key != KEY}  # ties, and the lineage
    arrays = {name: np.array(value, np.float32) for name, value in values.items()}
    Safetensors().save({n: Tensor.of(n, a) for n, a in arrays.items()}, path, Writing(metadata=texts))
    opened = checkpoint.open(path)
    assert {name: tensor.read().tobytes() for name, tensor in opened.items()} == {
        n: a.tobytes() for n, a in arrays.items()
    }
    assert {name: bytes(found["data"]) for name, found in safetensors.deserialize(path.read_bytes())} == {
        name: array.tobytes() for name, array in arrays.items()
    }
    assert opened.metadata == texts


def test_a_header_above_all_bounds_is_neither_written_nor_read(tmp_path, monkeypatch):
    path = tmp_path / "x.safetensors"
    checkpoint.save({"a": np.ones(2)}, path)
    size = int.from_bytes(path.read_bytes()[:8], "little")
    monkeypatch.setattr("ckpttool.formats.safetensors.header.HEADER_LIMIT", size)
    assert list(checkpoint.open(path)) == ["a"]
    checkpoint.save({"a": np.ones(2)}, path, overwrite=True)
    monkeypatch.setattr("ckpttool.formats.safetensors.header.HEADER_LIMIT", size - 1)
    with pytest.raises(FormatError, match=f"header of {size} bytes is too large, at most {size - 1} are read"):
        checkpoint.save({"a": np.ones(2)}, tmp_path / "y.safetensors")
    with pytest.raises(CorruptCheckpoint, match=f"a declared length of {size} bytes, at most {size - 1} are read"):
        checkpoint.open(path)


def test_a_file_that_is_not_there_is_said(tmp_path):
    with pytest.raises(MissingFile, match="no such safetensors file"):
        Safetensors().open(tmp_path / "no.safetensors")
    assert not Safetensors().recognises(tmp_path / "no.safetensors")
    (tmp_path / "folder").mkdir()
    assert not Safetensors().recognises(tmp_path / "folder")


def test_a_header_of_a_file_that_is_cut_off_says_what_is_there(tmp_path):
    path = tmp_path / "x.safetensors"
    said = {"__metadata__": {"a": "1", "b": 2}, "v": entry(), "w": entry(offsets=(8, 16)), "x": entry("F128")}
    path.write_bytes(header(said, EIGHT))
    found, lost = readable_header(CheckpointFile(path))
    assert (list(found.locations), found.metadata) == (["v"], {"a": "1"})
    assert list(lost) == ["w", "x"]
    assert "it is truncated" in lost["w"]
    assert "has the dtype F128" in lost["x"]
    path.write_bytes(header({**said, "__metadata__": "a"}, EIGHT))
    assert readable_header(CheckpointFile(path))[0].metadata == {}
    path.write_bytes(header(b"{w:1}"))
    with pytest.raises(CorruptCheckpoint, match="not valid JSON"):
        readable_header(CheckpointFile(path))


def test_texts_that_are_known_only_when_the_tensors_are_written_may_be_somewhat_longer(tmp_path):
    values, events = np.arange(6, dtype=np.float32), []

    def later():
        events.append("texts")
        return {"sum": "1234567890"}

    tensor = Tensor(Tensor.of("a", values).spec, lambda: events.append("numbers") or values)
    how = Writing(metadata={"format": "pt", "sum": "1"}, later=later)
    Safetensors().save({"a": tensor}, tmp_path / "a.safetensors", how)
    assert events == ["numbers", "texts"]
    with safetensors.safe_open(tmp_path / "a.safetensors", "np") as read:
        assert read.metadata() == {"format": "pt", "sum": "1234567890"}
        assert read.get_tensor("a").tolist() == values.tolist()
