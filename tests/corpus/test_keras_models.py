"""Foreign Keras models go through the main workflow and are written as `.keras`, or are rejected correctly."""

import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckpttool import Model, Options, Recipe, finetune, plan_freeze
from ckpttool.core.errors import FormatError
from ckpttool.formats.hdf5.source import is_hdf5
from ckpttool.formats.keras.files import is_whole_model
from ckpttool.graph.contents.layers import layers
from ckpttool.runtime.configure import keras as keras_on_tensorflow
from ckpttool.runtime.function import GraphFunction, runner
from ckpttool.runtime.objectives import Objective
from ckpttool.runtime.state import State

CORPUS = Path(os.environ.get("CKPTTOOL_CORPUS", "/nowhere"))
pytestmark = [
    pytest.mark.skipif(not CORPUS.is_dir(), reason="CKPTTOOL_CORPUS does not name the folder of real models"),
    pytest.mark.slow,
]
FILES = [
    path
    for path in sorted(CORPUS.rglob("*"))
    if path.is_file() and (path.suffix == ".keras" or is_hdf5(path)) and is_whole_model(path)
]
RIGHTLY_REFUSED = r"is of Keras 1\.|is a Lambda: it contains Python code|is a custom class"
DTYPES = {1: "float32", 4: "uint8", 17: "uint16"}
"""TensorFlow's enum values of dtypes."""
ANOTHER_SLOPE = "lstm_functional_tf_keras_2"
"""Keras 3 computes Keras 2's `hard_sigmoid` with another slope."""


def rows_for(model: Model) -> dict[str, Any]:
    """Return three rows, or as many as the model requires, for each input."""
    random, rows = np.random.default_rng(0), {}
    for name, info in model.graph.header.signature_def["serving_default"].inputs.items():
        first, *others = (dim.size for dim in info.tensor_shape.dim)
        shape = [first if first > 0 else 3, *(size if size > 0 else 6 for size in others)]
        rows[name] = random.integers(0, 3, shape).astype(
            {1: "float32", 4: "uint8", 17: "uint16"}.get(info.dtype, "int32")
        )
    return rows


def outputs_of(model: Model, rows: dict[str, Any]) -> list[Any]:
    """Return a model's outputs."""
    signature = model.graph.header.signature_def["serving_default"]
    fed = {info.name: rows[name] for name, info in signature.inputs.items()}
    asked = [info.name for info in signature.outputs.values()]
    function = GraphFunction(model.graph, asked, [*fed, "training:0"], modes={"training:0": False})
    return list(runner(function, State(function.variables, model.checkpoint), {"training:0": False})(fed))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(CORPUS)))
def test_a_model_goes_through_the_main_job_or_is_refused_with_the_right_reason(path: Path, tmp_path: Path) -> None:
    try:
        model = Model.open(path)
    except FormatError as error:
        assert re.search(RIGHTLY_REFUSED, str(error)), error
        return
    rows = rows_for(model)
    found = outputs_of(model, rows)
    if (theirs := loaded_by_keras(path)) is not None and ANOTHER_SLOPE not in path.name:
        given = [rows[each.name] if each.name in rows else next(iter(rows.values())) for each in theirs.inputs]
        given = given if isinstance(theirs.input, list) else given[0]
        for one, other in zip(found, keras_on_tensorflow().tree.flatten(theirs(given, training=False)), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
    names = [layer.name for layer in layers(model.graph) if layer.output]
    if len(names) > 1:
        plan_freeze(model, names[0]).write(tmp_path / "frozen.keras")
        again = outputs_of(Model.open(tmp_path / "frozen.keras"), rows)
        np.testing.assert_allclose(again[0], found[0], rtol=1e-5, atol=1e-6)
    if len(rows) == 1 and len(found) == 1 and names:
        (row,) = rows.values()
        np.savez(tmp_path / "rows.npz", x_train=row, y_train=found[0] + 1, x_valid=row, y_valid=found[0])
        options = Options(epochs=1, batch_size=len(row), objective=Objective("mse"), recipe=Recipe("sgd", lr="0.001"))
        finetune(model, tmp_path / "rows.npz", options, tmp_path / "tuned.keras")
        keras_on_tensorflow().models.load_model(tmp_path / "tuned.keras")


def loaded_by_keras(path: Path) -> Any:
    """Return a file as loaded by Keras; None if it cannot read it."""
    try:
        return keras_on_tensorflow().models.load_model(path, compile=False)
    except Exception:  # noqa: BLE001 - whatever Keras does with old files
        return None
