"""Networks in JSON: models of TensorFlow.js and Keras architectures are programs too, wherever their weights are."""

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckpttool import checkpoint
from ckpttool.formats.format import Writing
from ckpttool.scanning.walk import scan

LAMBDA = {"class_name": "Lambda", "config": {"name": "z", "function": ["4wA=", None, None]}}
WEIGHTS = [{"paths": ["group1-shard1of1.bin"], "weights": [{"name": "a", "shape": [2], "dtype": "float32"}]}]


def dense(**more: Any) -> dict[str, Any]:
    return {"class_name": "Dense", "config": {"name": "a", "units": 2, "activation": "relu", **more}}


def network(*layers: Any) -> dict[str, Any]:
    source = {"class_name": "InputLayer", "config": {"name": "X", "batch_input_shape": [None, 4]}}
    return {"class_name": "Sequential", "config": {"name": "net", "layers": [source, *layers]}}


def graph(op: str) -> dict[str, Any]:
    nodes = [{"name": "X", "op": "Placeholder", "attr": {"dtype": {"type": "DT_FLOAT"}}}, {"name": "e", "op": op}]
    return {"node": nodes, "library": {}, "versions": {"producer": 27}}


def model(folder: Path, **entries: Any) -> Path:
    (folder / "group1-shard1of1.bin").write_bytes(np.array([1.5, -2], np.float32).tobytes())
    (folder / "model.json").write_text(json.dumps({"weightsManifest": WEIGHTS, **entries}))
    return folder


def found(path: Path) -> list[tuple[str, str]]:
    result = scan([path])
    assert result.unread == []
    return [(each.kind, each.what) for each in result.found]


@pytest.mark.parametrize(
    "entries",
    [
        {},
        {"modelTopology": {"model_config": network(dense())}},
        {"modelTopology": network(dense()), "trainingConfig": {"loss": "mse", "optimizer_config": {}}},
        {"modelTopology": {"model_config": json.dumps(network(dense()))}},
        {"modelTopology": graph("Relu"), "modelInitializer": graph("NoOp")},
    ],
)
def test_a_harmless_model_is_clean_with_its_weights(tmp_path, entries):
    assert found(model(tmp_path, **entries)) == []
    assert scan([tmp_path / "model.json"]).scanned == 1
    assert scan([tmp_path]).scanned == 2


@pytest.mark.parametrize(
    ("entries", "what"),
    [
        ({"modelTopology": {"model_config": network(dense(), LAMBDA)}}, ("keras/code", "Lambda")),
        ({"modelTopology": network(dense(activation=LAMBDA))}, ("keras/code", "Lambda")),
        ({"modelTopology": {"model_config": json.dumps(network(LAMBDA))}}, ("keras/code", "Lambda")),
        ({"modelTopology": {"training_config": {"loss": LAMBDA}}}, ("keras/code", "Lambda")),
        ({"modelTopology": network(), "trainingConfig": {"loss": LAMBDA}}, ("keras/code", "Lambda")),
        ({"modelTopology": graph("WriteFile")}, ("graph/writes-files", "WriteFile")),
        ({"modelTopology": json.dumps(graph("PyFunc"))}, ("graph/runs-code", "PyFunc")),
        ({"modelTopology": graph("Relu"), "modelInitializer": graph("ReadFile")}, ("graph/reads-files", "ReadFile")),
    ],
)
def test_what_acts_in_a_model_is_found(tmp_path, entries, what):
    assert found(model(tmp_path, **entries)) == [what]


def test_ops_in_functions_of_a_graph_are_found(tmp_path):
    body = {"signature": {"name": "f"}, "nodeDef": [{"name": "w", "op": "WriteFile"}]}
    held = {**graph("Relu"), "library": {"function": [body]}}
    (finding,) = scan([model(tmp_path, modelTopology=held)]).found
    assert (finding.what, finding.where) == ("WriteFile", "f/w")


def test_keras_architectures_are_networks_and_other_json_is_not(tmp_path):
    path = tmp_path / "architecture.json"
    for document, expected in ((network(dense()), []), (network(LAMBDA), [("keras/code", "Lambda")])):
        path.write_text(json.dumps(document))
        assert found(path) == expected
        path.write_text(json.dumps(json.dumps(document)))  # as of `json.dump(model.to_json(), file)`
        assert found(path) == expected
    path.write_text(json.dumps([{"class_name": "cat", "box": [1, 2]}, {"class_name": "dog", "config": 3}]))
    assert found(path) == []


def test_an_escaped_key_hides_nothing(tmp_path):
    path = tmp_path / "architecture.JSON"
    path.write_text(json.dumps(network(LAMBDA)).replace("class_name", "class\\u005fname"))
    assert found(path) == [("keras/code", "Lambda")]


@pytest.mark.parametrize("name", ["../w.bin", "/etc/passwd", "http://host/w.bin", 3])
def test_weights_elsewhere_are_found(tmp_path, name):
    model(tmp_path, weightsManifest=[{"paths": [name], "weights": []}])
    assert ("record/path", str(name)) in found(tmp_path)


@pytest.mark.parametrize(
    "text",
    ['{"modelTopology": ', '{"modelTopology": {"node": [{"name": 3}]}}', '{"modelTopology": {"node": 3}}',
     '{"modelTopology": ' + "[" * 9999 + "]" * 9999 + "}"],
)  # fmt: skip
def test_a_damaged_model_is_not_clean(tmp_path, text):
    (tmp_path / "model.json").write_text(text)
    (unread,) = scan([tmp_path]).unread
    assert unread.file.name == "model.json"


def test_a_file_named_as_weights_may_be_something_else(tmp_path):
    weights = model(tmp_path) / "group1-shard1of1.bin"
    weights.write_bytes(pickle.dumps(print))
    assert [each.what for each in scan([tmp_path]).found] == ["builtins.print"]
    weights.write_bytes(b"#!/bin/sh\n")
    assert "program" in scan([tmp_path]).unread[0].problem
    weights.write_bytes(b"\1\2\3\4\5\6\7\0")
    assert scan([tmp_path]).unread == []
    (tmp_path / "model.json").unlink()
    assert scan([tmp_path]).unread != []


def test_what_ckpttool_writes_is_clean(tmp_path):
    whole = checkpoint.open(model(tmp_path, modelTopology=network(dense())))
    (tmp_path / "out").mkdir()
    for name in ("model.json", "net.json"):
        checkpoint.save(whole, tmp_path / "out" / name, how=Writing(like=tmp_path / "model.json"))
    result = scan([tmp_path / "out"])
    assert (result.found, result.unread) == ([], [])
