"""Advice on a head that would read old classes: the suggested command works when it is copied."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ckpttool.core.errors import PlanError
from ckpttool.model.model import Model
from ckpttool.verbs.reuse import plan_reuse
from tests.runtime.keras.networks import keras, layers

OLD = "gives the outputs of the old task"
HEAD = "new = dense(2)"


def means() -> Any:
    """A convolutional network whose classes are computed from the means of its channels."""
    rows = layers.Input((8, 8, 1))
    x = layers.Conv2D(4, 3, activation="relu", name="conv")(rows)
    return keras.Model(rows, layers.Dense(3, activation="softmax", name="top")(layers.GlobalAveragePooling2D()(x)))


def places() -> Any:
    """A convolutional network whose classes are computed from each position of an image."""
    rows = layers.Input((8, 8, 1))
    x = layers.Flatten()(layers.Conv2D(4, 3, activation="relu", name="conv")(rows))
    return keras.Model(rows, layers.Dense(3, activation="softmax", name="top")(layers.Dropout(0.5)(x)))


def series() -> Any:
    """A recurrent network."""
    rows = layers.Input((8, 5))
    x = layers.GlobalMaxPooling1D()(layers.Conv1D(4, 3, activation="relu", name="conv")(rows))
    return keras.Model(rows, layers.Dense(3, activation="softmax", name="top")(x))


def towers() -> Any:
    """A network of two towers."""
    rows = layers.Input((8, 8, 1))
    x = [layers.GlobalAveragePooling2D()(layers.Conv2D(4, size, name=f"conv{size}")(rows)) for size in (3, 5)]
    return keras.Model(rows, layers.Dense(3, activation="softmax", name="top")(layers.Concatenate(name="join")(x)))


def maps() -> Any:
    """A network whose last convolution makes a map of each class, on a sum of branches."""
    rows = layers.Input((8, 8, 1))
    x = [layers.Conv2D(4, size, padding="same", name=f"conv{size}")(rows) for size in (3, 5)]
    top = layers.Conv2D(3, 3, name="top")(layers.Add(name="sum")(x))
    return keras.Model(rows, layers.Activation("softmax")(layers.GlobalAveragePooling2D()(top)))


def advice(model: Model) -> str:
    """The advice for a head on all layers, in a note or in the error."""
    try:
        return next(note for note in plan_reuse(model, ".*", head=HEAD).notes if OLD in note)
    except PlanError as error:
        return str(error)


@pytest.mark.parametrize(
    ("make", "asked"),
    [
        (means, {"layers": "conv", "head": f"global_avg_pool(); {HEAD}"}),
        (places, {"layers": "conv", "head": f"flatten(); {HEAD}"}),
        (series, {"layers": "conv", "head": f"global_avg_pool(); {HEAD}"}),
        (towers, {"layers": "conv[35]", "after": "join"}),
        (maps, {"layers": "conv[35]", "after": "sum", "head": f"global_avg_pool(); {HEAD}"}),
    ],
)
def test_what_is_asked_for_is_complete(tmp_path: Path, make: Callable[[], Any], asked: dict[str, str]) -> None:
    make().save(tmp_path / "net.keras")
    model = Model.open(tmp_path / "net.keras")
    said = advice(model)
    assert dict(re.findall(r"`(\w+)` '([^']+)'", said)) == asked
    assert "the probabilities of" not in said
    followed = plan_reuse(model, **{"head": HEAD} | asked)
    assert not any(OLD in note for note in followed.notes)
    assert {row.target.partition("/")[0] for row in followed.rows} == {"new", *keras_names(make) - {"top"}}


def keras_names(make: Callable[[], Any]) -> set[str]:
    """The layers of a network with weights."""
    return {layer.name for layer in make().layers if layer.weights}


def test_a_head_that_goes_on_no_map_of_classes_is_refused_with_what_goes(tmp_path: Path) -> None:
    maps().save(tmp_path / "net.keras")
    with pytest.raises(PlanError, match=rf"new: dense needs inputs of .*; top {OLD}, .* leaves it out"):
        plan_reuse(Model.open(tmp_path / "net.keras"), ".*", head=HEAD)
