"""A model is written with values for all variables of its saver, with its lineage, and read back as intended."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckpttool import checkpoint
from ckpttool.core.errors import CorruptCheckpoint, PlanError
from ckpttool.core.tensors import Tensor
from ckpttool.formats.wire.protos.meta_graph_pb2 import MetaGraphDef
from ckpttool.graph import files
from ckpttool.graph.core import Graph
from ckpttool.lineage.storage import lineage_of
from ckpttool.model import families
from ckpttool.model.families import write_folder
from ckpttool.model.model import write_model

FIXTURE = Path(__file__).parents[2] / "fixtures" / "bundles" / "adam.ckpt-3"


def one_variable() -> Graph:
    """A graph without a saver."""
    meta = MetaGraphDef()
    node = meta.graph_def.node.add(name="w", op="VariableV2")
    node.attr["shape"].shape.dim.add(size=2)
    node.attr["dtype"].type = 1  # type: ignore[assignment]
    meta.graph_def.node.add(name="w/read", op="Identity", input=["w"])
    meta.collection_def["variables"].bytes_list.value.append(b"\n\x03w:0")
    return Graph(meta, "w.meta")


GRAPH = one_variable()
VALUES = {"w": Tensor.of("w", np.ones(2, np.float32))}


@pytest.fixture
def fixture() -> tuple[Graph, checkpoint.Checkpoint]:
    """A network saved by TensorFlow 1, whose saver restores all variables."""
    return files.load(FIXTURE), checkpoint.open(FIXTURE)


def test_nothing_is_said_of_a_saver_that_reads_what_is_written(fixture: Any, tmp_path: Path) -> None:
    graph, values = fixture
    assert write_model(graph, values, tmp_path / "m.ckpt", overwrite=False) == []
    assert list(checkpoint.open(tmp_path / "m.ckpt")) == list(values)


def test_what_the_saver_restores_must_have_a_value_of_its_dtype(fixture: Any, tmp_path: Path) -> None:
    graph, values = fixture
    name = next(name for name, tensor in values.items() if len(tensor.shape) == 2)
    with pytest.raises(PlanError, match=rf"m\.ckpt: no value for {name}$"):
        write_model(graph, {key: values[key] for key in values if key != name}, tmp_path / "m.ckpt", overwrite=False)
    wrong = {**values, name: Tensor.of(name, values[name].read().astype(np.float64))}
    with pytest.raises(PlanError, match=f"its Saver cannot restore this: {name} is float64, but "):
        write_model(graph, wrong, tmp_path / "m.ckpt", overwrite=False)
    assert not [*tmp_path.iterdir()]


def test_of_a_graph_without_a_saver_every_variable_must_have_a_value(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match=r"m\.ckpt: no value for w$"):
        write_model(GRAPH, {}, tmp_path / "m.ckpt", overwrite=False)
    assert not [*tmp_path.iterdir()]


def test_a_saver_that_restores_a_part_needs_no_more_than_that(fixture: Any, tmp_path: Path) -> None:
    graph, values = fixture
    more = MetaGraphDef()
    more.CopyFrom(graph.meta)
    for node in GRAPH.meta.graph_def.node:
        more.graph_def.node.add().CopyFrom(node)
    more.collection_def["variables"].bytes_list.value.append(b"\n\x03w:0")
    assert write_model(Graph(more, "more.meta"), values, tmp_path / "m.ckpt", overwrite=False) == []


def test_a_folder_carries_the_lineage_of_its_values(fixture: Any, tmp_path: Path) -> None:
    write_folder(*fixture, tmp_path / "served", False, FIXTURE)
    (record,) = lineage_of(tmp_path / "served", {}).records
    assert [Path(source.path).name.partition(".meta")[0] for source in record.sources] == ["adam.ckpt-3"] * 2


def test_a_folder_that_is_written_otherwise_than_meant_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of both proofs: that of the graph, and that of the values' names."""
    write = families.write_saved_model

    def other_graph(message: MetaGraphDef, *rest: Any) -> None:
        other = MetaGraphDef()
        other.CopyFrom(message)
        del other.graph_def.node[-1]
        write(other, *rest)

    def other_values(message: MetaGraphDef, tensors: Any, *rest: Any) -> None:
        write(message, checkpoint.Checkpoint.of({"v": np.ones(2, np.float32)}), *rest)

    for fault, said in ((other_graph, "the graph reads back differently than it was written"), (other_values, "v")):
        monkeypatch.setattr(families, "write_saved_model", fault)
        with pytest.raises(CorruptCheckpoint, match=said):
            write_folder(GRAPH, VALUES, tmp_path / "served", False, tmp_path)
        assert not [*tmp_path.iterdir()]
