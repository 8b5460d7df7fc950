"""A PyTorch network whose batch normalisations have another epsilon than the graph's: 1e-5 there, 1e-3 here."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

LAYERS = "conv1 = conv2d(4, 3); bn1 = batch_norm({0}); p = global_avg_pool(); fc = dense(5); bn2 = batch_norm({0})"


def write(folder: Path, epsilon: float = 1e-5, affine: bool = True) -> None:
    """Write a network with variances as small as epsilons, and its final outputs."""
    torch.manual_seed(0)
    norms = {"bn1": torch.nn.BatchNorm2d(4, epsilon, affine=affine), "bn2": torch.nn.BatchNorm1d(5, epsilon)}
    net = torch.nn.ModuleDict({"conv1": torch.nn.Conv2d(3, 4, 3, padding=1), "fc": torch.nn.Linear(4, 5), **norms})
    for norm in norms.values():
        norm.running_mean.normal_(0, 0.1)
        norm.running_var.uniform_(0.0015 if not affine else 0.0001, 0.5)
    rows, net = torch.randn(3, 3, 6, 6), net.eval()
    with torch.no_grad():
        top = net["bn2"](net["fc"](net["bn1"](net["conv1"](rows)).mean((2, 3))))
    torch.save(net.state_dict(), folder / "net.pt")
    np.savez(folder / "sample.npz", X=rows.permute(0, 2, 3, 1).numpy(), bn2=top.numpy())


def make(folder: Path) -> None:
    write(folder)


CHECK = "--check sample.npz --tolerance 1e-5 --overwrite -o out.ckpt"
FOLDED = "batch_norm(epsilon=1e-05, target_epsilon=0.001)"


def test_a_draft_makes_up_for_it(folder: Path, run: Callable[..., str]) -> None:
    run(f"ckpttool new --input 6,6,3 --layers '{LAYERS.format('')}' -o g.ckpt")
    printed = run("ckpttool import net.pt --into g.ckpt.meta --suggest -o rules.toml")
    assert f"bn1.weight bn1.running_var\tbn1/gamma bn1/moving_variance\t{FOLDED}" in printed
    assert "1e-05 in the source" in (folder / "rules.toml").read_text()
    assert "checked: 1 tensor equals" in run(f"ckpttool import net.pt --into g.ckpt --rules rules.toml {CHECK}")


def test_a_check_names_the_epsilon(folder: Path, run: Callable[..., str]) -> None:
    run(f"ckpttool new --input 6,6,3 --layers '{LAYERS.format('')}' -o g.ckpt")
    printed = run(f"ckpttool import net.pt --into g.ckpt --rules pytorch {CHECK}", exit_code=1)
    assert "wrong at bn2 (" in printed
    assert f"0.001 in the graph (bn1, bn2), which is why: transform = '{FOLDED}'" in printed


def test_where_the_graph_has_the_same_nothing_is_done(folder: Path, run: Callable[..., str]) -> None:
    run(f"ckpttool new --input 6,6,3 --layers '{LAYERS.format('epsilon=1e-5')}' -o g.ckpt")
    assert "batch_norm(" not in run("ckpttool import net.pt --into g.ckpt.meta --suggest -o rules.toml")
    run(f"ckpttool import net.pt --into g.ckpt --rules rules.toml {CHECK}")


def test_a_check_finds_that_the_assumed_epsilon_is_not_the_network_s(folder: Path, run: Callable[..., str]) -> None:
    write(folder, epsilon=1e-3)
    run(f"ckpttool new --input 6,6,3 --layers '{LAYERS.format('')}' -o g.ckpt")
    run("ckpttool import net.pt --into g.ckpt.meta --suggest -o rules.toml")
    printed = run(f"ckpttool import net.pt --into g.ckpt --rules rules.toml {CHECK}", exit_code=1)
    assert "the source's batch normalisations have the graph's epsilon, which is why: transform = 'keep'" in printed
    run(f"ckpttool import net.pt --into g.ckpt --rules pytorch {CHECK}")


def test_a_variance_without_a_gamma_takes_it_up_alone(folder: Path, run: Callable[..., str]) -> None:
    """In a graph of plain ops, whose epsilon is an added constant."""
    import tensorflow as tf

    write(folder, affine=False)
    v1 = tf.compat.v1
    with tf.Graph().as_default() as graph:
        rows = v1.placeholder(tf.float32, (None, 6, 6, 3), name="X")
        rows = tf.nn.conv2d(rows, v1.get_variable("conv1/kernel", (3, 3, 3, 4)), 1, "SAME")
        rows = rows + v1.get_variable("conv1/bias", (4,))
        mean, variance = (v1.get_variable(f"bn1/moving_{part}", (4,)) for part in ("mean", "variance"))
        rows = tf.reduce_mean(tf.nn.batch_normalization(rows, mean, variance, None, None, 1e-3), (1, 2))
        rows = rows @ v1.get_variable("fc/kernel", (4, 5)) + v1.get_variable("fc/bias", (5,))
        names = ("moving_mean", "moving_variance", "beta", "gamma")
        parts = [v1.get_variable(f"bn2/{name}", (5,)) for name in names]
        tf.identity(tf.nn.batch_normalization(rows, *parts, 1e-3), name="bn2")
        v1.train.Saver()
        v1.train.export_meta_graph(str(folder / "plain.meta"), graph=graph)
    printed = run("ckpttool import net.pt --into plain.meta --suggest -o rules.toml")
    assert f"bn1.running_var\tbn1/moving_variance\t{FOLDED}" in printed
    run(f"ckpttool import net.pt --into plain.meta --rules rules.toml {CHECK}")


def test_an_onnx_model_says_its_own(folder: Path, run: Callable[..., str]) -> None:
    import onnx
    from onnx import helper, numpy_helper
    from onnx.reference import ReferenceEvaluator

    numbers = np.random.default_rng(0)
    held = {name: numbers.uniform(0.1, 1, 3).astype(np.float32) for name in ("scale", "shift", "mean", "var")}
    node = helper.make_node("BatchNormalization", ["X", *held], ["Y"], epsilon=0.01)
    image, output = (helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [2, 3]) for name in "XY")
    tensors = [numpy_helper.from_array(value, name) for name, value in held.items()]
    graph = helper.make_graph([node], "g", [image], [output], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)], ir_version=8)
    onnx.save(model, folder / "bn.onnx")
    rows = numbers.standard_normal((2, 3)).astype(np.float32)
    (computed,) = ReferenceEvaluator(model).run(None, {"X": rows})
    np.savez(folder / "sample.npz", X=rows, bn1=computed)
    run("ckpttool new --input 3 --layers 'bn1 = batch_norm()' -o g.ckpt")
    printed = run("ckpttool import bn.onnx --into g.ckpt.meta --suggest -o rules.toml")
    assert "batch_norm(epsilon=0.01, target_epsilon=0.001)" in printed
    run(f"ckpttool import bn.onnx --into g.ckpt --rules rules.toml {CHECK}")
