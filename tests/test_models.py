"""Every verb on every family of models: the same numbers as Keras's, and the table of `docs/models.md`.

`CKPTTOOL_WRITE_PAGES=1 pytest tests/test_models.py` writes the table again.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

import ckpttool
from ckpttool import Model, Options, Recipe
from ckpttool.graph.contents.variables import variables
from ckpttool.runtime.objectives import Objective
from ckpttool.verbs.export_saved_model import plan_saved_model
from ckpttool.verbs.fold import plan_fold
from ckpttool.verbs.import_weights import plan_import
from ckpttool.verbs.layers import layer_rows
from ckpttool.verbs.strip import plan_strip
from tests.families import FAMILIES, Family, data, keras, network, values

PAGE = Path(__file__).parent.parent / "docs" / "models.md"
FROZEN = "conv|bn"
RATE = 0.1


@dataclass
class Case:
    """A model of one family, the rows, and Keras's own network with its outputs."""

    family: Family
    model: Any
    path: Path
    folder: Path
    rows: Mapping[str, Any] = field(default_factory=data)

    @property
    def opened(self) -> Model:
        """The model as opened by `ckpttool`."""
        return Model.open(self.path)

    @property
    def objective(self) -> Objective | None:
        """The arguments of the verbs if a model has no loss."""
        return None if self.family.has_loss else Objective("softmax")

    @property
    def own(self) -> str:
        """The name of an output of the same family."""
        if self.family.is_keras:
            return ".keras"
        return "_folder" if self.path.is_dir() else ".ckpt"

    @cached_property
    def data(self) -> Path:
        """The rows as a file."""
        np.savez(self.folder / "rows.npz", **self.rows)
        return self.folder / "rows.npz"

    def output(self, name: str) -> Path:
        """Return the path to which a verb writes."""
        return self.folder / f"{name}{self.own}"

    def given(self, name: str) -> Any:
        """Return Keras's output of a layer for the test rows."""
        below = keras.Model(self.model.input, self.model.get_layer(name).output)
        return below(self.rows["x_test"], training=False).numpy()


def same(found: Any, expected: Any) -> None:
    """Check that numbers of different programs, with the same weights, are equal."""
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def probabilities(case: Case, path: Path) -> Any:
    """Return a model's outputs for the test rows."""
    target = case.folder / f"predicted_{path.name}.npz"
    ckpttool.predict(Model.open(path), case.data, target, overwrite=True)
    with np.load(target) as arrays:
        return arrays["probabilities"]


def judged(case: Case, path: Path) -> list[Any]:
    """Return the loss and the accuracy of a model."""
    found = Model.open(path)
    score = ckpttool.evaluate(found, case.data, objective=case.objective)
    return [score.loss, score.accuracy]


def layers(case: Case) -> None:
    """The layers are those of the network, in order, each with its output if a graph shows it."""
    found = layer_rows(case.path)
    assert [layer["name"] for layer in found] == ["conv", "bn", "hidden", "outputs"]
    assert all(layer["output"] for layer in found) is not case.family.is_keras


def predict(case: Case) -> None:
    """The classes' probabilities equal Keras's."""
    same(probabilities(case, case.path), case.given("outputs"))


def evaluate(case: Case) -> None:
    """Loss and accuracy equal Keras's."""
    same(judged(case, case.path), case.model.evaluate(case.rows["x_test"], case.rows["y_test"], verbose=0))


def diagnose(case: Case) -> None:
    """The mean activation of a layer equals Keras's in training mode, in which a batch norm may use its batch."""
    found = ckpttool.diagnose(case.opened, case.data, objective=case.objective)
    assert [layer.layer for layer in found] == ["conv", "bn", "hidden", "outputs"]
    conv = keras.Model(case.model.input, case.model.get_layer("conv").output)(case.rows["x_train"])
    same(found[0].mean, np.mean(conv))


def freeze(case: Case) -> None:
    """The frozen model has equal outputs, and only the rest is trained."""
    ckpttool.plan_freeze(case.opened, FROZEN).write(case.output("frozen"))
    frozen = Model.open(case.output("frozen"))
    trained = [variable.name for variable in variables(frozen.graph).values() if variable.trainable]
    assert trained == ["hidden/kernel", "hidden/bias", "outputs/kernel", "outputs/bias"]
    same(probabilities(case, case.output("frozen")), case.given("outputs"))


def reuse(case: Case) -> None:
    """The reused layers have their former outputs, under a new head."""
    planned = ckpttool.plan_reuse(case.opened, "conv|bn|hidden", head="fresh = dense(4)", after="hidden")
    planned.write(case.output("reused"))
    reused = Model.open(case.output("reused"))
    for name, value in values(case.model):
        if not name.startswith("outputs"):
            np.testing.assert_array_equal(reused.checkpoint[name].read(), value)
    head = [reused.checkpoint[f"fresh/{name}"].read() for name in ("kernel", "bias")]
    target = case.folder / "fresh.npz"
    ckpttool.predict(reused, case.data, target)
    with np.load(target) as arrays:
        found = arrays["outputs"] if "outputs" in arrays else arrays["logits"]
    same(found, case.given("hidden") @ head[0] + head[1])


def cache(case: Case) -> None:
    """The features equal Keras's outputs of the frozen layers."""
    features = ckpttool.cache(case.opened, case.data, FROZEN, root=case.folder / "cache", objective=case.objective)
    (array,) = features.arrays.values()
    below = keras.Model(case.model.input, case.model.get_layer("bn").output)
    same(np.reshape(array[:40], (40, -1)), np.reshape(below(case.rows["x_train"], training=False), (40, -1)))


