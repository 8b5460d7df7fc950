"""Several edits: their order, their record, scripts, and parsing."""

from pathlib import Path

import numpy as np
import pytest

from ckpttool.checkpoint import Checkpoint
from ckpttool.core.errors import CkptError, FormatError, UnknownName
from ckpttool.surgery.edits import EDITS, Cast, Edit, Reshape, Resize, SetValue, Slice, Transpose
from ckpttool.surgery.edits.resizing import RowsFill, To
from ckpttool.surgery.edits.steps import Step, apply, read_script


@pytest.fixture
def ckpt() -> Checkpoint:
    return Checkpoint.of({"a/kernel": np.ones((2, 3)), "a/kernel/Adam": np.ones((2, 3)), "b/kernel": np.ones((3, 2))})


def test_each_edit_sees_what_the_one_before_left(ckpt: Checkpoint) -> None:
    turned = [Step("rename", "a=>c"), Step("rename", "b=>a"), Step("rename", "c=>b")]
    assert list(apply(ckpt, turned).tensors) == ["b/kernel", "b/kernel/Adam", "a/kernel"]
    with pytest.raises(CkptError, match="a/kernel and b/kernel would both be named b/kernel"):
        apply(ckpt, [Step("rename", "a=>b"), *turned])


def test_what_was_done_to_each_tensor_is_known(ckpt: Checkpoint) -> None:
    edits = ["rename a=>c", "cast float64", "quantise c=int8", "drop b", "transpose c/kernel=1,0", "dequantise float16"]
    found = apply(ckpt, [Step(*edit.split(" ")) for edit in edits])
    assert found.done == {
        "c/kernel": ("rename a=>c", "quantise c=int8", "transpose c/kernel=1,0", "dequantise float16"),
        "c/kernel/Adam": ("rename a=>c", "transpose c/kernel=1,0"),
    }
    assert found.dropped == {"b/kernel": ("drop b",), "c/kernel/scale": ("quantise c=int8", "dequantise float16")}
    assert found.tensors.origins == {"c/kernel": "a/kernel", "c/kernel/Adam": "a/kernel/Adam"}


def test_what_takes_nothing_is_skipped_and_said_where_lenient(ckpt: Checkpoint) -> None:
    steps = [Step("drop", "bb", "--drop 'bb'"), Step("drop", "b", "--drop 'b'")]
    with pytest.raises(UnknownName, match=r"^--drop 'bb': pattern 'bb' matches nothing"):
        apply(ckpt, steps)
    found = apply(ckpt, steps, lenient=True)
    assert list(found.tensors) == ["a/kernel", "a/kernel/Adam"]
    assert found.skipped == ("--drop 'bb': pattern 'bb' matches nothing; nearest: b",)
    with pytest.raises(CkptError, match="would both be named"):
        apply(ckpt, [Step("rename", "[ab]=>c")], lenient=True)


def test_a_script(tmp_path: Path) -> None:
    path = tmp_path / "edit.toml"
    path.write_text('[[edit]]\nrename = "a=>c"\n[[edit]]\ndrop_slots = true\n')
    assert read_script(path) == [
        Step("rename", "a=>c", f"{path}, edit 1, rename 'a=>c'"),
        Step("drop-slots", "", f"{path}, edit 2, drop-slots"),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("edit = 3", "expected a table for each edit"),
        ("rename = 'a=>b'", "expected a table for each edit"),
        ("[[edit]]\nrename = 'a=>b'\ncast = 'float16'", "edit 1: expected one edit, found rename, cast"),
        ("[[edit]]\n", "edit 1: expected one edit, found none"),
        ("[[edit]]\nkeep = 3", "edit 1: keep is 3, expected a text"),
        ("[[edit]", "not valid TOML"),
        ("edit = [3]", "edit 1: expected one edit, found 3"),
    ],
)
def test_scripts_that_are_none(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "edit.toml").write_text(text)
    with pytest.raises(FormatError, match=message):
        read_script(tmp_path / "edit.toml")


def test_an_edit_that_is_none(ckpt: Checkpoint) -> None:
    with pytest.raises(UnknownName, match="edit 2: no edit is named renam; nearest: rename"):
        apply(ckpt, [Step("renam", "a=>b", "edit 2")])


@pytest.mark.parametrize(
    ("edit", "text", "message"),
    [
        ("rename", "a", "expected 'RE=>NEW'"),
        ("rename", "a=>b=>c", "expected 'RE=>NEW'"),
        ("cast", "a=", "no dtype is named ''"),
        ("transpose", "1,0", "expected RE=1,0"),
        ("transpose", "a=x", "'x': expected axes such as 1,0"),
        ("reshape", "a=2.5", "'2.5': expected sizes such as 784,300"),
        ("slice", "a=0:1", "'0:1' is not part of a tensor, expected axis:start:stop"),
        ("pad", "a=0:1", "'0:1' is not a padding"),
        ("pad", "a=0:1,1:x", "'x' is not a number"),
        ("pad", "a=0:-1,1", "'0:-1,1' is not a padding"),
        ("resize", "a=3", r"expected RE = to\(32000, axis=0, fill=mean\)"),
        ("resize", "a = to(3); to(4)", "expected one size such as to"),
        ("resize", "a = two(3)", "no size two; known: to"),
        ("resize", "a = to()", "to needs size"),
        ("resize", "a = to(-1)", "size must be a number not below 0, found -1"),
        ("resize", "a = to(2.5)", "expected a whole number"),
        ("resize", "a = to(3, axes=1)", "to has no argument 'axes'; nearest: axis"),
        ("resize", "a = to(3, fill=men)", "no fill men; known: mean, zeros, normal, rows; nearest: mean"),
        ("resize", "a = to(3, fill=mean(1))", "mean takes at most 0 arguments, found 1"),
        ("resize", "a = to(3, fill=rows(1))", "expected a list of numbers"),
        ("resize", "a = to(__import__('os'))", "expected a number"),
        ("prune", "a=half", "'half' is not a number"),
        ("prune", "a = magnitude()", "magnitude needs bound"),
        ("prune", "a = size(3)", "no bound size; known: magnitude"),
        ("set", "a", "expected NAME=VALUE"),
        ("set", "a=b", "'b' is neither a number nor FILE.npy nor FILE:KEY"),
        ("drop-slots", "a", "it accepts no value"),
    ],
)
def test_texts_that_are_not_understood(ckpt: Checkpoint, edit: str, text: str, message: str) -> None:
    with pytest.raises(CkptError, match=message):
        apply(ckpt, [Step(edit, text)])


@pytest.mark.parametrize(
    ("edit", "text", "expected"),
    [
        ("cast", "a(?=/)=float16", Cast("float16", "a(?=/)")),
        ("transpose", "a/(?!b)=2,0,1", Transpose("a/(?!b)", (2, 0, 1))),
        ("reshape", "a=", Reshape("a", ())),
        ("slice", "a = -1:-3:", Slice("a", -1, -3, None)),
        ("resize", "(?=x)a = to(5, fill=rows)", Resize("(?=x)a", To(5, fill=RowsFill()))),
        ("set", "a/b=-1e-3", SetValue("a/b", -0.001)),
        ("set", "a/b=9007199254740993", SetValue("a/b", 9007199254740993)),
        ("set", "a/b=1.npy", SetValue("a/b", Path("1.npy"))),
        ("set", "a/b=1.npz:x:0", SetValue("a/b", Path("1.npz"), "x:0")),
    ],
)
def test_texts_are_read(edit: str, text: str, expected: Edit) -> None:
    assert EDITS[edit].parse(text) == expected
