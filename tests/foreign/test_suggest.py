"""Drafts of rules: what follows from names, shapes, layers and order, and what does not."""

import re
from typing import Any

import numpy as np
import pytest
import torch

from ckpttool import checkpoint
from ckpttool.checkpoint import Checkpoint
from ckpttool.core.tensors import Array
from ckpttool.foreign.rules import read_rules
from ckpttool.foreign.suggest import TOGETHER, Suggestion, suggest, write_draft
from ckpttool.graph.core import Graph
from ckpttool.layouts.recurrent import Lstm


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
    return {pair.targets[0]: (pair.sources[0], str(pair.layout), pair.confidence) for pair in draft.pairs}


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
    assert [pair.targets[0] for pair in draft.pairs] == ["outputs/bias"]
    (problem,) = draft.open
    assert (
        problem == "outputs/kernel: w fits as dense and as keep, and no other kernel shows which; specify it in a rule"
    )


def test_tensors_too_many_or_too_few_are_named(graph: Graph) -> None:
    given = values(["a", "b", "c", "d"])
    del given["a/bias"]
    draft = suggest(Checkpoint.of({**given, "e/bias": np.ones(6, np.float32), "z": np.ones(9, np.float32)}), graph)
    assert "hidden1/bias [8]: no tensor fits" in draft.open
    assert "z [9]: no variable fits" in draft.open
    assert {pair.targets[0] for pair in draft.pairs} >= {"hidden2/bias", "hidden3/bias"}  # next to their kernels


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
    assert found["bn2/moving_mean"][0] == "norm_b.running_mean"
    assert found["bn1/gamma"][:2] == ("norm_a.weight", "batch_norm(epsilon=1e-05, target_epsilon=0.001)")
    assert {pair[2] for name, pair in found.items() if name.startswith("bn")} == {0.5, 0.7}


def test_it_is_said_where_a_flattened_image_is_assumed_channels_first(new_network: Any, tmp_path: Any) -> None:
    with new_network().building() as net:
        X = net.v1.placeholder(net.tf.float32, [None, 3, 3, 2], name="X")
        with net.v1.variable_scope("conv"):
            X = net.tf.nn.conv2d(X, net.variable("kernel", [3, 3, 2, 4]), 1, "SAME")
        net.dense(net.tf.reshape(X, [-1, 36]), 36, "fc")
    modules = torch.nn.ModuleDict({"conv": torch.nn.Conv2d(2, 4, 3, bias=False), "fc": torch.nn.Linear(36, 36)})
    draft = suggest(saved(modules, tmp_path), net.export())
    assert [str(pair.layout) for pair in draft.pairs if pair.sources == ("fc.weight",)] == ["flatten(channels=4)"]
    assert draft.notes == (
        "assumed: the source flattens [channels, height, width] before fc.weight; "
        "one that flattens [height, width, channels] takes `dense` in place of `flatten`",
    )


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
    """The same layers as numbered by PyTorch, from 0, and its output layer."""
    kernels = {f"layers.{number}.fc.weight": np.ones((4, 4), np.float32) for number in range(count)}
    return {**kernels, "outputs.weight": np.ones((3, 4), np.float32)}


def test_layers_counted_from_0_are_those_counted_from_1(new_network: Any) -> None:
    draft = suggest(Checkpoint.of(blocks(3)), numbered(new_network, 1, 3))
    assert [(pair.sources[0], pair.targets[0]) for pair in draft.pairs] == [
        ("layers.0.fc.weight", "block1/fc/kernel"),
        ("layers.1.fc.weight", "block2/fc/kernel"),
        ("layers.2.fc.weight", "block3/fc/kernel"),
        ("outputs.weight", "outputs/kernel"),
    ]


def test_numbers_say_nothing_where_the_counts_and_the_first_differ(new_network: Any) -> None:
    draft = suggest(Checkpoint.of(blocks(2)), numbered(new_network, 1, 3))
    assert [pair.targets[0] for pair in draft.pairs] == ["outputs/kernel"]
    assert "block1/fc/kernel [4, 4]: 2 tensors fit, layers.0.fc.weight, layers.1.fc.weight" in draft.open


