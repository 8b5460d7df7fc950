"""Networks in JSON: the model.json of TensorFlow.js, with layers or a graph, and the architectures that Keras writes.

A program that loads or converts such a file makes the layers and ops that it names, as from a `.keras` or a `.pb`.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, cast

from google.protobuf import json_format

from ckpttool.core.errors import CorruptCheckpoint, FormatError
from ckpttool.formats.tfjs.manifest import LIMIT, MANIFEST, MODEL, is_model
from ckpttool.formats.wire import strict_json
from ckpttool.formats.wire.protos.graph_pb2 import GraphDef
from ckpttool.formats.wire.protos.meta_graph_pb2 import MetaGraphDef
from ckpttool.graph.core import Graph
from ckpttool.scanning.finding import Finding, Unread
from ckpttool.scanning.graphs import leads_out, of_graph
from ckpttool.scanning.keras_configs import config_findings
from ckpttool.scanning.others import findings_in

TOPOLOGY, TRAINING, CLASS = "modelTopology", "trainingConfig", "class_name"
LAYERS = ("model_config", "training_config")
"""The keys of a topology of layers; one of the converter's first versions is the network itself."""
KEYS = ((MANIFEST,), (TOPOLOGY,), (CLASS, "config"))
"""The keys that a file has, if it describes a network."""
ESCAPED = re.compile(rb"\\+u00([2-7][0-9a-fA-F])")
"""An escaped character of ASCII, by which a key could be hidden."""
ELSEWHERE = "ckpttool refuses the file; check the path before passing it to a program"
GRAPHS = (TOPOLOGY, "modelInitializer")
"""The graphs of a model.json: of the network, and one that is run once, when the model is loaded."""
SHARD = re.compile(r"(.+-)?group\d+-shard\d+of\d+(\.bin)?")
"""The names of the weights files of TensorFlow.js's converter, and of ckpttool."""


def is_network(path: Path, _start: bytes) -> bool:
    """Return whether a `.json` may describe a network: layers with classes, a graph, or weights of TensorFlow.js."""
    if path.suffix.lower() != ".json":
        return False
    with path.open("rb") as file:
        text = ESCAPED.sub(lambda match: bytes([int(match[1], 16)]), file.read(LIMIT))
    return any(all(key.encode() in text for key in keys) for keys in KEYS)


def network_findings(path: Path) -> Iterator[Finding]:
    """Yield what could act in the layers or the graphs of a JSON file, and weights files outside of its folder.

    Raises:
        FormatError: the file is too large, is not valid JSON, or contains a graph that cannot be read.
        GraphError: two ops of a graph have one name.
    """
    if path.stat().st_size > LIMIT:
        raise FormatError(f"{path} has {path.stat().st_size} bytes, and at most {LIMIT} are read")
    try:
        document = _decoded(strict_json.loads(path.read_bytes()))
    except ValueError as error:
        raise CorruptCheckpoint(f"{path} is not valid JSON: {error}") from error
    if not isinstance(document, dict):
        return
    if CLASS in document:
        yield from config_findings(document, path, "config")
    for key in GRAPHS:
        network = _decoded(document.get(key))
        if isinstance(network, dict) and "node" in network:
            yield from _in_graph(network, path, key)
        elif isinstance(network, dict):
            parts = [network.get(each) for each in LAYERS] if LAYERS[0] in network else [network]
            for part in parts:
                yield from config_findings(_decoded(part), path, key)
    yield from config_findings(_decoded(document.get(TRAINING)), path, TRAINING)
    yield from _files_elsewhere(document.get(MANIFEST), path)


def _decoded(value: Any) -> Any:
    """Return a value, or the one that its text is the JSON of: some writers store a config as a string."""
    try:
        return strict_json.loads(value) if isinstance(value, str) else value
    except ValueError:
        return value


def _files_elsewhere(groups: Any, path: Path) -> Iterator[Finding]:
    """Yield the weights files that a model.json names in other places."""
    for group in groups if isinstance(groups, list) else ():
        files = group.get("paths") if isinstance(group, dict) else None
        for name in files if isinstance(files, list) else ():
            if not isinstance(name, str) or leads_out(name):
                reason = "it names weights in a file outside of its folder"
                yield Finding(path, "record/path", "paths", str(name)[:200], "medium", reason, ELSEWHERE)


def _in_graph(network: dict[str, Any], path: Path, key: str) -> Iterator[Finding]:
    """Yield the ops that could act in a graph that is stored as JSON."""
    try:
        graph_def = json_format.ParseDict(network, GraphDef(), ignore_unknown_fields=True)
    except (json_format.ParseError, ValueError, TypeError) as error:
        raise CorruptCheckpoint(f"{path}: its {key} is not a graph: {str(error)[:200]}") from error
    yield from of_graph(Graph(MetaGraphDef(graph_def=graph_def), str(path)), path)


def is_shard(path: Path, _start: bytes) -> bool:
    """Return whether a file is named as weights of TensorFlow.js, and a model.json is beside it."""
    return SHARD.fullmatch(path.name) is not None and any(
        is_model(each) for each in (path.with_name(MODEL), *_owners(path))
    )


def _owners(path: Path) -> list[Path]:
    """Return the model of another name that the name of a weights file begins with."""
    owner = cast(re.Match[str], SHARD.fullmatch(path.name))[1]
    return [path.with_name(f"{owner[:-1]}.json")] if owner else []


def shard_findings(path: Path) -> Iterator[Finding | Unread]:
    """Yield findings if a file of weights is a program, a pickle, an array of objects, or a graph instead."""
    with path.open("rb") as file:
        for each in findings_in(cast(IO[bytes], file), path, path.name):
            if not isinstance(each, Unread) or "program" in each.problem:
                yield each
