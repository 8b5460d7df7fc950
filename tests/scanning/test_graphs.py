"""Graphs that act are found wherever the op is; savers, tables of assets and pure computations are clean."""

import os
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest

from ckpttool import checkpoint
from ckpttool.core.errors import GraphError
from ckpttool.formats.wire.protos.graph_pb2 import NodeDef
from ckpttool.formats.wire.protos.meta_graph_pb2 import MetaGraphDef, SavedModel
from ckpttool.graph.core import Graph
from ckpttool.graph.gate import require_computing
from ckpttool.scanning.finding import RULES, SEVERITIES, Finding
from ckpttool.scanning.graphs import graph_findings
from ckpttool.scanning.walk import scan
from tests.hostile_models import (
    ACTING,
    NESTED,
    TYPES,
    calling,
    constant,
    function,
    graph,
    write,
    write_in_a_variable,
)

ONE_OF_EACH = [ops.split()[0] for ops in ACTING.values()]
WORST = {"files written": "high", "network": "high", "the process": "high", "code": "high", "files read": "medium"}


@pytest.mark.parametrize(("kind", "op"), TYPES)
def test_every_op_that_acts_is_found_with_what_it_does(tmp_path: Path, kind: str, op: str) -> None:
    found = [each for each in graph_findings(write(NESTED["plain"](op), tmp_path / "x.meta")) if each.what == op]
    assert [(each.where, each.severity) for each in found] == [("act", WORST.get(kind, found[0].severity))]
    assert found[0].kind in RULES and found[0].severity in SEVERITIES


@pytest.mark.parametrize("place", NESTED)
@pytest.mark.parametrize("op", ONE_OF_EACH)
def test_it_is_found_in_every_place(tmp_path: Path, place: str, op: str) -> None:
    found = list(graph_findings(write(NESTED[place](op), tmp_path / "x.pb")))
    assert op in {each.what for each in found}, place


@pytest.mark.parametrize("place", NESTED)
@pytest.mark.parametrize("op", [*ONE_OF_EACH, "Relu", "ShardedFilename", "Skipgram", "CompareAndBitpack"])
def test_the_gate_refuses_what_is_found_and_nothing_else(tmp_path: Path, place: str, op: str) -> None:
    """Except graphs in values, which nothing runs."""
    meta = NESTED[place](op)
    found = {each.what for each in graph_findings(write(meta, tmp_path / "x.pb")) if each.kind != "graph/hidden-graph"}
    with pytest.raises(GraphError, match="can have side effects") if found else nullcontext():
        require_computing(Graph(meta))


@pytest.mark.parametrize("op", ONE_OF_EACH)
def test_a_graph_in_a_variable_is_found(tmp_path: Path, op: str) -> None:
    write_in_a_variable(op, tmp_path / "model.ckpt")
    (found, *_) = scan([tmp_path]).found
    assert (found.kind, found.what) == ("graph/hidden-graph", op) and found.where.startswith("vocabulary: ")


@pytest.mark.parametrize("named", ["x.ckpt", "x.ckpt.index", "x.ckpt.data-00000-of-00001", "x.ckpt.meta"])
def test_a_file_of_a_checkpoint_stands_for_all_of_them(tmp_path: Path, named: str) -> None:
    write(NESTED["plain"]("WriteFile"), tmp_path / "x.ckpt.meta")
    write(NESTED["plain"]("ReadFile"), tmp_path / "x.ckpt2.meta")
    checkpoint.save({"w": np.ones(3)}, tmp_path / "x.ckpt")
    result = scan([tmp_path / named])
    assert {(each.file.name, each.what) for each in result.found} == {("x.ckpt.meta", "WriteFile")}
    assert result.scanned == 3
    again = scan(sorted(tmp_path.glob("x.ckpt.*")))
    assert (again.found, again.scanned) == (result.found, 3)


def saver(first: NodeDef, *more: NodeDef) -> list[NodeDef]:
    names = constant("save/names", b"kernel")
    save = NodeDef(name="save/SaveV2", op="SaveV2", input=["save/Const", "save/names", "save/names", "X"])
    restore = NodeDef(name="save/RestoreV2", op="RestoreV2", input=["save/Const", "save/names", "save/names"])
    assign = NodeDef(name="save/Assign", op="Assign", input=["kernel", "save/RestoreV2"])
    kernel = NodeDef(name="kernel", op="VariableV2")
    return [first, *more, names, save, restore, kernel, assign, NodeDef(name="relu", op="Relu", input=["X"])]


def placed(name: str, default: bytes) -> list[NodeDef]:
    made = NodeDef(name=name, op="PlaceholderWithDefault", input=[f"{name}/in"])
    return [constant(f"{name}/in", default), made]


def test_a_saver_is_no_finding(tmp_path: Path) -> None:
    for first in ([constant("save/Const", b"model")], placed("save/Const", b"model")):
        assert list(graph_findings(write(graph(*saver(*first)), tmp_path / "x.meta"))) == []


def test_a_saver_with_a_file_of_its_own_is_found(tmp_path: Path) -> None:
    meta = graph(*saver(constant("save/Const", b"/etc/passwd")))
    assert {each.what for each in graph_findings(write(meta, tmp_path / "x.meta"))} == {"SaveV2", "RestoreV2"}