def test_a_recurrent_cell_of_torch_is_carried_whole(new_network: Any, tmp_path: Any) -> None:
    with new_network().building() as net:
        X, y, _ = net.inputs(8)
        X = net.dense(X, 20, "rnn/basic_lstm_cell")
        net.classify(net.dense(X, 3, "outputs", relu=False), y)
    modules = torch.nn.ModuleDict({"rnn": torch.nn.LSTM(3, 5), "outputs": torch.nn.Linear(20, 3)})
    draft = suggest(saved(modules, tmp_path), net.export())
    assert draft.open == ()
    assert draft.pairs[0] == Suggestion(
        ("rnn.weight_ih_l0", "rnn.weight_hh_l0", "rnn.bias_ih_l0", "rnn.bias_hh_l0"),
        ("rnn/basic_lstm_cell/kernel", "rnn/basic_lstm_cell/bias"),
        Lstm("torch", "tf1"),
        TOGETHER,
    )
    write_draft(draft, tmp_path / "rules.toml")
    rule = read_rules(tmp_path / "rules.toml")[0]
    assert (rule.replacement, rule.transform) == (draft.pairs[0].targets, "lstm(source=torch, target=tf1)")


@pytest.mark.parametrize(
    "modules",
    [
        {"encoder": torch.nn.LSTM(5, 5), "decoder": torch.nn.LSTM(5, 5)},
        {"both": torch.nn.LSTM(5, 5, bidirectional=True)},
    ],
)
def test_cells_that_could_change_places_are_left_open(new_network: Any, tmp_path: Any, modules: Any) -> None:
    with new_network().building() as net:
        for name in ("a", "b"):
            X = net.v1.placeholder(net.tf.float32, [None, 10])
            net.dense(X, 20, f"{name}/lstm_cell")
    draft = suggest(saved(torch.nn.ModuleDict(modules), tmp_path), net.export())
    assert draft.pairs == ()
    assert draft.open[0].startswith("a/lstm_cell/kernel [10, 20]: no tensor fits; a rule could convert ")


def test_each_cell_of_several_is_the_one_of_its_number(new_network: Any, tmp_path: Any) -> None:
    with new_network().building() as net:
        for number in range(2):
            X = net.v1.placeholder(net.tf.float32, [None, 10])
            net.dense(X, 20, f"rnn/cell_{number}/lstm_cell")
    draft = suggest(saved(torch.nn.ModuleDict({"rnn": torch.nn.LSTM(5, 5, 2)}), tmp_path), net.export())
    assert draft.open == ()
    found = {pair.targets[0]: {*re.findall(r"_l(\d)", " ".join(pair.sources))} for pair in draft.pairs}
    assert found == {"rnn/cell_0/lstm_cell/kernel": {"0"}, "rnn/cell_1/lstm_cell/kernel": {"1"}}


def test_a_cell_without_biases_is_no_dense_layer(new_network: Any, tmp_path: Any) -> None:
    with new_network().building() as net:
        X, y, _ = net.inputs(3)
        net.classify(net.v1.matmul(X, net.variable("gru/kernel", [3, 15])), y)
        net.variable("gru/recurrent_kernel", [5, 15])
    draft = suggest(saved(torch.nn.ModuleDict({"gru": torch.nn.GRU(3, 5, bias=False)}), tmp_path), net.export())
    assert draft.open == ()
    assert [(pair.sources, pair.targets, str(pair.layout)) for pair in draft.pairs] == [
        (
            ("gru.weight_ih_l0", "gru.weight_hh_l0"),
            ("gru/kernel", "gru/recurrent_kernel"),
            "gru(source=torch, target=keras)",
        )
    ]


@pytest.mark.parametrize(
    ("names", "known"), [(("dense", "dense_1", "dense_2"), True), (("first", "middle", "stem"), False)]
)
def test_sorted_names_are_in_the_order_of_layers_only_by_their_numbers(
    names: tuple[str, ...], known: bool, new_network: Any
) -> None:
    given = {f"{name}/kernel": np.ones((4, 4), np.float32) for name in names}
    draft = suggest(Checkpoint.of({**given, "top/kernel": np.ones((4, 3), np.float32)}), numbered(new_network, 1, 3))
    found = {pair.targets[0]: pair.sources[0] for pair in draft.pairs if "fc" in pair.targets[0]}
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


ATTENTION = ["self.query", "self.key", "self.value", "output.dense"]


@pytest.fixture(scope="module")
def joined(new_network: Any) -> Graph:
    """Two layers with GPT-2's attention: one kernel for query, key and value, and the output's."""
    with new_network().building() as net:
        X = net.v1.placeholder(net.tf.float32, [None, 8], name="X")
        for number in range(2):
            with net.v1.variable_scope(f"h{number}/attn"):
                both = net.v1.matmul(X, net.variable("c_attn/w", [8, 24])) + net.variable("c_attn/b", [24])
                X = net.v1.matmul(both[:, 16:], net.variable("c_proj/w", [8, 8])) + net.variable("c_proj/b", [8])
    found: Graph = net.export()
    return found


