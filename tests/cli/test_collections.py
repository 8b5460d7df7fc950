"""`collections`: what a graph's author stored for reuse."""

from pathlib import Path
from typing import Any

ADD = ("--add", "my_important_ops", "X:0", "y:0", "GradientDescent")


def test_listing(shell: Any, model: Path) -> None:
    rows = {row["name"]: row for row in shell.json("collections", model)}
    assert rows["train_op"] == {"name": "train_op", "kind": "node", "size": 1, "items": ["GradientDescent"]}
    assert rows["trainable_variables"]["items"][:2] == ["hidden1/kernel:0", "hidden1/bias:0"]


def test_names_are_added_to_a_new_graph(shell: Any, model: Path, tmp_path: Path) -> None:
    out = tmp_path / "named.meta"
    shell.run("collections", model, *ADD, "-o", out)
    row = {row["name"]: row for row in shell.json("collections", out)}["my_important_ops"]
    assert row == {"name": "my_important_ops", "kind": "node", "size": 3, "items": ["X:0", "y:0", "GradientDescent"]}
    assert shell.lines("ops", out) == shell.lines("ops", model)


def test_a_plan_writes_nothing(shell: Any, model: Path, tmp_path: Path) -> None:
    planned = shell.json("collections", model, *ADD, "--plan")
    out = tmp_path / "named.meta"
    assert planned == shell.json("collections", model, *ADD, "-o", out, "--plan")
    assert not out.exists()
    assert planned == shell.json("collections", model, *ADD, "-o", out) == shell.json("collections", out)


def test_what_is_there_already_is_not_added_twice(shell: Any, model: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "first.meta", tmp_path / "second.meta"
    shell.run("collections", model, *ADD, "-o", first)
    shell.run("collections", first, "--add", "my_important_ops", "X:0", "loss/loss:0", "-o", second)
    row = {row["name"]: row for row in shell.json("collections", second)}["my_important_ops"]
    assert row["items"] == ["X:0", "y:0", "GradientDescent", "loss/loss:0"]


def test_an_op_that_is_not_there(shell: Any, model: Path, tmp_path: Path) -> None:
    out = tmp_path / "named.meta"
    line = shell.error("collections", model, "--add", "key", "dnn/hidden1/Rel:0", "-o", out)
    assert "no op named dnn/hidden1/Rel; nearest: dnn/hidden1/Relu" in line
    assert not out.exists()


def test_a_collection_of_another_kind(shell: Any, model: Path, tmp_path: Path) -> None:
    line = shell.error("collections", model, "--add", "variables", "X:0", "-o", tmp_path / "named.meta")
    assert line.endswith("collection variables holds a bytes_list, not names of ops")


def test_an_output_that_exists(shell: Any, model: Path, tmp_path: Path) -> None:
    out = tmp_path / "named.meta"
    out.write_bytes(b"precious")
    assert "--overwrite" in shell.error("collections", model, *ADD, "-o", out)
    assert out.read_bytes() == b"precious"
    shell.run("collections", model, *ADD, "-o", out, "--overwrite")
    assert shell.lines("ops", out)


def test_options_that_belong_together(shell: Any, model: Path) -> None:
    assert "--add KEY requires NAMES" in shell.error("collections", model, "X:0")
    assert "--add KEY requires NAMES" in shell.error("collections", model, *ADD)


def test_tensorflow_finds_the_collection(shell: Any, model: Path, tmp_path: Path) -> None:
    from ckpttool.runtime.configure import tensorflow

    tf1 = tensorflow().compat.v1
    shell.run("collections", model, *ADD, "-o", tmp_path / "named.meta")
    with tf1.Graph().as_default():
        tf1.train.import_meta_graph(str(tmp_path / "named.meta"))
        found = tf1.get_collection("my_important_ops")
    assert [item.name for item in found] == ["X:0", "y:0", "GradientDescent"]
