"""Edits of names: what stays, what it is called, and that the bytes are copied as they lie."""

from pathlib import Path

import numpy as np
import pytest

from ckpttool import checkpoint
from ckpttool.checkpoint import Checkpoint
from ckpttool.core.errors import CkptError, PlanError, UnknownName
from ckpttool.surgery.edits.names import add_prefix, drop, drop_slots, keep, rename, strip_prefix
from ckpttool.surgery.edits.taking import owners

NAMES = ["hidden1/kernel", "hidden1/kernel/Momentum", "hidden10/kernel", "Adam/m/hidden1/kernel", "global_step"]


@pytest.fixture
def ckpt() -> Checkpoint:
    return Checkpoint.of({name: np.full(2, place, np.float32) for place, name in enumerate(NAMES)})


def test_slots_stay_and_go_with_their_variables(ckpt: Checkpoint) -> None:
    assert list(keep(ckpt, "hidden1")) == ["hidden1/kernel", "hidden1/kernel/Momentum", "Adam/m/hidden1/kernel"]
    assert list(drop(ckpt, "hidden1")) == ["hidden10/kernel", "global_step"]
    assert list(drop(ckpt, ".*/Momentum")) == [name for name in NAMES if "Momentum" not in name]


def test_slots_are_renamed_with_their_variables(ckpt: Checkpoint) -> None:
    found = rename(ckpt, r"hidden(\d)", r"net/layer\1")
    assert list(found) == [
        "net/layer1/kernel",
        "net/layer1/kernel/Momentum",
        "hidden10/kernel",
        "Adam/m/net/layer1/kernel",
        "global_step",
    ]
    assert owners(found) == {
        "net/layer1/kernel/Momentum": "net/layer1/kernel",
        "Adam/m/net/layer1/kernel": "net/layer1/kernel",
    }
    assert {found.origins.get(name, name): tensor.read()[0] for name, tensor in found.items()} == {
        name: place for place, name in enumerate(NAMES)
    }


def test_a_slot_may_have_a_name_of_its_own(ckpt: Checkpoint) -> None:
    found = rename(rename(ckpt, "hidden1/kernel/Momentum", "memory"), "hidden1", "fc")
    assert list(found)[:2] == ["fc/kernel", "memory"]


def test_drop_slots_goes_by_kinds(ckpt: Checkpoint) -> None:
    assert list(drop_slots(ckpt)) == ["hidden1/kernel", "hidden10/kernel"]
    with pytest.raises(UnknownName, match="there are no slots and no step counters"):
        drop_slots(drop_slots(ckpt))


@pytest.mark.parametrize("prefix", ["model/net", "model/net/"])
def test_a_prefix_there_and_back(ckpt: Checkpoint, prefix: str) -> None:
    longer = add_prefix(ckpt, prefix)
    assert list(longer) == [f"model/net/{name}" for name in NAMES]
    assert list(strip_prefix(longer, prefix)) == NAMES
    assert strip_prefix(longer, prefix).origins == {}


@pytest.mark.parametrize(
    ("edit", "error", "message"),
    [
        (lambda c: keep(c, "hiden1"), UnknownName, "'hiden1' matches nothing; nearest: hidden1"),
        (lambda c: drop(c, "hidden("), CkptError, "is not a regular expression"),
        (lambda c: rename(c, "hiden1", "x"), UnknownName, "'hiden1' matches nothing; nearest: hidden1"),
        (
            lambda c: rename(c, "hidden10?", "x"),
            PlanError,
            "hidden1/kernel and hidden10/kernel would both be named x/k",
        ),
        (lambda c: rename(c, "hidden10", "hidden1"), PlanError, "hidden1/kernel and hidden10/kernel would both be"),
        (lambda c: rename(c, "hidden10/(.*)", ""), PlanError, "hidden10/kernel would be named ''"),
        (lambda c: rename(c, "hidden1", ""), PlanError, "hidden1/kernel would be named '/kernel'"),
        (lambda c: add_prefix(c, "/"), PlanError, "the prefix is empty"),
        (lambda c: strip_prefix(c, "hiden1"), UnknownName, "no name begins with hiden1/; nearest: hidden1"),
        (lambda c: strip_prefix(c, "hidden1"), PlanError, r"3 names do not begin with hidden1/, hidden10/kernel among"),
    ],
)
def test_what_is_refused(ckpt: Checkpoint, edit: object, error: type[CkptError], message: str) -> None:
    with pytest.raises(error, match=message):
        edit(ckpt)  # type: ignore[operator]


def test_renamed_tensors_are_still_copied_by_the_system(ckpt: Checkpoint, tmp_path: Path) -> None:
    checkpoint.save(ckpt, tmp_path / "a.ckpt")
    source = checkpoint.open(tmp_path / "a.ckpt")
    found = add_prefix(rename(keep(source, "hidden1"), "hidden1", "fc"), "net")
    assert found["net/fc/kernel"].extent == source["hidden1/kernel"].extent is not None


def test_an_object_graph_stays_under_its_name_and_follows(tmp_path: Path) -> None:
    """TensorFlow 2 restores what was renamed and stripped of its optimizer; the model's weights are all there."""
    import tensorflow as tf

    model = tf.keras.Sequential([tf.keras.layers.Input((2,)), tf.keras.layers.Dense(3, name="fc")], name="net")
    model.compile("adam", "mse")
    model.optimizer.build(model.trainable_variables)
    path = tf.train.Checkpoint(model=model).save(str(tmp_path / "ckpt"))
    source = checkpoint.open(path)
    found = drop_slots(source)
    assert {tensor.shape for name, tensor in found.items() if name.startswith("net/fc")} == {(2, 3), (3,)}
    assert [name for name, kind in found.kinds().items() if kind in ("slot", "step")] == []
    checkpoint.save(rename(found, "net/fc", "net/dense"), tmp_path / "edited")

    other = tf.keras.Sequential([tf.keras.layers.Input((2,)), tf.keras.layers.Dense(3, name="fc")])
    other.compile("adam", "mse")
    tf.train.Checkpoint(model=other).restore(str(tmp_path / "edited")).expect_partial()
    for mine, theirs in zip(model.get_weights(), other.get_weights(), strict=True):
        assert mine.tobytes() == theirs.tobytes()