@pytest.mark.parametrize(("suffix", "form"), [("weight", "torch_split"), ("kernel", "tf1")])
def test_an_attention_in_two_scopes_is_left_open_with_the_layout_that_fits(
    joined: Graph, suffix: str, form: str
) -> None:
    """As BERT's in a sorted file: biases first, the keys before the queries, a normalisation next to the output."""
    shapes = {f".{suffix}": (8, 8), ".bias": (8,)}
    names = [f"layer.{n}.attention.{part}{end}" for n in range(2) for part in ATTENTION for end in shapes]
    norms = [f"layer.{n}.attention.output.norm.{end}" for n in range(2) for end in ("gamma", "beta")]
    arrays = {name: np.ones(shapes.get(name[name.rindex(".") :], (8,)), np.float32) for name in sorted(names + norms)}
    draft = suggest(Checkpoint.of(arrays), joined)
    for number in range(2):
        (problem,) = [each for each in draft.open if each.startswith(f"h{number}/attn/c_attn/w ")]
        rule = " ".join(name for name in names if name.startswith(f"layer.{number}."))
        assert problem.endswith(
            f"no tensor fits; a rule could convert {rule} with transform = attention(source={form}, target=tf1_joined)"
        )


def test_a_joined_attention_is_converted_with_its_output(new_network: Any) -> None:
    with new_network().building() as net:
        X = net.v1.placeholder(net.tf.float32, [None, 8], name="X")
        for part in ("query", "key", "value", "output/dense"):
            net.v1.matmul(X, net.variable(f"layer_0/{part}/kernel", [8, 8]))
    module = torch.nn.ModuleDict({"attn": torch.nn.MultiheadAttention(8, 2, bias=False)})
    arrays = {name: value.numpy() for name, value in module.state_dict().items()}
    draft = suggest(Checkpoint.of({**arrays, "other.weight": np.ones((8, 8), np.float32)}), net.export())
    (pair,) = draft.pairs
    assert pair.sources == ("attn.in_proj_weight", "attn.out_proj.weight")
    assert pair.targets == tuple(f"layer_0/{part}/kernel" for part in ("query", "key", "value", "output/dense"))
    assert str(pair.layout).startswith("attention(source=torch, target=tf1")


def cell(net: Any, form: str) -> None:
    """An LSTM with five units and three inputs, and an output layer."""
    shapes = {"kernel": [8, 20]} if form == "tf1" else {"kernel": [3, 20], "recurrent_kernel": [5, 20]}
    kernels = [net.variable(f"lstm/{name}", shape) for name, shape in shapes.items()]
    gates = sum(net.v1.matmul(net.v1.placeholder(net.tf.float32, [None, each.shape[0]]), each) for each in kernels)
    X = gates + net.variable("lstm/bias", [20])
    net.v1.matmul(X[:, :5], net.variable("out/kernel", [5, 2])) + net.variable("out/bias", [2])


LSTM = {"lstm/kernel": (3, 20), "lstm/recurrent_kernel": (5, 20), "lstm/bias": (20,)}


@pytest.mark.parametrize("order", [list, sorted])
def test_the_bias_of_a_cell_is_not_settled_without_its_kernel(new_network: Any, order: Any) -> None:
    with new_network().building() as net:
        cell(net, "tf1")
    shapes = {**LSTM, "out/kernel": (5, 2), "out/bias": (2,)}
    draft = suggest(Checkpoint.of({n: np.ones(shapes[n], np.float32) for n in order(shapes)}), net.export())
    assert draft.open == ()
    assert [(pair.sources, pair.targets) for pair in draft.pairs] == [
        ((*LSTM,), ("lstm/kernel", "lstm/bias")),
        (("out/kernel",), ("out/kernel",)),
        (("out/bias",), ("out/bias",)),
    ]


def test_nor_the_other_way_round(new_network: Any) -> None:
    with new_network().building() as net:
        cell(net, "keras")
    shapes = {"lstm/kernel": (8, 20), "lstm/bias": (20,), "out/kernel": (5, 2), "out/bias": (2,)}
    draft = suggest(Checkpoint.of({n: np.ones(shape, np.float32) for n, shape in shapes.items()}), net.export())
    assert [pair.targets[0] for pair in draft.pairs] == ["out/kernel", "out/bias"]


