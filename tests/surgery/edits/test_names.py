"""Edits of names: which tensors stay, their names, and that the bytes are copied unchanged."""

from pathlib import Path

import numpy as np
import pytest

from ckpttool import checkpoint
from ckpttool.checkpoint import Checkpoint
from ckpttool.core.errors import CkptError, PlanError, UnknownName
from ckpttool.surgery.edits import Edit
from ckpttool.surgery.edits.names import AddPrefix, Copy, Drop, DropSlots, Keep, Rename, StripPrefix

NAMES = ["hidden1/kernel", "hidden1/kernel/Momentum", "hidden10/kernel", "Adam/m/hidden1/kernel", "global_step"]


@pytest.fixture
def ckpt() -> Checkpoint:
    return Checkpoint.of({name: np.full(2, place, np.float32) for place, name in enumerate(NAMES)})


def test_slots_stay_and_go_with_their_variables(ckpt: Checkpoint) -> None:
    assert list(Keep("hidden1").apply(ckpt)) == ["hidden1/kernel", "hidden1/kernel/Momentum", "Adam/m/hidden1/kernel"]
    assert list(Drop("hidden1").apply(ckpt)) == ["hidden10/kernel", "global_step"]
    assert list(Drop(".*/Momentum").apply(ckpt)) == [name for name in NAMES if "Momentum" not in name]


def test_slots_are_renamed_with_their_variables(ckpt: Checkpoint) -> None:
    found = Rename({r"hidden(\d)": r"net/layer\1"}).apply(ckpt)
    assert list(found) == [
        "net/layer1/kernel",
        "net/layer1/kernel/Momentum",
        "hidden10/kernel",
        "Adam/m/net/layer1/kernel",
        "global_step",
    ]
    assert found.owners() == {
        "net/layer1/kernel/Momentum": "net/layer1/kernel",
        "Adam/m/net/layer1/kernel": "net/layer1/kernel",
    }
    assert {found.origins.get(name, name): tensor.read()[0] for name, tensor in found.items()} == {
        name: place for place, name in enumerate(NAMES)
    }


def test_of_several_rules_a_name_takes_the_first_that_matches_it(ckpt: Checkpoint) -> None:
    found = Rename.parse("hidden1/kernel=>a; hidden10=>hidden1;hidden1=>b").rules
    assert found == {"hidden1/kernel": "a", "hidden10": "hidden1", "hidden1": "b"}
    exchanged = Rename.parse("hidden1=>hidden10; hidden10=>hidden1").apply(ckpt)
    assert list(exchanged)[1:4] == ["hidden10/kernel/Momentum", "hidden1/kernel", "Adam/m/hidden10/kernel"]
    assert Rename.parse("a;b=>c").rules == {"a;b": "c"}


@pytest.mark.parametrize("text", ["a", "a=>", "=>b", "a=>b=>c", "a=>b; c=>d; e", "a=>b; c=>d=>e"])
def test_what_is_no_rule_is_refused(text: str) -> None:
    with pytest.raises(PlanError, match="expected 'RE=>NEW'"):
        Rename.parse(text)


def test_a_slot_may_have_a_name_of_its_own(ckpt: Checkpoint) -> None:
    found = Rename({"hidden1": "fc"}).apply(Rename({"hidden1/kernel/Momentum": "memory"}).apply(ckpt))
    assert list(found)[:2] == ["fc/kernel", "memory"]


def test_drop_slots_goes_by_kinds(ckpt: Checkpoint) -> None:
    assert list(DropSlots().apply(ckpt)) == ["hidden1/kernel", "hidden10/kernel", "global_step"]
    with pytest.raises(UnknownName, match="there are no slots"):
        DropSlots().apply(DropSlots().apply(ckpt))


@pytest.mark.parametrize("prefix", ["model/net", "model/net/"])
def test_a_prefix_there_and_back(ckpt: Checkpoint, prefix: str) -> None:
    longer = AddPrefix(prefix).apply(ckpt)
    assert list(longer) == [f"model/net/{name}" for name in NAMES]
    assert list(StripPrefix(prefix).apply(longer)) == NAMES
    assert StripPrefix(prefix).apply(longer).origins == {}


