"""Drafts of rules: what names, shapes, layers and order tell, and what they do not."""

from typing import Any

import numpy as np
import pytest
import torch

from ckpttool import checkpoint
from ckpttool.checkpoint import Checkpoint
from ckpttool.foreign.suggest import suggest
from ckpttool.graph.graph import Graph
from ckpttool.tensors import Array


@pytest.fixture(scope="module")
def graph(new_network: Any) -> Graph:
    """4-8-6-6-3."""
    with new_network().building() as net:
        X, y, _ = net.inputs()
        for name, units in (("hidden1", 8), ("hidden2", 6), ("hidden3", 6)):
            X = net.dense(X, units, name)
        net.classify(net.dense(X, 3, "outputs", relu=False), y)
    found: Graph = net.export()
    return found


def pairs(weights: Any, graph: Graph) -> dict[str, tuple[str, str, float]]:
    draft = suggest(weights, graph)
    assert draft.open == ()
    return {pair.target: (pair.source, str(pair.layout), pair.confidence) for pair in draft.pairs}


def saved(module: torch.nn.Module, tmp_path: Any) -> Checkpoint:
    torch.save(module.state_dict(), tmp_path / "net.pt")
    return checkpoint.open(tmp_path / "net.pt")


def test_a_sequential_of_torch_by_shapes_and_order(graph: Graph, tmp_path: Any) -> None:
    linear = [torch.nn.Linear(*sizes) for sizes in ((4, 8), (8, 6), (6, 6), (6, 3))]
    weights = saved(torch.nn.Sequential(*(part for each in linear for part in (each, torch.nn.ReLU()))), tmp_path)
    assert pairs(weights, graph) == {
        "hidden1/kernel": ("0.weight", "dense", 0.8),
        "hidden1/bias": ("0.bias", "keep", 0.8),
        "hidden2/kernel": ("2.weight", "dense", 0.8),
        "hidden2/bias": ("2.bias", "keep", 0.7),
        "hidden3/kernel": ("4.weight", "dense", 0.8),
        "hidden3/bias": ("4.bias", "keep", 0.7),
        "outputs/kernel": ("6.weight", "dense", 0.8),
        "outputs/bias": ("6.bias", "keep", 0.8),
    }


def values(names: list[str], turned: bool = False) -> dict[str, Array]:
    sizes = (4, 8, 6, 6, 3)
    kernels = {f"{n}/kernel": np.ones(sizes[i : i + 2], np.float32) for i, n in enumerate(names)}
    biases = {f"{n}/bias": np.ones(sizes[i + 1], np.float32) for i, n in enumerate(names)}
    return {**({n: k.T for n, k in kernels.items()} if turned else kernels), **biases}


def test_names_that_end_alike_come_before_shapes_and_order(graph: Graph) -> None:
    names = ["net/hidden1", "net/hidden3", "net/hidden2", "net/outputs"]
    found = pairs(Checkpoint.of(values(names)), graph)
    assert found["hidden2/bias"] == ("net/hidden2/bias", "keep", 0.9)
    assert found["hidden3/bias"] == ("net/hidden3/bias", "keep", 0.9)


def test_other_kernels_tell_whether_square_ones_are_turned(graph: Graph) -> None:
    for turned, layout in ((False, "keep"), (True, "dense")):
        found = pairs(Checkpoint.of(values(["a", "b", "c", "d"], turned)), graph)
        assert found["hidden3/kernel"] == ("c/kernel", layout, 0.8)


def test_a_square_kernel_that_nothing_tells_about_is_left_open(new_network: Any) -> None:
    with new_network().building() as net:
        X, y, _ = net.inputs(3)
        net.classify(net.dense(X, 3, "outputs", relu=False), y)
    draft = suggest(Checkpoint.of({"w": np.ones((3, 3), np.float32), "b": np.ones(3, np.float32)}), net.export())
    assert [pair.target for pair in draft.pairs] == ["outputs/bias"]
    (problem,) = draft.open
    assert problem == "outputs/kernel: w fits as dense and as keep, and no other kernel tells; write a rule"