def finetune(case: Case) -> None:
    """A step changes the weights by Keras's gradient, frozen layers not at all; the output has equal results."""
    options = Options(
        freeze=FROZEN, epochs=1, batch_size=40, keep="last", recipe=Recipe("sgd", lr=str(RATE)),
        objective=case.objective, cache=True, cache_dir=case.folder / "cache",
    )  # fmt: skip
    run = ckpttool.finetune(case.opened, case.data, options, case.output("tuned"))
    assert len(run.unchanged) == 6
    trained = [weight for name in ("hidden", "outputs") for weight in case.model.get_layer(name).weights]
    with tf.GradientTape() as tape:
        given = case.model(case.rows["x_train"], training=False)
        loss = tf.reduce_mean(keras.losses.sparse_categorical_crossentropy(case.rows["y_train"], given))
    steps = tape.gradient(loss, [weight.value for weight in trained])
    tuned = Model.open(case.output("tuned")).checkpoint
    for weight, step in zip(trained, steps, strict=True):
        same(tuned[weight.path].read(), weight.numpy() - RATE * step)


def lr_find(case: Case) -> None:
    """The first loss is that of the batch, before any step."""
    options = Options(batch_size=40, freeze=FROZEN, objective=case.objective, recipe=Recipe("sgd"))
    curve = ckpttool.find_learning_rate(case.opened, case.data, options, steps=8)
    loss = keras.losses.sparse_categorical_crossentropy(case.rows["y_train"], case.model(case.rows["x_train"]))
    same(curve.points[0].loss, np.mean(loss))


def import_(case: Case) -> None:
    """Another network's weights, from a Keras file, replace the model's."""
    other = network()
    for weight in other.weights:
        weight.assign(weight + 0.25)
    other.save_weights(case.folder / "other.weights.h5")
    output = case.output("imported")
    plan_import(case.folder / "other.weights.h5", case.path, output=output).write(output)
    expected = other(case.rows["x_test"], training=False)
    same(probabilities(case, case.output("imported")), expected)


def served(path: Path, rows: Any) -> Any:
    """Return the outputs of TensorFlow's own loader with the default signature of a SavedModel."""
    (output,) = tf.saved_model.load(path).signatures["serving_default"](rows=tf.constant(rows)).values()
    return output.numpy()


def export_saved_model(case: Case) -> None:
    """TensorFlow's loader has equal outputs."""
    plan_saved_model(case.opened, outputs=case.family.outputs).write(case.folder / "for_servers")
    same(served(case.folder / "for_servers", case.rows["x_test"]), case.given("outputs"))


def fold(case: Case) -> None:
    """One graph of plain ops has equal outputs in a TensorFlow session."""
    planned = plan_fold(case.opened, outputs=case.family.outputs)
    planned.write(case.folder / "folded.pb")
    graph_def = tf.compat.v1.GraphDef.FromString((case.folder / "folded.pb").read_bytes())
    assert not graph_def.library.function
    (taken,), (given,) = planned.served.inputs.values(), planned.served.outputs.values()
    with tf.compat.v1.Graph().as_default() as graph, tf.compat.v1.Session() as session:
        tf.import_graph_def(graph_def, name="")
        found = session.run(graph.get_tensor_by_name(given), {taken: case.rows["x_test"]})
    same(found, case.given("outputs"))


def strip(case: Case) -> None:
    """The stripped model has equal outputs."""
    plan_strip(case.opened, outputs=case.family.outputs).write(case.output("stripped"))
    same(probabilities(case, case.output("stripped")), case.given("outputs"))


VERBS = (
    layers, predict, evaluate, diagnose, freeze, reuse, cache, finetune, lr_find, import_, export_saved_model, fold,
    strip,
)  # fmt: skip
WRITING = {freeze, reuse, finetune, import_, strip}
"""The verbs whose output is a model of its input's family."""


QUICK = ("keras", "export")
"""The families of every check: a Keras file, and a TensorFlow 2 SavedModel. `make trust` has all."""


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in FAMILIES]
)
def test_every_verb_works_on_every_family_and_the_page_says_so(name: str, tmp_path: Path) -> None:
    family, model = FAMILIES[name], network()
    case = Case(family, model, family.make(model, tmp_path), tmp_path)

    for verb in VERBS:
        verb(case)

    line = f"| {family.title} | {' | '.join(cell(case, verb) for verb in VERBS)} |"
    if os.environ.get("CKPTTOOL_WRITE_PAGES"):
        write(line)
    assert line in PAGE.read_text().splitlines()


def cell(case: Case, verb: Any) -> str:
    """Return the page's cell for a verb that has worked: its output's kind, if that is a model."""
    form = {".keras": "`.keras`", "_folder": "folder", ".ckpt": "`.ckpt`"}[case.own]
    told = form if verb in WRITING else "yes"
    asked = verb in (evaluate, diagnose, cache, finetune, lr_find) and not case.family.has_loss
    bare = verb is layers and case.family.is_keras
    return f"{told} ¹" if asked else f"{told} ²" if bare else told


def write(line: str) -> None:
    """Write a family's line to the table of the page."""
    title = line.split("|")[1].strip()
    text = re.sub(rf"^\| {re.escape(title)} \|.*\n", "", PAGE.read_text(), flags=re.MULTILINE)
    PAGE.write_text(text.replace("<!-- end of models -->", f"{line}\n<!-- end of models -->"))
