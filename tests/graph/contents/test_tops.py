"""The place of a head: on a model's output if all of it is kept, else after the last layer and its activation."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckpttool.core.errors import PlanError
from ckpttool.graph.contents.stored import stored_tensors
from ckpttool.graph.contents.tops import top_of
from ckpttool.model.model import Model
from ckpttool.verbs.reuse import plan_reuse
from tests.runtime.keras.networks import keras, layers


def pooled() -> Any:
    """A network without a top: its last weights are followed by an activation of several ops and a pooling."""
    rows = layers.Input((8, 8, 3), name="rows")
    x = layers.Activation("swish", name="swish1")(layers.Conv2D(4, 3, name="conv1")(rows))
    x = layers.BatchNormalization(name="bn2")(layers.Conv2D(5, 3, name="conv2")(x))
    return keras.Model(rows, layers.GlobalAveragePooling2D(name="pool")(layers.Activation("gelu", name="act2")(x)))


def joined() -> Any:
    """Two towers, joined by a concatenation."""
    rows = layers.Input((6,), name="rows")
    towers = [layers.Dense(4, activation="relu", name=name)(layers.Dense(5)(rows)) for name in ("left", "right")]
    return keras.Model(rows, layers.Concatenate(name="join")(towers))


def classifier() -> Any:
    """A network whose outputs are probabilities."""
    rows = layers.Input((6,), name="rows")
    x = layers.Activation("swish")(layers.Dense(4, name="hidden")(rows))
    return keras.Model(rows, layers.Activation("softmax", name="shares")(layers.Dense(3, name="top")(x)))


@pytest.fixture
def saved(tmp_path: Path) -> Callable[[Callable[[], Any]], tuple[Any, Model]]:
    def saving(make: Callable[[], Any]) -> tuple[Any, Model]:
        live = make()
        live.save(tmp_path / "net.keras")
        return live, Model.open(tmp_path / "net.keras")

    return saving


@pytest.mark.parametrize("make", [pooled, joined])
@pytest.mark.parametrize("suffix", [".keras", ".ckpt"])
def test_all_layers_kept_the_head_goes_on_what_the_model_gives(
    saved: Any, tmp_path: Path, make: Any, suffix: str
) -> None:
    live, model = saved(make)
    plan = plan_reuse(model, ".*", head="outputs = dense(3)")
    assert any(note.endswith(", what the model gives") for note in plan.notes)
    plan.write(tmp_path / f"new{suffix}")
    if suffix == ".keras":
        new = keras.models.load_model(tmp_path / "new.keras")
        x = np.random.default_rng(0).normal(size=(4, *live.input.shape[1:])).astype(np.float32)
        kernel, bias = new.get_layer("outputs").get_weights()
        right = live.predict(x, verbose=0) @ kernel + bias
        np.testing.assert_allclose(new.predict(x, verbose=0), right, rtol=1e-5, atol=1e-6)


def test_of_some_layers_the_last_one_with_its_activation(saved: Any) -> None:
    _, model = saved(pooled)
    top = top_of(model.graph, ["conv1/kernel", "conv1/bias"])
    assert (top.tensor.partition("/")[0], top.why) == ("swish1", "the activation of conv1")
    assert top_of(model.graph, ["conv1/kernel"], after="conv2").tensor == "conv2/BiasAdd:0"
    assert top_of(model.graph, ["conv1/kernel"], after="pool").tensor == "pool/Mean:0"


def test_probabilities_stay_with_the_old_output(saved: Any) -> None:
    _, model = saved(classifier)
    assert top_of(model.graph, [*model.checkpoint]).tensor == "top/BiasAdd:0"
    assert top_of(model.graph, ["hidden/kernel"]).tensor.startswith("activation")


def test_layers_that_end_side_by_side_are_named_with_what_joins_them(saved: Any) -> None:
    live, model = saved(joined)
    low = [each.name for each in live.layers if each.name.startswith("dense")]
    chosen = [f"{name}/kernel" for name in low]
    with pytest.raises(PlanError, match="are parallel outputs; join joins them: `after` specifies the"):
        top_of(model.graph, chosen)
    assert top_of(model.graph, chosen, after=low[0]).layer.name == low[0]
    assert top_of(model.graph, chosen, after="join").tensor == "join/concat:0"


def sequence() -> Any:
    """A Keras layer with two inner ones, one for each direction."""
    words = layers.Input((5, 3), name="words")
    x = layers.Bidirectional(layers.GRU(2), name="both")(words)
    return keras.Model(words, layers.Dense(4, activation="softmax", name="shares")(x))


def test_a_layer_of_keras_that_joins_the_layers_in_it_can_be_named(saved: Any, tmp_path: Path) -> None:
    live, model = saved(sequence)
    with pytest.raises(PlanError, match="both joins them"):
        plan_reuse(model, "both", head="outputs = dense(3)")
    plan_reuse(model, "both", head="outputs = dense(3)", after="both").write(tmp_path / "new.keras")
    new = keras.models.load_model(tmp_path / "new.keras")
    x = np.random.default_rng(0).normal(size=(4, 5, 3)).astype(np.float32)
    np.testing.assert_allclose(new(x), new.get_layer("outputs")(live.get_layer("both")(x)), rtol=1e-5, atol=1e-6)


def test_a_head_on_probabilities_is_said(saved: Any) -> None:
    _, model = saved(sequence)
    assert top_of(model.graph, stored_tensors(model.graph)).why == (
        "the probabilities of shares: `after` specifies a layer below them"
    )
    plan = plan_reuse(model, ".*", head="outputs = dense(3)")
    assert any("shares gives the outputs of the old task" in note for note in plan.notes)


def squeezed() -> Any:
    """A network whose last convolution has an output per class, which are pooled."""
    rows = layers.Input((8, 8, 3), name="rows")
    x = layers.Conv2D(6, 3, activation="relu", name="conv1")(rows)
    x = layers.Conv2D(4, 1, activation="relu", name="conv2")(layers.Conv2D(6, 3, activation="relu", name="middle")(x))
    return keras.Model(rows, layers.Activation("softmax")(layers.GlobalAveragePooling2D()(x)))


def encoder() -> Any:
    """A network that narrows its rows to a code, which is not of classes."""
    rows = layers.Input((6,), name="rows")
    return keras.Model(rows, layers.Dense(3, activation="sigmoid", name="code")(layers.Dense(5, name="hidden")(rows)))


def compiled() -> Any:
    """A network whose loss alone shows that its outputs are logits."""
    rows = layers.Input((6,), name="rows")
    network = keras.Model(rows, layers.Dense(3, name="top")(layers.Dense(5, name="hidden")(rows)))
    network.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return network


def widening() -> Any:
    """A network with more classes than units below, whose logits contain as much information."""
    rows = layers.Input((6,), name="rows")
    return keras.Model(rows, layers.Dense(9, activation="softmax")(layers.Dense(3, name="hidden")(rows)))


OLD = "the old task"


@pytest.mark.parametrize(
    ("make", "head", "layer", "pattern"),
    [
        (squeezed, "global_avg_pool(); new = dense(2)", "conv2", "conv1|middle"),
        (classifier, "new = dense(2)", "top", "hidden"),
        (compiled, "new = dense(2)", "top", "hidden"),
    ],
)
def test_a_layer_of_old_classes_below_a_head_is_said_with_what_leaves_it_out(
    saved: Any, make: Any, head: str, layer: str, pattern: str
) -> None:
    _, model = saved(make)
    advice = f"{layer} gives the outputs of {OLD}, and the head would be trained on these only: `layers` '{pattern}'"
    assert f"{advice} leaves it out" in plan_reuse(model, ".*", head=head).notes
    followed = plan_reuse(model, pattern, head=head)
    assert not any(OLD in note for note in followed.notes)
    assert not any(row.target.startswith(layer) for row in followed.rows)
    assert not any(OLD in note for note in plan_reuse(model, ".*", head=head, after=layer).notes)


@pytest.mark.parametrize("make", [pooled, joined, encoder, widening])
def test_nothing_is_said_of_a_layer_that_gives_no_classes_or_more_than_it_reads(saved: Any, make: Any) -> None:
    _, model = saved(make)
    assert not any(OLD in note for note in plan_reuse(model, ".*", head="new = dense(2)").notes)


def test_of_many_layers_the_pattern_names_the_one_that_is_left_out(saved: Any) -> None:
    def deep() -> Any:
        rows = x = layers.Input((6,), name="rows")
        for name in ("alpha", "b_eta", "gam_ma", "delta", "epsilon", "zeta_", "e_t_a", "theta", "iota", "kappa_x"):
            x = layers.Dense(6, name=f"{name}_{len(name)}")(x)
        return keras.Model(rows, layers.Dense(3, activation="softmax", name="top.1")(x))

    _, model = saved(deep)
    note = next(note for note in plan_reuse(model, ".*", head="new = dense(2)").notes if OLD in note)
    assert note.endswith(r"`layers` '(?!top\.1).*' leaves it out")
    assert not any(OLD in each for each in plan_reuse(model, r"(?!top\.1).*", head="new = dense(2)").notes)
