"""Keras 3 files for the tests: hand-made ones with places for any tensors, and networks saved by Keras itself."""

import tempfile
import zipfile
from pathlib import Path

import h5py
import numpy as np
from conformance import FormatTests, ReadBackTests, save_as

from ckpttool.core.dtypes import STRING
from ckpttool.core.tensors import Tensor
from ckpttool.formats.format import Writing
from ckpttool.formats.hdf5.writer import write_tree

CONFIG = b'{"class_name": "Functional", "config": {}}'


def weights_file(path, tensors):
    """Write a file with a layer and a weight for each name; the values are zeros."""
    places, attributes = {}, {"vars": {"name": "model"}}
    for number, (name, tensor) in enumerate(tensors.items()):
        layer, slash, weight = name.rpartition("/")
        group = f"layers/layer_{number}/vars" if slash else "vars"
        attributes[group] = {"name": layer if slash else "model"}
        places[f"{group}/{weight}"] = empty(f"{group}/{weight}", tensor)
    with path.open("w+b") as file:
        write_tree(file, places, attributes)
    return path


def empty(name, tensor):
    if not tensor.dtype.itemsize:
        return Tensor.of(name, np.full(tensor.shape, b"", object), STRING)
    return Tensor.of(name, np.zeros(tensor.shape, tensor.dtype.numpy), tensor.dtype)


def archive(path, weights, *members):
    """Write a .keras with a weights file, in Keras's own order."""
    with zipfile.ZipFile(path, "w") as out:
        out.writestr("metadata.json", b'{"keras_version": "3.15.0"}')
        out.writestr("config.json", CONFIG)
        out.write(weights, "model.weights.h5")
        for name, content in members:
            out.writestr(name, content)
    return path


class EditedCopyTests(FormatTests, ReadBackTests):
    """Conformance of a format whose outputs are copies: each test has a file with places for its tensors."""

    def like(self, folder: Path, tensors) -> Path:
        raise NotImplementedError

    def save(self, tensors, path, overwrite):
        with tempfile.TemporaryDirectory() as folder:
            like = self.like(Path(folder), tensors)
            save_as(self.format, tensors, path, overwrite, Writing(like=like))

    def test_names_are_not_files(self, path):
        names = ["../escape", "/absolute", "a b", "ünïcode", "CON", "x" * 300, "a\\b", "a//b"]
        self.save({name: Tensor.of(name, np.ones(1)) for name in names}, path, False)
        assert set(self.format.open(path)) == set(names)
        assert self.files(path) == [path]


def network():
    """A model with nested, shared and custom layers, a recurrent and a random one, after a training step."""
    from ckpttool.runtime.configure import tensorflow

    tensorflow()
    import keras
    from keras import layers

    @keras.saving.register_keras_serializable("tests")
    class Block(layers.Layer):
        """A layer with a Dense as an attribute, others in a list, and its own weight."""

        def __init__(self, **options):
            super().__init__(**options)
            self.proj = layers.Dense(3)
            self.steps = [layers.Dense(3, name="first"), layers.Dense(3, name="second")]

        def build(self, shape):
            self.scale = self.add_weight(name="scale", shape=(3,))
            for layer, size in ((self.proj, shape[-1]), (self.steps[0], 3), (self.steps[1], 3)):
                layer.build((None, size))

        def call(self, x):
            return self.steps[1](self.steps[0](self.proj(x))) * self.scale

    keras.utils.set_random_seed(1)
    shared = layers.Dense(4, "relu", name="shared")
    inner = keras.Sequential([layers.Dense(4, name="below"), layers.Dense(4, name="above")], name="inner")
    x = keras.Input((4,), name="X")
    h = shared(layers.Dropout(0.5, seed=1, name="drop")(shared(x)))
    h = layers.Reshape((3, 1))(Block(name="block")(layers.BatchNormalization(name="norm")(inner(h))))
    h = layers.MultiHeadAttention(2, 2, name="attention")(h, h)
    h = layers.Bidirectional(layers.GRU(2), name="both")(h)
    model = keras.Model(x, layers.Dense(2, name="outputs")(h))
    model.compile("adam", "mse", metrics=["mae"])
    model.run_eagerly = True  # one step does not justify compiling a graph
    model.train_on_batch(np.ones((4, 4), np.float32), np.zeros((4, 2), np.float32))
    return model


def account(model):
    """Keras's values of a model's weights, by path, without random state.

    The weights' names of a custom class are not in a file: the only one here has the number 0.
    """
    found = {variable.path: np.asarray(variable) for variable in model.weights}
    return {path.replace("block/scale", "block/0"): value for path, value in found.items() if "seed" not in path}


def names_in(path):
    """The paths of all items in an HDF5 file."""
    found: list[str] = []
    with h5py.File(path) as file:
        file.visit(found.append)
    return found