def test_tensors_too_many_or_too_few_are_named(graph: Graph) -> None:
    given = values(["a", "b", "c", "d"])
    del given["a/bias"]
    draft = suggest(Checkpoint.of({**given, "e/bias": np.ones(6, np.float32), "z": np.ones(9, np.float32)}), graph)
    assert "hidden1/bias [8]: no tensor fits" in draft.open
    assert "z [9]: no variable fits" in draft.open
    assert {pair.target for pair in draft.pairs} >= {"hidden2/bias", "hidden3/bias"}  # beside their kernels


def test_training_state_is_dropped(graph: Graph) -> None:
    given = values(["a", "b", "c", "d"])
    extra = {"a/kernel/Adam": np.ones((4, 8), np.float32), "bn.num_batches_tracked": np.array(3)}
    draft = suggest(Checkpoint.of({**given, **extra}), graph)
    assert set(draft.dropped) == set(extra)
    assert draft.open == ()


def test_convolutions_and_batch_normalisation_of_torch(new_network: Any, tmp_path: Any) -> None:
    with new_network().building() as net:
        X = net.v1.placeholder(net.tf.float32, [None, 8, 8, 3], name="X")
        for name, inputs, outputs in (("conv1", 3, 4), ("conv2", 4, 4)):
            with net.v1.variable_scope(name):
                X = net.tf.nn.conv2d(X, net.variable("kernel", [3, 3, inputs, outputs]), 1, "SAME")
            with net.v1.variable_scope(f"bn{name[-1]}"):
                parts = {part: net.variable(part, [4]) for part in ("moving_mean", "moving_variance", "beta", "gamma")}
                X = net.tf.nn.batch_normalization(X, *parts.values(), 1e-3)
    modules = torch.nn.ModuleDict({"stem": torch.nn.Conv2d(3, 4, 3, bias=False), "norm_a": torch.nn.BatchNorm2d(4)})
    modules["body"], modules["norm_b"] = torch.nn.Conv2d(4, 4, 3, bias=False), torch.nn.BatchNorm2d(4)
    found = pairs(saved(modules, tmp_path), net.export())
    assert found["conv1/kernel"] == ("stem.weight", "conv", 0.8)
    assert found["conv2/kernel"] == ("body.weight", "conv", 0.8)
    assert found["bn2/moving_variance"][0] == "norm_b.running_var"
    assert found["bn1/gamma"][0] == "norm_a.weight"
    assert {pair[2] for name, pair in found.items() if name.startswith("bn")} == {0.5, 0.7}


def numbered(new_network: Any, first: int, count: int) -> Graph:
    """Square layers block1/fc, block2/fc ..."""
    with new_network().building() as net:
        X, y, _ = net.inputs()
        for number in range(first, first + count):
            X = net.dense(X, 4, f"block{number}/fc")
        net.classify(net.dense(X, 3, "outputs", relu=False), y)
    found: Graph = net.export()
    return found


def blocks(count: int) -> dict[str, Array]:
    """The same layers as PyTorch counts them, from 0, and its output's layer."""
    kernels = {f"layers.{number}.fc.weight": np.ones((4, 4), np.float32) for number in range(count)}
    return {**kernels, "outputs.weight": np.ones((3, 4), np.float32)}


def test_layers_counted_from_0_are_those_counted_from_1(new_network: Any) -> None:
    draft = suggest(Checkpoint.of(blocks(3)), numbered(new_network, 1, 3))
    assert [(pair.source, pair.target) for pair in draft.pairs] == [
        ("layers.0.fc.weight", "block1/fc/kernel"),
        ("layers.1.fc.weight", "block2/fc/kernel"),
        ("layers.2.fc.weight", "block3/fc/kernel"),
        ("outputs.weight", "outputs/kernel"),
    ]


