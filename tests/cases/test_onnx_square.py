"""ONNX models with square kernels: each has the layout of the node that reads it, whatever the others'."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

CONV = "conv1 = conv2d({width}, 3, relu)"
TOP = {
    "pool": ["GlobalAveragePool", "Flatten"],
    "flatten": ["Flatten"],
    "channels_last": ["Transpose", "Flatten"],
}
"""The op between the convolution and the product."""
LAYERS = {"pool": "global_avg_pool()", "flatten": "flatten()", "channels_last": "flatten()"}


def write(folder: Path, top: str, product: str, width: int = 4) -> None:
    """Write a convolution and a product with a square kernel, in the `product` form, with a sample."""
    numbers = np.random.default_rng(0)
    inputs = width if top == "pool" else 2 * 2 * width

    def drawn(*shape: int) -> np.ndarray:
        return (numbers.standard_normal(shape) * 0.3).astype(np.float32)

    weights = {"conv1.weight": drawn(width, 3, 3, 3), "conv1.bias": drawn(width)}
    weights |= {"onnx::MatMul_21": drawn(inputs, inputs), "fc1.bias": drawn(inputs)}
    nodes = [helper.make_node("Conv", ["X", "conv1.weight", "conv1.bias"], ["c"], pads=[1, 1, 1, 1])]
    nodes.append(helper.make_node("Relu", ["c"], ["0"]))
    for number, kind in enumerate(TOP[top], 1):
        order = {"perm": [0, 2, 3, 1]} if kind == "Transpose" else {}
        nodes.append(helper.make_node(kind, [str(number - 1)], [str(number)], **order))
    kernel, here = "onnx::MatMul_21", str(len(TOP[top]))
    if product == "transposed":
        nodes.append(helper.make_node("Transpose", [kernel], ["t"]))
        kernel = "t"
    if product.startswith("gemm"):
        nodes.append(helper.make_node("Gemm", [here, kernel, "fc1.bias"], ["Y"], transB=int(product == "gemm")))
    else:
        nodes.append(helper.make_node("MatMul", [here, kernel], ["m"]))
        nodes.append(helper.make_node("Add", ["m", "fc1.bias"], ["Y"]))
    image = helper.make_tensor_value_info("X", onnx.TensorProto.FLOAT, [5, 3, 2, 2])
    output = helper.make_tensor_value_info("Y", onnx.TensorProto.FLOAT, [5, inputs])
    held = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    graph = helper.make_graph(nodes, "g", [image], [output], held)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, folder / "square.onnx")
    rows = numbers.standard_normal((5, 3, 2, 2)).astype(np.float32)
    (computed,) = ReferenceEvaluator(model).run(None, {"X": rows})
    np.savez(folder / "sample.npz", X=rows.transpose(0, 2, 3, 1), fc1=computed)


def make(folder: Path) -> None:
    """As PyTorch exports a Linear called with more than two dimensions: a MatMul, its inputs first."""
    write(folder, "pool", "matmul")


@pytest.mark.parametrize("product", ["matmul", "gemm", "gemm_inputs_first", "transposed"])
@pytest.mark.parametrize("top", TOP)
def test_the_draft_heeds_the_node_that_reads_a_kernel(
    folder: Path, run: Callable[..., str], top: str, product: str
) -> None:
    write(folder, top, product)
    units = 4 if top == "pool" else 16
    run(
        "ckpttool new --input 2,2,3 -o g.ckpt --layers "
        f"'conv1 = conv2d(4, 3, relu); between = {LAYERS[top]}; fc1 = dense({units})'"
    )
    run("ckpttool import square.onnx --into g.ckpt.meta --suggest -o rules.toml")
    command = "ckpttool import square.onnx --into g.ckpt --rules rules.toml --check sample.npz"
    assert "checked: 1 tensor equals" in run(f"{command} --tolerance 1e-5 -o o.ckpt")


def test_once_converted_nothing_tells_any_more_and_it_stays_open(folder: Path, run: Callable[..., str]) -> None:
    run("ckpttool new --input 2,2,3 -o g.ckpt --layers 'conv1 = conv2d(4, 3); p = global_avg_pool(); fc1 = dense(4)'")
    run("ckpttool convert square.onnx -o square.npz")
    printed = run("ckpttool import square.npz --into g.ckpt.meta --suggest -o rules.toml", exit_code=1)
    assert "open: fc1/kernel: onnx::MatMul_21 fits as dense and as keep, and no other kernel shows which" in printed


def test_a_rule_without_a_transform_is_held_against_the_nodes(folder: Path, run: Callable[..., str]) -> None:
    """A MatMul's kernel is kept; one of a Gemm that transposes is rejected, with the transform that its rule needs."""
    run("ckpttool new --input 2,2,3 -o g.ckpt --layers 'conv1 = conv2d(4, 3); p = global_avg_pool(); fc1 = dense(4)'")
    rules = r"--rename 'onnx::MatMul_21=>fc1/kernel' --rename '(fc1|conv1)\.bias=>\1/bias' --rename 'conv1\.weight=>'"
    command = f"ckpttool import square.onnx --into g.ckpt {rules} --lenient -o o.ckpt"
    assert "fc1/kernel\t[4, 4]\trestored from onnx::MatMul_21\t" in run(command)
    write(folder, "pool", "gemm")
    assert "specify transform = 'dense', or 'keep', in a rule" in run(f"{command} --overwrite")


