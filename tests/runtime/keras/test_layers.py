"""A network of each layer, activation and initialiser of SPEC: Keras loads the output, and has equal results."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckpttool.runtime.activations import INITIALIZERS, Activation
from ckpttool.runtime.build import new_graph
from ckpttool.runtime.keras.layers import in_keras
from ckpttool.runtime.layers import Layer
from ckpttool.runtime.objectives import Objective
from ckpttool.runtime.recipe import Recipe
from ckpttool.runtime.spec import parse

IMAGES = "conv2d(4, activation=relu); {}; flatten(); outputs = dense(3)"
ROWS = "hidden = dense(6, {}); outputs = dense(3)"


def threes(names: Iterable[str]) -> list[list[tuple[str, str]]]:
    """Names in groups of three, with a layer's name: a network of a few costs little more than one of each."""
    every = list(names)
    return [list(zip(("hidden", "second", "third"), every[n : n + 3], strict=False)) for n in range(0, len(every), 3)]


SPECS = [
    *(
        "; ".join(f"{name} = dense(6, {each}); {name}_norm = batch_norm(activation={each})" for name, each in three)
        + "; outputs = dense(3)"
        for three in threes(Activation.known())
    ),
    "hidden = dense(6, elu(0.5), bias=False); also = layer_norm(0.01, elu(0.3)); outputs = dense(3, leaky_relu(0.2))",
    "hidden = dense(6); alone = activation(leaky_relu(0.3)); last = activation(swish); outputs = dense(3)",
    "hidden = dense(6, l1=0.1, l2=0.2, max_norm=1.0); dropout(0.4); batch_norm(0.9, 0.01); dense(3)",
    "conv2d(4, 3, relu, strides=2); max_pool(2); flatten(); dense(3)",
    "conv2d(4, (3, 2), padding=valid, max_norm=2, l2=0.1, bias=False); avg_pool(3, 2, same); flatten(); dense(3)",
    "conv2d(4); batch_norm(activation=relu); layer_norm(); max_pool((2, 3), padding=same); global_avg_pool(); dense(3)",
    "steps = layer_norm(); global_avg_pool(); dense(3)",
    *(
        "; ".join(f"images_{name} = conv2d(2, init={each})" for name, each in three)
        + f"; flatten(); outputs = dense(3, init={three[0][1]})"
        for three in threes(INITIALIZERS)
    ),
]


def graph_of(spec: str, **recipe: Any) -> Any:
    shape = {"hidden": [4], "steps": [8, 2]}.get(spec.partition(" ")[0], [9, 8, 2])
    return new_graph(shape, parse(spec), Recipe(**recipe), Objective(), seed=1), shape


@pytest.mark.parametrize("spec", SPECS)
def test_keras_computes_the_same(session: Callable[..., Any], tmp_path: Path, spec: str) -> None:
    graph, shape = graph_of(spec)
    ours = session(graph)
    x = np.random.default_rng(2).normal(size=(5, *shape)).astype(np.float32)
    outputs = graph.header.collection_def["ckpttool/logits"].node_list.value[0]
    live, _ = ours.in_keras(tmp_path / "new.keras")
    np.testing.assert_allclose(live.predict(x, verbose=0), ours.run(outputs, {"X:0": x}), rtol=1e-5, atol=1e-5)
    assert [each.name for each in live.layers if each.weights] == [
        name.name for name in parse(spec) if any(s.startswith(f"{name.name}/") for s in ours.tensors())
    ]


def test_every_layer_and_activation_is_in_one_of_these_networks() -> None:
    text = " ".join(SPECS)
    assert [each for each in (*Layer.known(), *Activation.known()) if each not in text] == []


def test_what_keras_lacks_is_said() -> None:
    (name, layer), *_ = [(each.name, each.layer) for each in parse("h = dense(3, rrelu(0.1, 0.3))")]
    assert in_keras(name, layer).lacks == [
        "Keras lacks the random slopes of h_rrelu: fit continues with their mean, 0.2"
    ]