def test_a_saver_that_an_output_waits_for_is_found(tmp_path: Path) -> None:
    meta = graph(*saver(constant("save/Const", b"model")))
    meta.graph_def.node[-1].input.append("^save/SaveV2")
    assert {each.what for each in graph_findings(write(meta, tmp_path / "x.meta"))} == {"SaveV2"}


def test_a_saver_in_update_ops_is_found(tmp_path: Path) -> None:
    meta = graph(*saver(constant("save/Const", b"model")))
    meta.collection_def["update_ops"].node_list.value.append("save/SaveV2")
    assert {each.what for each in graph_findings(write(meta, tmp_path / "x.meta"))} == {"SaveV2"}


def test_a_training_op_that_saves_is_found(tmp_path: Path) -> None:
    """Nothing depends on it, as for the ops of a saver, but it depends on other ops too."""
    meta = graph(*saver(constant("save/Const", b"model")))
    meta.graph_def.node.append(NodeDef(name="train", op="NoOp", input=["^save/SaveV2"]))
    assert list(graph_findings(write(meta, tmp_path / "x.meta"))) == []
    meta.graph_def.node[-1].input.append("^save/Assign")
    assert {each.what for each in graph_findings(write(meta, tmp_path / "x.meta"))} == {"SaveV2"}


def test_the_corpus_of_word2vec_is_read_from_a_file(tmp_path: Path) -> None:
    """It is in an attribute of an op that TensorFlow no longer has, while its kernel exists."""
    (found,) = graph_findings(write(graph(NodeDef(name="pairs", op="Skipgram")), tmp_path / "x.meta"))
    assert found.kind == "graph/reads-files"


def saving() -> object:
    body = function("saver", NodeDef(name="save", op="SaveV2", input=["file", "file", "file"]))
    body.signature.input_arg.add(name="file", type=7)
    return body


def test_a_function_that_saves_is_what_its_callers_give_it(tmp_path: Path) -> None:
    call = calling("StatefulPartitionedCall", f="saver")
    call.input.append("file")
    harmless = graph(NodeDef(name="file", op="Placeholder"), call, NodeDef(name="n", op="NoOp"), functions=(saving(),))
    assert list(graph_findings(write(harmless, tmp_path / "x.meta"))) == []
    hostile = graph(constant("file", b"/etc/cron.d/x"), call, NodeDef(name="n", op="NoOp"), functions=(saving(),))
    assert [each.where for each in graph_findings(write(hostile, tmp_path / "x.meta"))] == ["saver/save"]


def test_tables_read_assets_and_nothing_else(tmp_path: Path) -> None:
    fill = NodeDef(name="fill", op="InitializeTableFromTextFileV2", input=["table", "file"])
    meta = graph(NodeDef(name="table", op="HashTableV2"), constant("file", b"/home/me/vocab.txt"), fill)
    assert [each.what for each in found_when_served(meta, tmp_path)] == [fill.op]
    meta.asset_file_def.add(filename="vocab.txt").tensor_info.name = "file:0"
    assert found_when_served(meta, tmp_path) == []
    assert [each.what for each in graph_findings(write(meta, tmp_path / "x.meta"))] == [fill.op]
    meta.asset_file_def[0].filename = "../../../../etc/passwd"
    assert [each.kind for each in found_when_served(meta, tmp_path)] == ["graph/asset-path"]


def found_when_served(meta: MetaGraphDef, folder: Path) -> list[Finding]:
    served = folder / "saved_model.pb"
    served.write_bytes(SavedModel(meta_graphs=[meta]).SerializeToString())
    return list(graph_findings(served))


def test_it_is_said_when_an_op_runs(tmp_path: Path) -> None:
    (found, *_) = graph_findings(write(NESTED["update_ops"]("WriteFile"), tmp_path / "x.meta"))
    assert found.reason == "it writes files, in each step of training"


CORPUS = Path(os.environ.get("CKPTTOOL_CORPUS", "/nowhere"))
FOUND = {
    "lambda/model_lambda.h5",
    "lambda/sequential_lambda.h5",
    "keras3_custom_class/pre_pr22362_nested_container.keras",
    "scisharp_metas/InceptionV3.meta",
    "simple_model_from_auto_compile/saved_model.pb",
    "eval_model_dir/1551382557/saved_model.pb",
    "chicago-taxi/1551382555/saved_model.pb",
    "serving_model_dir/model.ckpt-10000.meta",
}
"""Models of the corpus that do act: code of layers, files with constant paths, a printing op, a plug-in's op."""
UNREAD = ("broken_", ".tflite", ".tfrecord", ".tar.gz", "build-test-op")
"""Truncated files, files of other kinds, or a program."""


@pytest.mark.skipif(not CORPUS.is_dir(), reason="CKPTTOOL_CORPUS does not name the folder of real models")
def test_models_of_others_raise_no_false_alarm(tmp_path: Path) -> None:
    import tarfile

    result = scan([CORPUS])
    assert {name for name in FOUND if any(str(each.file).endswith(name) for each in result.found)} == FOUND
    assert [each for each in result.found if not str(each.file).endswith(tuple(FOUND))] == []
    assert [each for each in result.unread if not any(name in str(each.file) for name in UNREAD)] == []
    with tarfile.open(CORPUS / "frozen_dl4j_1922_graphs" / "tf_graphs.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    many = scan([tmp_path])
    assert {"".join(each.file.suffixes) for each in many.unread} <= {".pb.txt"}  # with fields that no GraphDef has
    assert many.found == [] and many.scanned >= 1922