def test_a_rule_that_contradicts_a_node_is_followed_and_that_is_said(folder: Path, run: Callable[..., str]) -> None:
    """As in drafts made before nodes were consulted."""
    run("ckpttool new --input 2,2,3 -o g.ckpt --layers 'conv1 = conv2d(4, 3); p = global_avg_pool(); fc1 = dense(4)'")
    rule = "[[rule]]\nfrom = 'onnx::MatMul_21'\nto = 'fc1/kernel'\ntransform = 'dense'\n"
    (folder / "old.toml").write_text(rule)
    printed = run("ckpttool import square.onnx --into g.ckpt --rules old.toml --lenient -o o.ckpt")
    assert (
        "contradicted: onnx::MatMul_21 by dense, though transform = 'keep' is what its op in the file says" in printed
    )


@pytest.mark.parametrize("biased", [True, False])
def test_the_tensors_of_a_cell_go_over_together(folder: Path, run: Callable[..., str], biased: bool) -> None:
    """An LSTM with square kernels: its gates have ONNX's own order."""
    import tensorflow as tf

    numbers, units = np.random.default_rng(0), 4
    shapes = {"onnx::LSTM_1": (1, 4 * units, 4), "onnx::LSTM_2": (1, 4 * units, units), "onnx::LSTM_3": (1, 8 * units)}
    held = {name: numbers.standard_normal(shape).astype(np.float32) * 0.5 for name, shape in shapes.items()}
    if not biased:
        del held["onnx::LSTM_3"]
    node = helper.make_node("LSTM", ["X", *held], ["Y", "H"], hidden_size=units)
    rows = helper.make_tensor_value_info("X", onnx.TensorProto.FLOAT, [3, 5, 4])
    last = helper.make_tensor_value_info("H", onnx.TensorProto.FLOAT, [1, 5, units])
    tensors = [numpy_helper.from_array(value, name) for name, value in held.items()]
    graph = helper.make_graph([node], "g", [rows], [last], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)
    onnx.save(model, folder / "cell.onnx")
    x = numbers.standard_normal((3, 5, 4)).astype(np.float32)
    (hidden,) = ReferenceEvaluator(model).run(None, {"X": x})
    v1 = tf.compat.v1
    with tf.Graph().as_default() as target:
        steps = v1.placeholder(tf.float32, (3, 5, 4), name="X")
        kernel, recurrent = (v1.get_variable(f"lstm/{name}", (4, 4 * units)) for name in ("kernel", "recurrent_kernel"))
        bias = v1.get_variable("lstm/bias", (4 * units,)) if biased else 0.0
        state, memory = tf.zeros((5, units)), tf.zeros((5, units))
        for step in range(3):
            gates = tf.split(steps[step] @ kernel + state @ recurrent + bias, 4, axis=1)
            taken, forgotten, new, shown = gates
            memory = tf.sigmoid(forgotten) * memory + tf.sigmoid(taken) * tf.tanh(new)
            state = tf.sigmoid(shown) * tf.tanh(memory)
        tf.identity(state, name="H")
        v1.train.Saver()
        v1.train.export_meta_graph(str(folder / "lstm.meta"), graph=target)
    np.savez(folder / "cell_sample.npz", X=x, H=hidden[0])
    printed = run("ckpttool import cell.onnx --into lstm.meta --suggest -o draft.toml")
    assert f"{' '.join(held)}\tlstm/kernel lstm/recurrent_kernel" in printed
    command = "ckpttool import cell.onnx --into lstm.meta --rules draft.toml --check cell_sample.npz"
    assert "checked: 1 tensor equals" in run(f"{command} --tolerance 1e-5 -o o.ckpt")
