"""Small models and data sets for the verbs: made by the tool where that is the subject, else by plain TensorFlow."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckpttool.runtime.optimizers import Optimizer
from ckpttool.transfer.model import Model
from ckpttool.transfer.new import new

LAYERS = "hidden1 = dense(8, relu); hidden2 = dense(6, elu); outputs = dense(3)"


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """300 rows of 4 numbers in 3 classes that a small network can learn, and 60 to test."""
    random = np.random.default_rng(1)
    y = random.integers(0, 3, 360)
    x = (random.normal(size=(360, 4)) * 0.3 + np.eye(3, 4)[y] * 2).astype(np.float32)
    path = tmp_path_factory.mktemp("data") / "rows.npz"
    np.savez(path, x_train=x[:300], y_train=y[:300], x_test=x[300:], y_test=y[300:])
    return path


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh network 4-8-6-3."""
    path = tmp_path_factory.mktemp("small") / "small.ckpt"
    new([4], LAYERS, path, Optimizer(), seed=1)
    return path


@pytest.fixture
def model(small: Path) -> Model:
    return Model.open(small)


@pytest.fixture(scope="session")
def foreign(new_network: type[Any], tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Return a maker of networks 4-8-6-3 written by plain TensorFlow, with something behind each hidden layer."""
    made: dict[tuple[str, bool], Path] = {}

    def make(kind: str, functional: bool = False) -> Path:
        if (kind, functional) not in made:
            made[kind, functional] = _written(new_network(), kind, functional, tmp_path_factory.mktemp(kind))
        return made[kind, functional]

    return make


def _written(network: Any, kind: str, functional: bool, folder: Path) -> Path:
    with network.building(functional):
        layer, labels, training = network.inputs()
        for number, units in enumerate((8, 6), start=1):
            layer = network.dense(layer, units, f"hidden{number}")
            if kind == "batch_norm":
                layer = network.batch_norm(layer, training, f"hidden{number}/norm")
            elif kind == "dropout":
                layer = network.dropout(layer, training, f"dropout{number}")
            else:
                layer = network.tf.nn.dropout(layer, 0.5, seed=3)
        logits = network.dense(layer, 3, "outputs", relu=False)
        network.classify(logits, labels, network.v1.train.GradientDescentOptimizer(0.1))
    path: Path = network.save(folder / "foreign.ckpt")
    return path
