"""Flax files: those written by Flax are read without it, and false claims are rejected with one line."""

import random
import shutil
from pathlib import Path

import msgpack
import numpy as np
import pytest
from conformance import ReadingTests
from referees import FlaxTrees, in_msgpack

from ckpttool import checkpoint
from ckpttool.core.errors import CkptError, CorruptCheckpoint, FormatError
from ckpttool.formats.flax import tree
from ckpttool.formats.flax.format import Flax
from ckpttool.formats.reading import path_names

FIXTURES = Path(__file__).parents[3] / "fixtures" / "flax"
VALUES = np.arange(6, dtype=np.float32).reshape(2, 3)


def saved(path, content):
    path.write_bytes(msgpack.packb(content))
    return path


def array(shape, dtype, data):
    return msgpack.ExtType(1, msgpack.packb((shape, dtype, data)))


def chunked(shape, *chunks):
    parts = {str(number): chunk for number, chunk in enumerate(chunks)}
    sizes = {str(number): size for number, size in enumerate(shape)}
    return {"__msgpack_chunked_array__": True, "shape": sizes, "chunks": parts}


class TestFlax(ReadingTests):
    name = "flax"
    suffix = ".msgpack"
    checksums = False

    def save(self, tensors, path, overwrite):
        FlaxTrees().write(path, tensors)


def test_a_train_state_that_flax_wrote_is_read_with_its_kinds():
    opened = checkpoint.open(FIXTURES / "train_state.msgpack")
    assert (opened.format, opened.framework, opened.metadata) == ("flax", "flax", {"step": "0"})
    assert opened["params/Dense_0/kernel"].read().tolist() == np.arange(12).reshape(4, 3).tolist()
    assert (str(opened["params/Dense_0/bias"].dtype), opened["params/Dense_0/bias"].shape) == ("bfloat16", (3,))
    kinds = opened.kinds()
    assert {name for name, kind in kinds.items() if kind == "weight"} == {
        "params/Dense_0/kernel",
        "params/Dense_0/bias",
    }
    assert kinds["opt_state/0/mu/Dense_0/kernel"] == kinds["opt_state/0/count"] == "slot"


def test_all_that_flax_may_write_is_read_kept_as_text_or_named():
    opened = checkpoint.open(FIXTURES / "kinds.msgpack")
    chunks = opened["arrays/chunked"]
    assert chunks.read().tolist() == np.arange(50).reshape(5, 10).tolist()
    assert b"".join(chunks.pieces()) == np.arange(50, dtype=np.float32).tobytes()
    assert opened["arrays/list/1"].read().tolist() == [1, 1]
    assert (opened["scalars/numpy"].read().shape, float(opened["scalars/numpy"].read())) == ((), 7)
    assert int(opened["scalars/jax"].read()) == 3
    assert opened.metadata == {
        "arrays/list/0": "1", "scalars/complex": "(1+2j)", "scalars/true": "True", "scalars/whole": str(1 << 40),
        "text": "é",
    }  # fmt: skip
    assert opened.left_out == (
        "unread/bytes (is bytes: not supported)",
        "unread/texts (is of dtype str64: not supported)",
    )


@pytest.mark.parametrize("name", ["train_state", "kinds"])
def test_bytes_decide_without_a_suffix(tmp_path, name):
    shutil.copy(FIXTURES / f"{name}.msgpack", tmp_path / "checkpoint_100")
    assert checkpoint.open(tmp_path / "checkpoint_100").format == "flax"


def test_with_the_suffix_the_first_byte_decides(tmp_path):
    path = tmp_path / "a.msgpack"
    for content, is_flax in ((b"", False), (b"\x80", True), (b"\xde\0\0", True), (b"hello", False), (b"\x93", False)):
        path.write_bytes(content)
        assert Flax().recognises(path) is is_flax
    assert not Flax().recognises(tmp_path)


def test_an_array_of_two_chunks_is_whole_and_of_one_file(tmp_path):
    content = {"w": chunked((2, 3), array((3,), "float32", bytes(12)), array((3,), "float32", VALUES[1].tobytes()))}
    opened = checkpoint.open(saved(tmp_path / "a.msgpack", content))
    assert opened["w"].read().tolist() == [[0, 0, 0], [3, 4, 5]]
    pieces = opened["w"].pieces()
    assert [bytes(next(pieces)) for _ in range(2)] == [bytes(12), VALUES[1].tobytes()]
    saved(tmp_path / "a.msgpack", {})
    with pytest.raises(CorruptCheckpoint, match=r"a\.msgpack changed while it was read"):
        next(pieces)


def test_a_long_name_above_many_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(path_names, "MOST_CHARACTERS", 0)
    path = saved(tmp_path / "a.msgpack", {"long" * 10: {str(number): number for number in range(20)}})
    with pytest.raises(FormatError, match=r"the names in it, with their parents, are too long in total"):
        checkpoint.open(path)


def test_other_dicts_of_messagepack_are_none_of_flax(tmp_path):
    with pytest.raises(FormatError, match="is not a checkpoint"):
        checkpoint.open(saved(tmp_path / "a.bin", {"a": 1, "b": [1, 2]}))


def test_what_is_cut_off_anywhere_is_refused(tmp_path):
    whole = (FIXTURES / "kinds.msgpack").read_bytes()
    for size in range(len(whole)):
        (tmp_path / "a.msgpack").write_bytes(whole[:size])
        with pytest.raises(CkptError):
            checkpoint.open(tmp_path / "a.msgpack")


def test_arrays_of_files_that_change_are_refused(tmp_path):
    opened = checkpoint.open(saved(tmp_path / "a.msgpack", {"w": in_msgpack(VALUES)}))
    saved(tmp_path / "a.msgpack", {"w": in_msgpack(VALUES), "v": in_msgpack(VALUES)})
    with pytest.raises(CorruptCheckpoint, match="changed"):
        opened["w"].read()


