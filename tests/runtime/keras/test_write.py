"""The Keras file of a graph: which layers are trained, what is reset, and why some cannot be written."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckpttool.core.errors import FormatError, PlanError
from ckpttool.formats.wire.protos.meta_graph_pb2 import MetaGraphDef
from ckpttool.graph.contents.keras_network import keras_network, with_keras_network
from ckpttool.graph.contents.variables import variables
from ckpttool.graph.core import Graph
from ckpttool.lineage.output import path_beside
from ckpttool.lineage.provenance import Command
from ckpttool.lineage.storage import read_lineage
from ckpttool.model.families import Contents, KerasWriter
from ckpttool.model.model import Model
from ckpttool.runtime.build import new_graph
from ckpttool.runtime.keras import build
from ckpttool.runtime.keras.write import keras_contents, required_network
from ckpttool.runtime.objectives import Objective
from ckpttool.runtime.recipe import Recipe
from ckpttool.runtime.spec import parse
from ckpttool.verbs.freeze import freeze_graph
from ckpttool.verbs.reuse import plan_reuse

SPEC = "hidden = dense(5, relu); norm = batch_norm(); outputs = dense(3)"


@pytest.fixture
def graph() -> Graph:
    return new_graph([4], parse(SPEC), Recipe("adam"), Objective(), seed=1)


def test_frozen_layers_are_not_trained(session: Callable[..., Any], graph: Graph, tmp_path: Path) -> None:
    names = ["hidden/kernel", "hidden/bias", "norm/gamma", "norm/beta"]
    live, notes = session(freeze_graph(graph, names)).in_keras(tmp_path / "a.keras")
    assert {each.name: each.trainable for each in live.layers} == {"hidden": False, "norm": False, "outputs": True}
    assert notes == []
    before = [each.numpy() for each in live.get_layer("norm").weights]
    live.run_eagerly = True
    live.fit(np.ones((8, 4)), np.zeros(8), verbose=0)
    assert all(map(np.array_equal, before, live.get_layer("norm").get_weights()))


def test_a_layer_that_is_frozen_in_part_is_trained_and_that_is_said(
    session: Callable[..., Any], graph: Graph, tmp_path: Path
) -> None:
    live, notes = session(freeze_graph(graph, ["hidden/kernel"])).in_keras(tmp_path / "a.keras")
    assert live.get_layer("hidden").trainable
    assert notes == ["Keras freezes whole layers: frozen in the graph and trained in the Keras file: hidden/kernel"]


def test_what_cannot_be_written_is_refused_before_anything_is_run(graph: Graph, tmp_path: Path) -> None:
    network = keras_network(graph)
    assert network
    lost = with_keras_network(graph, network.cut_after("dnn/hidden/MatMul:0"))
    for wrong, reason in (
        (Graph(MetaGraphDef(), "old.ckpt.meta"), "old.ckpt.meta was not made of a network of Keras"),
        (lost, "it was cut after dnn/hidden/MatMul:0, which is not the output of a layer of Keras"),
    ):
        with pytest.raises(PlanError, match=reason):
            KerasWriter(Path()).check(tmp_path / "a.keras", False, wrong)
        with pytest.raises(PlanError, match=reason):
            required_network(wrong)


def test_a_name_that_keras_does_not_know_is_refused_also_where_nobody_has_checked(
    session: Callable[..., Any], graph: Graph, tmp_path: Path
) -> None:
    contents = Contents(graph, session(graph).tensors())
    for name, advised in (("a.model", "a.model.keras"), ("a.keas", "a.keras"), ("a.npz", "a.keras")):
        problem = f"{name}: Keras opens a model by its suffix: name it {tmp_path / advised}, or"
        with pytest.raises(PlanError, match=re.escape(problem)):
            KerasWriter(Path()).write(contents, tmp_path / name, overwrite=False)
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize(("name", "kind"), [("a.weights.h5", "keras-weights"), ("a.h5", "keras-legacy")])
def test_the_lineage_of_weights_alone_names_their_layout(
    session: Callable[..., Any], graph: Graph, tmp_path: Path, name: str, kind: str
) -> None:
    made = Command("reuse", ("old.ckpt",))
    contents = Contents(graph, session(graph).tensors(), command=made)
    KerasWriter(Path()).write(contents, tmp_path / name, overwrite=False)
    chain, written = read_lineage(path_beside(tmp_path / name))
    assert written
    assert (chain.records[-1].command, written.format) == ("reuse", kind)


def test_a_graph_whose_weights_are_others_is_refused(session: Callable[..., Any], graph: Graph) -> None:
    tensors = session(graph).tensors()
    renamed = {name.replace("hidden/", "first/"): tensor for name, tensor in tensors.items()}
    with pytest.raises(FormatError, match="has the weight hidden/kernel, and the graph has none of that name"):
        keras_contents(graph, renamed)
    with pytest.raises(FormatError, match=r"hidden/bias is \[5\] in its network of Keras, \[3\] in the graph"):
        keras_contents(graph, {**tensors, "hidden/bias": tensors["outputs/bias"]})


def test_a_config_in_a_graph_is_held_against_the_lists(session: Callable[..., Any], graph: Graph) -> None:
    network, tensors = keras_network(graph), session(graph).tensors()
    assert network
    config = {**network.architecture["config"]}
    config["layers"] = [*config["layers"], {"module": "os", "class_name": "Lambda", "config": {"name": "bad"}}]
    bad = with_keras_network(graph, replace(network, architecture={**network.architecture, "config": config}))
    with pytest.raises(FormatError, match="the layer sequential/bad is a Lambda"):
        keras_contents(bad, tensors)


def test_an_optimizer_whose_slots_are_not_in_the_graph_begins_anew(tmp_path: Path) -> None:
    import keras

    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, name="out")])
    model.compile("adam", "mse", metrics=["mae"])
    model.run_eagerly = True
    model.fit(np.ones((4, 4)), np.ones((4, 3)), verbose=0)
    model.save(tmp_path / "a.keras")
    opened = Model.open(tmp_path / "a.keras")
    contents = Contents(opened.graph, opened.checkpoint)
    written = KerasWriter(Path()).write(contents, tmp_path / "b.keras", overwrite=False)
    assert written.notes == ["the optimizer Adam begins anew: the graph has none of its slots"]
    again = keras.models.load_model(tmp_path / "b.keras")
    assert again.get_compile_config()["metrics"] == ["mae"]
    assert again.optimizer.iterations.numpy() == 0
    np.testing.assert_array_equal(again.get_weights()[0], model.get_weights()[0])
    np.testing.assert_array_equal(written.values["out/kernel"].read(), model.get_weights()[0])


def test_a_counter_that_nothing_computes_with_begins_anew(tmp_path: Path) -> None:
    import keras

    adapted = keras.layers.Normalization(name="norm")
    rows = np.random.default_rng(1).normal(3, 2, (20, 4)).astype(np.float32)
    adapted.adapt(rows)
    model = keras.Sequential([keras.Input((4,)), adapted, keras.layers.Dense(3, name="first"), keras.layers.Dense(2)])
    model.save(tmp_path / "a.keras")
    plan = plan_reuse(Model.open(tmp_path / "a.keras"), "norm|first", head="outputs = dense(2)")
    assert plan.write(tmp_path / "b.keras") == []
    plan.write(tmp_path / "b.h5")
    again = keras.models.load_model(tmp_path / "b.keras")
    again.load_weights(tmp_path / "b.h5")
    for each in ("norm", "first"):
        for one, other in zip(model.get_layer(each).get_weights(), again.get_layer(each).get_weights(), strict=True):
            np.testing.assert_array_equal(one, other)


def test_what_was_opened_is_written_without_being_built_again_and_stays_as_it_was(
    session: Callable[..., Any], graph: Graph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tensors = session(graph).tensors()
    KerasWriter(Path()).write(Contents(graph, tensors), tmp_path / "a.keras", overwrite=False)
    opened = Model.open(tmp_path / "a.keras")
    monkeypatch.setattr(build, "built", None)

    frozen = keras_contents(freeze_graph(opened.graph, ["hidden/kernel", "hidden/bias"]), opened.checkpoint)
    again = keras_contents(opened.graph, opened.checkpoint)

    flags = [
        {each["config"]["name"]: each["config"].get("trainable") for each in contents.config["config"]["layers"]}
        for contents in (frozen, again)
    ]
    assert [each["hidden"] for each in flags] == [False, True]


def test_a_frozen_layer_stays_frozen_with_the_parts_that_keras_makes_in_building_it(tmp_path: Path) -> None:
    import keras

    rows = keras.Input((4, 6), name="rows")
    attended = keras.layers.MultiHeadAttention(2, 3, name="mha")(rows, rows)
    again = keras.layers.TimeDistributed(keras.layers.Dense(3, name="own"), name="each")(attended)
    keras.Model(rows, keras.layers.Dense(2, name="top")(again)).save(tmp_path / "net.keras")

    opened = Model.open(tmp_path / "net.keras")
    names = [name for name in opened.checkpoint if not name.startswith("top")]
    contents = Contents(freeze_graph(opened.graph, names), opened.checkpoint)
    written = KerasWriter(Path()).write(contents, tmp_path / "frozen.keras", overwrite=False)
    found = variables(Model.open(tmp_path / "frozen.keras").graph)

    assert [name for name, variable in found.items() if variable.trainable] == ["top/kernel", "top/bias"]
    said = "Keras forgets when it loads these that they are frozen, until `trainable` is set True and False again: mha"
    assert written.notes == [said]
    live = keras.models.load_model(tmp_path / "frozen.keras")
    live.get_layer("mha").trainable = True
    live.get_layer("mha").trainable = False
    assert [weight.path for weight in live.trainable_weights] == ["top/kernel", "top/bias"]