def test_a_cell_in_a_graph_that_has_it_in_the_same_form_is_kept(new_network: Any) -> None:
    with new_network().building() as net:
        cell(net, "keras")
    shapes = {**LSTM, "out/kernel": (5, 2), "out/bias": (2,)}
    found = pairs(Checkpoint.of({n: np.ones(shape, np.float32) for n, shape in shapes.items()}), net.export())
    assert {target: pair[:2] for target, pair in found.items()} == {name: (name, "keep") for name in shapes}


FLAT = {
    "numbers": [("W1", "b1"), ("W2", "b2"), ("W3", "b3"), ("W4", "b4")],
    "after TensorFlow": [("W", "b"), ("W_1", "b_1"), ("W_2", "b_2"), ("W_3", "b_3")],
    "in front": [(f"w_conv1_{n}", f"b_conv1_{n}") for n in range(1, 5)],
    "behind": [(f"conv1_{n}_W", f"conv1_{n}_b") for n in range(1, 5)],
    "scopes": [(f"fc{n}/kernel", f"fc{n}/bias") for n in range(1, 5)],
}
SIZES = (4, 6, 6, 6, 3)


def flat(new_network: Any, names: list[tuple[str, str]]) -> Graph:
    """Dense layers with these kernels and biases, three of equal widths."""
    with new_network().building() as net:
        X = net.v1.placeholder(net.tf.float32, [None, 4], name="X")
        for (kernel, bias), units in zip(names, SIZES[1:], strict=True):
            X = net.tf.nn.relu(
                net.v1.matmul(X, net.variable(kernel, [X.shape[1], units])) + net.variable(bias, [units])
            )
    found: Graph = net.export()
    return found


def of_sizes(names: list[tuple[str, str]]) -> Checkpoint:
    """Kernels and biases of these layers, sorted by name."""
    kernels = {kernel: np.ones(SIZES[at : at + 2], np.float32) for at, (kernel, _) in enumerate(names)}
    biases = {bias: np.ones(SIZES[at + 1], np.float32) for at, (_, bias) in enumerate(names)}
    return Checkpoint.of(dict(sorted({**kernels, **biases}.items())))


@pytest.mark.parametrize("source", FLAT)
@pytest.mark.parametrize("target", FLAT)
def test_flat_names_are_told_by_their_numbers(new_network: Any, source: str, target: str) -> None:
    found = pairs(of_sizes(FLAT[source]), flat(new_network, FLAT[target]))
    wanted = zip(FLAT[target], FLAT[source], strict=True)
    assert {name: pair[0] for name, pair in found.items()} == {
        t: s for both in wanted for t, s in zip(*both, strict=True)
    }


@pytest.mark.parametrize("source", FLAT)
def test_numbers_of_one_side_are_an_order(new_network: Any, source: str) -> None:
    names = [(f"{scope}/kernel", f"{scope}/bias") for scope in ("stem", "middle", "before", "top")]
    found = pairs(of_sizes(FLAT[source]), flat(new_network, names))
    wanted = zip(names, FLAT[source], strict=True)
    assert {name: pair[0] for name, pair in found.items()} == {
        t: s for both in wanted for t, s in zip(*both, strict=True)
    }


def test_numbers_that_do_not_agree_tell_nothing(new_network: Any) -> None:
    arrays = {f"a{n}.weight": np.ones((4, 4), np.float32) for n in (2, 9, 5)}
    draft = suggest(Checkpoint.of({**arrays, "top.weight": np.ones((3, 4), np.float32)}), numbered(new_network, 1, 3))
    assert [pair.confidence for pair in draft.pairs if "fc" in pair.targets[0]] == [0.5] * 3


@pytest.mark.parametrize("dimensions", [1, 2])
@pytest.mark.parametrize("form", ["torch", "keras"])
def test_a_dense_layer_that_the_graph_computes_as_a_convolution(new_network: Any, form: str, dimensions: int) -> None:
    """As slim's logits and GPT-2's kernels; a square one follows the convention of the others."""
    kernels = {"fc": (4, 4), "logits": (4, 3)}
    with new_network().building() as net:
        X = net.v1.placeholder(net.tf.float32, [2, *[6] * dimensions, 4], name="X")
        for name, shape in kernels.items():
            X = net.tf.nn.convolution(X, net.variable(f"{name}/w", [*[1] * dimensions, *shape]))
    arrays = {f"{name}.weight": np.ones(s[::-1] if form == "torch" else s, np.float32) for name, s in kernels.items()}
    found = pairs(Checkpoint.of(arrays), net.export())
    options = [*["form=keras"] * (form == "keras"), *["dimensions=1"] * (dimensions == 1)]
    layout = f"pointwise({', '.join(options)})" if options else "pointwise"
    assert found == {f"{name}/w": (f"{name}.weight", layout, 0.9) for name in kernels}