def nested(depth):
    return b"\x81\xa1a" * depth + b"\xc0"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (msgpack.packb({"w": array((3,), "float32", bytes(8))}), "w is float32 [3], but 8 bytes are there"),
        (msgpack.packb({"w": array((1 << 61, 8), "float32", b"")}), "w is float32"),
        (msgpack.packb({"w": array((0, 1 << 61, 1 << 61), "int8", b"")}), "w is int8"),
        (msgpack.packb({"w": array((-1,), "int8", b"x")}), "not given as shape, dtype and bytes"),
        (msgpack.packb({"w": array((True,), "int8", b"x")}), "not given as shape, dtype and bytes"),
        (msgpack.packb({"w": array([1] * 33, "int8", b"x")}), "not given as shape, dtype and bytes"),
        (msgpack.packb({"w": array((1,), None, b"x")}), "not given as shape, dtype and bytes"),
        (msgpack.packb({"w": msgpack.ExtType(1, msgpack.packb(((1,), "int8", b"x")) + b"!")}), "should end at byte"),
        (msgpack.packb({"w": msgpack.ExtType(2, msgpack.packb((1, "a")))}), "a complex number is not two numbers"),
        (msgpack.packb({"w": chunked((2,), array((1,), "int8", b"a"), array((1,), "uint8", b"a"))}), "the chunks of"),
        (msgpack.packb({"w": chunked((-2,), array((1,), "int8", b"a"))}), "the chunks of"),
        (msgpack.packb({"w": {"__msgpack_chunked_array__": True}}), "the chunks of"),
        (msgpack.packb({"a/b": in_msgpack(VALUES), "a": {"b": 1}}), "two values have the path a/b"),
        (b"\x82\xa1a\x01\xa1a\x02", "has the key 'a' twice"),
        (b"\x81\x90\x01", "a dict has a key that is not text"),
        (b"\x81\xdb\xff\xff\xff\xff", "are declared at byte"),
        (b"\xdf\xff\xff\xff\xff", "are declared at byte"),
        (b"\x81\xa1a\xc6\xff\xff\xff\xff", "are declared at byte"),
        (b"\x81\xa1a\xc1", "no value begins with the byte c1"),
        (msgpack.packb({"a": 1}) + b"\0", "data follows its end"),
        (nested(99), ""),
        (nested(200_000), "nested over 100 levels deep"),
        (b"\x81\xa1a" + b"\x91" * 200_000, "nested over 100 levels deep"),
        (msgpack.packb(chunked((1,), array((1,), "int8", b"a"))), "expected a dict of arrays, found Stored"),
    ],
    ids=range(24),
)
def test_what_cannot_be_is_refused_in_a_line(tmp_path, content, message):
    (tmp_path / "a.msgpack").write_bytes(content)
    if not message:
        assert not checkpoint.open(tmp_path / "a.msgpack")
        return
    with pytest.raises(FormatError) as caught:
        checkpoint.open(tmp_path / "a.msgpack")
    assert message in str(caught.value)
    assert len(str(caught.value)) < 400


def test_values_are_limited_in_number(tmp_path, monkeypatch):
    monkeypatch.setattr(tree, "MOST_VALUES", 100)
    with pytest.raises(CorruptCheckpoint, match="it has over 100 values, the limit"):
        checkpoint.open(saved(tmp_path / "a.msgpack", {"a": [None] * 101}))


def test_short_values_are_told_apart_by_their_first_byte(tmp_path):
    """The largest and smallest numbers, the longest list and dict, and the empty text that have one."""
    numbers = {"least": -32, "last": -1, "zero": 0, "most": 127}
    dicts = {"list": list(range(15)), "dict": {str(number): number for number in range(15)}, "": ""}
    opened = checkpoint.open(saved(tmp_path / "a.msgpack", {**numbers, **dicts}))
    each = {f"{name}/{number}": str(number) for name in ("list", "dict") for number in range(15)}
    assert opened.metadata == {**{name: str(number) for name, number in numbers.items()}, **each, "": ""}


def test_long_texts_and_extensions_of_others_are_left_out(tmp_path, monkeypatch):
    monkeypatch.setattr(tree, "TEXT_LIMIT", 7)
    content = {"short": "1234567", "long": "12345678", "time": msgpack.ExtType(9, b"12"), "w": in_msgpack(VALUES)}
    opened = checkpoint.open(saved(tmp_path / "a.msgpack", content))
    assert (list(opened), opened.metadata) == (["w"], {"short": "1234567"})
    assert opened.left_out == (
        "long (is text of 8 bytes: not supported)",
        "time (is an extension of type 9: not supported)",
    )


def test_flipped_bits_lead_to_our_errors_or_to_numbers(tmp_path):
    path, chance = tmp_path / "a.msgpack", random.Random(1)
    whole = (FIXTURES / "kinds.msgpack").read_bytes()
    for _ in range(500):
        at = chance.randrange(len(whole))
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << chance.randrange(8)]) + whole[at + 1 :])
        try:
            for tensor in checkpoint.open(path).values():
                tensor.read()
        except CkptError:
            continue


def test_nothing_is_written(tmp_path):
    with pytest.raises(FormatError, match=r"files of Flax are read only; `to` safetensors"):
        checkpoint.save({"a": np.zeros(1)}, tmp_path / "x.msgpack", format="flax")
    with pytest.raises(FormatError, match=r"no format writes \.msgpack files"):
        checkpoint.save({"a": np.zeros(1)}, tmp_path / "x.msgpack")
