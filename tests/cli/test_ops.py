"""`ops`: the ops of a graph, in its order."""

from pathlib import Path
from typing import Any

import numpy as np
from onnx import helper, numpy_helper, save

from tests.hostile_models import NESTED, write


def test_ops_of_a_scope_and_type(shell: Any, model: Path) -> None:
    assert shell.lines("ops", model, "--name", "dnn/hidden[12]", "--type", "MatMul|Relu") == [
        "dnn/hidden1/MatMul\tMatMul",
        "dnn/hidden1/Relu\tRelu",
        "dnn/hidden2/MatMul\tMatMul",
        "dnn/hidden2/Relu\tRelu",
    ]


def test_inputs_are_shown_when_asked(shell: Any, model: Path) -> None:
    lines = shell.lines("ops", model, "--name", "dnn/outputs", "--inputs")
    assert lines == [
        "dnn/outputs/MatMul\tMatMul\tdnn/hidden5/Relu, outputs/kernel/read",
        "dnn/outputs/BiasAdd\tBiasAdd\tdnn/outputs/MatMul, outputs/bias/read",
    ]


def test_json_has_every_op_with_its_inputs(shell: Any, model: Path) -> None:
    rows = shell.json("ops", model)
    assert rows[0] == {"name": "X", "type": "Placeholder", "inputs": []}
    assert {"name": "dnn/hidden1/Relu", "type": "Relu", "inputs": ["dnn/hidden1/BiasAdd"]} in rows
    assert len(rows) == 278


def test_the_meta_and_the_index_mean_the_same_model(shell: Any, model: Path) -> None:
    assert shell.lines("ops", f"{model}.meta") == shell.lines("ops", f"{model}.index") == shell.lines("ops", model)


def test_counts_by_type(shell: Any, model: Path) -> None:
    rows = shell.json("ops", model, "--name", "dnn", "--count")
    assert rows == [{"type": "BiasAdd", "count": 6}, {"type": "MatMul", "count": 6}, {"type": "Relu", "count": 5}]


def test_a_name_that_is_not_there_has_its_nearest_named(shell: Any, model: Path) -> None:
    assert shell.error("ops", model, "--name", "dnn/hiden1") == (
        "pattern 'dnn/hiden1' matches nothing; nearest: dnn/hidden1, dnn/hidden5, dnn/hidden4"
    )


def test_a_type_that_is_not_there(shell: Any, model: Path) -> None:
    assert shell.error("ops", model, "--type", "Matmul").startswith("no op has type 'Matmul'; nearest: MatMul")


def test_a_broken_expression(shell: Any, model: Path) -> None:
    assert "is not a regular expression" in shell.error("ops", model, "--name", "hidden[")
    assert "is not a regular expression" in shell.error("ops", model, "--type", "(")


def test_a_file_that_is_not_there(shell: Any, tmp_path: Path) -> None:
    assert str(tmp_path / "none.ckpt") in shell.error("ops", tmp_path / "none.ckpt")


def test_a_truncated_graph(shell: Any, copied: Path) -> None:
    meta = Path(f"{copied}.meta")
    meta.write_bytes(meta.read_bytes()[:-100])
    assert shell.error("ops", copied).startswith(f"{meta}: ")


def test_something_that_is_no_graph(shell: Any, tmp_path: Path) -> None:
    path = tmp_path / "weights.meta"
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    assert "LFS" in shell.error("ops", path)


def test_a_model_of_onnx_has_tensors_and_no_ops(shell: Any, tmp_path: Path) -> None:
    weight = numpy_helper.from_array(np.ones((2, 3), np.float32), "fc/kernel")
    save(helper.make_model(helper.make_graph([], "graph", [], [], [weight])), tmp_path / "x.onnx")
    line = shell.error("ops", tmp_path / "x.onnx")
    assert line.startswith(f"{tmp_path}/x.onnx: a model of ONNX, whose ops are not supported")
    assert "vars, layers, stats, show, diff, verify, convert, edit and import" in line
    assert [row["name"] for row in shell.json("layers", tmp_path / "x.onnx")] == ["fc"]
    assert [row["name"] for row in shell.json("vars", tmp_path / "x.onnx")] == ["fc/kernel"]


def test_weights_alone_have_no_ops_and_their_format_is_named(shell: Any, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.ones((2, 3), np.float32))
    line = shell.error("ops", tmp_path / "x.npy")
    assert line.startswith(f"{tmp_path}/x.npy: weights (npy), expected a graph of TensorFlow: vars, layers, stats")
    assert [row["name"] for row in shell.json("vars", tmp_path / "x.npy")] == ["x"]


def test_functions_are_looked_into_unless_the_top_alone_is_asked_for(shell: Any, tmp_path: Path) -> None:
    path = write(NESTED["While"]("Relu"), tmp_path / "x.meta")
    assert [row["name"] for row in shell.json("ops", path, "--type", "Relu")] == ["call/cond/act"]
    assert "call" in shell.lines("ops", path, "--main", "--name", "call")[0]
    assert "no op has type" in shell.error("ops", path, "--main", "--type", "Relu")
