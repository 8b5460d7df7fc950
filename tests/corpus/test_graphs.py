"""Every graph of the corpus can be opened, with its variables, layers, collections, assign nodes and roles."""

import os
import tarfile
from pathlib import Path

import pytest

from ckpttool.core.errors import CkptError, FormatError, GraphError
from ckpttool.graph.contents.collections import entries
from ckpttool.graph.contents.layers import layers
from ckpttool.graph.contents.signatures import signatures
from ckpttool.graph.contents.stored import assignments
from ckpttool.graph.contents.variables import variables
from ckpttool.graph.core import Graph, TensorRef
from ckpttool.graph.files import load
from ckpttool.graph.roles.resolve import find_roles

CORPUS = Path(os.environ.get("CKPTTOOL_CORPUS", "/nowhere"))
pytestmark = pytest.mark.skipif(not CORPUS.is_dir(), reason="CKPTTOOL_CORPUS names no folder of real files")
# Their text is not GraphDef's: a search and replace changed every `type` to `opType`.
BROKEN_TEXT = {"max_add_2.pb.txt", "max_graph.pb.txt", "max_log_reg.pb.txt", "max_multiply.pb.txt"}


def corpus(pattern: str) -> list[Path]:
    return sorted(CORPUS.rglob(pattern))


def open_any(path: Path) -> Graph:
    """Load a graph; of several in a SavedModel, the one for serving."""
    try:
        return load(path)
    except GraphError:
        return load(path, ["serve"])


def look(graph: Graph) -> None:
    """Read all properties of a graph; the results must be in it."""
    known = variables(graph)
    assert all(variable.op in graph.nodes for variable in known.values())
    for assignment in assignments(graph).values():
        assert TensorRef.parse(assignment.value).op in graph.nodes
    found = layers(graph)
    listed = [name for layer in found for name in layer.variables]
    if known:
        assert sorted(listed) == sorted({variable.name for variable in known.values() if variable.kind == "weight"})
    assert all(layer.output is None or TensorRef.parse(layer.output).op in graph.nodes for layer in found)
    for key in graph.meta.collection_def:
        entries(graph, key)
    signatures(graph)
    try:
        find_roles(graph)
    except GraphError as error:
        assert "; specify `" in str(error)


@pytest.mark.parametrize(
    "path", corpus("*.meta") + corpus("saved_model.pb"), ids=lambda path: str(path.relative_to(CORPUS))
)
def test_a_real_graph_opens_and_answers(path):
    look(open_any(path))


def test_every_frozen_graph_opens_and_answers(tmp_path):
    (archive,) = corpus("tf_graphs.tar.gz")
    with tarfile.open(archive) as tar:
        tar.extractall(tmp_path, filter="data")
    files = [path for path in sorted(tmp_path.rglob("*.pb*")) if path.is_file()]
    assert len(files) > 1900

    refused = set()
    for path in files:
        try:
            look(open_any(path))
        except FormatError as error:
            assert 'no field named "opType"' in str(error)
            refused.add(path.name)
    assert refused == BROKEN_TEXT


def test_what_is_no_graph_is_refused_in_one_line():
    paths = [
        path for path in corpus("*") if path.is_file() and path.suffix in {".h5", ".index", ".npz", ".npy", ".keras"}
    ]
    assert len(paths) > 100

    for path in paths:
        if path.suffix == ".index" and path.with_suffix(".meta").is_file():
            continue  # the path means the graph next to it
        with pytest.raises(CkptError) as caught:
            load(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)


def test_layers_of_known_networks():
    """Checked by hand: wide and deep, multi-column convolutions, Inception, a character-level CNN."""
    outputs = {layer.name: layer.output for layer in layers(load(only("model.ckpt-10000.meta")))}
    assert [outputs[f"dnn/hiddenlayer_{number}"] for number in range(4)] == [
        f"dnn/hiddenlayer_{number}/Relu:0" for number in range(4)
    ]
    assert outputs["dnn/logits"] == "dnn/logits/BiasAdd:0"
    assert outputs["linear/linear_model"] == "linear/linear_model/linear_model/weighted_sum:0"

    crowd = layers(load(only("modelB/model.ckpt.meta")))
    assert len(crowd) == 26
    assert [(layer.name, layer.output) for layer in crowd[-2:]] == [("w_conv5", "Conv2D_12:0"), ("b_conv5", "add_12:0")]

    inception = layers(load(only("InceptionV3.meta")))
    assert (len(inception), sum(layer.parameters for layer in inception)) == (188, 21802784)
    scope = "module/InceptionV3/InceptionV3/Conv2d_1a_3x3"
    assert [layer.output for layer in inception[:2]] == [f"{scope}/Conv2D:0", f"{scope}/Relu:0"]

    characters = {layer.name: layer.output for layer in layers(load(only("vd_cnn.meta")))}
    assert characters["conv-block-1/conv-1/batch_normalization"].endswith("batch_normalization/cond/Merge:0")
    assert characters["dense_1"] == "fc-2/dense/Relu:0"
    assert list(characters)[-1] == "dense_2"


def only(ending: str) -> Path:
    (path,) = [path for path in corpus("*.meta") if str(path).endswith(ending)]
    return path
