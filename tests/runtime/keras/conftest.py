"""Graphs in a session, and Keras files written from them, loaded by Keras."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckpttool.core.tensors import Tensor
from ckpttool.graph.contents.stored import stored_tensors
from ckpttool.graph.core import Graph
from ckpttool.model.families import Contents, KerasWriter


class Session:
    """A graph in a TensorFlow 1 session, whose variables have random values."""

    def __init__(self, graph: Graph) -> None:
        import tensorflow as tf

        self.graph, self.tf1, self.live = graph, tf.compat.v1, tf.Graph()
        with self.live.as_default():
            self.tf1.train.import_meta_graph(self.tf1.MetaGraphDef.FromString(graph.meta.SerializeToString()))
        quick = self.tf1.ConfigProto()
        quick.graph_options.rewrite_options.disable_meta_optimizer = True
        self.session = self.tf1.Session(graph=self.live, config=quick)
        with self.live.as_default():
            self.session.run(self.tf1.global_variables_initializer())
            random = np.random.default_rng(5)
            for variable in self.tf1.global_variables():
                if (
                    variable.op.name in (weights := stored_tensors(graph))
                    and weights[variable.op.name].kind == "weight"
                ):
                    variable.load(random.uniform(0.1, 0.6, variable.shape).astype(np.float32), self.session)

    def run(self, fetches: Any, feed: dict[str, Any] | None = None) -> Any:
        return self.session.run(fetches, feed)

    def tensors(self) -> dict[str, Tensor]:
        """The values of all variables."""
        with self.live.as_default():
            held = {variable.op.name: variable for variable in self.tf1.global_variables()}
        return {name: Tensor.of(name, value) for name, value in self.session.run(held).items()}

    def in_keras(self, path: Path) -> tuple[Any, Sequence[str]]:
        """The model that Keras loads from the file written from the graph, and the notices."""
        import keras

        written = KerasWriter(Path()).write(Contents(self.graph, self.tensors()), path, overwrite=True)
        return keras.models.load_model(path), written.notes


@pytest.fixture
def session() -> Callable[[Graph], Session]:
    return Session
