"""A bundle's index has the hash of the graph written with it: another graph, or a damaged one, is detected."""

from pathlib import Path

import numpy as np
import pytest
from fuzz_graphs import meta

from ckpttool.core.errors import CorruptCheckpoint
from ckpttool.core.tensors import Tensor
from ckpttool.formats.wire.protos.meta_graph_pb2 import MetaGraphDef
from ckpttool.graph import files
from ckpttool.graph.core import Graph
from ckpttool.model.model import Model, write_model
from ckpttool.surgery.verify import verify

GRAPH = Graph(MetaGraphDef.FromString(meta()))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    write_model(GRAPH, {"w": Tensor.of("w", np.ones(2, np.float32))}, tmp_path / "m.ckpt", False)
    return tmp_path / "m.ckpt"


def test_every_flipped_bit_of_a_graph_is_found(model: Path) -> None:
    file = Path(f"{model}.meta")
    whole = file.read_bytes()
    for bit in range(8 * len(whole)):
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        file.write_bytes(flipped)
        assert not verify(model).whole, bit
    with pytest.raises(CorruptCheckpoint, match=r"m.ckpt.meta is not the graph that .*m.ckpt.index was written with"):
        Model.open(model)


def test_weights_alone_and_a_graph_alone_are_whole(model: Path) -> None:
    graph = Path(f"{model}.meta").rename(model.with_name("alone.meta"))
    assert verify(model).whole
    assert files.load(graph).nodes


def test_a_graph_that_takes_the_place_of_a_models_is_tied_instead(model: Path) -> None:
    other = MetaGraphDef.FromString(meta())
    other.graph_def.node.add(name="more", op="NoOp")
    files.save(Graph(other), f"{model}.meta", overwrite=True)
    assert verify(model).whole
    assert len(Model.open(model).graph.nodes) == 3


def test_tensorflow_reads_an_index_that_is_tied(model: Path) -> None:
    import tensorflow as tf

    assert tf.train.load_checkpoint(str(model)).get_tensor("w").tolist() == [1, 1]