def test_normalisations_are_called_many_names(new_network: Any) -> None:
    """As in keras.applications, slim and GPT-2, in layers of equal width."""
    scopes = {"expand_BN": "expand/BatchNorm", "project_BN": "project/BatchNorm", "LayerNorm": "ln"}
    with new_network().building() as net:
        X = net.v1.placeholder(net.tf.float32, [None, 4], name="X")
        for scope in scopes.values():
            ends = ("g", "b") if scope == "ln" else ("gamma", "beta")
            X = X * net.variable(f"{scope}/{ends[0]}", [4]) + net.variable(f"{scope}/{ends[1]}", [4])
    names = [f"block_1_{scope}/{end}" for scope in sorted(scopes) for end in ("beta", "gamma")]
    found = pairs(Checkpoint.of({name: np.ones(4, np.float32) for name in names}), net.export())
    assert {(pair[0].rpartition("/")[0], pair[2]) for pair in found.values()} == {(f"block_1_{s}", 0.9) for s in scopes}
    assert all(
        source.startswith(f"block_1_{old}/")
        for old, new in scopes.items()
        for source, *_ in [found[f"{new}/{'g' if new == 'ln' else 'gamma'}"]]
    )


def test_names_that_end_alike_are_told_apart_by_their_numbers(new_network: Any) -> None:
    """As in a ViT: a common number is between the block's number and the common words."""
    with new_network().building() as net:
        X = net.v1.placeholder(net.tf.float32, [None, 4], name="X")
        for number in range(2):
            for part in ("query", "key"):
                X = net.v1.matmul(X, net.variable(f"encoderblock_{number}/Attention_1/{part}/kernel", [4, 4]))
        net.v1.matmul(X, net.variable("head/kernel", [4, 3]))
    names = [f"vit.layer.{number}.attention.{part}.weight" for number in (1, 0) for part in ("key", "query")]
    found = pairs(
        Checkpoint.of({**{name: np.ones((4, 4), "f4") for name in names}, "top.weight": np.ones((3, 4), "f4")}),
        net.export(),
    )
    assert {target: pair[::2] for target, pair in found.items() if target != "head/kernel"} == {
        f"encoderblock_{n}/Attention_1/{part}/kernel": (f"vit.layer.{n}.attention.{part}.weight", 0.6)
        for n in range(2)
        for part in ("query", "key")
    }


def test_projections_of_an_attention_are_called_many_names(new_network: Any) -> None:
    """As DistilBERT has them in a sorted file, in which the order would be different."""
    with new_network().building() as net:
        X = net.v1.placeholder(net.tf.float32, [None, 4], name="X")
        for part in ("query", "key", "value"):
            net.v1.matmul(X, net.variable(f"self/{part}/kernel", [4, 4]))
        net.v1.matmul(X, net.variable("head/kernel", [4, 3]))
    arrays = {f"attention.{part}_lin.weight": np.ones((4, 4), np.float32) for part in "kqv"}
    found = pairs(Checkpoint.of({**arrays, "top.weight": np.ones((3, 4), np.float32)}), net.export())
    assert {target: pair[0] for target, pair in found.items() if target != "head/kernel"} == {
        f"self/{part}/kernel": f"attention.{part[0]}_lin.weight" for part in ("query", "key", "value")
    }


def test_a_kernel_that_is_tied_to_a_table_is_a_copy(new_network: Any, tmp_path: Any) -> None:
    """As GPT-2's head; one with other numbers fits nothing."""
    with new_network().building() as net:
        rows = net.v1.gather(net.variable("wte", [5, 3]), net.v1.placeholder(net.tf.int32, [None]))
        net.v1.matmul(rows, net.variable("fc/kernel", [3, 2]))
    table = np.arange(15, dtype=np.float32).reshape(5, 3)
    arrays = {"wte.weight": table, "fc.weight": np.ones((2, 3), np.float32), "lm_head.weight": table}
    draft = suggest(Checkpoint.of({**arrays, "other.weight": table + 1}), net.export())
    assert draft.open == ("other.weight [5, 3]: no variable fits",)
    (copy,) = [pair for pair in draft.pairs if pair.copy]
    assert (copy.sources, copy.targets, str(copy.layout)) == (("lm_head.weight",), ("wte",), "keep")
    write_draft(draft, tmp_path / "rules.toml")
    assert read_rules(tmp_path / "rules.toml")[-1].copy