def test_numbers_say_nothing_where_the_counts_and_the_first_differ(new_network: Any) -> None:
    draft = suggest(Checkpoint.of(blocks(2)), numbered(new_network, 1, 3))
    assert [pair.target for pair in draft.pairs] == ["outputs/kernel"]
    assert "block1/fc/kernel [4, 4]: 2 tensors fit, layers.0.fc.weight, layers.1.fc.weight" in draft.open


def test_a_recurrent_cell_of_torch_is_left_open_with_the_layout_that_fits(new_network: Any, tmp_path: Any) -> None:
    with new_network().building() as net:
        X, y, _ = net.inputs(8)
        X = net.dense(X, 20, "rnn/basic_lstm_cell")
        net.classify(net.dense(X, 3, "outputs", relu=False), y)
    modules = torch.nn.ModuleDict({"rnn": torch.nn.LSTM(3, 5), "outputs": torch.nn.Linear(20, 3)})
    draft = suggest(saved(modules, tmp_path), net.export())
    arrays = "rnn.weight_ih_l0 rnn.weight_hh_l0 rnn.bias_ih_l0 rnn.bias_hh_l0"
    fit = f"no tensor fits; a rule might take {arrays} by lstm(source=torch, target=tf1)"
    assert [pair.target for pair in draft.pairs] == ["outputs/kernel", "outputs/bias"]
    assert draft.open[0] == f"rnn/basic_lstm_cell/kernel [8, 20]: {fit}"
    assert draft.open[1].startswith("rnn/basic_lstm_cell/bias [20]: no tensor fits; a rule might take rnn.weight_ih_l0")


def test_a_cell_without_biases_is_no_dense_layer(new_network: Any, tmp_path: Any) -> None:
    with new_network().building() as net:
        X, y, _ = net.inputs(3)
        net.classify(net.v1.matmul(X, net.variable("gru/kernel", [3, 15])), y)
        net.variable("gru/recurrent_kernel", [5, 15])
    draft = suggest(saved(torch.nn.ModuleDict({"gru": torch.nn.GRU(3, 5, bias=False)}), tmp_path), net.export())
    assert draft.pairs == ()
    assert "gru.weight_ih_l0 gru.weight_hh_l0 by" in draft.open[0]


@pytest.mark.parametrize(
    ("names", "known"), [(("dense", "dense_1", "dense_2"), True), (("first", "middle", "stem"), False)]
)
def test_sorted_names_are_in_the_order_of_layers_only_by_their_numbers(
    names: tuple[str, ...], known: bool, new_network: Any
) -> None:
    given = {f"{name}/kernel": np.ones((4, 4), np.float32) for name in names}
    draft = suggest(Checkpoint.of({**given, "top/kernel": np.ones((4, 3), np.float32)}), numbered(new_network, 1, 3))
    found = {pair.target: pair.source for pair in draft.pairs if "fc" in pair.target}
    kernels = [f"block{number}/fc/kernel" for number in (1, 2, 3)]
    assert found == (dict(zip(kernels, given, strict=True)) if known else {})


def test_a_batch_normalisation_of_keras_1(new_network: Any) -> None:
    with new_network().building() as net:
        X = net.v1.placeholder(net.tf.float32, [None, 4], name="X")
        with net.v1.variable_scope("norm"):
            parts = {part: net.variable(part, [4]) for part in ("moving_mean", "moving_variance", "beta", "gamma")}
        net.tf.nn.batch_normalization(X, *parts.values(), 1e-3)
    names = {"gamma": "gamma_1", "beta": "beta_1", "moving_mean": "running_mean_1", "moving_variance": "running_std_1"}
    found = pairs(Checkpoint.of({f"bn1/{name}": np.ones(4, np.float32) for name in names.values()}), net.export())
    assert {target: pair[0] for target, pair in found.items()} == {f"norm/{k}": f"bn1/{v}" for k, v in names.items()}
