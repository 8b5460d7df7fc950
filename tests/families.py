"""One network in each family of models, with the same weights; Keras is the reference for its outputs."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from ckpttool.runtime.configure import keras as keras_on_tensorflow

keras, tf1 = keras_on_tensorflow(), tf.compat.v1


@dataclass(frozen=True)
class Family:
    """A family of models: its name on the page, the function that saves a network, and its properties."""

    title: str
    make: Callable[[Any, Path], Path]
    has_loss: bool = False
    is_keras: bool = False
    outputs: tuple[str, ...] = ()
    """The outputs' name, if neither a signature nor the graph's end shows it."""


def network() -> Any:
    """Return the network: a convolution, a normalisation with changed averages, two dense layers; compiled."""
    keras.utils.set_random_seed(1)
    rows = keras.Input((6, 6, 1), name="rows")
    x = keras.layers.Conv2D(3, 3, activation="relu", name="conv")(rows)
    x = keras.layers.BatchNormalization(name="bn")(x)
    x = keras.layers.Dense(5, activation="relu", name="hidden")(keras.layers.Flatten(name="flat")(x))
    model = keras.Model(rows, keras.layers.Dense(3, activation="softmax", name="outputs")(x))
    for weight in model.get_layer("bn").weights:
        weight.assign(np.random.default_rng(2).uniform(0.5, 1.5, weight.shape))
    model.compile(keras.optimizers.SGD(0.1), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def data() -> Mapping[str, Any]:
    """Return rows with labels: for training, validation and testing."""
    random = np.random.default_rng(3)
    arrays: dict[str, Any] = {}
    for split, count in (("train", 40), ("valid", 12), ("test", 20)):
        arrays[f"x_{split}"] = random.normal(size=(count, 6, 6, 1)).astype("float32")
        arrays[f"y_{split}"] = (np.arange(count) % 3).astype("int64")
    return arrays


def keras_file(model: Any, path: Path) -> Path:
    """Save a `.keras` file."""
    model.save(path / "net.keras")
    return path / "net.keras"


def h5_file(model: Any, path: Path) -> Path:
    """Save a whole model as HDF5."""
    model.save(path / "net.h5")
    return path / "net.h5"


def keras_export(model: Any, path: Path) -> Path:
    """Export a TensorFlow 2 SavedModel with Keras."""
    model.export(path / "exported", verbose=False)
    return path / "exported"


def module(model: Any, path: Path) -> Path:
    """Save a TensorFlow 2 SavedModel of a program's `tf.Module`."""

    class Network(tf.Module):
        """The network in ops."""

        def __init__(self) -> None:
            super().__init__()
            self.held = {name: tf.Variable(value, name=name) for name, value in values(model)}

        @tf.function(input_signature=[tf.TensorSpec([None, 6, 6, 1], tf.float32, name="rows")])
        def serve(self, rows: Any) -> Any:
            """Compute the classes."""
            return {"outputs": tf.nn.softmax(logits(self.held, rows))}

    made = Network()
    tf.saved_model.save(made, path / "module", signatures=made.serve)
    return path / "module"


def meta(model: Any, path: Path) -> Path:
    """Save a TensorFlow 1 graph with its loss, and a checkpoint."""
    with _version_1(model) as (session, _, _):
        tf1.train.Saver().save(session, str(path / "net.ckpt"))
    return path / "net.ckpt"


def saved_model_1(model: Any, path: Path) -> Path:
    """Save a TensorFlow 1 SavedModel."""
    with _version_1(model) as (session, rows, outputs):
        tf1.saved_model.simple_save(session, str(path / "served"), {"rows": rows}, {"outputs": outputs})
    return path / "served"


def frozen(model: Any, path: Path) -> Path:
    """Freeze a TensorFlow 1 graph, as TensorFlow 1 did."""
    with _version_1(model) as (session, _, outputs):
        graph_def = session.graph.as_graph_def()
        constants = tf1.graph_util.convert_variables_to_constants(session, graph_def, [outputs.op.name])
    (path / "frozen.pb").write_bytes(constants.SerializeToString())
    return path / "frozen.pb"


def values(model: Any) -> Iterator[tuple[str, Any]]:
    """Yield the weights of a network by their names."""
    for variable in model.variables:
        if "seed" not in variable.path:
            yield variable.path, variable.numpy()


def logits(held: Mapping[str, Any], rows: Any) -> Any:
    """Apply the network's ops to rows, each layer in a scope with its name."""
    with tf.name_scope("conv"):
        x = tf.nn.relu(tf.nn.bias_add(tf.nn.conv2d(rows, held["conv/kernel"], 1, "VALID"), held["conv/bias"]))
    with tf.name_scope("bn"):
        moments = held["bn/moving_mean"], held["bn/moving_variance"]
        x = tf.nn.batch_normalization(x, *moments, held["bn/beta"], held["bn/gamma"], 1e-3)
    with tf.name_scope("hidden"):
        x = tf.reshape(x, [-1, 48])
        x = tf.nn.relu(tf.matmul(x, held["hidden/kernel"]) + held["hidden/bias"])
    with tf.name_scope("outputs"):
        return tf.matmul(x, held["outputs/kernel"]) + held["outputs/bias"]


class _version_1:  # noqa: N801 - used as a function
    """A TensorFlow 1 session with the network and its loss."""

    def __init__(self, model: Any) -> None:
        self.values = dict(values(model))

    def __enter__(self) -> tuple[Any, Any, Any]:
        self.graph = tf1.Graph().as_default()
        self.graph.__enter__()
        rows = tf1.placeholder("float32", [None, 6, 6, 1], name="rows")
        labels = tf1.placeholder("int64", [None], name="labels")
        held = {
            name: tf1.get_variable(
                name, initializer=value, use_resource=False, trainable="moving" not in name, aggregation=0
            )
            for name, value in self.values.items()
        }
        found = logits(held, rows)
        outputs = tf.nn.softmax(found, name="classes")
        tf1.losses.sparse_softmax_cross_entropy(labels, found)
        self.session = tf1.Session()
        self.session.run(tf1.global_variables_initializer())
        return self.session, rows, outputs

    def __exit__(self, *_: object) -> None:
        self.session.close()
        self.graph.__exit__(None, None, None)


FAMILIES = {
    "meta": Family("TensorFlow 1, `.meta` and checkpoint", meta, has_loss=True, outputs=("classes:0",)),
    "saved_model_1": Family("TensorFlow 1, SavedModel", saved_model_1, has_loss=True),
    "export": Family("TensorFlow 2, SavedModel of Keras", keras_export),
    "module": Family("TensorFlow 2, SavedModel of a `tf.Module`", module),
    "keras": Family("Keras, `.keras`", keras_file, has_loss=True, is_keras=True),
    "h5": Family("Keras, `.h5`", h5_file, has_loss=True, is_keras=True),
    "frozen": Family("frozen graph, `.pb`", frozen),
}