@pytest.mark.parametrize(
    ("edit", "error", "message"),
    [
        (Keep("hiden1"), UnknownName, "'hiden1' matches nothing; nearest: hidden1"),
        (Drop("hidden("), CkptError, "is not a regular expression"),
        (Rename({"hiden1": "x"}), UnknownName, "'hiden1' matches nothing; nearest: hidden1"),
        (
            Rename({"hidden10?": "x"}),
            PlanError,
            "hidden1/kernel and hidden10/kernel would both be named x/k",
        ),
        (
            Rename({"hidden10": "hidden1"}),
            PlanError,
            "hidden1/kernel and hidden10/kernel would both be",
        ),
        (Rename({"hidden10/(.*)": ""}), PlanError, "hidden10/kernel would be named ''"),
        (Rename({"hidden1": ""}), PlanError, "hidden1/kernel would be named '/kernel'"),
        (AddPrefix("/"), PlanError, "the prefix is empty"),
        (StripPrefix("hiden1"), UnknownName, "no name begins with hiden1/; nearest: hidden1"),
        (
            StripPrefix("hidden1"),
            PlanError,
            r"3 names do not begin with hidden1/, hidden10/kernel among",
        ),
    ],
)
def test_what_is_refused(ckpt: Checkpoint, edit: Edit, error: type[CkptError], message: str) -> None:
    with pytest.raises(error, match=message):
        edit.apply(ckpt)


def test_renamed_tensors_are_still_copied_by_the_system(ckpt: Checkpoint, tmp_path: Path) -> None:
    checkpoint.save(ckpt, tmp_path / "a.ckpt")
    source = checkpoint.open(tmp_path / "a.ckpt")
    found = AddPrefix("net").apply(Rename({"hidden1": "fc"}).apply(Keep("hidden1").apply(source)))
    assert found["net/fc/kernel"].extent == source["hidden1/kernel"].extent is not None


def test_an_object_graph_stays_under_its_name_and_follows(tmp_path: Path) -> None:
    """TensorFlow 2 restores a renamed checkpoint without its optimizer, with all of the model's weights."""
    import tensorflow as tf

    model = tf.keras.Sequential([tf.keras.layers.Input((2,)), tf.keras.layers.Dense(3, name="fc")], name="net")
    model.compile("adam", "mse")
    model.optimizer.build(model.trainable_variables)
    path = tf.train.Checkpoint(model=model).save(str(tmp_path / "ckpt"))
    source = checkpoint.open(path)
    found = DropSlots().apply(source)
    assert {tensor.shape for name, tensor in found.items() if name.startswith("net/fc")} == {(2, 3), (3,)}
    assert [name for name, kind in found.kinds().items() if kind == "slot"] == []
    checkpoint.save(Rename({"net/fc": "net/dense"}).apply(found), tmp_path / "edited")

    other = tf.keras.Sequential([tf.keras.layers.Input((2,)), tf.keras.layers.Dense(3, name="fc")])
    other.compile("adam", "mse")
    tf.train.Checkpoint(model=other).restore(str(tmp_path / "edited")).expect_partial()
    for mine, theirs in zip(model.get_weights(), other.get_weights(), strict=True):
        assert mine.tobytes() == theirs.tobytes()


def test_copies_lie_beside_what_they_are_of_without_slots() -> None:
    ckpt = Checkpoint.of({"a/kernel": np.ones(2), "a/kernel/Momentum": np.ones(2), "b/kernel": np.zeros(1)})
    copied = Copy.parse(r"([ab]) => copy/\1").apply(ckpt)
    assert list(copied) == ["a/kernel", "a/kernel/Momentum", "b/kernel", "copy/a/kernel", "copy/b/kernel"]
    assert copied["copy/a/kernel"].read().tolist() == [1.0, 1.0]
    with pytest.raises(PlanError, match="b/kernel, the copy of a/kernel, is already the name of another tensor"):
        Copy("a", "b").apply(ckpt)
    with pytest.raises(UnknownName, match="matches nothing"):
        Copy("absent", "b").apply(ckpt)
