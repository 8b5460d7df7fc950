"""Converting: what is kept, what cannot be, and that nothing is dropped silently."""

import numpy as np
import pytest

from ckpttool import checkpoint
from ckpttool.checkpoint import Checkpoint
from ckpttool.core.errors import CkptError, FormatError, UnknownName
from ckpttool.formats import registry
from ckpttool.formats.format import Writing
from ckpttool.surgery.convert import plan_convert

VALUES = {
    "fc/kernel": np.arange(6, dtype=np.float32).reshape(2, 3),
    "fc/kernel/Momentum": np.zeros((2, 3), np.float32),
    "out/bias": np.ones(2, np.float32),
    "out/bias/Momentum": np.zeros(2, np.float32),
    "vocabulary": np.array([b"a", b"b"], object),
    "global_step": np.array(7, np.int64),
}


@pytest.fixture
def source():
    return Checkpoint.of(VALUES)


def test_all_comes_along(source, tmp_path):
    plan = plan_convert(source, "bundle")
    plan.write(tmp_path / "x.ckpt")
    found = checkpoint.open(tmp_path / "x.ckpt")
    assert {name: tensor.read().tolist() for name, tensor in found.items()} == {
        n: a.tolist() for n, a in VALUES.items()
    }
    assert {row["then"] for row in plan.rows} == {"written"}
    assert plan.notes == ()


def test_what_the_format_cannot_hold_is_named(source):
    says = r"safetensors stores numbers only.*: vocabulary \(string\); `lenient` omits such tensors"
    with pytest.raises(FormatError, match=says):
        plan_convert(source, "safetensors")


def test_lenient_says_what_it_leaves_out(source, tmp_path):
    plan = plan_convert(source, "safetensors", lenient=True)
    assert plan.notes == ("skipped, as safetensors cannot store it: vocabulary (string)",)
    assert plan.rows[4] == {
        "name": "vocabulary",
        "shape": [2],
        "dtype": "string",
        "bytes": 0,
        "kind": "weight",
        "then": "skipped: safetensors cannot store it",
    }
    plan.write(tmp_path / "x.bin")
    assert sorted(checkpoint.open(tmp_path / "x.bin")) == sorted(VALUES.keys() - {"vocabulary"})


@pytest.mark.parametrize(
    ("to", "texts", "kept"),
    [
        ("npz", [b"a\0b"], True),
        ("npz", [b"a", b"b\0"], False),
        ("hdf5", [b"a", b""], True),
        ("hdf5", [b"a\0b"], False),
        ("bundle", [b"a\0"], True),
    ],
)
def test_a_text_that_would_not_come_back_is_left_out_only_if_told(tmp_path, to, texts, kept):
    source = Checkpoint.of({"w": np.ones(2, np.float32), "text": np.array(texts, object)})
    if not kept:
        says = r": text \(string with a zero byte that would be lost\); `lenient` omits such tensors"
        with pytest.raises(FormatError, match=says):
            plan_convert(source, to)
    plan = plan_convert(source, to, lenient=True)
    plan.write(tmp_path / "x")
    found = {name: tensor.read().tolist() for name, tensor in checkpoint.open(tmp_path / "x").items()}
    assert found == {"w": [1, 1]} | ({"text": texts} if kept else {})
    note = f"skipped, as {to} cannot store it: text (string with a zero byte that would be lost)"
    assert plan.notes == (() if kept else (note,))


@pytest.mark.parametrize(
    ("how", "taken"),
    [
        ({"layers": "fc"}, ["fc/kernel", "fc/kernel/Momentum"]),
        ({"layers": "fc", "drop_slots": True}, ["fc/kernel"]),
        ({"drop_slots": True}, ["fc/kernel", "out/bias", "vocabulary", "global_step"]),
    ],
)
def test_what_is_taken(source, how, taken):
    plan = plan_convert(source, "bundle", **how)
    assert list(plan.tensors) == taken
    assert {row["name"] for row in plan.rows if row["then"] == "not selected"} == VALUES.keys() - set(taken)


def test_only_what_is_taken_can_be_refused(source):
    assert list(plan_convert(source, "safetensors", layers="out", drop_slots=True).tensors) == ["out/bias"]


def test_who_knows_more_than_the_names_says_what_a_slot_is(source):
    kind = dict.fromkeys(VALUES, "weight") | {"out/bias": "slot"}
    assert "out/bias" not in plan_convert(source.described(kind, {}), "bundle", drop_slots=True).tensors


def test_a_pattern_that_takes_nothing(source):
    with pytest.raises(UnknownName, match="'hidden1' matches nothing"):
        plan_convert(source, "bundle", layers="hidden1")


def test_texts_come_along_where_there_is_a_place_for_them(tmp_path):
    how = Writing(metadata={"format": "pt"})
    checkpoint.save({"w": np.ones(1)}, tmp_path / "x.safetensors", how=how)
    source = checkpoint.open(tmp_path / "x.safetensors")
    plan_convert(source, "safetensors", how=Writing(metadata={"by": "me"})).write(tmp_path / "y.safetensors")
    assert checkpoint.open(tmp_path / "y.safetensors").metadata == {"format": "pt", "by": "me"}
    assert plan_convert(source, "bundle").notes == ("skipped, as bundle stores no texts: format",)


def test_what_the_source_itself_leaves_out_is_said():
    source = Checkpoint.of({"w": np.ones(1)})
    source.left_out = ("optimizer/iterations",)
    (note,) = plan_convert(source, "npz").notes
    assert note == "skipped, as it is not a tensor of a model: optimizer/iterations"


@pytest.mark.parametrize("choice", [{"shard_bytes": 9}, {"like": "x.keras"}])
def test_a_choice_that_means_nothing_is_refused(source, choice):
    option = {
        "shard_bytes": "`shard_bytes` does not apply to npz, only to object, bundle, safetensors",
        "like": "`like` does not apply",
    }
    with pytest.raises(CkptError, match=option[next(iter(choice))]):
        plan_convert(source, "npz", how=Writing(**choice))


def test_formats_that_are_only_read_are_refused(source):
    for name in registry.names():
        if not registry.get(name).WRITES:
            with pytest.raises(FormatError, match=f"{name} is read only"):
                plan_convert(source, name)


@pytest.mark.parametrize("target", ["bundle", "npz", "safetensors", "hdf5"])
@pytest.mark.parametrize("start", ["bundle", "npz", "safetensors", "hdf5"])
def test_any_format_to_any(tmp_path, start, target):
    held = registry.get(start).HOLDS & registry.get(target).HOLDS - {"string", "variant"}
    values = {f"layer/{name}": np.arange(6).reshape(2, 3).astype(dtype) for name, dtype in numpy_dtypes(held)}
    checkpoint.save(values, tmp_path / "a", start)
    plan_convert(checkpoint.open(tmp_path / "a"), target).write(tmp_path / "b")
    found = checkpoint.open(tmp_path / "b")
    assert {name: (tensor.read().dtype, tensor.read().tolist()) for name, tensor in found.items()} == {
        name: (array.dtype, array.tolist()) for name, array in values.items()
    }


def numpy_dtypes(names):
    from ckpttool.core.dtypes import BY_NAME

    plain = [BY_NAME[name] for name in names if not name.startswith("q")]
    return [(dtype.name, dtype.numpy) for dtype in plain]
